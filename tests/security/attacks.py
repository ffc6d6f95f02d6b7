"""What an attacker puts into a file, and how a test sees that it did nothing."""

import os
from pathlib import Path
from typing import Any

import torch

CODE = "__import__('os').mkdir('ran')"
"""Python that leaves a folder where it is run."""

YAML_CODE = "!!python/object/apply:os.mkdir ['ran']"

NAMES = ["../outside/x", "/proc/x", "..", ".", "a\\b", "c:x", "a\0b", "a\nb", "a\x1b[2Jb"]
"""Names that would lead a path out of its folder, or cannot be shown."""


class RunsCode:
    """Runs code where it is unpickled."""

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, ("ran",)


def tree(folder: Path) -> dict[str, bytes | None]:
    """Every folder and file below a folder, with the files' bytes."""
    return {
        str(path.relative_to(folder)): None if path.is_dir() else path.read_bytes()
        for path in sorted(folder.rglob("*"))
    }


def changed(path: Path | str, target: Path | str, **values: Any) -> str:
    """Write a torch file with some entries of its config, or of itself, changed."""
    content = torch.load(path, weights_only=True)
    content["config"]["values"].update(values.pop("config", {}))
    for name, value in values.items():
        if isinstance(value, dict) and isinstance(content.get(name), dict):
            content[name].update(value)
        else:
            content[name] = value
    torch.save(content, target)
    return str(target)
