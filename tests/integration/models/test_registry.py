import json

import pytest
import recbole.quick_start
import recbole.trainer
import recbole.utils
import torch
from recbole.config import configurator

import recbole_midpg
from recbole_midpg.common.errors import UsageError
from recbole_midpg.integration.models.model_names import recbole_models
from recbole_midpg.integration.models.registry import own_models
from recbole_midpg.models.midpg import MIDPG
from recbole_midpg.training.trainer import ScenarioTrainer
from tests.support.processes import run_python


def test_models_are_found_by_name_with_one_identity():
    assert {"DNN", "DPG", "MIDPG"} <= own_models().keys()
    for name, model_class in own_models().items():
        assert recbole.utils.get_model(name) is model_class
        assert configurator.get_model(name) is model_class
    assert MIDPG is own_models()["MIDPG"]


def test_our_models_get_our_trainer_and_others_their_own():
    get_trainer = recbole.utils.get_trainer
    assert get_trainer(MIDPG.type, "MIDPG") is ScenarioTrainer
    assert get_trainer(MIDPG.type, "DeepFM") is recbole.trainer.Trainer


def test_registering_twice_does_nothing():
    before = (recbole.quick_start.run_recbole, recbole.trainer.Trainer.evaluate,
              configurator.Config._set_default_parameters, recbole.utils.get_flops,
              recbole.quick_start.quick_start.run_recboles)  # fmt: skip
    recbole_midpg.enter_recbole()
    after = (recbole.quick_start.run_recbole, recbole.trainer.Trainer.evaluate,
             configurator.Config._set_default_parameters, recbole.utils.get_flops,
             recbole.quick_start.quick_start.run_recboles)  # fmt: skip
    assert before == after


def test_an_unknown_model_is_told_apart_from_those_of_recbole():
    assert {"Random", "XGBoost", "LightGBM", "xDeepFM", "KD_DAGFM"} <= set(recbole_models())
    with pytest.raises(UsageError, match="'Nothing' is not known"):
        recbole.utils.get_model("Nothing")
    with pytest.raises(UsageError, match="'lightgbm' is not known; did you mean 'LightGBM'"):
        recbole.utils.get_model("lightgbm")


def test_looking_up_a_model_leaves_anomaly_detection_off():
    with pytest.raises(UsageError):
        recbole.utils.get_model("Nothing")
    recbole.utils.get_model("SINE")
    assert not torch.is_anomaly_enabled()


@pytest.mark.slow
def test_from_python_importing_the_package_is_all(tmp_path):
    code = """
import json, sys, recbole_midpg
from recbole.quick_start import run, run_recbole, objective_function, load_data_and_model
settings = dict(epochs=1, show_progress=False, train_batch_size=8192)
a = run(model="MIDPG", dataset="ml-100k", config_dict=dict(settings))
slow = {"ray", "sklearn", "scipy.stats", "torch._dynamo", "recbole.model.general_recommender"}
assert not slow & set(sys.modules), "what a run does not use makes its start slow"
b = run_recbole(model="MIDPG", dataset="ml-100k", config_dict=dict(settings))
c = objective_function(dict(settings, model="MIDPG", dataset="ml-100k"), saved=False)
print(json.dumps([a["test_result"], b["test_result"], c["test_result"]]))
"""
    result = run_python(code, tmp_path)
    assert result.returncode == 0, result.stderr
    by_run, by_run_recbole, by_objective = json.loads(result.stdout.strip().splitlines()[-1])
    assert by_run == by_run_recbole == by_objective
    assert 0.4 < by_run["auc"] < 1


@pytest.mark.slow
def test_hyper_tuning_finds_the_better_of_two(tmp_path):
    (tmp_path / "space.hyper").write_text("learning_rate choice [1e-9,0.01]\n")
    (tmp_path / "fixed.yaml").write_text(
        "model: DPG\ndataset: ml-100k\nepochs: 1\ntrain_batch_size: 4096\n"
    )
    code = """
import recbole_midpg
from recbole.quick_start import objective_function
from recbole.trainer import HyperTuning
if __name__ == "__main__":
    tuning = HyperTuning(objective_function, algo="exhaustive", early_stop=10, max_evals=10,
                         params_file="space.hyper", fixed_config_file_list=["fixed.yaml"])
    tuning.run()
    print(tuning.best_params)
"""
    result = run_python(code, tmp_path)
    assert result.returncode == 0, result.stderr
    assert "0.01" in result.stdout.strip().splitlines()[-1]
