"""The commands and programs that README.md and docs/ print, read as a reader would copy them."""

import importlib
import re
import runpy
import shlex
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from recbole_midpg import cli
from recbole_midpg.common.arguments import parse_value, split_arguments
from recbole_midpg.integration.config.config import check_key_names
from recbole_midpg.integration.models.registry import get_model
from tests.support.processes import run_module

REPOSITORY = Path(__file__).parents[2]
PAGES = [
    REPOSITORY / "README.md",
    REPOSITORY / "CONTRIBUTING.md",
    *sorted((REPOSITORY / "docs").rglob("*.md")),
]
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
_PROGRAMS = ("run_recbole", "recbole-midpg", "python", "pytest", "pip")
_INLINE = re.compile(rf"(?<!`)`((?:{'|'.join(_PROGRAMS)}) [^`]+)`(?!`)")
# A comment in the first line of YAML; a table, which has no comments, is named just above.
_YAML_FILE = re.compile(r"^```yaml\n# (\S+)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
_CSV_FILE = re.compile(r"`(\S+)`:\n\n```csv\n(.*?)^```$", re.DOTALL | re.MULTILINE)
_ENDINGS = re.compile(r"&&|;|(?<!\\)\n")
# What makes a long command short: a few rows, one epoch, one trial.
_SHORT_RUN = ("--epochs=1", "--train_batch_size=8192")
_SHORT = {
    "run_recbole": _SHORT_RUN,
    "tune": (*_SHORT_RUN, "--trials=1"),
    "benchmark": (*_SHORT_RUN, "--trials=1", "--models", "DNN", "DPG"),
    "matrices": _SHORT_RUN,
    "sweep": (*_SHORT_RUN, "--trials=1", "--sizes", "4,2", "--variants", "r"),
    "sizes": (*_SHORT_RUN, "--trials=1", "--rows", "5000", "9000", "--models", "DNN", "DPG"),
}
_FEW_ROWS = "--synthetic_rows=20000"


@dataclass(frozen=True)
class Block:
    """A fenced block of a page."""

    page: Path
    language: str
    text: str

    def commands(self) -> list[list[str]]:
        """The words of each command of a bash or console block."""
        text = self.text.replace("\\\n", " ")
        if self.language == "console":
            text = "\n".join(line[2:] for line in text.splitlines() if line.startswith("$ "))
        lines = [shlex.split(part, comments=True) for part in _ENDINGS.split(_uncommented(text))]
        return [words for words in lines if words]

    def output(self) -> str:
        """What a console block says that its command prints."""
        return "\n".join(line for line in self.text.splitlines() if not line.startswith("$ "))


def _uncommented(text: str) -> str:
    """Shell text without comments, in which a ``;`` ends no command."""
    return re.sub(r"(^|\s)#.*", "", text)


def name_of(page: Path) -> str:
    return page.relative_to(REPOSITORY).as_posix()


def blocks_of(page: Path, *languages: str) -> list[Block]:
    found = FENCE.findall(page.read_text(encoding="utf-8"))
    return [Block(page, language, text) for language, text in found if language in languages]


def inline_commands(page: Path) -> list[list[str]]:
    """The commands that stand within a page's sentences."""
    text = FENCE.sub("", page.read_text(encoding="utf-8"))
    spans = [span.replace("\n", " ") for span in _INLINE.findall(text)]
    # What is left out with dots stands for anything.
    return [[word for word in shlex.split(span) if "…" not in word] for span in spans]


# --------------------------------------------------------------------------------------------------
# Checking without running


def check(words: list[str], monkeypatch: Any) -> None:
    """Check that a command's program, options, config keys and files exist.

    Raises:
        AssertionError, UsageError, SystemExit: they do not.
    """
    program, *arguments = words
    if program == "run_recbole":
        _check_training(arguments)
    elif program == "recbole-midpg":
        _check_command(arguments, monkeypatch)
    elif program in ("python", "pytest", "pip", ".ci/run", "ruff", "mypy", "mkdocs"):
        _check_tool(program, arguments)
    else:
        raise AssertionError(f"{program}: no program that this test knows")


def _check_training(arguments: list[str]) -> None:
    if "--help" in arguments:
        return
    texts = split_arguments(arguments)
    model = texts.get("model", "MIDPG")
    get_model(model)
    check_key_names({key: parse_value(text) for key, text in texts.items()}, model)


def _check_command(arguments: list[str], monkeypatch: Any) -> None:
    """Let the command read its options, and check the config keys that it passes on."""
    if not any(word.startswith("--") for word in arguments):
        arguments = [*arguments, "--help"]
    read: list[Any] = []
    with monkeypatch.context() as patched:
        patched.setattr(cli, "_guarded", lambda program, action: read.append(action) or 0)
        try:
            cli.main(arguments)
        except SystemExit as end:
            assert end.code == 0, arguments
            return
    (action,) = read
    (options,) = [c.cell_contents for c in action.__closure__ if isinstance(c.cell_contents, dict)]
    texts = split_arguments(options.get("settings") or [])
    model = options.get("model") or "MIDPG"
    check_key_names({key: parse_value(text) for key, text in texts.items()}, model)


def _check_tool(program: str, arguments: list[str]) -> None:
    if program == "pip":
        project = (REPOSITORY / "pyproject.toml").read_text(encoding="utf-8")
        for extra in re.findall(r"\.\[(\w+)\]", " ".join(arguments)):
            assert re.search(rf"^{extra} = \[", project, re.MULTILINE), extra
    elif arguments[:1] == ["-m"] and program == "python":
        module = arguments[1].replace(".", "/")
        files = [REPOSITORY / f"{module}.py", REPOSITORY / module / "__main__.py"]
        (file,) = [file for file in files if file.is_file()]
        _check_options(file, arguments[2:])
    elif program == "python":
        assert (REPOSITORY / arguments[0]).is_file(), arguments
    elif program == "pytest":
        paths = [word for word in arguments if "/" in word]
        assert all((REPOSITORY / path).exists() for path in paths), arguments


def _check_options(file: Path, arguments: list[str]) -> None:
    """Check that a script's text has the options: it takes long to run and makes its own parser."""
    text = "".join(f.read_text(encoding="utf-8") for f in file.parent.glob("*.py"))
    for word in arguments:
        if word.startswith("--"):
            assert f'"{word.partition("=")[0]}"' in text, (file, word)


# --------------------------------------------------------------------------------------------------
# Running


def run(words: list[str]) -> int:
    """Run a command, made short, in this process and folder; return its exit status."""
    program, *arguments = [path for word in words for path in expanded(word)]
    if program == "python":
        with _command_line(arguments[0], *_SHORT_RUN):
            runpy.run_path(str(REPOSITORY / arguments[0]), run_name="__main__")
        return 0
    if program == "recbole-midpg":
        return cli.main(shortened(arguments))
    arguments = shortened([program, *arguments])[1:]
    if any(word.startswith("--nproc") for word in arguments):
        # Its processes begin with this one's main module, which is pytest.
        return run_module(*arguments, cwd=Path.cwd()).returncode
    return cli.run_recbole_command(arguments)


def expanded(word: str) -> list[str]:
    """The files that a ``*`` stands for, as a shell finds them."""
    folder, _, name = word.rpartition("/")
    found = sorted(str(path) for path in Path(folder).glob(name)) if "*" in name else []
    return found or [word]


def run_program(block: Block) -> None:
    """Run a python block, its training made short."""
    code = compile(block.text, name_of(block.page), "exec")
    with _command_line("program.py", *_SHORT_RUN):
        exec(code, {"__name__": "__main__"})


def shortened(words: list[str]) -> list[str]:
    """A command with options that make it short in the place of its own."""
    if any(word.startswith("--continue_from") for word in words):
        return words  # which trains once on a few rows
    options = next((_SHORT[word] for word in words if word in _SHORT), ())
    if options and "--rows" not in options and any("_synth" in word for word in words):
        options = (*options, _FEW_ROWS)
    replaced = {word.partition("=")[0] for word in options if word.startswith("--")}
    kept, keeping = [], True
    for word in words:
        if word.startswith("--"):
            keeping = word.partition("=")[0] not in replaced
        if keeping:
            kept.append(word)
    return [*kept, *options]


@contextmanager
def _command_line(*words: str) -> Iterator[None]:
    """The command line that RecBole reads, for a while."""
    before, sys.argv = sys.argv, list(words)
    try:
        yield
    finally:
        sys.argv = before


def write_files(page: Path) -> None:
    """Write the files that a page shows with their names."""
    text = page.read_text(encoding="utf-8")
    for name, content in (*_YAML_FILE.findall(text), *_CSV_FILE.findall(text)):
        path = Path(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content, encoding="utf-8")


def every_command() -> Iterator[tuple[Path, list[str]]]:
    for page in PAGES:
        for block in blocks_of(page, "bash", "console"):
            for words in block.commands():
                yield page, words
        for words in inline_commands(page):
            yield page, words


def import_generator() -> Any:
    """``docs/generate.py``, which stands in no package."""
    sys.path.insert(0, str(REPOSITORY / "docs"))
    try:
        return importlib.import_module("generate")
    finally:
        sys.path.pop(0)
