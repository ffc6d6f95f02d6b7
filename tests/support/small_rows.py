"""A small dataset of random rows, as an atomic file."""

import random
from pathlib import Path
from typing import Any

ROWS = 1600
TOKENS = {"user_id": 60, "item_id": 40, "place": 4, "hour": 24}


def write_rows(path: Path, seed: int, columns: dict[str, list[Any]] | None = None) -> None:
    """Write rows of four tokens, a number and a label, with some columns as given.

    Args:
        path: the ``.inter`` file, in a folder that is made where there is none.
        seed: of the random rows.
        columns: the values of ``ROWS`` rows by header, as ``label:float``.
    """
    draw = random.Random(seed)
    values: dict[str, list[Any]] = {
        f"{name}:token": draw.choices(range(size), k=ROWS) for name, size in TOKENS.items()
    }
    values["price:float"] = [round(draw.random(), 3) for _ in range(ROWS)]
    values["label:float"] = draw.choices([0, 1], k=ROWS)
    values |= columns or {}
    rows = zip(*values.values(), strict=True)
    lines = ["\t".join(values), *("\t".join(map(str, row)) for row in rows)]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
