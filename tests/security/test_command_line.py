"""Words of a command."""

import pytest

from tests.security.attacks import CODE, YAML_CODE


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ([f"--model={CODE}"], "is not known"),
        (["--model=DNN", f"--dataset={CODE}"], "is not known"),
        (["--model=DNN", f"--config_files={CODE}"], "No such file"),
        (["--model=DNN", f"--nproc={CODE}"], "expected a whole number"),
        (["--model=DNN", f"--scenario_fields=[{YAML_CODE}]"], "scenario_fields"),
        (["--model=MIDPG", f"--beta={CODE}"], f"beta: {CODE!r}"),
        (["--model=MIDPG", "--beta=[2001-99-99]"], "beta: '[2001-99-99]'"),
        (["--model=MIDPG", f"--beta={'[' * 100_000}"], "beta: "),
        (["--model=MIDPG", f"--resume={CODE}"], "resume: "),
    ],
)
def test_values_are_not_run(attacked, words, told):
    attacked.refused(told, "run_recbole", *words)


@pytest.mark.parametrize(
    ("command", "words", "key"),
    [
        ("tune", ["--model=MIDPG", "--dataset=ml-100k"], "beta"),
        ("benchmark", ["--models", "MIDPG", "--dataset=ml-100k"], "beta"),
        ("analyze", ["sweep", "--dataset=ml-100k", "--output=o"], "dropout_prob"),
        (
            "analyze",
            ["sizes", "--dataset=teacher_dpg_synth", "--rows", "5000", "--output=o"],
            "dropout_prob",
        ),
    ],
)
def test_values_of_the_other_commands_are_not_run(attacked, command, words, key):
    attacked.refused(f"{key}: {CODE!r}", command, *words, f"--{key}={CODE}")


def test_the_teacher_of_kd_dagfm_is_a_name(attacked, gaps):
    """RecBole's model passes the value to ``eval``."""
    words = ("--model=KD_DAGFM", *gaps)
    told = attacked.refused("is not a network", "run_recbole", *words, f"--teacher={CODE}")
    assert "CrossNet" in told
    attacked.refused("is not a network", "run_recbole", *words, "--teacher=torch")
