"""What a command imports: neither torch nor RecBole, until it has something to do."""

import inspect
import os
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

import recbole_midpg
from recbole_midpg import cli
from recbole_midpg.command_parser import CommandParser
from recbole_midpg.commands import analysis, daily, datasets, experiments, prediction
from recbole_midpg.commands.given_words import require_known_words
from recbole_midpg.integration.models.model_names import own_model_names
from recbole_midpg.integration.models.registry import own_models
from tests.support.processes import run_python

HEAVY = ("torch", "recbole", "pandas", "sklearn")
SCRIPT = """
import sys
from recbole_midpg.cli import main, run_recbole_command
command = {"run_recbole": run_recbole_command, "recbole-midpg": main}[PROGRAM]
try:
    status = command()
except SystemExit as end:
    status = end.code
loaded = [name for name in HEAVY if name in sys.modules]
print("status", status, "loaded", *loaded)
"""


def typed(program: str, *arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    """A command as an installer writes it, which tells at its end what it has imported."""
    script = cwd / program
    script.write_text(f"PROGRAM = {program!r}\nHEAVY = {HEAVY!r}\n{SCRIPT}")
    return subprocess.run(
        [sys.executable, str(script), *arguments],
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": str(Path(recbole_midpg.__file__).parents[1])},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


@pytest.mark.parametrize(
    ("words", "status", "told"),
    [
        (
            ["run_recbole", "--help"],
            0,
            "of this package: AdaptDHM, AdaSparse,",
        ),
        (["run_recbole", "--version"], 0, "torch 2"),
        (["run_recbole", "--beta"], 2, "a value is missing, expected --beta=value."),
        (["run_recbole", "--model=MIDPQ"], 2, "'MIDPQ' is not known; did you mean 'MIDPG'?"),
        (["run_recbole", "--dataset=ml-1000k"], 2, "did you mean 'ml-100k'?"),
        (["run_recbole", "--dataset=a/b"], 2, "dataset: 'a/b' is not allowed"),
        (["run_recbole", "--betta=1"], 2, "unknown config key (value 1); did you mean 'beta'?"),
        (["run_recbole", "--model=DeepFM", "--lr=1"], 2, "did you mean 'learning_rate'?"),
        (["run_recbole", "--config_files=none.yaml"], 2, "none.yaml"),
        (["run_recbole", "--nproc=0"], 2, "nproc: 0"),
        (["recbole-midpg", "--help"], 0, "compare two finished runs"),
        (["recbole-midpg", "--version"], 0, "torch"),
        (["recbole-midpg", "tunne"], 2, "did you mean tune?"),
        (["recbole-midpg", "tune", "--trails=3"], 2, "did you mean --trials?"),
        (["recbole-midpg", "analyze", "sweep", "--help"], 0, "some of non rc r c APG"),
        (["recbole-midpg", "generate", "--help"], 0, "amazon_electronics_synth"),
        (["recbole-midpg", "predict", "--checkpoint"], 2, "expected one argument"),
    ],
)
def test_words_are_answered_without_torch(words, status, told, tmp_path):
    result = typed(*words, cwd=tmp_path)
    assert told in " ".join((result.stdout + result.stderr).split())
    assert "Traceback" not in result.stderr
    assert result.stdout.splitlines()[-1] == f"status {status} loaded"


@pytest.mark.slow
def test_a_command_with_something_to_do_enters_recbole(tmp_path):
    fast = ["--epochs=1", "--train_batch_size=8192", "--show_progress=False"]
    result = typed("run_recbole", "--model=DPG", *fast, cwd=tmp_path)
    assert result.stdout.splitlines()[-1].startswith("status 0 loaded torch recbole")
    assert "test result" in result.stdout
    (checkpoint,) = (tmp_path / "saved").glob("DPG-*.pth")
    words = ["export", "--checkpoint", str(checkpoint), "--output", "m.scorer"]
    result = typed("recbole-midpg", *words, cwd=tmp_path)
    assert result.stdout.splitlines()[0].startswith("m.scorer: ")


@pytest.mark.slow
@pytest.mark.parametrize(
    "program",
    [
        "import recbole_midpg\nfrom recbole.quick_start import run",
        "import sys; sys.argv[0] = 'run_recbole'\nimport recbole_midpg\n"
        "from recbole.quick_start import run",
        "from recbole_midpg.cli import main\nfrom recbole.quick_start import run",
    ],
    ids=["program", "worker of a command", "program that imports the command"],
)
def test_every_other_process_registers_at_once(program, tmp_path):
    result = run_python(f"{program}\nprint(run.__module__)", tmp_path)
    assert result.stdout == "recbole_midpg.integration.run.processes\n", result.stderr


def test_register_is_there():
    from recbole_midpg.integration.models.outside_models import register

    assert recbole_midpg.register is register
    with pytest.raises(AttributeError, match="no attribute 'registr'"):
        recbole_midpg.registr  # noqa: B018


def test_names_of_models_are_those_of_their_files():
    assert own_model_names() == list(own_models())


@pytest.mark.parametrize("model", [3, None, "my_package.my_file:MyModel"])
def test_words_that_need_recbole_are_left_to_the_config(model):
    require_known_words(model, "ml-1000k", {"betta": 1})


def test_keys_that_may_pass_are_left_to_the_config():
    require_known_words("DNN", "ml-100k", {"betta": 1, "extra_keys": ["betta"]})
    require_known_words("DNN", "ml-100k", {"betta": 1, "extra_keys": 5})


def test_every_action_takes_the_options_of_its_command(monkeypatch):
    """Its place is a text, which no other tool looks up."""
    places = []
    for module in (analysis, daily, datasets, experiments, prediction):
        monkeypatch.setattr(module, "run_by", lambda place: places.append(place) or place)
    monkeypatch.setattr(CommandParser, "parse_known_args", lambda self, words: end(self))

    class Parsed(Exception):  # noqa: N818
        pass

    def end(parser):
        raise Parsed(parser)

    with pytest.raises(Parsed) as parsed:
        cli.main([])
    checked = [check_action(parser) for parser in commands_of(parsed.value.args[0])]
    assert sorted(checked) == sorted(places) and len(places) == 18


def commands_of(parser):
    if parser._commands is None:
        yield parser
        return
    for part in parser._commands.choices.values():
        yield from commands_of(part)


def check_action(parser):
    place = parser.get_default("action")
    module, _, name = place.partition(":")
    taken = inspect.signature(getattr(import_module(module), name)).parameters
    options = {action.dest for action in parser._actions} - {"help"}
    options |= {"settings"} if parser.get_default("settings") is not None else set()
    if not any(each.kind is each.VAR_KEYWORD for each in taken.values()):
        assert options == set(taken), place
    assert set(taken) - {"options"} <= options, place
    return place
