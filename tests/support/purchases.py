"""A small dataset of impressions with clicks and purchases."""

from pathlib import Path
from typing import Any

import numpy as np
from recbole.config import Config


def write_purchases(
    folder: Path, rows: int = 60, changes: dict[str, str] | None = None, seed: int = 1
) -> None:
    """Write ``folder/purchases/purchases.inter``: two thirds are clicked, a third of these bought.

    Args:
        folder: the folder of all datasets.
        rows: how many.
        changes: texts that stand in the first ten rows instead, by field.
        seed: of what is drawn.
    """
    random = np.random.default_rng(seed)
    clicked = random.random(rows) < 2 / 3
    bought = clicked & (random.random(rows) < 1 / 3)
    lines = ["user_id:token\titem_id:token\tchannel:token\tclicked:float\tbought:float"]
    for place in range(rows):
        values = {
            "user_id": f"u{random.integers(6)}",
            "item_id": f"i{random.integers(5)}",
            "channel": ("app", "web", "mail")[random.integers(3)],
            "clicked": str(int(clicked[place])),
            "bought": str(int(bought[place])),
            **((changes or {}) if place < 10 else {}),
        }
        lines.append("\t".join(values.values()))
    path = folder / "purchases" / "purchases.inter"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def purchases_values(folder: Path) -> dict[str, Any]:
    """The config values of the dataset."""
    return {
        "data_path": str(folder),
        "load_col": None,
        "threshold": None,
        "LABEL_FIELD": "bought",
        "click_field": "clicked",
        "scenario_fields": ["channel"],
        "numerical_features": [],
        "epochs": 1,
        "show_progress": False,
        "checkpoint_dir": str(folder / "saved"),
    }


def purchases_config(
    model: str,
    folder: Path,
    changes: dict[str, str] | None = None,
    rows: int = 60,
    **values: Any,
) -> Config:
    """Write the dataset and make a config of it."""
    write_purchases(folder, rows, changes)
    return Config(
        model=model, dataset="purchases", config_dict={**purchases_values(folder), **values}
    )
