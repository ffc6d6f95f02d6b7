"""Make RecBole's atomic files of pandas frames, and train MI-DPG on them.

The frames are those of a shop that does not exist: what a customer likes depends on the channel, so
that a rating is high where item and channel suit each other. Put your own in their place.

python examples/own_data.py
"""

from pathlib import Path

import numpy as np
import pandas as pd

import recbole_midpg  # noqa: F401 - RecBole can be imported only after it is mended

# isort: split
from recbole.quick_start import run

FOLDER = Path("dataset") / "shop"
N_RATINGS, N_USERS, N_ITEMS = 20_000, 1_000, 300
CHANNELS = ["app", "mail", "web"]
CATEGORIES = ["books", "games", "music", "tools"]
# The type of each column: token for names and categories, float for numbers.
TYPES = {"rating": "float"}


def invent_shop(seed: int = 2020) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """Invent ratings, users and items."""
    draw = np.random.default_rng(seed)
    users = pd.DataFrame(
        {
            "user_id": [f"u{i}" for i in range(N_USERS)],
            "age_group": draw.choice(["young", "middle", "old"], N_USERS),
        }
    )
    items = pd.DataFrame(
        {
            "item_id": [f"i{i}" for i in range(N_ITEMS)],
            "category": draw.choice(CATEGORIES, N_ITEMS),
        }
    )
    item = draw.integers(N_ITEMS, size=N_RATINGS)
    channel = draw.integers(len(CHANNELS), size=N_RATINGS)
    suits = draw.normal(size=(len(CHANNELS), len(CATEGORIES)))
    category = items["category"].map(CATEGORIES.index).to_numpy()[item]
    liking = suits[channel, category] + draw.normal(size=N_RATINGS)
    ratings = pd.DataFrame(
        {
            "user_id": users["user_id"].to_numpy()[draw.integers(N_USERS, size=N_RATINGS)],
            "item_id": items["item_id"].to_numpy()[item],
            "channel": np.array(CHANNELS)[channel],
            "hour": draw.integers(24, size=N_RATINGS),
            "rating": np.clip(np.round(3 + liking), 1, 5),
        }
    )
    return ratings, users, items


def write_atomic(frame: pd.DataFrame, path: Path) -> None:
    """Write a frame as one of RecBole's atomic files: tabs, and each column's type in its name."""
    typed = frame.rename(columns=lambda name: f"{name}:{TYPES.get(name, 'token')}")
    typed.to_csv(path, sep="\t", index=False)


FOLDER.mkdir(parents=True, exist_ok=True)
for part, frame in zip(("inter", "user", "item"), invent_shop(), strict=True):
    write_atomic(frame, FOLDER / f"shop.{part}")

meaning = {
    "load_col": None,  # all columns of all files
    "scenario_fields": ["channel"],
    "threshold": {"rating": 4},  # the label is 1 where the rating is at least 4
    "train_batch_size": 256,  # few rows: RecBole's 2048 would make eight steps an epoch
    "epochs": 10,
}
result = run(model="MIDPG", dataset="shop", config_dict=meaning)["test_result"]
print(f"MIDPG on the shop: test AUC {result['auc']:.4f}, LogLoss {result['logloss']:.4f}")
