r"""Mutual information between the scenario and its weighting matrices, estimated by a network.

Source: Cheng et al., MI-DPG, CIKM 2023, equations (6)-(7). The estimators are those of Nowozin et
al. (f-GAN, 2016: ``jsd``, ``kl``), Belghazi et al. (MINE, 2018: ``dv``), Hjelm et al. (Deep
InfoMax, 2018) and van den Oord et al. (CPC, 2018: ``infonce``).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import softplus

from recbole_midpg.layers.across_processes import of_first_process
from recbole_midpg.layers.mlp import ACTIVATIONS, MLP, masked_mean, mean_or_zero
from recbole_midpg.layers.scenario_grouping import (
    number_scenarios,
    number_scenarios_in_slots,
)

_LEAST_VARIANCE = 1e-12


class PairDiscriminator(nn.Module):
    r"""The discriminator :math:`T(s, w)`: how well a scenario and matrices belong together.

    A network on :math:`[s; w]`. Its first layer is kept as two maps, of ``s`` and of ``w``, so that
    a scenario is paired with other matrices without mapping either again.

    Args:
        scenario_size: width of ``s``.
        matrix_size: width of ``w``.
        hidden_sizes: widths of the hidden layers, at least one.
        activation: activation of the hidden layers.
        standardize: whether the network sees both inputs standardized, see :func:`standardized`.
    """

    def __init__(
        self,
        scenario_size: int,
        matrix_size: int,
        hidden_sizes: Sequence[int],
        activation: str = "relu",
        standardize: bool = False,
    ) -> None:
        super().__init__()
        self.standardize = standardize
        self.scenario_map = nn.Linear(scenario_size, hidden_sizes[0])
        self.matrix_map = nn.Linear(matrix_size, hidden_sizes[0], bias=False)
        self.activation = ACTIVATIONS[activation]()
        self.head = MLP(hidden_sizes[0], hidden_sizes[1:], 1, activation)

    def map_scenario(self, scenario: Tensor, counts: Tensor | None = None) -> Tensor:
        """Map scenario-aware embeddings, ``(B, d_s)`` to ``(B, H)``.

        Args:
            scenario: the embeddings.
            counts: how often each row counts where they are standardized, ``(B,)``; once by
                default.
        """
        return self.scenario_map(standardized(scenario, counts) if self.standardize else scenario)

    def map_matrices(self, matrices: Tensor) -> Tensor:
        """Map weighting matrices, ``(B, matrix_size)`` to ``(B, H)``."""
        return self.matrix_map(standardized(matrices) if self.standardize else matrices)

    def score(self, scenario_part: Tensor, matrix_part: Tensor) -> Tensor:
        """Score mapped pairs; ``(..., H)`` and ``(..., H)`` broadcast to ``(...)``."""
        return self.head(self.activation(scenario_part + matrix_part)).squeeze(-1)

    def forward(self, scenario: Tensor, matrices: Tensor) -> Tensor:
        """Score pairs: ``(B, d_s)`` and ``(B, matrix_size)`` to ``(B,)``."""
        return self.score(self.map_scenario(scenario), self.map_matrices(matrices))


def standardized(values: Tensor, counts: Tensor | None = None) -> Tensor:
    r"""Columns with mean 0 and standard deviation 1 over the rows; the gradient passes unchanged.

    .. math:: \hat x_{ij} = \frac{x_{ij} - \bar x_j}{\sqrt{\text{var}_j + 10^{-12}}},
        \qquad \frac{\partial L}{\partial x_{ij}} := \frac{\partial L}{\partial \hat x_{ij}}

    Embeddings start at the scale of 0.001 where tables are large, and weighting matrices as near to
    one another: a network that sees them as they are learns nothing for hundreds of steps. The true
    gradient would be larger by the same factor of 1,000 and drown that of the cross-entropy.

    Args:
        values: ``(B, width)``.
        counts: how often each row counts in the mean and the deviation, ``(B,)``; once by default.

    Returns:
        ``(B, width)``; a column whose values are all equal is 0.
    """
    plain = values.detach()
    centred = plain - _column_means(plain, counts)
    scaled = centred * torch.rsqrt(_column_means(centred.square(), counts) + _LEAST_VARIANCE)
    return scaled + (values - plain)


def _column_means(values: Tensor, counts: Tensor | None) -> Tensor:
    if counts is None:
        return values.mean(dim=0)
    return (values * counts.unsqueeze(1)).sum(0) / counts.sum()


def jensen_shannon_loss(positive: Tensor, negative: Tensor, kept: Tensor) -> Tensor:
    r""":math:`-(\text{mean}\log\sigma(T^+) + \text{mean}\log(1-\sigma(T^-)))`, the default.

    Args:
        positive: scores of matched pairs, ``(B,)``.
        negative: scores of shuffled pairs, ``(B,)``.
        kept: which of the shuffled pairs count, ``(B,)``, boolean.

    Returns:
        A scalar; ``2 log 2`` for a discriminator that distinguishes nothing.
    """
    return mean_or_zero(softplus(-positive)) + masked_mean(softplus(negative), kept)


def kullback_leibler_loss(positive: Tensor, negative: Tensor, kept: Tensor) -> Tensor:
    r""":math:`-(\text{mean}\,T^+ - \text{mean}\,e^{T^- - 1})`, f-GAN's bound of KL.

    Arguments and result as :func:`jensen_shannon_loss`.
    """
    # Left out before exp: infinity times a mask's zero would be NaN.
    ratios = torch.exp(negative.masked_fill(~kept, -torch.inf) - 1)
    return masked_mean(ratios, kept) - mean_or_zero(positive)


def donsker_varadhan_loss(positive: Tensor, negative: Tensor, kept: Tensor) -> Tensor:
    r""":math:`-(\text{mean}\,T^+ - \log\text{mean}\,e^{T^-})`, the bound that MINE uses.

    Arguments and result as :func:`jensen_shannon_loss`.
    """
    # The lowest finite number, not -inf: a row of -inf alone would have NaN as its gradient.
    lowest = torch.finfo(negative.dtype).min
    log_sum = torch.logsumexp(negative.masked_fill(~kept, lowest), 0)
    log_count = kept.sum().clamp(min=1).to(negative.dtype).log()
    return log_sum - log_count - mean_or_zero(positive)


SHUFFLE_ESTIMATORS: dict[str, Callable[[Tensor, Tensor, Tensor], Tensor]] = {
    "jsd": jensen_shannon_loss,
    "kl": kullback_leibler_loss,
    "dv": donsker_varadhan_loss,
}
MI_ESTIMATORS = (*SHUFFLE_ESTIMATORS, "infonce")


class ShuffledPairsLoss(nn.Module):
    r"""MIR with one shuffled partner a sample: negatives :math:`(s_{\pi(i)}, w_i)`, eqs. (6)-(7).

    A shuffled partner of the same scenario is a false negative and left out where
    ``mask_same_scenario``. Where no negative is left, or the batch holds one scenario only, the
    loss is zero.

    Args:
        discriminator: :math:`T`.
        estimator: a key of :data:`SHUFFLE_ESTIMATORS`.
        mask_same_scenario: whether same-scenario partners are left out.
    """

    def __init__(
        self, discriminator: PairDiscriminator, estimator: str, mask_same_scenario: bool = True
    ) -> None:
        super().__init__()
        self.discriminator = discriminator
        self.estimate = SHUFFLE_ESTIMATORS[estimator]
        self.mask_same_scenario = mask_same_scenario

    def forward(self, scenario: Tensor, matrices: Tensor, scenario_tokens: Tensor) -> Tensor:
        """Compute the loss.

        Args:
            scenario: :math:`s`, ``(B, d_s)``.
            matrices: :math:`w`, the compact matrices of every layer, ``(B, matrix_size)``.
            scenario_tokens: the tokens of the scenario fields, ``(B, fields)``.

        Returns:
            A scalar.
        """
        shuffled = of_first_process(torch.randperm(len(scenario), device=scenario.device))
        return self.loss_of(scenario, matrices, scenario_tokens, shuffled)

    def loss_of(
        self, scenario: Tensor, matrices: Tensor, scenario_tokens: Tensor, shuffled: Tensor
    ) -> Tensor:
        r"""Compute the loss for a given shuffle :math:`\pi`, ``(B,)``; else as :meth:`forward`."""
        if self.mask_same_scenario:
            kept = (scenario_tokens != scenario_tokens[shuffled]).any(dim=1)
        else:
            kept = (scenario_tokens != scenario_tokens[:1]).any().expand(len(scenario_tokens))
        own_part = self.discriminator.map_scenario(scenario)
        both_parts = torch.stack([own_part, own_part.index_select(0, shuffled)])
        matrix_part = self.discriminator.map_matrices(matrices)
        positive, negative = self.discriminator.score(both_parts, matrix_part)
        # Filled in, not branched on: a branch would wait for the device in every batch.
        return self.estimate(positive, negative, kept).masked_fill(~kept.any(), 0.0)


class InfoNCELoss(nn.Module):
    r"""InfoNCE with every other row of the batch as a negative.

    .. math:: -\text{mean}_i \left( T(s_i, w_i) - \log \sum_j e^{T(s_j, w_i)} \right)

    ``s`` is the same for all rows of a scenario, so the sum runs over the distinct scenarios,
    each counted as often as it occurs: ``B x distinct`` scores instead of ``B x B``. How many are
    distinct has to come from the device; with :attr:`fixed_shapes` as many scores are made as there
    can be scenarios, and those that are not in the batch count zero times.

    Args:
        discriminator: :math:`T`.
        mask_same_scenario: whether other rows of the same scenario are left out of the sum.
        n_scenarios: how many scenarios there can be; not known by default.
    """

    fixed_shapes: bool = False

    def __init__(
        self,
        discriminator: PairDiscriminator,
        mask_same_scenario: bool = True,
        n_scenarios: int | None = None,
    ) -> None:
        super().__init__()
        self.discriminator = discriminator
        self.mask_same_scenario = mask_same_scenario
        self.n_scenarios = n_scenarios

    def forward(self, scenario: Tensor, matrices: Tensor, scenario_tokens: Tensor) -> Tensor:
        """Compute the loss; arguments and result as :meth:`ShuffledPairsLoss.forward`."""
        if not len(scenario):
            return mean_or_zero(self.discriminator(scenario, matrices))
        own, examples = self._number(scenario_tokens)
        counts = torch.zeros_like(examples).scatter_add_(0, own, torch.ones_like(own))
        scenario_part = self.discriminator.map_scenario(scenario.index_select(0, examples), counts)
        matrix_part = self.discriminator.map_matrices(matrices)
        scores = self.discriminator.score(scenario_part, matrix_part.unsqueeze(1))
        log_counts = torch.log(counts.to(scores.dtype)).expand_as(scores)
        if self.mask_same_scenario:
            log_counts = log_counts.scatter(1, own.unsqueeze(1), 0.0)
        positive = scores.gather(1, own.unsqueeze(1)).squeeze(1)
        loss = mean_or_zero(torch.logsumexp(scores + log_counts, dim=1) - positive)
        return loss.masked_fill((counts > 0).sum() <= 1, 0.0)  # of one scenario alone

    def _number(self, scenario_tokens: Tensor) -> tuple[Tensor, Tensor]:
        """The number of each row's scenario, and a row of each scenario."""
        if not self.fixed_shapes:
            return number_scenarios(scenario_tokens)
        n_rows = len(scenario_tokens)
        return number_scenarios_in_slots(scenario_tokens, min(self.n_scenarios or n_rows, n_rows))


def mutual_information_loss(
    discriminator: PairDiscriminator,
    estimator: str,
    mask_same_scenario: bool,
    n_scenarios: int | None = None,
) -> ShuffledPairsLoss | InfoNCELoss:
    """Build the loss of an estimator, one of :data:`MI_ESTIMATORS`.

    Arguments as those of the losses.
    """
    if estimator == "infonce":
        return InfoNCELoss(discriminator, mask_same_scenario, n_scenarios)
    return ShuffledPairsLoss(discriminator, estimator, mask_same_scenario)
