"""What all models of the package share: fields, embeddings, loss and prediction."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, ClassVar

import torch
from recbole.data.interaction import Interaction
from recbole.model.abstract_recommender import ContextRecommender
from recbole.utils import set_color
from torch import Tensor, nn
from torch.nn import functional

from recbole_midpg.common.errors import UsageError
from recbole_midpg.common.rules import Choice, Integer, Number, Rules, Sizes
from recbole_midpg.layers.field_embedding import mean_of_present, split_numbers
from recbole_midpg.layers.mlp import ACTIVATIONS, binary_cross_entropy
from recbole_midpg.layers.scenario_grouping import (
    ScenarioGroups,
    ScenarioLayout,
    ScenarioTiles,
)
from recbole_midpg.loading.rare_tokens import RareTokens
from recbole_midpg.models.fields import Fields


class ScenarioRecommender(ContextRecommender):
    """A context-aware model whose input splits into scenario-aware and scenario-agnostic fields.

    Every field that RecBole's ``ContextRecommender`` embeds is used: token, token_seq, and the
    float and float_seq fields named in ``numerical_features``. The first-order linear part that it
    also builds has no place in these models and is dropped.

    Subclasses build their layers, call :meth:`initialize` last, and implement :meth:`forward`.

    Config keys:
        embedding_size, mlp_hidden_size, activation, dropout_prob: see ``properties/model``.
        embedding_dropout: see ``properties/training.yaml``.
        scenario_fields: the token fields that make the scenario-aware embedding ``s``.
        scenario_id_field: the token field that names a row's scenario; the first of
            ``scenario_fields`` by default.

    Args:
        config: RecBole's ``Config``.
        dataset: RecBole's ``Dataset``, or another one's fields.

    Raises:
        UsageError: a scenario field is not among the fields that the model embeds.
    """

    paper: ClassVar[str]
    needs_scenario: ClassVar[bool] = True
    fixed_shapes: bool = False
    loss_names: ClassVar[tuple[str, ...]] = ("bce",)
    entropy_weight: float = 1.0
    # The tokens that the dataset's splits read as unknown ones, by field (min_count).
    rare_tokens: Mapping[str, RareTokens] = MappingProxyType({})
    rules: ClassVar[Rules] = {
        "embedding_size": Integer(minimum=1),
        "mlp_hidden_size": Sizes(minimum_length=1),
        "activation": Choice(tuple(ACTIVATIONS)),
        "dropout_prob": Number(maximum=1.0, maximum_excluded=True),
    }

    @classmethod
    def check_sizes(cls, settings: Mapping[str, Any], layer_sizes: Sequence[int]) -> None:
        """Check the settings that depend on layer widths; most models have none.

        Args:
            settings: the config's values.
            layer_sizes: ``[d_0, hidden sizes ..., 1]``.

        Raises:
            UsageError: a setting does not fit the widths.
        """

    def __init__(self, config: Any, dataset: Fields) -> None:
        super().__init__(config, dataset)
        del self.first_order_linear

        # load parameters info
        self.hidden_sizes: list[int] = list(config["mlp_hidden_size"])
        self.activation: str = config["activation"]
        self.dropout_prob: float = config["dropout_prob"]
        # None in the checkpoints of versions without the key.
        self.embedding_dropout: float = config["embedding_dropout"] or 0.0
        self.scenario_fields: list[str] = list(config["scenario_fields"] or [])
        self.scenario_id_field: str | None = config["scenario_id_field"]

        # The order in which RecBole concatenates the fields' embeddings.
        embedded = (
            self.token_seq_field_names
            + self.token_field_names
            + self.float_seq_field_names
            + self.float_field_names
        )
        for field in self.scenario_fields:
            if field not in self.token_field_names:
                raise UsageError(
                    f"scenario_fields: {field!r} is not a token field that is loaded, "
                    f"expected some of {', '.join(self.token_field_names)}."
                )
        agnostic = [field for field in embedded if field not in self.scenario_fields]
        # The fields in the order in which :meth:`embed` gives their embeddings.
        self.embedded_fields = [*agnostic, *self.scenario_fields]
        self.input_size = len(embedded) * self.embedding_size
        self.scenario_size = len(self.scenario_fields) * self.embedding_size
        self._ordered_tokens = [f for f in self.embedded_fields if f in self.token_field_names]
        offsets = dict(
            zip(self.token_field_names, getattr(self, "token_field_offsets", []), strict=True)
        )
        self.register_buffer(
            "token_offsets",
            torch.tensor([int(offsets[field]) for field in self._ordered_tokens]),
            persistent=False,
        )
        self.register_buffer(
            "float_offsets",
            torch.tensor([int(offset) for offset in getattr(self, "float_field_offsets", [])]),
            persistent=False,
        )

    def use_fixed_shapes(self, fixed: bool) -> None:
        """Choose how a batch is computed where its rows' scenarios would decide shapes.

        With fixed shapes, ``calculate_loss``, its backward and ``predict`` have the same shapes for
        every batch of as many rows, read no value on the host and make no tensor there: a GPU is
        not waited for, and the step can be captured in a CUDA graph. Values, gradients and random
        draws are the same either way; without, less is computed, which suits a CPU.

        Args:
            fixed: whether from now on; a new model has shapes by data.
        """
        for module in self.modules():
            if hasattr(module, "fixed_shapes"):
                module.fixed_shapes = fixed

    def groups(self, scenario_ids: Tensor, n_scenarios: int) -> ScenarioLayout:
        """Lay a batch out by scenario, with :attr:`fixed_shapes` or with shapes by data.

        Args:
            scenario_ids: the scenario slot of each row, ``(B,)``, in ``[0, n_scenarios)``.
            n_scenarios: how many slots there are.
        """
        layout = ScenarioTiles if self.fixed_shapes else ScenarioGroups
        return layout(scenario_ids, n_scenarios)

    def personal_fields(self, config: Any) -> list[str]:
        """The fields by which a row's user and item are known to the model.

        Args:
            config: RecBole's ``Config``.

        Returns:
            Those of the ids of user and item that are embedded; where neither is, all embedded
            fields that are no scenario fields.
        """
        ids = [config["USER_ID_FIELD"], config["ITEM_ID_FIELD"]]
        embedded = [field for field in ids if field in self.embedded_fields]
        return embedded or [f for f in self.embedded_fields if f not in self.scenario_fields]

    def columns_of(self, fields: Sequence[str], key: str) -> Tensor:
        """Which columns of ``h0`` are the embeddings of some fields.

        Args:
            fields: names of embedded fields.
            key: the config key that names them, for the error.

        Returns:
            Indices, ``(len(fields) * embedding_size,)``, in the order of ``fields``.

        Raises:
            UsageError: a field is not among those that the model embeds.
        """
        for field in fields:
            if field not in self.embedded_fields:
                raise UsageError(
                    f"{key}: {field!r} is not a field that the model embeds, "
                    f"expected some of {', '.join(self.embedded_fields)}."
                )
        columns = torch.arange(self.input_size).view(-1, self.embedding_size)
        return columns[[self.embedded_fields.index(field) for field in fields]].flatten()

    def initialize(self) -> None:
        """Initialise embeddings and linear layers as RecBole's context-aware models do."""
        self.apply(initialize_module)

    def embed(self, interaction: Interaction) -> tuple[Tensor, Tensor]:
        """Embed a batch.

        In training each value of ``h0`` is zeroed with the probability ``embedding_dropout``, and
        the others are scaled up. The ``s`` that comes beside it stays whole: what a scenario's rows
        have in common, as weights generated from it, is the same for all of them. Values are drawn
        for the rows as they stand in the batch, before any layout by scenario.

        Args:
            interaction: a batch of ``B`` rows.

        Returns:
            ``h0 = [a; s]``, ``(B, d_0)``, all embeddings with the scenario-aware ones last, and
            ``s``, ``(B, d_s)``, those alone.
        """
        tokens = self._embed_tokens(interaction)
        others = [
            *self._embed_token_sequences(interaction),
            *self._embed_number_sequences(interaction),
            *self._embed_numbers(interaction),
        ]
        inputs = tokens
        if others:
            n_sequences, n_agnostic = len(self.token_seq_field_names), len(self._ordered_tokens)
            n_agnostic -= len(self.scenario_fields)
            agnostic, scenario = tokens.tensor_split([n_agnostic * self.embedding_size], dim=1)
            inputs = torch.cat(
                [*others[:n_sequences], agnostic, *others[n_sequences:], scenario], dim=1
            )
        scenario = inputs[:, self.input_size - self.scenario_size :]
        return functional.dropout(inputs, self.embedding_dropout, self.training), scenario

    # RecBole's own methods for these copy the fields' offsets from the host in every batch, and
    # take each field by itself.

    def _embed_tokens(self, interaction: Interaction) -> Tensor:
        """Embed the token fields, those of the scenario last: ``(B, fields * embedding_size)``."""
        if not self._ordered_tokens:
            return torch.empty(len(interaction), 0, device=self.token_offsets.device)
        tokens = torch.stack([interaction[field] for field in self._ordered_tokens], dim=1)
        return self.token_embedding_table.embedding(tokens + self.token_offsets).flatten(1)

    def _embed_token_sequences(self, interaction: Interaction) -> list[Tensor]:
        return [
            mean_of_present(table(interaction[field]), interaction[field] != 0)
            for field, table in zip(
                self.token_seq_field_names,
                getattr(self, "token_seq_embedding_table", []),
                strict=True,
            )
        ]

    def _embed_numbers(self, interaction: Interaction) -> list[Tensor]:
        if not self.float_field_names:
            return []
        columns = [interaction[field].view(-1, 1, 2) for field in self.float_field_names]
        values, indices = split_numbers(torch.cat(columns, dim=1))
        table = self.float_embedding_table.embedding
        return [(values * table(indices + self.float_offsets)).flatten(1)]

    def _embed_number_sequences(self, interaction: Interaction) -> list[Tensor]:
        pooled = []
        for field, table in zip(
            self.float_seq_field_names,
            getattr(self, "float_seq_embedding_table", []),
            strict=True,
        ):
            values, indices = split_numbers(interaction[field])
            pooled.append(mean_of_present(values * table(indices), indices != 0))
        return pooled

    def scenario_tokens(self, interaction: Interaction) -> Tensor:
        """The tokens of the scenario fields, ``(B, number of scenario fields)``."""
        return torch.stack([interaction[field] for field in self.scenario_fields], dim=1)

    def cross_entropy(self, logits: Tensor, interaction: Interaction) -> Tensor:
        """Mean binary cross-entropy of a batch's logits, a scalar."""
        return binary_cross_entropy(logits, interaction[self.LABEL])

    def forward(self, interaction: Interaction) -> Tensor:
        """Compute the logits ``(B,)`` of a batch."""
        raise NotImplementedError

    def logits_and_terms(self, interaction: Interaction) -> tuple[Tensor, tuple[Tensor, ...]]:
        """Compute a training batch's logits, and what the loss has beside their cross-entropy.

        Returns:
            The logits ``(B,)``, and a scalar for each of :attr:`loss_names` but the first.
        """
        return self.forward(interaction), ()

    def calculate_loss(self, interaction: Interaction) -> Tensor | tuple[Tensor, ...]:
        """Compute the training loss, a scalar for each of :attr:`loss_names`.

        The first is the cross-entropy, times :attr:`entropy_weight`.
        """
        logits, terms = self.logits_and_terms(interaction)
        cross_entropy = self.entropy_weight * self.cross_entropy(logits, interaction)
        return (cross_entropy, *terms) if terms else cross_entropy

    def predict(self, interaction: Interaction) -> Tensor:
        """Compute the probabilities ``(B,)`` of a batch."""
        return torch.sigmoid(self.forward(interaction))

    def remarks(self) -> list[str]:
        """What a user should know of the model after training, a sentence each; mostly nothing."""
        return []

    def remarks_on_loss(self, terms: Mapping[str, float]) -> list[str]:
        """What a user should know of the loss after training, a sentence each; mostly nothing.

        Args:
            terms: the mean of each of :attr:`loss_names` in the last epoch.
        """
        return []

    def remarks_on_length(self, passes: float) -> list[str]:
        """What a user should know of how long training was, a sentence each; mostly nothing.

        Args:
            passes: how many passes over the training rows it took to the best validation score;
                all, where none was validated.
        """
        return []

    def __str__(self) -> str:
        """RecBole's report of the model, with the count that the paper compares."""
        _, without_embeddings = count_parameters(self)
        label = set_color("Trainable parameters without embeddings", "blue")
        return f"{super().__str__()}\n{label}: {without_embeddings}"


def check_depth(settings: Mapping[str, Any], key: str, layer_sizes: Sequence[int]) -> None:
    """Check a setting that says how many of the hidden layers belong to a part of a model.

    Args:
        settings: the config's values.
        key: the setting's key, whose last word says what is counted, as ``expert_layers``.
        layer_sizes: ``[d_0, hidden sizes ..., 1]``.

    Raises:
        UsageError: there are fewer hidden layers.
    """
    n_hidden = len(layer_sizes) - 2
    if settings[key] > n_hidden:
        counted = key.rpartition("_")[2]
        raise UsageError(
            f"{key}: {settings[key]} {counted} need as many widths, expected at most {n_hidden}, "
            "the length of mlp_hidden_size."
        )


def count_parameters(model: nn.Module) -> tuple[int, int]:
    """Count a model's trainable parameters: all of them, and those that are not embeddings."""
    total = sum(p.numel() for p in model.parameters() if p.requires_grad)
    embeddings = sum(
        module.weight.numel()
        for module in model.modules()
        if isinstance(module, nn.Embedding) and module.weight.requires_grad
    )
    return total, total - embeddings


def initialize_module(module: nn.Module) -> None:
    """Xavier-normal weights and zero biases for an embedding or a linear layer."""
    if isinstance(module, (nn.Embedding, nn.Linear)):
        nn.init.xavier_normal_(module.weight)
    if isinstance(module, nn.Linear) and module.bias is not None:
        nn.init.zeros_(module.bias)


def flatten_matrices(matrices: Sequence[Tensor]) -> Tensor:
    """Concatenate the matrices of every layer, ``(B, n, m)`` each, into ``(B, matrix_size)``."""
    return torch.cat([matrix.flatten(1).T for matrix in matrices]).T
