"""What RecBole's filters leave out of a dataset: counted, reported, asked about where it is much.

Cause: RecBole leaves out rows whose user or item has no line in the file of features, and rows
without a user or an item, with nothing but a smaller count in the log. Half of the rows can go so.
"""

from __future__ import annotations

from logging import getLogger
from typing import Any

from recbole_midpg.common.errors import UsageError
from recbole_midpg.loading.data_selection import set_filters

_MISSING, _WITHOUT_FEATURES = "_filter_nan_user_or_item", "_filter_inter_by_user_or_item"
_KEEPS = "filter_inter_by_user_or_item"
# RecBole's filters in their order, each with the keys that switch it on; without keys it is on.
_FILTERS = {
    _MISSING: (),
    "_remove_duplication": ("rm_dup_inter",),
    "_filter_by_field_value": ("val_interval",),
    _WITHOUT_FEATURES: (),
    "_filter_by_inter_num": ("user_inter_num_interval", "item_inter_num_interval"),
}


def filter_rows(self: Any) -> None:
    """Stand in for ``Dataset._data_filtering``: the same filters, with what each left out.

    ``left_out`` of the dataset then has ``[filter, rows before, rows left out, why]`` of each
    filter that left rows out.

    Raises:
        UsageError: a filter leaves no row.
    """
    self.left_out = []
    for name in _FILTERS:
        before = len(self.inter_feat)
        why = _lacking_features(self) if name == _WITHOUT_FEATURES else ""
        getattr(self, name)()
        left_out = before - len(self.inter_feat)
        if left_out:
            self.left_out.append([name, before, left_out, why])
        if left_out and left_out == before:
            sentence = _sentence(self.dataset_name, self.config, self.left_out[-1])
            raise UsageError(f"{sentence}; expected some rows to be left.")
    self._reset_index()


def _lacking_features(dataset: Any) -> str:
    """Say how many of the rows' users and items have no line in the file of their features."""
    parts = []
    for field, features, kind in (
        (dataset.uid_field, dataset.user_feat, "user"),
        (dataset.iid_field, dataset.item_feat, "item"),
    ):
        if features is None:
            continue
        ids = dataset.inter_feat[field].drop_duplicates()
        lacking = int((~ids.isin(features[field].to_numpy())).sum())
        if lacking:
            file = f"{dataset.dataset_name}.{kind}"
            parts.append(f"{file} lacks {lacking:,} of {len(ids):,} {kind}s")
    return " and ".join(parts)


def report_left_out(dataset: Any, config: Any) -> None:
    """Log what reading remarked and filters left out of a dataset, and ask where that is much.

    Args:
        dataset: RecBole's ``Dataset``, loaded.
        config: RecBole's ``Config``, whose ``max_left_out`` is the share of rows that a filter may
            leave out which nobody has asked for.

    Raises:
        UsageError: such a filter has left out a larger share.
    """
    for remark in getattr(dataset, "remarks", ()):
        getLogger().warning(remark)
    most = config["max_left_out"]
    for entry in getattr(dataset, "left_out", ()):
        name, before, left_out, _ = entry
        sentence = _sentence(dataset.dataset_name, config, entry)
        nobody_asked = name == _MISSING or (
            name == _WITHOUT_FEATURES and _KEEPS not in getattr(config, "external_config_dict", {})
        )
        if nobody_asked and most is not None and left_out > most * before:
            raise UsageError(f"{sentence}; max_left_out: 1 lets them go.")
        getLogger().warning(f"{sentence}.")


def _sentence(dataset: str, config: Any, entry: list[Any]) -> str:
    """Say what a filter has left out, without a full stop."""
    name, before, left_out, why = entry
    counts = f"{left_out:,} of {before:,} rows are left out"
    if name == _MISSING:
        return f"{dataset}: {counts}, which have no user or no item"
    if name == _WITHOUT_FEATURES:
        return f"{why}; {counts} ({_KEEPS}: False keeps them)"
    return f"{counts} by {' and '.join(set_filters(config, *_FILTERS[name]))}"
