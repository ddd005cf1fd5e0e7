"""Columns that are linear in a Gaussian vector, with noise of their own or of one variance for all."""

from __future__ import annotations

from collections.abc import Collection

import torch
from torch import Tensor

from emnet.exceptions import DegenerateFitError, InvalidInputError
from emnet.factors.base import Factor, require_given
from emnet.factors.columns import NO_ROWS
from emnet.factors.covariances import free
from emnet.factors.least_squares import ConjugatePrior, RegressionMoments, gradient, log_density, maximum
from emnet.kernels import linear_gaussian
from emnet.kernels.linear_gaussian import PatternedRows


class LinearDecoder(Factor[RegressionMoments]):
    """p(x | z) = Π_i Normal(x_i; b_i + Λ_i·z, ψ_i), where NaN is not observed: factor analysis; ψ_i = σ²: PPCA.

    Each column is a regression on z over the rows that have it, so the M-step is closed, holes or not
    (Rubin & Thayer 1982; Tipping & Bishop 1999).

    Parameters
    ----------
    weights : (d, 1 + q), the start of (b, Λ).
    noise : ψ, (d,), or (1,) of a variance that all columns share: the start.
    prior : on loadings and noise; see `ConjugatePrior`.
    fixed : may name "noise", which then EM leaves as it is.
    """

    prepare = staticmethod(linear_gaussian.by_pattern)

    def __init__(
        self, weights: Tensor, noise: Tensor, *, prior: ConjugatePrior | None = None, fixed: Collection[str] = ()
    ):
        super().__init__()
        if len(noise) not in (1, len(weights)):
            raise InvalidInputError(f"noise must be (1,) or ({len(weights)},), one a column; got {tuple(noise.shape)}.")
        if set(fixed) - {"noise"}:
            raise InvalidInputError(f"fixed may name 'noise'; got {sorted(set(fixed) - {'noise'})[0]!r}.")
        self.weights, self.log_noise = free(weights), free(_logarithms(noise))
        self.prior, self.fixed = prior or ConjugatePrior(), frozenset(fixed)

    @property
    def bias(self) -> Tensor:
        """b, (d,)."""
        return self.weights.detach()[:, 0]

    @property
    def loadings(self) -> Tensor:
        """Λ, (d, q)."""
        return self.weights.detach()[:, 1:]

    @property
    def noise(self) -> Tensor:
        """ψ of every column, (d,)."""
        return self.log_noise.detach().exp().expand(len(self.weights))

    @property
    def n_parameters(self) -> int:
        """Free parameters, as information criteria count them: loadings up to a rotation."""
        d, q = self.loadings.shape
        return d + d * q - q * (q - 1) // 2 + (0 if "noise" in self.fixed else len(self.log_noise))

    def log_prob(self, target: Tensor, given: Tensor | None = None) -> Tensor:
        """Of what is there of each row, from `given` = (1, z), (n, 1 + q): (n,)."""
        mean = require_given(given) @ self.weights.to(target.dtype).T
        own = log_density(target, mean, self.noise.to(target.dtype))
        return torch.where(target.isnan(), 0.0, own).sum(1)

    def statistics(
        self, target: Tensor | PatternedRows, weights: Tensor | None, given: Tensor | None = None
    ) -> RegressionMoments:
        vector = require_given(given)[:, 1:]
        return self.statistics_of_vector(target, weights, vector, vector[:, :, None].mul(vector[:, None]).mul_(0.0))

    def statistics_of_vector(
        self, target: Tensor | PatternedRows, weights: Tensor | None, mean: Tensor, covariance: Tensor
    ) -> RegressionMoments:
        """From E[z | x], (n, q), and Cov[z | x], (n, q, q): a regression for each column."""
        rows = target if isinstance(target, PatternedRows) else self.prepare(target)
        gram, cross, squares, mass = linear_gaussian.moments(rows, weights, mean, covariance)
        return RegressionMoments(gram, cross[:, :, None], squares[:, None], mass)

    def maximize(self, statistics: RegressionMoments) -> None:
        weights, noise = maximum(statistics, self.prior)
        idle = statistics.weight < NO_ROWS  # of a column that no row has, Q says nothing
        weights[:, 0] = torch.where(idle[:, None], self.weights, weights[:, 0])
        noise = torch.where(idle, self.noise, noise[:, 0])
        if len(self.log_noise) == 1:
            rows = statistics.weight + self.prior.rows(self.weights) * ~idle
            noise = (noise * rows).sum().view(1) / rows.sum()
        if "noise" not in self.fixed:
            self.log_noise.copy_(_logarithms(noise))
        self.weights.copy_(weights[:, 0])

    def gradient(self, statistics: RegressionMoments) -> Tensor:
        of_weights, of_noise = gradient(statistics, self.weights.detach()[:, None], self.noise[:, None], self.prior)
        return self._learned(of_weights, of_noise.sum().view(1) if len(self.log_noise) == 1 else of_noise)

    def log_prior(self) -> float:
        return self.prior.log_density(self.weights.detach(), self.noise)

    def coordinates(self) -> Tensor:
        return self._learned(self.weights.detach(), self.log_noise.detach())

    def set_coordinates(self, vector: Tensor) -> None:
        size = self.weights.numel()
        self.weights.copy_(vector[:size].view(self.weights.shape))
        if "noise" not in self.fixed:
            self.log_noise.copy_(vector[size:])

    def _learned(self, of_weights: Tensor, of_noise: Tensor) -> Tensor:
        """The two end to end, without what is fixed."""
        return torch.cat([of_weights.flatten()] + ([] if "noise" in self.fixed else [of_noise.flatten()]))


def _logarithms(noise: Tensor) -> Tensor:
    """log ψ; raises DegenerateFitError that names the columns without noise."""
    bad = torch.nonzero(~((noise > 0) & noise.isfinite())).flatten().tolist()
    if bad:
        which = "shared by the columns" if len(noise) == 1 else f"of column {', '.join(map(str, bad))}"
        raise DegenerateFitError(
            f"The noise {which} must be above 0 and finite; it came out as {float(noise[bad[0]]):.3g}. The factors "
            "explain everything, and the likelihood has no bound: take fewer of them, or give prior='auto'."
        )
    return noise.double().log()
