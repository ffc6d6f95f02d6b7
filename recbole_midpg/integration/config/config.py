"""RecBole's ``Config`` with this package's defaults, and with the checks of its keys."""

from __future__ import annotations

import functools
import sys
from collections.abc import Mapping, Sequence
from logging import getLogger
from pathlib import Path
from typing import Any

from recbole.config import Config
from recbole.model.abstract_recommender import AbstractRecommender
from recbole.utils import ModelType

from recbole_midpg.common.arguments import parse_value
from recbole_midpg.common.config_files import read_config_file, read_config_files
from recbole_midpg.common.errors import UsageError, expected_some_of
from recbole_midpg.common.file_names import require_file_name
from recbole_midpg.common.rules import (
    Choice,
    Flag,
    Integer,
    Names,
    Number,
    OrNone,
    Rules,
    Switch,
    Text,
    check_settings,
)
from recbole_midpg.event_logs.schema import LOG_SCHEMA, read_plain_schema
from recbole_midpg.integration.config.eval_modes import check_evaluated_rows, check_evaluation
from recbole_midpg.integration.config.key_names import (
    COMMON_DEFAULTS,
    MODEL_PROPERTIES,
    RECBOLE_PROPERTIES,
    REMOVED_KEYS,
    keys_not_read,
    require_known_keys,
)
from recbole_midpg.integration.config.recbole_keys import check_recbole_keys, recbole_rules
from recbole_midpg.integration.config.time_split import (
    TimeSplitForm,
    check_time_split,
    refuse_time_split,
)
from recbole_midpg.integration.dataset.batches import check_epochs_per_pass
from recbole_midpg.integration.dataset.datasets import find_dataset_config, require_dataset
from recbole_midpg.integration.dataset.number_scaling import (
    NUMERIC,
    NUMERICAL_SCALING,
    embeds_numbers,
)
from recbole_midpg.integration.dataset.rare_tokens import (
    MinCount,
    check_min_count,
    refuse_min_count,
)
from recbole_midpg.integration.dataset.row_placement import DATA_ON_DEVICE
from recbole_midpg.integration.metrics.metrics import check_metrics
from recbole_midpg.integration.models.decision_trees import TREE_MODELS
from recbole_midpg.integration.models.embedding_init import EMBEDDING_INIT_RULES
from recbole_midpg.integration.models.model_names import defaults_of
from recbole_midpg.integration.models.model_needs import PRELOADED, check_needs
from recbole_midpg.integration.models.model_types import OF_ROWS
from recbole_midpg.integration.models.outside_models import class_name_of, outside_models, register
from recbole_midpg.integration.models.registry import own_models
from recbole_midpg.integration.run.optimizer import check_optimizer
from recbole_midpg.integration.run.progress import Resume
from recbole_midpg.integration.run.regularisation import (
    REGULARISATION_RULES,
    check_regularisation,
)
from recbole_midpg.integration.run.validation import check_splits
from recbole_midpg.loading.atomic_header import (
    AtomicField,
    columns_of_rows,
    embeddable_fields,
    feature_fields,
    read_atomic_fields,
)
from recbole_midpg.loading.data_selection import (
    check_ids,
    check_selected_fields,
    check_selection,
)
from recbole_midpg.loading.numeric import check_numeric
from recbole_midpg.models.base import ScenarioRecommender
from recbole_midpg.models.entire_space import EntireSpaceModel
from recbole_midpg.training.threads import ThreadCount
from recbole_midpg.training.trainer import AMP_DTYPES

# Keys whose value may be one name instead of a list.
_LISTS_OF_NAMES = ("scenario_fields", "unembedded_fields", "gauc_fields")
_COMMON_RULES: Rules = {
    "scenario_fields": OrNone(Names()),
    "scenario_id_field": OrNone(Text("a field's name")),
    "unembedded_fields": OrNone(Names()),
    "click_field": OrNone(Text("a field's name")),
    "gauc_fields": OrNone(Names()),
    "ece_bins": Integer(minimum=1, maximum=1_000_000),
    "metrics_on_device": Switch(),
    "dataset_cache": Flag(),
    "dataset_cache_dir": OrNone(Text("a folder's name")),
    "matmul_precision": Choice(("highest", "high")),
    "triton_kernels": Flag(),
    **EMBEDDING_INIT_RULES,
    **REGULARISATION_RULES,
    "epochs_per_pass": Integer(minimum=1),
    "resume": Resume(),
    "verbose": Flag(),
    "data_on_device": DATA_ON_DEVICE,
    "cuda_graph": Switch(),
    "amp_dtype": Choice(tuple(AMP_DTYPES)),
    "n_threads": ThreadCount(),
    "extra_keys": Names(),
    "baseline_run": OrNone(Text("the JSON file of a run")),
    "synthetic_rows": OrNone(Integer(minimum=1)),
    "synthetic_seed": OrNone(Integer(minimum=0)),
    "max_left_out": Number(maximum=1.0),
    "numerical_scaling": NUMERICAL_SCALING,
    "min_count": MinCount(),
    "log_schema": OrNone(LOG_SCHEMA),
    "numeric": NUMERIC,
    "time_split": OrNone(TimeSplitForm()),
}


class CommandConfig(Config):
    """RecBole's ``Config``, but of the values that a command hands on: it reads no ``sys.argv``.

    Attributes:
        typed: the texts of the values that were typed, by their keys.
    """

    def __init__(
        self,
        model: Any,
        dataset: str | None,
        config_files: Sequence[str],
        values: Mapping[str, Any],
        typed: Mapping[str, str],
    ) -> None:
        self.typed = dict(typed)  # first, as RecBole's constructor asks for them
        super().__init__(model, dataset, list(config_files), dict(values))


def build_config(
    model: Any,
    dataset: str | None,
    config_files: Sequence[str] | None = None,
    values: Mapping[str, Any] | None = None,
    typed: Mapping[str, str] | None = None,
) -> Config:
    """Build a config; whatever is wrong with it is reported in one sentence.

    What this process was started with does not count, only what is given here.

    Args:
        model: the model's name, or its class.
        dataset: the dataset's name.
        config_files: RecBole config files; none by default.
        values: further values, which win over the files; none by default.
        typed: texts of values as typed after ``--key=``, which win over all; none by default.

    Returns:
        RecBole's ``Config``.

    Raises:
        UsageError: what is wrong.
    """
    try:
        return CommandConfig(model, dataset, config_files or (), values or {}, typed or {})
    except UsageError:
        raise
    except (
        ValueError,
        TypeError,
        KeyError,
        AttributeError,
        AssertionError,
        NotImplementedError,
        RuntimeError,
    ) as error:
        raise UsageError(f"configuration: {str(error).rstrip('.')}.") from error


def model_properties(model: str) -> list[Path]:
    """The files of a model's defaults, later ones win; none for RecBole's own models.

    A model from outside of the package has the defaults of the model that it extends, of the plain
    network where it extends :class:`ScenarioRecommender` itself, and then those of its own file.
    """
    files = [MODEL_PROPERTIES / f"{defaults_of(model)}.yaml"]
    if model in outside_models():
        outside = outside_models()[model]
        if issubclass(outside.model_class, ScenarioRecommender):
            known = own_models().values()
            extended = (c.__name__ for c in outside.model_class.__mro__ if c in known)
            files = [MODEL_PROPERTIES / f"{next(extended, 'DNN')}.yaml"]
        files.append(outside.properties)
    return [file for file in files if file.is_file()]


def common_properties() -> tuple[Path, ...]:
    """The files of the defaults that all models have beside RecBole's."""
    return COMMON_DEFAULTS


def common_rules() -> Rules:
    """The rules of the keys that all models have beside RecBole's."""
    return _COMMON_RULES


def rules_of(config: Config) -> Rules:
    """The rules of a config's keys: RecBole's, those of all models, and those of its own."""
    own = config.model_class.rules if issubclass(config.model_class, ScenarioRecommender) else {}
    return {**recbole_rules(config.final_config_dict), **_COMMON_RULES, **own}


# --------------------------------------------------------------------------------------------------
# Loading


def with_checked_name(stock: Any) -> Any:
    """Wrap ``Config._get_model_and_dataset``: check names before any path is made of them.

    A class of the user's own, as RecBole's documentation trains one, is registered. Warns of a
    model or dataset of the command line that the program does not ask for.
    """

    @functools.wraps(stock)
    def get_model_and_dataset(self: Config, model: Any, dataset: Any) -> tuple[Any, type, str]:
        is_class = isinstance(model, type) and issubclass(model, AbstractRecommender)
        if is_class and not model.__module__.startswith(("recbole.", "recbole_midpg.")):
            register(model)
        name, model_class, dataset = stock(self, model, dataset)
        name = class_name_of(name)
        for key, taken in (("model", name), ("dataset", dataset)):
            typed = self.cmd_config_dict.get(key, taken)
            if typed != taken and class_name_of(str(typed)) != taken:
                _warn_once(f"argument --{key}={typed} is not used: the program asks for {taken}.")
        return name, model_class, require_file_name("dataset", dataset)

    return get_model_and_dataset


def with_own_defaults(stock: Any) -> Any:
    """Add our model's and dataset's defaults after RecBole's, before all that the user sets."""

    @functools.wraps(stock)
    def load(self: Config, model: str, model_class: type, dataset: str) -> None:
        stock(self, model, model_class, dataset)
        if model in TREE_MODELS:
            # Their files are in small letters, which RecBole finds on Windows alone.
            self._update_internal_config_dict(
                RECBOLE_PROPERTIES / "model" / f"{model.lower()}.yaml"
            )
        if model in PRELOADED:
            # RecBole leaves these the split of other models, which no sequential one can make.
            self._update_internal_config_dict(
                RECBOLE_PROPERTIES / "quick_start_config" / "sequential.yaml"
            )
        for defaults in COMMON_DEFAULTS:
            self._update_internal_config_dict(defaults)
        for file in model_properties(model):
            self.internal_config_dict.update(read_config_file(file))
        if self.internal_config_dict["MODEL_TYPE"] in OF_ROWS:
            dataset_config = find_dataset_config(dataset)
            if dataset_config is not None:
                self.dataset_config_dict = read_config_file(dataset_config)
                self.internal_config_dict.update(self.dataset_config_dict)

    return load


def convert_without_running(_self: Config, values: dict[str, Any]) -> dict[str, Any]:
    """Stand in for ``Config._convert_config_dict``, which evaluates every text as Python code."""
    for key, value in values.items():
        if isinstance(value, str):
            values[key] = parse_value(value)
    return values


def load_command_line(self: Config) -> dict[str, Any]:
    """Stand in for ``Config._load_cmd_line``, which drops a value that holds a ``=``."""
    return self._convert_config_dict(dict(_typed_for(self)))


def _typed_for(config: Config) -> dict[str, str]:
    return config.typed if isinstance(config, CommandConfig) else typed_for_program()


def typed_for_program() -> dict[str, str]:
    """The config values with which a user's own program was started, as RecBole takes them.

    Returns:
        The text of each key's value; none in a notebook.

    Raises:
        UsageError: a key has two values.
    """
    texts: dict[str, str] = {}
    ignored = []
    for argument in [] if "ipykernel_launcher" in sys.argv[0] else sys.argv[1:]:
        key, separator, text = argument.removeprefix("--").partition("=")
        if not argument.startswith("--") or not separator:
            ignored.append(argument)
        elif texts.get(key, text) != text:
            raise UsageError(f"argument --{key}: both {texts[key]!r} and {text!r} are given.")
        else:
            texts[key] = text
    if ignored:
        _warn_once(f"command line args [{' '.join(ignored)}] will not be used in RecBole")
    return texts


def load_config_files(self: Config, files: list[str] | None) -> dict[str, Any]:
    """Stand in for ``Config._load_config_files``, with errors that name the file and line.

    Where a program names no files, those are read that were typed when it was started; RecBole
    takes ``python program.py --config_files=a.yaml`` for a key that nothing reads.
    """
    return read_config_files(files or _typed_for(self).get("config_files", "").split())


# --------------------------------------------------------------------------------------------------
# Checking


def with_checks(stock: Any) -> Any:
    """Check our keys as soon as the final values are known."""

    @functools.wraps(stock)
    def set_defaults(self: Config) -> None:
        check_recbole_keys(self.final_config_dict)
        check_evaluation(self.final_config_dict)
        stock(self)
        check_config(self)

    return set_defaults


def check_config(config: Config) -> None:
    """Check a config before any data is loaded, and fill in the scenario's defaults.

    Args:
        config: RecBole's ``Config``.

    Raises:
        UsageError: a key is misspelt, a value is not allowed, the dataset is not there, or a
            scenario field cannot serve as one.
    """
    values = config.final_config_dict
    for key in _LISTS_OF_NAMES:
        if isinstance(values[key], str):
            values[key] = [values[key]]
    if values["numerical_features"] is None:
        values["numerical_features"] = []  # as RecBole looks for names in it
    check_settings(values, _COMMON_RULES)
    of_dataset = getattr(config, "dataset_config_dict", {})
    check_key_names({**of_dataset, **config.external_config_dict}, config.model)
    is_own_model = issubclass(config.model_class, ScenarioRecommender)
    is_context_model = values["MODEL_TYPE"] == ModelType.CONTEXT
    is_outside = config.model in outside_models()
    if is_outside and is_context_model and values.get("embedding_size") is None:
        file = outside_models()[config.model].properties.name
        raise UsageError(
            f"embedding_size: {config.model} has no default of it, expected one in {file} beside "
            "its file, or --embedding_size."
        )
    if is_own_model:
        check_settings(values, config.model_class.rules)
    _check_splits_of_files(values["benchmark_filename"])
    _check_file_parts("additional_feat_suffix", values["additional_feat_suffix"])
    check_selection(values)
    check_optimizer(values)
    check_regularisation(config)
    check_epochs_per_pass(config)
    check_needs(config)
    is_context_aware = values["MODEL_TYPE"] in OF_ROWS
    fields = _check_rows(config) if is_context_aware else None
    if not is_context_aware:
        refuse_min_count(config)
        refuse_time_split(config)
        if columns := columns_of_rows(config):
            check_ids(config, columns, needed=True)
    groups = None if fields is None else _token_fields(fields, embeddable_fields(config, fields))
    check_metrics(values, groups)
    _check_direction(values, config.external_config_dict.get("valid_metric_bigger"))


def _check_rows(config: Config) -> dict[str, AtomicField] | None:
    """Check what a model that reads rows finds in the dataset's headers; see :func:`check_config`.

    Returns:
        The dataset's fields by name; ``None`` where its files are not there yet.
    """
    values = config.final_config_dict
    require_dataset(config)
    if values["log_schema"] is None:
        values["log_schema"] = read_plain_schema(Path(config["data_path"]), config["dataset"])
    fields = read_atomic_fields(config)
    check_numeric(values, fields)
    _check_label(config, fields)
    _check_split(config, fields)
    of_dataset = getattr(config, "dataset_config_dict", {})
    check_time_split(values, fields, config.external_config_dict, of_dataset)
    check_splits(values, config.external_config_dict)
    _check_clicks(config, fields)
    check_min_count(config, fields)
    _check_unembedded(config, fields)
    _report_unread_values(config)
    if fields is not None:
        check_selected_fields(config, fields)
        _check_numbers(config, fields)
        check_evaluated_rows(config, fields)
    is_own_model = issubclass(config.model_class, ScenarioRecommender)
    _set_scenario(config, fields, needed=is_own_model and config.model_class.needs_scenario)
    if is_own_model and fields is not None:
        input_size = len(feature_fields(config, fields)) * values["embedding_size"]
        config.model_class.check_sizes(values, [input_size, *values["mlp_hidden_size"], 1])
    return fields


def _report_unread_values(config: Config) -> None:
    """Warn of values that the model does not read, or not with this data, though others do."""
    is_users_own = config.model_class.__module__.partition(".")[0] not in _PACKAGES
    if config["preload_weight"] and not is_users_own:
        _warn_once(
            f"preload_weight: {config.model} does not read it: its embeddings start at random. "
            "numerical_features embeds a float_seq column of the user's or the item's file."
        )
    if config["numeric"] and not embeds_numbers(config):
        _warn_once(f"numeric: {config.model} takes numbers as they are, a missing one as the mean.")
    given = config.external_config_dict
    if config.model in TREE_MODELS and (unread := [key for key in _OF_STEPS if key in given]):
        _warn_once(
            f"{', '.join(unread)}: not used, as {config.model} grows trees from all rows at once."
        )
    arguments, usual = (
        values.get("eval_args") or {}
        for values in (given, getattr(config, "dataset_config_dict", {}))
    )
    if config["benchmark_filename"] is not None and (
        unread := [
            key
            for key in ("split", "order", "group_by")
            if key in arguments and (key not in usual or arguments[key] != usual[key])
        ]
    ):
        _warn_once(
            f"eval_args: {', '.join(unread)}: not used, as the files of benchmark_filename are the "
            "splits."
        )


# Keys of trainings that take steps from batches.
_OF_STEPS = (
    "learner",
    "learning_rate",
    "weight_decay",
    "clip_grad_norm",
    "sparse_updates",
    "enable_amp",
)

_PACKAGES = ("recbole", "recbole_midpg")


def check_key_names(given: Mapping[str, Any], model: str) -> None:
    """Refuse keys that look like misspelt ones, and warn of others that nothing reads.

    A key that is meant for the user's own code may stand in ``extra_keys``.

    Args:
        given: what the user's files, arguments and command line set.
        model: the model's name.

    Raises:
        UsageError: nothing reads a key, and it is near one that is read or another name of one.
    """
    files = model_properties(model)
    for key in sorted(REMOVED_KEYS.keys() & given):
        _warn_once(f"{key}: config key removed, unused: {REMOVED_KEYS[key]}.")
    require_known_keys(given, files)
    unread = keys_not_read(given, files)
    if unread:
        _warn_once(
            f"Keys that {model} does not read: {', '.join(unread)} "
            f"(extra_keys: [{', '.join(unread)}] leaves this line out)."
        )


@functools.cache
def _warn_once(sentence: str) -> None:
    """Log a warning, in a process that may build a config several times."""
    getLogger().warning(sentence)


def _set_scenario(config: Config, fields: dict[str, AtomicField] | None, needed: bool) -> None:
    """Check ``scenario_fields`` and ``scenario_id_field`` and fill in the latter's default."""
    values = config.final_config_dict
    names = values["scenario_fields"]
    candidates = (
        "" if fields is None else f", expected some of {', '.join(_usable(config, fields))}"
    )
    if names is None:
        if needed:
            raise UsageError(
                f"scenario_fields: {config.model} needs the fields that make a scenario and none "
                f"is set for {config.dataset}{candidates}."
            )
        return
    if not Names().accepts(names) or not names:
        raise UsageError(
            f"scenario_fields: {names!r} is not allowed, expected {Names().allowed}{candidates}."
        )
    if values["scenario_id_field"] is None:
        values["scenario_id_field"] = names[0]
    if fields is not None:
        for name in names:
            _check_scenario_field("scenario_fields", name, config, fields)
        _check_scenario_field("scenario_id_field", values["scenario_id_field"], config, fields)


def _check_splits_of_files(names: Any) -> None:
    """Check ``benchmark_filename``, which names the files of splits that are made already.

    Raises:
        UsageError: it names other than two or three files, or leads out of the dataset's folder.
    """
    _check_file_parts("benchmark_filename", names)
    if names is not None and len(names) not in (_N_SPLITS - 1, _N_SPLITS):
        raise UsageError(
            f"benchmark_filename: {names!r} is not allowed, expected three names, of training, "
            "validation and test, as [train, valid, test], or two, of training and test."
        )


def _check_file_parts(key: str, parts: Any) -> None:
    """Check a key that lists parts of file names.

    Raises:
        UsageError: it is no list, or a part would lead out of the dataset's folder.
    """
    if parts is None:
        return
    if not isinstance(parts, (list, tuple)):
        raise UsageError(f"{key}: {parts!r} is not allowed, expected a list of names.")
    for part in parts:
        require_file_name(key, part)


def _check_label(config: Config, fields: dict[str, AtomicField] | None) -> None:
    """Check that the label is a number, as its tokens' numbers would be taken for it.

    Raises:
        UsageError: it is of another type.
    """
    name = config["LABEL_FIELD"]
    field = (fields or {}).get(name)
    if field is None or not field.loaded or config["threshold"]:
        return
    if field.file.endswith(".inter") and field.type != "float":
        raise UsageError(
            f"LABEL_FIELD: {name!r} is of type {field.type} in {field.file}, expected "
            f"{name}:float in its first line, and 0 or 1 in its rows."
        )


def _check_clicks(config: Config, fields: dict[str, AtomicField] | None) -> None:
    """Check ``click_field`` for a model that learns clicks.

    Raises:
        UsageError: it is not set, no loaded field of numbers, the label, or a feature.
    """
    if not issubclass(config.model_class, EntireSpaceModel):
        return
    name = config["click_field"]
    files = (fields or {}).items()
    numbers = [key for key, field in files if field.loaded and field.type == "float"]
    # RecBole makes the label of the threshold's field, and drops that.
    of_label = {config["LABEL_FIELD"], *(config["threshold"] or ())}
    others = [key for key in numbers if key not in of_label]
    if name is None or (fields is not None and name not in others):
        raise UsageError(
            f"click_field: {name!r} is not a loaded field of numbers beside the label, and "
            f"{config.model} learns clicks from one{expected_some_of(others, str(name))}"
        )
    if name in config["numerical_features"]:
        raise UsageError(
            f"numerical_features: {name!r} is the click_field, which {config.model} predicts, "
            "expected other fields."
        )


def _check_split(config: Config, fields: dict[str, AtomicField] | None) -> None:
    """Check how ``eval_args`` splits and orders the rows.

    Raises:
        UsageError: RecBole does not know it, or the rows have no time to be ordered by.
    """
    arguments = config["eval_args"]
    split, order, group = (arguments.get(key) for key in ("split", "order", "group_by"))
    if not _is_split(split):
        raise UsageError(
            f"eval_args: split: {split!r} is not allowed, expected three shares, the first above "
            "0, as {RS: [0.8, 0.1, 0.1]}, or {LS: valid_and_test}."
        )
    for key, value, known in (("order", order, ("RO", "TO")), ("group_by", group, _GROUPS)):
        if value not in known:
            raise UsageError(
                f"eval_args: {key}: {value!r} is not allowed, expected one of "
                f"{', '.join('~' if word is None else word for word in known)}."
            )
    time_field = config["TIME_FIELD"]
    if order == "TO" and fields is not None:
        numbers = [name for name, field in fields.items() if field.loaded and field.type == "float"]
        if time_field not in numbers:
            raise UsageError(
                f"TIME_FIELD: {time_field!r} is not a loaded field of numbers, by which order: TO "
                f"sorts{expected_some_of(numbers, str(time_field))}"
            )


_N_SPLITS = 3  # training, validation and test
_GROUPS = (None, "none", "user")
_LEFT_OUT = ("valid_and_test", "valid_only", "test_only")


def _is_split(split: Any) -> bool:
    """Whether RecBole can make three parts by this."""
    if not isinstance(split, dict) or len(split) != 1:
        return False
    (method, shares), *_ = split.items()
    if method != "RS":
        return method == "LS" and shares in _LEFT_OUT
    return (
        isinstance(shares, (list, tuple))
        and len(shares) == _N_SPLITS
        and all(Number().accepts(share) for share in shares)
        and shares[0] > 0
    )


def _check_direction(values: Mapping[str, Any], given: Any) -> None:
    """Check that the user has not turned ``valid_metric`` round, as RecBole takes no word on it.

    Args:
        values: the config's values, with the direction of ``valid_metric``.
        given: the user's; ``None`` where there is none.

    Raises:
        UsageError: it is another one.
    """
    bigger = values["valid_metric_bigger"]
    if given is not None and given is not bigger:
        raise UsageError(
            f"valid_metric_bigger: {given!r} does not go with valid_metric: "
            f"{values['valid_metric']!r}, expected {bigger}, as follows from the metric."
        )


def _check_numbers(config: Config, fields: Mapping[str, AtomicField]) -> None:
    """Check ``numerical_features``.

    Raises:
        UsageError: a name is not a field of numbers, or is not loaded.
    """
    names = config["numerical_features"]
    numbers = [
        name for name, field in fields.items() if field.loaded and field.type.startswith("float")
    ]
    for name in names:
        if name not in numbers:
            raise UsageError(
                f"numerical_features: {name!r} is not a loaded field of numbers"
                f"{expected_some_of(numbers, name)}"
            )


def _check_unembedded(config: Config, fields: dict[str, AtomicField] | None) -> None:
    """Check ``unembedded_fields``.

    Raises:
        UsageError: a name is not a field that could be embedded.
    """
    if fields is None:
        return
    candidates = embeddable_fields(config, fields)
    for name in config["unembedded_fields"] or ():
        if name not in candidates:
            raise UsageError(
                f"unembedded_fields: {name!r} is not a field that a model embeds"
                f"{expected_some_of(candidates, name)}"
            )


def _usable(config: Config, fields: dict[str, AtomicField]) -> list[str]:
    return _token_fields(fields, feature_fields(config, fields))


def _token_fields(fields: dict[str, AtomicField], names: list[str]) -> list[str]:
    return [name for name in names if fields[name].type == "token"]


def _check_scenario_field(
    key: str, name: Any, config: Config, fields: dict[str, AtomicField]
) -> None:
    usable = _usable(config, fields)
    if name in usable:
        return
    field = fields.get(name) if isinstance(name, str) else None
    if name == config["LABEL_FIELD"] or name in (config["threshold"] or {}):
        reason = "is the label"
    elif name in (config["unembedded_fields"] or ()):
        reason = "is not embedded (unembedded_fields)"
    elif field is None:
        reason = f"is not a field of {config.dataset}"
    elif not field.loaded:
        reason = f"of {field.file} is not loaded (load_col: ~ loads all columns)"
    else:
        reason = f"is of type {field.type}, not token"
    raise UsageError(f"{key}: {name!r} {reason}{expected_some_of(usable, str(name))}")
