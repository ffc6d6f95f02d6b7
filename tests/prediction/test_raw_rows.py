"""Rows of raw files are scored as the rows of the atomic files that are made of them."""

import csv
import gzip

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recbole_midpg.atomic_data_scripts import CONVERTERS, prepare
from recbole_midpg.common.errors import UsageError
from recbole_midpg.prediction import Scorer, scoring_pass
from recbole_midpg.prediction.files import score_file, score_rows
from recbole_midpg.prediction.raw_rows import RawRowFile
from tests.atomic_data_scripts.raw_files import (
    AMAZON_HEADER,
    GOLDEN_BAD,
    GOLDEN_RAW,
    amazon_line,
    atomic_rows,
    rejected_rows,
)
from tests.atomic_data_scripts.recbole_reading import config_of
from tests.prediction.checkpoints import checkpoint_of

NAMES = ["amazon_electronics", "iaac", "iaac_profile", "advertising"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("dataset")


@pytest.fixture(scope="module")
def scorers(folder):
    """Models of the golden datasets, with odd batches."""
    scorers = {}
    for name in NAMES:
        prepare(name, GOLDEN_RAW[name], folder)
        values = {"checkpoint_dir": str(folder / "saved"), "mlp_hidden_size": [16, 12, 8]}
        config = config_of(name, folder, "DPG", embedding_size=4, eval_batch_size=3, **values)
        scorers[name] = Scorer.read(checkpoint_of(config).path)
    return scorers


def without_label(name, target):
    """Write a raw file's rows without their labels, as a contest gives its test rows."""
    converter = CONVERTERS[name]
    label = converter.column(converter.label)
    with GOLDEN_RAW[name].open(encoding="utf-8", newline="") as source:
        rows = list(csv.reader(source, delimiter=converter.form.separator))
    with target.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, delimiter=converter.form.separator, lineterminator="\n")
        writer.writerows(row[:label] + row[label + 1 :] for row in rows)
    return target


def scored(name, scorer, path, keep=(), skip_bad_lines=False):
    """The lines of the scores' file, and the raw file after it was read."""
    file = RawRowFile(CONVERTERS[name], path, scorer.fields, skip_bad_lines=skip_bad_lines)
    count = score_rows(scorer, file, "scores.csv", keep).rows
    with open("scores.csv", encoding="utf-8", newline="") as written:  # noqa: PTH123
        lines = list(csv.DictReader(written))
    assert len(lines) == count
    return lines, file


@pytest.mark.parametrize("block_rows", [1, 4, 1 << 15])
@pytest.mark.parametrize("name", NAMES)
def test_scores_are_those_of_the_converted_rows(
    tmp_path, folder, scorers, name, block_rows, monkeypatch
):
    monkeypatch.setattr(scoring_pass, "_BLOCK_ROWS", block_rows)
    inter = folder / name / f"{name}.inter"
    score_file(scorers[name], inter, "converted.csv")
    expected = (tmp_path / "converted.csv").read_text()
    for raw in (GOLDEN_RAW[name], without_label(name, tmp_path / "test.raw")):
        scored(name, scorers[name], raw)
        assert (tmp_path / "scores.csv").read_text() == expected
    assert len(set(expected.splitlines())) > 3


@pytest.mark.parametrize("name", NAMES)
def test_every_field_is_what_readers_find_in_the_atomic_files(tmp_path, folder, scorers, name):
    """As far as it stands in ``.inter``; the others are joined above."""
    expected = atomic_rows(folder / name / f"{name}.inter")
    path = without_label(name, tmp_path / "test.raw")
    file = RawRowFile(CONVERTERS[name], path, scorers[name].fields, skip_bad_lines=False)
    (block,) = file.blocks(1000)
    common = [field for field in expected[0] if field in block.columns]
    assert len(common) > 3
    for field in common:
        assert list(block.columns[field]) == [row[field] for row in expected], field
    assert [block.line_of(row) for row in range(3)] == [2, 3, 4]


def test_a_dataset_of_several_files_is_told(tmp_path):
    with pytest.raises(UsageError, match=r"--raw: movielens_1m is not always made of one raw file"):
        RawRowFile(CONVERTERS["movielens_1m"], tmp_path / "x", {}, skip_bad_lines=False)


def test_new_users_and_items_have_the_features_of_their_line(tmp_path, scorers):
    """An atomic row of a new item has none, as they would stand in ``.item``."""
    raw = tmp_path / "test.raw"
    rows = [amazon_line(item_id="77", category=c) for c in ("Headphones", "Home Audio")]
    raw.write_text("\n".join([AMAZON_HEADER, *rows]) + "\n")
    lines, _ = scored("amazon_electronics", scorers["amazon_electronics"], raw, ["category"])
    assert [line["category"] for line in lines] == ["Headphones", "Home Audio"]
    assert lines[0]["score"] != lines[1]["score"]


def test_raw_columns_and_fields_can_be_kept(tmp_path, scorers):
    """Of a name that both have, the raw column is copied, as it stands in the file."""
    path = without_label("iaac", tmp_path / "test.raw")
    keep = ["instance_id", "item_category_list", "item_category", "hour", "context_timestamp"]
    lines, _ = scored("iaac", scorers["iaac"], path, keep)
    with path.open() as file:
        raw = list(csv.DictReader(file, delimiter=" "))
    assert list(lines[0]) == [*keep, "score"]
    for line, row in zip(lines, raw, strict=True):
        assert line["instance_id"] == row["instance_id"]
        assert line["item_category_list"] == row["item_category_list"]
        assert line["item_category"] == [*row["item_category_list"].split(";"), "-1"][1]
        assert int(line["hour"]) == (int(row["context_timestamp"]) // 3600 + 8) % 24
    with pytest.raises(UsageError, match=r"--keep: 'instance' is not a column of .*'instance_id'"):
        scored("iaac", scorers["iaac"], path, ["instance"])
    with pytest.raises(UsageError, match="--keep: 'is_trade' is not a column of"):
        scored("iaac", scorers["iaac"], path, ["is_trade"])


def test_a_label_is_not_looked_at_and_can_be_kept(tmp_path, scorers):
    labelled = GOLDEN_RAW["iaac"].read_text().splitlines()
    raw = tmp_path / "test.raw"
    raw.write_text("\n".join([labelled[0], *(line[:-1] + "?" for line in labelled[1:])]) + "\n")
    lines, _ = scored("iaac", scorers["iaac"], raw, ["is_trade"])
    assert {line["is_trade"] for line in lines} == {"?"}


def test_a_quoted_text_is_that_of_training(tmp_path):
    """In ``.inter`` a value with a quote at its start stands in quotes; in the CSV file too."""
    brand = '"""The"" brand"'
    raw = tmp_path / "df_electronics.csv"
    rows = [amazon_line(item_id=str(item), brand=brand) for item in range(2)]
    raw.write_text("\n".join([AMAZON_HEADER, *rows]) + "\n")
    file = RawRowFile(CONVERTERS["amazon_electronics"], raw, {}, skip_bad_lines=False)
    (block,) = file.blocks(10)
    assert list(block.columns["brand"]) == ['"The" brand'] * 2
    prepare("amazon_electronics", raw, tmp_path)
    items = atomic_rows(tmp_path / "amazon_electronics" / "amazon_electronics.item")
    assert [row["brand"] for row in items] == ['"The" brand'] * 2


def test_packed_files_are_read(tmp_path, scorers):
    path = without_label("iaac", tmp_path / "test.raw")
    plain, _ = scored("iaac", scorers["iaac"], path)
    packed = tmp_path / "test.raw.gz"
    packed.write_bytes(gzip.compress(path.read_bytes()))
    assert scored("iaac", scorers["iaac"], packed)[0] == plain


def test_bad_lines_stop_or_are_counted(tmp_path, scorers):
    path = without_label("iaac", tmp_path / "test.raw")
    good, file = scored("iaac", scorers["iaac"], path, ["instance_id"])
    assert (file.rejected, file.first_rejected) == (0, "")
    lines = path.read_text().splitlines()
    bad = [lines[0], lines[1], "no row", *lines[2:], lines[1].replace(" 1", " one", 1)]
    path.write_text("\n".join(bad) + "\n")
    with pytest.raises(UsageError, match=r"test\.raw, line 3: expected 26 columns, found 2"):
        scored("iaac", scorers["iaac"], path)
    left, file = scored("iaac", scorers["iaac"], path, ["instance_id"], skip_bad_lines=True)
    assert [line["instance_id"] for line in left] == [line["instance_id"] for line in good]
    assert file.rejected == 2
    assert file.first_rejected.startswith(f"{path}, line 3: expected 26 columns")
    path.write_text(f"{lines[0]}\nno row\n")
    with pytest.raises(UsageError, match="every one of its 1 rows is bad"):
        scored("iaac", scorers["iaac"], path, skip_bad_lines=True)


@pytest.mark.parametrize("block_rows", [1, 1000])
@pytest.mark.parametrize("name", GOLDEN_BAD)
def test_the_lines_left_out_are_those_that_a_conversion_rejects(tmp_path, name, block_rows):
    """But for bad labels, which are not looked at."""
    converter = CONVERTERS[name]
    prepare(name, GOLDEN_BAD[name], tmp_path, on_error="skip")
    rejected = rejected_rows(tmp_path / name / f"{name}.rejected.tsv")
    expected = {int(number) for number, column, *_ in rejected if column != converter.label}
    file = RawRowFile(converter, GOLDEN_BAD[name], {}, skip_bad_lines=True)
    kept = [number for block in file.blocks(block_rows) for number in block.numbers]
    assert kept == sorted(kept)
    assert file.rejected == len(expected)
    assert set(range(2, 2 + len(kept) + len(expected))) - set(kept) == expected


@given(st.data())
@settings(max_examples=50, deadline=None)
def test_whatever_a_file_holds_it_gives_rows_or_a_sentence(tmp_path_factory, data):
    raw = GOLDEN_RAW["iaac"].read_bytes()[: data.draw(st.integers(0, 1500))]
    for _ in range(data.draw(st.integers(0, 3))):
        place = data.draw(st.integers(0, len(raw)))
        raw = raw[:place] + data.draw(st.binary(max_size=4)) + raw[place + 1 :]
    path = tmp_path_factory.mktemp("raw") / "test.raw"
    path.write_bytes(raw)
    try:
        file = RawRowFile(CONVERTERS["iaac"], path, {}, skip_bad_lines=data.draw(st.booleans()))
        for block in file.blocks(data.draw(st.integers(1, 4))):
            lengths = {len(texts) for texts in (*block.columns.values(), *block.written.values())}
            assert lengths == {len(block.numbers)}
    except UsageError as error:
        assert str(path) in str(error) and "\n" not in str(error)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("item_id,user_id\n1,2\n", "columns are separated by commas, expected spaces"),
        ("item_id user_id\n1 2\n", "the header lacks column instance_id"),
        ("{header}", "has a header and no rows"),
    ],
)
def test_foreign_files_are_told(tmp_path, scorers, content, words):
    header = GOLDEN_RAW["iaac"].read_text().splitlines()[0]
    path = tmp_path / "test.raw"
    path.write_text(content.format(header=header))
    with pytest.raises(UsageError, match=words):
        scored("iaac", scorers["iaac"], path)


def test_a_model_of_another_dataset_is_told(tmp_path, scorers):
    path = without_label("amazon_electronics", tmp_path / "test.csv")
    with pytest.raises(UsageError, match=r"test\.csv, line 1: column 'user_star_level' is missing"):
        scored("amazon_electronics", scorers["iaac"], path)
    path = without_label("iaac", tmp_path / "test.raw")
    with pytest.raises(UsageError, match="column 'hour:token', expected hour:float"):
        RawRowFile(CONVERTERS["iaac"], path, {"hour": "float"}, skip_bad_lines=False)
