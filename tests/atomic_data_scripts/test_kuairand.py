import pytest

from recbole_midpg.atomic_data_scripts import prepare
from recbole_midpg.common.errors import UsageError

from .raw_files import atomic_rows
from .recbole_reading import built, column, config_of, load

LOG = (
    "user_id,video_id,date,hourmin,time_ms,is_click,is_like,is_follow,is_comment,is_forward,"
    "is_hate,long_view,play_time_ms,duration_ms,profile_stay_time,comment_stay_time,"
    "is_profile_enter,is_rand,tab"
)
USERS = (
    "user_id,user_active_degree,is_lowactive_period,is_live_streamer,is_video_author,"
    "follow_user_num,follow_user_num_range,fans_user_num,fans_user_num_range,friend_user_num,"
    "friend_user_num_range,register_days,register_days_range,"
    + ",".join(f"onehot_feat{place}" for place in range(18))
)
VIDEOS = (
    "video_id,author_id,video_type,upload_dt,upload_type,visible_status,video_duration,"
    "server_width,server_height,music_id,music_type,tag"
)
ONE_HOT = ",".join(["1"] * 4 + [""] + ["2"] * 7 + ["0.0"] * 6)
FIRST, SECOND = "log_standard_4_08_to_4_21", "log_standard_4_22_to_5_08"
FEATURES = {
    "user_features": f"{USERS}\n"
    f'0,high_active,0,-124,1,5,"(0,10]",0,0,3,"[1,5)",107,61-90,{ONE_HOT}\n'
    f'1,UNKNOWN,1,0,0,90,"(50,100]",12,"[10,100)",0,0,,730+,{ONE_HOT}\n',
    "video_features_basic": f"{VIDEOS}\n7,70,NORMAL,2022-04-01,Web,1.0,9100.0,720,1280,55,9.0,"
    '"8,12"\n'
    "8,71,AD,2022-04-01,LongImport,,,720,1280,55,,\n",
}


def shown(user, video, tab, click=0, time="1649408076860"):
    return f"{user},{video},20220408,1600,{time},{click},1,1,1,1,1,1,99,60433,1,1,1,0,{tab}\n"


def folder_of(path, size="1k", **logs):
    folder = path / "KuaiRand" / "data"
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in {**FEATURES, **logs}.items():
        header = f"{LOG}\n" if name.startswith("log") else ""
        (
            folder / f"{name.replace('_part1', '')}_{size}{'_part1' * ('part1' in name)}.csv"
        ).write_text(header + text)
    return path / "KuaiRand"


@pytest.mark.parametrize("size", ["1k", "27k"])
def test_logs_and_features(tmp_path, size):
    late = shown(0, 8, 4, 1, "1651161600000")
    raw = folder_of(
        tmp_path,
        size,
        **{FIRST: shown(0, 7, 1, 1) + shown(1, 7, 3), f"{SECOND}_part1": late + shown(5, 9, 0)},
        log_random_4_22_to_5_08=shown(1, 7, 1, 1),
    )
    name = f"kuairand_{size}"
    report = prepare(name, raw, tmp_path)
    rows = atomic_rows(tmp_path / name / f"{name}.inter")
    assert rows == [
        {"user_id": "0", "item_id": "7", "timestamp": "1649408076", "hour": "16"}
        | {"day": "2022-04-08", "label": "1", "duration_ms": "60433", "tab": "1"},
        {"user_id": "0", "item_id": "8", "timestamp": "1651161600", "hour": "0"}
        | {"day": "2022-04-29", "label": "1", "duration_ms": "60433", "tab": "4"},
        {"user_id": "5", "item_id": "9", "timestamp": "1649408076", "hour": "16"}
        | {"day": "2022-04-08", "label": "0", "duration_ms": "60433", "tab": "0"},
    ]
    users = {row["user_id"]: row for row in atomic_rows(tmp_path / name / f"{name}.user")}
    assert users.keys() == {"0", "5"}
    assert users["0"]["is_live_streamer"] == "-124"
    assert users["0"]["follow_user_num_range"] == "(0,10]"
    assert users["0"]["onehot_feat4"] == users["5"]["onehot_feat4"] == "unk"
    assert (users["0"]["register_days"], users["5"]["register_days"]) == ("107", "")
    items = atomic_rows(tmp_path / name / f"{name}.item")
    assert items[0] == {
        **{"item_id": "7", "author_id": "70", "video_type": "NORMAL", "upload_type": "Web"},
        **{"visible_status": "1.0", "video_duration": "9100.0", "music_type": "9.0"},
        "tag": "8 12",
    }
    assert items[1]["tag"] == items[1]["music_type"] == items[2]["author_id"] == "unk"
    assert report.left_out == {"of other tabs": 1}
    assert report.scenarios == {"0": [1, 0], "1": [1, 1], "4": [1, 1]}


@pytest.mark.parametrize("size", ["1k", "27k"])
def test_config(tmp_path, caplog, size):
    lines = [shown(n % 2, 7 + n % 2, "01246"[n % 5], int(n % 3 == 0)) for n in range(20)]
    name = f"kuairand_{size}"
    prepare(name, folder_of(tmp_path, size, **{FIRST: "".join(lines)}), tmp_path)
    config = config_of(name, tmp_path, "DNN")
    dataset = load(config, caplog)
    assert config["scenario_id_field"] == "tab"
    assert column(dataset, "label") == [float(n % 3 == 0) for n in range(20)]
    assert {"timestamp", "day", "video_duration", "is_like"}.isdisjoint(dataset.field2type)
    assert {"duration_ms", "tag", "onehot_feat17", "fans_user_num"} <= set(dataset.field2type)
    assert [part.dataset.inter_num for part in built(config)] == [16, 2, 2]


@pytest.mark.parametrize(
    ("row", "words"),
    [
        (shown(0, 7, 1, 2), "column is_click: '2' is not allowed, expected one of 0, 1"),
        (shown(0, 7, 1, 1, "1649408076"), "column time_ms: .* expected Unix milliseconds"),
        (shown(0, 7, "x"), "column tab: 'x' is not allowed, expected a whole number"),
        (shown(0, 7, 1) + "0,7\n", "line 3: expected 19 columns, found 2"),
    ],
)
def test_what_is_wrong_is_named(tmp_path, row, words):
    raw = folder_of(tmp_path, **{FIRST: row})
    with pytest.raises(UsageError, match=rf"{FIRST}_1k.csv.*{words}"):
        prepare("kuairand_1k", raw, tmp_path)
