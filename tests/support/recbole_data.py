"""Small atomic datasets and RecBole objects made of them."""

from pathlib import Path
from typing import Any

from recbole.config import Config
from recbole.data import create_dataset, data_preparation
from recbole.utils import init_seed

DATA = Path(__file__).parent / "data"

# Fields of every type, with missing values; the defaults for the dataset of DATA / "gaps".
GAPS = {
    "data_path": str(DATA),
    "load_col": None,
    "threshold": {"rating": 4},
    "numerical_features": ["price", "age", "sizes"],
    "scenario_fields": ["job"],
    "normalize_all": False,
    # RecBole's metrics break on a split of one row.
    "eval_args": {
        "split": {"RS": [0.4, 0.3, 0.3]},
        "order": "RO",
        "group_by": None,
        "mode": "labeled",
    },
    "epochs": 1,
    "show_progress": False,
}


def gaps_config(model: str = "DNN", **values: Any) -> Config:
    return Config(model=model, dataset="gaps", config_dict={**GAPS, **values})


def dataset_of(config: Config) -> Any:
    return create_dataset(config)


def loaders_of(config: Config) -> tuple[Any, Any, Any]:
    init_seed(config["seed"], config["reproducibility"])
    return data_preparation(config, create_dataset(config))
