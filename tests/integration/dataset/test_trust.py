import logging
from pathlib import Path

import numpy as np
import pytest
import torch
from recbole.data import create_dataset, data_preparation
from recbole.quick_start import run_recbole

from recbole_midpg.common.errors import UsageError
from recbole_midpg.integration.dataset.trust import LEAKING_AUC, _area, _coded, _is_condition
from recbole_midpg.integration.run.run import Run
from tests.support.recbole_data import gaps_config

ROWS = 4000


def columns(**others):
    """Rows of users that appear once, a field without meaning, and labels by chance."""
    random = np.random.default_rng(3)
    return {
        "user_id:token": np.arange(ROWS),
        "item_id:token": random.integers(0, 50, ROWS),
        "place:token": random.integers(0, 3, ROWS),
        "label:float": random.integers(0, 2, ROWS),
        **others,
    }


def prepared(values, **settings):
    """A run's data after its checks."""
    folder = Path("dataset/some")
    folder.mkdir(parents=True, exist_ok=True)
    lines = [
        "\t".join(values),
        *("\t".join(map(str, row)) for row in zip(*values.values(), strict=True)),
    ]
    (folder / "some.inter").write_text("\n".join(lines) + "\n")
    given = {
        "load_col": None,
        "threshold": None,
        "LABEL_FIELD": "label",
        "scenario_fields": ["place"],
        "data_path": "dataset",
        "embedding_size": 2,
        "mlp_hidden_size": [2],
        **settings,
    }
    config = some_config(given)
    return Run.prepare(config)


def some_config(given):
    from recbole.config import Config

    return Config(model=given.pop("model", "DNN"), dataset="some", config_dict=given)


def warnings_of(caplog, values, **settings):
    with caplog.at_level(logging.WARNING):
        prepared(values, **settings)
    return [record.getMessage() for record in caplog.records if "AUC" in record.getMessage()
            or "scenario_fields" in record.getMessage()]  # fmt: skip


def test_sound_data_has_no_warnings(caplog):
    assert warnings_of(caplog, columns()) == []


@pytest.mark.parametrize("model", ["DNN", "DeepFM"])
def test_labels_beside_zero_and_one(model):
    values = columns()
    values["label:float"] = values["label:float"] * 4
    with pytest.raises(
        UsageError, match=r"label 'label': 1,\d\d\d of the 3,200 rows of the train.*4"
    ):
        prepared(values, model=model)


UNIFORM = {"distribution": "uniform", "sample_num": 1}
JUDGED = {"split": {"RS": [0.8, 0.1, 0.1]}, "order": "RO", "group_by": None}


@pytest.mark.parametrize("model", ["DNN", "DeepFM"])
def test_sampling_does_not_teach_negative_rows_as_positive(model):
    with pytest.raises(UsageError) as error:
        prepared(columns(), model=model, train_neg_sample_args=UNIFORM)
    told = str(error.value)
    assert told.startswith("train_neg_sample_args: {")
    assert "takes all 3,200 rows of the training split for positive, and 'label' is 0 in" in told


def test_sampling_does_not_judge_negative_rows_as_positive():
    told = r"eval_args: mode: .*uni50.* rows of the validation split"
    with pytest.raises(UsageError, match=told):
        prepared(columns(), eval_args={**JUDGED, "mode": "uni50"})


def test_sampling_for_positive_rows_is_recboles():
    run = prepared(
        columns(**{"label:float": np.ones(ROWS, dtype=int)}), train_neg_sample_args=UNIFORM
    )
    labels = torch.cat([batch["label"] for batch in run.train_data])
    assert labels.mean() == 0.5


@pytest.mark.parametrize("values", [["yes", "no"], [0, 1]])
def test_a_label_that_is_a_token_is_refused_in_the_file_s_words(values):
    others = columns()
    others.pop("label:float")
    labels = np.random.default_rng(1).choice(values, ROWS)
    with pytest.raises(UsageError) as error:
        prepared({**others, "label:token": labels})
    assert str(error.value) == (
        "LABEL_FIELD: 'label' is of type token in some.inter, expected label:float in its first "
        "line, and 0 or 1 in its rows."
    )


def test_recboles_own_steps_are_checked_too():
    """Config, create_dataset, data_preparation, as RecBole documents them."""
    others = columns(**{"label:float": np.random.default_rng(1).integers(1, 6, ROWS)})
    with pytest.raises(UsageError, match="neither 0 nor 1"):
        prepared(others)
    config = some_config(
        {
            "load_col": None,
            "threshold": None,
            "LABEL_FIELD": "label",
            "scenario_fields": ["place"],
            "data_path": "dataset",
        }
    )
    with pytest.raises(UsageError, match="neither 0 nor 1"):
        data_preparation(config, create_dataset(config))


@pytest.mark.parametrize(
    ("settings", "advice"),
    [
        ({}, "a lower learning_rate or fewer epochs may help."),
        (
            {"numerical_features": ["price"]},
            "a lower learning_rate or fewer epochs may help.",
        ),
        (
            {"numerical_features": ["price"], "numerical_scaling": "none"},
            "numerical_features as large as in the file do that (numerical_scaling: standard).",
        ),
        (
            {
                "numerical_features": ["price"],
                "numerical_scaling": "none",
                "normalize_all": True,
            },
            "a lower learning_rate or fewer epochs may help.",
        ),
    ],
)
def test_predictions_that_cannot_be_right_are_a_warning(caplog, settings, advice):
    run = prepared(columns(**{"price:float": np.arange(ROWS)}), **settings)
    with torch.no_grad():
        run.model.backbone.layers[-1].weight.zero_()
        run.model.backbone.layers[-1].bias.fill_(3.0)
    run.test(saved=False)
    said = [message for message in caplog.messages if message.startswith("Test split: ")]
    assert len(said) == 3  # one prediction, its loss, its mean
    assert "the model predicts 0.9526 in all 400 rows" in said[0]
    assert all(advice in message for message in said)


@pytest.mark.parametrize("model", ["DNN", "DeepFM"])
def test_a_label_that_is_no_field(model):
    with pytest.raises(UsageError, match=r"LABEL_FIELD: 'lable' is not a field.*'label'\?"):
        prepared(columns(), model=model, LABEL_FIELD="lable")


def test_a_constant_label():
    values = columns(**{"label:float": np.ones(ROWS, dtype=int)})
    with pytest.raises(UsageError, match="it is 1 in all 3,200 rows of the training split"):
        prepared(values)


def test_a_constant_label_of_a_judged_split_is_a_warning(caplog):
    values = columns(**{"label:float": np.arange(ROWS) % 2})
    values["label:float"][-400:] = 0
    values["time:float"] = np.arange(ROWS)
    (told,) = warnings_of(
        caplog,
        values,
        TIME_FIELD="time",
        eval_args={
            "split": {"RS": [0.8, 0.1, 0.1]},
            "order": "TO",
            "group_by": None,
            "mode": "labeled",
        },
    )
    assert (
        told
        == "label 'label': it is 0 in all 400 rows of the test split, where AUC is not defined."
    )


def test_a_scenario_field_of_one_value(caplog):
    values = columns(**{"place:token": np.full(ROWS, 7)})
    (told,) = warnings_of(caplog, values)
    assert "'place' has one value in the training split" in told


@pytest.mark.parametrize("kind", ["token", "number", "copied number", "bent number"])
def test_a_field_that_leaks_is_named(caplog, kind):
    values = columns()
    label = values["label:float"]
    random = np.random.default_rng(4)
    settings = {}
    if kind == "token":
        values["clicked:token"] = 2 * label + random.integers(0, 2, ROWS)
    else:
        settings = {"numerical_features": ["clicked"]}
        noise = {"number": 0.4, "copied number": 0, "bent number": 0.2}[kind]
        number = label + noise * random.random(ROWS)
        values["clicked:float"] = np.abs(number - 0.6) if kind == "bent number" else number
    if kind == "bent number":  # low and high values are positive, those between are not
        values["clicked:float"] = random.choice([-1, 1], ROWS) * label + random.random(ROWS) * 0.1
    told = warnings_of(caplog, values, **settings)
    assert len(told) == 1 and "The field 'clicked' alone predicts the label" in told[0]


def test_another_outcome_of_the_same_event_is_named(caplog):
    """A purchase needs a click; clicks alone do not tell it, and their AUC is below a leak's."""
    random = np.random.default_rng(4)
    clicked = (random.random(ROWS) < 0.3).astype(int)
    bought = clicked * (random.random(ROWS) < 0.4)
    values = columns(**{"clicked:token": clicked, "label:float": bought})
    (told,) = (m for m in [*warnings_of(caplog, values), *caplog.messages] if "outcome" in m)
    assert told.startswith("The field 'clicked' has two values, and with one of them no row is")


@pytest.mark.parametrize(
    ("codes", "labels", "is_one"),
    [
        ([0] * 50 + [1] * 50, [0] * 50 + [1] * 50, True),
        ([0] * 50 + [1] * 50, [0] * 49 + [1] * 51, False),  # one positive row with 0
        ([0] * 10 + [1] * 90, [0] * 10 + [1] * 90, False),  # ten positive rows would be expected
        ([0] * 50 + [1] * 25 + [2] * 25, [0] * 50 + [1] * 50, False),
    ],
)
def test_a_condition_has_two_values_and_one_of_them_no_positive_row(codes, labels, is_one):
    assert _is_condition(np.array(codes), np.array(labels, float)) == is_one


def test_numbers_that_no_model_reads_are_listed(caplog):
    values = columns(**{"price:float": np.arange(ROWS), "timestamp:float": np.arange(ROWS)})
    with caplog.at_level(logging.INFO):
        prepared(values)
    assert (
        "Numbers that are loaded and no feature: price (numerical_features: [price]" in caplog.text
    )
    caplog.clear()
    with caplog.at_level(logging.INFO):
        prepared(values, numerical_features=["price"])
    assert "no feature" not in caplog.text


def test_a_strong_field_is_no_leak():
    random = np.random.default_rng(5)
    labels = random.integers(0, 2, ROWS).astype(float)
    field = np.where(random.random(ROWS) < 0.95, labels, 1 - labels).astype(int)
    assert 0.9 < _area(field, labels, ROWS // 2) < LEAKING_AUC


def test_the_area_is_of_the_other_rows():
    codes = np.array([0, 0, 1, 1, 0, 1, 2, 1])
    labels = np.array([0.0, 0, 1, 1, 0, 1, 1, 0])
    # Learned: 0 is 0, 1 is 1; unseen 2 is 0.5. Positives score 1 and 0.5, negatives 0 and 1.
    assert _area(codes, labels, 4) == pytest.approx((1 + 0.5 + 1 + 0) / 4)
    assert _area(codes, np.zeros(8), 4) == -1


def test_numbers_go_by_quantiles():
    numbers = np.random.default_rng(0).random(50_000)
    codes = _coded(numbers)
    assert len(np.unique(codes)) <= 101
    assert (np.diff(codes[np.argsort(numbers)]) >= 0).all()


def test_infinite_loss_of_a_built_in_model(monkeypatch):
    import torch
    from recbole.model.context_aware_recommender.deepfm import DeepFM

    monkeypatch.setattr(DeepFM, "calculate_loss", lambda *_: torch.tensor(float("inf")))
    run = Run.prepare(gaps_config("DeepFM", threshold={"rating": 3}))
    with pytest.raises(UsageError, match=r"the loss is not finite \(inf\)"):
        run.train(saved=False, verbose=False)


def test_workers_change_nothing():
    results = [
        run_recbole(
            "DNN",
            "ml-100k",
            config_dict={
                "worker": worker,
                "epochs": 1,
                "train_batch_size": 8192,
                "show_progress": False,
            },
            saved=False,
        )
        for worker in (0, 2)
    ]
    assert results[0] == results[1]


@pytest.mark.parametrize("value", ["inf", "-inf", "1e39"])
def test_numbers_that_are_not_finite_are_told_by_field(value):
    prices = np.random.default_rng(2).random(ROWS).astype(object)
    prices[5] = value
    values = {**columns(), "price:float": prices}
    with pytest.raises(UsageError, match=r"numerical_features: 1 of the .* of 'price' is not"):
        prepared(values, numerical_features=["price"])
    prepared(values)  # a field that no model reads may hold what it likes
