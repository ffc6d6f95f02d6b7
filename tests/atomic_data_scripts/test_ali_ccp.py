import pytest

from recbole_midpg.atomic_data_scripts import prepare
from recbole_midpg.atomic_data_scripts.ali_ccp import part, picked
from recbole_midpg.common.errors import UsageError

from .raw_files import atomic_rows
from .recbole_reading import built, column, config_of, load


def features(*parts):
    return "\x01".join(f"{field}\x02{feature}\x03{value}" for field, feature, value in parts)


def sample(number, click, bought, index, position=1, item=50):
    listed = features(
        *((205, item, 1.0), (301, position, 1.0), (210, 7, 1.0), (210, 8, 1.0)),
        *((508, 900, 2.30259), (206, 6, 1.0)),
    )
    return f"{number},{click},{bought},{index},6,{listed}\n"


def common(index, user=None):
    parts = [(127, 3, 1.0), ("127_14", 30, 0.69315), ("109_14", 1, 1.5), ("109_14", 2, 2.5)]
    parts += [] if user is None else [(101, user, 1.0)]
    return f"{index},{len(parts)},{features(*parts)}\n"


FILES = {
    "sample_skeleton_train": sample(1, 0, 0, "aa")
    + sample(2, 1, 1, "bb", 2, 51)
    # A purchase without a click.
    + sample(3, 0, 1, "aa")
    + sample(4, 1, 0, "aa", 3),
    "common_features_train": common("aa", 700) + common("bb"),
    "sample_skeleton_test": "".join(sample(n, n % 2, 0, "aa", 1 + n % 3) for n in range(20)),
    "common_features_test": common("aa", 701),
}


def folder_of(path, **changed):
    folder = path / "raw"
    folder.mkdir(exist_ok=True)
    for name, text in {**FILES, **changed}.items():
        (folder / f"{name}.csv").write_text(text)
    return folder


def test_samples_with_the_features_that_they_share(tmp_path):
    report = prepare("ali_ccp", folder_of(tmp_path), tmp_path)
    made = {
        name: atomic_rows(tmp_path / "ali_ccp" / f"ali_ccp.{name}.inter")
        for name in ("train", "valid", "test")
    }
    train = made["train"]
    assert [(row["user_id"], row["label"], row["conversion"]) for row in train] == [
        *(("700", "0", "0"), ("0", "1", "1"), ("700", "1", "0")),
    ]
    assert [row["domain_301"] for row in train] == ["1", "2", "3"]
    expected = {
        **{"item_id": "50", "f206": "6", "f210": "8", "f508": "900", "d508": "2.30259"},
        **{"f127": "3", "f127_14": "30", "d127_14": "0.69315", "f109_14": "2", "d109_14": "2.5"},
        **{"f121": "0", "f853": "0", "d853": "0", "d150_14": "0"},
    }
    assert {name: train[0][name] for name in expected} == expected
    assert len(made["valid"]) + len(made["test"]) == 20
    assert min(len(made["valid"]), len(made["test"])) >= 5
    assert {row["user_id"] for row in made["test"]} == {"701"}
    assert report.left_out == {"with a purchase and no click": 1}
    assert (report.rows_in, report.rows_out, report.positives) == (24, 23, 12)
    assert {name: rows for name, (rows, _) in report.scenarios.items()} == {"1": 8, "2": 8, "3": 7}


def test_config(tmp_path, caplog):
    rows = "".join(sample(n, n % 2, 0, "aa", 1 + n % 3) for n in range(100, 160))
    prepare("ali_ccp", folder_of(tmp_path, sample_skeleton_train=rows), tmp_path)
    config = config_of("ali_ccp", tmp_path, "DNN")
    dataset = load(config, caplog)
    assert config["scenario_id_field"] == "domain_301"
    assert len(dataset.field2type) == 4 + 20 + 8
    assert {"conversion", "part"}.isdisjoint(dataset.field2type)
    parts = [loader.dataset for loader in built(config)]
    assert parts[0].inter_num == 60
    assert column(parts[0], "domain_301")[:3] == ["2", "3", "1"]


def test_the_test_file_is_halved_by_chance():
    parts = [part(f"sample_skeleton_test.csv\t{n}") for n in range(4_000)]
    assert 1_850 < parts.count("valid") < 2_150
    assert parts.count("test") == 4_000 - parts.count("valid")
    assert part("a/sample_skeleton_train.csv\t1") == "train"


def test_a_sample_is_of_shared_features(tmp_path):
    train = "".join(sample(n, n % 2, 0, f"u{n // 3}") for n in range(300))
    shared = "".join(common(f"u{n}", n) for n in range(100))
    raw = folder_of(
        tmp_path,
        **{"sample_skeleton_train": train, "common_features_train": shared},
        **{"sample_skeleton_test": train, "common_features_test": shared},
    )
    prepare("ali_ccp", raw, tmp_path, sample=0.2)
    rows = atomic_rows(tmp_path / "ali_ccp" / "ali_ccp.train.inter")
    users = [row["user_id"] for row in rows]
    assert 5 < len(set(users)) < 40
    assert {users.count(user) for user in users} == {3}


def test_features_of_a_line():
    parse = picked(("127", "127_14"), ("127_14",))
    assert parse("") == "0\t0\t0"
    assert parse(features(("127_14", 5, 0.5))) == "0\t5\t0.5"
    with pytest.raises(ValueError, match="expected 'field"):
        parse("127:5:1.0")


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"sample_skeleton_train": sample(1, 2, 0, "aa")}, "column click: '2' is not allowed"),
        ({"sample_skeleton_train": sample(1, 1, 0, "zz")}, r"common_features_t\*.csv has no line"),
        ({"sample_skeleton_train": "1,0,0,aa,1,205:50:1\n"}, "column item: .* expected 'field"),
        ({"sample_skeleton_train": "1,0,0,aa\n"}, "line 1: expected 6 columns, found 4"),
        ({"common_features_test": common("aa", "x")}, "column features: .* a whole number"),
        ({"sample_skeleton_two": sample(1, 1, 0, "aa")}, "column part: .* as sample_skeleton_tr"),
    ],
)
def test_what_is_wrong_is_named(tmp_path, changed, words):
    with pytest.raises(UsageError, match=words):
        prepare("ali_ccp", folder_of(tmp_path, **changed), tmp_path)
