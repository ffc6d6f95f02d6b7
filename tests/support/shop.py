"""A small shop: rows with a context of their own, and more items than any user has met."""

from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from recbole.config import Config

USERS = [f"u{number}" for number in range(1, 8)]
ITEMS = [f"i{number}" for number in range(1, 13)]
CHANNELS = ["app", "web"]
# No features and no context.
IDS_ALONE = {
    "load_col": {"inter": ["user_id", "item_id", "click"]},
    "numerical_features": [],
    "scenario_fields": ["user_id"],
}
# What a user and an item determine.
NO_CONTEXT = {
    "unload_col": {"inter": ["channel", "price"]},
    "numerical_features": ["age", "size"],
    "scenario_fields": ["job"],
}


def shop_config(folder: Path, model: str = "DNN", **values: Any) -> Config:
    """A config for the shop, whose files it writes; 60 rows, i12 in none of them."""
    path = folder / "data" / "shop"
    if not path.exists():
        path.mkdir(parents=True)
        _write(path)
    settings = {
        "data_path": str(folder / "data"),
        "checkpoint_dir": str(folder / "saved"),
        "load_col": None,
        "LABEL_FIELD": "click",
        "threshold": None,
        "numerical_features": ["price", "age", "size"],
        "scenario_fields": ["channel"],
        "embedding_size": 4,
        "mlp_hidden_size": [16, 12, 8],
        "show_progress": False,
        "normalize_all": True,
    }
    return Config(model=model, dataset="shop", config_dict={**settings, **values})


def _write(path: Path) -> None:
    random = np.random.default_rng(7)
    pairs = list(product(USERS, ITEMS[:-1]))
    met = [pairs[place] for place in random.permutation(len(pairs))[:60]]
    lines = ["user_id:token\titem_id:token\tchannel:token\tprice:float\tclick:float"]
    for user, item in met:
        price, click = round(random.lognormal(3), 2), random.integers(0, 2)
        lines.append(f"{user}\t{item}\t{random.choice(CHANNELS)}\t{price}\t{click}")
    (path / "shop.inter").write_text("\n".join(lines) + "\n")
    jobs = [f"{user}\t{20 + place}\tjob{place % 3}" for place, user in enumerate(USERS)]
    (path / "shop.user").write_text("\n".join(["user_id:token\tage:float\tjob:token", *jobs]))
    goods = [f"{item}\tt{n % 3} t{n % 5}\t{n / 4}" for n, item in enumerate(ITEMS)]
    (path / "shop.item").write_text(
        "\n".join(["item_id:token\ttags:token_seq\tsize:float", *goods])
    )
