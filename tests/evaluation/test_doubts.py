import math

import numpy as np
import pytest

from recbole_midpg.evaluation.binary_metrics import auc
from recbole_midpg.evaluation.doubts import chance_doubt, doubts

LABELS = np.array([1.0, 0.0, 0.0, 0.0])  # a mean of 1/4, whose entropy is 0.5623


def found(probabilities, labels=LABELS):
    return list(doubts(np.asarray(labels, float), np.asarray(probabilities, float)))


def test_sound_predictions_raise_none():
    assert found([0.6, 0.2, 0.1, 0.1]) == []


def test_one_prediction_everywhere():
    assert found([0.25] * 4) == ["the model predicts 0.25 in all 4 rows"]
    assert found([0.3], [1.0]) == []


def test_a_loss_far_above_that_of_the_mean_label():
    """Right on average and wrong in each row."""
    wrong = [0.01, 0.33, 0.33, 0.33]
    loss = -(math.log(0.01) + 3 * math.log(0.67)) / 4
    (told,) = found(wrong)
    assert told == (
        f"LogLoss is {loss:.4f}, and predicting the mean label 0.25 in all rows gives 0.5623"
    )


@pytest.mark.parametrize(("scale", "said"), [(0.5, True), (0.7, False), (1.4, False), (1.6, True)])
def test_a_mean_prediction_far_from_the_mean_label(scale, said):
    probabilities = scale * np.array([0.55, 0.15, 0.15, 0.15])
    told = [line for line in found(probabilities) if "PCOC" in line]
    assert told == ([f"the mean prediction is {scale:.3g} times the mean label (PCOC)"] * said)


@pytest.mark.parametrize("label", [0.0, 1.0])
def test_of_rows_of_one_class_nothing_is_said_but_that_all_are_predicted_alike(label):
    assert found([0.9, 0.1], [label] * 2) == []
    assert len(found([0.5, 0.5], [label] * 2)) == 1


def test_an_auc_that_random_scores_reach():
    # 1/2 + 3 sqrt(100 / (12 * 3 * 96)) is above 1; with 22,000 and 6,000 rows 1/2 + 3 * 0.0042046.
    assert "drawn at random reach 1.0000 in" in chance_doubt(1.0, 3, 96)
    assert chance_doubt(0.507, 22_000, 6_000) == (
        "AUC is 0.5070, and scores drawn at random reach 0.5126 in so many rows (22,000 positive, "
        "6,000 negative)"
    )
    assert chance_doubt(0.513, 22_000, 6_000) is None
    nothing = [chance_doubt(math.nan, *rows) for rows in ((4, 0), (0, 4), (2, 2))]
    assert nothing == [None] * 3


def test_few_random_scores_are_above_what_chance_is_said_to_reach():
    draw = np.random.default_rng(5)
    labels = draw.random((2000, 60)) < 0.3
    scores = draw.random((2000, 60))
    found = [
        chance_doubt(auc(y.astype(float), s), int(y.sum()), int((~y).sum()))
        for y, s in zip(labels, scores, strict=True)
    ]
    # One normal draw in 741 is more than three deviations above its mean.
    assert 1980 <= sum(doubt is not None for doubt in found) < 2000
