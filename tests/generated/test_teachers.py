"""Random networks that draw labels."""

import numpy as np
import pytest

from recbole_midpg.generated.teachers import KINDS, TILE, WIDTHS, Network, Teacher, draw_teacher

N_INPUTS, N_SCENARIOS = 12, 5


def teacher_of(kind, seed=0):
    return draw_teacher(kind, np.random.default_rng(seed), N_INPUTS, N_SCENARIOS)


def rows_of(count=40):
    random = np.random.default_rng(1)
    return random.standard_normal((count, N_INPUTS)), random.integers(0, N_SCENARIOS, count)


def weights_of(teacher, layer):
    return np.array([network.weights[layer] for (network,) in teacher.networks])


def test_a_network_by_hand():
    network = Network(
        [np.array([[1.0, -1.0], [2.0, 0.5]]), np.array([[3.0], [1.0]])],
        [np.array([0.5, 0.0]), np.array([-1.0])],
    )
    # (1, 2): 5.5 and 0, so 16.5 - 1; (-1, 1): 1.5 and 1.5, so 6 - 1.
    assert network(np.array([[1.0, 2.0], [-1.0, 1.0]])).tolist() == [15.5, 5.0]


def test_a_row_is_computed_by_its_own_scenario_s_networks():
    inputs, scenarios = rows_of()
    for kind in KINDS:
        teacher = teacher_of(kind)
        expected = []
        for row, scenario in zip(inputs, scenarios, strict=True):
            parts = zip(teacher.shares[scenario], teacher.networks[scenario], strict=True)
            expected.append(sum(share * network(row[None])[0] for share, network in parts))
        np.testing.assert_allclose(teacher.logits(inputs, scenarios), expected, atol=1e-12)


@pytest.mark.parametrize("kind", KINDS)
def test_scenarios_differ_and_the_same_seed_draws_the_same(kind):
    inputs, scenarios = rows_of()
    logits = teacher_of(kind).logits(inputs, scenarios)
    others = teacher_of(kind).logits(inputs, (scenarios + 1) % N_SCENARIOS)
    assert (logits != others).mean() > 0.9
    assert np.array_equal(logits, teacher_of(kind).logits(inputs, scenarios))
    assert not np.array_equal(logits, teacher_of(kind, seed=1).logits(inputs, scenarios))


def test_scenarios_of_a_dnn_differ_in_the_first_bias_alone():
    teacher = teacher_of("dnn")
    for layer in range(len(WIDTHS) + 1):
        weights = weights_of(teacher, layer)
        assert (weights == weights[0]).all()
    biases = np.array([network.biases[0] for (network,) in teacher.networks])
    assert biases.std(axis=0).min() > 0


def test_gates_of_a_scenario_scale_whole_neurons():
    for layer in range(len(WIDTHS)):
        weights = weights_of(teacher_of("gate"), layer)
        ratios = weights[1:] / weights[0]
        np.testing.assert_allclose(ratios, np.broadcast_to(ratios[:, :1], ratios.shape))
        assert len(np.unique(ratios.round(9))) == (N_SCENARIOS - 1) * WIDTHS[layer]
    last = weights_of(teacher_of("gate"), len(WIDTHS))
    assert (last == last[0]).all()


def test_matrices_of_dpg_repeat_in_tiles():
    for layer in range(len(WIDTHS)):
        weights = weights_of(teacher_of("dpg"), layer)
        ratios = weights[1] / weights[0]
        rows, columns = (np.arange(size) % TILE for size in ratios.shape)
        np.testing.assert_allclose(ratios, ratios[:TILE, :TILE][np.ix_(rows, columns)])
        assert len(np.unique(ratios.round(9))) > TILE
    last = weights_of(teacher_of("dpg"), len(WIDTHS))
    assert (last == last[0]).all()


def test_factors_of_star_are_around_one_in_every_layer():
    for layer in range(len(WIDTHS) + 1):
        weights = weights_of(teacher_of("star"), layer)
        assert not (weights[0] == weights[1]).any()
        # The mean over scenarios is near the shared weight: they correlate.
        assert np.corrcoef(weights[0].ravel(), weights[1].ravel())[0, 1] > 0.5


def test_experts_of_a_mixture_are_shared_and_their_weights_are_a_scenario_s_own():
    teacher = teacher_of("mixture")
    assert all(networks is teacher.networks[0] for networks in teacher.networks)
    shares = np.array(teacher.shares)
    np.testing.assert_allclose(shares.sum(axis=1), 1.0)
    assert len(np.unique(shares[:, 0])) == N_SCENARIOS


def test_a_teacher_of_one_network_is_that_network():
    inputs, _ = rows_of()
    network = Network([np.ones((N_INPUTS, 1))], [np.zeros(1)])
    teacher = Teacher([[network]], [[2.0]])
    np.testing.assert_allclose(teacher.of_scenario(inputs, 0), 2 * inputs.sum(axis=1))
