"""Where a split's rows live: on the device that trains, or in the host's memory.

Of RecBole's it touches ``Dataset.inter_feat``, ``Dataset.user_feat``, ``Dataset.item_feat``,
``Dataset.uid_field`` and ``Dataset.iid_field``.
"""

from __future__ import annotations

from logging import getLogger
from typing import Any

import torch

from recbole_midpg.common.rules import Switch
from recbole_midpg.common.units import in_units
from recbole_midpg.integration.dataset.compact_interaction import kept_columns
from recbole_midpg.integration.dataset.rare_tokens import reading_rare_tokens
from recbole_midpg.training.device_rows import DeviceRows, Features, RowTables

DATA_ON_DEVICE = Switch()
"""What the key ``data_on_device`` may hold."""

# The share of a device's free memory that `auto` gives to the rows of one split. What is free when
# the first batch is asked for has to hold the gradients, the optimizer's moments (twice the
# weights) and a batch with all its layers, too, and the rows of the other splits after that.
ROWS_SHARE = 0.4


def row_tables(dataset: Any) -> RowTables:
    """The columns of a split as they are kept, not copied, and how a model reads them.

    Args:
        dataset: RecBole's ``Dataset`` of the split.
    """
    rows = kept_columns(dataset.inter_feat)
    features = [
        # The features stand in the order of their ids, so their own column of ids says nothing.
        Features(key, {name: column for name, column in kept_columns(table).items() if name != key})
        for key, table in (
            (dataset.uid_field, dataset.user_feat),
            (dataset.iid_field, dataset.item_feat),
        )
        if table is not None and key in rows
    ]
    return reading_rare_tokens(RowTables(rows, features), dataset)


def place_rows(dataset: Any, config: Any, n_order_bytes: int, use: str) -> DeviceRows | None:
    """Put a split's rows on the device where the key ``data_on_device`` says so and they fit.

    Args:
        dataset: RecBole's ``Dataset`` of the split.
        config: RecBole's ``Config``.
        n_order_bytes: what the order of an epoch takes beside the rows.
        use: what the rows are for, for the log.

    Returns:
        The rows on the device; ``None`` where they stay in the host's memory, which is logged where
        the device lacks the room.
    """
    switch, device = config["data_on_device"], torch.device(config["device"])
    # The host's own memory gains nothing by a copy of the rows.
    if not switch or (switch == "auto" and device.type != "cuda"):
        return None
    tables = row_tables(dataset)
    n_bytes = tables.n_bytes + n_order_bytes
    rows = f"{len(tables):,} rows for {use}, {in_units(n_bytes)}"
    free = free_bytes(device)
    if free is not None and not fit(n_bytes, free, switch):
        room = f"{in_units(free)} are free there"
        limit = f", of which auto gives them {ROWS_SHARE:.0%}" if switch == "auto" else ""
        getLogger().info(f"{rows}, are streamed to {device}: {room}{limit}.")
        return None
    try:
        placed = DeviceRows(tables, device)
    except torch.cuda.OutOfMemoryError:
        getLogger().info(f"{rows}, are streamed to {device}: it ran out of memory for them.")
        return None
    getLogger().info(f"{rows}, are on {device}.")
    return placed


def fit(n_bytes: int, free: int, switch: bool | str) -> bool:
    """Whether rows fit a device.

    Args:
        n_bytes: what they take.
        free: the bytes that are free there.
        switch: ``"auto"``, which leaves room for all else, or ``True``, which takes what there is.
    """
    return n_bytes <= free * (ROWS_SHARE if switch == "auto" else 1)


def free_bytes(device: torch.device) -> int | None:
    """The memory that this process can still have of a device; ``None`` where that is not known."""
    if device.type != "cuda":
        return None
    free, _ = torch.cuda.mem_get_info(device.index)
    kept = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    return int(free + kept)
