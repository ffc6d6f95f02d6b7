"""The picture of days, with few scenarios and with many."""

import json

import pytest

from recbole_midpg.daily.figure import curves_of_days, draw_days, save_days
from recbole_midpg.daily.learning_state import SeenFile
from recbole_midpg.daily.measuring import by_scenario, table_of_days


def line(name, rows, auc, pcoc=1.0):
    return {
        **{"name": name, "rows": rows, "positives": rows // 2, "cvr": 0.5},
        **{"auc": auc, "logloss": 0.5, "pcoc": pcoc},
    }


def days_of(n_days, n_scenarios):
    return [
        SeenFile(
            f"2026-11-{day + 1:02d}.csv",
            str(day),
            100,
            None,
            None,
            [
                line("(all)", 100, 0.7),
                *(line(f"s{k}", 10 * (k + 1), 0.5 + k / 100) for k in range(n_scenarios)),
            ],
        )
        for day in range(n_days)
    ]


def test_scenarios_of_most_rows_come_first():
    days = days_of(2, 3)
    days[1].scores.pop(1)
    lines = by_scenario(days)
    assert list(lines) == ["(all)", "s2", "s1", "s0"]
    assert lines["s0"][1] is None
    curves = curves_of_days(days)
    assert curves.days == ["2026-11-01", "2026-11-02"]
    assert curves.auc["s0"] == [0.5, None]


@pytest.mark.parametrize(("scenarios", "named"), [(0, 1), (2, 3), (6, 7), (40, 8)])
def test_as_many_lines_are_named_as_can_be_distinguished(scenarios, named):
    figure = draw_days(curves_of_days(days_of(30, scenarios)))
    auc, pcoc = figure.axes
    assert len(auc.get_lines()) == 1 + scenarios
    assert len(pcoc.get_lines()) == 2 + scenarios
    (legend,) = figure.legends
    texts = [text.get_text() for text in legend.get_texts()]
    assert len(texts) == named and texts[0] == "all rows"
    assert len(auc.get_xticks()) <= 12
    if scenarios == 40:
        assert texts[1] == "s39" and texts[-1] == "34 others"
        assert {line.get_color() for line in auc.get_lines()[:34]} == {"0.8"}


def test_files_of_the_picture(tmp_path):
    paths = save_days(days_of(3, 2), tmp_path)
    assert [path.name for path in paths] == ["daily.png", "daily.svg", "daily.json"]
    content = json.loads((tmp_path / "daily.json").read_text())
    assert content["auc"]["(all)"] == [0.7] * 3


def test_table_of_days_has_totals_and_means():
    days = days_of(2, 1)
    days[1].scores[0].update(auc=0.8, pcoc=None)
    last = table_of_days(days).splitlines()[-1].split()
    assert last == ["mean", "of", "days", "200", "100", "0.7500", "0.5000", "1.0000"]


def test_names_of_any_script_are_drawn_or_written_out(tmp_path, recwarn):
    days = days_of(2, 2)
    for day in days:
        day.scores[1]["name"] = "\U0001f3ea\u30e1$"
    save_days(days, tmp_path)
    assert not [warning for warning in recwarn if "Glyph" in str(warning.message)]
    assert (tmp_path / "daily.svg").exists()
