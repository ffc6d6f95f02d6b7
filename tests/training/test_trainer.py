import pytest
import torch
from recbole.utils import get_model

from recbole_midpg.common.errors import UsageError
from recbole_midpg.evaluation.run_report import find_best_epoch
from recbole_midpg.integration.run.run import Run
from recbole_midpg.models import midpg
from recbole_midpg.training.trainer import ScenarioTrainer
from tests.support.purchases import purchases_config
from tests.support.recbole_data import gaps_config, loaders_of


def trainer_of(model_name, **values):
    config = gaps_config(model_name, **values)
    train_data, valid_data, test_data = loaders_of(config)
    torch.manual_seed(0)
    trainer = ScenarioTrainer(config, get_model(model_name)(config, train_data.dataset))
    return trainer, train_data, valid_data, test_data


def whole_split(loader):
    return loader.dataset.inter_feat


@pytest.mark.parametrize("batch_size", [3, 8, 100])
def test_the_epoch_loss_is_the_mean_of_a_sample(batch_size):
    """At learning rate 0 the weights stay, so the mean can be worked out at once."""
    trainer, train_data, _, _ = trainer_of("DNN", learning_rate=0, train_batch_size=batch_size)
    reported = trainer._train_epoch(train_data, 0)
    batch = train_data.dataset.join(whole_split(train_data))
    assert reported == pytest.approx(trainer.model.calculate_loss(batch).item(), rel=1e-6)


def test_the_terms_are_named_in_the_log(caplog):
    trainer, train_data, _, _ = trainer_of("MIDPG")
    losses = trainer._train_epoch(train_data, 0)
    assert len(losses) == 2
    line = trainer._generate_train_loss_output(0, 0.0, 1.0, losses)
    assert "train loss per sample" in line
    assert f"alpha*bce: {losses[0]:.4f}, beta*mir: {losses[1]:.4f}" in line
    assert f"{sum(losses):.4f}" in line


def test_training_is_the_same_twice():
    results = []
    for _ in range(2):
        trainer, train_data, valid_data, _ = trainer_of("MIDPG", epochs=3)
        trainer.fit(train_data, valid_data, verbose=False, saved=False)
        results.append({k: v.clone() for k, v in trainer.model.state_dict().items()})
    for name, value in results[0].items():
        assert torch.equal(value, results[1][name]), name


def test_a_loss_that_is_not_finite_ends_the_run_with_its_name():
    trainer, train_data, _, _ = trainer_of("MIDPG")
    with torch.no_grad():
        trainer.model.backbone.output.bias.fill_(float("nan"))
    with pytest.raises(UsageError, match=r"epoch 4 is not finite \(alpha\*bce = nan"):
        trainer._train_epoch(train_data, 4)


def test_clipping_bounds_the_step():
    trainer, train_data, _, _ = trainer_of(
        "DNN", learner="sgd", learning_rate=1.0, clip_grad_norm={"max_norm": 1e-3}
    )
    before = torch.cat([p.detach().flatten().clone() for p in trainer.model.parameters()])
    trainer._train_epoch(train_data, 0)
    after = torch.cat([p.detach().flatten() for p in trainer.model.parameters()])
    assert 0 < (after - before).norm() <= 1e-3 * len(train_data) * (1 + 1e-4)


def test_what_a_model_remarks_is_logged_after_training(caplog):
    trainer, train_data, valid_data, _ = trainer_of("STAR")
    trainer.fit(train_data, valid_data, verbose=False, saved=False)
    # Ten rows: no job has the eight rows in a batch that a mean and variance are made of.
    assert "STAR: 2 of 2 scenarios had no training batch with 8 rows" in caplog.text
    caplog.clear()
    trainer, train_data, valid_data, _ = trainer_of("DNN")
    trainer.fit(train_data, valid_data, verbose=False, saved=False)
    assert not caplog.records


CONFIGS = {
    "": lambda folder: gaps_config("MIDPG"),
    "CVR: ": lambda folder: purchases_config("ESMM_MIDPG", folder, epochs=1),
}


@pytest.mark.parametrize("start", CONFIGS)
def test_what_it_remarks_of_its_loss_is_logged_too(start, caplog, tmp_path, monkeypatch):
    monkeypatch.setattr(midpg, "_IDLE_LOSS", 100.0)
    Run.prepare(CONFIGS[start](tmp_path)).train(saved=False, verbose=False)
    assert f"{start}MIDPG: the mutual information loss ended at " in caplog.text


LONG_SCHEDULE = {"epochs": 2, "pruning_epochs": 8}
CONFIGS_OF_LENGTH = {
    "": lambda folder: gaps_config("AdaSparse", **LONG_SCHEDULE),
    "CVR: ": lambda folder: purchases_config("ESMM_AdaSparse", folder, **LONG_SCHEDULE),
}


@pytest.mark.parametrize("start", CONFIGS_OF_LENGTH)
def test_what_it_remarks_of_how_long_it_trained_is_logged_too(start, caplog, tmp_path):
    run = Run.prepare(CONFIGS_OF_LENGTH[start](tmp_path))
    run.train(saved=False, verbose=False)
    best = find_best_epoch(run.trainer.history, run.best_valid)
    assert (
        f"{start}AdaSparse: the best weights are those after {best.epoch + 1} of the 8"
        in caplog.text
    )


def test_without_validation_all_epochs_count(caplog):
    trainer, train_data, _, _ = trainer_of("AdaSparse", **LONG_SCHEDULE)
    trainer.fit(train_data, None, verbose=False, saved=False)
    assert "AdaSparse: the best weights are those after 2 of the 8 passes" in caplog.text


def test_the_length_of_a_training_is_told_in_passes(caplog):
    trainer, train_data, _, _ = trainer_of(
        "AdaSparse", **LONG_SCHEDULE, epochs_per_pass=2, train_batch_size=2
    )
    trainer.fit(train_data, None, verbose=False, saved=False)
    assert "AdaSparse: the best weights are those after 1 of the 8 passes" in caplog.text


def test_mixed_precision_trains():
    trainer, train_data, valid_data, _ = trainer_of("MIDPG", enable_amp=True)
    trainer.fit(train_data, valid_data, verbose=False, saved=False)
    assert all(torch.isfinite(p).all() for p in trainer.model.parameters())
