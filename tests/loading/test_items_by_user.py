"""The items of users, by ids and by tokens."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from recbole_midpg.loading.items_by_user import ItemsByUser, SeenItems

PAIRS = st.lists(st.tuples(st.integers(0, 6), st.integers(0, 9)), max_size=40)


@given(PAIRS)
def test_a_user_has_the_items_of_its_rows_in_their_order(pairs):
    users, items = np.array(pairs, np.int8).reshape(-1, 2).T
    by_user = ItemsByUser.of(users, items)
    for user in range(9):
        expected = [item for other, item in pairs if other == user]
        assert by_user.items_of(user).tolist() == expected


@given(PAIRS, st.permutations(range(10)), st.integers(0, 10))
def test_seen_candidates_have_their_places(pairs, items, count):
    candidates = [f"i{item}" for item in items[:count]]
    users = [f"u{user}" for user, _ in pairs]
    seen = SeenItems.of_pairs("user", "item", users, [f"i{item}" for _, item in pairs])
    among = seen.among(candidates)
    for user in range(9):
        ids = seen.users.encode([f"u{user}"])
        met = {f"i{item}" for other, item in pairs if other == user}
        expected = {place for place, item in enumerate(candidates) if item in met}
        assert set(among.places_of(int(ids[0])).tolist()) == expected


def test_missing_tokens_are_nobody_and_whole_floats_are_integers():
    seen = SeenItems.of_pairs("user", "item", [7.0, None, "", 8.5], ["a", "b", "c", None])
    among = seen.among(["a", "b", "c", ""])
    users = seen.users.encode(["7", "", "nobody", "8.5"])
    assert [among.places_of(int(user)).tolist() for user in users] == [[0], [], [], []]
    assert seen.users.encode([7, 7.0]).tolist() == [users[0]] * 2
