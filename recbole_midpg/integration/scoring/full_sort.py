"""RecBole's ``full_sort_scores`` and ``full_sort_topk`` for context-aware models.

Cause: both read the users' histories from a loader that sorts all items, and a context-aware model
that is evaluated on labels has none (``AttributeError: ... uid2history_item``). Both also put all
users' pairs into one batch, and ask a model for columns of ``.inter`` that no pair has. Here the
histories come from the splits before the loader's, the pairs are scored in batches, and what a pair
cannot have is named.
"""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from recbole.data.interaction import Interaction
from recbole.utils import ModelType, case_study
from torch import Tensor

from recbole_midpg.common.errors import UsageError
from recbole_midpg.evaluation.cross_product import score_pairs
from recbole_midpg.integration.dataset.compact_interaction import kept_columns
from recbole_midpg.loading.items_by_user import ItemsByUser

stock_full_sort_scores = case_study.full_sort_scores


def with_earlier_rows(stock: Any) -> Any:
    """Wrap ``Dataset.build``: each split knows the rows of the splits before it."""

    @functools.wraps(stock)
    def build(self: Any) -> list[Any]:
        splits = stock(self)
        for number, split in enumerate(splits):
            split.earlier_rows = [earlier.inter_feat for earlier in splits[:number]]
        return splits

    return build


def full_sort_scores(
    uid_series: Any, model: Any, test_data: Any, device: torch.device | str | None = None
) -> Tensor:
    """Stand in for ``recbole.utils.case_study.full_sort_scores``; also serves ``full_sort_topk``.

    A context-aware model gets the features of each user and of each item, joined as in training,
    in batches of ``eval_batch_size``. As in RecBole's own code a user's history is what stands in
    the splits before the loader's (for the test: training and validation) and not in the loader's,
    whatever the labels; with ``repeatable: True`` there is none. Other models are left to RecBole.

    Args:
        uid_series: the users' internal ids, ``(users,)``, as ``dataset.token2id`` gives them.
        model: the model.
        test_data: the loader of a split, by any mode of ``eval_args``.
        device: where the model is; the CPU by default.

    Returns:
        The scores, ``(users, item_num)``, on ``device``; minus infinity for ``[PAD]``, item 0, and
        for the items of each user's history.

    Raises:
        UsageError: the model reads a field of ``.inter``, which a user and an item do not
            determine; or an id is none of a user.
    """
    if getattr(model, "type", None) is not ModelType.CONTEXT:
        return stock_full_sort_scores(uid_series, model, test_data, device)
    dataset, device = test_data.dataset, torch.device(device or "cpu")
    users = _internal_ids(uid_series, dataset)
    read = [
        *(*model.token_field_names, *model.token_seq_field_names),
        *(*model.float_field_names, *model.float_seq_field_names),
    ]
    of_users, of_items = dataset.get_user_feature(), dataset.get_item_feature()
    undetermined = [name for name in read if name not in of_users and name not in of_items]
    if undetermined:
        raise UsageError(
            f"full_sort_scores: {type(model).__name__} reads {', '.join(undetermined)} of each "
            "row, which a user and an item do not determine; recbole-midpg recommend --context "
            "and recbole_midpg.prediction.Scorer.top_k take their values."
        )
    model.eval()
    left = _columns(of_users[torch.from_numpy(users)], {dataset.uid_field, *read}, device)
    right = _columns(of_items, {dataset.iid_field, *read}, device)

    def predict(columns: dict[str, Tensor]) -> Tensor:
        return model.predict(Interaction(columns))

    scores = score_pairs(predict, left, right, len(users), test_data.config["eval_batch_size"])
    scores[:, 0] = -torch.inf
    for row, history in zip(scores, _histories(users, dataset), strict=True):
        row[torch.from_numpy(history).to(device)] = -torch.inf
    return scores


def _columns(table: Any, names: set[str], device: torch.device) -> dict[str, Tensor]:
    """Those of a table's columns that are wanted, on the device and as wide as a batch's."""
    return {name: table[name].to(device) for name in table.columns if name in names}


def _internal_ids(uid_series: Any, dataset: Any) -> NDArray[np.int64]:
    """Users' ids as an array, checked."""
    ids = np.asarray(uid_series.cpu() if isinstance(uid_series, Tensor) else uid_series)
    if not len(ids):
        return np.zeros(0, np.int64)
    wrong = [uid for uid in ids.tolist() if not _is_index(uid, dataset.user_num)]
    if wrong:
        raise UsageError(
            f"uid_series: {wrong[0]!r} is not allowed, expected internal ids of "
            f"{dataset.uid_field}, below {dataset.user_num:,}, as dataset.token2id"
            f"({dataset.uid_field!r}, tokens) gives them."
        )
    return ids.astype(np.int64)


def _is_index(value: Any, size: int) -> bool:
    return isinstance(value, int) and 0 <= value < size


def _histories(users: NDArray[np.int64], dataset: Any) -> list[NDArray[np.int64]]:
    """The items that each user has met before a split and not in it."""
    earlier = [] if dataset.config["repeatable"] else dataset.earlier_rows
    before, within = (
        _items_by_user(tables, dataset, users) for tables in (earlier, [dataset.inter_feat])
    )
    return [np.setdiff1d(before.items_of(user), within.items_of(user)) for user in users]


def _items_by_user(tables: list[Any], dataset: Any, users: NDArray[np.int64]) -> ItemsByUser:
    """The items of some users in all rows of some tables."""
    columns = [kept_columns(rows) for rows in tables]
    none = [np.zeros(0, np.int64)]
    all_users = np.concatenate(none + [np.asarray(of[dataset.uid_field]) for of in columns])
    all_items = np.concatenate(none + [np.asarray(of[dataset.iid_field]) for of in columns])
    wanted = np.isin(all_users, users)
    return ItemsByUser.of(all_users[wanted], all_items[wanted])
