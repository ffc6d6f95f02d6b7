"""Models that are written outside of the package, in every command."""

import json
import sys
from pathlib import Path

import pytest
import recbole.trainer
import torch
from recbole.model.abstract_recommender import ContextRecommender
from recbole.quick_start import run
from recbole.utils import get_model, get_trainer

import recbole_midpg
from recbole_midpg.cli import main, run_recbole_command
from recbole_midpg.common.errors import UsageError
from recbole_midpg.integration.config.config import build_config
from recbole_midpg.integration.models import outside_models
from recbole_midpg.models.base import ScenarioRecommender
from recbole_midpg.models.dnn import DNN
from recbole_midpg.training.trainer import ScenarioTrainer
from tests.support.processes import run_command, run_module
from tests.support.recbole_data import DATA, GAPS

# A linear model of the embeddings: a class, a key of its own, nothing else.
FILE = '''
from typing import ClassVar

import torch
from torch import nn
from recbole.model.abstract_recommender import ContextRecommender
from recbole_midpg.models.base import ScenarioRecommender
from recbole_midpg.common.rules import Number


class Scaled(ScenarioRecommender):
    needs_scenario: ClassVar[bool] = False
    rules: ClassVar[dict] = {**ScenarioRecommender.rules, "scale": Number(minimum=0.0)}

    def __init__(self, config, dataset):
        super().__init__(config, dataset)
        self.scale = config["scale"]
        self.output = nn.Linear(self.input_size, 1)
        self.initialize()

    def forward(self, interaction):
        inputs, _ = self.embed(interaction)
        return self.scale * self.output(inputs).squeeze(-1)


class Plain(ContextRecommender):
    """RecBole's kind, with its linear part alone."""

    def __init__(self, config, dataset):
        super().__init__(config, dataset)
        self.loss = nn.BCEWithLogitsLoss()

    def forward(self, interaction):
        return self.first_order_linear(interaction).squeeze(-1)

    def calculate_loss(self, interaction):
        return self.loss(self.forward(interaction), interaction[self.LABEL])

    def predict(self, interaction):
        return torch.sigmoid(self.forward(interaction))


class DeepFM(ContextRecommender):
    """Has the name of another."""


def helper():
    return None
'''
KEYS = [f"--{key}={json.dumps(value)}" for key, value in GAPS.items() if value is not None]
KEYS += ["--load_col=~"]


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A package in the folder of the command, forgotten after the test."""
    folder = tmp_path / "my_package"
    folder.mkdir()
    (folder / "__init__.py").touch()
    (folder / "my_file.py").write_text(FILE)
    (folder / "Scaled.yaml").write_text("scale: 2.0  # (float) Factor of the logit.\n")
    (folder / "Scaled.hyper").write_text("scale choice [1.0, 3.0]\n")
    monkeypatch.setattr(outside_models, "_models", {})
    monkeypatch.setattr(sys, "path", sys.path[:])
    yield folder
    for name in [name for name in sys.modules if name.partition(".")[0] == "my_package"]:
        del sys.modules[name]
    for name in ("Scaled", "Mine"):
        if hasattr(recbole.trainer, f"{name}Trainer"):
            delattr(recbole.trainer, f"{name}Trainer")


def trained(model, *words):
    assert run_recbole_command([f"--model={model}", "--dataset=gaps", *KEYS, *words]) == 0
    name = model.rpartition(":")[2]
    return json.loads(next(Path("saved").glob(f"{name}-*.json")).read_text())


def test_a_model_in_the_folder_of_the_command_is_trained_with_its_yaml(package):
    report = trained("my_package.my_file:Scaled")
    assert report["model"] == "Scaled"
    assert report["config"]["scale"] == 2.0
    assert report["config"]["embedding_size"] == 10, "the default of every network"
    assert get_trainer(ScenarioRecommender.type, "Scaled") is ScenarioTrainer


def test_a_model_of_recboles_kind_is_trained_too(package):
    (package / "Plain.yaml").write_text("embedding_size: 3\n")
    report = trained("my_package.my_file:Plain")
    assert (report["model"], report["config"]["embedding_size"]) == ("Plain", 3)
    assert get_trainer(ContextRecommender.type, "Plain") is recbole.trainer.Trainer


def test_without_an_embedding_size_it_is_asked_for(package, capsys):
    words = ["--model=my_package.my_file:Plain", "--dataset=gaps", *KEYS]
    assert run_recbole_command(words) == 2
    assert "embedding_size: Plain has no default of it" in capsys.readouterr().err


def test_its_keys_are_checked_like_any_models(package, capsys):
    words = ["--model=my_package.my_file:Scaled", "--dataset=gaps", *KEYS]
    assert run_recbole_command([*words, "--scale=-1"]) == 2
    assert "scale: -1 is not allowed, expected a number at least 0" in capsys.readouterr().err
    assert run_recbole_command([*words, "--scal=1"]) == 2
    assert "scal: unknown config key (value 1); did you mean 'scale'?" in capsys.readouterr().err


@pytest.mark.slow
def test_another_process_predicts_once_it_is_told_the_model(package, tmp_path):
    trained("my_package.my_file:Scaled")
    checkpoint = next(Path("saved").glob("Scaled-*.pth"))
    rows = DATA / "gaps" / "gaps.inter"
    words = ["predict", f"--checkpoint={checkpoint}", f"--input={rows}", "--output=s.csv"]
    unknown = run_command(*words, cwd=tmp_path)
    assert unknown.returncode == 2
    assert "model: 'Scaled' is not known" in unknown.stderr
    assert "package.module:Class" in unknown.stderr
    told = run_command(*words, "--model", "my_package.my_file:Scaled", cwd=tmp_path)
    assert told.returncode == 0, told.stderr
    scores, lines = ((tmp_path / "s.csv").read_text(), rows.read_text())
    assert len(scores.splitlines()) == len(lines.splitlines())


@pytest.mark.slow
def test_several_processes_know_it(package, tmp_path):
    words = ["--model=my_package.my_file:Scaled", "--dataset=gaps", *KEYS, "--nproc=2"]
    result = run_module(*words, "--use_gpu=False", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert list((tmp_path / "saved").glob("Scaled-*.json"))


@pytest.mark.slow
def test_it_is_benchmarked_and_tuned_by_the_name_of_its_class(package, capsys):
    place = "my_package.my_file:Scaled"
    words = ["--dataset=gaps", *KEYS]
    assert main(["benchmark", "--models", "DNN", place, "--trials=1", *words]) == 0
    assert "Scaled" in capsys.readouterr().out
    assert (Path("benchmark/gaps")).is_dir()
    pytest.importorskip("hyperopt")
    assert main(["tune", f"--model={place}", "--trials=2", *words]) == 0
    assert Path("tuning/Scaled-gaps.yaml").is_file()


def test_python_takes_a_class(package):
    @recbole_midpg.register
    class Mine(DNN):
        pass

    assert get_model("Mine") is Mine
    settings = {**GAPS, "show_progress": False}
    result = run(model="Mine", dataset="gaps", config_dict=settings)
    assert set(result["test_result"]) >= {"auc", "logloss"}
    other = build_config(Mine, "gaps", values=settings)  # RecBole's own way, without a name
    assert (other["model"], other.model_class) == ("Mine", Mine)


def test_defaults_may_stand_elsewhere(package, tmp_path):
    (tmp_path / "mine.yaml").write_text("embedding_size: 3\n")

    class Mine(DNN):
        pass

    recbole_midpg.register(Mine, tmp_path / "mine.yaml")
    assert build_config("Mine", "gaps", values=GAPS)["embedding_size"] == 3
    with pytest.raises(UsageError, match="properties: there is no file"):
        recbole_midpg.register(Mine, "none.yaml")


@pytest.mark.parametrize(
    ("place", "sentence"),
    [
        ("my_package.none:Scaled", "cannot be imported (ModuleNotFoundError"),
        ("my_package.my_file:Scald", "no model 'Scald'"),
        ("my_package.my_file:helper", "no model 'helper'"),
        ("my_package.my_file:ContextRecommender", "no model 'ContextRecommender'"),
        ("my_package.my_file:DeepFM", "'DeepFM' of my_package.my_file has the name of another"),
        (":Scaled", "cannot be imported (ValueError"),
        ("my_package.broken:Scaled", "cannot be imported (SyntaxError"),
    ],
)
def test_what_is_no_model_is_one_sentence(place, sentence, package, capsys):
    (package / "broken.py").write_text("def")
    assert run_recbole_command([f"--model={place}", "--dataset=gaps", *KEYS]) == 2
    error = capsys.readouterr().err
    assert sentence in error
    assert "Traceback" not in error


def test_two_models_of_one_name_are_told_apart(package):
    class Mine(DNN):
        pass

    recbole_midpg.register(Mine)
    recbole_midpg.register(Mine)
    other = type("Mine", (DNN,), {"__module__": "elsewhere"})
    with pytest.raises(UsageError, match="'Mine' of elsewhere has the name of a model of tests"):
        recbole_midpg.register(other)
    with pytest.raises(UsageError, match="int is not allowed, expected a class"):
        recbole_midpg.register(int)
    with pytest.raises(UsageError, match="expected a class"):
        recbole_midpg.register("Mine")


def test_the_folder_of_the_command_takes_no_installed_modules_place(package, tmp_path):
    (tmp_path / "torch").mkdir()
    (tmp_path / "torch" / "__init__.py").write_text("raise SystemExit('taken')")
    assert get_model("my_package.my_file:Plain").__mro__[1] is ContextRecommender
    assert sys.path[-1] == str(tmp_path)
    assert torch.ones(1).item() == 1.0


def test_keys_declared_as_in_earlier_versions_are_not_passed_over():
    class Old(DNN):
        settings = {}  # noqa: RUF012 - as it stood there

    with pytest.raises(UsageError, match="Old declares its config keys as 'settings'"):
        recbole_midpg.register(Old)
