"""What the figures show is what the data says; read back from the drawn shapes and the files."""

import itertools
import json
from dataclasses import replace
from math import log
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("matplotlib")

from matplotlib.figure import Figure
from matplotlib.text import Text

from recbole_midpg.analysis import drawing
from recbole_midpg.analysis.drawing import (
    MOST_MARKS,
    drawn_names,
    import_matplotlib,
    line_marks,
    point_marks,
    save_figure,
)
from recbole_midpg.analysis.figures import (
    Curve,
    CurvePanel,
    Gain,
    HeatMap,
    Scatter,
    ScatterPanel,
    ScenarioGains,
    SizeSweep,
    SweepPoint,
    TrainingCurves,
    draw_heat_map,
    draw_scatter,
    draw_scenario_gains,
    draw_size_sweep,
    draw_training_curves,
)
from recbole_midpg.analysis.learning_curves import draw_learning_curves
from recbole_midpg.common.errors import UsageError
from tests.analysis.test_sizes import LEARNING_CURVES


def point(size, test):
    mean, deviation = float(np.mean(test)), float(np.std(test, ddof=1))
    return SweepPoint(size, {"k": 2}, 99, [0.5], test, mean, deviation, [])


def gain(differences):
    (difference,) = differences
    return Gain(differences, difference, None, None)


SWEEP = SizeSweep(
    "gaps",
    [(4, 2), (8, 4)],
    {
        "DPG-non": [point(None, [0.58, 0.6])],
        "DPG-r": [point(0, [0.6, 0.62]), point(1, [0.63, 0.65])],
        "APG": [
            point(0, [0.5, 0.54]),
            SweepPoint(1, {}, 99, [], [], None, None, ["killed"]),
        ],
    },
)
SCATTER = Scatter(
    ["a", "b", "c"],
    [
        ScatterPanel("without", [0.0, 1.0, 2.0], [3.0, 4.0, 5.0], ["a", "b", "a"]),
        ScatterPanel("with", [6.0], [7.0], ["c"]),
    ],
)
HEAT_MAP = HeatMap(
    "one",
    ["x", "y", "z"],
    np.array([[1, 0.5, -0.5], [0.5, 1, -1], [-0.5, -1, 1]]),
    np.array([[1, 0.1, 0.2], [0.1, 1, 0.3], [0.2, 0.3, 1]]),
    0.25,
)
CURVES = TrainingCurves(
    ["DPG", "MIDPG"],
    [
        CurvePanel(
            "validation AUC", "AUC", [Curve("DPG", [0, 1], [0.5, 0.6]), Curve("MIDPG", [1], [0.7])]
        ),
        CurvePanel("JSD", "nats", [Curve("MIDPG", [0, 1], [0.1, 0.2], log(2))]),
        CurvePanel("loss", "nats", [Curve("MIDPG", [0, 1], [0.3, 0.2])]),
    ],
)
GAINS = ScenarioGains(
    "gaps",
    "DNN",
    ["x", "y", "z"],
    [1200, 30, 4],
    {
        "STAR": [gain([0.02]), Gain([], None, None, None), gain([-0.01])],
        "DPG": [Gain([0.02, 0.04], 0.03, 0.014, 0.127), gain([0.0]), gain([0.01])],
    },
)
DRAWN = {
    "sweep": (draw_size_sweep, SWEEP),
    "tsne": (draw_scatter, SCATTER),
    "heat_map": (draw_heat_map, HEAT_MAP),
    "curves": (draw_training_curves, CURVES),
    "gains": (draw_scenario_gains, GAINS),
    "sizes": (draw_learning_curves, LEARNING_CURVES),
}


def shown(figure):
    return [axis for axis in figure.axes if axis.get_visible()]


def test_sweep_shows_means_and_deviations():
    axis = draw_size_sweep(SWEEP).axes[0]
    assert [label.get_text() for label in axis.get_xticklabels()] == ["(4, 2)", "(8, 4)"]
    heights = {
        container.get_label(): list(container[0].get_ydata()) for container in axis.containers
    }
    assert heights["DPG-r"] == pytest.approx([0.61, 0.64])
    assert heights["DPG-non"] == pytest.approx([0.59, 0.59])  # the same at every size
    assert heights["APG"] == pytest.approx([0.52])  # a failed point is left out
    places = np.array(axis.containers[1][0].get_xdata(), dtype=float)
    np.testing.assert_allclose(places, [0, 1], atol=0.2)
    bars = axis.containers[1][2][0].get_segments()
    deviation = 0.02 / 2**0.5
    np.testing.assert_allclose(
        [bar[:, 1] for bar in bars],
        [[mean - deviation, mean + deviation] for mean in (0.61, 0.64)],
    )


def test_scatter_shows_rows_by_scenario_with_the_same_marks_in_all_panels():
    figure = draw_scatter(SCATTER)
    left, right = shown(figure)
    assert [axis.get_title() for axis in (left, right)] == ["without", "with"]
    np.testing.assert_array_equal(left.collections[0].get_offsets(), [[0, 3], [2, 5]])
    np.testing.assert_array_equal(left.collections[1].get_offsets(), [[1, 4]])
    np.testing.assert_array_equal(right.collections[2].get_offsets(), [[6, 7]])
    for one, other in zip(left.collections, right.collections, strict=True):
        np.testing.assert_array_equal(one.get_facecolor(), other.get_facecolor())
        np.testing.assert_array_equal(one.get_paths()[0].vertices, other.get_paths()[0].vertices)
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["a", "b", "c"]


def test_more_scenarios_than_marks_are_refused():
    names = [str(number) for number in range(MOST_MARKS + 1)]
    with pytest.raises(UsageError, match="--scenarios"):
        draw_scatter(Scatter(names, SCATTER.panels))


def test_heat_map_shows_the_similarity_and_the_planted_one():
    found, planted, bar = shown(draw_heat_map(HEAT_MAP))
    np.testing.assert_array_equal(found.images[0].get_array(), HEAT_MAP.similarity)
    np.testing.assert_array_equal(planted.images[0].get_array(), HEAT_MAP.planted)
    assert [text.get_text() for text in found.texts[:3]] == ["1.0", "0.5", "-0.5"]
    assert [label.get_text() for label in found.get_yticklabels()] == ["x", "y", "z"]
    assert [label.get_text() for label in planted.get_xticklabels()] == ["x", "y", "z"]
    assert "0.25" in planted.get_title() and "similarity" in bar.get_ylabel()
    only = HeatMap("real", ["x", "y", "z"], HEAT_MAP.similarity, None, None)
    assert len(shown(draw_heat_map(only))) == 2


def test_heat_map_is_darker_for_more_similar_in_greyscale_too():
    image = draw_heat_map(HEAT_MAP).axes[0].images[0]
    colours = image.cmap(image.norm(np.linspace(-1, 1, 50)))[:, :3]
    luminance = colours @ [0.2126, 0.7152, 0.0722]
    assert (np.diff(luminance) < 0).all()


def test_curves_show_every_epoch_and_the_largest_value():
    area, information, loss = shown(draw_training_curves(CURVES))
    assert [axis.get_title(loc="left") for axis in (area, information, loss)] == [
        "validation AUC", "JSD", "loss"
    ]  # fmt: skip
    first, second = area.lines
    np.testing.assert_array_equal(first.get_xydata(), [[0, 0.5], [1, 0.6]])
    np.testing.assert_array_equal(second.get_xydata(), [[1, 0.7]])
    curve, largest = information.lines
    assert curve.get_color() == second.get_color()
    assert list(largest.get_ydata()) == [log(2)] * 2
    assert loss.get_ylabel() == "nats"


def test_gains_show_a_row_of_bars_a_model():
    figure = draw_scenario_gains(GAINS)
    star, dpg = shown(figure)
    assert [bar.get_height() for bar in star.containers[1]] == [0.02, -0.01]
    assert [bar.get_x() + bar.get_width() / 2 for bar in star.containers[1]] == [0, 2]
    assert [bar.get_height() for bar in dpg.containers[1]] == [0.03, 0.0, 0.01]
    errors = dpg.containers[0][2][0].get_segments()
    np.testing.assert_allclose(errors[0][:, 1], [-0.097, 0.157])
    np.testing.assert_allclose(errors[1][:, 1], [0, 0])
    assert star.get_ylim() == dpg.get_ylim()
    names = [label.get_text() for label in dpg.get_xticklabels()]
    assert names == ["x (1,200)", "y (30)", "z (4)"]
    assert "over DNN" in figure.get_supylabel() and "95 %" in figure.get_supylabel()


@pytest.mark.parametrize("name", DRAWN)
def test_everything_is_at_least_eight_points_high(name):
    draw, data = DRAWN[name]
    figure = draw(data)
    for text in figure.findobj(Text):
        if text.get_text():
            assert text.get_fontsize() >= 8, text.get_text()
    assert figure.get_size_inches()[0] <= drawing.PAGE_WIDTH


@pytest.mark.slow
@pytest.mark.parametrize("name", DRAWN)
def test_files_are_written_again_to_the_byte_with_the_data(name, tmp_path):
    draw, data = DRAWN[name]
    first = save_figure(draw(data), data, tmp_path / "a", name)
    second = save_figure(draw(data), data, tmp_path / "b", name)
    assert [path.name for path in first] == [f"{name}.{end}" for end in ("png", "svg", "json")]
    assert sorted((tmp_path / "a").iterdir()) == sorted(first)
    for one, other in zip(first, second, strict=True):
        assert one.read_bytes() == other.read_bytes()
    content = json.loads(first[2].read_text())
    assert list(content) == list(vars(data))


def test_the_data_file_holds_the_numbers(tmp_path):
    path = save_figure(draw_heat_map(HEAT_MAP), HEAT_MAP, tmp_path, "h")[2]
    content = json.loads(path.read_text())
    assert content["similarity"] == HEAT_MAP.similarity.tolist()
    assert content["scenarios"] == ["x", "y", "z"]


def test_a_figure_that_cannot_be_written_leaves_nothing(tmp_path, monkeypatch):
    def full(self, *args, **kwargs):
        Path(args[0]).write_text("half")
        raise OSError(28, "No space left on device")

    figure = draw_heat_map(HEAT_MAP)
    monkeypatch.setattr(Figure, "savefig", full)
    with pytest.raises(UsageError, match="No space left"):
        save_figure(figure, HEAT_MAP, tmp_path, "h")
    assert not list(tmp_path.iterdir())
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="file"):
        save_figure(figure, HEAT_MAP, tmp_path / "file", "h")


def test_the_users_style_changes_nothing(tmp_path):
    before = save_figure(draw_size_sweep(SWEEP), SWEEP, tmp_path, "a")[1].read_bytes()
    with import_matplotlib().rc_context({"font.size": 30, "lines.linewidth": 9}):
        after = save_figure(draw_size_sweep(SWEEP), SWEEP, tmp_path, "a")[1].read_bytes()
    assert before == after


@pytest.mark.parametrize("count", [7, 8, 21, MOST_MARKS])
def test_no_colour_comes_twice(count):
    marks = [point_marks(place, count) for place in range(count)]
    assert len({mark["color"] for mark in marks}) == count
    for one, other in itertools.pairwise(marks):
        assert one["marker"] != other["marker"]
    lines = {line_marks(place, count)["color"] for place in range(count)}
    assert len(lines) == count


def test_of_many_scenarios_each_has_a_number_among_its_points():
    names = [f"scenario {place}" for place in range(12)]
    generator = np.random.default_rng(0)
    points = generator.normal(size=(120, 2))
    panel = ScatterPanel("mixed", *points.T.tolist(), names * 10)
    axis = draw_scatter(Scatter(names, [panel])).axes[0]
    assert [text.get_text() for text in axis.texts] == [str(place + 1) for place in range(12)]
    for place, text in enumerate(axis.texts):
        assert list(text.get_position()) in points[place::12].tolist()
    spots = np.array([text.get_position() for text in axis.texts])
    assert len(np.unique(spots, axis=0)) == 12
    legend = draw_scatter(Scatter(names, [panel])).legends[0].get_texts()
    assert legend[11].get_text() == "12  scenario 11"


def test_a_scenario_without_points_in_a_panel_has_no_number_there():
    names = [str(place) for place in range(8)]
    panel = ScatterPanel("one", [1.0], [2.0], ["3"])
    axis = draw_scatter(Scatter(names, [panel])).axes[0]
    assert [text.get_text() for text in axis.texts] == ["4"]


def test_names_are_short_and_distinct_and_have_glyphs(monkeypatch, caplog):
    monkeypatch.setattr(drawing, "_has_glyph", lambda char: char not in "学🛒")
    long = "a name as long as somebody wanted it to be"
    shown = drawn_names(["学", "🛒", "$5$", long + " 1", long + " 2", "город=Москва"])
    assert shown == [
        r"\u5b66",
        r"\U0001f6d2",
        r"\$5\$",
        "a name as long as …t to be 1",
        "a name as long as …t to be 2",
        "город=Москва",
    ]
    assert "2 characters" in caplog.text
    same = drawn_names([f"{'a' * 30}{middle}{'z' * 30}" for middle in "bcb"[:2]])
    assert same == [f"{'a' * 18}…{'z' * 9} (1)", f"{'a' * 18}…{'z' * 9} (2)"]


def test_the_installed_fonts_have_the_letters_of_most_alphabets(caplog):
    names = ["tab=écran", "город=Москва", "مدينة", "α, β ± ≤"]
    assert drawn_names(names) == names
    assert not caplog.text


@pytest.mark.parametrize("name", ["tsne", "heat_map", "gains"])
def test_nothing_is_clipped_however_long_a_name_is(name):
    draw, data = DRAWN[name]
    first, *others = data.scenarios
    long = f"{first} of which somebody has written the whole story into its name, as shops do"
    changes = {"scenarios": [long, *others]}
    if name == "tsne":
        panels = [
            replace(panel, scenarios=[long if s == first else s for s in panel.scenarios])
            for panel in data.panels
        ]
        changes["panels"] = panels
    figure = draw(replace(data, **changes))
    figure.draw_without_rendering()
    width, height = figure.bbox.size
    texts = [text for text in figure.findobj(Text) if text.get_text() and text.get_visible()]
    assert len(texts) > 4
    for text in texts:
        box = text.get_window_extent()
        assert box.x0 >= -1 and box.y0 >= -1, text.get_text()
        assert box.x1 <= width + 1 and box.y1 <= height + 1, text.get_text()


def test_without_matplotlib_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "matplotlib.figure", None)
    with pytest.raises(UsageError, match=r"recbole-midpg\[analyze\]"):
        draw_size_sweep(SWEEP)
