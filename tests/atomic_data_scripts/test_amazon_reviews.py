import gzip
import json

import pytest

from recbole_midpg.atomic_data_scripts import prepare
from recbole_midpg.atomic_data_scripts import raw_file as raw_file_module
from recbole_midpg.atomic_data_scripts.amazon_reviews import category
from recbole_midpg.common.errors import UsageError

from .raw_files import atomic_rows
from .recbole_reading import built, column, config_of, load


def of_2018(user="A1", item="B00", stars=5.0, time=1400000000, **more):
    return {"overall": stars, "reviewerID": user, "asin": item, "unixReviewTime": time, **more}


def of_2023(user="A1", item="B00", stars=5.0, time=1400000000123, **more):
    return {"rating": stars, "asin": "B0X", "parent_asin": item, "user_id": user} | {
        **{"timestamp": time, "verified_purchase": True, "images": [{"large": "x"}]},
        **more,
    }


def folder_of(path, **files):
    folder = path / "raw"
    folder.mkdir(exist_ok=True)
    for name, reviews in files.items():
        lines = [line if isinstance(line, str) else json.dumps(line) for line in reviews]
        text = ("\n".join(lines) + "\n").encode()
        target = folder / name.replace("_dot_", ".")
        target.write_bytes(gzip.compress(text) if target.suffix == ".gz" else text)
    return folder


def row(user, item, stars, time, category, verified):
    return {
        **{"user_id": user, "item_id": item, "rating": stars, "timestamp": time},
        **{"verified": verified, "category": category},
    }


def test_categories_of_2014_and_2018(tmp_path):
    raw = folder_of(
        tmp_path,
        reviews_Beauty_5_dot_json=[of_2018(reviewText="a\tb", helpful=[1, 2])],
        Toys_and_Games_5_dot_json_dot_gz=[
            of_2018("#oc-A2", "0001", 2, verified=False, vote="1,204", style={"Size:": "L"}),
            of_2018("A1", "B00", 4.0, verified=True),
            of_2018("A1", "B00", 4.0, verified=True),
        ],
    )
    report = prepare("amazon_reviews", raw, tmp_path)
    rows = atomic_rows(tmp_path / "amazon_reviews" / "amazon_reviews.inter")
    assert rows == [
        row("#oc-A2", "0001", "2", "1400000000", "Toys_and_Games", "false"),
        row("A1", "B00", "4.0", "1400000000", "Toys_and_Games", "true"),
        row("A1", "B00", "4.0", "1400000000", "Toys_and_Games", "true"),
        row("A1", "B00", "5.0", "1400000000", "Beauty", "unk"),
    ]
    assert report.scenarios == {"Toys_and_Games": [3, 2], "Beauty": [1, 1]}
    assert report.entities == {"user": 2, "item": 2}
    assert (report.copies, report.repeats) == (1, 0)
    assert prepare("amazon_reviews", raw, tmp_path, duplicates="drop-copies").rows_out == 3


def test_files_of_2023(tmp_path):
    raw = folder_of(tmp_path, Gift_Cards_dot_jsonl=[of_2023(), of_2023("A2", stars=1.0)])
    for path in (raw, raw / "Gift_Cards.jsonl"):
        report = prepare("amazon_reviews", path, tmp_path, force=True)
        rows = atomic_rows(tmp_path / "amazon_reviews" / "amazon_reviews.inter")
        assert rows[0] == row("A1", "B00", "5.0", "1400000000", "Gift_Cards", "true")
        assert report.scenarios == {"Gift_Cards": [2, 1]}


@pytest.mark.parametrize("size", [40, 333, 1 << 18])
def test_blocks_of_any_size_give_the_same(tmp_path, monkeypatch, size):
    reviews = [of_2018(f"A{n}", f"B{n % 3}", 1.0 + n % 5, reviewText="é" * n) for n in range(40)]
    raw = folder_of(tmp_path, Beauty_dot_json_dot_gz=reviews)
    monkeypatch.setattr(raw_file_module, "BLOCK_BYTES", size)
    assert prepare("amazon_reviews", raw / "Beauty.json.gz", tmp_path).rows_out == 40
    rows = atomic_rows(tmp_path / "amazon_reviews" / "amazon_reviews.inter")
    assert [row["user_id"] for row in rows] == [f"A{n}" for n in range(40)]
    assert {row["category"] for row in rows} == {"Beauty"}


def test_config(tmp_path, caplog):
    files = {
        f"reviews_{name}_5_dot_json": [of_2018(f"A{n % 4}", "B1", 1.0 + n % 5) for n in range(20)]
        for name in ("Beauty", "Clothing_Shoes_and_Jewelry")
    }
    prepare("amazon_reviews", folder_of(tmp_path, **files), tmp_path)
    config = config_of("amazon_reviews", tmp_path)
    dataset = load(config, caplog)
    assert set(dataset.field2type) == {"user_id", "item_id", "category", "label"}
    assert column(dataset, "category") == ["Beauty"] * 20 + ["Clothing_Shoes_and_Jewelry"] * 20
    assert column(dataset, "label") == [float(n % 5 >= 3) for n in range(20)] * 2
    assert [part.dataset.inter_num for part in built(config)] == [32, 4, 4]


def test_category_names():
    assert category("a/reviews_Patio_Lawn_and_Garden_5.json") == "Patio_Lawn_and_Garden"
    assert category("x.zip/Video_Games.jsonl") == "Video_Games"
    with pytest.raises(ValueError, match=r"as reviews_Beauty_5.json"):
        category("reviews.txt")


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("{'reviewerID': 'A1'}", "line 2: the line is no JSON"),
        ('{"overall": 5.0', "line 2: the line is no JSON"),
        ("[1]", "line 2: the line is no JSON object"),
        ("", "line 2: the line is no JSON"),
        (of_2018(stars=0.5), "line 2, column overall: '0.5' is not allowed, expected whole stars"),
        (of_2018(user=None), "column reviewerID: '' is not allowed, it must not be missing"),
        (of_2018(user=["A"]), r"column reviewerID: '\[\"A\"\]' .* expected a text or a number"),
        (of_2018(item="B\t1"), "column asin: .* an atomic file cannot hold a tab"),
        (of_2018(time="05 3, 2011"), "column unixReviewTime: .* expected Unix seconds"),
        ({"overall": 5.0}, "column reviewerID: ''"),
    ],
)
def test_what_is_wrong_is_named(tmp_path, line, words):
    raw = folder_of(tmp_path, Beauty_5_dot_json=[of_2018(), line, of_2018("A3")])
    with pytest.raises(UsageError, match=f"Beauty_5.json, {words}|{words}"):
        prepare("amazon_reviews", raw, tmp_path)
    report = prepare("amazon_reviews", raw, tmp_path, on_error="skip")
    assert (report.rows_in, report.rows_out, report.rows_rejected) == (3, 2, 1)


def test_bytes_that_are_no_text_and_a_cut_line(tmp_path):
    raw = folder_of(tmp_path, Beauty_dot_json=[of_2018()]) / "Beauty.json"
    whole = raw.read_bytes()
    raw.write_bytes(whole + whole.replace(b"A1", b"A\xff"))
    with pytest.raises(UsageError, match=r"line 2: the line is no JSON .*0xff"):
        prepare("amazon_reviews", raw, tmp_path)
    raw.write_bytes(whole + whole[:30])
    with pytest.raises(UsageError, match=r"line 2: .*: the file ends in the middle of this line"):
        prepare("amazon_reviews", raw, tmp_path)
