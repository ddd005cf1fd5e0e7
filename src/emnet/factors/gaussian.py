"""k Gaussians over d columns, with holes: the emission of a Gaussian mixture."""

from __future__ import annotations

import math
from collections.abc import Collection
from typing import Any

import torch
from torch import Generator, Tensor
from torch.nn.functional import one_hot

from emnet.exceptions import InvalidInputError
from emnet.factors.columns import NO_ROWS
from emnet.factors.covariances import Covariance, free, is_definite
from emnet.factors.emission import Emission
from emnet.factors.gaussian_moments import GaussianMoments, Rows
from emnet.factors.gaussian_priors import GaussianPrior
from emnet.factors.portable import PortableGaussian
from emnet.kernels import gaussian, gaussian_halves, gaussian_holes, gaussian_missing
from emnet.kernels.sums import may_hold_nan

_ROUNDING = 1e-14  # share of a column's variance that is none
_PSEUDO_ROWS = 10 * torch.finfo(torch.float64).eps
_LOG_2PI = math.log(2 * math.pi)


class Gaussian(Emission[GaussianMoments]):
    """p(target | state k) = Normal(m_k, Σ_k), where NaN is not observed and integrated out exactly.

    Densities are computed in the type of the target, moments and parameters are float64. Targets should be centered:
    what is far from 0, beside its spread, loses digits before it gets here.

    Parameters
    ----------
    means : (k, d), the start.
    covariance : what the covariances may be, and their start.
    prior : MAP instead of maximum likelihood.
    reg_covar : ε ≥ 0, added to the diagonal of what the M-step finds, as scikit-learn has it. With ε > 0 an M-step may
        lower the evidence a little; a prior never lowers its objective.
    floor : ε ≥ 0, added to the diagonal of what the M-step finds where that is not positive definite; 0 is an error.
    covariances_first : whether an M-step finds the covariances about the means as they were, and then the means: ECM
        (Meng & Rubin 1993), which takes more steps than EM to the same place.
    fixed : which of "means" and "covariances" EM leaves as they are.
    """

    def __init__(
        self,
        means: Tensor,
        covariance: Covariance,
        *,
        prior: GaussianPrior | None = None,
        reg_covar: float = 0.0,
        floor: float = 0.0,
        covariances_first: bool = False,
        fixed: Collection[str] = (),
    ):
        super().__init__()
        unknown = set(fixed) - {"means", "covariances"}
        if unknown:
            raise InvalidInputError(f"fixed may name 'means' and 'covariances'; got {sorted(unknown)[0]!r}.")
        self.means = free(means)
        self.covariance = covariance
        self.prior, self.reg_covar, self.floor = prior, float(reg_covar), float(floor)
        self.covariances_first, self.fixed = covariances_first, frozenset(fixed)
        self.lifted: tuple[int, ...] = ()  # whose covariances the last M-step gave the floor

    @property
    def n_states(self) -> int:
        return len(self.means)

    @property
    def n_parameters(self) -> int:
        """Free parameters, as information criteria count them."""
        own = 0 if "covariances" in self.fixed else self.covariance.n_parameters
        return own + (0 if "means" in self.fixed else self.means.numel())

    @staticmethod
    def prepare(target: Tensor) -> Rows:
        if not may_hold_nan(target) or not bool((missing := target.isnan()).any()):
            return Rows(target, None, _reach(target))
        values = target.masked_fill(missing, 0.0)
        return Rows(values, ~missing, _reach(values))

    def narrow(self, target: Tensor | Rows) -> list[int]:
        """Which states are so narrow beside these rows that sums about 0 lose their digits; `statistics` knows them."""
        rows = target if isinstance(target, Rows) else self.prepare(target)
        return rows.narrow(self.covariance.inverse_factor(), len(self.means))

    def log_prob(self, target: Tensor | Rows, given: Tensor | None = None) -> Tensor:
        """(n, d) → (n, k): of a row with holes the density of what is there, of an empty one 0."""
        rows = target if isinstance(target, Rows) else self.prepare(target)
        inverse, means = self.covariance.inverse_factor(), self.means.detach()
        narrow = rows.narrow(inverse, len(means))
        if rows.observed is None:
            return gaussian.log_density(rows.values, means, inverse, narrow, self._features_of(rows))
        if self.covariance.diagonal:
            return gaussian_missing.log_density_diagonal(rows.values, rows.observed, means, inverse, narrow)
        out = rows.values.new_zeros(self.n_states, len(rows.values)).T
        if len(rows.complete):  # type: ignore[arg-type]
            out[rows.complete] = gaussian.log_density(rows.values[rows.complete], means, inverse, narrow)
        kernel, holes, matrices = self._kernel_of_holes(rows)
        kernel.log_density(rows.values, holes, means, matrices, out)
        return out

    def portable(self) -> PortableGaussian:
        covariances = self.covariance.covariances()
        if self.covariance.diagonal:
            covariances = covariances.diagonal(dim1=1, dim2=2).clone()
        return PortableGaussian(self.means.detach().double(), covariances.detach().double())

    def statistics(self, target: Tensor | Rows, weights: Tensor | None, given: Tensor | None = None) -> GaussianMoments:
        """Expected moments given what is observed, from responsibilities times the rows' weights, (n, k)."""
        rows = target if isinstance(target, Rows) else self.prepare(target)
        if weights is None:
            weights = rows.values.new_ones(len(rows.values), self.n_states)
        weights = weights.to(rows.values.dtype)
        means = self.means.detach()
        narrow = rows.narrow(self.covariance.inverse_factor(), len(means))
        origin = torch.zeros_like(means)
        if narrow:
            origin[narrow] = means[narrow]
        if rows.observed is None:
            return self._of_complete(rows.values, weights, origin, narrow, self._features_of(rows))
        if self.covariance.diagonal:
            return self._of_diagonal(rows, weights, origin, narrow)
        complete = self._of_complete(rows.values[rows.complete], weights[rows.complete], origin, narrow)
        kernel, holes, matrices = self._kernel_of_holes(rows)
        counts, first, second = kernel.moments(rows.values, holes, weights, means, matrices)
        return complete + GaussianMoments(counts, first, self._summed(second), means)

    def expectations(
        self, target: Tensor | Rows, log_weights: Tensor, weights: Tensor | None
    ) -> tuple[Tensor, Tensor, GaussianMoments] | None:
        """Of rows without holes; where they are many, on a CPU with Numba."""
        rows = target if isinstance(target, Rows) else self.prepare(target)
        inverse, means = self.covariance.inverse_factor(), self.means.detach()
        if rows.observed is not None or rows.narrow(inverse, len(means)):
            return None
        features, shared = self._features_of(rows), self.covariance.shared
        found = gaussian.expectations(rows.values, means, inverse, log_weights, weights, features, shared=shared)
        if found is None:
            return None
        log_evidence, moments = found
        return log_evidence, moments[0], GaussianMoments(*moments, torch.zeros_like(means))

    def conditional(self, target: Tensor | Rows, responsibilities: Tensor) -> tuple[Tensor, Tensor]:
        """E[x | what is observed] and its variance under responsibilities (n, k): (n, d) each, in float64.

        What is observed stands for itself, with variance 0.
        """
        rows = target if isinstance(target, Rows) else self.prepare(target)
        values, means = rows.values.double(), self.means.detach()
        if rows.observed is None:
            return values, torch.zeros_like(values)
        r, covariances = responsibilities.double(), self.covariance.covariances()
        variances = covariances.diagonal(dim1=1, dim2=2).expand_as(means)
        mean = torch.where(rows.observed, values, r @ means)
        variance = r @ variances
        for share, own in zip(
            r.T, means, strict=True
        ):  # about the mean: squares about 0 lose the digits of what is far
            variance += ((own - mean) * share.sqrt()[:, None]).square_()
        variance.masked_fill_(rows.observed, 0.0)
        if not self.covariance.diagonal:
            lower = self.covariance.lower()
            gaussian_missing.conditional(mean.clone(), rows.patterns, responsibilities, means, lower, mean, variance)
        return mean, variance

    def fill(self, target: Tensor | Rows, responsibilities: Tensor) -> Tensor:
        """E[x | what is observed] under responsibilities (n, k): the target, (n, d), in float64, without its holes."""
        return self.conditional(target, responsibilities)[0]

    def uncertainty(self, target: Tensor, responsibilities: Tensor) -> Tensor:
        return self.conditional(target, responsibilities)[1].sqrt()

    def draw_missing(self, target: Tensor, responsibilities: Tensor, generator: Generator) -> Tensor:
        """The target with a draw from p(x | what is observed) in its holes: (n, d), float64.

        A state from its responsibility, a whole row x* from the state, and then E[x | x_o] + x* − E[x* | x*_o]
        (Hoffman & Ribak 1991), which is a draw from the conditional Gaussian.
        """
        states = torch.multinomial(responsibilities.double(), 1, generator=generator)[:, 0]
        chosen = one_hot(states, len(self.means)).double()
        whole = self.draw(states, generator)
        again = self.fill(torch.where(target.isnan(), torch.nan, whole), chosen)
        return torch.where(target.isnan(), self.fill(target, chosen) + whole - again, target.double())

    def draw(self, states: Tensor, generator: Generator) -> Tensor:
        rows = self.means.detach()[states]
        noise = torch.randn(rows.shape, generator=generator, dtype=rows.dtype, device=rows.device)
        for state, lower in enumerate(self.covariance.lower()):
            own = states == state
            rows[own] += noise[own] @ lower.mT
        return rows

    def implied(self, counts: Tensor) -> GaussianMoments:
        covariances, means = self.covariance.covariances(), self.means.detach()
        if self.covariance.diagonal:
            covariances = covariances.diagonal(dim1=1, dim2=2)
        second = counts.view(-1, *[1] * (covariances.dim() - 1)) * covariances
        return GaussianMoments(counts, torch.zeros_like(means), self._summed(second), means)

    def maximize(self, statistics: GaussianMoments) -> None:
        statistics = self._with_idle(statistics)
        means = self._best_means(statistics)
        if "covariances" not in self.fixed:
            about = self.means.detach() if self.covariances_first else means
            scatter, counts = self._posterior_scatter(statistics, means, about)
            self.covariance.maximize(self._regularized(scatter, counts), counts)
        self.means.copy_(means)

    def gradient(self, statistics: GaussianMoments) -> Tensor:
        with torch.enable_grad():
            means = self.means.detach().requires_grad_()
            parameters = [parameter.detach().requires_grad_() for parameter in self.covariance.parameters()]
            scatter, counts = self._posterior_scatter(statistics, means)
            value = self.covariance.objective(scatter, counts, *parameters)
            slopes = torch.autograd.grad(value, [means, *parameters], materialize_grads=True, allow_unused=True)
        return self._learned(slopes[0], torch.cat([slope.flatten() for slope in slopes[1:]]))

    def log_prior(self) -> float:
        if self.prior is None:
            return 0.0
        k, d = self.means.shape
        shape = (k, d) if self.covariance.diagonal else (k, d, d)
        zero = self.means.new_zeros
        none = GaussianMoments(zero(k), zero(k, d), zero(shape), self.means.detach())
        scatter, counts = self._posterior_scatter(none, self.means.detach())
        return float(self.covariance.objective(scatter, counts))

    def coordinates(self) -> Tensor:
        return self._learned(self.means.detach(), self.covariance.coordinates())

    def set_coordinates(self, vector: Tensor) -> None:
        n_means = 0 if "means" in self.fixed else self.means.numel()
        if n_means:
            self.means.copy_(vector[:n_means].view(self.means.shape))
        if "covariances" not in self.fixed:
            self.covariance.set_coordinates(vector[n_means:])

    def _learned(self, of_means: Tensor, of_covariances: Tensor) -> Tensor:
        """The two end to end, without what is fixed."""
        parts = {"means": of_means.flatten(), "covariances": of_covariances}
        learned = [part for name, part in parts.items() if name not in self.fixed]
        return torch.cat(learned) if learned else of_means.new_zeros(0)

    # -- moments ----------------------------------------------------------------------------------------------------

    def _kernel_of_holes(self, rows: Rows) -> tuple[Any, Any, Tensor]:
        """The kernel for rows with holes, the rows as it has them, and the matrices it takes, (k, d, d)."""
        covariances = self.covariance.covariances()
        grouped = rows.holes or rows.halves(self.n_states)
        if not grouped or not gaussian_halves.is_safe(covariances):
            return gaussian_missing, rows.patterns, self.covariance.lower()
        if (passes := rows.holes and gaussian_holes.compiled_passes()) is None:
            return gaussian_halves, grouped, covariances
        return passes, grouped, self.covariance.inverse_factor().expand_as(covariances)

    def _features_of(self, rows: Rows) -> Tensor | None:
        """None where the kernel does without."""
        return rows.diagonal_features if self.covariance.diagonal else rows.features

    def _of_complete(
        self, values: Tensor, weights: Tensor, origin: Tensor, narrow: list[int], features: Tensor | None = None
    ) -> GaussianMoments:
        diagonal, shared = self.covariance.diagonal, self.covariance.shared
        counts, first, second = gaussian.moments(
            values, weights, origin, narrow, diagonal=diagonal, shared=shared, features=features
        )
        return GaussianMoments(counts, first, second, origin)

    def _of_diagonal(self, rows: Rows, weights: Tensor, origin: Tensor, narrow: list[int]) -> GaussianMoments:
        """Columns are independent: a missing one has its mean and variance of the state."""
        variances = self.covariance.inverse_factor().reciprocal().square()
        observed = rows.observed
        assert observed is not None
        away = self.means.detach() - origin
        parts = gaussian_missing.moments_diagonal(rows.values, observed, weights, away, variances, origin, narrow)
        return GaussianMoments(*parts, origin)

    def _summed(self, second: Tensor) -> Tensor:
        return second.sum(0, keepdim=True) if self.covariance.shared else second

    # -- the M-step -------------------------------------------------------------------------------------------------

    def _with_idle(self, statistics: GaussianMoments) -> GaussianMoments:
        """A state that no row belongs to keeps its parameters, as Q says nothing of them."""
        if float(statistics.counts.min()) >= NO_ROWS:
            return statistics
        return statistics + self.implied(_PSEUDO_ROWS * (statistics.counts < NO_ROWS))

    def _best_means(self, statistics: GaussianMoments) -> Tensor:
        if "means" in self.fixed:
            return self.means.detach().clone()
        if self.prior is None or self.prior.mean is None:
            return statistics.origin + statistics.first / statistics.counts[:, None]
        shrinkage = self.prior.pull(means := self.means)
        pulled = statistics.first + shrinkage[:, None] * (self.prior.mean.to(means) - statistics.origin)
        return statistics.origin + pulled / (statistics.counts + shrinkage)[:, None]

    def _posterior_scatter(
        self, statistics: GaussianMoments, means: Tensor, about: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Scatter about the means and counts, with the prior's share: what the structure maximizes over."""
        scatter, counts = statistics.scatter(means if about is None else about), statistics.counts
        if self.covariance.shared:
            scatter, counts = scatter.sum(0, keepdim=True), counts.sum().view(1)
        prior = self.prior
        if prior is None:
            return scatter, counts
        scatter = scatter + prior.scatter(self.covariance.diagonal).to(scatter)
        if prior.mean is not None:
            away = means - prior.mean.to(means)
            squares = away.square() if self.covariance.diagonal else away[:, :, None] * away[:, None]
            shrinkage = prior.pull(means).view(-1, *[1] * (squares.dim() - 1))
            scatter = scatter + self._summed(shrinkage * squares)
        return scatter, counts + prior.rows(means, self.covariance.shared)

    def _regularized(self, scatter: Tensor, counts: Tensor) -> Tensor:
        """The scatter with what reg_covar and the floor add to its diagonal, in its own memory."""
        amount = self.reg_covar * counts
        if self.floor > 0:
            singular = ~_is_definite(scatter, counts)
            amount = amount + self.floor * singular * counts
            self.lifted = tuple(torch.nonzero(singular).flatten().tolist())
        if self.reg_covar == 0 and self.floor == 0:
            return scatter
        variances = scatter if self.covariance.diagonal else scatter.diagonal(dim1=1, dim2=2)
        variances.add_(amount.unsqueeze(1))
        return scatter


def _reach(values: Tensor) -> Tensor:
    """The largest |x| of each column, (d,), in float64; without a copy of all."""
    if not len(values):
        return values.new_zeros(values.shape[1], dtype=torch.float64)
    return torch.maximum(values.amax(0), -values.amin(0)).double()


def _is_definite(scatter: Tensor, counts: Tensor) -> Tensor:
    """Which covariances are positive definite beyond rounding, (k,)."""
    if scatter.dim() == 2:
        return (scatter > 0).all(1)
    return is_definite(scatter / counts[:, None, None], _ROUNDING)
