"""``recbole-midpg analyze`` as a user types it."""

import json
from pathlib import Path

import pytest

pytest.importorskip("matplotlib")

from recbole_midpg.analysis.learning_curves import LearningCurves
from recbole_midpg.analysis.sweep import SizeSweep
from recbole_midpg.analysis.training import train_pair
from recbole_midpg.common.errors import UsageError
from recbole_midpg.generated import bayes_of_split
from recbole_midpg.models.dnn import DNN
from tests.analysis.commands import analyze
from tests.analysis.reports import run_report, table, written
from tests.analysis.test_matrices import checkpoint_of
from tests.support.processes import run_python
from tests.support.recbole_data import GAPS

COMMAND = """
from tests.analysis.commands import analyze
analyze(*{arguments})
"""


@pytest.mark.slow
def test_matrices_of_a_dataset_then_of_a_checkpoint_then_curves(tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[2]))
    fast = ["--synthetic_rows=6000", "--epochs=1", "--train_batch_size=4096"]
    fast += ["--mlp_hidden_size=[16,8]", "--embedding_size=4", "--rows_per_scenario", "12"]
    arguments = ["matrices", "--dataset", "amazon_electronics_synth", "--output", "out", *fast]
    result = run_python(COMMAND.format(arguments=arguments), tmp_path)
    assert result.returncode == 0, result.stderr
    assert "silhouette" in result.stdout and "out/tsne.png" in result.stdout
    out = tmp_path / "out"
    names = {"tsne", "heat_map_1", "heat_map_2"}
    expected = {f"{name}.{end}" for name in names for end in ("png", "svg", "json")}
    assert {path.name for path in out.iterdir()} == {*expected, "numbers.json", "checkpoints"}
    dpg, midpg = json.loads((out / "numbers.json").read_text())
    assert (dpg["model"], midpg["model"]) == ("DPG", "MIDPG")
    assert sum(dpg["rows"].values()) == 120
    assert -1 <= dpg["rank_correlation"] <= 1 and dpg["renamings"] == 9999
    left, right = json.loads((out / "tsne.json").read_text())["panels"]
    assert left["scenarios"] == right["scenarios"]

    monkeypatch.chdir(tmp_path)
    paths = [dpg["checkpoint"], midpg["checkpoint"]]
    analyze(
        "matrices", "--checkpoint", paths[1], "--output", "again", "--rows_per_scenario", 12
    )  # fmt: skip
    assert json.loads((tmp_path / "again" / "numbers.json").read_text()) == [midpg]
    again = (tmp_path / "again" / "heat_map_1.svg").read_bytes()
    assert again == (out / "heat_map_2.svg").read_bytes()

    reports = [str(Path(path).with_suffix(".json")) for path in paths]
    analyze("curves", "--runs", *reports, "--output", "again")
    curves = json.loads((tmp_path / "again" / "curves.json").read_text())
    quantities = {panel["quantity"]: panel["curves"] for panel in curves["panels"]}
    assert len(quantities["training loss, cross-entropy"]) == 2
    assert len(quantities["JSD, matched pairs and pairs of other scenarios"]) == 1


def test_gains_print_and_draw_the_same_numbers(capsys):
    models = {"DNN": {1: {"a": 0.5}, 2: {"a": 0.5}}, "DPG": {1: {"a": 0.51}, 2: {"a": 0.53}}}
    path = written(table(models), "table.json")
    analyze("gains", "--table", path, "--output", "figures")
    (line,) = [line for line in capsys.readouterr().out.splitlines() if line.startswith("DPG")]
    # 12.7 standard errors of two values are 0.1271.
    assert line.split() == ["DPG", "a", "9", "+0.0200", "0.1271", "0.0141", "2"]
    with pytest.raises(UsageError, match=r"output 'figures/gains\.png': it exists already"):
        analyze("gains", "--table", path, "--output", "figures")
    analyze("gains", "--table", path, "--output", "figures", "--force")
    with pytest.raises(UsageError, match=r"--output: 'table\.json' is a file, expected a folder"):
        analyze("gains", "--table", path, "--output", "table.json")
    Path(path).rename("figures/gains.json")
    with pytest.raises(UsageError, match=r"output 'figures/gains\.json': it is --table, expected"):
        analyze("gains", "--table", "figures/gains.json", "--output", "figures", "--force")
    Path("figures/gains.json").rename(path)
    analyze("gains", "--table", path, "--output", "figures", "--force")
    content = json.loads(Path("figures/gains.json").read_text())
    assert content["gains"]["DPG"][0]["mean"] == pytest.approx(0.02)
    assert Path("figures/gains.svg").read_text().startswith("<?xml")


def test_gains_of_some_models_in_large_scenarios(capsys):
    aucs = {1: {"a": 0.5, "b": 0.5}, 2: {"a": 0.5, "b": 0.5}}
    content = table({"DNN": aucs, "DPG": aucs, "STAR": aucs})
    for model in content["models"]:
        for trial in model["trials"]:
            for entry in trial["scenarios"]:
                entry["rows"] = {"a": 9, "b": 10}[entry["name"]]
    path = written(content, "table.json")
    analyze("gains", "--table", path, "--output", "f", "--models", "STAR", "--min_rows=10")
    header, _, *lines = capsys.readouterr().out.splitlines()
    assert header.split()[:2] == ["model", "scenario"]
    assert lines[0].split()[:3] == ["STAR", "b", "10"]
    assert lines[1] == "left out: 1 scenarios of fewer than 10 test rows"


@pytest.mark.slow
def test_sweep_trains_and_goes_on_from_its_record(capsys):
    arguments = ["sweep", "--dataset", "gaps", "--output", "out", "--sizes", "2,1"]
    arguments += ["--variants", "r", "APG", "--trials", "1"]
    values = {**GAPS, "mlp_hidden_size": [8, 4], "embedding_size": 2}
    settings = [f"--{key}={value}" for key, value in values.items()]
    analyze(*arguments, *settings)
    record = Path("out/sweep.jsonl").read_text()
    assert len(record.splitlines()) == 1 + 2
    content = SizeSweep(**json.loads(Path("out/sweep.json").read_text()))
    ((dpg,), (apg,)) = content.lines.values()
    trained = [json.loads(line) for line in record.splitlines()[1:]]
    assert [point["parameters"] for point in (dpg, apg)] == [
        trial["parameters_without_embeddings"] for trial in trained
    ]
    assert [point["test"] for point in (dpg, apg)] == [[trial["test"]["auc"]] for trial in trained]
    assert "parameters without embeddings" in capsys.readouterr().out
    analyze(*arguments, *settings)
    assert Path("out/sweep.jsonl").read_text() == record


VALIDATED_NOT = "--eval_args={split: {RS: [0.6, 0, 0.4]}, order: RO, mode: labeled}"
SIZES = ["sizes", "--dataset", "teacher_dpg_synth"]
SHORT = ["--epochs=1", "--train_batch_size=2048", "--mlp_hidden_size=[8,4]", "--embedding_size=2"]


@pytest.mark.slow
def test_sizes_train_at_every_number_of_rows_and_go_on_from_the_record(capsys):
    Path("mine.yaml").write_text("DPG: {weighting: r, embedding_size: 4}\n")
    Path("rate.yaml").write_text("learning_rate: 0.01\n")
    words = [*SIZES, "--output", "out", "--models", "DNN", "DPG", "--jobs", "2"]
    words += [
        "--settings_file",
        "mine.yaml",
        "--config_files",
        "rate.yaml",
        "--n=2",
        "--m=2",
        "--k=1",
    ]
    words += SHORT
    analyze(*words, "--rows", 8000, 5000, "--trials", 1)
    first, *trials = [json.loads(line) for line in Path("out/sizes.jsonl").read_text().splitlines()]
    assert first["settings"]["learning_rate"] == 0.01
    keys = ("model", "seed")
    done = {(*(t[k] for k in keys), t["settings"]["synthetic_rows"]): t for t in trials}
    assert set(done) == {(m, 2020, r) for m in ("DNN", "DPG") for r in (5000, 8000)}
    own = done["DPG", 2020, 8000]["settings"]
    assert (own["weighting"], own["n"], own["embedding_size"]) == ("r", 2, 2)
    for rows in (5000, 8000):
        folder = Path(f"dataset/teacher_dpg_synth-{rows}-2023/teacher_dpg_synth")
        assert json.loads((folder / "bayes.json").read_text())["rows"] == rows
        scored = sum(s["rows"] for s in done["DNN", 2020, rows]["scenarios"])
        assert scored == rows / 10  # the test split is a tenth

    content = LearningCurves(**json.loads(Path("out/sizes.json").read_text()))
    assert content.rows == [5000, 8000]
    best = bayes_of_split(folder, seed=2020)["test"]["auc_of_drawn_labels"]
    assert content.best_possible[1] == pytest.approx(best)
    dnn, dpg = (done[model, 2020, 8000]["test"]["auc"] for model in ("DNN", "DPG"))
    assert content.lines["DPG"][1]["test"] == [dpg]
    assert content.lines["DPG"][1]["gain"]["differences"] == [pytest.approx(dpg - dnn)]
    printed = capsys.readouterr().out
    assert "settings: mine.yaml" in printed and "out/sizes.svg" in printed
    page = Path("out/sizes.md").read_text()
    for line in (
        f"| DNN           | {content.lines['DNN'][0]['mean']:.4f}",
        "| best possible | 0.",
    ):
        assert line in page

    record = Path("out/sizes.jsonl").read_text()
    analyze(*words, "--rows", 5000, 6000, "--trials", 1)
    assert Path("out/sizes.jsonl").read_text().startswith(record)
    assert len(Path("out/sizes.jsonl").read_text().splitlines()) == 1 + 4 + 2
    again = LearningCurves(**json.loads(Path("out/sizes.json").read_text()))
    assert (again.rows, again.lines["DPG"][0]) == ([5000, 6000], content.lines["DPG"][0])

    analyze(*words, "--rows", 5000, "--trials", 1, "--synthetic_seed=7")
    other = Path("dataset/teacher_dpg_synth-5000-7/teacher_dpg_synth/bayes.json")
    assert json.loads(other.read_text())["seed"] == 7
    assert len(Path("out/sizes.jsonl").read_text().splitlines()) == 1 + 6 + 2
    world = LearningCurves(**json.loads(Path("out/sizes.json").read_text()))
    assert world.best_possible[0] != content.best_possible[0]


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--rows", "4999"], "rows: 4,999 is not allowed for teacher_dpg_synth, expected at least"),
        (["--rows", "5000", "5000"], "--rows: '5000 5000' is not allowed, expected different"),
        (["--rows", "5000", "--dataset", "gaps"], "--dataset: 'gaps' is not a dataset that can be"),
        (["--rows", "5000", "--dataset", "teacher_dgp_synth"], "did you mean 'teacher_dpg_synth'"),
        (["--rows", "5000", "--dataset", "../x"], "'../x' is not a dataset that can be generated"),
        (["--rows", "5000", "--models", "DNN", "DPQ"], "model: 'DPQ' is not known"),
        (["--rows", "5000", "--models", "DNN,DNN"], "DNN DNN has a model twice"),
        (["--rows", "5000", "--models", "[]"], "--models: '[]' names no model"),
        (["--rows", "5000", "--seed=4294967293", "--trials=4"], "to 4294967292, as 4 seeds"),
        (["--rows", "5000", "--output=mine.yaml"], "--output: 'mine.yaml' is a file, expected a"),
        (["--rows", "5000", "--synthetic_rows=6000"], "6000 is given, expected --rows alone"),
        (["--rows", "5000", "--synthetic_seed=-1"], "synthetic_seed: -1 is not allowed"),
        (["--rows", "5000", "--data_path=3"], "data_path: 3 is not allowed"),
        (["--rows", "5000", "--settings_file", "none.yaml"], "none.yaml': No such file"),
        (["--rows", "5000", "--config_files", "none.yaml"], "none.yaml': No such file"),
        (["--rows", "5000", "--epoch=3"], "did you mean 'epochs'?"),
    ],
)
def test_sizes_that_cannot_be_trained_are_told_before_a_set_is_generated(words, told):
    Path("mine.yaml").touch()
    with pytest.raises(UsageError) as error:
        analyze(*SIZES, "--output", "out", *words)
    assert told in str(error.value)
    assert not Path("dataset").exists() and not Path("out").exists()


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--scenarios", "x", "y"], "scenarios: no row of the test split has job = 'x'"),
        (["--scenarios", "clerk"], "--scenarios: 'clerk' is not allowed, expected two or more"),
        (["--scenarios", "a", "b", "a"], "--scenarios: 'a b a' is not allowed, expected two or"),
        (["--scenarios", *map(str, range(99))], "99 scenarios cannot be distinguished"),
        (["--split=valid", VALIDATED_NOT, "--epochs=1"], "--split: there is no valid split"),
    ],
)
def test_matrices_that_cannot_be_drawn_are_told_before_models_are_trained(words, told):
    settings = [f"--{key}={value}" for key, value in GAPS.items() if key != "eval_args"]
    with pytest.raises(UsageError) as error:
        analyze("matrices", "--dataset", "gaps", "--output", "out", *settings, *words)
    assert told in str(error.value)
    assert {path.name for path in Path().iterdir()} <= {"cache"}


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--seed=4294967294"], "to 4294967293, as 3 seeds follow from it on."),
        (["--output=file"], "--output: 'file' is a file, expected a folder"),
    ],
)
def test_a_sweep_that_cannot_be_done_is_told_before_its_models_are_counted(words, told, capsys):
    Path("file").touch()
    where = ["--dataset", "gaps", f"--data_path={GAPS['data_path']}", "--sizes", "2,1"]
    with pytest.raises(UsageError) as error:
        analyze("sweep", "--output", "out", *where, *words)
    assert told in str(error.value)
    assert capsys.readouterr().out == "" and not Path("out").exists()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["matrices", "--checkpoint", "none.pth"], "'none.pth': there is no such file"),
        (["matrices", "--checkpoint", "report.json"], "expected the .pth file beside it"),
        (["curves", "--runs", "report.pth"], "not JSON text, expected the .json file beside it"),
        (["matrices", "--checkpoint", "none.pth", "--n=3"], "'--n=3': a checkpoint has its own"),
        (["matrices", "--dataset", "none"], "'none'"),
        (["curves", "--runs", "none.json"], "none.json"),
        (["curves", "--runs", "table.json"], "expected 'recbole-midpg run 1'"),
        (["gains", "--table", "report.json"], "expected 'recbole-midpg table 1'"),
        (["gains", "--table", "table.json", "--baseline", "PLE"], "'PLE' is not a model"),
        (["sweep", "--dataset", "none"], "'none'"),
        (["sweep", "--dataset", "gaps", "--sizes", "4"], "'4' is not allowed"),
        (["sweep", "--dataset", "gaps", f"--data_path={GAPS['data_path']}", "--variants", "x"],
         "'x' is not allowed"),
    ],
)  # fmt: skip
def test_bad_input_gives_a_sentence(arguments, words):
    written(run_report())
    Path("report.pth").write_bytes(b"\x80\x02")
    written(table({"DNN": {1: {"a": 0.5}}}), "table.json")
    with pytest.raises(UsageError) as told:
        analyze(*arguments, "--output", "out")
    assert words in str(told.value)
    assert not list(Path().glob("out/*.png"))


def test_a_checkpoint_without_weighting_matrices():
    with pytest.raises(UsageError, match="expected a DPG or MIDPG"):
        analyze("matrices", "--checkpoint", checkpoint_of(DNN), "--output", "out")


def test_the_pair_differs_in_the_regularisation_only():
    settings = {**GAPS, "mlp_hidden_size": [8], "epochs": 2}
    paths = train_pair("gaps", Path("pair"), 2020, settings=settings)
    reports = [json.loads(path.with_suffix(".json").read_text()) for path in paths]
    assert [report["model"] for report in reports] == ["DPG", "MIDPG"]
    assert {report["seed"] for report in reports} == {2020}
    dpg, midpg = (report["config"] for report in reports)
    different = {key for key in dpg if dpg[key] != midpg.get(key)}
    assert different <= {"model", "log_root"}, different
    with pytest.raises(UsageError, match="betta"):
        train_pair("gaps", Path("pair"), 2020, settings={**settings, "betta": 1})
