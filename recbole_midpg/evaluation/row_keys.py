"""The config keys that decide which rows a run is tested on, and with which labels."""

from __future__ import annotations

KEYS_OF_ROWS = (
    "seed",
    "eval_args",
    "time_split",
    "benchmark_filename",
    "TIME_FIELD",
    "USER_ID_FIELD",
    "LABEL_FIELD",
    "threshold",
    "rm_dup_inter",
    "val_interval",
    "filter_inter_by_user_or_item",
    "user_inter_num_interval",
    "item_inter_num_interval",
)
"""Two runs on a dataset's files that differ in none of these have the same rows in each split."""
