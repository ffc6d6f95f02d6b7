"""What is nearly a command or an option of ``recbole-midpg``."""

import pytest

from recbole_midpg import cli
from recbole_midpg.command_parser import CommandParser


def parser():
    made = CommandParser(prog="midpg")
    commands = made.add_subparsers(required=True, metavar="COMMAND")
    score = commands.add_parser("score")
    score.add_argument("--checkpoint", required=True)
    score.add_argument("--show_progress", action="store_true")
    score.add_argument("--keep-seen", action="store_true")
    search = commands.add_parser("search", allow_abbrev=False)
    search.add_argument("--trials", type=int)
    search.add_argument("--model")
    search.set_defaults(settings=[])
    return made


def told(arguments, capsys):
    """The error with which arguments are refused, with status 2."""
    with pytest.raises(SystemExit) as end:
        parser().parse_known_args(arguments)
    assert end.value.code == 2
    return capsys.readouterr().err.splitlines()[-1]


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["scor"], "midpg: error: 'scor' is no command, one of score, search; did you mean score?"),
        (["fly", "--trials=3"], "midpg: error: 'fly' is no command, one of score, search."),
        (
            ["score", "--chekpoint", "a"],
            "midpg score: error: --chekpoint is no option; did you mean --checkpoint?",
        ),
        (["score", "--checkpoint=a", "--fly=3"], "midpg score: error: --fly is no option."),
        (
            ["search", "--trails=3"],
            "midpg search: error: --trails is no option; did you mean --trials?",
        ),
        (
            ["search", "--models=PLE"],
            "midpg search: error: --models is no option; did you mean --model?",
        ),
    ],
)
def test_what_is_nearly_right_is_named(arguments, expected, capsys):
    assert told(arguments, capsys) == expected


@pytest.mark.parametrize("word", ["--show-progress", "--show_progress", "--show-pro"])
@pytest.mark.parametrize("other", ["--keep-seen", "--keep_seen"])
def test_hyphens_are_underscores(word, other):
    known, others = parser().parse_known_args(["score", "--checkpoint", "a-b", word, other])
    assert (known.checkpoint, known.show_progress, known.keep_seen) == ("a-b", True, True)
    assert others == []


def test_config_keys_and_what_is_near_none_are_left_to_the_config():
    values = ["--m=4", "--mi-estimator=kl", "--mode=x-y", "--anything=1", "--epoch=3"]
    known, others = parser().parse_known_args(["search", "--trials", "2", *values[:2]])
    assert (known.trials, others) == (2, ["--m=4", "--mi_estimator=kl"])
    _, others = parser().parse_known_args(["search", *values[3:]])
    assert others == values[3:]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["tunne"], "did you mean tune?"),
        (["predict", "--inptu=a"], "--inptu is no option; did you mean --input?"),
        (["datasets", "--datapath=x"], "did you mean --data_path?"),
        (["prepare", "iaac", "--rw", "x"], "did you mean --raw?"),
        (["prepare", "iaac", "--raw", "x", "--on-eror", "skip"], "did you mean --on_error?"),
        (["tune", "--trails=3"], "did you mean --trials?"),
        (["benchmark", "--model", "DNN"], "did you mean --models?"),
        (["benchmark", "--setings_file=x"], "did you mean --settings_file?"),
        (["analyze", "gain"], "'gain' is no figure, one of matrices, curves, gains, sweep,"),
        (["analyze", "sweep", "--varients", "r"], "did you mean --variants?"),
    ],
)
def test_commands_name_what_is_nearly_right(arguments, words, capsys):
    with pytest.raises(SystemExit) as end:
        cli.main(arguments)
    assert end.value.code == 2
    assert words in capsys.readouterr().err


def test_a_misspelt_config_key_of_a_search_is_told_by_the_config(capsys):
    assert cli.main(["tune", "--model=DNN", "--epoch=3"]) == 2
    assert "epoch: unknown config key (value 3); did you mean 'epochs'?" in capsys.readouterr().err
