"""From reports of runs to training curves."""

from __future__ import annotations

from collections.abc import Mapping

from recbole_midpg.analysis.figures import Curve, CurvePanel, TrainingCurves
from recbole_midpg.analysis.mutual_information import estimate_information
from recbole_midpg.analysis.reports import FinishedRun
from recbole_midpg.common.errors import UsageError

# Our models' terms: the mean of a row. RecBole's own models log sums over batches.
_TERMS = {
    "bce": ("training loss, cross-entropy", "nats"),
    "alpha*bce": ("training loss, cross-entropy", "nats"),
    "beta*mir": ("training loss, beta × regularisation", "nats"),
}


def curves_of(runs: Mapping[str, FinishedRun]) -> TrainingCurves:
    """Collect the loss terms, the validation AUC and the estimated information of runs.

    Args:
        runs: by label.

    Returns:
        A panel for each loss term, then one for the AUC, then one for each quantity that a
        regularisation estimates.

    Raises:
        UsageError: a report has no epochs, or an estimate lacks a config value.
    """
    losses: dict[tuple[str, str], list[Curve]] = {}
    areas: list[Curve] = []
    estimates: dict[tuple[str, str], list[Curve]] = {}
    for label, run in runs.items():
        if not run.epochs:
            raise UsageError(f"report {run.path!r}: it has no epochs.")
        numbers = [epoch.epoch for epoch in run.epochs]
        for term in run.epochs[0].loss:
            panel = _TERMS.get(term, (f"training loss, {term}", "as logged"))
            values = [epoch.loss[term] for epoch in run.epochs]
            losses.setdefault(panel, []).append(Curve(label, numbers, values))
        evaluated = {
            epoch.epoch: epoch.valid_auc for epoch in run.epochs if epoch.valid_auc is not None
        }
        if evaluated:
            areas.append(Curve(label, list(evaluated), list(evaluated.values())))
        estimate = estimate_information(run)
        if estimate is not None:
            estimates.setdefault((estimate.quantity, "nats"), []).append(
                Curve(label, numbers, estimate.values, estimate.largest)
            )
    auc_panel = {("validation AUC", "AUC"): areas} if areas else {}
    panels = {**losses, **auc_panel, **estimates}
    return TrainingCurves(
        list(runs), [CurvePanel(*panel, curves) for panel, curves in panels.items()]
    )
