"""What a user should know of scenarios that a model never normalised by rows of their own."""

from __future__ import annotations

import numpy as np

from recbole_midpg.layers.partitioned_norm import PartitionedNorm
from recbole_midpg.models.base import ScenarioRecommender


def remarks_of_norm(model: ScenarioRecommender, norm: PartitionedNorm) -> list[str]:
    """Name the scenarios that were never normalised by their own rows in training.

    Args:
        model: the trained model.
        norm: a norm of its, with a slot for each token of the scenario id field.

    Returns:
        A sentence, or none where there is no such scenario.
    """
    n_scenarios = len(norm.running_mean)
    rare = model.rare_tokens.get(str(model.scenario_id_field))
    read = np.arange(n_scenarios) if rare is None else rare.read_as
    # A rare scenario's own slot is never used.
    unseen = [slot for slot in norm.unseen().tolist() if 0 < slot == read[slot]]
    if not unseen:
        return []
    n_read = len(set(read.tolist()) - {0})
    return [
        f"{type(model).__name__}: {len(unseen)} of {n_read} scenarios had no training batch with "
        f"{norm.min_rows} rows (pn_min_rows) and are normalised with mean 0 and variance 1; their "
        f"tokens of {model.scenario_id_field}: {unseen}."
    ]
