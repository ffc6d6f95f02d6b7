"""Whether a dataset's numbers can be trusted: labels, splits, scenarios, and fields that leak."""

from __future__ import annotations

from collections.abc import Iterator
from logging import getLogger
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from recbole.data import utils as data_utils
from recbole.utils import FeatureType, ModelType

from recbole_midpg.common.errors import UsageError, expected_some_of
from recbole_midpg.evaluation.binary_metrics import auc
from recbole_midpg.integration.dataset.repeated_rows import following_rows, repeats, take_digests
from recbole_midpg.integration.dataset.split_columns import MODEL_SOURCES, column_of
from recbole_midpg.integration.dataset.time_split import report_random_split
from recbole_midpg.integration.models.model_types import OF_ROWS
from recbole_midpg.integration.run.validation import report_missing_validation
from recbole_midpg.models.entire_space import EntireSpaceModel

# A field whose AUC by itself is above this leaks the label.
LEAKING_AUC = 0.99
_SAMPLED_ROWS = 100_000
_SPLITS = {"train": "training", "valid": "validation", "test": "test"}
# With fewer rows a perfect AUC may be chance.
_LEAST_ROWS = 1000
_QUANTILES = 100
# With fewer positive rows expected, finding none may be chance.
_LEAST_EXPECTED = 20


# What RecBole's samplers raise where a user has met every item.
_NOTHING_TO_SAMPLE = "Some users have interacted with all items"
_stock_data_preparation = data_utils.data_preparation


def data_preparation(config: Any, dataset: Any) -> tuple[Any, Any, Any]:
    """Stand in for ``recbole.data.data_preparation``: the same loaders, of data that was checked.

    So training by RecBole's own steps raises and logs what a run by the command does. Warns of
    rows that repeat another one, see :mod:`~recbole_midpg.integration.dataset.repeated_rows`.

    Returns:
        The loaders of training, validation (``None`` without such a split) and test.

    Raises:
        UsageError: see :func:`check_data`; or there is no item that could be sampled for a user.
    """
    try:
        if config["MODEL_TYPE"] == ModelType.CONTEXT:
            loaders = _prepare_and_check(config, dataset)
        else:
            loaders = _stock_data_preparation(config, dataset)
    except ValueError as error:
        if not str(error).startswith(_NOTHING_TO_SAMPLE):
            raise
        raise UsageError(
            f"train_neg_sample_args, eval_args: mode: a user in {config['dataset']} has met every "
            "item, and so none can be sampled as a negative one, expected no sampling (~, and "
            "mode: labeled), or fewer rows of each user (user_inter_num_interval)."
        ) from error
    report_missing_validation(config)
    if config["MODEL_TYPE"] in OF_ROWS:
        report_random_split(config, dataset)
    return loaders


def _prepare_and_check(config: Any, dataset: Any) -> tuple[Any, Any, Any]:
    """Prepare the data of a context-aware model, check it, and report repeated rows."""
    with following_rows(dataset):
        loaders = _stock_data_preparation(config, dataset)
        splits = [None if loader is None else loader._dataset for loader in loaders]
        repeated = repeats([take_digests(split) for split in splits if split is not None])
    check_data(config, *splits)
    if repeated:
        getLogger().warning(repeated)
    return loaders


def check_loss(_self: Any, loss: torch.Tensor) -> None:
    """Stand in for ``Trainer._check_nan``, which passes over infinity.

    Raises:
        UsageError: the loss is NaN or infinite.
    """
    if not torch.isfinite(loss):
        raise UsageError(
            f"training: the loss is not finite ({loss.item()}); a lower learning_rate may help."
        )


def check_data(config: Any, train: Any, valid: Any, test: Any) -> None:
    """Check the labelled rows that a context-aware model is about to be trained and judged on.

    Warns in the log of splits without AUC, scenario fields without scenarios and fields that leak
    the label.

    Args:
        config: RecBole's ``Config``.
        train: RecBole's ``Dataset`` of the training split, built.
        valid: that of the validation split, ``None`` where there is none.
        test: that of the test split.

    Raises:
        UsageError: a split is empty, there are no labels, one is neither 0 nor 1, all of the
            training split are equal, or a number is not finite.
    """
    if config["MODEL_TYPE"] != ModelType.CONTEXT:
        return
    parts = {"train": train, "valid": valid, "test": test}
    splits = {phase: split for phase, split in parts.items() if split is not None}
    sampled = [
        phase for phase in splits if config[f"{phase}_neg_sample_args"]["distribution"] != "none"
    ]
    for phase in sampled:
        _check_sampled(config, phase, splits[phase])
    if sampled:
        return
    for phase, split in splits.items():
        _check_labels(config["LABEL_FIELD"], _SPLITS[phase], split)
        if issubclass(config.model_class, EntireSpaceModel):
            _check_clicks(config, _SPLITS[phase], split)
        for field in config["numerical_features"] or ():
            _check_numbers(field, _SPLITS[phase], split)
    for field in config["scenario_fields"] or ():
        values = column_of(train, field)
        if values is not None and len(values.unique()) == 1:
            getLogger().warning(
                f"scenario_fields: {field!r} has one value in the training split, "
                "and so makes no scenarios."
            )
    for suspicion in _suspicious_fields(config["LABEL_FIELD"], train):
        getLogger().warning(suspicion)
    _report_unembedded_numbers(config, train)
    _report_unseen_tokens(config, train, test)


def has_scenarios(config: Any, train: Any) -> bool:
    """Whether training rows differ in a scenario field.

    Args:
        config: RecBole's ``Config``.
        train: the training split, a ``Dataset``.
    """
    columns = [column_of(train, field) for field in config["scenario_fields"] or ()]
    return any(column is None or bool((column != column[:1]).any()) for column in columns)


def _check_clicks(config: Any, name: str, split: Any) -> None:
    """Check that clicks are 0 or 1, and that what was bought was clicked.

    Raises:
        UsageError: they are not, or it was not.
    """
    click_field = config["click_field"]
    columns = split.inter_feat
    clicks, labels = columns[click_field], columns[config["LABEL_FIELD"]]
    others = clicks[(clicks != 0) & (clicks != 1)]
    if len(others):
        raise UsageError(
            f"click_field: {click_field!r} is {others[0].item():g} in one of {len(others):,} rows "
            f"of the {name} split, expected 0 or 1 in all."
        )
    without = int(((labels == 1) & (clicks == 0)).sum())
    if without:
        raise UsageError(
            f"click_field: {without:,} of the {int(labels.sum()):,} positive rows of the {name} "
            f"split have {click_field} 0, expected 1, as {config['LABEL_FIELD']} follows a click."
        )


def _check_sampled(config: Any, phase: str, split: Any) -> None:
    """Check that rows for which others are sampled as negatives are themselves positive."""
    labels = column_of(split, config["LABEL_FIELD"])
    if labels is None:
        return
    negative = int((labels == 0).sum())
    if negative:
        key, value = "train_neg_sample_args", config["train_neg_sample_args"]
        if phase != "train":
            key, value = "eval_args: mode", config["eval_args"]["mode"]
        raise UsageError(
            f"{key}: {value!r} takes all {len(labels):,} rows of the {_SPLITS[phase]} split for "
            f"positive, and {config['LABEL_FIELD']!r} is 0 in {negative:,} of them; expected no "
            "sampling (~, and mode: labeled), or positive rows only."
        )


def _check_labels(label_field: str, name: str, split: Any) -> None:
    if len(split) == 0:
        raise UsageError(
            f"eval_args: the {name} split is empty, expected some rows in each of the three."
        )
    labels = column_of(split, label_field)
    if labels is None:
        raise UsageError(
            f"LABEL_FIELD: {label_field!r} is not a field of the data"
            f"{expected_some_of(split.field2type, label_field)}"
        )
    other = labels[(labels != 0) & (labels != 1)]
    if len(other):
        raise UsageError(
            f"label {label_field!r}: {len(other):,} of the {len(labels):,} rows of the {name} "
            f"split are neither 0 nor 1 ({other[0].item():g} for one); threshold makes labels of "
            "numbers, as {rating: 4}."
        )
    if bool((labels == labels[0]).all()):
        problem = f"label {label_field!r}: it is {labels[0].item():g} in all {len(labels):,} rows"
        if name == "training":
            raise UsageError(f"{problem} of the training split, expected rows of both classes.")
        getLogger().warning(f"{problem} of the {name} split, where AUC is not defined.")


def _check_numbers(field: str, name: str, split: Any) -> None:
    numbers = column_of(split, field)
    if numbers is None:
        return
    wrong = int((~torch.isfinite(numbers)).flatten(1).any(dim=1).sum()) if len(numbers) else 0
    if wrong:
        raise UsageError(
            f"numerical_features: {wrong:,} of the {len(numbers):,} rows' values of {field!r} "
            f"{'is' if wrong == 1 else 'are'} not finite in the {name} split, expected numbers "
            "below 3.4e38, or nothing where one is missing."
        )


def _report_unembedded_numbers(config: Any, train: Any) -> None:
    """Log the columns of numbers that are loaded and that no model reads."""
    read = {
        *(config["numerical_features"] or ()),
        *(config["threshold"] or ()),
        *(config[key] for key in ("LABEL_FIELD", "TIME_FIELD", "RATING_FIELD")),
    }
    unread = [
        field for field in train.fields(ftype=_NUMBERS, source=MODEL_SOURCES) if field not in read
    ]
    if unread:
        names = ", ".join(unread)
        getLogger().info(
            f"Numbers that are loaded and no feature: {names} (numerical_features: [{names}] "
            "embeds them)."
        )


def _report_unseen_tokens(config: Any, train: Any, test: Any) -> None:
    """Log how many rows of the test split have a token that no training row has.

    Such a token's embedding is as it was drawn at the start.
    """
    unembedded = config["unembedded_fields"] or ()
    shares = []
    for field in train.fields(ftype=[FeatureType.TOKEN], source=MODEL_SOURCES):
        learned, tested = column_of(train, field), column_of(test, field)
        if learned is None or tested is None or field in unembedded:
            continue
        if field in getattr(train, "rare_tokens", {}):  # read as [UNK], which has a line of its own
            continue
        seen = torch.zeros(train.num(field), dtype=torch.bool)
        for part in learned.split(_BLOCK):
            seen[part.long()] = True
        new = sum(int((~seen[part.long()]).sum()) for part in tested.split(_BLOCK))
        if new:
            shares.append(f"{field} in {new:,} of {len(tested):,}")
    if shares:
        getLogger().info(
            f"Rows of the test split with a value that no training row has: {'; '.join(shares)}."
        )


_BLOCK = 1_000_000
_NUMBERS = [FeatureType.FLOAT, FeatureType.FLOAT_SEQ]


def _suspicious_fields(label_field: str, train: Any) -> Iterator[str]:
    """Find fields that leak the label, or that look like another outcome of the same event.

    Yields:
        A sentence for each.
    """
    for field, columns, labels in _sampled_fields(label_field, train):
        area = max(_area(codes, labels, len(labels) // 2) for codes in columns)
        if area > LEAKING_AUC:
            yield (
                f"The field {field!r} alone predicts the label with an AUC of {area:.4f}: it leaks "
                "what is to be predicted, unless it is known before (unload_col leaves it out)."
            )
        elif any(_is_condition(codes, labels) for codes in columns):
            yield (
                f"The field {field!r} has two values, and with one of them no row is positive: it "
                "looks like an outcome of the same event, as a click beside a purchase, and leaks "
                "what is to be predicted, unless it is known before (unload_col leaves it out)."
            )


def _sampled_fields(
    label_field: str, train: Any
) -> Iterator[tuple[str, list[NDArray[np.intp]], NDArray[np.float64]]]:
    """Sample rows; gives each field with its values, numbered, a column or more, and the labels."""
    # A generator of its own: what a run draws from the global ones must not depend on this.
    order = np.random.default_rng(0).permutation(len(train))[:_SAMPLED_ROWS]
    sample = torch.from_numpy(order)
    whole = column_of(train, label_field)
    if whole is None or len(sample) < _LEAST_ROWS:
        return
    labels = whole[sample].numpy().astype(np.float64)
    for field in train.fields(source=MODEL_SOURCES):
        if field == label_field or train.field2type[field] not in _CODED:
            continue
        column = column_of(train, field)
        if column is not None:
            values = column[sample].numpy()
            # A number with an embedding comes with the number of its bucket.
            yield field, [_coded(part) for part in values.reshape(len(values), -1).T], labels


def _is_condition(codes: NDArray[np.intp], labels: NDArray[np.float64]) -> bool:
    """Whether one of a column's two values has no positive row, where many would be by chance."""
    values, counts = np.unique(codes, return_counts=True)
    if len(values) != 2:  # noqa: PLR2004 - done, or not
        return False
    positives = np.array([labels[codes == value].sum() for value in values])
    return bool(((positives == 0) & (counts * labels.mean() >= _LEAST_EXPECTED)).any())


_CODED = (FeatureType.TOKEN, FeatureType.FLOAT)


def _coded(values: NDArray[Any]) -> NDArray[np.intp]:
    """Number the values from 0; numbers that are many go by quantiles."""
    if values.dtype.kind == "f":
        edges = np.unique(np.quantile(values, np.linspace(0, 1, _QUANTILES + 1), method="lower"))
        return np.searchsorted(edges, values, side="right")
    return values.astype(np.intp)


def _area(codes: NDArray[np.intp], labels: NDArray[np.float64], learned: int) -> float:
    """AUC of the mean label of each code in the first rows, on all others; -1 where undefined.

    So a field of which each value is seen once, as a user's id, predicts nothing.
    """
    size = int(codes.max()) + 1
    counts = np.bincount(codes[:learned], minlength=size)
    sums = np.bincount(codes[:learned], weights=labels[:learned], minlength=size)
    means = np.where(counts > 0, sums / np.maximum(counts, 1), labels[:learned].mean())
    area = auc(labels[learned:], means[codes[learned:]])
    return -1.0 if np.isnan(area) else area
