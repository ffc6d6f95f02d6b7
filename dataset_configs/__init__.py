"""One RecBole config file a dataset, found by the dataset's name."""

from pathlib import Path


def packaged_config(dataset: str) -> Path:
    """Where the package's config file of a dataset lies, if it has one."""
    return Path(__file__).parent / f"{dataset}.yaml"
