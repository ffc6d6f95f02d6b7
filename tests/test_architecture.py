"""Rooms import what is below them: docs/architecture.md's picture, held by the imports."""

import ast
from pathlib import Path

import recbole_midpg

PACKAGE = Path(recbole_midpg.__file__).parent
# From the bottom; rooms of one line may import each other.
FLOORS = (
    {"common"},
    {"layers"},
    {"models", "training", "evaluation", "loading", "generated"},
    {"integration"},
    {"experiments"},
    {"analysis", "prediction"},
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
    for room in ("common", "layers", "evaluation", "loading", "generated"):
        for path in (PACKAGE / room).rglob("*.py"):
            text = path.read_text(encoding="utf-8")
            assert "import recbole\n" not in text and "from recbole." not in text, path


def test_an_import_upwards_is_seen():
    assert imported_rooms("from recbole_midpg import cli\nimport recbole_midpg.analysis.gains") == {
        "cli",
        "analysis",
    }
    assert FLOOR_OF["cli"] > FLOOR_OF["common"]
