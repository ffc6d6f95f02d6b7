"""Define a model, register it, and train it beside the plain network on the same split.

The model scales each hidden unit of a plain network by a gate of the scenario's embedding.

python examples/own_model.py
python examples/own_model.py --epochs=1   # any config key, for both models
"""

from typing import Any, ClassVar

import torch

import recbole_midpg

# isort: split
from recbole.data.interaction import Interaction
from recbole.quick_start import run
from torch import Tensor, nn

from recbole_midpg.models.base import ScenarioRecommender
from recbole_midpg.models.fields import Fields


@recbole_midpg.register
class GatedNetwork(ScenarioRecommender):
    """One hidden layer, gated by the scenario: ``z = w (relu(W h) * 2 sigmoid(G s))``."""

    paper: ClassVar[str] = "an example"

    def __init__(self, config: Any, dataset: Fields) -> None:
        super().__init__(config, dataset)
        width = self.hidden_sizes[0]
        self.hidden = nn.Linear(self.input_size, width)
        self.gate = nn.Linear(self.scenario_size, width)
        self.output = nn.Linear(width, 1)
        self.initialize()

    def forward(self, interaction: Interaction) -> Tensor:
        """Compute the logits ``(B,)`` of a batch."""
        inputs, scenario = self.embed(interaction)
        gated = torch.relu(self.hidden(inputs)) * 2 * torch.sigmoid(self.gate(scenario))
        return self.output(gated).squeeze(-1)


for model in ("GatedNetwork", "DNN"):
    result = run(model=model, dataset="ml-100k")["test_result"]
    print(f"{model}: test AUC {result['auc']:.4f}, LogLoss {result['logloss']:.4f}")
