"""Rooms import what is below them: docs/architecture.md's picture, held by the imports."""

import ast
import inspect
import re
from pathlib import Path

import pytest
import recbole.config.configurator
import recbole.data.dataset.dataset
import recbole.data.interaction
import recbole.utils.logger

import recbole_midpg

PACKAGE = Path(recbole_midpg.__file__).parent
INTEGRATION = PACKAGE / "integration"
FILES_OF_INTEGRATION = sorted(
    path for path in INTEGRATION.rglob("*.py") if path.name != "__init__.py"
)
IMPORTS_RECBOLE = re.compile(r"^ *(import|from) recbole[ .]", re.MULTILINE)
# Where the objects are made whose attributes a docstring may name.
OWNERS = {
    "Config": recbole.config.configurator,
    "Dataset": recbole.data.dataset.dataset,
    "Interaction": recbole.data.interaction,
    "logger": recbole.utils.logger,
}
# From the bottom; rooms of one line may import each other.
FLOORS = (
    {"common"},
    {"layers"},
    {"models", "training", "evaluation", "loading", "generated", "event_logs"},
    {"integration"},
    {"experiments"},
    {"analysis", "prediction"},
    {"daily"},
    {"commands", "command_parser"},
    {"actions"},
    {"cli"},
    {"__main__"},
)
FLOOR_OF = {room: floor for floor, rooms in enumerate(FLOORS) for room in rooms}
# Beside the package: the converters, which are a program of their own, and the datasets' files.
BESIDE = {"atomic_data_scripts", "dataset_configs"}


def imported_rooms(source: str) -> set[str]:
    """The rooms of this package that a file imports from."""
    modules = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ImportFrom) and node.module == "recbole_midpg":
            modules += [f"recbole_midpg.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            modules.append(node.module or "")
        elif isinstance(node, ast.Import):
            modules += [alias.name for alias in node.names]
    parts = [module.split(".") for module in modules]
    return {names[1] for names in parts if names[0] == "recbole_midpg" and len(names) > 1}


def test_every_room_has_its_floor():
    rooms = {path.name.removesuffix(".py") for path in PACKAGE.iterdir()}
    assert rooms - {"__init__", "__pycache__", "properties", "py.typed"} == FLOOR_OF.keys()


def test_nothing_imports_upwards():
    upwards = [
        f"{path.relative_to(PACKAGE)} imports {room}"
        for path in PACKAGE.rglob("*.py")
        if (here := path.relative_to(PACKAGE).parts[0].removesuffix(".py")) in FLOOR_OF
        for room in imported_rooms(path.read_text(encoding="utf-8")) - BESIDE
        if FLOOR_OF.get(room, 0) > FLOOR_OF[here]
    ]
    assert upwards == []


def test_what_needs_no_recbole_imports_none():
    for room in ("common", "layers", "evaluation", "loading", "generated", "event_logs"):
        for path in (PACKAGE / room).rglob("*.py"):
            text = path.read_text(encoding="utf-8")
            assert "import recbole\n" not in text and "from recbole." not in text, path


def touches_recbole(path: Path) -> bool:
    """Whether a file of ``integration/`` has anything to do with RecBole's code."""
    text = path.read_text(encoding="utf-8")
    return (
        IMPORTS_RECBOLE.search(text) is not None
        or in_the_table_of_seams(path)
        or "recbole_folder" in text  # it reads the files of the installed RecBole
        or names_touched(text) != []  # as its docstring says, which the next test checks
    )


def in_the_table_of_seams(path: Path) -> bool:
    """Whether ``seams.py`` takes functions of a file, to put them in the place of RecBole's."""
    return path.stem in imported_names((INTEGRATION / "seams.py").read_text(encoding="utf-8"))


def imported_names(source: str) -> set[str]:
    imports = [n for n in ast.walk(ast.parse(source)) if isinstance(n, ast.ImportFrom)]
    return {alias.name for node in imports for alias in node.names}


def names_touched(source: str) -> list[tuple[str, str]]:
    """What a file's docstring names after "Of RecBole's it touches": owners and their names."""
    docstring = ast.get_docstring(ast.parse(source)) or ""
    _, _, told = docstring.partition("Of RecBole's it touches")
    return re.findall(r"``(\w+)\.(\w+)``", told)


# Which of integration/ touch RecBole: the others belong into the rooms below.
@pytest.mark.parametrize("path", FILES_OF_INTEGRATION, ids=lambda path: path.stem)
def test_a_file_of_integration_touches_recbole(path):
    assert touches_recbole(path), (
        "it neither imports RecBole, nor stands in seams.py, nor reads RecBole's files, nor says "
        'in its docstring "Of RecBole\'s it touches ``Dataset.inter_feat``", or what it does'
    )


@pytest.mark.parametrize(
    ("path", "owner", "name"),
    [
        pytest.param(path, owner, name, id=f"{path.stem}-{owner}.{name}")
        for path in FILES_OF_INTEGRATION
        for owner, name in names_touched(path.read_text(encoding="utf-8"))
    ],
)
def test_what_a_docstring_says_to_be_touched_is_recboles_and_is_touched(path, owner, name):
    assert re.search(rf"\b{name}\b", inspect.getsource(OWNERS[owner]))
    tree = ast.parse(path.read_text(encoding="utf-8"))
    names = [getattr(node, "attr", getattr(node, "id", None)) for node in ast.walk(tree)]
    assert name in names


def test_a_file_that_does_not_touch_recbole_is_seen(tmp_path):
    plain = tmp_path / "plain.py"
    plain.write_text("from recbole_midpg.common.errors import UsageError\n")
    assert not touches_recbole(plain)
    plain.write_text("def f():\n    from recbole.config import Config\n")
    assert touches_recbole(plain)
    assert in_the_table_of_seams(Path("trust.py"))


def test_an_import_upwards_is_seen():
    assert imported_rooms("from recbole_midpg import cli\nimport recbole_midpg.analysis.gains") == {
        "cli",
        "analysis",
    }
    assert FLOOR_OF["cli"] > FLOOR_OF["common"]


def test_the_process_s_words_are_read_at_the_door_and_for_a_users_program():
    """The command's own entry, and RecBole's Config of a user's program; nobody writes them."""
    lines = {
        (path.relative_to(PACKAGE).as_posix(), line.strip())
        for path in PACKAGE.rglob("*.py")
        for line in path.read_text().splitlines()
        if re.search(r"(?<!orig_)\bargv\b", line) and "``sys.argv``" not in line
    }
    assert {place for place, _ in lines} == {"cli.py", "integration/config/config.py"}
    assert not [line for _, line in lines if re.search(r"argv(\[[^]]*\])? *(=[^=]|\+=)", line)]
    assert len(lines) <= 3, lines
