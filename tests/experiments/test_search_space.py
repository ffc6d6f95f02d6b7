import math

import pytest
from recbole.model.abstract_recommender import ContextRecommender

from recbole_midpg.common.errors import UsageError
from recbole_midpg.experiments.search_space import (
    Dimension,
    count_settings,
    default_space,
    read_space,
)
from recbole_midpg.integration.models import outside_models


def test_every_kind_of_line(tmp_path):
    path = tmp_path / "a.hyper"
    path.write_text(
        "# a comment\n\nn choice [4, 8]\nweighting choice ['r','c']\n"
        "mlp_hidden_size choice [[128,64],[64]]\nbeta uniform 0,1\n"
        "learning_rate loguniform -8,-4\nk quniform 1,8,1\n"
    )
    assert read_space(path) == [
        Dimension("n", "choice", (4, 8)),
        Dimension("weighting", "choice", ("r", "c")),
        Dimension("mlp_hidden_size", "choice", ([128, 64], [64])),
        Dimension("beta", "uniform", (0.0, 1.0)),
        Dimension("learning_rate", "loguniform", (-8.0, -4.0)),
        Dimension("k", "quniform", (1.0, 8.0, 1.0)),
    ]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("n choice", "line 1: expected three words"),
        ("\nn choise [1]", "line 2: 'choise' .* did you mean 'choice'"),
        ("n choice 8", "'8' is not allowed"),
        ("n choice []", "not allowed"),
        ("n choice __import__('os').mkdir('ran')", "not allowed"),
        ("b uniform 1,0", "expected finite numbers low,high"),
        ("b uniform a,b", "expected finite numbers low,high"),
        ("b quniform 0,1", "expected finite numbers low,high,step"),
        ("b quniform 8,16,0", "line 1: '8,16,0' is not allowed, .* with a step above 0"),
        ("b quniform 8,16,-2", "'8,16,-2' is not allowed, .* with a step above 0"),
        ("b quniform 8,16,nan", "'8,16,nan' is not allowed, expected finite numbers"),
        ("b uniform -1,nan", "'-1,nan' is not allowed, expected finite numbers low,high"),
        ("b uniform nan,1", "'nan,1' is not allowed, expected finite numbers low,high"),
        ("b uniform -inf,1", "'-inf,1' is not allowed, expected finite numbers low,high"),
        ("b loguniform -8,inf", "'-8,inf' is not allowed, expected finite numbers low,high"),
        ("b loguniform -8,800", "'-8,800' is not allowed, .* logarithms of numbers, of at most 70"),
        ("\nseed choice [1,2,3]", "line 2: seed cannot be searched, as it decides how a trial is"),
        ("valid_metric choice [AUC,LogLoss]", "line 1: valid_metric cannot be searched"),
        ("metric_decimal_place choice [4,6]", "metric_decimal_place cannot be searched"),
        ("user_inter_num_interval choice ['[5,inf)']", "user_inter_num_interval cannot be"),
        ("", "one or more keys"),
        ("n choice [1]\nn choice [2]", "each once"),
    ],
)
def test_a_wrong_line_is_named(tmp_path, text, words):
    path = tmp_path / "a.hyper"
    path.write_text(text)
    with pytest.raises(UsageError, match=words):
        read_space(path)
    assert not (tmp_path / "ran").exists()


def test_missing_files():
    told = (
        r"search space 'none\.hyper': it cannot be read \(No such file or directory\), expected a f"
    )
    with pytest.raises(UsageError, match=told):
        read_space("none.hyper")
    with pytest.raises(UsageError, match=r"model: 'DNNN' is not known; did you mean 'DNN'\?"):
        default_space("DNNN")


COMMON = [
    "learning_rate",
    "dropout_prob",
    "embedding_dropout",
    "dense_weight_decay",
    "embedding_l2",
    "embedding_prior",
    "embedding_init",
]


def keys(model):
    return [dimension.key for dimension in default_space(model)]


def test_every_model_searches_the_common_keys_and_few_of_its_own():
    assert keys("DNN") == COMMON
    assert keys("MIDPG") == [*COMMON, "gate_scale", "k", "beta"]
    assert keys("ESMM_MIDPG") == keys("MIDPG")


def test_recboles_models_search_the_common_keys_that_they_read():
    assert keys("DeepFM") == [key for key in COMMON if key != "embedding_dropout"]
    assert keys("FM") == [key for key in COMMON if "dropout" not in key]


@pytest.mark.parametrize("model", ["BPR", "DIN"])
def test_a_model_that_is_not_context_aware_has_no_packaged_space(model):
    with pytest.raises(UsageError, match=f"--space: there is no packaged space for {model}"):
        default_space(model)


def test_a_model_s_own_file_wins_over_common_keys(tmp_path, monkeypatch):
    monkeypatch.setattr(outside_models, "_models", {})
    (tmp_path / "Mine.yaml").write_text("embedding_size: 4\n")

    class Mine(ContextRecommender):
        pass

    outside_models.register(Mine, tmp_path / "Mine.yaml")
    assert keys("Mine") == [key for key in COMMON if "dropout" not in key]
    (tmp_path / "Mine.hyper").write_text("learning_rate choice [0.5]\nembedding_size choice [2]\n")
    own = default_space("Mine")
    assert own[0] == Dimension("learning_rate", "choice", (0.5,))
    assert [line.key for line in own[1:]] == [
        *(key for key in COMMON[1:] if "dropout" not in key),
        "embedding_size",
    ]


def test_settings_are_counted_with_the_defaults():
    space = [Dimension("n", "choice", (2, 4, 8)), Dimension("weighting", "choice", ("r", "c"))]
    assert count_settings(space, {"n": 4, "weighting": "c", "k": 9}) == 6
    assert count_settings(space, {"n": 16, "weighting": "c"}) == 7
    drawn = [*space, Dimension("learning_rate", "loguniform", (-9.0, -1.0))]
    assert count_settings(drawn, {"n": 4, "weighting": "c", "learning_rate": 0.1}) == math.inf


def test_draws_of_a_whole_step_are_whole_numbers():
    whole = Dimension("embedding_size", "quniform", (8.0, 16.0, 8.0))
    assert repr(whole.value_of(16.0)) == "16"
    assert Dimension("beta", "quniform", (0.0, 1.0, 0.25)).value_of(0.5) == 0.5
    assert repr(Dimension("beta", "uniform", (0.0, 8.0)).value_of(1.0)) == "1.0"
    assert Dimension("n", "choice", ("a", 1.0)).value_of("a") == "a"
