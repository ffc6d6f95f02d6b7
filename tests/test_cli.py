"""The commands as a user types them; in a process of their own where that is the point."""

import json
import re
import sysconfig
import threading
from pathlib import Path

import pytest
import torch
import yaml

from recbole_midpg import cli
from tests.support.processes import run_module, run_python
from tests.support.small_rows import ROWS, write_rows
from tests.support.typed import midpg, run_recbole

FAST = ["--epochs=2", "--train_batch_size=4096", "--show_progress=False"]


def without_colours(text):
    return re.sub("\x1b\\[[0-9;]*m", "", text)


@pytest.mark.slow
def test_midpg_trains_on_the_data_that_recbole_ships(tmp_path):
    result = run_module("--model=MIDPG", "--dataset=ml-100k", *FAST, cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    (file,) = (tmp_path / "log" / "MIDPG").glob("*.log")
    log = file.read_text()
    assert re.search(r"train loss per sample.*alpha\*bce: 0\.\d+, beta\*mir: 0\.\d+", log)
    # Python 3.12 prints an OrderedDict as a mapping, older ones as a list of pairs.
    assert re.search(r"test result.*'auc'[,:] 0\.\d+.*'logloss'[,:] 0\.\d+\D*$", log, re.MULTILINE)
    assert "Trainable parameters without embeddings" in log
    assert "Warning" not in log + result.stderr
    assert len(list((tmp_path / "saved").glob("MIDPG-*.pth"))) == 1


def test_the_terminal_has_a_header_and_a_line_an_epoch_and_results_are_output(tmp_path):
    words = ["--model=MIDPG", "--dataset=ml-100k", "--seed=7", "--train_batch_size=4096"]
    result = run_recbole(*words, "--epochs=2", cwd=tmp_path)
    assert result.returncode == 0
    told = without_colours(result.stderr).splitlines()
    begin = next(number for number, line in enumerate(told) if "INFO  epoch 0: " in line)
    assert begin <= 20
    assert "INFO  Rows are split at random, though 'timestamp' has their time" in told[0]
    assert told[1].endswith("INFO  MIDPG on ml-100k")
    assert "rows        100,000, 943 users, 1,682 items" in told
    assert "splits      train 80,000, valid 10,000, test 10,000" in told
    assert "set         seed: 7, train_batch_size: 4096, epochs: 2" in told
    (log,) = (tmp_path / "log" / "MIDPG").glob("*.log")
    assert f"log         {log.relative_to(tmp_path)}" in told
    (report,) = (tmp_path / "saved").glob("*.json")
    epochs = json.loads(report.read_text())["epochs"]
    *lines, remark = told[begin:]
    assert remark.endswith(
        "The best epoch on validation is the last of epochs: 2; more may be better."
    )
    for line, epoch in zip(lines, epochs, strict=True):
        terms = ", ".join(f"{name} {value:.4f}" for name, value in epoch["loss"].items())
        valid = ", ".join(f"{name} {value}" for name, value in epoch["valid"].items())
        loss = f"{sum(epoch['loss'].values()):.4f}"
        expected = f"epoch {epoch['epoch']}: ~ s, loss {loss} ({terms}); valid {valid}, best so far"
        assert re.sub(r": [\d.]+ s", ": ~ s", line.partition("INFO  ")[2]) == expected
    output = result.stdout.splitlines()
    assert [line.split()[0] for line in output[2:5]] == ["student", "other", "educator"]
    assert output[-5].split()[:2] == ["all", "10,000"]
    assert output[-3].startswith("best valid: auc 0.")
    assert output[-2].startswith("test result: auc 0.")
    assert output[-1] == f"report: {report.relative_to(tmp_path)}"
    logged = log.read_text()
    assert all(words in logged for words in ("epoch 1 evaluating", "Saving current", "FLOPs"))
    assert "best so far" not in logged


def test_verbose_shows_the_whole_log(tmp_path):
    words = ["--model=DNN", "--dataset=ml-100k", *FAST, "--verbose"]
    result = run_recbole(*words, cwd=tmp_path)
    (log,) = (tmp_path / "log" / "DNN").glob("*.log")
    told, logged = (
        re.findall("INFO  (.*)", without_colours(text)) for text in (result.stderr, log.read_text())
    )
    assert len(told) > 10 and told == logged
    assert "test result: " in result.stdout


def test_a_built_in_model_by_one_words_change(tmp_path):
    result = run_recbole("--model", "DeepFM", "--dataset", "ml-100k", *FAST, cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert "scenarios   21 of occupation" in result.stderr
    assert 0.6 < float(re.findall(r"^test result: auc ([\d.]+)", result.stdout, re.M)[0]) < 0.9


@pytest.mark.slow
def test_a_built_in_model_gives_what_stock_recbole_gives(tmp_path):
    """Only where stock RecBole starts: on numpy below 2 and pandas below 3."""
    run = """
from recbole.quick_start import run_recbole
# ours has other defaults for this dataset
settings = dict(learning_rate=0.001, train_batch_size=2048, epochs=2, gpu_id="")
settings |= dict(show_progress=False, embedding_prior=0.0)
print(run_recbole(model="DeepFM", dataset="ml-100k", config_dict=settings, saved=False))
"""
    stock = run_python(run, tmp_path)
    ours = run_python(f"import recbole_midpg\n{run}", tmp_path)
    assert ours.returncode == 0, ours.stderr
    if stock.returncode != 0:
        assert "np.float_" in stock.stderr or "pkg_resources" in stock.stderr, stock.stderr
        pytest.skip("stock RecBole does not start on this stack")
    assert stock.stdout.splitlines()[-1] == ours.stdout.splitlines()[-1]


def test_config_files_and_the_command_line_meet(tmp_path):
    (tmp_path / "a.yaml").write_text("model: DPG\ndataset: ml-100k\nweighting: rc\nn: 4\n")
    (tmp_path / "b.yaml").write_text("scenario_fields: [gender]\n")
    result = run_recbole(
        "--config_files", "a.yaml", "b.yaml", "--n", "2", *FAST, "--epochs=1", cwd=tmp_path
    )
    assert result.returncode == 2
    assert "both '2' and '1'" in result.stderr
    fast = ["--epochs=1", *FAST[1:]]
    words = ("--config_files", "a.yaml", "b.yaml", "--n", "2", "--verbose", *fast)
    result = run_recbole(*words, cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    for setting in ("weighting = rc", "n = 2", "scenario_fields = ['gender']"):
        assert setting in without_colours(result.stderr), setting
    assert len(list((tmp_path / "saved").glob("DPG-*.pth"))) == 1


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--model=MIDPQ"], ["'MIDPQ'", "'MIDPG'?", "DeepFM"]),
        (["--dataset=ml-1000k"], ["'ml-1000k'", "'ml-100k'?"]),
        (["--betta=1"], ["betta", "'beta'?"]),
        (["--scenario_fields=[ocupation]"], ["'ocupation'", "'occupation'?"]),
        (["--n=1000"], ["n: 1000", "at most"]),
        (["--weighting=x"], ["weighting: 'x'", "non, rc, r, c"]),
        (["--config_files=none.yaml"], ["none.yaml", "No such file"]),
        (["--metrics=[AUCC]"], ["AUCC"]),
        (["--nproc=0"], ["nproc: 0"]),
        (["--beta"], ["--beta", "a value is missing"]),
        (["MIDPG"], ["'MIDPG'", "--key=value"]),
    ],
)
def test_bad_input_gives_a_sentence_and_status_2(arguments, words, tmp_path, capsys):
    """In this process, to spare the imports; ``robustness.bad_inputs`` types many more."""
    assert cli.run_recbole_command(arguments) == 2
    told = capsys.readouterr().err
    assert "Traceback" not in told
    assert "run_recbole: error: " in told
    assert all(word in told for word in words), told
    assert not (tmp_path / "saved").exists()


def test_bad_input_of_a_process_of_its_own(tmp_path):
    result = run_module("--model=MIDPQ", cwd=tmp_path)
    assert result.returncode == 2
    assert result.stderr.startswith("run_recbole: error: ")
    assert "'MIDPQ' is not known; did you mean 'MIDPG'?" in result.stderr


@pytest.mark.slow
def test_values_on_the_command_line_are_not_run(tmp_path):
    attack = "__import__('pathlib').Path('ran').touch()"
    run_module(f"--seed={attack}", "--model=DNN", "--beta=-1", cwd=tmp_path)
    assert not (tmp_path / "ran").exists()


def test_help_names_the_models_and_the_keys(tmp_path):
    result = run_recbole("--help", cwd=tmp_path)
    assert result.returncode == 0
    for word in ("MIDPG", "DNN", "--dataset", "--config_files", "--nproc", "--world_size",
                 "--ip", "--port", "--group_offset"):  # fmt: skip
        assert word in result.stdout
    assert not list(tmp_path.iterdir())


def test_the_installed_command_is_the_same(tmp_path):
    command = Path(sysconfig.get_path("scripts")) / "run_recbole"
    if not command.exists():
        pytest.skip("the package is not installed in this environment")
    code = f"import subprocess, sys; sys.exit(subprocess.call([{str(command)!r}, '--help']))"
    assert "usage: run_recbole" in run_python(code, tmp_path).stdout


def test_commands_of_runs_and_raw_files_are_there(capsys):
    assert cli.main(["compare", "none.json", "other.json"]) == 2
    assert "recbole-midpg: error: report of a run 'none.json': it" in capsys.readouterr().err
    words = ["--checkpoint", "none.pth", "--input", "test.txt", "--output", "scores.csv"]
    assert cli.main(["predict", *words, "--raw", "iaca"]) == 2
    assert "'iaca' is not a dataset that can be converted; did you" in capsys.readouterr().err


def test_prepare_and_datasets(tmp_path):
    raw = Path(__file__).parent / "atomic_data_scripts" / "golden" / "amazon_electronics.csv"
    result = midpg("prepare", "amazon_electronics", "--raw", raw, cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert "rows in = " in result.stdout and "published" in result.stdout
    again = midpg("prepare", "amazon_electronics", "--raw", raw, cwd=tmp_path)
    assert "nothing to do" in again.stdout
    listed = midpg("datasets", cwd=tmp_path).stdout
    assert re.search(r"amazon_electronics +ready", listed)
    assert re.search(r"iaac +missing", listed)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["prepare", "amazon_electronics", "--raw", "none.csv"], "none.csv"),
        (["prepare", "amazon", "--raw", "none.csv"], "'amazon' is not a dataset"),
        (["prepare", "iaac", "--download"], "iaac"),
        (["prepare", "iaac"], "--raw"),
        (["prepare", "iaac_synth", "--raw", "none.csv"], "recbole-midpg generate iaac_synth"),
        (["models", "ml-100k"], "'ml-100k' belongs to no option, expected --OPTION VALUE."),
        (["datasets", "--data_path", "none"], "--data_path: there is no folder 'none'."),
        (["unknown"], "unknown"),
        ([], "COMMAND"),
    ],
)
def test_recbole_midpg_tells_bad_input_in_a_sentence(arguments, words, capsys):
    """In this process, to spare the imports."""
    try:
        status = cli.main(arguments)
    except SystemExit as end:
        status = end.code
    assert status == 2
    assert words in capsys.readouterr().err


def test_both_commands_tell_the_versions(capsys):
    assert cli.run_recbole_command(["--version"]) == 0
    with pytest.raises(SystemExit):
        cli.main(["--version"])
    words = capsys.readouterr().out.split()  # argparse breaks the line
    assert words[: len(words) // 2] == words[len(words) // 2 :]
    assert words[words.index("torch") + 1].rstrip(",") == torch.__version__


def test_models_lists_parameters(tmp_path):
    result = midpg("models", "--dataset", "ml-100k", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert re.search(r"DNN +Covington.* +47,537 +19,457 +not needed", result.stdout)
    assert "will not be used" not in result.stderr


@pytest.mark.slow
def test_tune_writes_a_config_file_for_run_recbole(tmp_path):
    (tmp_path / "space.hyper").write_text("embedding_size choice [4,8]\n")
    fast = ["--epochs=1", "--train_batch_size=8192"]
    arguments = ["--model=DNN", "--space=space.hyper", "--trials=2", *fast]
    result = midpg("tune", *arguments, cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    chosen = yaml.safe_load((tmp_path / "tuning" / "DNN-ml-100k.yaml").read_text())
    record = (tmp_path / "tuning" / "DNN-ml-100k.jsonl").read_text().splitlines()[1:]
    first, second = map(json.loads, record)
    assert first["parameters"] == {} and set(second["parameters"]) == {"embedding_size"}
    best = max(first, second, key=lambda trial: trial["scores"])
    assert len(best["scores"]) == 1
    assert (chosen or {}) == best["parameters"]
    told = result.stdout.splitlines()
    assert told[-2:] == [
        "Given for every trial, and so not in the file: epochs = 1, train_batch_size = 8192.",
        "run_recbole --model=DNN --dataset=ml-100k --epochs=1 --train_batch_size=8192 "
        "--config_files tuning/DNN-ml-100k.yaml",
    ]
    assert f"validation AUC: {best['scores'][0]}" in result.stdout
    comments = (tmp_path / "tuning" / "DNN-ml-100k.yaml").read_text().splitlines()
    comments = [line.removeprefix("# ") for line in comments if line.startswith("# ")]
    assert comments == told[-1 - len(comments) : -1]
    for wrong, words in ((["--trials=0"], "--trials: 0"), (["--space=none"], "none")):
        result = midpg("tune", *arguments[:1], *wrong, cwd=tmp_path)
        assert result.returncode == 2 and words in result.stderr
        assert "Traceback" not in result.stderr


def test_a_trained_model_scores_new_rows(tmp_path):
    assert run_recbole("--model=MIDPG", "--dataset=ml-100k", *FAST, cwd=tmp_path).returncode == 0
    (checkpoint,) = (tmp_path / "saved").glob("MIDPG-*.pth")
    (tmp_path / "new.csv").write_text("user_id,item_id\n196,242\nnobody,\n")
    predict = ["predict", "--checkpoint", checkpoint, "--input", "new.csv"]
    result = midpg(*predict, "--output", "scores.csv", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    header, *scores = (tmp_path / "scores.csv").read_text().splitlines()
    assert header == "score" and all(0 < float(score) < 1 for score in scores) and len(scores) == 2
    result = midpg("export", "--checkpoint", checkpoint, "--output", "m.scorer", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    predict[2] = "m.scorer"
    assert midpg(*predict, "--output", "again.csv", cwd=tmp_path).returncode == 0
    assert (tmp_path / "again.csv").read_text() == (tmp_path / "scores.csv").read_text()


def test_rows_written_otherwise_than_in_training_are_a_warning(tmp_path):
    assert run_recbole("--model=DNN", "--dataset=ml-100k", *FAST, cwd=tmp_path).returncode == 0
    (checkpoint,) = (tmp_path / "saved").glob("DNN-*.pth")
    rows = ["196.0, 242", "186.0, 302", ", 377", "nobody,242"]
    (tmp_path / "new.csv").write_text("user_id,item_id\n" + "\n".join(rows) + "\n")
    predict = ["predict", "--checkpoint", checkpoint, "--input", "new.csv"]
    result = midpg(*predict, "--output", "scores.csv", cwd=tmp_path)
    assert result.returncode == 0 and result.stdout == "scores.csv: 4 scores.\n"
    assert result.stderr.splitlines()[-4:] == [
        "user_id: 0 known, 3 unknown ('196.0'), 1 missing",
        "item_id: 1 known, 3 unknown (' 242'), 0 missing",
        "warning: user_id: 3 of 3 values (100.0%) are unknown to training and scored as [PAD], as "
        "'196.0', where '196' would be known; likely cause: decimals .0, as pandas writes ids of a "
        "column with gaps (in 2 of 3 distinct ones looked at).",
        "warning: item_id: 3 of 4 values (75.0%) are unknown to training and scored as [PAD], as "
        "' 242', where '242' would be known; likely cause: white space around it (in 3 of 3 "
        "distinct ones looked at).",
    ]


def test_fold_writes_one_network_a_scenario(tmp_path):
    fast = ["--epochs=1", *FAST[1:]]
    arguments = ["--model=DPG", "--dataset=ml-100k", "--generator_input=scenario", *fast]
    result = run_recbole(*arguments, cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    (checkpoint,) = (tmp_path / "saved").glob("DPG-*.pth")
    result = midpg("fold", "--checkpoint", checkpoint, "--output", "folded.pth", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert re.search(r"folded\.pth: \d+ networks, one for each \w+", result.stdout)
    assert (tmp_path / "folded.pth").is_file()
    for wrong, words in (
        (["--checkpoint", checkpoint, "--output", "folded.pth"], "it exists already"),
        (["--checkpoint", "none.pth", "--output", "folded.pth", "--force"], "'none.pth'"),
        (["--checkpoint", checkpoint, "--output", checkpoint, "--force"], "it is --checkpoint"),
        (["--checkpoint", checkpoint, "--output", "none/folded.pth"], "'none/folded.pth'"),
        (["--checkpoint", checkpoint], "--output"),
    ):
        result = midpg("fold", *wrong, cwd=tmp_path)
        assert result.returncode == 2 and words in result.stderr
        assert "Traceback" not in result.stderr


def test_generate_tells_the_best_possible_scores(tmp_path):
    result = midpg("generate", "amazon_electronics_synth", "--rows", 20_000, cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert re.search(r"best possible on test: AUC 0\.\d{4}, LogLoss 0\.\d{4}", result.stdout)
    for wrong, words in ((["iaac"], "'iaac'"), (["iaac_synth", "--rows", 3], "rows: 3")):
        result = midpg("generate", *wrong, cwd=tmp_path)
        assert result.returncode == 2 and words in result.stderr
        assert "Traceback" not in result.stderr


def test_a_thread_that_cannot_write_is_told_by_the_main_thread_alone(capsys, monkeypatch):
    monkeypatch.setattr(threading, "excepthook", threading.excepthook)

    def write():
        raise OSError(28, "No space left on device")

    def action():
        thread = threading.Thread(target=write)
        thread.start()
        thread.join()
        write()

    assert cli._guarded("run_recbole", action) == 2
    assert capsys.readouterr().err == "run_recbole: error: No space left on device.\n"


CLICKS = [
    "--dataset=clicks",
    "--load_col=~",
    "--LABEL_FIELD=label",
    "--scenario_fields=[place]",
    "--epochs=1",
    "--embedding_size=4",
    "--mlp_hidden_size=[8]",
    "--show_progress=False",
    "--state=WARNING",
]
HALF = ROWS // 2


def trained_on(columns, *words, cwd):
    """``run_recbole`` on a small dataset with some columns as given."""
    write_rows(cwd / "dataset" / "clicks" / "clicks.inter", 1, columns)
    return run_recbole("--model=DPG", *CLICKS, *words, cwd=cwd)


def split_of(shares, order):
    return f"--eval_args={{split: {{RS: {shares}}}, order: {order}, group_by: ~, mode: labeled}}"


@pytest.mark.parametrize(
    ("columns", "words", "told"),
    [
        ({}, ["--learning_rate=1e30", "--train_batch_size=256"], "is not finite"),
        (
            {"price:float": ["inf", *[0.5] * (ROWS - 1)]},
            ["--numerical_features=[price]"],
            "is not finite",
        ),
        ({"label:float": [0, 3] * HALF}, [], r"are neither 0 nor 1 \(3 for one\)"),
        (
            {"label:float": [1, 5] * HALF},
            ["--normalize_all=True"],
            r"are neither 0 nor 1 \(5 for one\)",
        ),
        ({"label:float": [1] * ROWS}, [], "it is 1 in all 1,280 rows of the training split"),
        ({}, [split_of("[0.8,0.2,0]", "RO")], "leaves no rows for the test"),
    ],
    ids=["learning rate", "infinite number", "labels", "scaled labels", "one label", "empty split"],
)
def test_data_that_cannot_be_trained_on_is_one_sentence(columns, words, told, tmp_path):
    result = trained_on(columns, *words, cwd=tmp_path)
    assert result.returncode == 2, result.stderr
    (line,) = result.stderr.splitlines()
    assert line.startswith("run_recbole: error: ") and re.search(told, line), line


@pytest.mark.parametrize(
    ("columns", "words", "told"),
    [
        ({"place:token": [7] * ROWS}, [], "scenario_fields: 'place' has one value"),
        (
            {"label:float": [0, 1] * HALF, "clicked:token": [5, 6] * HALF},
            [],
            "The field 'clicked' alone predicts the label with an AUC of 1.0",
        ),
        (
            {"time:float": range(ROWS), "label:float": [0, 1] * (HALF - 80) + [0] * 160},
            ["--TIME_FIELD=time", split_of("[0.8,0.1,0.1]", "TO")],
            "it is 0 in all 160 rows of the test split, where AUC is not defined",
        ),
    ],
    ids=["one scenario", "leak", "one label in the test split"],
)
def test_data_that_is_not_to_be_trusted_is_a_warning(columns, words, told, tmp_path):
    result = trained_on(columns, *words, cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert re.search(f"WARNING.*{re.escape(told)}", result.stderr), result.stderr


def test_the_number_of_workers_changes_nothing(tmp_path):
    runs = []
    for workers in (0, 2):
        folder = tmp_path / str(workers)
        result = trained_on({}, f"--worker={workers}", "--train_batch_size=64", cwd=folder)
        assert result.returncode == 0, result.stderr
        (report,) = folder.glob("saved/*.json")
        (checkpoint,) = folder.glob("saved/*.pth")
        weights = torch.load(checkpoint, weights_only=True)["state_dict"]
        metrics = json.loads(report.read_text())
        runs.append((weights, [metrics["valid"], metrics["test"], metrics["scenarios"]]))
    (weights, metrics), (other_weights, other_metrics) = runs
    assert metrics == other_metrics
    assert all(torch.equal(weights[name], other_weights[name]) for name in weights)


def test_an_unknown_scenario_is_scored_as_a_missing_one(tmp_path):
    assert trained_on({}, cwd=tmp_path).returncode == 0
    (checkpoint,) = tmp_path.glob("saved/*.pth")
    rows = ["user_id,item_id,place,hour", "1,2,moon,4", "1,2,,4", "1,2,3,4"]
    (tmp_path / "new.csv").write_text("\n".join(rows) + "\n")
    predict = ["predict", "--checkpoint", checkpoint, "--input", "new.csv"]
    result = midpg(*predict, "--output", "scores.csv", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    unknown, missing, known = (tmp_path / "scores.csv").read_text().splitlines()[1:]
    assert unknown == missing != known
