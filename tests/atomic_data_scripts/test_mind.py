import shutil

import pytest

from recbole_midpg.atomic_data_scripts import prepare
from recbole_midpg.atomic_data_scripts import raw_file as raw_file_module
from recbole_midpg.atomic_data_scripts.mind import history, seconds
from recbole_midpg.common.errors import UsageError

from .raw_files import atomic_rows, rejected_rows
from .recbole_reading import built, column, config_of, load

FILES = {
    "MINDsmall_train/behaviors.tsv": "1\tU1\t11/13/2019 2:14:46 PM\tN1 N2\tN1-0 N3-1\n"
    "2\tU2\t11/14/2019 12:00:00 AM\t\tN2-0\n",
    "MINDsmall_dev/behaviors.tsv": "1\tU1\t11/15/2019 11:59:59 PM\tN1 N2\tN4-1 N1-0 N4-0\n",
    "MINDsmall_train/news.tsv": 'N1\tsports\tgolf\t"Tiger" wins\tAn abstract\thttps://x\t[]\t[]\n'
    "N2\tnews\tworld\tTitle two\t\t\t[]\t[]\nN3\tfinance\tmarkets\tThree\t\t\t[]\t[]\n",
    "MINDsmall_dev/news.tsv": "N4\tweather\ttops\tFour\t\t\t[]\t[]\n"
    'N1\tsports\tgolf\t"Tiger" wins\tOther\thttps://x\t[]\t[]\n',
}


def folder_of(path, **changed):
    for name, text in {**FILES, **changed}.items():
        target = path / "raw" / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text)
    return path / "raw"


def rows_of(path, part):
    return [
        (row["impression_id"], row["user_id"], row["item_id"], row["label"])
        for row in atomic_rows(path / f"{path.name}.{part}.inter")
    ]


def test_an_impression_makes_a_row_for_each_news(tmp_path):
    report = prepare("mind_small", folder_of(tmp_path), tmp_path)
    made = tmp_path / "mind_small"
    assert rows_of(made, "train") == [("train_1", "U1", "N1", "0"), ("train_1", "U1", "N3", "1")]
    assert rows_of(made, "valid") == [("train_2", "U2", "N2", "0")]
    assert rows_of(made, "test") == [
        *(("dev_1", "U1", "N4", "1"), ("dev_1", "U1", "N1", "0"), ("dev_1", "U1", "N4", "0")),
    ]
    first = atomic_rows(made / "mind_small.train.inter")[0]
    assert (first["timestamp"], first["hour"], first["day"]) == ("1573654486", "14", "2019-11-13")
    assert atomic_rows(made / "mind_small.user") == [
        {"user_id": "U1", "history": "N1 N2"},
        {"user_id": "U2", "history": "unk"},
    ]
    items = {row["item_id"]: row for row in atomic_rows(made / "mind_small.item")}
    assert items["N1"] == {
        **{"item_id": "N1", "category": "sports", "subcategory": "golf"},
        "title": '"Tiger" wins',
    }
    assert report.scenarios == {
        "sports": [2, 0],
        "weather": [2, 1],
        "finance": [1, 1],
        "news": [1, 0],
    }
    assert (report.rows_in, report.rows_out, report.positives) == (6, 6, 2)
    assert report.side_repeats == {}


@pytest.mark.parametrize("size", [30, 64, 200])
def test_blocks_of_any_size_and_archives_give_the_same(tmp_path, monkeypatch, size):
    raw = folder_of(tmp_path)
    prepare("mind_small", raw, tmp_path / "whole")
    for folder in list(raw.iterdir()):
        shutil.make_archive(str(folder), "zip", folder)
        shutil.rmtree(folder)
    monkeypatch.setattr(raw_file_module, "BLOCK_BYTES", size)
    prepare("mind_small", raw, tmp_path / "packed")
    for file in (tmp_path / "whole" / "mind_small").glob("*.[iu]*"):
        assert (tmp_path / "packed" / "mind_small" / file.name).read_text() == file.read_text()


def test_four_categories_in_one_file(tmp_path, caplog):
    many = "".join(
        f"{n}\tU{n % 3}\t11/13/2019 2:{10 + n}:46 PM\tN1\tN1-{n % 2} N4-0\n" for n in range(20)
    )
    raw = folder_of(tmp_path, **{"MINDsmall_train/behaviors.tsv": many})
    report = prepare("mind_large_4", raw, tmp_path)
    assert report.left_out == {"of other categories": 22}
    assert (report.rows_in, report.rows_out) == (43, 21)
    config = config_of("mind_large_4", tmp_path)
    dataset = load(config, caplog)
    assert set(column(dataset, "category")) == {"sports"}
    assert [part.dataset.inter_num for part in built(config)] == [17, 2, 2]


@pytest.mark.parametrize("name", ["mind_small", "mind_large"])
def test_config(tmp_path, caplog, name):
    prepare(name, folder_of(tmp_path), tmp_path)
    config = config_of(name, tmp_path)
    dataset = load(config, caplog)
    assert set(dataset.field2type) == {
        *("user_id", "item_id", "hour", "label", "category", "subcategory"),
    }
    parts = [part.dataset for part in built(config)]
    assert [part.inter_num for part in parts] == [2, 1, 3]
    assert column(parts[2], "category") == ["weather", "sports", "weather"]
    assert config["scenario_id_field"] == "category"


TRAIN = "MINDsmall_train/behaviors.tsv"
GOOD = "2\tU2\t11/14/2019 12:00:00 AM\t\tN2-0 N1-1\n"


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("1\tU1\t11/13/2019 2:14:46 PM\tN1\tN1 N2\n", "column impressions: 'N1' is not allowed"),
        ("1\tU1\t11/13/2019 2:14:46 PM\tN1\t\n", "column impressions: '' is not allowed"),
        ("1\tU1\t11/13/2019 2:14:46 PM\tN1\tN1-0 N9-1\n", "column news.tsv: 'N9-1' .* has no line"),
        ("1\tU1\t2019-11-13 14:14:46\tN1\tN1-0\n", "column time: .* as 11/12/2019 2:14:46 PM"),
        ("1\tU1\t11/13/2019 2:14:46 PM\tN1\n", "expected 5 columns, found 4"),
    ],
)
def test_a_bad_line_is_one_with_all_its_rows(tmp_path, line, words):
    raw = folder_of(tmp_path, **{TRAIN: GOOD + line + GOOD.replace("14/2019", "13/2019")})
    with pytest.raises(UsageError, match=words):
        prepare("mind_small", raw, tmp_path)
    report = prepare("mind_small", raw, tmp_path, on_error="skip")
    assert report.rows_in == 8
    assert (report.rows_out, report.rows_rejected) == (7, 1)
    rejected = rejected_rows(tmp_path / "mind_small" / "mind_small.rejected.tsv")
    assert rejected[-1][0] == f"{TRAIN}:2"


def test_the_test_part_has_no_labels(tmp_path):
    raw = folder_of(tmp_path, **{"MINDsmall_test/behaviors.tsv": GOOD})
    with pytest.raises(UsageError, match=r"column impression_id: .* the test part has no labels"):
        prepare("mind_small", raw, tmp_path)


def test_moments_and_histories():
    assert seconds("11/9/2019 12:00:01 AM") == "1573257601"
    assert history(" ".join(f"N{n}" for n in range(60))).split() == [f"N{n}" for n in range(10, 60)]
    with pytest.raises(ValueError, match="expected news as"):
        history("N1  N2")
