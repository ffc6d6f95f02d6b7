"""Files of settings: configs, a dataset's config in the working folder, search spaces."""

from pathlib import Path

import pytest

from recbole_midpg.experiments.search_space import read_space
from tests.security.attacks import CODE, NAMES, YAML_CODE

LAUGHS = "a0: &a0 [x, x]\n" + "\n".join(
    f"a{number}: &a{number} [*a{number - 1}, *a{number - 1}]" for number in range(1, 60)
)
"""Sixty lines that stand for more values than fit any memory."""


def write(name, text):
    path = Path(name)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return name


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "command", "words"),
    [
        ("c.yaml", "run_recbole", ["--model=DNN", "--config_files=c.yaml"]),
        ("dataset_configs/gaps.yaml", "run_recbole", ["--model=DNN", "--dataset=gaps"]),
        ("benchmarks/settings/gaps.yaml", "benchmark", ["--dataset=gaps"]),
        ("s.yaml", "benchmark", ["--dataset=gaps", "--settings_file=s.yaml"]),
        ("c.yaml", "benchmark", ["--dataset=gaps", "--config_files", "c.yaml"]),
        ("c.yaml", "tune", ["--dataset=gaps", "--config_files", "c.yaml"]),
        ("c.yaml", "models", ["--config_files", "c.yaml"]),
    ],
)
@pytest.mark.parametrize(
    ("text", "told"),
    [
        (f"beta: {YAML_CODE}", "line 1"),
        ("beta: !!python/name:os.system", "line 1"),
        ("beta: 2001-99-99", "a value cannot be read"),
        ("beta: &a [*a]", "line 1: it stands for"),
        (LAUGHS, "it stands for"),
        ("beta: " + "[" * 5000, "config file"),
    ],
)
def test_yaml_runs_nothing(attacked, name, command, words, text, told):
    write(name, text)
    attacked.refused(told, command, *words)


def test_code_in_a_config_file_is_text(attacked):
    write("c.yaml", f"beta: {CODE}")
    attacked.refused(f"beta: {CODE!r}", "run_recbole", "--config_files=c.yaml")


def test_the_teacher_of_kd_dagfm_in_a_dataset_s_config_is_a_name(attacked, gaps):
    write("dataset_configs/gaps.yaml", f"teacher: {CODE}")
    attacked.refused("is not a network", "run_recbole", "--model=KD_DAGFM", *gaps)


@pytest.mark.parametrize(
    "line", [f"beta choice {CODE}", f"beta choice {YAML_CODE}", f"beta uniform {CODE},1"]
)
def test_a_search_space_is_not_run(attacked, line):
    write("s.hyper", line)
    attacked.refused("line 1: ", "tune", "--dataset=ml-100k", "--space=s.hyper")


def test_code_among_the_options_of_a_search_space_is_text(attacked):
    write("s.hyper", f"beta choice [{CODE}]")
    assert read_space("s.hyper")[0].values == (CODE,)
    attacked.nothing_happened()


@pytest.mark.parametrize("key", ["benchmark_filename", "additional_feat_suffix"])
@pytest.mark.parametrize("name", NAMES)
def test_parts_of_file_names_stay_in_the_dataset_s_folder(attacked, gaps, key, name):
    word = f"--{key}={[name]!r}"
    told = attacked.refused(f"{key}: ", "run_recbole", "--model=DNN", *gaps, word)
    assert "expected a name without a folder" in told


def test_a_dataset_named_in_a_config_file_stays_in_its_folder(attacked):
    write("c.yaml", "dataset: ../../outside/x\nmodel: DNN")
    attacked.refused("dataset: '../../outside/x'", "run_recbole", "--config_files=c.yaml")
    write("c.yaml", "dataset: [x]\nmodel: DNN")
    attacked.refused("dataset: ['x']", "run_recbole", "--config_files=c.yaml")
