"""AdaptDHM's routing: its formulas, where centres go, and what leaves them alone."""

import pytest
import torch

from recbole_midpg.layers.across_processes import SharedBatch, shared
from recbole_midpg.layers.cluster_routing import SIMILARITIES, ClusterRouting
from tests.reference.adaptdhm import clusters_of, moved_centres
from tests.support.forked import in_group


def new_routing(*args, seed=0, **options):
    torch.manual_seed(seed)
    return ClusterRouting(*args, **options).double()


def random_rows(rows, size=5, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(rows, size, generator=generator, dtype=torch.float64)


def buffers_of(routing):
    return {name: value.clone() for name, value in routing.named_buffers()}


def assert_left_alone(routing, before):
    for name, value in routing.named_buffers():
        assert torch.equal(value, before[name]), name


@pytest.mark.parametrize("similarity", SIMILARITIES)
@pytest.mark.parametrize(
    "options",
    [{}, {"steps": 1}, {"steps": 5, "momentum": 0.0}, {"momentum": 0.3, "temperature": 0.1}],
    ids=str,
)
def test_reference(similarity, options):
    routing = new_routing(3, 5, similarity=similarity, **options)
    rows_seen = torch.zeros(3, dtype=torch.long)
    for seed in range(3):
        rows = random_rows(20, seed=seed)
        centres = moved_centres(routing, rows)
        clusters = routing(rows)
        torch.testing.assert_close(routing.centres, centres, rtol=0, atol=1e-12)
        assert clusters.tolist() == clusters_of(centres, rows)
        rows_seen += clusters.bincount(minlength=3)
        assert torch.equal(routing.rows_seen, rows_seen)
    others = random_rows(20, seed=9)
    assert routing.eval()(others).tolist() == clusters_of(routing.centres, others)


def test_by_hand():
    routing = new_routing(2, 2, steps=1, momentum=0.0)
    routing.centres.copy_(torch.tensor([[1.0, 0.0], [0.0, 1.0]]))
    # Similarities ln 3 and 0, so that 3/4 of the row is the first cluster's; both point along it.
    length = torch.tensor(3.0, dtype=torch.float64).log()
    routing(torch.tensor([[length, 0.0]], dtype=torch.float64))
    assert routing.centres.tolist() == [[1.0, 0.0], [1.0, 0.0]]
    assert routing.rows_seen.tolist() == [1, 0]


def test_centres_begin_at_length_one_in_directions_of_their_own():
    routing = new_routing(5, 8)
    torch.testing.assert_close(routing.centres.norm(dim=1), torch.ones(5).double())
    assert routing.closest_centres()[0] < 0.9
    assert not torch.equal(routing.centres, new_routing(5, 8, seed=1).centres)


@pytest.mark.parametrize("similarity", SIMILARITIES)
@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_centres_keep_their_length(similarity, momentum):
    routing = ClusterRouting(4, 5, momentum=momentum, similarity=similarity, temperature=0.1)
    for seed in range(50):
        routing(100 * random_rows(10, seed=seed).float())
    torch.testing.assert_close(routing.centres.norm(dim=1), torch.ones(4))


@pytest.mark.parametrize("similarity", SIMILARITIES)
def test_rows_that_say_nothing_leave_the_centres_to_the_last_bit(similarity):
    routing = new_routing(3, 5, similarity=similarity)
    before = buffers_of(routing)
    assert routing(random_rows(0)).shape == (0,)
    assert_left_alone(routing, before)
    routing(torch.zeros(4, 5, dtype=torch.float64))
    assert torch.equal(routing.centres, before["centres"])
    assert routing.rows_seen.sum() == 4


def test_evaluation_leaves_no_trace():
    routing = new_routing(3, 5)
    routing(random_rows(20))
    before = buffers_of(routing)
    routing.eval()(random_rows(20, seed=1))
    assert_left_alone(routing, before)


def test_in_evaluation_a_row_is_alone():
    routing = new_routing(3, 5).eval()
    rows = random_rows(20)
    assert routing(rows).tolist() == [int(routing(row)) for row in rows.split(1)]


def test_a_row_s_length_does_not_decide_its_cluster():
    routing = new_routing(3, 5).eval()
    rows = random_rows(20)
    assert torch.equal(routing(rows), routing(7 * rows))


@pytest.mark.parametrize("apart", [0.0, 1e-7, 1e-5])
def test_centres_that_have_met_are_one_cluster_whatever_rounding_says(apart):
    routing = ClusterRouting(3, 50).eval()
    centre = torch.nn.functional.normalize(torch.randn(50), dim=0)
    beside = torch.nn.functional.normalize(torch.randn(50), dim=0)
    routing.centres.copy_(torch.stack([-centre, centre, centre + apart * beside]))
    rows = random_rows(400, 50).float()
    clusters = routing(rows)
    assert set(clusters.tolist()) == {0, 1}
    for size in (1, 7):
        assert torch.equal(torch.cat([routing(part) for part in rows.split(size)]), clusters)


def test_centres_that_have_not_met_are_two():
    routing = new_routing(2, 50).eval()
    routing.centres[1] = routing.centres[0] + 0.01 * torch.randn(50)
    assert routing(random_rows(400, 50)).unique().tolist() == [0, 1]


def test_one_row_moves_a_centre_by_one_step_of_its_length():
    routing = new_routing(2, 5, momentum=0.9)
    before = routing.centres.clone()
    row = 50 * random_rows(1)
    routing(row)
    expected = torch.nn.functional.normalize(0.9 * before + 0.1 * row / row.norm(), dim=1)
    torch.testing.assert_close(routing.centres, expected)


def test_there_is_no_gradient_and_nothing_to_learn():
    routing = new_routing(3, 5)
    rows = random_rows(20).requires_grad_()
    clusters = routing(rows)
    assert not clusters.requires_grad
    assert not any(buffer.requires_grad for buffer in routing.buffers())
    assert list(routing.parameters()) == []
    assert set(routing.state_dict()) == {"centres", "rows_seen"}


def blobs(seed, length):
    """Rows around three directions at right angles, and which each is around."""
    generator = torch.Generator().manual_seed(seed)
    directions = torch.linalg.qr(torch.randn(8, 8, generator=generator)).Q[:3]
    blob = torch.arange(192) % 3
    return length * (directions[blob] + 0.1 * torch.randn(192, 8, generator=generator)), blob


def routed(rows, seed, temperature, **options):
    torch.manual_seed(seed)
    routing = ClusterRouting(3, 8, temperature=temperature, **options)
    for _ in range(40):
        clusters = routing(rows)
    return routing, clusters


@pytest.mark.parametrize("seed", range(6))
def test_three_blobs_are_found(seed):
    """Rows as short as embeddings at the start."""
    rows, blob = blobs(seed, 0.4)
    _, clusters = routed(rows, seed, 0.1)
    pairs = set(zip(clusters.tolist(), blob.tolist(), strict=True))
    assert len(pairs) == 3 == len({cluster for cluster, _ in pairs})


def test_with_a_high_temperature_the_centres_of_short_rows_are_one():
    routing, _ = routed(blobs(0, 0.4)[0], 0, 1.0)
    assert routing.closest_centres()[0] > 0.99
    assert routed(blobs(0, 3.0)[0], 0, 1.0)[0].closest_centres()[0] < 0.5


def test_what_is_told_of_it():
    routing = new_routing(3, 2)
    assert routing.shares() == []
    routing.rows_seen.copy_(torch.tensor([1, 0, 3]))
    assert routing.shares() == [0.25, 0.0, 0.75]
    routing.centres.copy_(torch.tensor([[0.0, 1.0], [1.0, 0.0], [0.8, 0.6]]))
    cosine, *pair = routing.closest_centres()
    assert (pytest.approx(cosine), pair) == (0.8, [1, 2])
    routing.centres.copy_(torch.tensor([[-0.6, 0.8], [1.0, 0.0], [0.0, -1.0]]))
    cosine, *pair = routing.closest_centres()
    assert (pytest.approx(cosine), pair) == (0.0, [1, 2])
    assert routing.multiply_adds() == 3 * 2


def test_it_is_computed_in_full_precision():
    rows = random_rows(20).float()
    plain, under_autocast = (new_routing(3, 5).float() for _ in range(2))
    clusters = plain(rows)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = under_autocast(rows)
    assert torch.equal(found, clusters)
    assert torch.equal(under_autocast.centres, plain.centres)
    under_autocast(rows.bfloat16())
    assert under_autocast.centres.dtype == torch.float32


COUNTS = (4, 0, 3)


def routed_in_process(rank, options):
    batch = SharedBatch(COUNTS, rank)
    routing = new_routing(3, 5, **options)
    with shared(batch):
        for seed in range(3):
            clusters = routing(random_rows(7, seed=seed).split(COUNTS)[rank])
    return clusters, list(routing.buffers())


@pytest.mark.parametrize("options", [{}, {"similarity": "cosine", "temperature": 0.1}], ids=str)
def test_rows_in_several_processes_move_the_same_centres(options):
    alone = new_routing(3, 5, **options)
    for seed in range(3):
        clusters = alone(random_rows(7, seed=seed))
    found = in_group(3, routed_in_process, options)
    assert torch.equal(torch.cat([own for own, _ in found]), clusters)
    for _, (centres, rows_seen) in found:
        torch.testing.assert_close(centres, alone.centres, rtol=0, atol=1e-12)
        assert torch.equal(centres, found[0][1][0])
        assert torch.equal(rows_seen, alone.rows_seen)
