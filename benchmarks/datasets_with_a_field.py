"""A dataset that is there, made anew with one more field of tokens in its rows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from recbole_midpg.common.choices import DATA_PATH
from recbole_midpg.common.config_files import read_config_file
from recbole_midpg.common.errors import UsageError
from recbole_midpg.common.whole_files import write_text, written_whole
from recbole_midpg.integration.dataset.datasets import find_dataset_config


@dataclass(frozen=True)
class Source:
    """A dataset's rows and config.

    Attributes:
        dataset: its name.
        rows: the columns of its ``.inter`` file, as text, by their names there.
        path: that file.
        config: what stands in its config file.
        config_path: that file.
    """

    dataset: str
    rows: pd.DataFrame
    path: Path
    config: Mapping[str, Any]
    config_path: Path

    @classmethod
    def read(cls, dataset: str) -> Source:
        """Read a dataset.

        Raises:
            UsageError: there is no such dataset.
        """
        found = find_dataset_config(dataset)
        path = Path(DATA_PATH) / dataset / f"{dataset}.inter"
        if found is None or not path.is_file():
            raise UsageError(f"--dataset: there is no config file of {dataset!r}, or no {path}.")
        rows = pd.read_csv(path, sep="\t", dtype=str, keep_default_na=False)
        return cls(dataset, rows, path, read_config_file(found), found)

    def column(self, field: str) -> pd.Series:
        """The texts of a field.

        Raises:
            UsageError: the rows have no such field.
        """
        columns = {name.partition(":")[0]: name for name in self.rows.columns}
        if field not in columns:
            raise UsageError(
                f"{self.path}: there is no field {field!r}, found {', '.join(columns)}."
            )
        return self.rows[columns[field]]

    def loading(self, field: str) -> dict[str, Any]:
        """The config with a further field of the rows loaded.

        Raises:
            UsageError: it does not say how.
        """
        columns = self.config.get("load_col")
        if columns is None:
            return dict(self.config)
        if not isinstance(columns, dict):
            raise UsageError(
                f"{self.config_path}: load_col: {columns!r} is not allowed, expected columns by "
                "file, or ~."
            )
        inter = columns.get("inter")
        if inter is None:
            raise UsageError(
                f"{self.config_path}: load_col: inter is not loaded, expected its columns."
            )
        wanted = inter if inter == "*" else [*inter, field]
        return {**self.config, "load_col": {**columns, "inter": wanted}}

    def write_with(self, field: str, values: pd.Series, config: Mapping[str, Any]) -> Path:
        """Write ``DATASET_FIELD``: the rows with a further field, and a config file.

        Args:
            field: the new field.
            values: its token in each row.
            config: what is to stand in the config file.

        Returns:
            The config file.
        """
        name = f"{self.dataset}_{field}"
        target = Path(DATA_PATH) / name / f"{name}.inter"
        with written_whole([target]) as (part,):
            self.rows.assign(**{f"{field}:token": values}).to_csv(part, sep="\t", index=False)
        path = Path("dataset_configs") / f"{name}.yaml"
        write_text(path, yaml.safe_dump(dict(config), sort_keys=False))
        return path
