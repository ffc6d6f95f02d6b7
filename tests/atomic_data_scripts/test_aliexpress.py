import zipfile

import pytest

from recbole_midpg.atomic_data_scripts import prepare
from recbole_midpg.atomic_data_scripts.aliexpress import part
from recbole_midpg.common.errors import UsageError

from .raw_files import atomic_rows
from .recbole_reading import built, column, config_of, load


def item(search, outcome):
    return ",".join([str(search), *(f"{place / 100}" for place in range(2, 49)), str(outcome)])


def user(search):
    return ",".join([str(search), *(f"{place + search}" for place in range(2, 34))])


def folder_of(path, countries=("nl", "es"), searches=40, **changed):
    folder = path / "raw"
    folder.mkdir(exist_ok=True)
    files = {}
    for name in countries:
        for half in ("train", "test"):
            shown = [item(n // 2, n % 3) for n in range(2 * searches)]
            files[f"{name}_item_{half}"] = "\n".join(shown) + "\n"
            files[f"{name}_user_{half}"] = "".join(f"{user(n)}\n" for n in range(searches))
    for name, text in {**files, **changed}.items():
        (folder / f"{name}.csv").write_text(text)
    return folder


@pytest.fixture
def raw(tmp_path):
    return folder_of(tmp_path)


def test_products_with_their_searches(tmp_path, raw):
    report = prepare("aliexpress", raw, tmp_path)
    made = {
        name: atomic_rows(tmp_path / "aliexpress" / f"aliexpress.{name}.inter")
        for name in ("train", "valid", "test")
    }
    assert report.scenarios == {"es": [160, 106], "nl": [160, 106]}
    assert len(made["test"]) == 160
    assert len(made["train"]) + len(made["valid"]) == 160
    assert 0 < len(made["valid"]) < 40
    rows = made["test"]
    assert [row["search_id"] for row in rows[:3]] == ["es_test_0", "es_test_0", "es_test_1"]
    assert [(row["label"], row["conversion"]) for row in rows[:3]] == [
        *(("0", "0"), ("1", "0"), ("1", "1")),
    ]
    assert (rows[2]["item_n2"], rows[2]["item_c19"], rows[2]["item_c42"]) == (
        "0.02",
        "0.19",
        "0.42",
    )
    assert (rows[2]["user_c2"], rows[2]["user_n9"], rows[2]["user_c33"]) == ("3", "10", "34")
    tokens = [name for name in rows[0] if "_c" in name]
    numbers = [name for name in rows[0] if "_n" in name]
    assert (len(tokens), len(numbers)) == (16, 63)
    for name in ("train", "valid"):
        assert {row["part"] for row in made[name]} == {name}
    searches = {row["search_id"] for row in made["valid"]}
    assert searches.isdisjoint(row["search_id"] for row in made["train"])


def test_zip_archives_and_capitals(tmp_path, raw):
    prepare("aliexpress", raw, tmp_path / "plain")
    for path in list(raw.iterdir()):
        with zipfile.ZipFile(path.with_suffix(".zip"), "w") as archive:
            archive.write(path, path.name.replace("nl_", "NL_"))
        path.unlink()
    prepare("aliexpress", raw, tmp_path / "packed")
    for name in ("train", "valid", "test"):
        files = [
            tmp_path / kind / "aliexpress" / f"aliexpress.{name}.inter"
            for kind in ("plain", "packed")
        ]
        lines = [sorted(file.read_text().splitlines()) for file in files]
        assert lines[0] == lines[1]


def test_config(tmp_path, raw, caplog):
    prepare("aliexpress", raw, tmp_path)
    config = config_of("aliexpress", tmp_path, "DNN")
    dataset = load(config, caplog)
    assert config["scenario_id_field"] == "country"
    assert len(dataset.field2type) == 2 + 79
    assert {"conversion", "search_id", "part"}.isdisjoint(dataset.field2type)
    parts = [loader.dataset for loader in built(config)]
    assert parts[2].inter_num == 160
    assert set(column(parts[2], "country")) == {"nl", "es"}


def test_a_tenth_of_the_searches_validates():
    parts = [part(f"nl_item_train.csv\t{n}") for n in range(5_000)]
    assert 430 < parts.count("valid") < 570
    assert parts.count("train") == 5_000 - parts.count("valid")


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"nl_item_train": item(1, 3) + "\n"}, "column outcome: '3' is not allowed, expected 0, 1"),
        (
            {"nl_item_train": item(99, 0) + "\n"},
            r"column \*_user_t\*.csv: .* \*_user_t\*.csv has no line of",
        ),
        ({"nl_item_train": item("x", 0) + "\n"}, "column search: .* expected a whole number"),
        ({"nl_user_train": user(1) + ",1\n"}, "nl_user_train.csv, line 1: expected 33 columns"),
        ({"nld_item_train": item(1, 0) + "\n"}, "column search: .* as nl_item_train.csv"),
    ],
)
def test_what_is_wrong_is_named(tmp_path, changed, words):
    with pytest.raises(UsageError, match=words):
        prepare("aliexpress", folder_of(tmp_path, **changed), tmp_path)


def test_all_parts_are_needed(tmp_path):
    raw = folder_of(tmp_path, ("nl",))
    (raw / "nl_item_test.csv").unlink()
    with pytest.raises(UsageError, match="raw: has no rows for test, expected the files of all"):
        prepare("aliexpress", raw, tmp_path)
