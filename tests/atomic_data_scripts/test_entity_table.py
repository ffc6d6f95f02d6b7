from hypothesis import given
from hypothesis import strategies as st

from recbole_midpg.atomic_data_scripts.entity_table import EntityTable

texts = st.text(st.characters(exclude_characters="\t\r\n", exclude_categories=["Cs"]), max_size=3)
rows = st.tuples(texts, st.sampled_from("abc"))


def table_of(folder, batches, capacity):
    """The table's entities, and the pairs of attributes that were told to differ."""
    differing: dict[str, set[str]] = {}

    def differ(entity, *attributes):
        differing.setdefault(entity, set()).update(attributes)

    table = EntityTable(folder, differ, capacity)
    for batch in batches:
        table.add([entity for entity, _ in batch], [text for _, text in batch])
    return list(table.finish()), differing


@given(st.lists(st.lists(rows, max_size=6), max_size=12), st.integers(1, 6))
def test_on_disk_or_not_the_entities_are_the_same(tmp_path_factory, batches, capacity):
    entities, differing = table_of(tmp_path_factory.mktemp("table"), batches, capacity)
    expected: dict[str, list[str]] = {}
    for entity, text in (row for batch in batches for row in batch):
        expected.setdefault(entity, []).append(text)
    assert len(entities) == len(expected)
    assert dict(entities) == {entity: found[0] for entity, found in expected.items()}
    several = {entity: set(found) for entity, found in expected.items() if len(set(found)) > 1}
    assert differing == several


def test_order_is_that_of_the_rows_while_all_fit(tmp_path):
    batches = [[("b", "1"), ("a", "2")], [("c", "1"), ("a", "2")]]
    assert table_of(tmp_path, batches, 100) == ([("b", "1"), ("a", "2"), ("c", "1")], {})
    assert not list(tmp_path.iterdir())


def test_memory_holds_no_more_than_the_capacity(tmp_path):
    table = EntityTable(tmp_path, lambda *_: None, capacity=100)
    for start in range(0, 10_000, 50):
        ids = [str(number) for number in range(start, start + 50)]
        table.add(ids, ids)
        assert len(table._entities) < 100
    assert sum(1 for _ in table.finish()) == 10_000
