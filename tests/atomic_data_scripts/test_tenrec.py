import pytest

from recbole_midpg.atomic_data_scripts import prepare
from recbole_midpg.common.errors import UsageError

from .raw_files import atomic_rows
from .recbole_reading import built, column, config_of, load

HEADER = "user_id,item_id,click,follow,like,share,video_category,watching_times,gender,age\n"
QB, QK = "1,10,1,0,1,0,1,3,1,4\n1,11,0,0,0,0,\\N,0,1,4\n", "9,10,0,0,0,0,0,0,2,0\n"


def folder_of(path, **files):
    folder = path / "raw"
    folder.mkdir(exist_ok=True)
    for name, text in files.items():
        (folder / f"{name}-video.csv").write_text(HEADER + text)
    return folder


def test_videos_of_two_platforms(tmp_path):
    report = prepare("tenrec_video", folder_of(tmp_path, QB=QB, QK=QK), tmp_path)
    made = atomic_rows(tmp_path / "tenrec_video" / "tenrec_video.inter")
    names = ("user_id", "item_id", "label", "video_category", "gender", "age", "platform")
    assert [tuple(row[name] for name in names) for row in made] == [
        ("1", "10", "1", "1", "1", "4", "QB"),
        ("1", "11", "0", "unk", "1", "4", "QB"),
        ("9", "10", "0", "0", "2", "0", "QK"),
    ]
    assert set(made[0]) == set(names)
    assert report.scenarios == {"QB": [2, 1], "QK": [1, 0]}


def test_one_platform(tmp_path):
    raw = folder_of(tmp_path, QB=QB)
    report = prepare("tenrec_qb_video", raw / "QB-video.csv", tmp_path)
    assert report.scenarios == {"1": [1, 1], "unk": [1, 0]}
    assert report.entities == {"user": 1, "item": 2}


@pytest.mark.parametrize("name", ["tenrec_video", "tenrec_qb_video"])
def test_config(tmp_path, caplog, name):
    rows = "".join(f"{n % 4},{n % 3},{n % 2},0,0,0,{n % 2},0,1,{n % 5}\n" for n in range(20))
    raw = folder_of(tmp_path, QB=rows, QK=rows)
    prepare(name, raw if name == "tenrec_video" else raw / "QB-video.csv", tmp_path)
    config = config_of(name, tmp_path)
    dataset = load(config, caplog)
    platform = {"platform"} if name == "tenrec_video" else set()
    assert set(dataset.field2type) == platform | {
        *("user_id", "item_id", "video_category", "gender", "age", "label"),
    }
    assert column(dataset, "label")[:4] == [0.0, 1.0, 0.0, 1.0]
    assert config["scenario_id_field"] in ("platform", "video_category")
    assert built(config)[0].dataset.inter_num == 0.8 * dataset.inter_num


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ("1,10,2,0,0,0,1,0,1,4\n", "line 2, column click: '2' is not allowed, expected one of 0"),
        ("x,10,1,0,0,0,1,0,1,4\n", "line 2, column user_id: 'x' is not allowed, expected a whol"),
        ("1,10,1\n", "line 2: expected 10 columns, found 3"),
    ],
)
def test_what_is_wrong_is_named(tmp_path, row, words):
    with pytest.raises(UsageError, match=f"QB-video.csv, {words}"):
        prepare("tenrec_video", folder_of(tmp_path, QB=row, QK=QK), tmp_path)
