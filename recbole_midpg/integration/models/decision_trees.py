"""XGBoost and LightGBM as models like any other: trained by epochs, judged on the same rows.

Cause: RecBole's trainers of decision trees keep neither a history nor a checkpoint that can be
read, find their defaults only where a file's capitals do not matter, mix up the rows of features
that have several numbers, and fail with ``convert_token_to_onehot``. Here trees are a context-aware
model that reads the fields which all others embed, so that what holds for those (checks of the
data, metrics by scenario, checkpoints, the report) holds for trees too.
"""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Callable
from typing import Any, ClassVar, NamedTuple, TypeAlias

import numpy as np
import scipy.sparse
import torch
from numpy.typing import NDArray
from recbole.model.abstract_recommender import AbstractRecommender
from recbole.trainer import Trainer
from recbole.utils import FeatureType, InputType, ModelType
from torch import Tensor

from recbole_midpg.common.errors import UsageError
from recbole_midpg.evaluation.binary_metrics import log_loss
from recbole_midpg.integration.dataset.number_scaling import scalers_of
from recbole_midpg.integration.dataset.rare_tokens import rare_tokens_of
from recbole_midpg.integration.dataset.split_columns import MODEL_SOURCES
from recbole_midpg.integration.models.model_names import TREES

Features: TypeAlias = "NDArray[np.float32] | scipy.sparse.csr_matrix"
_ErrorClass: TypeAlias = type[Exception]  # the models' attribute type hides the word
_UNTRAINED = 0.5  # the probability that no tree has moved


# --------------------------------------------------------------------------------------------------
# Features


class _Feature(NamedTuple):
    """A field, and what makes columns of its values."""

    field: str
    encode: Callable[[Tensor], Features]


def _features_of(config: Any, dataset: Any) -> list[_Feature]:
    """What trees read: the fields that a context-aware model embeds.

    A token is its id, or a column each where ``convert_token_to_onehot`` asks for it and there are
    at most ``token_num_threhold`` (RecBole's spelling) of them; a sequence of tokens is a column
    each, with how often it occurs; a number is itself or, where ``discretization`` names it, its
    bucket, a sequence of numbers its mean.
    """
    features = []
    for field in dataset.fields(source=MODEL_SOURCES):
        kind = dataset.field2type[field]
        encode: Callable[[Tensor], Features]
        if field == config["LABEL_FIELD"]:
            continue
        if kind == FeatureType.TOKEN_SEQ or (
            kind == FeatureType.TOKEN
            and config["convert_token_to_onehot"]
            and dataset.num(field) <= config["token_num_threhold"]
        ):
            encode = _Counts(dataset.num(field))
        elif kind == FeatureType.TOKEN:
            encode = _ids
        elif field not in config["numerical_features"]:
            continue
        else:
            encode = _buckets if field in (config["discretization"] or ()) else _numbers
        features.append(_Feature(field, encode))
    return features


class _Counts:
    """How often each token occurs in a row: ``(B,)`` or ``(B, L)`` to ``(B, tokens)``.

    Args:
        n_tokens: the field's tokens; token 0 is padding and has an empty column.
    """

    def __init__(self, n_tokens: int) -> None:
        self._n_tokens = n_tokens

    def __call__(self, tokens: Tensor) -> Features:
        ids = tokens.reshape(len(tokens), -1).numpy()
        rows, places = np.nonzero(ids)
        ones = np.ones(len(rows), dtype=np.float32)
        shape = (len(ids), self._n_tokens)
        return scipy.sparse.csr_matrix((ones, (rows, ids[rows, places])), shape=shape)


def _ids(tokens: Tensor) -> Features:
    """A token's id, ``(B,)`` to ``(B, 1)``."""
    return tokens.numpy().astype(np.float32)[:, None]


def _numbers(values: Tensor) -> Features:
    """The mean of a row's numbers, ``(B, 2)`` or ``(B, L, 2)`` of value and index to ``(B, 1)``.

    Index 0 is padding.
    """
    pairs = values.reshape(len(values), -1, 2).numpy().astype(np.float32)
    there = pairs[:, :, 1] != 0
    sums = (pairs[:, :, 0] * there).sum(axis=1, keepdims=True)
    return sums / np.maximum(there.sum(axis=1, keepdims=True), 1)


def _buckets(values: Tensor) -> Features:
    """The bucket of a row's number, ``(B, 2)`` of 1 and its index to ``(B, 1)``."""
    return values.reshape(len(values), 2)[:, 1:].numpy().astype(np.float32)


def _side_by_side(parts: list[Features]) -> Features:
    if any(scipy.sparse.issparse(part) for part in parts):
        return scipy.sparse.hstack(parts, format="csr")
    return np.hstack(parts)


def _below_each_other(parts: list[Features]) -> Features:
    if scipy.sparse.issparse(parts[0]):
        return scipy.sparse.vstack(parts, format="csr")
    return np.vstack(parts)


# --------------------------------------------------------------------------------------------------
# Models


class DecisionTrees(AbstractRecommender):
    """Boosted trees of another library.

    An epoch adds as many trees as the library's key of rounds says; ``eval_step`` and
    ``stopping_step`` choose the epoch as for any model.

    Args:
        config: RecBole's ``Config``.
        dataset: RecBole's ``Dataset`` of the training split.

    Attributes:
        library: the package that grows the trees.
        prefix: what the library's keys begin with.
        objectives: its objectives whose predictions are probabilities.
        trees: the library's booster, ``None`` before training.

    Raises:
        UsageError: the objective is not one of two classes.
    """

    type = ModelType.CONTEXT
    input_type = InputType.POINTWISE
    library: ClassVar[str]
    prefix: ClassVar[str]
    objectives: ClassVar[tuple[str, ...]]

    def __init__(self, config: Any, dataset: Any) -> None:
        super().__init__()
        # As a ContextRecommender keeps them.
        self.number_scalers, self.rare_tokens = scalers_of(dataset), rare_tokens_of(dataset)
        self._features = _features_of(config, dataset)
        self._params = {"seed": config["seed"], **(config[f"{self.prefix}_params"] or {})}
        self._rounds = config[f"{self.prefix}_num_boost_round"]
        self.trees: Any = None
        if self._params.get("objective") not in self.objectives:
            raise UsageError(
                f"{self.prefix}_params: objective: {self._params.get('objective')!r} is not "
                f"allowed, expected one of {', '.join(self.objectives)}."
            )

    def encode(self, interaction: Any) -> Features:
        """Make the trees' columns of a batch, ``(B, columns)``."""
        return _side_by_side(
            [part.encode(interaction[part.field].cpu()) for part in self._features]
        )

    def grow(self, features: Features, labels: NDArray[np.float32]) -> None:
        """Add trees that make up for what the present ones miss.

        Args:
            features: ``(N, columns)``.
            labels: ``(N,)``, 0 or 1.

        Raises:
            UsageError: the library refuses its parameters.
        """
        library = importlib.import_module(self.library)
        try:
            self._grow(library, features, labels)
        except self._errors(library) as error:
            first_line = str(error).strip().splitlines()[0].rstrip(".")
            raise UsageError(
                f"{self.prefix}_params: {type(self).__name__}: {first_line}."
            ) from error

    def probabilities(self, features: Features) -> NDArray[np.float32]:
        """Predict, ``(N, columns)`` to ``(N,)``."""
        if self.trees is None:
            return np.full(features.shape[0], _UNTRAINED, dtype=np.float32)
        return np.asarray(self._predict(features), dtype=np.float32)

    def predict(self, interaction: Any) -> Tensor:
        """Predict a batch, as RecBole asks its models: ``(B,)``, where the batch is."""
        scores = torch.from_numpy(self.probabilities(self.encode(interaction)))
        return scores.to(interaction[self._features[0].field].device)

    def get_extra_state(self) -> Tensor:
        """The trees in the library's own form, as bytes in a tensor, for a checkpoint."""
        content = b"" if self.trees is None else self._to_bytes()
        return torch.tensor(list(content), dtype=torch.uint8)

    def set_extra_state(self, state: Tensor) -> None:
        """Take over what :meth:`get_extra_state` gave."""
        self.trees = self._from_bytes(state.cpu().numpy().tobytes()) if len(state) else None

    def _grow(self, library: Any, features: Features, labels: NDArray[np.float32]) -> None:
        raise NotImplementedError

    def _errors(self, library: Any) -> _ErrorClass:
        raise NotImplementedError

    def _predict(self, features: Features) -> Any:
        raise NotImplementedError

    def _to_bytes(self) -> bytes:
        raise NotImplementedError

    def _from_bytes(self, content: bytes) -> Any:
        raise NotImplementedError


class XGBoost(DecisionTrees):
    """XGBoost (Chen and Guestrin, KDD 2016)."""

    library, prefix, objectives = "xgboost", "xgb", ("binary:logistic",)

    def __init__(self, config: Any, dataset: Any) -> None:
        super().__init__(config, dataset)
        self._threads = config["xgb_nthread"]
        self._begin_with = config["xgb_model"]
        if config["xgb_early_stopping_rounds"] is not None:
            raise UsageError(
                f"xgb_early_stopping_rounds: {config['xgb_early_stopping_rounds']!r} is not "
                "allowed, expected ~: an epoch adds xgb_num_boost_round trees, and training stops "
                "by stopping_step."
            )

    def _rows(self, library: Any, features: Features, labels: Any = None) -> Any:
        return library.DMatrix(features, label=labels, nthread=self._threads)

    def _grow(self, library: Any, features: Features, labels: NDArray[np.float32]) -> None:
        self.trees = library.train(
            self._params,
            self._rows(library, features, labels),
            self._rounds,
            xgb_model=self._begin_with if self.trees is None else self.trees,
        )

    def _errors(self, library: Any) -> _ErrorClass:
        return library.core.XGBoostError

    def _predict(self, features: Features) -> Any:
        return self.trees.predict(self._rows(importlib.import_module(self.library), features))

    def _to_bytes(self) -> bytes:
        return bytes(self.trees.save_raw("ubj"))

    def _from_bytes(self, content: bytes) -> Any:
        trees = importlib.import_module(self.library).Booster()
        trees.load_model(bytearray(content))
        return trees


class LightGBM(DecisionTrees):
    """LightGBM (Ke et al., NeurIPS 2017)."""

    library, prefix, objectives = "lightgbm", "lgb", ("binary", "cross_entropy", "xentropy")

    def _grow(self, library: Any, features: Features, labels: NDArray[np.float32]) -> None:
        params = {"verbosity": -1, **self._params}
        rows = library.Dataset(features, label=labels)
        self.trees = library.train(params, rows, self._rounds, init_model=self.trees)

    def _errors(self, library: Any) -> _ErrorClass:
        return library.basic.LightGBMError

    def _predict(self, features: Features) -> Any:
        return self.trees.predict(features)

    def _to_bytes(self) -> bytes:
        return self.trees.model_to_string().encode()

    def _from_bytes(self, content: bytes) -> Any:
        return importlib.import_module(self.library).Booster(model_str=content.decode())


TREE_MODELS: dict[str, type[DecisionTrees]] = dict(zip(TREES, (LightGBM, XGBoost), strict=True))


def tree_model(name: str) -> type[DecisionTrees]:
    """The class of a model of trees.

    Args:
        name: one of ``TREE_MODELS``.

    Raises:
        UsageError: its library is not installed.
    """
    model_class = TREE_MODELS[name]
    try:
        importlib.import_module(model_class.library)
    except ImportError as error:
        raise UsageError(
            f"model: {name!r} needs {model_class.library}, which cannot be imported ({error}); "
            f"pip install {model_class.library}."
        ) from error
    return model_class


# --------------------------------------------------------------------------------------------------
# Training


class _NoOptimizer:
    """Stands where RecBole's trainers keep an optimizer: trees have no parameters to move."""

    def __init__(self) -> None:
        self.state: dict[Any, Any] = {}
        self.param_groups: list[dict[str, Any]] = []

    def state_dict(self) -> dict[str, Any]:
        """Nothing."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Nothing to take over."""


class TreeTrainer(Trainer):
    """Trains :class:`DecisionTrees`: an epoch is one call of the library with all rows."""

    def _build_optimizer(self, **_: Any) -> Any:
        return _NoOptimizer()

    def _train_epoch(
        self, train_data: Any, epoch_idx: int, loss_func: Any = None, show_progress: bool = False
    ) -> float:
        """Grow trees; returns the LogLoss of the training rows after it."""
        batches = [
            (self.model.encode(batch), batch[self.config["LABEL_FIELD"]].cpu().numpy())
            for batch in train_data
        ]
        features = _below_each_other([part for part, _ in batches])
        labels = np.concatenate([part for _, part in batches]).astype(np.float32)
        self.model.grow(features, labels)
        return log_loss(labels, self.model.probabilities(features))
