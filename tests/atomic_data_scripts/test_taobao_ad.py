import pytest

from recbole_midpg.atomic_data_scripts import prepare
from recbole_midpg.common.errors import UsageError

from .raw_files import atomic_rows
from .recbole_reading import built, column, config_of, load

MIDNIGHT = 1494000000  # 2017-05-06 in UTC+8
DAY = 86_400
SAMPLE = "user,time_stamp,adgroup_id,pid,nonclk,clk\n"
FILES = {
    "raw_sample.csv": SAMPLE
    + f"1,{MIDNIGHT},10,430548_1007,1,0\n"
    + f"2,{MIDNIGHT + DAY - 1},11,430539_1007,0,1\n"
    + f"1,{MIDNIGHT + DAY},10,430548_1007,0,1\n"
    + f"9,{MIDNIGHT + 2 * DAY},12,430548_1007,1,0\n",
    "ad_feature.csv": "adgroup_id,cate_id,campaign_id,customer,brand,price\n"
    "10,6261,83237,1,95471,170.0\n11,4520,87331,2,NULL,0.01\n12,1,2,3,,99999999.0\n13,1,1,1,1,1\n",
    "user_profile.csv": "userid,cms_segid,cms_group_id,final_gender_code,age_level,pvalue_level,"
    "shopping_level,occupation,new_user_class_level \n1,0,5,2,5,,3,0,3\n2,19,3,2,3,2,3,0,\n",
}


def folder_of(path, **changed):
    folder = path / "raw"
    folder.mkdir(exist_ok=True)
    for name, text in {**FILES, **changed}.items():
        (folder / name).write_text(text)
    return folder


def test_the_last_day_is_the_test_set(tmp_path):
    report = prepare("taobao_ad", folder_of(tmp_path), tmp_path)
    made = tmp_path / "taobao_ad"
    parts = {
        part: atomic_rows(made / f"taobao_ad.{part}.inter") for part in ("train", "valid", "test")
    }
    assert parts["train"] == [
        {"user_id": "1", "timestamp": str(MIDNIGHT), "hour": "0", "day": "2017-05-06"}
        | {"item_id": "10", "pid": "430548_1007", "label": "0"},
        {"user_id": "2", "timestamp": str(MIDNIGHT + DAY - 1), "hour": "23", "day": "2017-05-06"}
        | {"item_id": "11", "pid": "430539_1007", "label": "1"},
    ]
    assert [[row["user_id"] for row in parts[part]] for part in ("valid", "test")] == [["1"], ["9"]]
    users = atomic_rows(made / "taobao_ad.user")
    assert [row["pvalue_level"] for row in users] == ["unk", "2", "unk"]
    assert [row["new_user_class_level"] for row in users] == ["3", "unk", "unk"]
    assert users[2] == {**dict.fromkeys(users[2], "unk"), "user_id": "9"}
    items = atomic_rows(made / "taobao_ad.item")
    assert [row["brand"] for row in items] == ["95471", "unk", "unk"]
    assert [row["price"] for row in items] == ["170.0", "0.01", "99999999.0"]
    assert report.scenarios == {"430548_1007": [3, 1], "430539_1007": [1, 1]}
    assert report.entities == {"user": 3, "item": 3}


def test_config(tmp_path, caplog):
    rows = "".join(
        f"{1 + n % 2},{MIDNIGHT + n * 7_200},{10 + n % 3},4305{n % 2}_1007,1,{int(n % 5 == 0)}\n"
        for n in range(60)
    )
    prepare("taobao_ad", folder_of(tmp_path, **{"raw_sample.csv": SAMPLE + rows}), tmp_path)
    config = config_of("taobao_ad", tmp_path, "DNN")
    dataset = load(config, caplog)
    assert config["scenario_id_field"] == "pid"
    assert {"timestamp", "day"}.isdisjoint(dataset.field2type)
    assert {"price", "brand", "hour", "new_user_class_level"} <= set(dataset.field2type)
    parts = [part.dataset for part in built(config)]
    assert [part.inter_num for part in parts] == [36, 12, 12]
    assert column(parts[1], "hour") == [str(2 * n) for n in range(12)]


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("raw_sample.csv", f"{SAMPLE}1,{MIDNIGHT},10,4,1,2\n", "line 2, column clk: '2' is not"),
        ("raw_sample.csv", SAMPLE + "1,2017-05-06,10,4,1,0\n", "column time_stamp: .* Unix secon"),
        ("raw_sample.csv", FILES["raw_sample.csv"][: len(SAMPLE) + 32], "rows of 1 values of day"),
        ("ad_feature.csv", "adgroup_id\n1\n", "line 1: the header lacks column cate_id"),
        (
            "ad_feature.csv",
            FILES["ad_feature.csv"] + "14,1,1,1,1,free\n",
            "line 6, column price: '",
        ),
    ],
)
def test_what_is_wrong_is_named(tmp_path, name, text, words):
    with pytest.raises(UsageError, match=words):
        prepare("taobao_ad", folder_of(tmp_path, **{name: text}), tmp_path)
