import hashlib

import numpy as np
import pytest
import yaml

from recbole_midpg.atomic_data_scripts import CONVERTERS
from recbole_midpg.common.errors import UsageError
from recbole_midpg.generated import GENERATED, generate, read_truth
from tests.atomic_data_scripts.raw_files import atomic_rows
from tests.atomic_data_scripts.recbole_reading import CONFIGS, built, config_of

EXTRA_KEYS = {
    "amazon_electronics_synth": {"numerical_features", "discretization"},
    "iaac_synth": set(),
    "advertising_synth": set(),
}


def hashes(folder):
    return {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and not path.name.endswith("manifest.json")
    }


def test_same_seed_same_files(any_set, tmp_path):
    generate(any_set.name, tmp_path, 20_000)
    again = hashes(tmp_path / any_set.name)
    assert again == hashes(any_set.folder)
    generate(any_set.name, tmp_path, 20_000, seed=5)
    other = hashes(tmp_path / any_set.name)
    assert other.keys() == again.keys()
    changed = {name for name in other if other[name] != again[name]}
    assert {GENERATED[any_set.name].converter.raw_name, "bayes.json"} < changed


def test_second_call_changes_nothing(any_set):
    before = {path: path.stat().st_mtime_ns for path in any_set.folder.rglob("*")}
    report = generate(any_set.name, any_set.output, 20_000)
    assert not report.changed
    assert report.counts == any_set.report.counts
    assert {path: path.stat().st_mtime_ns for path in any_set.folder.rglob("*")} == before


def test_unfinished_set_is_made_anew(advertising, tmp_path):
    report = generate(advertising.name, tmp_path, 20_000)
    folder = tmp_path / advertising.name
    (folder / "bayes.json").unlink()
    (folder / "raw" / "advertising.csv").write_text("cut off")
    assert generate(advertising.name, tmp_path, 20_000).counts == report.counts
    assert hashes(folder) == hashes(advertising.folder)


def test_every_row_is_kept_and_has_its_truth(any_set):
    report = any_set.report
    truth = read_truth(any_set.folder)
    assert report.rows_in == report.rows_out == len(truth) == 20_000
    assert report.rows_rejected == 0
    rows = atomic_rows(any_set.folder / f"{any_set.name}.inter")
    positive = [
        float(row["label"]) if "label" in row else float(row["rating"]) >= 4 for row in rows
    ]
    assert truth["label"].tolist() == positive
    assert report.positives == truth["label"].sum()
    assert truth["label"].sum() == pytest.approx(truth["probability"].sum(), abs=1)
    assert 0 < truth["probability"].min() < truth["probability"].max() < 1


def test_positives_follow_the_probabilities(any_set):
    truth = read_truth(any_set.folder)
    order = np.argsort(truth["probability"])
    for part in np.array_split(order, 10):
        expected = float(truth["probability"][part].sum())
        assert truth["label"][part].sum() == pytest.approx(expected, abs=5 * expected**0.5)


def test_no_field_tells_the_truth(any_set):
    """RecBole's fields are those of the converter, the real set's, which knows no truth."""
    own = GENERATED[any_set.name].converter
    real = CONVERTERS.get(any_set.name.removesuffix("_synth"), own)
    header = {
        field
        for ending in ("inter", "user", "item")
        for path in any_set.folder.glob(f"*.{ending}")
        for field in path.open().readline().split()
    }
    assert header == {field for column in real.columns for field in column.fields}
    config = config_of(any_set.name, any_set.output, model="MIDPG")
    train = built(config)[0].dataset
    allowed = {field.partition(":")[0] for field in header} | {"label"}
    assert set(train.field2type) <= allowed
    batch = next(iter(built(config)[0]))
    assert set(batch.interaction) <= allowed


@pytest.mark.parametrize("name", EXTRA_KEYS)
def test_config_is_that_of_the_real_set(name):
    texts = [
        (CONFIGS / f"{dataset}.yaml").read_text() for dataset in (name, name.removesuffix("_synth"))
    ]
    generated, real = (yaml.safe_load(text) for text in texts)
    assert generated.keys() - real.keys() == EXTRA_KEYS[name]
    assert {key: generated[key] for key in real} == real
    bodies = [text[text.index("USER_ID_FIELD") :] for text in texts]
    assert bodies[0] == bodies[1]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"name": "iaac_synt"}, "not a dataset that can be generated; did you mean 'iaac_synth'"),
        (
            {"name": "zzz"},
            "expected one of amazon_electronics_synth, iaac_synth, advertising_synth",
        ),
        (
            {"name": "iaac_synth", "rows": 10},
            "rows: 10 is not allowed for iaac_synth, expected at least 5,000",
        ),
        (
            {"name": "advertising_synth", "rows": 108_649_409},
            "expected at least 10,000 and at most 108,649,408",
        ),
        (
            {"name": "iaac_synth", "seed": -1},
            "seed: -1 is not allowed, expected a whole number of at least",
        ),
    ],
)
def test_wrong_input(tmp_path, arguments, message):
    with pytest.raises(UsageError, match=message):
        generate(arguments["name"], tmp_path, arguments.get("rows"), arguments.get("seed", 0))
    assert not list(tmp_path.iterdir())


def test_folder_that_cannot_be_written(tmp_path):
    (tmp_path / "iaac_synth").write_text("a file")
    with pytest.raises(UsageError, match="iaac_synth"):
        generate("iaac_synth", tmp_path, 5_000)


@pytest.mark.parametrize("name", sorted(GENERATED))
def test_fewest_rows(name, tmp_path):
    rows = GENERATED[name].smallest
    report = generate(name, tmp_path, rows)
    assert report.rows_out == rows
    assert len(report.scenarios) == GENERATED[name].converter.published["scenarios"]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["amazon_electronics_synth", "iaac_synth"])
def test_published_size(name, tmp_path):
    assert generate(name, tmp_path).differences == []
