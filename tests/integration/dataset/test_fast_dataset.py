"""FastDataset against RecBole's own Dataset: every tensor, mapping and statistic."""

import copy
import shutil

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from recbole.config import Config
from recbole.data.dataset.dataset import Dataset
from recbole.utils import init_seed

from recbole_midpg.common.errors import UsageError
from recbole_midpg.generated import generate
from recbole_midpg.integration.dataset import fast_dataset
from recbole_midpg.integration.dataset.compact_interaction import CompactInteraction
from recbole_midpg.integration.dataset.fast_dataset import FastDataset
from recbole_midpg.integration.dataset.saved_dataset import load_dataset, saved_dataset_path
from tests.support.recbole_data import gaps_config

SPLIT = {"split": {"RS": [0.6, 0.2, 0.2]}, "order": "RO", "group_by": None, "mode": "labeled"}
FIELD_TABLES = ("field2type", "field2source", "field2seqlen", "field2bucketnum")


def build(dataset_class, config):
    """The dataset, its three parts, and what it says of itself before and after being split."""
    dataset = dataset_class(config)
    before = str(dataset)
    init_seed(7, reproducibility=True)
    parts = dataset.build()
    return dataset, parts, (before, str(dataset), *map(str, parts))


def assert_same(config, *fast_configs):
    """Every fast dataset equals RecBole's, which scales no number by the split."""
    stock, stock_parts, stock_texts = build(Dataset, config)
    for fast_config in fast_configs or (config,):
        fast_config["numerical_scaling"] = "none"
        fast, fast_parts, fast_texts = build(FastDataset, fast_config)
        assert fast_texts == stock_texts
        for table in FIELD_TABLES:
            assert getattr(fast, table) == getattr(stock, table), table
            assert list(getattr(fast, table)) == list(getattr(stock, table)), table
        assert list(fast.field2id_token) == list(stock.field2id_token)
        for field, tokens in stock.field2id_token.items():
            assert fast.num(field) == stock.num(field) == len(tokens)
            assert fast.field2id_token[field].dtype.kind == "U"
            assert fast.field2id_token[field].tolist() == tokens.tolist(), field
            assert fast.field2token_id[field] == stock.field2token_id[field], field
        assert fast._preloaded_weight.keys() == stock._preloaded_weight.keys()
        for field, weights in stock._preloaded_weight.items():
            assert np.array_equal(fast._preloaded_weight[field], weights)
        for fast_part, stock_part in zip(fast_parts, stock_parts, strict=True):
            for name in stock.feat_name_list:
                assert_same_table(getattr(fast_part, name), getattr(stock_part, name))


def assert_same_table(fast, stock):
    assert isinstance(fast, CompactInteraction)
    assert list(fast) == list(stock)
    assert len(fast) == len(stock)
    for field in stock:
        assert fast[field].dtype == stock[field].dtype, field
        assert torch.equal(fast[field].nan_to_num(1e30), stock[field].nan_to_num(1e30)), field


def config_of(folder, **values):
    defaults = {"data_path": str(folder), "load_col": None, "eval_args": SPLIT}
    defaults |= {"normalize_all": False, "dataset_cache": False}
    return Config(model="FM", dataset="toy", config_dict={**defaults, **values})


def write(folder, **files):
    (folder / "toy").mkdir(exist_ok=True)
    for suffix, text in files.items():
        (folder / "toy" / f"toy.{suffix}").write_bytes(text.encode())


def test_the_dataset_that_recbole_ships():
    assert_same(
        Config(
            model="FM", dataset="ml-100k", config_dict={"eval_args": SPLIT, "dataset_cache": False}
        )
    )


@pytest.mark.parametrize("name", ["amazon_electronics_synth", "iaac_synth"])
def test_generated_datasets(name, tmp_path):
    generate(name, tmp_path, 5000, 1)
    assert_same(
        Config(
            model="DNN",
            dataset=name,
            config_dict={
                "data_path": str(tmp_path),
                "synthetic_rows": 5000,
                "synthetic_seed": 1,
                "dataset_cache": False,
            },
        )
    )


@pytest.mark.parametrize(
    "values",
    [
        {},
        {"normalize_all": True},
        {"normalize_field": ["price", "sizes"]},
        {"numerical_features": ["price"], "normalize_field": ["age"]},
        {"discretization": {"price": {"method": "ED", "bucket": 3}, "sizes": {"method": "LD"}}},
        {"discretization": {"price": {"method": "LD"}}},
        {"threshold": {"price": 20}, "numerical_features": ["age"]},
        {
            "load_col": {"inter": ["user_id", "item_id", "rating"]},
            "numerical_features": [],
            "scenario_fields": None,
        },
        {
            "load_col": {"inter": ["user_id", "item_id", "rating"], "item": ["item_id", "genres"]},
            "numerical_features": [],
            "scenario_fields": None,
        },
        {"unload_col": {"inter": ["coupon"], "user": ["job"]}, "scenario_fields": None},
        {"seq_len": {"genres": 1, "sizes": 1}},
        {"val_interval": {"coupon": ["c1", "c3", 5], "price": "[10,50)"}},
        {"val_interval": {"user_id": ["u1", "u2"]}, "filter_inter_by_user_or_item": True},
        {"user_inter_num_interval": "[2,inf)", "item_inter_num_interval": "[2,4]"},
        {"user_inter_num_interval": "[3,inf)", "item_inter_num_interval": None},
        {"user_inter_num_interval": "[0,1];[2,2]"},
        {"rm_dup_inter": "first"},
        {"rm_dup_inter": "last", "TIME_FIELD": "price"},
        {"unused_col": {"inter": ["coupon"]}},
        {"alias_of_item_id": ["coupon"]},
        {"alias_of_user_id": ["genres", "job"]},
        {"eval_args": {**SPLIT, "order": "TO"}, "TIME_FIELD": "rating", "threshold": None},
        {"eval_args": {**SPLIT, "group_by": "user"}},
        {"eval_args": {**SPLIT, "split": {"LS": "valid_and_test"}}},
    ],
    ids=str,
)
def test_options(values, tmp_path):
    cached = {**values, "dataset_cache": True, "dataset_cache_dir": str(tmp_path)}
    assert_same(
        gaps_config(dataset_cache=False, **values),
        gaps_config(dataset_cache=False, **values),
        gaps_config(**cached),
        gaps_config(**cached),
    )
    assert len(list(tmp_path.glob("*.arrays"))) == 1


USERS = "user_id:token\tage:float\n1\t20\n2\t\n"
ROWS = "user_id:token\titem_id:token\tlabel:float\n1\ta\t1\n2\tb\t0\n3\ta\t1\n2\tc\t0\n1\tb\t1\n"


def assert_same_everywhere(folder, **values):
    """From files, from files that fill the cache, and from the cache."""
    cache = {"dataset_cache": True, "dataset_cache_dir": str(folder / "cache")}
    assert_same(
        config_of(folder, **values),
        config_of(folder, **values),
        config_of(folder, **values, **cache),
        config_of(folder, **values, **cache),
    )


def test_features_beside_users_and_items(tmp_path):
    vectors = "uid:token\tvector:float_seq\n3\t1 2\n9\t0.5\n1\t\n"
    write(tmp_path, inter=ROWS, user=USERS, vec=vectors)
    values = {
        "additional_feat_suffix": ["vec"],
        "alias_of_user_id": ["uid"],
        "preload_weight": {"uid": "vector"},
    }
    assert_same_everywhere(tmp_path, **values)


def test_parts_that_are_split_beforehand(tmp_path):
    header, *rows = ROWS.splitlines(keepends=True)
    parts = {
        "a.inter": header + "".join(rows),
        "b.inter": header + "9\tb\t0\n\tz\t1\n",
        "c.inter": header + "2\tNA\t1\n",
    }
    write(tmp_path, user=USERS, **parts)
    values = {"benchmark_filename": ["a", "b", "c"]}
    assert_same_everywhere(tmp_path, **values)


def test_a_token_field_in_two_files_is_refused(tmp_path):
    write(
        tmp_path,
        inter=ROWS.replace("label:float", "age:token"),
        user=USERS.replace("float", "token"),
    )
    with pytest.raises(UsageError, match="'age' is loaded from another file too"):
        FastDataset(config_of(tmp_path, LABEL_FIELD="age"))


PLAIN_TOKENS = st.one_of(
    st.sampled_from(
        ["0", "7", "07", "+7", "-7", "7.0", " 7", "7 ", "NA", "", "nan", "NaN", "None", "n/a"]
    ),
    st.sampled_from(
        ["18446744073709551616", "9223372036854775808", "[PAD]", "aaaaaaaab", "aaaaaaaa"]
    ),
    st.sampled_from(
        ['ab"c', "1.#IND", "-1.#IND", "true", "\u2028", "\x1c", "a b", "#N/A N/A", "\x85x"]
    ),
    st.text(
        st.characters(codec="utf-8", exclude_characters='\t\r\n\0"', exclude_categories=["Cs"]),
        max_size=20,
    ),
)
WILD_TOKENS = st.one_of(
    PLAIN_TOKENS, st.sampled_from(['"a"', '"a\tb"', '"a\nb"', '"', "a\r", '""', '"x"y'])
)
NUMBERS = st.one_of(
    st.sampled_from(
        [
            "",
            "NA",
            "0",
            "-0.0",
            "1e5",
            "1E-7",
            " 5",
            "5 ",
            ".5",
            "5.",
            "+3",
            "007",
            "1_0",
            "inf",
            "-Infinity",
        ]
    ),
    st.floats(allow_nan=False).map(repr),
    st.decimals(
        allow_nan=False, allow_infinity=False, places=3, min_value=-1000, max_value=1000
    ).map(str),
    st.integers(-(10**14), 10**14).map(str),
    st.integers(-(2**70), 2**70).map(str),
)


INTER_HEADER = ("user_id:token", "item_id:token", "price:float", "kind:token", "tags:token_seq")
USER_HEADER = ("user_id:token", "job:token", "levels:float_seq")


def files(tokens):
    # Mostly ids that are there: RecBole drops rows without, and often the wrong ones.
    ids = st.sampled_from(["1", "02", "2", "3", "user number 4", "user number 5"])
    some_ids = st.integers(0, 19).flatmap(lambda draw: ids if draw else tokens)
    sequences = st.lists(tokens, max_size=3).map(" ".join)
    number_lists = st.lists(st.integers(-9, 9).map(str), max_size=3).map(" ".join)
    rows = st.lists(
        st.tuples(some_ids, some_ids, NUMBERS, tokens, sequences), min_size=1, max_size=9
    )
    users = st.lists(st.tuples(some_ids, tokens, number_lists), min_size=1, max_size=5)
    line_ends = st.sampled_from(["\n", "\n", "\n", "\r\n"])
    return st.tuples(rows, users, line_ends, st.booleans())


def text_of(header, rows, line_end, ends_with_line):
    text = line_end.join(["\t".join(row) for row in [header, *rows]])
    return text + line_end if ends_with_line else text


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("tokens", [PLAIN_TOKENS, WILD_TOKENS], ids=["plain", "wild"])
def test_whatever_stands_in_the_files(tokens, tmp_path):
    @settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
    @given(files(tokens))
    def check(drawn):
        rows, users, line_end, ends_with_line = drawn
        write(
            tmp_path,
            inter=text_of(INTER_HEADER, rows, line_end, ends_with_line),
            user=text_of(USER_HEADER, users, line_end, ends_with_line),
        )
        config = config_of(
            tmp_path, alias_of_user_id=["tags"], filter_inter_by_user_or_item=len(rows) % 2 == 0
        )
        try:
            build(Dataset, config)
        except Exception as error:
            with pytest.raises(type(error)):
                build(FastDataset, config)
        else:
            assert_same(config)

    check()


# --------------------------------------------------------------------------------------------------
# Tables of tokens


def test_tokens_are_decoded_when_they_are_asked_for():
    dataset = FastDataset(gaps_config(dataset_cache=False))
    assert dataset.num("user_id") == dataset.user_num == 5
    str(dataset)
    dataset.build()
    tables = [dict.__getitem__(dataset.field2id_token, field) for field in dataset.field2id_token]
    assert not [table for table in tables if "array" in vars(table) or "positions" in vars(table)]
    assert dataset.id2token("user_id", [1, 3]).tolist() == ["u1", "u3"]
    assert dataset.token2id("user_id", ["u3", "u1"]).tolist() == [3, 1]
    assert dataset.field2token_id["coupon"] == {"[PAD]": 0, "c1": 1, "c2": 2}


def test_tables_of_tokens_are_dictionaries():
    stock, fast = (cls(gaps_config(dataset_cache=False)) for cls in (Dataset, FastDataset))
    for table in (fast.field2token_id, copy.deepcopy(fast.field2token_id)):
        assert table == stock.field2token_id
        assert stock.field2token_id == table.copy()
        assert list(table.values()) == list(stock.field2token_id.values())
        assert table.get("coupon") == stock.field2token_id["coupon"]
        assert table.get("no field", 5) == 5
        assert table != {}
    fast.field2id_token["own"] = np.array(["[PAD]", "x"])
    assert fast.field2id_token["own"].tolist() == ["[PAD]", "x"]


# --------------------------------------------------------------------------------------------------
# Cache


@pytest.fixture
def toy(tmp_path):
    """A config of a dataset of the test's own, with a cache of its own."""
    write(tmp_path, inter=ROWS, user=USERS)
    cache = {"dataset_cache": True, "dataset_cache_dir": str(tmp_path / "cache")}
    return lambda **values: config_of(tmp_path, **{**cache, **values})


def loads(config, monkeypatch):
    """How often the dataset's files are read for it."""
    read = []
    stock = FastDataset._read_csv
    with monkeypatch.context() as patch:
        patch.setattr(
            FastDataset, "_read_csv", lambda self, *a, **k: read.append(a) or stock(self, *a, **k)
        )
        FastDataset(config)
    return len(read)


def test_files_are_read_once(toy, tmp_path, monkeypatch):
    assert [loads(toy(), monkeypatch) for _ in range(3)] == [2, 0, 0]
    assert loads(toy(dataset_cache=False), monkeypatch) == 2
    # The same files elsewhere are the same dataset.
    shutil.copytree(tmp_path / "toy", tmp_path / "elsewhere" / "toy")
    moved = toy(data_path=str(tmp_path / "elsewhere"))
    assert loads(moved, monkeypatch) == 0
    assert FastDataset(moved).dataset_path == str(tmp_path / "elsewhere" / "toy")


@pytest.mark.parametrize(
    "values",
    [
        {"threshold": {"label": 0.5}},
        {"numerical_features": ["age"]},
        {"numerical_features": ["age"], "discretization": {"age": {"method": "LD"}}},
        {"normalize_all": True},
        {"unload_col": {"user": ["age"]}},
        {"encoding": "ascii"},
    ],
    ids=str,
)
def test_a_changed_config_is_another_dataset(values, toy, monkeypatch):
    loads(toy(), monkeypatch)
    assert loads(toy(**values), monkeypatch) == 2
    assert_same(toy(**values))


def test_a_key_that_changes_no_data_is_the_same_dataset(toy, monkeypatch):
    loads(toy(), monkeypatch)
    same = {"seed": 5, "epochs": 3, "train_batch_size": 7, "numerical_scaling": "none"}
    assert loads(toy(**same), monkeypatch) == 0


def test_a_changed_file_or_version_is_another_dataset(toy, tmp_path, monkeypatch):
    loads(toy(), monkeypatch)
    write(tmp_path, inter=ROWS.replace("\ta\t", "\tx\t"), user=USERS)
    assert loads(toy(), monkeypatch) == 2
    assert FastDataset(toy()).field2id_token["item_id"].tolist() == ["[PAD]", "x", "b", "c"]
    write(tmp_path, item="item_id:token\tprice:float\nx\t1\n")
    assert loads(toy(), monkeypatch) == 3
    monkeypatch.setattr(fast_dataset, "__version__", "another")
    assert loads(toy(), monkeypatch) == 3
    assert_same(toy())


def test_a_damaged_entry_is_made_anew(toy, tmp_path, monkeypatch, caplog):
    loads(toy(), monkeypatch)
    (entry,) = (tmp_path / "cache").glob("*.arrays")
    content = bytearray(entry.read_bytes())
    # The last byte that is not zero belongs to an array, not to what fills up between arrays.
    content[len(content.rstrip(b"\0")) - 1] ^= 1
    entry.write_bytes(content)
    assert loads(toy(), monkeypatch) == 2
    assert "is made anew" in caplog.text
    assert loads(toy(), monkeypatch) == 0


def test_a_folder_that_cannot_be_written_costs_no_run(toy, tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    assert loads(toy(dataset_cache_dir=str(tmp_path / "file" / "x")), monkeypatch) == 2


def test_a_saved_dataset_is_the_dataset(tmp_path):
    values = {"dataset_cache": True, "dataset_cache_dir": str(tmp_path / "cache")}
    values["numerical_scaling"] = "none"
    for _ in range(2):  # from files, then from the cache
        config = gaps_config(**values)
        FastDataset(config).save()
        stock_parts = build(Dataset, config)[1]
        loaded, _ = load_dataset(saved_dataset_path(config, FastDataset), FastDataset, config)
        init_seed(7, reproducibility=True)
        assert loaded.num("user_id") == 5
        for fast_part, stock_part in zip(loaded.build(), stock_parts, strict=True):
            for name in loaded.feat_name_list:
                assert_same_table(getattr(fast_part, name), getattr(stock_part, name))
