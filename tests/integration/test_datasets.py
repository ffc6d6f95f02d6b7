"""From a dataset's name to its atomic files."""

import csv
import gzip
from pathlib import Path

import pytest
from recbole.config import Config

from recbole_midpg.atomic_data_scripts import CONVERTERS
from recbole_midpg.errors import UsageError
from recbole_midpg.integration.catalogue import list_datasets
from recbole_midpg.integration.datasets import fetch_raw_file, find_dataset_config

GOLDEN = Path(__file__).parent.parent / "atomic_data_scripts" / "golden"
RAW = Path("dataset/amazon_electronics/raw")


def put_raw_file(name: str = "df_electronics.csv") -> None:
    RAW.mkdir(parents=True)
    content = (GOLDEN / "amazon_electronics.csv").read_bytes()
    (RAW / name).write_bytes(gzip.compress(content) if name.endswith(".gz") else content)


@pytest.mark.parametrize("name", ["df_electronics.csv", "df_electronics.csv.gz"])
def test_a_raw_file_in_its_place_is_converted_at_the_first_run(name):
    put_raw_file(name)
    config = Config("MIDPG", "amazon_electronics")
    assert config["scenario_fields"] == ["category"]
    made = Path("dataset/amazon_electronics/amazon_electronics.inter")
    assert made.is_file()
    before = made.stat().st_mtime_ns
    Config("DeepFM", "amazon_electronics")
    assert made.stat().st_mtime_ns == before


def test_without_a_raw_file_it_is_told_where_to_get_one():
    with pytest.raises(UsageError) as error:
        Config("MIDPG", "amazon_electronics")
    told = str(error.value)
    for words in ("raw/df_electronics.csv", "https://", "Licence: ", "--download"):
        assert words in told
    with pytest.raises(UsageError, match="recbole-midpg prepare iaac --raw FILE"):
        Config("MIDPG", "iaac")
    assert not Path("dataset").exists()


def test_a_bad_raw_file_ends_the_run_with_its_place():
    RAW.mkdir(parents=True)
    (RAW / "df_electronics.csv").write_text("item_id,user_id\n1,2\n")
    with pytest.raises(UsageError, match=r"df_electronics\.csv"):
        Config("MIDPG", "amazon_electronics")
    assert not Path("dataset/amazon_electronics/amazon_electronics.inter").exists()


@pytest.mark.parametrize("name", sorted(CONVERTERS))
def test_every_dataset_that_can_be_converted_has_a_config(name):
    assert find_dataset_config(name) is not None


def test_only_public_files_are_downloaded():
    with pytest.raises(UsageError, match="iaac has no file that is free for all to fetch"):
        fetch_raw_file("iaac", Path("dataset"))
    with pytest.raises(UsageError, match="did you mean 'amazon_electronics'"):
        fetch_raw_file("amazon_electronic", Path("dataset"))


def test_the_catalogue_tells_what_is_on_the_disk():
    put_raw_file()
    Path("dataset/mine").mkdir()
    Path("dataset/mine/mine.inter").write_text("user_id:token\n")
    states = {entry.name: entry.state for entry in list_datasets("dataset")}
    assert states["amazon_electronics"] == "raw file"
    assert states["iaac"] == "missing"
    assert states["mine"] == states["ml-100k"] == "ready"
    Config("MIDPG", "amazon_electronics")
    entry = next(e for e in list_datasets("dataset") if e.name == "amazon_electronics")
    with (GOLDEN / "amazon_electronics.csv").open(encoding="utf-8-sig", newline="") as file:
        rows = list(csv.DictReader(file))
    assert (entry.state, entry.rows) == ("ready", len(rows))
    assert entry.scenarios == len({row["category"] for row in rows})
