"""The models of the package beside each other, on a given dataset."""

from __future__ import annotations

from dataclasses import dataclass

from recbole.data import create_dataset

from recbole_midpg.common.errors import UsageError
from recbole_midpg.integration.config.config import build_config
from recbole_midpg.integration.models.registry import own_models
from recbole_midpg.models.base import count_parameters


@dataclass(frozen=True)
class ModelRow:
    """A model on a dataset.

    Attributes:
        name: the model.
        paper: where it is from.
        parameters: trainable parameters, ``None`` where the model cannot be built.
        without_embeddings: those that are not embeddings.
        needs_scenario: whether it needs ``scenario_fields``.
        problem: why the model cannot be built, an empty text where it can.
    """

    name: str
    paper: str
    parameters: int | None
    without_embeddings: int | None
    needs_scenario: bool
    problem: str


def describe_models(dataset_name: str, config_files: list[str]) -> list[ModelRow]:
    """Build every model of the package on a dataset, with its defaults, and count.

    Args:
        dataset_name: the dataset.
        config_files: RecBole config files, the later one winning.

    Returns:
        A row a model.

    Raises:
        UsageError: no model can be built, as where the dataset is not there.
    """
    dataset = None
    rows = []
    for name, model_class in own_models().items():
        about = (name, model_class.paper)
        try:
            config = build_config(name, dataset_name, config_files)
            if dataset is None:
                dataset = create_dataset(config)
            total, without = count_parameters(model_class(config, dataset))
        except UsageError as error:
            rows.append(ModelRow(*about, None, None, model_class.needs_scenario, str(error)))
            continue
        rows.append(ModelRow(*about, total, without, model_class.needs_scenario, ""))
    if all(row.problem for row in rows):
        raise UsageError(rows[-1].problem)
    return rows
