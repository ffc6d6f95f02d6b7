import errno
import gc
import gzip
import json
import os
import re
import shutil
import time
import tracemalloc
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recbole_midpg.atomic_data_scripts import CONVERTERS, convert, prepare
from recbole_midpg.atomic_data_scripts import raw_file as raw_file_module
from recbole_midpg.atomic_data_scripts.conversion_pass import ConversionPass
from recbole_midpg.atomic_data_scripts.dataset_files import was_cut_off
from recbole_midpg.atomic_data_scripts.entity_table import EntityTable
from recbole_midpg.common.errors import UsageError

from .raw_files import (
    AMAZON_HEADER,
    GOLDEN_BAD,
    GOLDEN_RAW,
    amazon_file,
    amazon_line,
    atomic_rows,
    contents,
    prepare_amazon,
    rejected_rows,
)

FOLDER = "dataset/amazon_electronics"


@pytest.fixture
def raw(tmp_path):
    return amazon_file(tmp_path, amazon_line(), amazon_line(user_id="1", rating="2.0"))


# Bad lines


@pytest.mark.parametrize("name", ["iaac", "amazon_electronics"])
def test_rows_without_a_label_are_for_predict(tmp_path, name):
    raw = tmp_path / "test.raw"
    splitter = CONVERTERS[name].splitter(CONVERTERS[name].columns_without_label)
    raw.write_text(splitter.separator.join(splitter.columns) + "\r\n")
    words = rf"line 1: the header lacks column .*predict --raw {name} --input {raw}\), not prepared"
    with pytest.raises(UsageError, match=words):
        prepare(name, raw, tmp_path, on_error="skip")


@pytest.mark.parametrize("name", GOLDEN_BAD)
def test_stops_at_the_first_bad_line_and_leaves_nothing(tmp_path, name):
    with pytest.raises(UsageError, match=f"{GOLDEN_BAD[name]}, line 3[,:]"):
        prepare(name, GOLDEN_BAD[name], tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", GOLDEN_BAD)
def test_skips_bad_lines_and_lists_them(tmp_path, name):
    report = prepare(name, GOLDEN_BAD[name], tmp_path, on_error="skip")
    written = tmp_path / name / f"{name}.rejected.tsv"
    expected = GOLDEN_BAD[name].parent / f"{name}_bad" / written.name
    assert written.read_text(encoding="utf-8") == expected.read_text(encoding="utf-8")
    lines = GOLDEN_BAD[name].read_bytes().removesuffix(b"\n").count(b"\n")
    assert report.rows_in == lines == report.rows_out + report.rows_rejected
    assert report.rows_rejected == len(rejected_rows(written))
    assert f"{lines} rows in = {report.rows_out} rows out + " in report.summary()
    assert re.search(r" rows +positives +positive rate\n", report.summary())
    assert written.name in report.files


@pytest.mark.parametrize("name", GOLDEN_BAD)
def test_every_bad_line_is_named_when_it_is_the_first(tmp_path, name):
    raw = GOLDEN_BAD[name]
    header, *lines = raw.read_bytes().split(b"\n")
    expected = rejected_rows(raw.parent / f"{name}_bad" / f"{name}.rejected.tsv")
    alone = tmp_path / "alone"
    for number, column, reason, _ in expected:
        line = lines[int(number) - 2]
        ending = b"" if line is lines[-1] else b"\n"
        alone.write_bytes(header + b"\n" + lines[0] + b"\n" + line + ending)
        with pytest.raises(UsageError) as caught:
            prepare(name, alone, tmp_path)
        assert str(caught.value).startswith(f"{alone}, line 3")
        assert f"column {column}: " in str(caught.value) or column == ""
        assert reason in str(caught.value)


@given(st.data())
@settings(max_examples=60, deadline=None)
def test_rows_in_are_rows_out_and_rows_rejected(tmp_path_factory, data):
    """Whatever is done to the lines; good ones are converted as by themselves, and in order."""
    folder = tmp_path_factory.mktemp("raw")
    ids = st.sampled_from(["0", "1", "2", "", "nan", "x"])
    line = st.builds(
        amazon_line,
        item_id=ids,
        user_id=ids,
        rating=st.sampled_from(["1.0", "5", "0.5", '"4.0"', '"4.0']),
        brand=st.sampled_from(["", "HP", '"a,b"', "a,b", "a\tb", "a\rb", "None", 'a"b', "\r"]),
    ) | st.sampled_from(["", "\r", amazon_line() + "\r", amazon_line(split="0,0"), "\x00"])
    lines = data.draw(st.lists(line, min_size=1, max_size=12))
    good = []
    for text in lines:
        try:
            report = prepare_amazon(amazon_file(folder, text), force=True)
            good += atomic_rows(folder / FOLDER / "amazon_electronics.inter")
            assert report.rows_in == 1
        except UsageError as error:
            assert "line 2" in str(error)
    raw = amazon_file(folder, *lines)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(raw_file_module, "BLOCK_BYTES", data.draw(st.sampled_from([90, 150, 10_000])))
        if not good:
            with pytest.raises(UsageError, match=r"every one of its \d+ rows is bad"):
                prepare_amazon(raw, force=True, on_error="skip")
            return
        report = prepare_amazon(raw, force=True, on_error="skip")
    assert report.rows_in == len(lines) == report.rows_out + report.rows_rejected
    assert report.rows_out == len(good)
    written = atomic_rows(folder / FOLDER / "amazon_electronics.inter")
    fields = ("user_id", "item_id", "rating", "timestamp", "split")
    assert [[row[name] for name in fields] for row in written] == [
        [row[name] for name in fields] for row in good
    ]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "the file is empty"),
        ("{header}", "has a header and no rows"),
        ("{header}\n", "has a header and no rows"),
        ("{header}\n\n", "line 2: the line is empty"),
        ("{header},more\n", "line 1: the header has the extra column 'more'"),
        ("item_id user_id rating\n", "separated by spaces, expected commas"),
        ("{header}\n{line},\n", "line 2: expected 10 columns, found 11"),
        ("{header}\n{line}\n0,1,5.0", "line 3: .* the file ends in the middle of this line"),
    ],
)
def test_files_that_are_not_whole(tmp_path, raw, content, message):
    header, line, _ = raw.read_text().splitlines()
    raw.write_text(content.format(header=header, line=line))
    with pytest.raises(UsageError, match=f"{raw}.*{message}"):
        prepare_amazon(raw)
    assert not (tmp_path / "dataset" / "amazon_electronics").exists()


# All files or none


def test_interrupt_leaves_what_was_there(tmp_path, raw, monkeypatch):
    prepare_amazon(raw)
    before = contents(tmp_path / FOLDER)
    amazon_file(tmp_path, amazon_line(user_id="7"))

    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(ConversionPass, "_write_entities", interrupt)
    with pytest.raises(KeyboardInterrupt):
        prepare_amazon(raw)
    assert contents(tmp_path / FOLDER) == before
    assert gc.isenabled()


def test_no_space_left(tmp_path, raw, monkeypatch):
    def fail(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(ConversionPass, "_write", fail)
    with pytest.raises(UsageError, match=r"amazon_electronics: no space is left; the unfinished"):
        prepare_amazon(raw)
    assert list((tmp_path / "dataset").iterdir()) == []


def test_folder_that_cannot_be_written(tmp_path, raw):
    (tmp_path / "dataset").write_text("in the way")
    with pytest.raises(UsageError, match=r"dataset.*(Not a directory|File exists)"):
        prepare_amazon(raw)


def test_file_that_changes_while_it_is_read(tmp_path, raw, monkeypatch):
    write = ConversionPass._write

    def append(self, files, rows):
        write(self, files, rows)
        if "9" not in rows.columns[1]:
            with raw.open("a") as file:
                file.write(amazon_line(user_id="9") + "\n")

    monkeypatch.setattr(ConversionPass, "_write", append)
    with pytest.raises(UsageError, match="changed while it was read"):
        prepare_amazon(raw)
    assert list((tmp_path / "dataset").iterdir()) == []


def test_files_of_an_earlier_conversion_are_removed(tmp_path, raw):
    folder = tmp_path / FOLDER
    prepare_amazon(raw)
    assert (folder / "amazon_electronics.user").exists()
    amazon_file(tmp_path, amazon_line(user_attr="Male"), amazon_line(), "bad")
    prepare_amazon(raw, on_error="skip")
    assert {path.name for path in folder.iterdir()} == {
        "amazon_electronics.inter",
        "amazon_electronics.item",
        "amazon_electronics.manifest.json",
        "amazon_electronics.rejected.tsv",
    }


def test_a_field_of_few_values_has_too_many(tmp_path, monkeypatch):
    monkeypatch.setattr("recbole_midpg.atomic_data_scripts.conversion_pass.TALLY_CAPACITY", 2)
    raw = amazon_file(tmp_path, *(amazon_line(brand=brand) for brand in "abc"))
    with pytest.raises(UsageError, match="column brand has more than 2 values"):
        prepare_amazon(raw)


# Once is enough


def test_second_run_does_nothing(tmp_path, raw):
    first = prepare_amazon(raw)
    folder = tmp_path / FOLDER
    times = {path: path.stat().st_mtime_ns for path in folder.iterdir()}
    second = prepare_amazon(raw)
    assert first.changed
    assert not second.changed
    assert replace(second, changed=True) == first
    assert "up to date" in second.summary()
    assert {path: path.stat().st_mtime_ns for path in folder.iterdir()} == times
    assert prepare_amazon(raw, force=True).changed


@pytest.mark.parametrize(
    "change",
    [
        lambda raw: amazon_file(raw.parent, amazon_line(), amazon_line(user_id="2", rating="2.0")),
        lambda raw: (raw.parent / FOLDER / "amazon_electronics.item").unlink(),
        lambda raw: (raw.parent / FOLDER / "amazon_electronics.manifest.json").write_text(
            (raw.parent / FOLDER / "amazon_electronics.manifest.json")
            .read_text()
            .replace('"version": "', '"version": "0.')
        ),
    ],
    ids=["raw file", "lost file", "converter version"],
)
def test_what_changed_is_converted_again(raw, change):
    prepare_amazon(raw)
    change(raw)
    assert prepare_amazon(raw).changed
    assert not prepare_amazon(raw).changed


def test_other_options_convert_again(raw):
    prepare_amazon(raw)
    assert prepare_amazon(raw, on_error="skip").changed
    assert not prepare_amazon(raw, on_error="skip").changed


def test_files_of_something_else_are_kept(tmp_path, raw):
    folder = tmp_path / FOLDER
    folder.mkdir(parents=True)
    (folder / "amazon_electronics.item").write_text("my own")
    with pytest.raises(UsageError, match=r"item: exists and was not written by .*--force"):
        prepare_amazon(raw)
    assert (folder / "amazon_electronics.item").read_text() == "my own"
    assert prepare_amazon(raw, force=True).changed


def test_files_changed_by_hand_are_kept(tmp_path, raw):
    prepare_amazon(raw)
    path = tmp_path / FOLDER / "amazon_electronics.inter"
    path.write_text(path.read_text().replace("5.0", "4.0"))
    with pytest.raises(UsageError, match=r"inter: was changed after its conversion, --force"):
        prepare_amazon(raw)


def test_a_manifest_that_is_none(tmp_path, raw):
    prepare_amazon(raw)
    manifest = tmp_path / FOLDER / "amazon_electronics.manifest.json"
    for text in ("", "[]", "{}"):
        manifest.write_text(text)
        with pytest.raises(UsageError, match="is not a manifest"):
            prepare_amazon(raw)


def test_manifest_tells_where_the_files_come_from(tmp_path, raw):
    prepare_amazon(raw)
    manifest = json.loads((tmp_path / FOLDER / "amazon_electronics.manifest.json").read_text())
    assert manifest["raw"]["name"] == "df_electronics.csv"
    assert manifest["raw"]["bytes"] == raw.stat().st_size
    assert manifest["report"]["rows_out"] == 2
    assert set(manifest["files"]) == {
        f"amazon_electronics.{end}" for end in ("inter", "item", "user")
    }


# Attributes of users and items


@pytest.mark.parametrize("values", [("Male", "Female"), ("Male", ""), ("", "Female")])
def test_attribute_that_varies_stays_in_inter(tmp_path, values):
    raw = amazon_file(tmp_path, *(amazon_line(user_attr=value) for value in values))
    report = prepare_amazon(raw)
    rows = atomic_rows(tmp_path / FOLDER / "amazon_electronics.inter")
    assert [row["user_attr"] for row in rows] == [value or "unk" for value in values]
    assert "category" not in rows[0]
    assert not (tmp_path / FOLDER / "amazon_electronics.user").exists()
    assert report.in_inter == {"user_attr": "user 0"}
    assert "user_attr stays in .inter: it differs within user 0" in report.summary()
    assert report.entities == {"user": 1, "item": 1}


def test_each_attribute_is_judged_by_itself(tmp_path):
    raw = amazon_file(tmp_path, amazon_line(brand="HP"), amazon_line(year="2001"), amazon_line())
    report = prepare_amazon(raw)
    assert set(report.in_inter) == {"brand", "year"}
    item = atomic_rows(tmp_path / FOLDER / "amazon_electronics.item")
    assert item == [{"item_id": "0", "model_attr": "Female", "category": "Headphones"}]


def test_bad_lines_do_not_make_attributes_vary(tmp_path):
    raw = amazon_file(tmp_path, amazon_line(), amazon_line(year="2001", rating="9"))
    assert prepare_amazon(raw, on_error="skip").in_inter == {}


@pytest.mark.parametrize("name", GOLDEN_RAW)
def test_tables_on_disk_make_the_same_files(tmp_path, name, monkeypatch):
    expected = prepare(name, GOLDEN_RAW[name], tmp_path / "memory")
    build = EntityTable.__init__
    monkeypatch.setattr(
        EntityTable, "__init__", lambda self, folder, differ: build(self, folder, differ, 2)
    )
    monkeypatch.setattr(raw_file_module, "BLOCK_BYTES", 1500)
    report = prepare(name, GOLDEN_RAW[name], tmp_path / "disk")
    assert report.counts == expected.counts
    assert set(report.in_inter) == set(expected.in_inter)
    memory, disk = contents(tmp_path / "memory" / name), contents(tmp_path / "disk" / name)
    assert {file: sorted(text.split("\n")) for file, text in disk.items()} == {
        file: sorted(text.split("\n")) for file, text in memory.items()
    }
    inter = [file for file in memory if file.endswith(".inter")]
    assert [disk[file] for file in inter] == [memory[file] for file in inter]


# Repeated keys


def lines_kept(tmp_path, duplicates):
    report = prepare("iaac", GOLDEN_RAW["iaac"], tmp_path, duplicates=duplicates)
    rejected = tmp_path / "iaac" / "iaac.rejected.tsv"
    numbers = [int(row[0]) for row in rejected_rows(rejected)] if rejected.exists() else []
    assert report.rows_in == 11 == report.rows_out + len(numbers)
    assert (report.copies, report.repeats) == (2, 1)
    return numbers, rejected


def test_repeated_keys_are_kept_and_told_by_default(tmp_path):
    report = prepare("iaac", GOLDEN_RAW["iaac"], tmp_path)
    assert (report.rows_out, report.copies, report.repeats) == (11, 2, 1)
    assert "2 rows are exact copies of an earlier one and 1 more repeat its" in report.summary()


def test_copies_are_dropped(tmp_path):
    numbers, rejected = lines_kept(tmp_path, "drop-copies")
    assert numbers == [5, 8]
    assert rejected_rows(rejected)[0][1:3] == ["instance_id", "is an exact copy of line 4"]


def test_repeats_are_dropped(tmp_path):
    numbers, rejected = lines_kept(tmp_path, "drop-repeats")
    assert numbers == [5, 7, 8]
    assert rejected_rows(rejected)[1][2] == "repeats the instance_id of line 4"


def test_repeats_stop(tmp_path):
    with pytest.raises(
        UsageError,
        match=r"line 5, column instance_id: '842679481291040981' stands in line 4 already",
    ):
        prepare("iaac", GOLDEN_RAW["iaac"], tmp_path, duplicates="stop")
    assert list(tmp_path.iterdir()) == []


def test_one_pass_suffices_where_nothing_is_dropped(tmp_path, monkeypatch):
    raw = tmp_path / "raw"
    text = GOLDEN_RAW["iaac"].read_text().split("\n")
    raw.write_text("\n".join(text[:3]) + "\n")
    runs = []
    run = ConversionPass.run
    monkeypatch.setattr(ConversionPass, "run", lambda self: runs.append(1) or run(self))
    prepare("iaac", raw, tmp_path, duplicates="drop-repeats")
    assert len(runs) == 1


# Names, options and archives


def test_names_and_options_that_are_not_known(raw):
    with pytest.raises(UsageError, match=r"'amazon' is not a dataset that can be converted"):
        prepare("amazon", raw)
    with pytest.raises(UsageError, match=r"did you mean 'advertising'"):
        prepare("advertizing", raw)
    with pytest.raises(UsageError, match=r"on_error: 'ignore' is not allowed, .* stop, skip"):
        prepare_amazon(raw, on_error="ignore")
    with pytest.raises(UsageError, match=r"duplicates: 'drop' is not allowed"):
        prepare_amazon(raw, duplicates="drop")


def test_archives_make_the_same_files(tmp_path):
    source = GOLDEN_RAW["amazon_electronics"]
    prepare("amazon_electronics", source, tmp_path / "plain")
    with gzip.open(tmp_path / "packed.gz", "wb") as file:
        file.write(source.read_bytes())
    with zipfile.ZipFile(tmp_path / "packed.zip", "w") as archive:
        archive.writestr("read.me", "no data")
        archive.write(source, "data/df_electronics.csv")
    for ending in ("gz", "zip"):
        prepare("amazon_electronics", tmp_path / f"packed.{ending}", tmp_path / ending)
        assert contents(tmp_path / ending / "amazon_electronics") == contents(
            tmp_path / "plain" / "amazon_electronics"
        )


def test_a_converter_may_have_another_name(tmp_path, raw):
    converter = replace(CONVERTERS["amazon_electronics"], name="mine", published={"rows": 2})
    report = convert(converter, raw, tmp_path)
    assert report.differences == []
    assert (tmp_path / "mine" / "mine.inter").exists()


@pytest.mark.parametrize("name", CONVERTERS)
def test_declarations_are_sound(name):
    for form in (CONVERTERS[name], *CONVERTERS[name].other_forms):
        check_declarations(form, name)


def check_declarations(converter, name):
    names = [column.name for column in converter.columns]
    declared = [
        *(field for column in converter.columns for field in column.fields),
        *(field for table in converter.side_tables for field in table.fields),
    ]
    fields = [field.partition(":")[0] for field in declared]
    assert len(set(names)) == len(names)
    assert len(set(fields)) == len(fields)
    for table in converter.side_tables:
        assert table.of in names
        assert not table.key_column.fields
        assert table.describes in {None, *(entity.name for entity in converter.entities)}
    assert {rule.column for rule in converter.left_out} <= {*fields, *names}
    assert {converter.label, *(entity.column for entity in converter.entities)} <= set(names)
    assert set(converter.all_tallied) <= set(fields)
    entities = {entity.name for entity in converter.entities if entity.has_file}
    assert {column.describes for column in converter.columns} <= {*entities, None}
    assert name == converter.name


def test_peak_memory_does_not_grow_with_the_file(tmp_path, monkeypatch):
    """Ten times the rows, all users new: the largest dictionary stays at its capacity."""
    build = EntityTable.__init__
    monkeypatch.setattr(
        EntityTable, "__init__", lambda self, folder, differ: build(self, folder, differ, 500)
    )
    monkeypatch.setattr(raw_file_module, "BLOCK_BYTES", 20_000)
    monkeypatch.setattr("recbole_midpg.atomic_data_scripts.row_reader.MEMO_CAPACITY", 500)
    peaks = []
    for rows in (5_000, 50_000):
        raw = amazon_file(tmp_path, *(amazon_line(user_id=str(user)) for user in range(rows)))
        tracemalloc.start()
        assert prepare_amazon(raw).entities["user"] == rows
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 1.5 * peaks[0]


# Killed


def kill_at(monkeypatch, method, times):
    """Let a process end at the nth call of a path's method, without any cleaning up."""
    stock, calls = getattr(Path, method), []

    def killed(self, *args, **kwargs):
        calls.append(self)
        if len(calls) == times:
            os._exit(9)
        return stock(self, *args, **kwargs)

    monkeypatch.setattr(Path, method, killed)


def prepare_killed(monkeypatch, raw, method, times):
    """Convert in a process that is killed; its status."""
    process = os.fork()
    if process == 0:
        kill_at(monkeypatch, method, times)
        prepare_amazon(raw)
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs processes that can be forked")
@pytest.mark.parametrize("method", ["replace", "rename", "unlink", "mkdir", "write_text"])
def test_a_killed_conversion_is_ended_by_the_next(tmp_path, raw, monkeypatch, method):
    folder, old, new = tmp_path / FOLDER, raw.read_text(), "\n".join([AMAZON_HEADER, amazon_line()])
    raw.write_text(new + "\n")
    prepare_amazon(raw)
    after = contents(folder)
    for times in range(1, 9):
        shutil.rmtree(tmp_path / "dataset")
        raw.write_text(old)
        prepare_amazon(raw)
        before = contents(folder)
        raw.write_text(new + "\n")
        status = prepare_killed(monkeypatch, raw, method, times)
        if status == 0:
            break
        assert status == 9
        files = {path.name: path for path in folder.iterdir() if path.is_file()}
        unfinished = "amazon_electronics.manifest.json" not in files
        assert was_cut_off(folder) or not unfinished
        if not unfinished:
            seen = {name: path.read_text() for name, path in files.items() if name in before}
            assert seen in (before, after)
        prepare_amazon(raw)
        assert contents(folder) == after
    assert times > 1


def test_what_another_conversion_left_is_removed(tmp_path, raw):
    left = tmp_path / FOLDER / ".converting-abc"
    left.mkdir(parents=True)
    (left / "amazon_electronics.inter").write_text("half")
    prepare_amazon(raw)
    assert not left.exists()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs processes that can be forked")
def test_a_second_conversion_waits_for_the_first(tmp_path, raw, monkeypatch):
    reader, writer = os.pipe()
    process = os.fork()
    if process == 0:
        stock = ConversionPass.run

        def slowly(self):
            os.write(writer, b"in work")
            time.sleep(0.5)
            return stock(self)

        ConversionPass.run = slowly
        prepare_amazon(raw)
        os._exit(0)
    os.read(reader, 7)
    assert prepare_amazon(raw).changed is False
    assert os.waitpid(process, 0)[1] == 0
