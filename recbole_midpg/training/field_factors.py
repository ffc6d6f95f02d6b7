"""Numbers that fields have, for the rows of a model's embedding tables."""

from __future__ import annotations

import re
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from recbole_midpg.common.errors import UsageError, expected_some_of

# RecBole's names: a table of all fields of single values, or one of each field of several.
_TABLE = re.compile(r"(?:^|\.)(token|float)(_seq)?_embedding_table\.(embedding|\d+)$")


def factors_of_rows(key: str, model: nn.Module, by_field: Mapping[str, float]) -> list[Tensor]:
    """Give each row of each embedding table the number that its field has.

    Args:
        key: the config key that the numbers are of, for errors.
        model: a context-aware model of this package or RecBole's.
        by_field: the numbers; a field that is not named has 0.

    Returns:
        Of each ``nn.Embedding``, in the order of ``named_modules``, one number a row.

    Raises:
        UsageError: a name is not a field that the model embeds, or a table is not one of fields.
    """
    factors: list[Tensor] = []
    embedded: set[str] = set()
    for name, module in model.named_modules():
        if isinstance(module, nn.Embedding):
            fields = _fields_of(key, model, name)
            embedded.update(fields)
            numbers = torch.tensor([float(by_field.get(field, 0.0)) for field in fields])
            rows = torch.tensor(list(fields.values()))
            factors.append(numbers.repeat_interleave(rows).to(module.weight.device))
    for field in by_field:
        if field not in embedded:
            raise UsageError(
                f"{key}: {field!r} is not a field that {type(model).__name__} embeds"
                f"{expected_some_of(sorted(embedded), field)}"
            )
    return factors


def _fields_of(key: str, model: nn.Module, table: str) -> dict[str, int]:
    """The fields whose rows a table has one below the other, and how many rows each has."""
    match = _TABLE.search(table)
    if match is None:
        raise UsageError(
            f"{key}: the rows of {type(model).__name__}'s {table} are not those of single fields, "
            "expected one number for all."
        )
    owner = model.get_submodule(table[: match.start()])
    kind = match[1] + (match[2] or "")
    names, sizes = getattr(owner, f"{kind}_field_names"), getattr(owner, f"{kind}_field_dims")
    if match[3] == "embedding":
        return dict(zip(names, map(int, sizes), strict=True))
    return {names[int(match[3])]: int(sizes[int(match[3])])}
