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
