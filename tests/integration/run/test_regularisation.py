"""What regularises a training: the keys' values, and which models have them."""

import pytest

from recbole_midpg.common.errors import UsageError
from recbole_midpg.integration.run.run import Run
from tests.support.purchases import purchases_config
from tests.support.recbole_data import GAPS, gaps_config

RANKED = {"eval_args": {**GAPS["eval_args"], "mode": "full"}}


@pytest.mark.parametrize(
    ("model", "values", "problem"),
    [
        ("DNN", {"embedding_dropout": 1.0}, "embedding_dropout: 1.0 is not allowed, expected"),
        ("DNN", {"embedding_dropout": -0.1}, "embedding_dropout: -0.1 is not allowed"),
        ("DNN", {"dense_weight_decay": -0.1}, "dense_weight_decay: -0.1 is not allowed"),
        ("BPR", RANKED | {"dense_weight_decay": 1}, "BPR is not context-aware, expected 0"),
        ("DeepFM", {"embedding_dropout": 0.1}, "embedding_dropout: DeepFM embeds by itself"),
        ("BPR", RANKED | {"embedding_dropout": 0.1}, "BPR is not context-aware, expected 0"),
    ],
)
def test_what_would_do_nothing_is_refused(model, values, problem):
    with pytest.raises(UsageError, match=problem):
        gaps_config(model, **values)


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
