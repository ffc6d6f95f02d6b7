"""A small shop: clicks, with features of users and items of every type, as atomic files."""

import random
from pathlib import Path
from typing import Any

from recbole.config import Config

ROWS, USERS, ITEMS = 400, 40, 20
CHANNELS = ("app", "web", "tv", "mail")
FOLDER = Path("dataset/shop")
CLICKS = ("user_id:token", "item_id:token", "channel:token", "price:float", "time:float",
          "click:float")  # fmt: skip
VALUES = {
    "data_path": "dataset",
    "load_col": None,
    "LABEL_FIELD": "click",
    "TIME_FIELD": "time",
    "scenario_fields": ["channel"],
    "numerical_features": ["price", "age"],
    "normalize_all": True,
    "embedding_size": 4,
    "mlp_hidden_size": [16, 8],
    "train_batch_size": 64,
    "epochs": 1,
    "show_progress": False,
    "dataset_cache": False,
}


def clicks() -> list[list[Any]]:
    """Rows of :data:`CLICKS`, in the order of their time; who likes what decides on the click."""
    draw = random.Random(3)
    liking = [draw.gauss(0, 1) for _ in range(USERS)]
    rows = []
    for time in range(ROWS):
        user, item = draw.randrange(USERS), draw.randrange(ITEMS)
        click = int(liking[user] + 0.1 * (item - ITEMS / 2) + draw.gauss(0, 1) > 0)
        price = round(draw.uniform(1, 50), 2)
        rows.append([f"u{user}", f"i{item}", draw.choice(CHANNELS), price, time, click])
    return rows


def write_table(name: str, header: tuple[str, ...], rows: list[list[Any]]) -> None:
    """Write an atomic file ``shop.NAME``."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    lines = ["\t".join(header), *("\t".join(map(str, row)) for row in rows)]
    (FOLDER / f"shop.{name}").write_text("\n".join(lines) + "\n", encoding="utf-8")


def write_shop() -> None:
    """Write ``shop.inter``, ``shop.user`` and ``shop.item`` below the current folder."""
    write_table("inter", CLICKS, clicks())
    write_table(
        "user",
        ("user_id:token", "gender:token", "age:float"),
        [[f"u{user}", "MF"[user % 2], 20 + user] for user in range(USERS)],
    )
    write_table(
        "item",
        ("item_id:token", "category:token", "tags:token_seq", "vector:float_seq"),
        [
            [f"i{item}", f"c{item % 3}", "new hot sale" if item % 2 else "old", f"{item / 10} 0.5"]
            for item in range(ITEMS)
        ],
    )


def shop_config(model: Any = "DPG", files: list[str] | None = None, **values: Any) -> Config:
    """A config of the shop; ``values`` win over :data:`VALUES`."""
    return Config(model, "shop", files, {**VALUES, **values})
