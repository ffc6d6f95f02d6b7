"""Rows split by days, against the days of the file's lines."""

import datetime
import logging
from pathlib import Path
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from recbole.data import create_dataset, data_preparation

from recbole_midpg.common.errors import UsageError
from recbole_midpg.integration.config.config import build_config
from recbole_midpg.integration.dataset.split_columns import column_of
from recbole_midpg.integration.dataset.time_split import seconds_of
from recbole_midpg.integration.run.run import Run
from recbole_midpg.integration.run.validation import has_validation

N_ROWS = 240
FIRST = datetime.datetime(2026, 11, 17, tzinfo=datetime.timezone.utc)
HOURS = 96  # four days
DAYS = {"valid": "2026-11-19", "test": "2026-11-20"}


def write_rows(times, name="timestamp"):
    random = np.random.default_rng(3)
    lines = [f"row:token\tuser_id:token\titem_id:token\tplace:token\t{name}:float\tlabel:float"]
    for number, time in enumerate(times):
        user, item, place = random.integers(0, 9), random.integers(0, 5), random.integers(0, 3)
        lines.append(f"r{number}\t{user}\t{item}\t{place}\t{time}\t{number % 2}")
    folder = Path("dataset/days")
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "days.inter").write_text("\n".join(lines) + "\n")


@pytest.fixture(autouse=True)
def moments():
    """Rows in no order of their times, a second before and at each day's beginning among them."""
    random = np.random.default_rng(1)
    seconds = random.integers(0, HOURS * 3600, N_ROWS)
    ends = [86_400 * day - before for day in (1, 2, 3) for before in (0, 1)]
    seconds[: len(ends)] = ends
    times = [int(FIRST.timestamp()) + int(second) for second in random.permutation(seconds)]
    write_rows(times)
    return times


def config_of(model="DNN", **values):
    given = {
        "data_path": "dataset",
        "load_col": None,
        "scenario_fields": ["place"],
        "unembedded_fields": ["row"],
        "embedding_size": 4,
        "mlp_hidden_size": [8],
        "epochs": 1,
        "show_progress": False,
        "gpu_id": "",
        **values,
    }
    return build_config(model, "days", values=given)


def splits_of(config):
    loaders = data_preparation(config, create_dataset(config))
    return [None if loader is None else loader._dataset for loader in loaders]


def rows_of(split):
    texts = split.field2id_token["row"]
    return {int(texts[i][1:]) for i in column_of(split, "row").tolist()}


def days_of(moments, zone="UTC"):
    return [datetime.datetime.fromtimestamp(time, ZoneInfo(zone)).date() for time in moments]


def lines_between(moments, first, end, zone="UTC"):
    """The lines of the days from one to before another."""
    days = days_of(moments, zone)
    return {line for line, day in enumerate(days) if first <= day.isoformat() < end}


@pytest.mark.parametrize("model", ["DNN", "DeepFM"])
@pytest.mark.parametrize(
    "values",
    [
        {},
        {"dataset_cache": True, "dataset_cache_dir": "cache"},
        {"save_dataset": True, "checkpoint_dir": "kept"},
        {"normalize_all": True, "dataset_cache": True, "dataset_cache_dir": "cache"},
        {"normalize_all": True, "save_dataset": True, "checkpoint_dir": "kept"},
    ],
    ids=str,
)
def test_days_decide_to_the_second(moments, model, values):
    splits_of(config_of(model, **values))  # what is kept of it may have scaled the times
    for _ in range(2):  # from the files, and from what was kept of them
        train, valid, test = splits_of(config_of(model, time_split=DAYS, **values))
        assert rows_of(train) == lines_between(moments, "0", "2026-11-19")
        assert rows_of(valid) == lines_between(moments, "2026-11-19", "2026-11-20")
        assert rows_of(test) == lines_between(moments, "2026-11-20", "9")


@pytest.mark.parametrize("zone", ["UTC", "Europe/Berlin", "America/New_York", "Asia/Kolkata"])
@pytest.mark.parametrize("days", [(1, 1), (2, 1), (1, 2)])
def test_last_days_are_those_of_the_zone(moments, zone, days):
    split = {"days": list(days), "zone": zone}
    train, valid, test = splits_of(config_of(time_split=split))
    dates = sorted({*days_of(moments, zone)})
    tested = dates[-1] - datetime.timedelta(days=days[1] - 1)
    validated = tested - datetime.timedelta(days=days[0])
    assert rows_of(test) == lines_between(moments, tested.isoformat(), "9", zone)
    assert rows_of(valid) == lines_between(moments, validated.isoformat(), tested.isoformat(), zone)
    assert rows_of(train) == lines_between(moments, "0", validated.isoformat(), zone)


def test_last_day_is_one_day_each(moments):
    for one, other in zip(
        splits_of(config_of(time_split="last_day")),
        splits_of(config_of(time_split={"days": [1, 1]})),
        strict=True,
    ):
        assert rows_of(one) == rows_of(other)


@pytest.mark.parametrize("factor", [1_000, 1_000_000])
def test_smaller_units_are_known_by_their_size(moments, factor, caplog):
    expected = [rows_of(split) for split in splits_of(config_of(time_split=DAYS))]
    write_rows([time * factor for time in moments])
    with caplog.at_level(logging.INFO):
        found = [rows_of(split) for split in splits_of(config_of(time_split=DAYS))]
    assert found == expected
    unit = {1_000: "milliseconds", 1_000_000: "microseconds"}[factor]
    assert f"Split by timestamp ({unit}) in UTC: training" in caplog.text
    assert seconds_of(np.array([1e10]))[1] == "seconds"


def test_another_field_and_times_with_a_zone(moments):
    write_rows(moments, "seen")
    split = {
        "field": "seen",
        "valid": "2026-11-19T01:00:00+01:00",  # midnight in UTC
        "test": datetime.date(2026, 11, 20),
    }
    config = config_of(time_split=split)
    assert config["time_split"]["test"] == "2026-11-20"
    assert rows_of(splits_of(config)[1]) == lines_between(moments, "2026-11-19", "2026-11-20")


@pytest.mark.parametrize("split", [{"test": "2026-11-20"}, {"days": [0, 1]}], ids=str)
def test_without_validation_all_epochs_are_trained(moments, split):
    config = config_of(time_split=split)
    assert not has_validation(config)
    run = Run.prepare(config)
    assert run.valid_data is None
    assert rows_of(run.train_data._dataset) == lines_between(moments, "0", "2026-11-20")
    run.train(saved=False, verbose=False)
    run.test(saved=False)
    assert 0 <= run.test_results["auc"] <= 1


def test_a_line_says_counts_and_spans(moments, caplog):
    with caplog.at_level(logging.INFO):
        splits = splits_of(config_of(time_split=DAYS))
    told = next(line for line in caplog.messages if line.startswith("Split by timestamp"))
    assert f"training {len(splits[0])} rows from 2026-11-17 " in told
    assert f"validation {len(splits[1])} rows from 2026-11-19 00:00:00 to 2026-11-19 2" in told
    assert f"test {len(splits[2])} rows from 2026-11-20 00:00:00 to 2026-11-20 2" in told
    assert "at random" not in caplog.text


def test_a_line_says_that_rows_with_a_time_are_split_at_random(caplog):
    with caplog.at_level(logging.INFO):
        splits_of(config_of())
    assert caplog.text.count("Rows are split at random, though 'timestamp' has their time") == 1


@pytest.mark.parametrize(
    ("split", "told"),
    [
        ({"test": "2027-01-01"}, "the test split is empty .*goes from 2026-11-17 .* in UTC"),
        ({"test": "2020-01-01"}, "the training split is empty"),
        (
            {"valid": "2026-11-20T23:59:59.5", "test": "2026-11-20T23:59:59.9"},
            "the validation split is empty",
        ),
    ],
    ids=str,
)
def test_an_empty_split_is_told_with_the_data_s_span(split, told):
    with pytest.raises(UsageError, match=told):
        splits_of(config_of(time_split=split))


@pytest.mark.parametrize("values", [{}, {"dataset_cache": True, "dataset_cache_dir": "cache"}])
def test_rows_without_a_time_are_told(moments, values):
    write_rows(["", "", *moments[2:]])
    for _ in range(2):
        with pytest.raises(UsageError, match="2 of the 240 rows have no time in 'timestamp'"):
            splits_of(config_of(time_split=DAYS, **values))


SHARES = {"split": {"RS": [0.8, 0.1, 0.1]}, "order": "RO", "group_by": None, "mode": "labeled"}


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ({"time_split": "last_week"}, "time_split: 'last_week' is not allowed, expected last_day"),
        ({"time_split": {"valid": "2026-11-20"}}, "is not allowed, expected last_day"),
        ({"time_split": {"test": "20.11.2026"}}, "is not allowed"),
        ({"time_split": {"days": [1, 0]}}, "is not allowed"),
        ({"time_split": {"days": [1, 1], "test": "2026-11-20"}}, "is not allowed"),
        ({"time_split": {**DAYS, "zone": "Europe/Berlyn"}}, "zone: 'Europe/Berlyn' is not known"),
        ({"time_split": {**DAYS, "valid": "2026-11-21"}}, "2026-11-21 is not before test"),
        ({"time_split": {**DAYS, "field": "tiem"}}, "field: 'tiem' is not a field of the data"),
        ({"time_split": {**DAYS, "field": "place"}}, "'place' is of type token, not of numbers"),
        ({"time_split": {**DAYS, "field": "label"}}, "'label' is what the label is made of"),
        (
            {"time_split": DAYS, "unload_col": {"inter": ["timestamp"]}},
            "'timestamp' of days.inter is not loaded",
        ),
        (
            {"time_split": DAYS, "normalize_field": ["timestamp"]},
            "'timestamp' does not go with normalize_field",
        ),
        ({"time_split": DAYS, "eval_args": SHARES}, "does not go with eval_args: split: {'RS'"),
        (
            {"time_split": DAYS, "benchmark_filename": ["a", "b", "c"]},
            "does not go with benchmark_filename",
        ),
    ],
    ids=str,
)
def test_what_cannot_split_is_one_sentence_before_loading(values, told):
    for name in "abc":
        Path(f"dataset/days/days.{name}.inter").write_text(
            Path("dataset/days/days.inter").read_text()
        )
    with pytest.raises(UsageError, match=told):
        config_of(**values)


def test_other_models_are_refused():
    with pytest.raises(UsageError, match="time_split: 'last_day' does not go with BPR"):
        config_of("BPR", time_split="last_day", scenario_fields=None, unembedded_fields=None)


def test_a_time_split_wins_over_the_split_of_the_dataset_s_file(moments):
    Path("dataset_configs").mkdir()
    Path("dataset_configs/days.yaml").write_text(
        "eval_args: {split: {RS: [0.8, 0.1, 0.1]}, mode: labeled}\n"
    )
    assert rows_of(splits_of(config_of(time_split=DAYS))[0]) == lines_between(
        moments, "0", "2026-11-19"
    )
    Path("dataset_configs/days.yaml").write_text("time_split: {test: 2026-11-20}\n")
    assert config_of()["time_split"] == {"test": "2026-11-20"}
    with pytest.raises(UsageError, match="does not go with eval_args: split"):
        config_of(eval_args=SHARES)
