"""Write a log of impressions and the next day's, of a shop that does not exist.

A customer clicks where the item's category suits the channel. Put your own log in its place: any
CSV or Parquet file with a line for each impression, whose columns have a name.

python examples/own_log.py
"""

import numpy as np
import pandas as pd

N_USERS, N_ITEMS, N_DAYS, ROWS_A_DAY = 1_000, 300, 10, 2_000
CHANNELS = ["app", "web", "mail"]
SHARES = [0.6, 0.3, 0.1]
CATEGORIES = ["books", "games", "music", "tools"]


def invent_log(seed: int = 2020) -> pd.DataFrame:
    """Invent impressions, the earliest first."""
    draw = np.random.default_rng(seed)
    rows = N_DAYS * ROWS_A_DAY
    item, channel = draw.integers(N_ITEMS, size=rows), draw.choice(3, rows, p=SHARES)
    category = draw.integers(len(CATEGORIES), size=N_ITEMS)[item]
    suits = draw.normal(size=(len(CHANNELS), len(CATEGORIES)))
    seconds = np.sort(draw.uniform(0, N_DAYS * 86_400, rows)).round()
    log = pd.DataFrame(
        {
            "event_time": pd.Timestamp("2026-11-01") + pd.to_timedelta(seconds, unit="s"),
            "user_id": [f"u{number}" for number in draw.integers(N_USERS, size=rows)],
            "item_id": [f"i{number}" for number in item],
            "channel": np.array(CHANNELS)[channel],
            "category": np.array(CATEGORIES)[category],
            "price": draw.lognormal(3, 1, N_ITEMS).round(2)[item],
        }
    )
    log["clicked"] = (suits[channel, category] + draw.normal(size=rows) > 1).astype(int)
    return log


log = invent_log()
is_last_day = log["event_time"] >= log["event_time"].max().normalize()
for name, part in (("impressions.csv", log[~is_last_day]), ("next_day.csv", log[is_last_day])):
    part.to_csv(name, index=False)
    print(f"{name}: {len(part):,} impressions, {part['clicked'].mean():.1%} clicked")
