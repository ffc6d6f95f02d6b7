"""What regularises a training: the keys' values, and which models have them."""

import logging
import shutil
from collections import Counter

import numpy as np
import pytest
import torch
from recbole.config import Config
from recbole.trainer import Trainer
from torch import nn

from recbole_midpg.common.errors import UsageError
from recbole_midpg.integration.models.registry import own_models
from recbole_midpg.integration.run.run import Run
from recbole_midpg.training.trainer import ScenarioTrainer
from tests.integration.run.test_progress import (
    Killed,
    assert_same,
    kill_after,
    settings,
    told,
    trained,
    write_rows,
)
from tests.support.purchases import purchases_config
from tests.support.recbole_data import GAPS, gaps_config

RANKED = {"eval_args": {**GAPS["eval_args"], "mode": "full"}}


@pytest.mark.parametrize(
    ("model", "values", "problem"),
    [
        ("DNN", {"embedding_dropout": 1.0}, "embedding_dropout: 1.0 is not allowed, expected"),
        ("DNN", {"embedding_dropout": -0.1}, "embedding_dropout: -0.1 is not allowed"),
        ("DNN", {"embedding_l2": -1}, "embedding_l2: -1 is not allowed"),
        ("DNN", {"embedding_l2": "much"}, "embedding_l2: 'much' is not allowed"),
        ("BPR", RANKED | {"embedding_l2": 1}, "BPR is not context-aware, expected 0"),
        ("DNN", {"embedding_prior": -1}, "embedding_prior: -1 is not allowed"),
        ("DNN", {"embedding_prior": {"user_id": -1}}, "a mapping as {user_id: 30, item_id: 8}"),
        ("BPR", RANKED | {"embedding_prior": 1}, "BPR is not context-aware, expected 0"),
        (
            "DNN",
            {"embedding_prior": 1, "train_neg_sample_args": {"sample_num": 1}},
            "embedding_prior: RecBole makes the training batches of DNN here, .*, expected 0",
        ),
        ("DNN", {"dense_weight_decay": -0.1}, "dense_weight_decay: -0.1 is not allowed"),
        ("BPR", RANKED | {"dense_weight_decay": 1}, "BPR is not context-aware, expected 0"),
        ("DeepFM", {"embedding_dropout": 0.1}, "embedding_dropout: DeepFM embeds by itself"),
        ("BPR", RANKED | {"embedding_dropout": 0.1}, "BPR is not context-aware, expected 0"),
    ],
)
def test_what_would_do_nothing_is_refused(model, values, problem):
    with pytest.raises(UsageError, match=problem):
        gaps_config(model, **values)


def test_a_dataset_s_default_is_left_out_where_it_would_do_nothing(tmp_path, caplog):
    """The prior of ml-100k's config, in a training with sampled rows, and of a decision tree."""
    assert Config("DeepFM", "ml-100k")["embedding_prior"] > 0
    sampling = {
        "threshold": None,
        "LABEL_FIELD": "click",
        "train_neg_sample_args": {"distribution": "uniform", "sample_num": 1},
        "eval_args": {"split": {"RS": [8, 1, 1]}, "mode": "uni20", "group_by": "user"},
        "metrics": ["Recall"],
        "valid_metric": "Recall@10",
        "topk": [10],
    }
    with caplog.at_level(logging.INFO):
        sampled = Config("DeepFM", "ml-100k", config_dict=sampling)
        assert sampled["embedding_prior"] == 0.0
        assert "of the dataset's config is left out, as RecBole makes the training" in caplog.text
        assert Config("LightGBM", "ml-100k")["embedding_prior"] == 0.0
        assert "left out, as LightGBM grows trees" in caplog.text
        for key in ("embedding_l2", "dense_weight_decay", "embedding_dropout"):
            with pytest.raises(UsageError, match=f"{key}: LightGBM grows trees, expected 0"):
                Config("LightGBM", "ml-100k", config_dict={key: 0.1})
    with pytest.raises(UsageError, match="embedding_prior: RecBole makes the training batches"):
        Config("DeepFM", "ml-100k", config_dict={**sampling, "embedding_prior": 5})


@pytest.mark.parametrize("model", ["MIDPG", "ESMM_DNN"])
def test_models_of_a_run_drop_embeddings(model, tmp_path):
    values = {"embedding_dropout": 0.5}
    is_of_clicks = model.startswith("ESMM_")
    config = (
        purchases_config(model, tmp_path, **values)
        if is_of_clicks
        else gaps_config(model, **values)
    )
    run = Run.prepare(config)
    batch = next(iter(run.train_data)).to(run.model.device)
    tower = run.model.click if is_of_clicks else run.model
    run.model.train()
    dropped = tower.embed(batch)[0]
    run.model.eval()
    assert (dropped == 0).sum() > 2 * (tower.embed(batch)[0] == 0).sum()


@pytest.mark.parametrize("model", ["MIDPG", "DeepFM"])
@pytest.mark.parametrize("values", [{"sparse_updates": "on"}, {"learner": "sgd"}])
def test_what_is_no_embedding_decays_in_a_run(model, values):
    """At a rate and decay whose product is 1, a step leaves only what the step itself adds."""
    values = {**values, "learning_rate": 1e-3, "dense_weight_decay": 1e3, "train_batch_size": 2}
    run = Run.prepare(gaps_config(model, **values))
    before = {name: value.clone() for name, value in run.model.state_dict().items()}
    run.train(saved=False, verbose=False)
    after = run.model.state_dict()
    layers = [name for name in before if "mlp" in name or "layers" in name]
    layers = [name for name in layers if name.endswith("weight") and before[name].ndim == 2]
    assert layers
    for name in layers:
        assert after[name].norm() < 0.1 * before[name].norm(), name
    (table,) = [name for name in before if name.endswith("token_embedding_table.embedding.weight")][
        -1:
    ]
    assert after[table].norm() > 0.9 * before[table].norm()


def squared_lengths(model, batch, first_order):
    """Of all that a batch's rows look up, row by row and value by value."""
    tables = [model, *([model.first_order_linear] if first_order else [])]
    total = 0.0
    for owner in tables:
        for row in range(len(batch)):
            for field, offset in zip(
                model.token_field_names, model.token_field_offsets, strict=True
            ):
                token = int(batch[field][row]) + int(offset)
                total += squared(owner.token_embedding_table.embedding.weight[token])
            for field, offset in zip(
                model.float_field_names, model.float_field_offsets, strict=True
            ):
                index = int(batch[field][row].view(-1)[1]) + int(offset)
                total += squared(owner.float_embedding_table.embedding.weight[index])
            for table, field in enumerate(model.token_seq_field_names):
                for token in batch[field][row].tolist():
                    if token:
                        total += squared(owner.token_seq_embedding_table[table].weight[token])
            for table, field in enumerate(model.float_seq_field_names):
                for index in batch[field][row][:, 1].tolist():
                    if index:
                        total += squared(owner.float_seq_embedding_table[table].weight[int(index)])
    return total


def squared(row):
    return sum(value**2 for value in row.double().tolist())


@pytest.mark.parametrize("switch", ["off", "on"])
@pytest.mark.parametrize("model", ["DNN", "DeepFM"])
def test_the_term_of_the_loss_is_that_of_a_loop_over_rows(model, switch):
    run = Run.prepare(gaps_config(model, dropout_prob=0.0, embedding_l2=0.3, sparse_updates=switch))
    batch = next(iter(run.train_data))
    assert len(batch) > 1 and any(
        (batch[name] == 0).any() for name in run.model.token_seq_field_names
    )
    names, terms = run.trainer.loss_names, run.trainer._terms(batch)
    assert (names[-1], len(names)) == ("embedding_l2", 2)
    expected = 0.3 * squared_lengths(run.model, batch, first_order=model == "DeepFM") / len(batch)
    assert terms[-1].item() == pytest.approx(expected, rel=1e-5)
    run.trainer._penalties = {}
    assert run.trainer._terms(batch).item() == pytest.approx(terms[0].item(), rel=1e-6)


def rows_that_are_read(model, batch):
    """The table and row of each lookup of a batch, but those of padding."""
    found, handles = [], []

    def keep(name):
        def hook(_, inputs, __):
            ids = inputs[0].reshape(-1).tolist()
            found.extend((name, row) for row in ids if row or "_seq_embedding" not in name)

        return hook

    for name, table in model.named_modules():
        if isinstance(table, nn.Embedding):
            handles.append(table.register_forward_hook(keep(name)))
    with torch.no_grad():
        model.calculate_loss(batch)
    for handle in handles:
        handle.remove()
    return found


@pytest.mark.parametrize("switch", ["off", "on"])
@pytest.mark.parametrize("model", ["DNN", "MIDPG", "DeepFM", "ESMM_DNN"])
def test_the_prior_draws_each_row_once_in_a_pass(model, switch, tmp_path):
    """Over the batches of a pass, the terms sum to the squared length of every row once."""
    is_of_clicks = model.startswith("ESMM_")
    values = {"embedding_prior": 0.3, "sparse_updates": switch, "train_batch_size": 2}
    run = Run.prepare(
        purchases_config(model, tmp_path, **values)
        if is_of_clicks
        else gaps_config(model, **values)
    )
    trainer, tables = run.trainer, dict(run.model.named_modules())
    trainer._set_prior(run.train_data)
    batches = [batch.to(run.model.device) for batch in run.train_data]
    assert len(batches) > 1
    read = {row for batch in batches for row in rows_that_are_read(run.model, batch)}
    terms = sum(trainer._terms(batch)[-1].item() * len(batch) for batch in batches)
    expected = 0.3 * sum(squared(tables[name].weight[row]) for name, row in read)
    assert trainer.loss_names[-1] == "embedding_prior"
    assert terms == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("model", ["DNN", "MIDPG", "DeepFM"])
def test_the_prior_of_each_field_draws_its_rows(model):
    """Those of token 0, which pads sequences alone, too; others are not drawn."""
    by_field = {"user_id": 0.5, "price": 2.0, "genres": 3.0, "sizes": 4.0}
    run = Run.prepare(gaps_config(model, embedding_prior=by_field, train_batch_size=2))
    run.trainer._set_prior(run.train_data)
    batches = [batch.to(run.model.device) for batch in run.train_data]
    read = {row for batch in batches for row in rows_that_are_read(run.model, batch)}
    tables = dict(run.model.named_modules())
    expected = 0.0
    for name, row in read:
        if name.endswith("token_embedding_table.embedding"):
            # RecBole's order of fields, each with the rows of its tokens.
            names, sizes = run.model.token_field_names, run.model.token_field_dims
            field = names[int((row >= np.cumsum(sizes)).sum())]
        elif name.endswith("float_embedding_table.embedding"):
            names, sizes = run.model.float_field_names, run.model.float_field_dims
            field = names[int((row >= np.cumsum(sizes)).sum())]
        else:
            kind, _, place = name.rpartition("_embedding_table.")
            fields = getattr(run.model, f"{kind.rpartition('.')[2]}_field_names")
            field = fields[int(place)]
        expected += by_field.get(field, 0.0) * squared(tables[name].weight[row])
    found = sum(run.trainer._terms(batch)[-1].item() * len(batch) for batch in batches)
    assert {"user_id", "price"} <= {*run.model.token_field_names, *run.model.float_field_names}
    assert "genres" in run.model.token_seq_field_names
    assert found == pytest.approx(expected, rel=1e-5)


def test_a_prior_of_what_is_no_field_is_refused():
    run = Run.prepare(gaps_config("DNN", embedding_prior={"user": 1.0}))
    with pytest.raises(UsageError, match=r"'user' is not a field that DNN embeds.*'user_id'"):
        run.train(saved=False)
    run = Run.prepare(gaps_config("FFM", embedding_prior={"user_id": 1.0}))
    told = r"embedding_prior: the rows of FFM's ffm.* are not those of single fields, expected one"
    with pytest.raises(UsageError, match=told):
        run.train(saved=False)


@pytest.mark.parametrize("model", sorted(own_models()))
def test_a_prediction_reads_the_rows_that_a_loss_reads(model):
    """So that counting by predictions counts what training looks up."""
    run = Run.prepare(gaps_config(model))
    batch = next(iter(run.train_data)).to(run.model.device)
    in_loss = Counter(rows_that_are_read(run.model, batch))
    run.model.eval()
    run.model.calculate_loss = run.model.predict
    assert Counter(rows_that_are_read(run.model, batch)) == in_loss


TERMS = {
    "DNN": ["bce", "embedding_l2", "embedding_prior"],
    "MIDPG": ["alpha*bce", "beta*mir", "embedding_l2", "embedding_prior"],
    "ESMM_DNN": ["CTR bce", "CTCVR bce", "embedding_l2", "embedding_prior"],
    "DeepFM": ["loss", "embedding_l2", "embedding_prior"],
}


@pytest.mark.parametrize("model", TERMS)
def test_the_terms_are_named_in_the_history(model, tmp_path):
    is_of_clicks = model.startswith("ESMM_")
    values = {"embedding_l2": 0.1, "embedding_prior": 0.1, "epochs": 1}
    run = Run.prepare(
        purchases_config(model, tmp_path, **values)
        if is_of_clicks
        else gaps_config(model, **values)
    )
    run.train(saved=False, verbose=False)
    assert list(run.trainer.history[-1].loss) == TERMS[model]
    assert all(value > 0 for value in run.trainer.history[-1].loss.values())


@pytest.mark.parametrize("key", ["embedding_l2", "embedding_prior"])
def test_embeddings_end_shorter(key):
    lengths = []
    for factor in (0.0, 10.0):
        run = Run.prepare(gaps_config("DNN", **{key: factor}, epochs=200, learning_rate=0.01))
        run.train(saved=False, verbose=False)
        lengths.append(run.model.token_embedding_table.embedding.weight.detach().norm().item())
    assert lengths[1] < 0.8 * lengths[0]


def test_a_trainer_that_does_not_have_the_term_is_refused():
    run = Run.prepare(gaps_config("DeepFM"))
    assert type(run.trainer) is Trainer
    for key in ("embedding_l2", "embedding_prior"):
        config = gaps_config("DeepFM", **{key: 0.1})
        assert type(Run.prepare(config).trainer) is ScenarioTrainer
        with pytest.raises(UsageError, match=f"{key}: Trainer, the trainer of DeepFM, does not"):
            Trainer(config, run.model)
    of_dataset = Config("DeepFM", "ml-100k")
    Trainer(of_dataset, run.model)
    assert of_dataset["embedding_prior"] == 0.0


def some_config(**values):
    return Config("DPG", "some", config_dict=settings(learning_rate=2**-8, **values))


ALL = {
    "embedding_l2": 0.01,
    "embedding_prior": 0.5,
    "dense_weight_decay": 0.1,
    "embedding_dropout": 0.2,
}


def test_by_the_row_training_goes_as_with_whole_tables(tmp_path):
    write_rows(np.random.default_rng(1))
    ends = []
    for switch in ("off", "on"):
        before = torch.get_default_dtype()
        torch.set_default_dtype(torch.float64)
        try:
            run = Run.prepare(some_config(sparse_updates=switch, **ALL))
        finally:
            torch.set_default_dtype(before)
        run.train(saved=False, verbose=False)
        ends.append(run.model.state_dict())
    torch.testing.assert_close(*ends, rtol=0, atol=1e-9)


def test_a_run_that_was_cut_off_ends_as_the_uninterrupted_one(monkeypatch, tmp_path):
    write_rows(np.random.default_rng(1))
    values = {"epochs": 4, "sparse_updates": "on", **ALL}
    (run, expected), _ = trained(monkeypatch, "DPG", values)
    shutil.rmtree("saved")
    with pytest.raises(Killed):
        trained(monkeypatch, "DPG", values, kill_after(1))
    (resumed, found), _ = trained(monkeypatch, "DPG", {**values, "resume": True})
    assert resumed.trainer.start_epoch == 2
    assert_same(found, expected)
    assert told(resumed) == told(run)
    assert {"embedding_l2", "embedding_prior"} <= resumed.trainer.history[-1].loss.keys()
