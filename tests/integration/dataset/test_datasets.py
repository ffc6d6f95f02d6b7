"""From a dataset's name to its atomic files."""

import csv
import gzip
import json
from pathlib import Path

import pytest
from recbole.config import Config
from recbole.data import create_dataset
from recbole.quick_start import run_recbole

from recbole_midpg.atomic_data_scripts import CONVERTERS
from recbole_midpg.common.errors import UsageError
from recbole_midpg.experiments.catalogue import list_datasets
from recbole_midpg.integration.dataset.datasets import fetch_raw_file, find_dataset_config
from recbole_midpg.integration.run import run as run_module

GOLDEN = Path(__file__).parents[2] / "atomic_data_scripts" / "golden"
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


MINE = ["user_id:token\titem_id:token\tplace:token\tlabel:float", "1\t2\t7\t1", "2\t2\t8\t0"]


def own_rows(name, lines, *, suffix="inter", config="load_col: ~\nscenario_fields: [place]\n"):
    """A dataset of one's own, and its config file."""
    folder = Path("dataset") / name
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}.{suffix}").write_text("".join(f"{line}\n" for line in lines))
    Path("dataset_configs").mkdir(exist_ok=True)
    (Path("dataset_configs") / f"{name}.yaml").write_text(config)


def entry_of(name, model="MIDPG"):
    return next(entry for entry in list_datasets("dataset", model) if entry.name == name)


def refused_run(name, model="MIDPG"):
    """The sentence with which a run is refused, before it loads any data."""
    with pytest.raises(UsageError) as error, pytest.MonkeyPatch.context() as patch:
        patch.setattr(run_module, "create_dataset", None)
        run_recbole(model, name, config_dict={"state": "ERROR"})
    return str(error.value)


HEADER, *_ROWS = MINE
BAD_FILES = {
    "no label": ([HEADER.replace("label", "click"), *_ROWS], "LABEL_FIELD: 'label' is not a field"),
    "a label of tokens": ([HEADER.replace("label:float", "label:token"), *_ROWS], "of type token"),
    "no line": ([], "mine.inter: line 1 is empty"),
    "no row": ([HEADER], "line 1: no row follows it"),
    "another separator": ([line.replace("\t", ",") for line in MINE], "of the form name:type"),
    "another type": ([HEADER.replace("place:token", "place:str"), *_ROWS], "column 'place:str'"),
    "a scenario of numbers": ([HEADER.replace("place:token", "place:float"), *_ROWS], "not token"),
    "no user": ([HEADER.replace("user_id", "user"), *_ROWS], "'user_id' is not a column of mine."),
    "a column twice": (
        [HEADER + "\tplace:token", *(f"{row}\t1" for row in _ROWS)],
        "a column is there twice",
    ),
    "a mark": (["\ufeff" + HEADER, *_ROWS], "it starts with a byte order mark"),
}


@pytest.mark.parametrize(("lines", "words"), BAD_FILES.values(), ids=BAD_FILES)
def test_the_catalogue_and_a_run_refuse_the_same_files_by_the_same_sentence(lines, words):
    own_rows("mine", lines)
    entry = entry_of("mine")
    assert entry.state == "not ready"
    assert words in entry.note
    assert entry.note == refused_run("mine", "DNN")


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ("epochs: 1\n", "LABEL_FIELD: 'label' of mine.inter is not loaded"),
        ("load_col: ~\n", "scenario_fields: MIDPG needs the fields that make a scenario"),
        ("load_col: ~\nthreshold: {rating: 4}\n", "threshold: 'rating' is not a loaded field"),
        (
            "load_col: ~\nthreshold: {place: 4}\n",
            "threshold: 'place' is not a loaded",
        ),
        ("load_col: [\n", "mine.yaml', line 2"),
        ("load_col: ~\nlr: 0.1\n", "did you mean 'learning_rate'"),
    ],
)
def test_the_catalogue_and_a_run_refuse_the_same_config_files(config, words):
    own_rows("mine", MINE, config=config)
    entry = entry_of("mine")
    assert (entry.state, words in entry.note) == ("not ready", True), entry
    assert entry.note == refused_run("mine", "MIDPG" if "scenario" in words else "DNN")


def test_a_model_without_a_scenario_needs_none():
    own_rows("mine", MINE, config="load_col: ~\n")
    assert entry_of("mine", "DNN").state == "ready"


def test_rows_that_are_sampled_need_no_label():
    unlabelled = [line.rpartition("\t")[0] for line in MINE]
    config = "load_col: ~\nscenario_fields: [place]\neval_args: {mode: uni2}\n"
    sampled = config + "train_neg_sample_args: {distribution: uniform, sample_num: 1}\n"
    own_rows("mine", unlabelled, config=sampled)
    assert entry_of("mine").state == "ready"
    own_rows("mine", unlabelled, config=config)
    assert "LABEL_FIELD" in entry_of("mine").note


def test_files_of_other_names_or_of_features_alone_are_not_ready():
    own_rows("mine", MINE)
    Path("dataset/mine/mine.inter").rename("dataset/mine/other.inter")
    own_rows("users", ["user_id:token", "1"], suffix="user")
    for name in ("mine", "users"):
        entry = entry_of(name)
        assert (entry.state, entry.note) == (
            "not ready",
            f"there is no {name}.inter in dataset/{name}.",
        )
        assert f"there is no {name}.inter in the folder dataset/{name}" in refused_run(name)


def test_the_catalogue_tells_of_files_that_are_lost_or_changed():
    put_raw_file()
    Config("MIDPG", "amazon_electronics")
    folder = Path("dataset/amazon_electronics")
    assert (entry_of(folder.name).state, entry_of(folder.name).note) == ("ready", "")
    item = folder / "amazon_electronics.item"
    content = item.read_text()
    item.unlink()
    assert entry_of(folder.name).state == "raw file"
    raw = RAW / "df_electronics.csv"
    raw.rename("kept.csv")
    entry = entry_of(folder.name)
    assert entry.note == f"there is no {item.name} in {folder}."
    assert entry.rows is None
    assert f"there is no {item.name} in {folder}, and no raw file" in refused_run(folder.name)
    item.write_text(content + content.splitlines()[-1] + "\n")
    entry = entry_of(folder.name)
    assert (entry.state, entry.note) == ("stale", f"{item} was changed after its conversion.")
    item.write_text(content)
    raw.write_text(Path("kept.csv").read_text() + "\n")
    entry = entry_of(folder.name)
    assert entry.state == "stale" and f"{raw} is not what was converted" in entry.note
    raw.unlink()
    manifest = folder / "amazon_electronics.manifest.json"
    values = json.loads(manifest.read_text())
    manifest.write_text(json.dumps({**values, "version": "0.0"}))
    assert "recbole-midpg prepare amazon_electronics does it anew" in entry_of(folder.name).note


def test_files_that_are_lost_are_converted_anew_at_the_next_run():
    put_raw_file()
    Config("MIDPG", "amazon_electronics")
    item = Path("dataset/amazon_electronics/amazon_electronics.item")
    content = item.read_text()
    item.unlink()
    Config("MIDPG", "amazon_electronics")
    assert item.read_text() == content


def test_the_catalogue_tells_what_is_on_the_disk():
    put_raw_file()
    own_rows("mine", MINE)
    states = {entry.name: entry.state for entry in list_datasets("dataset", "MIDPG")}
    assert states["amazon_electronics"] == "raw file"
    assert states["iaac"] == "missing"
    assert states["mine"] == states["ml-100k"] == "ready"
    assert sorted(path.name for path in RAW.parent.iterdir()) == ["raw"], "nothing was converted"
    Config("MIDPG", "amazon_electronics")
    entry = entry_of("amazon_electronics")
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
    states = {entry.name: (entry.state, entry.rows) for entry in list_datasets("dataset", "MIDPG")}
    assert states["amazon_electronics_synth"] == ("ready", 20_000)
    assert states["iaac_synth"] == ("generated at first use", None)


def test_rows_of_an_earlier_version_are_made_anew():
    settings = {"synthetic_rows": 5_000, "synthetic_seed": 7}
    Config("DNN", "teacher_dnn_synth", config_dict=settings)
    bayes = Path("dataset/teacher_dnn_synth/bayes.json")
    today = bayes.read_text()
    made = json.loads(today)
    bayes.write_text(json.dumps({**made, "version": made["version"] - 1}))
    Config("DNN", "teacher_dnn_synth")
    assert bayes.read_text() == today


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
