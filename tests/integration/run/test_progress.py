"""A run that is cut off after an epoch and gone on with, beside one that was left alone."""

import contextlib
import json
import logging
import os
import random
import shutil
import signal
from pathlib import Path

import numpy as np
import pytest
import torch
from recbole.config import Config
from recbole.quick_start import run_recbole
from recbole.trainer import Trainer

from recbole_midpg import cli
from recbole_midpg.common.errors import UsageError
from recbole_midpg.integration.dataset import batches
from recbole_midpg.integration.run import checkpoint as checkpoint_module
from recbole_midpg.integration.run import progress as progress_module
from recbole_midpg.integration.run.checkpoint import load_checkpoint
from recbole_midpg.integration.run.progress import Progress
from recbole_midpg.integration.run.run import Run
from recbole_midpg.models.dnn import DNN
from recbole_midpg.training.trainer import ScenarioTrainer
from tests.support.recbole_data import GAPS, gaps_config

EPOCHS = 6
ROWS = 1200
WITHOUT_VALIDATION = {"split": {"RS": [0.9, 0, 0.1]}, "order": "RO", "mode": "labeled"}
FIELDS = ("user_id", "item_id", "place", "hour")


class Killed(BaseException):
    """Ends a run where a signal would."""


@pytest.fixture
def rows(tmp_path):
    """A dataset of four token fields whose label follows none of them for long."""
    write_rows(np.random.default_rng(1))
    return tmp_path


def write_rows(generator, name="some"):
    folder = Path("dataset") / name
    folder.mkdir(parents=True, exist_ok=True)
    columns = [generator.integers(0, size, ROWS) for size in (60, 40, 4, 24)]
    chance = 1 / (1 + np.exp(-(columns[0] % 3 - 1.0) * (columns[2] - 1.5)))
    label = (generator.random(ROWS) < chance).astype(int)
    lines = ["\t".join([*(f"{field}:token" for field in FIELDS), "label:float"])]
    lines += ["\t".join(map(str, row)) for row in zip(*columns, label, strict=True)]
    (folder / f"{name}.inter").write_text("\n".join(lines) + "\n")


def settings(**values):
    return {
        "data_path": "dataset",
        "load_col": None,
        "threshold": None,
        "LABEL_FIELD": "label",
        "scenario_fields": ["place"],
        "embedding_size": 4,
        "mlp_hidden_size": [16, 8],
        "learning_rate": 0.1,
        "train_batch_size": 128,
        "epochs": EPOCHS,
        "stopping_step": 2,
        "dropout_prob": 0.2,
        "show_progress": False,
        "state": "WARNING",
        **values,
    }


def settings_of(model, **values):
    """The settings of a run of any of the package's models: M3oE needs a width more."""
    widths = {"mlp_hidden_size": [16, 8, 8]} if model == "M3oE" else {}
    return settings(**{**widths, **values})


def trained(monkeypatch, model, values, kill=None):
    """Run to the end or until ``kill(progress, epoch)`` raises; the finished run and its result."""
    finished = []
    stock_test, stock_keep = Run.test, Progress.keep

    def test(self, **kwargs):
        finished.append((self, state_of(self)))
        stock_test(self, **kwargs)

    def keep(self, epoch):
        stock_keep(self, epoch)
        if kill:
            kill(self, epoch)

    with monkeypatch.context() as patch:
        patch.setattr(Run, "test", test)
        patch.setattr(Progress, "keep", keep)
        result = run_recbole(model, "some", config_dict=settings(**values))
    return finished[0], result


def state_of(run):
    """All that training has made: weights, moments, and what the generators would draw next."""
    optimizer = run.trainer.optimizer.state_dict()["state"]
    return {
        "weights": {name: value.clone() for name, value in run.model.state_dict().items()},
        "moments": [
            {name: torch.as_tensor(value).clone() for name, value in entry.items()}
            for entry in optimizer.values()
        ],
        "torch": torch.get_rng_state(),
        "loader": run.train_data.generator.get_state(),
        "numpy": np.random.get_state()[1].tolist(),
        "python": random.getstate(),
    }


def told(run):
    """The history, but for its times."""
    return [(epoch.epoch, epoch.loss, epoch.valid) for epoch in run.trainer.history]


def assert_same(found, expected):
    for name, value in expected["weights"].items():
        assert torch.equal(found["weights"][name], value), name
    for left, right in zip(found["moments"], expected["moments"], strict=True):
        for name, value in right.items():
            assert torch.equal(left[name], value), name
    for name in ("torch", "loader"):
        assert torch.equal(found[name], expected[name]), name
    assert found["numpy"] == expected["numpy"]
    assert found["python"] == expected["python"]


def kill_after(number):
    def kill(_, epoch):
        if epoch == number:
            raise Killed

    return kill


@contextlib.contextmanager
def place_of_its_own(folder):
    """A dataset in a folder, and a way to patch: what ``rows`` is, for fixtures of the module."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("XDG_CACHE_HOME", str(folder / "cache"))
        write_rows(np.random.default_rng(1))
        yield patch


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """DNN's uninterrupted run with its state, its result and the checkpoint that it has kept."""
    with place_of_its_own(tmp_path_factory.mktemp("whole")) as patch:
        (run, state), result = trained(patch, "DNN", {})
        return (run, state), result, load_checkpoint(run.trainer.saved_model_file)


@pytest.mark.parametrize(
    ("model", "values"),
    [
        ("DNN", {}),
        ("DNN", {"sparse_updates": "on"}),
        ("DNN", {"sparse_updates": "off", "learner": "adagrad"}),
        ("DNN", {"sparse_updates": "on", "eval_step": 2}),
        ("DNN", {"sparse_updates": "on", "eval_step": 4}),  # the last epochs are not validated
        ("DNN", {"epochs_per_pass": 3}),
        ("DNN", {"eval_args": WITHOUT_VALIDATION}),
        ("MIDPG", {"sparse_updates": "on"}),
        ("AdaptDHM", {}),
        ("AdaSparse", {}),
        ("STAR", {}),
        ("DeepFM", {"sparse_updates": "on"}),
        ("DeepFM", {"sparse_updates": "off"}),
        ("DeepFM", {"epochs_per_pass": 2}),
    ],
)
def test_a_run_that_was_cut_off_ends_as_the_uninterrupted_one(
    rows, monkeypatch, request, model, values
):
    if (model, values) == ("DNN", {}):
        (run, expected), result, best = request.getfixturevalue("whole")
    else:
        (run, expected), result = trained(monkeypatch, model, values)
        best = load_checkpoint(run.trainer.saved_model_file)
        shutil.rmtree("saved")
    epochs = len(run.trainer.history)
    scores = [epoch.valid["auc"] for epoch in run.trainer.history if epoch.valid]
    assert len(scores) < epochs or scores != sorted(scores), (
        "some epoch is to be in the progress file"
    )
    for number in (0, epochs - 2):
        with pytest.raises(Killed):
            trained(monkeypatch, model, {**values, "resume": "auto"}, kill_after(number))
    (resumed, found), its_result = trained(monkeypatch, model, {**values, "resume": True})
    assert resumed.trainer.start_epoch == epochs - 1
    assert_same(found, expected)
    assert told(resumed) == told(run)
    assert its_result == result
    again = load_checkpoint(resumed.trainer.saved_model_file)
    for name, value in best["state_dict"].items():
        assert torch.equal(again["state_dict"][name], value), name
    assert {path.suffix for path in Path("saved").iterdir()} == {".pth", ".json"}
    assert len(list(Path("saved").iterdir())) == 2


def test_a_run_that_is_trained_is_only_tested(rows, whole, monkeypatch):
    (run, expected), result, _ = whole
    last = len(run.trainer.history) - 1
    with pytest.raises(Killed):
        trained(monkeypatch, "DNN", {}, kill_after(last))
    monkeypatch.setattr(Trainer, "fit", None)
    (resumed, found), its_result = trained(monkeypatch, "DNN", {"resume": True})
    assert_same(found, expected)
    assert its_result == result
    assert told(resumed) == told(run)


@pytest.mark.parametrize(
    ("written", "nth"), [("checkpoint", 1), ("checkpoint", 2), ("progress", 1), ("run", 1)]
)
def test_a_kill_before_or_after_any_rename_mixes_nothing(rows, whole, monkeypatch, written, nth):
    """Each file is one rename; here the run is cut off right before and right after each."""
    (_, expected), result, _ = whole
    stock = Path.replace
    ending = {"checkpoint": ".pth", "progress": ".progress", "run": ".run"}[written]
    for after in (False, True):
        counted = []

        def replace(self, target, *, after=after, counted=counted):
            counts = str(target).endswith(ending)
            counted.extend([target] * counts)
            if after or not (counts and len(counted) == nth):
                stock(self, target)
            if counts and len(counted) == nth:
                raise Killed

        with monkeypatch.context() as patch:
            patch.setattr(Path, "replace", replace)
            with contextlib.suppress(Killed):
                trained(monkeypatch, "DNN", {"resume": "auto"})
        (_, found), its_result = trained(monkeypatch, "DNN", {"resume": "auto"})
        assert_same(found, expected)
        assert its_result == result


@pytest.fixture(scope="module")
def cut_off(tmp_path_factory):
    """The folder of a run that was cut off after its last epoch but one."""
    folder = tmp_path_factory.mktemp("cut_off")
    with place_of_its_own(folder) as patch, pytest.raises(Killed):
        trained(patch, "DNN", {}, kill_after(EPOCHS - 2))
    return folder


@pytest.fixture
def unfinished(cut_off, tmp_path):
    """A copy of the run that was cut off: its checkpoint and progress file."""
    shutil.copytree(cut_off, tmp_path, dirs_exist_ok=True)
    (checkpoint,) = Path("saved").glob("*.pth")
    (progress,) = Path("saved").glob("*.progress")
    return checkpoint, progress


def refused(values, model="DNN", dataset="some"):
    """The sentence with which a run is refused; nothing is written by it."""
    before = {path: path.read_bytes() for path in Path("saved").iterdir()}
    with pytest.raises(UsageError) as error:
        run_recbole(model, dataset, config_dict=settings(**values))
    assert "\n" not in str(error.value)
    assert {path: path.read_bytes() for path in Path("saved").iterdir()} == before
    return str(error.value)


def test_files_that_no_run_goes_on_from(unfinished):
    checkpoint, progress = unfinished
    whole, best = progress.read_bytes(), checkpoint.read_bytes()
    place = len(whole) // 2
    flipped = whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :]
    for content in (whole[:place], flipped, b"", b"other"):
        progress.write_bytes(content)
        assert "the file is damaged" in refused({"resume": "auto"}) or "plain values" in refused(
            {"resume": "auto"}
        )
    progress.write_bytes(whole)
    checkpoint.write_bytes(best[: len(best) // 2])
    assert "damaged" in refused({"resume": True})
    checkpoint.unlink()
    assert "there is no such file" in refused({"resume": True})
    progress.unlink()
    assert "the checkpoint of the unfinished run, is not there" in refused({"resume": True})
    (run_file,) = Path("saved").glob("*.run")
    for content in ("{", "", "[1]", '{"checkpoint": 5}'):
        run_file.write_text(content)
        assert "is damaged" in refused({"resume": True})
    run_file.unlink()
    assert "no unfinished run of DNN on some with this config" in refused({"resume": True})
    assert "there is no such file" in refused({"resume": "saved/none.pth"})


def test_runs_of_something_else_are_refused(unfinished, monkeypatch):
    _, progress = unfinished
    path = str(progress)
    assert "it is of model DNN, expected MIDPG" in refused({"resume": path}, model="MIDPG")
    sentence = refused({"resume": path, "learning_rate": 0.5})
    assert "it was trained with learning_rate: 0.1, here it is 0.5" in sentence
    with monkeypatch.context() as patch:
        patch.setattr(progress_module, "__version__", "9")
        assert "written by recbole-midpg 0.2.0, and this is 9" in refused({"resume": True})
    write_rows(np.random.default_rng(1), "other")
    assert "it is of dataset some, expected other" in refused({"resume": path}, dataset="other")
    file = Path("dataset/some/some.inter")
    lines = file.read_text().splitlines()
    file.write_text("\n".join([lines[0], *lines[2:], lines[1]]) + "\n")
    assert "saved/DNN" in refused({"resume": True})
    first = lines[1].split("\t")
    file.write_text("\n".join([lines[0], "\t".join([*first[:3], "99", first[4]]), *lines[2:]]))
    assert "the field 'hour' has other tokens" in refused({"resume": True})
    swapped = "\t".join([*first[:4], str(1 - int(first[4]))])
    file.write_text("\n".join([lines[0], swapped, *lines[2:]]) + "\n")
    sentence = refused({"resume": True})
    assert "the rows of some are not those" in sentence


@pytest.mark.parametrize("split", ["train_data", "valid_data", "test_data"])
def test_a_changed_row_of_any_split_is_refused(unfinished, split):
    """Validation decides which epoch is kept, and the test results are to be of one dataset."""
    run = Run.prepare(Config(model="DNN", dataset="some", config_dict=settings()))
    data = getattr(run, split)._dataset
    row = data.inter_feat[:1]
    tokens = [data.id2token(field, row[field].numpy())[0] for field in FIELDS]
    file = Path("dataset/some/some.inter")
    lines = [line.split("\t") for line in file.read_text().splitlines()]
    changed = next(line for line in lines if line[:-1] == tokens)
    changed[-1] = str(1 - int(changed[-1]))
    file.write_text("".join("\t".join(line) + "\n" for line in lines))
    assert "the rows of some are not those that the run began with" in refused({"resume": True})


def test_a_checkpoint_of_weights_alone_is_refused(rows, monkeypatch):
    run = Run.prepare(gaps_config("DNN", threshold={"rating": 3}, metrics=["LogLoss"],
                                  valid_metric="LogLoss"))  # fmt: skip
    run.train(saved=True, verbose=False)
    with pytest.raises(UsageError, match="it holds weights and not the state of a run"):
        run_recbole("DNN", "gaps", config_dict={
            **GAPS, "threshold": {"rating": 3}, "resume": run.trainer.saved_model_file,
        })  # fmt: skip


def test_resuming_from_a_named_checkpoint(unfinished, whole, monkeypatch):
    checkpoint, _ = unfinished
    (_, found), result = trained(monkeypatch, "DNN", {"resume": str(checkpoint)})
    (_, expected), expected_result, _ = whole
    assert_same(found, expected)
    assert result == expected_result


def test_a_changed_dataset_is_refused_when_a_checkpoint_is_loaded(unfinished):
    from recbole_midpg.integration.scoring.scoring import read_scoring_model

    checkpoint, _ = unfinished
    read_scoring_model(checkpoint)
    file = Path("dataset/some/some.inter")
    file.write_text(file.read_text().replace("\t17\t", "\t77\t"))
    with pytest.raises(UsageError, match="the field 'hour' has other tokens"):
        checkpoint_module.load_data_and_model(str(checkpoint))
    with pytest.raises(UsageError, match="the field 'hour' has other tokens"):
        read_scoring_model(checkpoint)


def test_starting_anew_is_told_and_nothing_is_lost_before_an_epoch(unfinished, monkeypatch, caplog):
    with caplog.at_level(logging.WARNING), pytest.raises(Killed):
        stock = Trainer._save_checkpoint

        def killed(*_args, **_kwargs):
            raise Killed

        with monkeypatch.context() as patch:
            patch.setattr(Trainer, "_save_checkpoint", killed)
            trained(monkeypatch, "DNN", {})
        assert stock is Trainer._save_checkpoint
    assert "An unfinished run of this config is in 'saved'" in caplog.text
    (resumed, _), _ = trained(monkeypatch, "DNN", {"resume": True})
    assert resumed.trainer.start_epoch == EPOCHS - 1


@pytest.mark.parametrize("value", ["yes", 3, "file.txt"])
def test_what_resume_may_not_be(rows, value):
    with pytest.raises(UsageError, match=r"resume: .* is not allowed, expected True, False, auto"):
        run_recbole("DNN", "some", config_dict=settings(resume=value))


def test_models_that_cannot_go_on():
    with pytest.raises(UsageError, match="resume: True does not go with RecBole's BPR"):
        run_recbole("BPR", "ml-100k", config_dict={"resume": True, "epochs": 1})


def test_trials_do_not_go_on(rows):
    from recbole_midpg.experiments.trials import TrialPlan, run_trial

    plan = TrialPlan("DNN", "DNN", 1, {"epochs": 2})
    common = {**settings(), "stopping_step": 10, "resume": "auto"}
    first, second = (run_trial(plan, "some", common) for _ in range(2))
    assert first.valid == second.valid and first.epochs == second.epochs == 2
    assert not Path("saved").exists()


# Interrupts and what the operating system refuses


def test_ctrl_c_tells_the_best_epoch(rows, monkeypatch, capsys):
    def interrupt(_, epoch):
        if epoch == 2:
            signal.raise_signal(signal.SIGINT)

    before = signal.getsignal(signal.SIGINT)
    stock = Progress.keep

    def keep(self, epoch):
        stock(self, epoch)
        interrupt(self, epoch)

    monkeypatch.setattr(Progress, "keep", keep)
    try:
        status = command()
        assert signal.getsignal(signal.SIGINT) is signal.SIG_DFL  # a second one ends at once
    finally:
        signal.signal(signal.SIGINT, before)
    assert status == 130
    told = capsys.readouterr().err.strip().splitlines()[-1]
    assert told.startswith("run_recbole: interrupted; the best epoch so far is ")
    assert "auc 0." in told and told.endswith("the same command with --resume goes on.")


@pytest.mark.parametrize(
    ("eval_step", "epoch", "sentence"),
    [
        (1, 0, "interrupted; no epoch was complete."),
        (3, 1, "interrupted; no epoch was evaluated; the same command with --resume goes on."),
    ],
)
def test_ctrl_c_promises_only_what_resume_keeps(
    rows, monkeypatch, capsys, eval_step, epoch, sentence
):
    stock = ScenarioTrainer._train_epoch

    def train_epoch(self, train_data, epoch_idx, *args, **kwargs):
        if epoch_idx == epoch:
            raise KeyboardInterrupt
        return stock(self, train_data, epoch_idx, *args, **kwargs)

    before = signal.getsignal(signal.SIGINT)
    with monkeypatch.context() as patch:
        patch.setattr(ScenarioTrainer, "_train_epoch", train_epoch)
        try:
            assert command(f"--eval_step={eval_step}") == 130
        finally:
            signal.signal(signal.SIGINT, before)
    assert capsys.readouterr().err.strip().splitlines()[-1] == f"run_recbole: {sentence}"
    assert command(f"--eval_step={eval_step}", "--resume") == (0 if "goes on" in sentence else 2)


def command(*arguments):
    """``run_recbole`` in this process: its exit status."""
    given = [f"--{key}={value}" for key, value in settings().items() if value is not None]
    return cli.run_recbole_command(
        ["--model=DNN", "--dataset=some", "--load_col=~", "--threshold=~", *given, *arguments]
    )


def test_the_command_line(unfinished, capsys, caplog):
    assert command("--resume") == 0
    closing = capsys.readouterr().out
    assert closing.startswith("scenario ")
    assert not list(Path("saved").glob("*.progress"))
    files = {path: path.read_bytes() for path in Path("saved").iterdir()}
    assert command("--resume") == 0
    (report,) = Path("saved").glob("*.json")
    where = f"report {report}, checkpoint {report.with_suffix('.pth')}"
    assert f"This run is finished: {where}." in caplog.text
    assert capsys.readouterr().out == closing
    assert {path: path.read_bytes() for path in Path("saved").iterdir()} == files
    assert command("--resume", "--weight_decay=0.5") == 2
    told = capsys.readouterr().err.strip().splitlines()[-1]
    assert told.startswith("run_recbole: error: resume: no unfinished run of DNN on some")


def test_resuming_a_finished_run_returns_its_results_again(rows, caplog):
    first = run_recbole("DNN", "some", config_dict=settings(epochs=2, state="INFO"))
    (report,) = Path("saved").glob("*.json")
    with caplog.at_level(logging.INFO):
        values = settings(epochs=2, state="INFO", resume=True)
        again = run_recbole("DNN", "some", config_dict=values)
    assert again == first
    assert [type(value) for value in again.values()] == [type(value) for value in first.values()]
    for name in ("best_valid_result", "test_result"):
        assert str(first[name]) in caplog.text
    assert "train loss" not in caplog.text
    assert list(Path("saved").glob("*.json")) == [report]


def test_another_run_that_is_finished_is_none_of_this_one(rows):
    run_recbole("DNN", "some", config_dict=settings(epochs=1))
    sentence = "no unfinished run of DNN on some with this config"
    assert sentence in refused({"resume": True, "epochs": 2})
    (report,) = Path("saved").glob("*.json")
    content = report.read_text()
    for damaged in ("{", "[]", json.dumps({**json.loads(content), "test": [0.9]})):
        report.write_text(damaged)
        assert sentence in refused({"resume": True, "epochs": 1})
    report.write_text(content)
    # The same config, and other rows.
    path = Path("dataset/some/some.inter")
    header, first, *others = path.read_text().splitlines()
    path.write_text("\n".join([header, *others, first]) + "\n")
    assert sentence in refused({"resume": True, "epochs": 1})


def test_a_run_that_is_finished_begins_anew_by_auto_with_a_line(rows, caplog):
    values = settings(epochs=1, resume="auto", state="INFO")
    with caplog.at_level(logging.INFO):
        run_recbole("DNN", "some", config_dict=values)
    (report,) = Path("saved").glob("*.json")
    assert "is finished" not in caplog.text
    with caplog.at_level(logging.INFO):
        run_recbole("DNN", "some", config_dict=values)
    assert f"A run of this config is finished ({report}), and this one starts anew" in caplog.text
    assert len(list(Path("saved").glob("*.json"))) == 2


def test_a_finished_run_whose_checkpoint_is_gone_has_its_results(rows, caplog):
    values = settings(epochs=1, eval_step=0)
    first = run_recbole("DNN", "some", config_dict=values)
    for path in Path("saved").glob("*.pth"):
        path.unlink()
    assert run_recbole("DNN", "some", config_dict={**values, "resume": True}) == first
    assert "its checkpoint is gone" in caplog.text


@pytest.mark.parametrize("name", ["saved", "log", "log_tensorboard"])
def test_a_file_in_a_folder_s_place(rows, name, monkeypatch, capsys):
    Path(name).write_text("in the way")
    monkeypatch.setattr(signal, "signal", lambda *_: None)
    assert command() == 2
    told = capsys.readouterr().err.strip().splitlines()[-1]
    assert told.startswith("run_recbole: error: ") and name in told
    assert Path(name).read_text() == "in the way"


@pytest.mark.parametrize("ending", [".pth.part", ".progress.part", ".run.part", ".json.part"])
def test_a_full_disk(unfinished, monkeypatch, capsys, ending):
    """What is written is whole before and after; the run goes on where there is space again."""
    stock = Path.open

    def open_on_full_disk(self, mode="r", *args, **kwargs):
        if "w" in mode and self.name.endswith(ending):
            raise OSError(28, "No space left on device", str(self))
        return stock(self, mode, *args, **kwargs)

    before = {path.name: path.read_bytes() for path in Path("saved").iterdir()}
    with monkeypatch.context() as patch:
        patch.setattr(Path, "open", open_on_full_disk)
        assert command() == 2
    told = capsys.readouterr().err.strip().splitlines()[-1]
    assert (
        told.startswith("run_recbole: error: output 'saved") and "No space left on device" in told
    )
    if ending in (".pth.part", ".run.part"):
        after = {path.name: path.read_bytes() for path in Path("saved").iterdir()}
        assert {name: after[name] for name in before if ".progress" not in name} == {
            name: content for name, content in before.items() if ".progress" not in name
        }
    assert not list(Path("saved").glob("*.part"))
    assert command("--resume=auto") == 0


def test_old_leftovers_are_removed(rows, monkeypatch):
    Path("saved").mkdir()
    for name, hours in ((".DNN-old.pth.part", 2), (".DNN-new.pth.part", 0), ("film.part", 2)):
        path = Path("saved") / name
        path.write_bytes(b"half")
        changed = path.stat().st_mtime - hours * 3600
        os.utime(path, (changed, changed))
    trained(monkeypatch, "DNN", {"epochs": 1})
    left = sorted(path.name for path in Path("saved").glob("*.part"))
    assert left == [".DNN-new.pth.part", "film.part"]


def test_the_run_file_names_the_checkpoint(unfinished):
    checkpoint, _ = unfinished
    (run_file,) = Path("saved").glob("DNN-some-*.run")
    assert json.loads(run_file.read_text()) == {"checkpoint": checkpoint.name}


def test_another_torch_or_number_of_threads_is_told(unfinished, monkeypatch, caplog):
    monkeypatch.setattr(progress_module, "computed_by", lambda: "torch 1.0 on 64 threads")
    trained(monkeypatch, "DNN", {"resume": True})
    assert "goes on with torch 1.0 on 64 threads" in caplog.text


def test_a_run_goes_on_with_another_number_of_threads(unfinished, monkeypatch, caplog):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    threads = torch.get_num_threads()
    try:
        trained(monkeypatch, "DNN", {"resume": True, "n_threads": threads + 1})
    finally:
        torch.set_num_threads(threads)
    assert f"goes on with torch {torch.__version__} on {threads + 1} threads" in caplog.text


# Faults of a GPU


@contextlib.contextmanager
def failing(method, epoch, error):
    """Let a method of DNN, that computes a batch's loss or scores, fail in an epoch."""
    begun = []
    stock_epoch, stock_method = ScenarioTrainer._train_epoch, getattr(DNN, method)

    def train_epoch(self, train_data, epoch_idx, *args, **kwargs):
        begun.append(epoch_idx)
        return stock_epoch(self, train_data, epoch_idx, *args, **kwargs)

    def compute(self, interaction):
        if begun and begun[-1] == epoch:
            raise error
        return stock_method(self, interaction)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ScenarioTrainer, "_train_epoch", train_epoch)
        patch.setattr(DNN, method, compute)
        yield


@pytest.mark.parametrize(
    ("method", "stage", "error", "words"),
    [
        (
            "calculate_loss",
            "training",
            torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."),
            "cpu has no memory for 2.00 GiB more, with the optimizer's moments ",
        ),
        (
            "predict",
            "evaluation",
            torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."),
            "what helps, by size: a lower embedding_size (4)",
        ),
        (
            "calculate_loss",
            "training",
            RuntimeError("CUDA error: unspecified launch failure\nCUDA kernel errors might be ..."),
            "cpu failed (CUDA error: unspecified launch failure): it is gone",
        ),
    ],
)
def test_a_run_goes_on_after_a_fault_of_the_gpu(rows, whole, capsys, method, stage, error, words):
    (run, _), _, best = whole
    epoch = len(run.trainer.history) - 1
    assert epoch > 2
    with failing(method, epoch, error):
        assert command() == 2
    sentence = capsys.readouterr().err.strip().splitlines()[-1]
    assert sentence.startswith(f"run_recbole: error: {stage}: ")
    assert words in sentence
    goes_on = "; the same command with --resume goes on (gpu_id and data_on_device may differ)."
    assert sentence.endswith(goes_on)
    assert command("--resume", "--data_on_device=True") == 0
    (report,) = Path("saved").glob("*.json")
    told_of = json.loads(report.read_text())
    assert [each["epoch"] for each in told_of["epochs"]] == list(range(epoch + 1))
    (checkpoint,) = Path("saved").glob("*.pth")
    again = load_checkpoint(checkpoint)
    for name, value in best["state_dict"].items():
        assert torch.equal(again["state_dict"][name], value), name


def test_a_fault_in_the_first_epoch_promises_nothing(rows, capsys):
    error = RuntimeError("CUDA error: all CUDA-capable devices are busy or unavailable")
    with failing("calculate_loss", 0, error):
        assert command() == 2
    assert "--resume" not in capsys.readouterr().err.strip().splitlines()[-1]


def test_a_bug_of_ours_is_no_fault_of_the_gpu(rows):
    error = RuntimeError("mat1 and mat2 shapes cannot be multiplied (3x4 and 5x6)")
    with failing("calculate_loss", 0, error), pytest.raises(RuntimeError) as found:
        command()
    assert found.value is error


@pytest.mark.parametrize("model", ["DNN", "DeepFM"])
def test_rows_on_the_device_make_the_same_run(rows, whole, monkeypatch, model):
    if model == "DNN":
        (run, expected), result, _ = whole
    else:
        (run, expected), result = trained(monkeypatch, model, {})
    placed = []
    stock = batches.DeviceRows.take

    def take(self, numbers):
        placed.append(self)
        return stock(self, numbers)

    monkeypatch.setattr(batches.DeviceRows, "take", take)
    (other, found), its_result = trained(monkeypatch, model, {"data_on_device": True})
    assert len({id(rows) for rows in placed}) == 3  # of each split
    assert_same(found, expected)
    assert told(other) == told(run)
    assert its_result == result
