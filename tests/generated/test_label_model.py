import numpy as np
import pytest

from recbole_midpg.generated.label_model import (
    Factor,
    LabelDrawer,
    LabelModel,
    Spreads,
    scenario_coefficients,
    sigmoid,
    solve_intercept,
)

ANGLES = (0, 30, 90, 180)


def model(spreads=None, size=40, closeness=0.8, seed=0, **options):
    return LabelModel(
        np.random.default_rng(seed),
        scenario_field="scenario",
        angles=ANGLES,
        closeness=closeness,
        shared=(Factor("item", size), Factor("hour", 24, 0.5, smoothness=3)),
        context=(Factor("hour", 24, **options),),
        item=(Factor("item", size),),
        spreads=spreads or Spreads(0.3, 0.4, 0.2, 0.6),
    )


def rows(n=20_000, size=40, seed=1):
    random = np.random.default_rng(seed)
    return {
        "scenario": random.integers(0, len(ANGLES), n),
        "item": random.integers(0, size, n),
        "hour": random.integers(0, 24, n),
    }


def test_coefficients_are_the_root_of_the_kernel():
    coefficients = scenario_coefficients(ANGLES, 0.8)
    kernel = coefficients @ coefficients.T
    for s, first in enumerate(ANGLES):
        for t, second in enumerate(ANGLES):
            expected = 0.8 * np.cos(np.deg2rad(first - second)) + 0.2 * (s == t)
            assert kernel[s, t] == pytest.approx(expected)
    np.testing.assert_allclose(np.diag(kernel), 1)
    assert np.linalg.eigvalsh(kernel).min() > 0.19


def test_base_rate_and_spreads():
    columns = rows()
    spreads = Spreads(0.3, 0.4, 0.2, 0.6)
    for part in ("scenario", "shared", "shared_pair", "interaction"):
        alone = Spreads(**{**dict.fromkeys(vars(spreads), 0.0), part: getattr(spreads, part)})
        single = model(alone)
        single.fit(columns, 0.1)
        chances = single.probability(columns)
        assert chances.mean() == pytest.approx(0.1, abs=1e-8)
        logits = np.log(chances / (1 - chances))
        assert logits.std() == pytest.approx(getattr(spreads, part), rel=1e-6), part


def test_probability_is_the_formula():
    columns = rows(300)
    planted = model()
    planted.fit(columns, 0.3)
    chances = planted.probability(columns)

    def table(tables, field, value):
        return dict(tables)[field][value]

    parts = []
    for s, item, hour in zip(*(columns[n] for n in ("scenario", "item", "hour")), strict=True):
        interaction = sum(
            planted.coefficients[s, r]
            * table(planted._context, "hour", hour)[r]
            * table(planted._item, "item", item)[r]
            for r in range(len(ANGLES) + 2)
        )
        pair = table(planted._shared_context, "hour", hour)[0]
        pair *= table(planted._shared_item, "item", item)[0]
        shared = table(planted._shared, "item", item)[0] + table(planted._shared, "hour", hour)[0]
        parts.append([table(planted._main, "scenario", s)[0], shared, pair, interaction])
    parts = np.array(parts)
    logits = planted.intercept + (parts / parts.std(0)) @ [0.3, 0.4, 0.2, 0.6]
    np.testing.assert_allclose(chances, 1 / (1 + np.exp(-logits)), rtol=1e-9)


def test_interactions_are_as_alike_as_planted():
    """Over many context and item values, two scenarios' interactions correlate as the kernel."""
    spreads = Spreads(0.0, 0.0, 0.0, 1.0)
    correlations = []
    for seed in range(30):
        planted = model(spreads, size=200, seed=seed)
        columns = rows(4_000, size=200)
        planted.fit(columns, 0.5)
        logits = []
        for s in range(len(ANGLES)):
            chances = planted.probability({**columns, "scenario": np.full(4_000, s)})
            logits.append(np.log(chances / (1 - chances)) - planted.intercept)
        correlations.append(np.corrcoef(logits))
    np.testing.assert_allclose(np.mean(correlations, axis=0), planted.similarity, atol=0.06)


def test_smooth_values_resemble_their_neighbours():
    planted = model(Spreads(0, 0, 0, 1.0), smoothness=3)
    table = dict(planted._context)["hour"]
    ring = np.roll(table, 1, axis=0)
    assert np.corrcoef(table.ravel(), ring.ravel())[0, 1] > 0.9
    rough = dict(model()._context)["hour"]
    assert abs(np.corrcoef(rough.ravel(), np.roll(rough, 1, axis=0).ravel())[0, 1]) < 0.3


def test_missing_values_add_nothing():
    table = dict(model(missing=5)._context)["hour"]
    assert not table[5].any()
    assert table[4].all()


def test_intercept():
    logits = np.random.default_rng(0).normal(0, 2, 1_000)
    for base_rate in (0.001, 0.0189, 0.5, 0.97):
        intercept = solve_intercept(logits, base_rate)
        assert sigmoid(logits + intercept).mean() == pytest.approx(base_rate, rel=1e-8)


def test_as_many_positives_as_expected():
    random = np.random.default_rng(0)
    drawer = LabelDrawer(random)
    chances = [random.random(size) for size in (1_000, 0, 1, 700)]
    total = sum(chance.sum() for chance in chances)
    positives = sum(int(drawer.draw(chance).sum()) for chance in chances)
    assert np.floor(total) <= positives <= np.ceil(total)


def test_labels_have_their_probabilities():
    random = np.random.default_rng(0)
    chances = np.array([0.02, 0.3, 0.5, 0.9, 0.11])
    drawn = sum(LabelDrawer(random).draw(chances).astype(int) for _ in range(20_000))
    np.testing.assert_allclose(drawn / 20_000, chances, atol=0.012)
