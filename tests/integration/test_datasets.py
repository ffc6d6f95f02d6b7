"""From a dataset's name to its atomic files."""

import csv
import gzip
import json
from pathlib import Path

import pytest
from recbole.config import Config
from recbole.data import create_dataset

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


SMALL = {"synthetic_rows": 20_000}


def test_a_generated_dataset_is_made_at_its_first_use_and_kept():
    config = Config("MIDPG", "amazon_electronics_synth", config_dict=dict(SMALL))
    folder = Path("dataset/amazon_electronics_synth")
    inter = folder / "amazon_electronics_synth.inter"
    assert len(inter.read_text().splitlines()) == 20_001
    assert config["synthetic_seed"] is None
    assert json.loads((folder / "bayes.json").read_text())["seed"] == 2023
    before = inter.stat().st_mtime_ns
    Config("DeepFM", "amazon_electronics_synth")
    assert inter.stat().st_mtime_ns == before
    Config("DNN", "amazon_electronics_synth", config_dict={**SMALL, "synthetic_seed": 7})
    assert inter.stat().st_mtime_ns != before
    states = {entry.name: (entry.state, entry.rows) for entry in list_datasets("dataset")}
    assert states["amazon_electronics_synth"] == ("ready", 20_000)
    assert states["iaac_synth"] == ("generated at first use", None)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"synthetic_rows": "many"}, "synthetic_rows: 'many'"),
        ({"synthetic_rows": 1}, "1 is not allowed"),
        ({"synthetic_seed": -1}, "synthetic_seed: -1"),
        ({"synthetic_row": 20_000}, "did you mean 'synthetic_rows'"),
    ],
)
def test_a_wrong_size_or_seed_is_told(values, words):
    with pytest.raises(UsageError, match=words):
        Config("MIDPG", "amazon_electronics_synth", config_dict=values)
    assert not Path("dataset").exists()


def test_the_true_probability_is_no_feature():
    config = Config("DNN", "amazon_electronics_synth", config_dict=dict(SMALL))
    fields = create_dataset(config).field2type
    assert not [name for name in fields if "prob" in name or "truth" in name]
