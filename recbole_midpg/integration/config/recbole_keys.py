"""The forms of RecBole's own config keys, checked before it reads them.

RecBole takes values as they come. A null or a word where a number belongs ends in an error of
Python long after, or is taken for something else: a ``loss_decimal_place`` of 0 for 4, any text for
True, an unknown part of a mapping for nothing at all. Keys that another module checks by the data's
fields are here for their form alone.
"""

from __future__ import annotations

import codecs
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from recbole.utils import ModelType

from recbole_midpg.common.choices import LARGEST_SEED
from recbole_midpg.common.errors import UsageError
from recbole_midpg.common.rules import (
    ByName,
    Choice,
    Flag,
    Integer,
    Names,
    Number,
    OrNone,
    Parts,
    Rules,
    Sizes,
    Text,
    Word,
    check_settings,
)
from recbole_midpg.loading.data_selection import Intervals


@dataclass(frozen=True)
class _Encoding:
    """The name of a text encoding that Python knows."""

    allowed: str = "the name of an encoding, as utf-8"

    def accepts(self, value: Any) -> bool:
        """See :class:`~recbole_midpg.common.rules.Rule`."""
        try:
            codecs.lookup(value)
        except (TypeError, LookupError, ValueError):
            return False
        return value != ""


@dataclass(frozen=True)
class _Threshold:
    """From which number of a field on a row is positive."""

    allowed: str = "one field and a number, as {rating: 4}"

    def accepts(self, value: Any) -> bool:
        """See :class:`~recbole_midpg.common.rules.Rule`."""
        return ByName(Number(float("-inf")), "").accepts(value) and len(value) == 1


@dataclass(frozen=True)
class _Bucketing:
    """How ``discretization`` cuts a field's numbers: RecBole's two methods."""

    allowed: str = "{method: ED, bucket: 10} or {method: LD}"

    def accepts(self, value: Any) -> bool:
        """See :class:`~recbole_midpg.common.rules.Rule`."""
        equal_distance = Parts(
            {"method": Choice(("ED",)), "bucket": Integer(1)}, ("method", "bucket")
        )
        return equal_distance.accepts(value) or value == {"method": "LD"}


@dataclass(frozen=True)
class _NoTransform:
    """What a model without sequences of items can transform."""

    allowed: str = "~, as RecBole transforms sequences of items, which this model has none of"

    def accepts(self, value: Any) -> bool:
        """See :class:`~recbole_midpg.common.rules.Rule`."""
        return value is None


_FIELD = Text("a field's name")
RULES: Rules = {
    # Environment
    "worker": Integer(0),
    "use_gpu": Flag(),
    "seed": Integer(0, maximum=LARGEST_SEED),
    "state": OrNone(Word(("info", "debug", "warning", "error", "critical"))),
    "reproducibility": Flag(),
    "data_path": Text("a folder's name"),
    "checkpoint_dir": Text("a folder's name"),
    "show_progress": Flag(),
    "save_dataset": Flag(),
    "dataset_save_path": OrNone(Text("a file's name")),
    "save_dataloaders": Flag(),
    "dataloaders_save_path": OrNone(Text("a file's name")),
    "log_wandb": Flag(),
    "wandb_project": Text("a project's name"),
    "shuffle": Flag(),
    # Training
    "epochs": Integer(1),
    "train_batch_size": Integer(1),
    "learner": Word(("adam", "adamw", "lazy_adam", "sgd", "adagrad", "rmsprop", "sparse_adam")),
    "learning_rate": Number(),
    "train_neg_sample_args": OrNone(
        Parts(
            {
                "distribution": OrNone(Choice(("uniform", "popularity"))),
                "sample_num": Integer(1),
                "alpha": Number(),
                "dynamic": Flag(),
                "candidate_num": Integer(0),
            }
        )
    ),
    "eval_step": Integer(0),
    "stopping_step": Integer(0),
    "clip_grad_norm": OrNone(
        Parts(
            {
                "max_norm": Number(minimum_excluded=True),
                "norm_type": Number(minimum_excluded=True),
                "error_if_nonfinite": Flag(),
                "foreach": Flag(),
            },
            ("max_norm",),
        )
    ),
    "weight_decay": Number(),
    "loss_decimal_place": Integer(1, maximum=20),
    "require_pow": Flag(),
    "enable_amp": Flag(),
    "enable_scaler": Flag(),
    "transform": OrNone(
        Choice(
            ("mask_itemseq", "inverse_itemseq", "crop_itemseq", "reorder_itemseq", "user_defined")
        )
    ),
    # Evaluation; eval_modes.py has the others
    "repeatable": Flag(),
    "eval_batch_size": Integer(1),
    "metric_decimal_place": Integer(0, maximum=20),
    # Atomic files
    "field_separator": Text("the text between two columns"),
    "seq_separator": Text("the text between two values of a list"),
    "encoding": OrNone(_Encoding()),
    "USER_ID_FIELD": OrNone(_FIELD),
    "ITEM_ID_FIELD": OrNone(_FIELD),
    "RATING_FIELD": OrNone(_FIELD),
    "TIME_FIELD": OrNone(_FIELD),
    "LABEL_FIELD": _FIELD,
    "seq_len": OrNone(ByName(Integer(1), "{tags: 10}")),
    "threshold": OrNone(_Threshold()),
    "NEG_PREFIX": Text("a text"),
    "numerical_features": OrNone(Names()),
    # Preprocessing; data_selection.py has the keys that choose, filter and scale
    "alias_of_user_id": OrNone(Names()),
    "alias_of_item_id": OrNone(Names()),
    "alias_of_entity_id": OrNone(Names()),
    "alias_of_relation_id": OrNone(Names()),
    "preload_weight": OrNone(ByName(_FIELD, "{item_id: item_vector}")),
    "discretization": OrNone(ByName(_Bucketing(), "{price: {method: ED, bucket: 10}}")),
    # Sequential and knowledge-based models
    "ITEM_LIST_LENGTH_FIELD": _FIELD,
    "LIST_SUFFIX": Text("a text"),
    "MAX_ITEM_LIST_LENGTH": Integer(1),
    "POSITION_FIELD": _FIELD,
    "HEAD_ENTITY_ID_FIELD": _FIELD,
    "TAIL_ENTITY_ID_FIELD": _FIELD,
    "RELATION_ID_FIELD": _FIELD,
    "ENTITY_ID_FIELD": _FIELD,
    "kg_reverse_r": Flag(),
    "entity_kg_num_interval": OrNone(Intervals()),
    "relation_kg_num_interval": OrNone(Intervals()),
}
# Of context-aware models, where RecBole's share their keys.
_MODEL_RULES: Rules = {
    "transform": _NoTransform(),
    "embedding_size": Integer(1),
    "mlp_hidden_size": Sizes(1),
    "dropout_prob": Number(maximum=1.0),
    "reg_weight": Number(),
    "attention_size": Integer(1),
    "num_heads": Integer(1),
    "cin_layer_size": Sizes(1),
    "cross_layer_num": Integer(1),
    "expert_num": Integer(1),
    "low_rank": Integer(1),
    "structure": Choice(("stacked", "parallel")),
    "mixed": Flag(),
    "direct": Flag(),
    "use_inner": Flag(),
    "use_outer": Flag(),
    "double_tower": OrNone(Flag()),
    "apply_norm": Flag(),
    "drop_ex": Number(maximum=1.0),
    "drop_im": Number(maximum=1.0),
    "order_list": Sizes(1),
}


def recbole_rules(values: Mapping[str, Any]) -> Rules:
    """The rules of RecBole's keys, those of them that a config's values have."""
    rules = dict(RULES)
    if values["MODEL_TYPE"] == ModelType.CONTEXT:
        rules |= _MODEL_RULES
    return {key: rule for key, rule in rules.items() if key in values}


def check_recbole_keys(values: Mapping[str, Any]) -> None:
    """Check the forms of RecBole's keys, those of them that a config has.

    Args:
        values: the config's values.

    Raises:
        UsageError: a value is not of its key's form, or one of user and item has an id alone.
    """
    check_settings(values, recbole_rules(values))
    user, item = values["USER_ID_FIELD"], values["ITEM_ID_FIELD"]
    if (user is None) != (item is None):
        raise UsageError(
            f"USER_ID_FIELD: {user or '~'} does not go with ITEM_ID_FIELD: {item or '~'}, expected "
            "two columns, or ~ for both."
        )
