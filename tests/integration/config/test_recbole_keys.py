"""Null and odd values of every config key: a run that finishes, or one sentence."""

import copy
import functools
import logging
import math
import os
import random
from contextlib import suppress
from pathlib import Path

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from recbole.config import Config
from recbole.quick_start import run_recbole

from recbole_midpg.cli import run_recbole_command
from recbole_midpg.common.errors import UsageError
from recbole_midpg.integration.config import key_names
from recbole_midpg.integration.config.config import model_properties
from recbole_midpg.integration.config.key_names import (
    COMMON_DEFAULTS,
    RECBOLE_PROPERTIES,
    general_recbole_keys,
)
from recbole_midpg.integration.config.recbole_keys import RULES

ROWS = 160
VALUES = (
    *(None, True, False, -1, 0, 1, 1.5, 10**12, math.nan, math.inf, "x", ""),
    *([], [1], ["x"], {}, {"a": 1}),
)
# Where a run is and with whom: names, and processes that talk to each other.
PLACES = frozenset(
    [
        *("model", "dataset", "config_files", "local_rank", "nproc", "world_size"),
        *("ip", "port", "group_offset", "offset"),
    ]
)
# Allowed values of which no test can see the end.
ENDLESS = [("epochs", 10**12), ("log_wandb", True)]
SETTINGS = {
    "data_path": "dataset",
    "load_col": None,
    "scenario_fields": ["place"],
    "numerical_features": ["price", "age"],
    "normalize_all": True,
    "metrics": ["AUC", "LogLoss", "ECE"],
    "embedding_size": 2,
    "mlp_hidden_size": [4],
    "train_batch_size": 64,
    "epochs": 1,
    "eval_args": {
        "split": {"RS": [0.6, 0.2, 0.2]},
        "order": "RO",
        "group_by": None,
        "mode": "labeled",
    },
    "show_progress": False,
    "dataset_cache": False,
    "gpu_id": "",
    "state": "ERROR",
}
MODELS = ("DNN", "DeepFM")


def keys_of(model):
    """The keys that a model reads: RecBole's general ones, ours, and its own."""
    (path,) = model_properties(model) or [RECBOLE_PROPERTIES / "model" / f"{model}.yaml"]
    return sorted((general_recbole_keys() | key_names.keys_of([*COMMON_DEFAULTS, path])) - PLACES)


CASES = [
    (model, key, value)
    for model in MODELS
    for key in keys_of(model)
    for value in VALUES
    if (key, value) not in ENDLESS
]


def write_table(name, columns):
    lines = ["\t".join(columns)]
    lines += ["\t".join(map(str, row)) for row in zip(*columns.values(), strict=True)]
    path = Path("dataset/odd") / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines) + "\n")


@pytest.fixture(autouse=True)
def odd(monkeypatch):
    """A small dataset with fields of every type in three files."""
    draw = random.Random(0)
    texts = {"user_id": "u", "item_id": "i", "place": "p"}
    inter = {
        f"{name}:token": [f"{letter}{draw.randrange(n)}" for _ in range(ROWS)]
        for (name, letter), n in zip(texts.items(), (12, 8, 3), strict=True)
    }
    inter["tags:token_seq"] = [
        " ".join(draw.choices("abc", k=draw.randrange(4))) for _ in range(ROWS)
    ]
    inter["price:float"] = [round(draw.random(), 3) for _ in range(ROWS)]
    inter["levels:float_seq"] = [f"{draw.random():.2f} {draw.random():.2f}" for _ in range(ROWS)]
    inter["timestamp:float"] = range(ROWS)
    inter["rating:float"] = draw.choices(range(1, 6), k=ROWS)
    inter["label:float"] = draw.choices([0, 1], k=ROWS)
    write_table("odd.inter", inter)
    users = range(12)
    write_table(
        "odd.user",
        {
            "user_id:token": [f"u{user}" for user in users],
            "age:float": [3 * user for user in users],
            "job:token": [f"j{user % 3}" for user in users],
        },
    )
    items = range(8)
    write_table(
        "odd.item",
        {
            "item_id:token": [f"i{item}" for item in items],
            "cat:token": [f"c{item % 2}" for item in items],
        },
    )
    # RecBole would read its files of defaults anew for each config.
    monkeypatch.setattr(Config, "_update_internal_config_dict", update_from_file)


def update_from_file(self, file):
    values = copy.deepcopy(defaults_in(file, self.yaml_loader))
    self.internal_config_dict.update(values)
    return values


@functools.cache
def defaults_in(file, loader):
    return yaml.load(Path(file).read_text(encoding="utf-8"), loader) or {}


def config_of(model, **values):
    os.environ.pop("CUDA_VISIBLE_DEVICES", None)
    return Config(model, "odd", config_dict=copy.deepcopy({**SETTINGS, **values}))


def run(model, **values):
    os.environ.pop("CUDA_VISIBLE_DEVICES", None)
    values = copy.deepcopy({**SETTINGS, **values})
    try:
        return run_recbole(model, "odd", config_dict=values, saved=False)
    finally:
        logging.getLogger().handlers.clear()


# What the files are told for, where the value is a text like any other.
TOLD_OF_FILES = {"data_path": "is not known", "field_separator": "is not of the form name:type"}


def assert_told(error, key):
    sentence = str(error)
    # Of an unknown dataset, those that are known are listed below.
    assert "\n" not in sentence or key == "data_path"
    assert key in sentence or TOLD_OF_FILES[key] in sentence
    assert sentence.endswith((".", "?")), sentence


@pytest.mark.slow
@pytest.mark.parametrize("model", MODELS)
def test_a_config_of_any_value_is_made_or_refused_in_a_sentence_that_names_the_key(model):
    refused = 0
    for of_model, key, value in CASES:
        if of_model != model:
            continue
        try:
            config_of(model, **{key: value})
        except UsageError as error:
            assert_told(error, key)
            refused += 1
    assert refused > len(keys_of(model)) * 10


def finishes_or_is_refused(model, key, value):
    try:
        result = run(model, **{key: value})
    except UsageError as error:
        assert str(error).endswith((".", "?"))
    else:
        assert {"auc", "logloss"} <= result["test_result"].keys()


@settings(
    max_examples=12,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(case=st.sampled_from(CASES))
def test_a_run_with_any_value_finishes_or_is_refused(case):
    finishes_or_is_refused(*case)


@pytest.mark.slow
@pytest.mark.parametrize("model", MODELS)
def test_every_run_finishes_or_is_refused(model):
    failures = []
    for case in CASES:
        if case[0] != model:
            continue
        try:
            finishes_or_is_refused(*case)
        except Exception as error:  # all of them are to be seen
            failures.append((*case[1:], repr(error)))
    assert not failures


def test_every_default_of_recbole_is_allowed():
    files = [RECBOLE_PROPERTIES / "overall.yaml", RECBOLE_PROPERTIES / "dataset" / "sample.yaml"]
    loader = Config("DNN", "odd", config_dict=copy.deepcopy(SETTINGS)).yaml_loader
    for file in files:
        for key, value in defaults_in(file, loader).items():
            if key in RULES:
                assert RULES[key].accepts(value), key


# What a value once was taken for, without a word.
MISTAKEN = [
    ({"loss_decimal_place": 0}, "loss_decimal_place: 0 is not allowed, .* from 1 to 20"),  # 4
    ({"metric_decimal_place": None}, "metric_decimal_place: None is not allowed"),  # whole numbers
    ({"metric_decimal_place": -1}, "metric_decimal_place: -1 is not allowed"),  # tens
    ({"show_progress": "no way"}, "show_progress: 'no way' is not allowed, expected True or"),
    ({"save_dataset": "x"}, "save_dataset: 'x' is not allowed, expected True or False"),
    ({"repeatable": 1.5}, "repeatable: 1.5 is not allowed, expected True or False"),
    ({"stopping_step": -1}, "stopping_step: -1 is not allowed, .* at least 0"),
    ({"eval_step": -1}, "eval_step: -1 is not allowed, .* at least 0"),
    ({"epochs": 0}, "epochs: 0 is not allowed, .* at least 1"),
    ({"valid_metric_bigger": False}, "valid_metric_bigger: False does not go with valid_metric"),
    (
        {"eval_args": {**SETTINGS["eval_args"], "spilt": {"RS": [8, 1, 1]}}},
        "eval_args: 'spilt' is no part of it.* did you mean 'split'",
    ),
    (
        {"eval_args": {**SETTINGS["eval_args"], "mode": {"valid": "labeled", "tset": "full"}}},
        "eval_args: mode: 'tset' is no part of it.* did you mean 'test'",
    ),
    (
        {"train_neg_sample_args": {"distribution": "uniform", "sample": 4}},
        r"train_neg_sample_args: .* is not allowed, expected a mapping of .* sample_num \(a whole",
    ),
    ({"seq_len": {"tag": 3}}, "seq_len: 'tag' is not a loaded field of lists.* mean 'tags'"),
]
# What ended in an error of Python, or of RecBole on something else.
FAILED = [
    ({"clip_grad_norm": {"norm_type": 2}}, "clip_grad_norm: .* expected a mapping of max_norm"),
    ({"alias_of_user_id": ["jobs"]}, "alias_of_user_id: 'jobs' is not a loaded field of tokens"),
    ({"alias_of_item_id": ["price"]}, "alias_of_item_id: 'price' is not a loaded field of tokens"),
    ({"threshold": {}}, "threshold: {} is not allowed, expected one field and a number"),
    ({"threshold": {"rating": 3, "price": 1}}, "threshold: .* expected one field and a number"),
    ({"threshold": {"place": 1}}, "threshold: 'place' is not a loaded field of numbers"),
    ({"preload_weight": {"item": "price"}}, "preload_weight: 'item' is not a loaded field of tok"),
    ({"preload_weight": {"item_id": "cat"}}, "preload_weight: 'cat' is not a loaded field of num"),
    ({"discretization": {"rating": {"method": "LD"}}}, "'rating' is not of numerical_features"),
    (
        {"discretization": {"price": {"method": "ED"}}},
        "discretization: .* is not allowed, expected a mapping .* bucket: 10} or {method: LD}",
    ),
    ({"unused_col": {"inter": "*"}}, "unused_col: .* expected the names of columns by file"),
    ({"unused_col": {"kg": ["a"]}}, r"unused_col: no field is loaded from a file \.kg"),
    ({"unused_col": {"inter": ["stamp"]}}, "unused_col: 'stamp' is not a loaded field"),
    ({"unused_col": {"inter": ["place"]}}, "'place' cannot be dropped, as scenario_fields names"),
    ({"unused_col": {"inter": ["label"]}}, "'label' cannot be dropped, as LABEL_FIELD names it"),
    ({"unused_col": {"user": ["user_id"]}}, "'user_id' cannot be dropped, as USER_ID_FIELD names"),
    ({"USER_ID_FIELD": None}, "USER_ID_FIELD: ~ does not go with ITEM_ID_FIELD: item_id"),
    ({"transform": "mask_itemseq"}, "transform: 'mask_itemseq' is not allowed, expected ~"),
    ({"learner": "sparse_adam"}, "learner: 'sparse_adam' takes sparse gradients alone"),
    ({"embedding_size": 10**12}, r"cpu has no memory for \d+ bytes more; .* embedding_size"),
    (
        {
            "train_neg_sample_args": {"distribution": "uniform"},
            "threshold": {"rating": 1},
        },
        "train_neg_sample_args.* a user in odd has met every item",
    ),
]


@pytest.mark.parametrize("model", MODELS)
def test_what_was_mistaken_or_failed_is_refused(model):
    for changed, told in [*MISTAKEN, *FAILED]:
        with pytest.raises(UsageError, match=told):
            run(model, **changed)


ALLOWED = [
    {"clip_grad_norm": {"max_norm": 5, "norm_type": 2}},
    {"seq_len": {"tags": 2}, "alias_of_item_id": ["cat"]},
    {"alias_of_user_id": ["job"], "weight_decay": 0.01},
    {"discretization": {"price": {"method": "ED", "bucket": 4}, "age": {"method": "LD"}}},
    {"unused_col": {"inter": ["timestamp", "tags"], "user": ["job"]}},
    {"threshold": {"rating": 3}, "numerical_features": None},
    {"train_neg_sample_args": {"distribution": None}, "gauc_fields": "user_id"},
    {"encoding": "latin-1", "state": None, "metric_decimal_place": 0, "valid_metric_bigger": True},
]


@pytest.mark.parametrize("model", MODELS)
def test_values_as_they_should_be_run(model):
    for changed in ALLOWED:
        assert run(model, **changed)["test_result"]


def test_rows_without_ids_and_features_of_them():
    for file in ("user", "item"):
        (Path("dataset/odd") / f"odd.{file}").unlink()
    values = {"numerical_features": ["price"]}
    assert run("DNN", USER_ID_FIELD=None, ITEM_ID_FIELD=None, **values)["test_result"]
    assert run("DNN", unused_col={"inter": ["user_id"]}, **values)["test_result"]


def test_a_field_of_additional_files_may_be_preloaded():
    write_table("odd.ent", {"ent_id:token": ["e1", "e2"], "ent_emb:float_seq": ["1 2", "3 4"]})
    values = {"additional_feat_suffix": ["ent"], "preload_weight": {"ent_id": "ent_emb"}}
    assert config_of("DNN", **values)["preload_weight"] == {"ent_id": "ent_emb"}


@pytest.mark.parametrize(
    ("argument", "told"),
    [
        ("--loss_decimal_place=0", "loss_decimal_place: 0 is not allowed"),
        ("--data_path=~", "data_path: None is not allowed, expected a folder's name."),
        ("--seed=4294967296", "seed: 4294967296 is not allowed, expected a whole number from 0 to"),
        ("--alias_of_user_id=[x]", "alias_of_user_id: 'x' is not a loaded field of tokens"),
        ("--extra_keys=1", "extra_keys: 1 is not allowed, expected a list of names"),
    ],
)
def test_the_command_ends_with_one_line_and_status_2(argument, told, capsys):
    given_arguments = ["--model=DNN", "--dataset=odd", "--load_col=~", "--scenario_fields=[place]"]
    with suppress(SystemExit):
        assert run_recbole_command([*given_arguments, argument]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"run_recbole: error: {told}")
