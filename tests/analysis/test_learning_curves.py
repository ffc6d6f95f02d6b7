"""Learning curves: what is drawn and written of them."""

import json
from dataclasses import asdict, replace

import pytest

pytest.importorskip("matplotlib")

from recbole_midpg.analysis.learning_curves import (
    LearningCurves,
    LearningPoint,
    area_table,
    draw_learning_curves,
    gain_table,
    notes,
)
from recbole_midpg.analysis.sizes import learning_curves_of
from recbole_midpg.common.report_files import json_text
from tests.analysis.test_sizes import BEST, HALF_OF_ONE_HUNDREDTH, LEARNING_CURVES, results


def test_the_data_is_json_text():
    content = json.loads(json_text(asdict(LEARNING_CURVES)))
    assert content["lines"]["DPG"][1]["mean"] is None


def test_tables_hold_mean_and_spread_and_the_best_possible_last():
    assert area_table(LEARNING_CURVES) == (
        ["test AUC", "1,000 rows", "5,000 rows"],
        [
            ["DNN", "0.6100 ± 0.0141", "0.7100 ± 0.0141"],
            ["PLE", "0.5950 ± 0.0212", "0.7450 ± 0.0212"],
            ["DPG", "0.6500", ""],
            ["best possible", "0.8000", "0.8200"],
        ],
    )
    half = f"{HALF_OF_ONE_HUNDREDTH:.4f}"
    assert gain_table(LEARNING_CURVES) == (
        ["AUC over DNN", "1,000 rows", "5,000 rows"],
        [["PLE", f"-0.0150 ± {half}", f"+0.0350 ± {half}"], ["DPG", "+0.0500", ""]],
    )


def test_failed_trials_are_told():
    assert notes(LEARNING_CURVES)[1:] == [
        "DPG, 1,000 rows: 1 of 2 trials failed, the last one: it was killed",
        "DPG, 5,000 rows: 1 of 1 trials failed, the last one: out of memory",
    ]


def heights_of(panel):
    return {bars.get_label(): list(bars[0].get_ydata()) for bars in panel.containers}


def test_the_picture_shows_means_gains_and_the_best_possible_over_rows():
    figure = draw_learning_curves(LEARNING_CURVES)
    areas, gains = figure.axes
    assert areas.get_xscale() == gains.get_xscale() == "log"
    assert areas.get_xlim() == gains.get_xlim()
    for panel in (areas, gains):
        assert [text.get_text() for text in panel.get_xticklabels()] == ["1,000", "5,000"]
    heights = heights_of(areas)
    assert heights["DNN"] == pytest.approx([0.61, 0.71])
    assert heights["PLE"] == pytest.approx([0.595, 0.745])
    assert heights["DPG"] == [0.65]  # a point without a trial is left out
    best = areas.lines[0]
    assert (best.get_linestyle(), list(best.get_xdata())) == (":", [1000, 5000])
    assert list(best.get_ydata()) == [0.8, 0.82]
    ple, dpg = gains.containers
    assert list(ple[0].get_ydata()) == pytest.approx([-0.015, 0.035])
    assert list(dpg[0].get_ydata()) == pytest.approx([0.05])
    ((bar, _),) = [ple[2][0].get_segments()]
    assert bar[:, 1] == pytest.approx(
        [-0.015 - HALF_OF_ONE_HUNDREDTH, -0.015 + HALF_OF_ONE_HUNDREDTH]
    )
    assert ple[0].get_color() == areas.containers[0][0].get_color()


def test_lines_are_named_in_the_order_of_their_last_means():
    figure = draw_learning_curves(LEARNING_CURVES)
    names = [text.get_text() for text in figure.legends[0].get_texts()]
    # DPG has no mean at 5,000 rows: its last one, at 1,000, counts.
    assert names == ["best possible", "PLE", "DNN", "DPG"]


def test_equal_lines_are_drawn_over_each_other_but_their_gains_beside():
    areas = dict.fromkeys((1, 2), 0.6)
    test = {(name, rows): areas for name in ("DNN", "PLE", "DPG") for rows in (1000, 5000)}
    curves = learning_curves_of("s", BEST, results(test))
    means, gains = draw_learning_curves(curves).axes
    assert {tuple(bars[0].get_xdata()) for bars in means.containers} == {(1000, 5000)}
    (one, other) = (bars[0].get_xdata() for bars in gains.containers)
    assert (one < other).all() and one[1] / one[0] == pytest.approx(5)


def test_one_size_without_the_baseline_or_the_best_possible():
    test = {("PLE", 1000): {1: 0.6}}
    curves = learning_curves_of("s", {1000: None}, results(test))
    (panel,) = draw_learning_curves(curves).axes
    assert not panel.lines[0].get_label().startswith("best")
    assert heights_of(panel) == {"PLE": [0.6]}
    assert area_table(curves) == (["test AUC", "1,000 rows"], [["PLE", "0.6000"]])
    assert "over DNN" not in notes(curves)[0]


def test_eighteen_lines_have_a_colour_and_a_name_each():
    names = [f"model {number}" for number in range(18)]
    point = LearningPoint(1000, [1], [0.6], 0.6, None, None, [])
    lines = {name: [replace(point, mean=0.6 + 0.01 * k)] for k, name in enumerate(names)}
    figure = draw_learning_curves(LearningCurves("s", [1000], [0.9], lines))
    assert len({bars[0].get_color() for bars in figure.axes[0].containers}) == 18
    texts = [text.get_text() for text in figure.legends[0].get_texts()]
    assert texts == ["best possible", *reversed(names)]
    figure.draw_without_rendering()
    box = figure.legends[0].get_window_extent()
    assert box.y0 >= 0 and box.y1 <= figure.bbox.height
