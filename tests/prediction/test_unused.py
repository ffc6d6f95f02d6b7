"""The columns of a file that are not read, named once a file, as a user meets them."""

import pytest

from recbole_midpg.prediction.unused import on_unused
from tests.prediction.checkpoints import checkpoint_of
from tests.support.shop import shop_config
from tests.support.typed import midpg

HEADER = "user_id,item_id,channel,price,click"


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    return checkpoint_of(shop_config(tmp_path_factory.mktemp("shop"), "DNN")).path


def told(checkpoint, cwd, command, *words):
    """The lines of stderr on columns that are not used."""
    result = midpg(command, "--checkpoint", checkpoint, *words, cwd=cwd)
    assert result.returncode == 0, result.stderr
    return [line for line in result.stderr.splitlines() if "not used" in line]


def test_a_name_that_is_near_one_that_is_missing():
    assert on_unused("a.csv", [], ["age"]) is None
    assert on_unused("a.csv", ["x"], []) == "a.csv: columns not used: x."
    sentence = "a.csv: columns not used: occupaton (did you mean occupation?), weather."
    assert on_unused("a.csv", ["occupaton", "weather"], ["age", "occupation"]) == sentence


@pytest.mark.parametrize(
    ("header", "keep", "unused"),
    [
        (HEADER, [], []),
        ("channel,user_id,price,item_id,agge", [], ["agge (did you mean age?)"]),
        (f"{HEADER},weather,note", ["note"], ["weather"]),
        (f"{HEADER},weather,note", ["note", "weather"], []),
    ],
)
def test_predict_names_what_it_does_not_read(checkpoint, tmp_path, header, keep, unused):
    line = ",".join(str(place) for place, _ in enumerate(header.split(",")))
    (tmp_path / "new.csv").write_text(f"{header}\n{line}\n")
    words = ["--input", "new.csv", "--output", "s.csv", "--keep", *keep]
    expected = [f"new.csv: columns not used: {', '.join(unused)}."] if unused else []
    assert told(checkpoint, tmp_path, "predict", *words) == expected


def test_evaluate_names_what_it_does_not_read(checkpoint, tmp_path):
    header = f"{HEADER},bought,session,seen,weather"
    (tmp_path / "new.csv").write_text(f"{header}\nu1,i1,app,3,1,0,s1,1,sun\n")
    words = ["--input", "new.csv", "--resamples", "2"]
    named = ["--label", "bought", "--given", "seen", "--cluster", "session"]
    assert told(checkpoint, tmp_path, "evaluate", *words, *named) == [
        "new.csv: columns not used: weather."
    ]


def test_recommend_names_what_it_does_not_read(checkpoint, tmp_path):
    (tmp_path / "users.csv").write_text("user_id,channel,weather\nu1,app,sun\n")
    (tmp_path / "items.csv").write_text("item_id,price,note\ni1,3,n\ni2,4,n\n")
    (tmp_path / "met.csv").write_text("user_id,item_id,when\nu1,i1,1\n")
    words = ["--input", "users.csv", "--items", "items.csv", "--exclude", "met.csv"]
    assert sorted(told(checkpoint, tmp_path, "recommend", *words, "--output", "top.csv")) == [
        "items.csv: columns not used: note.",
        "met.csv: columns not used: when.",
        "users.csv: columns not used: weather.",
    ]
