import logging
from pathlib import Path

import pytest
from recbole.config import Config

from recbole_midpg.common.config_files import read_config_file
from recbole_midpg.common.errors import UsageError
from recbole_midpg.integration.config.config import _warn_once, build_config
from recbole_midpg.integration.config.key_names import (
    _OTHER_NAMES,
    general_recbole_keys,
    own_keys,
    recbole_keys,
)
from tests.support.recbole_data import GAPS, gaps_config


@pytest.fixture(autouse=True)
def said_nothing_yet():
    _warn_once.cache_clear()


def config(model="MIDPG", dataset="ml-100k", files=None, **values):
    return Config(model=model, dataset=dataset, config_file_list=files, config_dict=values)


def message(*args, **values) -> str:
    with pytest.raises(UsageError) as error:
        config(*args, **values)
    return str(error.value)


def test_defaults_of_model_dataset_and_recbole():
    made = config()
    assert made["weighting"] == "r"
    assert made["mlp_hidden_size"] == [128, 64, 32]
    assert made["scenario_fields"] == ["occupation"]
    assert made["scenario_id_field"] == "occupation"
    # RecBole's own settings for context-aware models on ml-100k, loaded before ours.
    assert made["threshold"] == {"rating": 4}
    assert made["metrics"] == ["AUC", "LogLoss"]
    assert made["eval_args"]["split"] == {"RS": [0.8, 0.1, 0.1]}


def test_built_in_models_get_the_same_data_and_scenario():
    ours, built_in = config("MIDPG"), config("DeepFM")
    for key in ("scenario_fields", "scenario_id_field", "threshold", "load_col", "eval_args",
                "metrics", "train_batch_size", "embedding_size", "seed"):  # fmt: skip
        assert ours[key] == built_in[key], key


def test_models_of_other_kinds_keep_recboles_settings():
    made = config("BPR")
    assert made["metrics"] == ["Recall", "MRR", "NDCG", "Hit", "Precision"]
    assert made["scenario_fields"] is None


def test_order_of_precedence(tmp_path, monkeypatch):
    path = tmp_path / "mine.yaml"
    path.write_text("beta: 0.2\nk: 2\nn: 4\nlearning_rate: 1e-2\n")
    monkeypatch.setattr("sys.argv", ["run_recbole", "--n=2", "--scenario_fields=[gender,age]"])
    made = config(files=[str(path)], k=3)
    assert (made["beta"], made["k"], made["n"]) == (0.2, 3, 2)
    assert made["learning_rate"] == 0.01
    assert made["scenario_fields"] == ["gender", "age"]
    assert made["scenario_id_field"] == "gender"


def test_a_commands_config_takes_what_it_is_given_alone(tmp_path, monkeypatch):
    (tmp_path / "mine.yaml").write_text("k: 3\nn: 4\n")
    words = ["program.py", "--n=2", "--no_key", "--config_files=mine.yaml"]
    monkeypatch.setattr("sys.argv", words)
    made = build_config("MIDPG", "ml-100k")
    assert (made["n"], made["k"], made.cmd_config_dict) == (8, 4, {})
    in_program = config()  # whose command line RecBole reads
    assert (in_program["n"], in_program["k"]) == (2, 3)
    typed = {"n": "7", "scenario_fields": "[gender,age]", "seq_separator": "="}
    made = build_config("MIDPG", "ml-100k", values={"n": 4, "m": 4}, typed=typed)
    assert (made["n"], made["m"], made["scenario_fields"]) == (7, 4, ["gender", "age"])
    assert made["seq_separator"] == "="


def test_users_dataset_config_wins_over_the_packaged_one(tmp_path):
    folder = tmp_path / "dataset_configs"
    folder.mkdir()
    (folder / "ml-100k.yaml").write_text("scenario_fields: [gender]\n")
    assert config()["scenario_fields"] == ["gender"]


def test_one_name_is_a_list_of_one():
    assert config(scenario_fields="gender")["scenario_fields"] == ["gender"]


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"scenario_fields": ["ocupation"]}, ["'ocupation'", "not a field", "'occupation'?"]),
        ({"scenario_fields": ["timestamp"]}, ["'timestamp'", "float, not token", "user_id"]),
        ({"scenario_fields": ["class"]}, ["'class'", "token_seq, not token"]),
        ({"scenario_fields": ["rating"]}, ["'rating'", "is the label"]),
        ({"scenario_fields": ["label"]}, ["'label'", "is the label"]),
        ({"scenario_fields": ["zip_code"]}, ["of ml-100k.user is not loaded", "load_col: ~"]),
        ({"scenario_fields": []}, ["[]", "occupation"]),
        ({"scenario_fields": None}, ["MIDPG needs", "occupation"]),
        ({"scenario_fields": ["gender", "gender"]}, ["each once"]),
        ({"scenario_fields": [3]}, ["[3]"]),
        ({"scenario_id_field": "movie"}, ["scenario_id_field", "'movie'"]),
        ({"n": 71}, ["n: 71", "70"]),
        ({"m": 33}, ["m: 33", "32"]),
        ({"n": 0}, ["n: 0", "at least 1"]),
        ({"k": 1.5}, ["k: 1.5", "whole number"]),
        ({"n": True}, ["n: True"]),
        ({"weighting": "rr"}, ["weighting: 'rr'", "non, rc, r, c"]),
        ({"mi_estimator": "jds"}, ["'jds'", "'jsd'?"]),
        ({"beta": -0.1}, ["beta: -0.1", "at least 0"]),
        ({"beta": "much"}, ["beta: 'much'", "a number"]),
        ({"beta": float("nan")}, ["beta: nan"]),
        ({"betta": 0.1}, ["betta", "0.1", "'beta'?"]),
        ({"scenario_field": ["age"]}, ["scenario_field:", "'scenario_fields'?"]),
        ({"mlp_hidden_size": []}, ["mlp_hidden_size: []", "1 or more"]),
        ({"dropout_prob": 1.0}, ["dropout_prob: 1.0", "less than 1"]),
        ({"embedding_size": 0}, ["embedding_size: 0"]),
        ({"generator_input": "all"}, ["'all'", "scenario_and_input, scenario"]),
    ],
)
def test_a_wrong_value_gives_one_sentence_before_data_is_loaded(values, words):
    told = message(**values)
    assert all(word in told for word in words), told
    assert "\n" not in told


def test_scenario_keys_are_checked_for_built_in_models_too():
    assert "'occupation'?" in message("DeepFM", scenario_fields=["ocupation"])
    assert "'scenario_fields'?" in message("DeepFM", scenario_feilds=["occupation"])


@pytest.mark.parametrize("model", ["DNN", "DeepFM", "BPR"])
def test_where_rows_are_is_checked_for_every_model(model):
    assert config(model)["data_on_device"] is False
    assert config(model, data_on_device="auto")["data_on_device"] == "auto"
    assert message(model, data_on_device="gpu") == (
        "data_on_device: 'gpu' is not allowed, expected auto, True or False."
    )


def test_kernels_are_switched_by_a_flag():
    assert message("DPG", triton_kernels="on").startswith("triton_kernels: 'on' is not allowed")


def test_products_are_of_whole_float32_by_default():
    assert config("DNN")["matmul_precision"] == "highest"
    assert message("DNN", matmul_precision="medium") == (
        "matmul_precision: 'medium' is not allowed, expected one of highest, high."
    )


def test_dnn_needs_no_scenario():
    assert config("DNN", scenario_fields=None)["scenario_fields"] is None


def test_keys_of_another_of_our_models_are_no_error():
    assert config("DNN", beta=0.5, weighting="rc")["beta"] == 0.5


@pytest.mark.parametrize("model", ["MIDPG", "DeepFM"])
@pytest.mark.parametrize(
    ("key", "meant"),
    [
        ("epoch", "epochs"),
        ("models", "model"),
        ("datasets", "dataset"),
        ("seeds", "seed"),
        ("learning_rte", "learning_rate"),
        ("show-progress", "show_progress"),
        ("Epochs", "epochs"),
        ("lr", "learning_rate"),
        ("batch_size", "train_batch_size"),
        ("patience", "stopping_step"),
        ("hidden_units", "mlp_hidden_size"),
        ("pruning_steps", "pruning_epochs"),  # its name in earlier versions
    ],
)
def test_a_misspelt_key_and_another_s_name_of_one_are_refused_with_the_right_one(model, key, meant):
    told = message(model, **{key: 3})
    assert told.startswith(f"{key}: unknown config key (value 3); did you mean {meant!r}?")
    assert config(model, **{key: 3, "extra_keys": [key]})[key] == 3


def test_other_names_are_no_keys_and_mean_keys():
    keys = own_keys() | general_recbole_keys()
    for name, meant in _OTHER_NAMES.items():
        assert name not in keys and meant in keys, name


def test_other_unknown_keys_are_listed_in_one_line_once(caplog):
    keys = {"favourite_colour": "blue", "zzz": 1}
    for _ in range(2):
        config("DeepFM", **keys)
    (line,) = [r.getMessage() for r in caplog.records if "does not read" in r.getMessage()]
    assert line.startswith("Keys that DeepFM does not read: favourite_colour, zzz (extra_keys: [")
    caplog.clear()
    config("DeepFM", **keys, extra_keys=["favourite_colour", "zzz"])
    assert not caplog.records


def test_keys_that_only_other_models_read_are_listed(caplog):
    config("DNN", beta=0.25, gate_gamma=3, n_layers=2)
    assert "Keys that DNN does not read: beta, gate_gamma, n_layers (extra_keys" in caplog.text


def test_a_key_of_another_model_of_recbole_that_is_another_name_of_ours_is_refused():
    assert "did you mean 'dropout_prob'?" in message("MIDPG", dropout=0.5)
    assert config("DSSM", dropout=0.5)["dropout"] == 0.5


def test_a_key_that_is_gone_is_warned_of_in_one_sentence(caplog):
    with caplog.at_level(logging.WARNING):
        config("DNN", compile_model=True)
    (told,) = [line for line in caplog.messages if "compile_model" in line]
    assert told.startswith("compile_model: config key removed, unused: torch.compile made training")


def test_known_keys_hold_recboles_and_ours():
    assert {"beta", "n", "scenario_fields", "mlp_hidden_size"} <= own_keys()
    assert {"learning_rate", "threshold", "n_layers", "benchmark_filename"} <= recbole_keys()
    assert "beta" in own_keys()


def test_unknown_model_lists_what_exists():
    told = message("MIDPQ")
    assert "'MIDPQ'" in told and "did you mean 'MIDPG'?" in told
    assert "DeepFM" in told and "DNN" in told
    assert "lightgbm" not in told.split("\n")[0]


def test_wrong_case_of_a_model_is_unknown_with_a_hint():
    assert "did you mean 'MIDPG'?" in message("midpg")


def test_unknown_dataset_lists_what_exists(tmp_path):
    (tmp_path / "dataset" / "mine").mkdir(parents=True)
    (tmp_path / "dataset" / "mine" / "mine.inter").write_text("user_id:token\n")
    told = message(dataset="ml-100")
    assert "'ml-100'" in told and "'ml-100k'?" in told
    assert "On disk: mine, ml-100k." in told and "ml-1m" in told


def test_a_folder_without_atomic_files(tmp_path):
    (tmp_path / "dataset" / "mine").mkdir(parents=True)
    assert "mine.inter" in message(dataset="mine")


def test_a_malformed_header_is_named(tmp_path):
    (tmp_path / "dataset" / "mine").mkdir(parents=True)
    (tmp_path / "dataset" / "mine" / "mine.inter").write_text("user_id:token,item_id:token\n")
    told = message(dataset="mine", scenario_fields=["user_id"])
    assert "line 1" in told and "name:type" in told


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("beta: [1", ["line 1"]),
        ("beta: 1\n  k: 2", ["line 2"]),
        ("- beta", ["key: value"]),
        ("beta: 1\nk: 2\nbeta: 3", ["line 3: the key 'beta' stands in line 1 already."]),
        ("beta: !!python/object/apply:os.getcwd []", ["line 1"]),
    ],
)
def test_a_broken_config_file_is_named_with_its_line(tmp_path, text, words):
    path = tmp_path / "broken.yaml"
    path.write_text(text)
    told = message(files=[str(path)])
    assert "broken.yaml" in told and all(word in told for word in words), told


def test_missing_and_undecodable_config_files(tmp_path):
    assert "No such file" in message(files=["none.yaml"])
    assert "config file" in message(files=[str(tmp_path)])
    (tmp_path / "latin.yaml").write_bytes(b"note: \xe9\n")
    assert "UTF-8" in message(files=["latin.yaml"])
    (tmp_path / "empty.yaml").write_text("")
    assert read_config_file("empty.yaml") == {}


def test_texts_in_a_config_dict_are_not_run(tmp_path):
    config(wandb_project=f"__import__('pathlib').Path({str(tmp_path / 'ran')!r}).touch()")
    assert not Path("ran").exists()


def test_hyper_tuning_texts_are_literals():
    assert config(mlp_hidden_size="[64,32]")["mlp_hidden_size"] == [64, 32]


def test_float_fields_count_only_where_numerical():
    # gaps: 5 fields of tokens or token sequences, 3 numerical floats.
    assert gaps_config("MIDPG", n=24, embedding_size=3)["n"] == 24
    with pytest.raises(UsageError, match="at most 21"):
        gaps_config("MIDPG", n=24, embedding_size=3, numerical_features=["price", "age"])


@pytest.mark.parametrize("model", ["DNN", "DeepFM"])
@pytest.mark.parametrize(
    ("key", "value", "expected"),
    [
        ("epochs", "many", "a whole number of at least 1"),
        ("epochs", -1, "a whole number of at least 1"),
        ("epochs", 1.5, "a whole number of at least 1"),
        ("train_batch_size", 0, "a whole number of at least 1"),
        ("eval_batch_size", "big", "a whole number of at least 1"),
        ("learner", "adamm", "did you mean 'adam'"),
        ("learning_rate", "fast", "a number at least 0"),
        ("learning_rate", float("nan"), "a number at least 0"),
        ("weight_decay", -1, "a number at least 0"),
        ("clip_grad_norm", 5, "a mapping of max_norm (a number"),
        ("eval_step", "x", "a whole number of at least 0"),
        ("stopping_step", "x", "a whole number of at least 0"),
        ("seed", "x", "a whole number from 0 to 4294967295"),
        ("worker", -1, "a whole number of at least 0"),
        ("state", 5, "one of info, debug"),
        ("threshold", 4, "one field and a number, as {rating: 4}"),
        ("numerical_features", 3, "a list of names"),
        ("checkpoint_dir", 5, "a folder's name"),
    ],
)
def test_values_that_recbole_fails_on_later_are_told(model, key, value, expected):
    with pytest.raises(UsageError, match=f"^{key}: .* is not allowed") as error:
        gaps_config(model, **{key: value})
    assert expected in str(error.value)


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"split": {"RS": [8, 1]}}, "split: {'RS': [8, 1]} is not allowed"),
        ({"split": {"RS": [0, 1, 1]}}, "expected three shares, the first above 0"),
        ({"split": {"RS": "8,1,1"}}, "split: {'RS': '8,1,1'} is not allowed"),
        ({"split": {"XX": [8, 1, 1]}}, "split: {'XX': [8, 1, 1]} is not allowed"),
        ({"split": {"LS": "some"}}, "split: {'LS': 'some'} is not allowed"),
        ({"split": 3}, "split: 3 is not allowed"),
        ({"order": "QQ"}, "order: 'QQ' is not allowed, expected one of RO, TO."),
        ({"group_by": "job"}, "group_by: 'job' is not allowed, expected one of ~, none, user."),
        ({"order": "TO"}, "TIME_FIELD: 'timestamp' is not a loaded field of numbers"),
    ],
)
def test_a_split_that_recbole_cannot_make(changed, told):
    with pytest.raises(UsageError) as error:
        gaps_config("DNN", eval_args={**GAPS["eval_args"], **changed})
    assert told in str(error.value)


@pytest.mark.parametrize("model", ["DNN", "DeepFM", "BPR"])
@pytest.mark.parametrize("names", [["train"], ["a", "b", "c", "d"], []], ids=str)
def test_files_of_splits_are_two_or_three(model, names):
    told = message(model, benchmark_filename=names)
    assert told == (
        f"benchmark_filename: {names} is not allowed, expected three names, of training, "
        "validation and test, as [train, valid, test], or two, of training and test."
    )


def test_a_file_may_be_two_splits(tmp_path, caplog):
    (tmp_path / "clicks").mkdir()
    for name in ("train", "test"):
        (tmp_path / "clicks" / f"clicks.{name}.inter").write_text(
            "user_id:token\titem_id:token\tlabel:float\n"
        )
    names = ["train", "test", "test"]
    made = config("DNN", "clicks", data_path=str(tmp_path), benchmark_filename=names)
    assert made["benchmark_filename"] == names
    assert "not used" not in caplog.text
    asked = {"split": {"RS": [5, 2, 3]}, "order": "RO", "group_by": None, "mode": "labeled"}
    config("DNN", "clicks", data_path=str(tmp_path), benchmark_filename=names, eval_args=asked)
    assert (
        "eval_args: split, order, group_by: not used, as the files of benchmark_filename are the "
        "splits."
    ) in caplog.text


def test_keys_of_steps_are_not_used_by_trees(caplog):
    config("LightGBM", "ml-100k", learner="sgd", weight_decay=0.1)
    assert "learner, weight_decay: not used, as LightGBM grows trees from all rows" in caplog.text
    caplog.clear()
    config("DNN", "ml-100k", learner="sgd", weight_decay=0.1)
    assert "not used" not in caplog.text


def test_splits_that_recbole_can_make():
    for split in ({"RS": [8, 1, 1]}, {"LS": "valid_and_test"}):
        gaps_config("DNN", eval_args={**GAPS["eval_args"], "split": split, "group_by": "user"})
    gaps_config("DNN", eval_args={**GAPS["eval_args"], "order": "TO"}, TIME_FIELD="price")


def test_a_field_of_numbers_that_is_none():
    with pytest.raises(UsageError, match=r"numerical_features: 'job' is not a loaded field of"):
        gaps_config("DNN", numerical_features=["job"])
    with pytest.raises(UsageError, match=r"'prices' is not a loaded field of numbers.*'price'"):
        gaps_config("DNN", numerical_features=["prices"])
    of_file = "'age' is not a loaded field of numbers, expected some of rating, price, sizes"
    with pytest.raises(UsageError, match=of_file):
        gaps_config("DNN", unload_col={"user": ["age"]})
