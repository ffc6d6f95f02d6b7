"""Numbers of fields for the rows of tables, by hand."""

import pytest
from torch import nn

from recbole_midpg.common.errors import UsageError
from recbole_midpg.training.field_factors import factors_of_rows


class Tables(nn.Module):
    """RecBole's names: a table of two fields, one of a list, and a part that has its own."""

    def __init__(self, with_part=True):
        super().__init__()
        self.token_field_names, self.token_field_dims = ["user", "item"], [3, 2]
        self.token_seq_field_names, self.token_seq_field_dims = ["tags"], [4]
        self.token_embedding_table = nn.Module()
        self.token_embedding_table.embedding = nn.Embedding(5, 8)
        self.token_seq_embedding_table = nn.ModuleList([nn.Embedding(4, 8)])
        if with_part:
            self.first_order_linear = Tables(with_part=False)


def test_each_row_has_the_number_of_its_field():
    factors = factors_of_rows("key", Tables(), {"user": 2.0, "tags": 0.5})
    expected = [[2.0, 2.0, 2.0, 0.0, 0.0], [0.5] * 4]
    assert [numbers.tolist() for numbers in factors] == expected * 2


def test_a_name_that_is_no_field():
    with pytest.raises(UsageError) as error:
        factors_of_rows("key", Tables(), {"items": 1.0})
    told = "key: 'items' is not a field that Tables embeds, expected some of item, tags, user; did"
    assert str(error.value).startswith(told)


def test_a_table_that_is_not_of_fields():
    model = Tables()
    model.cross = nn.Embedding(7, 2)
    with pytest.raises(UsageError, match="key: the rows of Tables's cross are not those of single"):
        factors_of_rows("key", model, {"user": 1.0})
