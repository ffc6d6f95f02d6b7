"""What single models of RecBole need of a config and a dataset, checked before data is loaded.

RecBole takes the config as it comes, and a model then fails on a field, a package or a file that is
not there, some of them after an epoch; two train on sampled items as if users had taken them.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from recbole.utils import InputType, ModelType

from recbole_midpg.common.errors import UsageError, expected_some_of
from recbole_midpg.common.rules import Integer, Names, check_settings
from recbole_midpg.loading.atomic_header import (
    AtomicField,
    feature_fields,
    read_atomic_fields,
    read_file_fields,
)

# Models that can only score all items at once.
RANK_ALL_ITEMS = frozenset({"GRU4RecCPR", "SASRecCPR"})
# Models that ignore the label and train on every row as positive.
_KNOW_NO_LABEL = frozenset({"RepeatNet"})
# Models whose loss needs labels; negative sampling makes them where the data has none.
_READ_LABELS = frozenset({"DIEN", "DIN", "DMF", "FISM", "NAIS", "NeuMF", "NNCF"})
# Models that train on whole users, with all their items; nothing is sampled.
_TRAIN_ON_USERS = frozenset(
    {"CDAE", "DiffRec", "ENMF", "LDiffRec", "MacridVAE", "MultiDAE", "MultiVAE", "RaCT", "RecVAE"}
)
# Models that support one loss only, although their property file offers a choice.
_LOSSES = dict.fromkeys(("CORE", "GRU4RecCPR", "SASRecCPR"), ("CE",))
_SAMPLING = "{distribution: uniform, sample_num: 1}"
# The key by which a model names features of items.
_ITEM_FEATURES = {
    **dict.fromkeys(("FDSA", "GRU4RecF", "SASRecF"), "selected_features"),
    "S3Rec": "item_attribute",
}
# The vectors that they begin with, by their keys.
PRELOADED = {"GRU4RecKG": ("ent_id",), "KSR": ("ent_id", "rel_id")}


class _Beginning(NamedTuple):
    """Weights that a model begins with, where a key has one of some values."""

    key: str
    values: tuple[Any, ...]
    paths: tuple[str, ...]
    written_by: str


_BEGINNINGS = {
    "RaCT": _Beginning(
        "train_stage",
        ("critic_pretrain", "finetune"),
        ("pre_model_path",),
        "train_stage: actor_pretrain",
    ),
    "S3Rec": _Beginning("train_stage", ("finetune",), ("pre_model_path",), "train_stage: pretrain"),
    "KD_DAGFM": _Beginning(
        "phase", ("distillation", "finetuning"), ("warm_up",), "phase: teacher_training"
    ),
    "ConvNCF": _Beginning("train_method", ("after_pretrain",), ("pre_model_path",), "BPR"),
    "NeuMF": _Beginning(
        "use_pretrain", (True,), ("mf_pretrain_path", "mlp_pretrain_path"), "NeuMF"
    ),
}
# The pretraining stages of models; after such a stage its last checkpoint is evaluated.
_PRETRAINED = {"RaCT": ("actor_pretrain", "critic_pretrain"), "S3Rec": ("pretrain",)}


def check_needs(config: Any) -> None:
    """Check that a model of RecBole has what it needs.

    Args:
        config: RecBole's ``Config``, whose dataset's files are there, if they can be.

    Raises:
        UsageError: a package, a file, a field or a way of sampling is missing.
    """
    values = config.final_config_dict
    for package, install in _packages(config.model, values):
        if importlib.util.find_spec(package) is None:
            needer = "log_wandb: True" if package == "wandb" else f"model: {config.model!r}"
            raise UsageError(
                f"{needer} needs {package}, which is not installed; pip install {install}."
            )
    _check_loss(config.model, values)
    _check_sampling(config.model, values)
    _check_beginning(config.model, values)
    if config.model in RANK_ALL_ITEMS and set(values["eval_args"]["mode"].values()) != {"full"}:
        raise UsageError(
            f"eval_args: mode: {values['eval_args']['mode']} cannot be done by {config.model}, "
            "which scores all items at once, expected full."
        )
    fields = read_atomic_fields(config)
    if fields is None:
        return  # RecBole may download them
    if config.model in _READ_LABELS:
        _check_label(config, fields)
    if config.model == "FwFM":
        _check_pairs_of_fields(config, fields)
    if values["MODEL_TYPE"] == ModelType.SEQUENTIAL:
        _check_order(values)
        _check_time(config, fields)
    if values["MODEL_TYPE"] == ModelType.KNOWLEDGE or config.model in PRELOADED:
        _check_graph(config)
    if config.model in _ITEM_FEATURES:
        _check_item_features(config)
    if config.model in PRELOADED:
        _check_preloaded(config)


def _packages(model: str, values: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """The packages that a run needs beside RecBole's own, and what is installed to have them."""
    if model == "NCL":
        yield "faiss", "faiss-cpu"
    if model == "NNCF" and values["neigh_info_method"] == "louvain":
        yield "networkx", "networkx"
        yield "community", "python-louvain"
    if values["log_wandb"]:
        yield "wandb", "wandb"


def _check_loss(model: str, values: Mapping[str, Any]) -> None:
    """Check ``loss_type``, by which some models end the process themselves."""
    allowed = _LOSSES.get(model)
    if allowed and values["loss_type"] not in allowed:
        raise UsageError(
            f"loss_type: {values['loss_type']!r} is not allowed for {model}, expected "
            f"{', '.join(allowed)}."
        )


def _check_sampling(model: str, values: Mapping[str, Any]) -> None:
    """Check ``train_neg_sample_args`` for what a model compares an item with."""
    given, kind = values["train_neg_sample_args"], values["MODEL_TYPE"]
    samples = bool(given) and given != "None" and given.get("distribution") not in (None, "None")
    if samples and model in _KNOW_NO_LABEL:
        raise UsageError(
            f"train_neg_sample_args: {given!r} is not allowed for {model}, which would learn the "
            "sampled items as taken ones, expected ~."
        )
    if samples or kind in (ModelType.CONTEXT, ModelType.TRADITIONAL) or model in _TRAIN_ON_USERS:
        return
    compares = values["MODEL_INPUT_TYPE"] == InputType.PAIRWISE and values.get("loss_type") != "CE"
    if compares or kind == ModelType.KNOWLEDGE:
        raise UsageError(
            f"train_neg_sample_args: {given!r} is not allowed for {model}, which compares items "
            f"with sampled ones, expected as {_SAMPLING}."
        )


def _check_label(config: Any, fields: Mapping[str, AtomicField]) -> None:
    """Check that a loss of labels has some."""
    label, given = config["LABEL_FIELD"], config["train_neg_sample_args"]
    is_there = label in fields and fields[label].loaded
    if not given and not config["threshold"] and not is_there:
        raise UsageError(
            f"train_neg_sample_args: {given!r} leaves {config.model} without labels, as "
            f"LABEL_FIELD: {label!r} is not a loaded field, expected as {_SAMPLING}, or a label."
        )


def _check_pairs_of_fields(config: Any, fields: dict[str, AtomicField]) -> None:
    """Check that FwFM, which weights pairs of fields, finds the group of each in its lists.

    It counts lists of numbers among its fields and gives them no group, and none to those that its
    key ``fields`` leaves out.
    """
    names = feature_fields(config, fields)
    for name in names:
        if fields[name].type == "float_seq":
            raise UsageError(
                f"numerical_features: {name!r} of {fields[name].file} is a list of numbers, which "
                f"FwFM has no weights for, expected it in unembedded_fields: [{name}]."
            )
    groups = config["fields"]
    if groups is None:
        return
    if not isinstance(groups, dict) or not all(map(Names().accepts, groups.values())):
        raise UsageError(
            f"fields: {groups!r} is not allowed, expected groups of fields by number, as "
            "{0: [age, job], 1: [genres]}, or ~ for each field by itself."
        )
    grouped = {name for group in groups.values() for name in group}
    for name in names:
        if name not in grouped:
            raise UsageError(
                f"fields: {name!r} is in no group of {groups!r}, expected each field that FwFM "
                f"embeds in one: {', '.join(names)}."
            )
    if sorted(groups) != list(range(len(groups))):
        raise UsageError(
            f"fields: {groups!r} is not allowed, expected groups that are numbered from 0."
        )


def _check_beginning(model: str, values: Mapping[str, Any]) -> None:
    """Check the weights that a stage begins with, and that pretraining leaves some."""
    beginning = _BEGINNINGS.get(model)
    if beginning and values[beginning.key] in beginning.values:
        for key in beginning.paths:
            if not values[key] or not Path(str(values[key])).is_file():
                raise UsageError(
                    f"{key}: {values[key]!r} is no file, and {beginning.key}: "
                    f"{values[beginning.key]} begins with the weights in it, which "
                    f"{beginning.written_by} writes."
                )
    if values.get("train_stage") in _PRETRAINED.get(model, ()):
        epochs, step = values["pretrain_epochs"], values["save_step"]
        check_settings(values, {"pretrain_epochs": Integer(1), "save_step": Integer(1)})
        if step > epochs:
            raise UsageError(
                f"save_step: {step} leaves no weights of {epochs} epochs (pretrain_epochs), "
                f"expected at most {epochs}."
            )


def _check_order(values: Mapping[str, Any]) -> None:
    """Check that a user's items are split in their order."""
    order = values["eval_args"]["order"]
    if order != "TO":
        raise UsageError(
            f"eval_args: order: {order!r} is not allowed for {values['model']}, which learns what "
            "follows on a user's items, expected TO, as in {split: {LS: valid_and_test}, "
            "order: TO, mode: full}."
        )


def _check_time(config: Any, fields: Mapping[str, AtomicField]) -> None:
    """Check that rows have a time."""
    name = config["TIME_FIELD"]
    numbers = [field for field, kept in fields.items() if kept.type == "float"]
    if name not in numbers or not fields[name].loaded:
        raise UsageError(
            f"TIME_FIELD: {name!r} is not a loaded field of numbers, by which {config.model} "
            "orders a user's items (load_col: {inter: "
            f"[{config['USER_ID_FIELD']}, {config['ITEM_ID_FIELD']}, {name}]}} loads it)"
            f"{expected_some_of(numbers, str(name))}"
        )


def _check_graph(config: Any) -> None:
    """Check that there are the files of a knowledge graph, and that its fields are loaded."""
    keys = {
        "kg": ("HEAD_ENTITY_ID_FIELD", "RELATION_ID_FIELD", "TAIL_ENTITY_ID_FIELD"),
        "link": ("ITEM_ID_FIELD", "ENTITY_ID_FIELD"),
    }
    for source, of_source in keys.items():
        fields = read_file_fields(config, source)
        if fields is None:
            raise UsageError(
                f"model: {config.model!r} needs a knowledge graph, and there is no "
                f"{config['dataset']}.{source} in {config['data_path']}."
            )
        names = [config[key] for key in of_source]
        for key, name in zip(of_source, names, strict=True):
            if name not in fields or not fields[name].loaded:
                raise UsageError(
                    f"{key}: {name!r} is not a loaded field of {config['dataset']}.{source} "
                    f"(load_col: {{{source}: [{', '.join(names)}]}} loads what {config.model} "
                    f"needs){expected_some_of(fields, str(name))}"
                )


def _check_item_features(config: Any) -> None:
    """Check that the features of items that a model reads are loaded."""
    key, item = _ITEM_FEATURES[config.model], config["ITEM_ID_FIELD"]
    given = config[key]
    names = [given] if isinstance(given, str) else given
    if not names or not Names().accepts(names):
        raise UsageError(f"{key}: {given!r} is not allowed, expected {Names().allowed}.")
    fields = read_file_fields(config, "item") or {}
    tokens = [name for name, field in fields.items() if field.type.startswith("token")]
    usable = [name for name in tokens if name != item]
    for name in names:
        if name not in usable or not fields[name].loaded:
            raise UsageError(
                f"{key}: {name!r} is not a loaded field of tokens in {config['dataset']}.item "
                f"(load_col: {{item: [{item}, {name}]}} loads it beside those of inter)"
                f"{expected_some_of(usable, name)}"
            )


def _check_preloaded(config: Any) -> None:
    """Check that there are the vectors which a model begins with."""
    for name in PRELOADED[config.model]:
        if name not in (config["preload_weight"] or {}):
            short = name.removesuffix("_id")
            alias = {"ent": "alias_of_entity_id", "rel": "alias_of_relation_id"}[short]
            raise UsageError(
                f"preload_weight: {config['preload_weight']!r} has no {name!r}, with whose "
                f"vectors {config.model} begins, expected {{{name}: {short}_emb}} with "
                f"additional_feat_suffix: [{short}], {alias}: [{name}] and a file "
                f"{config['dataset']}.{short} of {name}:token and {short}_emb:float_seq."
            )
