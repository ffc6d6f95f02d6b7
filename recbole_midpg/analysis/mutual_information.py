r"""What the logged loss of the regularisation says about the mutual information it estimates.

``L`` is an epoch's mean of :math:`L_\text{MIR}`, which the log holds times ``beta``; ``P`` is the
distribution of matched pairs of scenario and matrices. Without ``mi_mask_same_scenario`` shuffled
pairs follow the product of the marginals, and with it :math:`Q'`, that product given that the two
scenarios differ. All values are in nats.

| estimator | masked | estimate | of | largest |
|---|---|---|---|---|
| ``jsd`` | no | :math:`(2 \ln 2 - L) / 2` | JSD of ``P`` and the product | ln 2 |
| ``jsd`` | yes | :math:`(2 \ln 2 - L) / 2` | JSD of ``P`` and :math:`Q'` | ln 2 |
| ``kl``, ``dv`` | no | :math:`-L` | the mutual information | none |
| ``kl``, ``dv`` | yes | :math:`-L` | KL of ``P`` from :math:`Q'` | none |
| ``infonce`` | no | :math:`\ln B - L` | the mutual information | ln B |
| ``infonce`` | yes | :math:`H - L` | the mutual information | H |

- Each is a lower bound of its quantity for a fixed discriminator and fresh rows. During training it
  is a running mean: the discriminator changes, and rows return every epoch.
- ``jsd``: :math:`-L \le 2\,\text{JSD} - 2 \ln 2` (Nowozin et al., f-GAN, 2016; Goodfellow et al.,
  2014). The JSD grows with the mutual information, but is not it.
- ``kl``, ``dv``: f-GAN's and Donsker and Varadhan's bounds of the KL divergence (Belghazi et al.,
  MINE, 2018); ``dv`` takes the logarithm of a batch's mean, which makes it too large on average.
  Masked, their quantity is no lower bound of the mutual information: it is infinite where the
  matrices reveal the scenario.
- ``infonce``: :math:`I \ge \ln B - L` for ``B`` candidates (van den Oord et al., CPC, 2018). A
  masked sum leaves out the :math:`c_i - 1` other rows of the scenario, of the same score, so that
  the whole one is at most :math:`c_i` times as large: :math:`L \le L_\text{masked} + \text{mean}
  \ln c_i`, and :math:`I \ge -\text{mean} \ln (c_i / B) - L_\text{masked} \approx H -
  L_\text{masked}` with ``H`` the scenarios' entropy. Taking ``H`` from all rows instead of batches
  makes it too large by about :math:`(S - 1) / 2B`; a shorter last batch makes ``ln B`` too large.
  ``H`` is that of ``scenario_id_field`` on the test split. The masked bound is loose where little
  is known: a discriminator that knows nothing has about ``H - ln B``, and a value below 0 says
  nothing.
- A batch of one scenario only counts as a loss of 0, which is no estimate; data in which such
  batches are common has none.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import log
from typing import Any

from recbole_midpg.analysis.reports import FinishedRun
from recbole_midpg.common.errors import UsageError
from recbole_midpg.layers.mutual_information import MI_ESTIMATORS

_TERM = "beta*mir"


@dataclass(frozen=True)
class InformationCurve:
    """An estimate an epoch, in nats.

    Attributes:
        quantity: what is estimated, in words.
        values: of each epoch.
        largest: the most that the estimate can be, ``None`` for no limit.
    """

    quantity: str
    values: list[float]
    largest: float | None


def estimate_information(run: FinishedRun) -> InformationCurve | None:
    """Turn a run's logged regularisation into estimates; see the module for the formulas.

    Args:
        run: of any model.

    Returns:
        The estimates; ``None`` where the run has no regularisation, or its weight ``beta`` is 0, so
        that the log does not hold it.

    Raises:
        UsageError: the report's config lacks a key or has a value that is not allowed.
    """
    if not any(_TERM in epoch.loss for epoch in run.epochs):
        return None
    beta = float(_config_value(run, "beta"))
    if beta == 0:
        return None
    losses = [epoch.loss[_TERM] / beta for epoch in run.epochs]
    estimator = _config_value(run, "mi_estimator")
    masked = bool(_config_value(run, "mi_mask_same_scenario"))
    if estimator not in MI_ESTIMATORS:
        raise UsageError(
            f"report {run.path!r}: mi_estimator: {estimator!r} is not allowed, "
            f"expected one of {', '.join(MI_ESTIMATORS)}."
        )
    others = "pairs of other scenarios" if masked else "shuffled pairs"
    if estimator == "jsd":
        values = [(2 * log(2) - loss) / 2 for loss in losses]
        return InformationCurve(f"JSD, matched pairs and {others}", values, log(2))
    if estimator == "infonce":
        largest = (
            _scenario_entropy(run) if masked else log(int(_config_value(run, "train_batch_size")))
        )
        return InformationCurve("mutual information", [largest - loss for loss in losses], largest)
    quantity = f"KL, matched pairs from {others}" if masked else "mutual information"
    return InformationCurve(quantity, [-loss for loss in losses], None)


def _config_value(run: FinishedRun, key: str) -> Any:
    if run.config.get(key) is None:
        raise UsageError(f"report {run.path!r}: its config lacks {key}.")
    return run.config[key]


def _scenario_entropy(run: FinishedRun) -> float:
    """The entropy of the rows' scenarios."""
    entropy = entropy_of_counts(list(run.rows_of_scenarios.values()))
    if entropy is None:
        raise UsageError(
            f"report {run.path!r}: it has no rows by scenario, which masked infonce needs."
        )
    return entropy


def entropy_of_counts(counts: Sequence[int]) -> float | None:
    r""":math:`H = -\sum_s p_s \ln p_s` of counts, in nats; ``None`` where there are none."""
    total = sum(counts)
    if total == 0:
        return None
    return -sum(count / total * log(count / total) for count in counts if count > 0)
