"""What a model of clicks and purchases does for each of its tasks.

Of RecBole's it touches ``Interaction.to``.
"""

from __future__ import annotations

from collections import defaultdict
from typing import Any

import torch
from torch import Tensor

from recbole_midpg.evaluation.scenario_table import ScenarioTable, scenario_table
from recbole_midpg.integration.metrics.collecting import names_of_scenarios
from recbole_midpg.integration.run.process_group import gather_batches
from recbole_midpg.models.entire_space import EntireSpaceModel

_CLICKED, _BOUGHT, _SCENARIO = "clicked", "bought", "scenario"


@torch.no_grad()
def tables_of_tasks(model: EntireSpaceModel, data: Any) -> dict[str, ScenarioTable]:
    """Evaluate a model's tasks on the rows of a loader, scenario by scenario.

    CTR and CTCVR are judged on all rows, by clicks and by purchases; CVR is judged by purchases, on
    the rows that were clicked. A task whose rows are none has no table.

    Args:
        model: the model, in evaluation mode.
        data: RecBole's loader of labelled rows.

    Returns:
        A table a task, by its name.
    """
    columns = _collect(model, data)
    field = model.scenario_id_field
    names = ["all rows"] if field is None else names_of_scenarios(field, data._dataset)
    clicked, bought = columns[_CLICKED], columns[_BOUGHT]
    every = torch.ones_like(clicked, dtype=torch.bool)
    judged = {"CTR": (clicked, every), "CVR": (bought, clicked == 1), "CTCVR": (bought, every)}
    tables = {}
    for task, (labels, rows) in judged.items():
        if rows.any():
            of_rows = [c[rows].numpy() for c in (labels, columns[task], columns[_SCENARIO])]
            tables[task] = scenario_table(of_rows[0], of_rows[1], of_rows[2], names)
    return tables


def _collect(model: EntireSpaceModel, data: Any) -> dict[str, Tensor]:
    """The labels, probabilities and scenarios of all rows, those of other processes included."""
    parts: dict[str, list[Tensor]] = defaultdict(list)
    scenario_field = model.scenario_id_field
    for interaction, *_ in data:
        batch = interaction.to(model.device)
        columns = model.tasks(batch)
        columns[_CLICKED] = batch[model.click_field]
        columns[_BOUGHT] = batch[model.LABEL]
        columns[_SCENARIO] = (
            torch.zeros_like(columns[_BOUGHT], dtype=torch.int64)
            if scenario_field is None
            else batch[scenario_field]
        )
        for name, column in columns.items():
            parts[name].append(column.reshape(-1).cpu())
    return {
        name: gather_batches(torch.cat(batches), [len(batch) for batch in batches])
        for name, batches in parts.items()
    }
