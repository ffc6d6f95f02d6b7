from math import log

import pytest

from recbole_midpg.analysis.curves import curves_of
from recbole_midpg.analysis.reports import read_run
from recbole_midpg.common.errors import UsageError
from tests.analysis.reports import run_report, written


def test_panels_of_two_models():
    plain = run_report(model="DeepFM")
    for epoch in plain["epochs"]:
        epoch["loss"], epoch["valid"] = {"loss": 70.0}, {}
    runs = {"one": read_run(written(run_report())), "two": read_run(written(plain))}
    curves = curves_of(runs)
    assert curves.runs == ["one", "two"]
    by_name = {panel.quantity: panel for panel in curves.panels}
    assert list(by_name) == [
        "training loss, cross-entropy",
        "training loss, beta × regularisation",
        "training loss, loss",
        "validation AUC",
        "JSD, matched pairs and pairs of other scenarios",
    ]
    assert by_name["training loss, loss"].unit == "as logged"
    (areas,) = by_name["validation AUC"].curves
    assert (areas.run, areas.epochs, areas.values) == ("one", [0, 2], [0.6, 0.62])
    (estimates,) = curves.panels[-1].curves
    expected = [(2 * log(2) - loss) / 2 for loss in (1.3, 1.2, 1.0)]
    assert estimates.values == pytest.approx(expected)
    assert estimates.largest == log(2)


def test_dpg_and_midpg_share_the_panel_of_the_cross_entropy():
    dpg = run_report(model="DPG")
    for epoch in dpg["epochs"]:
        epoch["loss"] = {"bce": 0.5}
    runs = {"a": read_run(written(run_report())), "b": read_run(written(dpg))}
    assert [curve.run for curve in curves_of(runs).panels[0].curves] == ["a", "b"]


def test_a_report_without_epochs_is_refused():
    with pytest.raises(UsageError, match="no epochs"):
        curves_of({"a": read_run(written(run_report(epochs=[])))})
