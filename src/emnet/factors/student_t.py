"""Numbers with outliers: Student's t as a mixture of Gaussians over a scale of its own for every cell."""

from __future__ import annotations

import math
from collections.abc import Collection
from dataclasses import dataclass

import torch
from torch import Generator, Tensor

from emnet.exceptions import InvalidInputError
from emnet.factors.columns import NO_ROWS, Cells, cells_of, weights_of
from emnet.factors.covariances import free, to_log_variances
from emnet.factors.emission import Emission
from emnet.factors.gaussian_moments import GaussianMoments
from emnet.factors.gaussian_priors import NormalInverseWishart
from emnet.factors.portable import PortableStudentT
from emnet.kernels import gamma
from emnet.statistics import Statistics

_PARTS = ("means", "scales", "degrees_of_freedom")
_DEGREES = (1e-2, 1e6)  # the range searched; beyond it a t is a Gaussian, or has no scale
_LOG_2PI = math.log(2 * math.pi)


@dataclass(frozen=True, eq=False)
class ScaleMixtureMoments(Statistics):
    """Of the cells of every state and column, with u the cell's hidden precision.

    moments : Σ r E[u], Σ r E[u] (x − o) and Σ r E[u] (x − o)², each state and column as a state of its own, (k d, …).
    counts : Σ r, (k, d).
    slack : Σ r (E[log u] − E[u] + 1), (k, d), which is negative.
    """

    moments: GaussianMoments
    counts: Tensor
    slack: Tensor

    def __add__(self, other: ScaleMixtureMoments) -> ScaleMixtureMoments:
        return ScaleMixtureMoments(self.moments + other.moments, self.counts + other.counts, self.slack + other.slack)

    def __mul__(self, scale: float) -> ScaleMixtureMoments:
        return ScaleMixtureMoments(self.moments * scale, scale * self.counts, scale * self.slack)


class StudentT(Emission[ScaleMixtureMoments]):
    """p(x | state) = Π_j t_ν(x_j; m_j, s_j) of independent columns; NaN is not observed.

    t_ν is ∫ Normal(x; m, s²/u) Gamma(u; ν/2, ν/2) du, so with u as a second hidden variable means and scales have
    closed forms and ν is the root of one equation (Liu & Rubin 1995, Statistica Sinica 5:19).

    Parameters
    ----------
    means : (k, d), the start.
    variances : s², (k, d), the start.
    degrees_of_freedom : ν, the start: a number or (k, d).
    prior : on means and s², as a diagonal `Gaussian` has it.
    fixed : which of "means", "scales", "degrees_of_freedom" EM leaves as they are.
    """

    def __init__(
        self,
        means: Tensor,
        variances: Tensor,
        degrees_of_freedom: float | Tensor = 10.0,
        *,
        prior: NormalInverseWishart | None = None,
        fixed: Collection[str] = (),
    ):
        super().__init__()
        if unknown := set(fixed) - set(_PARTS):
            raise InvalidInputError(f"fixed may name {', '.join(map(repr, _PARTS))}; got {sorted(unknown)[0]!r}.")
        degrees = torch.as_tensor(degrees_of_freedom, dtype=torch.float64, device=means.device).expand(means.shape)
        if not bool(((degrees > 0) & degrees.isfinite()).all()):
            raise InvalidInputError("degrees_of_freedom must be positive and finite; take a Gaussian for infinity.")
        self.means = free(means)
        self.log_variances = free(to_log_variances(variances.double()))
        self.log_degrees = free(degrees.log())
        self.prior, self.fixed = prior, frozenset(fixed)

    @property
    def n_states(self) -> int:
        return len(self.means)

    @property
    def n_parameters(self) -> int:
        return (len(_PARTS) - len(self.fixed)) * self.means.numel()

    @property
    def variances(self) -> Tensor:
        """s², (k, d); the variance is ν/(ν − 2) of it."""
        return self.log_variances.detach().exp()

    @property
    def degrees_of_freedom(self) -> Tensor:
        """ν, (k, d)."""
        return self.log_degrees.detach().exp()

    @staticmethod
    def prepare(target: Tensor) -> Cells:
        return cells_of(target, torch.isfinite, "finite numbers")

    def log_prob(self, target: Tensor | Cells, given: Tensor | None = None) -> Tensor:
        """(n, d) → (n, k)."""
        cells = target if isinstance(target, Cells) else self.prepare(target)
        degrees = self.degrees_of_freedom
        constant = self._log_constants()
        total = cells.values.new_zeros(len(cells.values), self.n_states)
        for j in range(self.means.shape[1]):
            density = constant[:, j] - 0.5 * (degrees[:, j] + 1) * (self._squares(cells, j) / degrees[:, j]).log1p()
            total += density * cells.seen[:, j, None]
        return total.to(cells.dtype)

    def portable(self) -> PortableStudentT:
        return PortableStudentT(
            self.means.detach(), self.variances, self.degrees_of_freedom, self._log_constants().detach()
        )

    def statistics(
        self, target: Tensor | Cells, weights: Tensor | None, given: Tensor | None = None
    ) -> ScaleMixtureMoments:
        """From responsibilities times the rows' weights, (n, k): E[u] = (ν + 1)/(ν + z²) and E[log u] of each cell."""
        cells = target if isinstance(target, Cells) else self.prepare(target)
        weights = weights_of(weights, cells, self.n_states)
        means, degrees = self.means.detach(), self.degrees_of_freedom
        columns = [self._of_column(cells, j, weights * cells.seen[:, j, None]) for j in range(means.shape[1])]
        counts, scales, first, second, gained = (torch.stack(part, 1) for part in zip(*columns, strict=True))
        moments = GaussianMoments(
            scales.flatten(), first.reshape(-1, 1), second.reshape(-1, 1), means.reshape(-1, 1).clone()
        )
        return ScaleMixtureMoments(moments, counts, gained - counts * gamma.log_minus_digamma((degrees + 1) / 2))

    def _of_column(self, cells: Cells, j: int, weights: Tensor) -> tuple[Tensor, ...]:
        """Σ r, Σ r u, Σ r u (x − m), Σ r u (x − m)² and Σ r (log u − u + 1) with E[u] for u: (k,) each."""
        squares, degrees = self._squares(cells, j), self.degrees_of_freedom[:, j]
        excess = (1 - squares) / (degrees + squares)  # E[u] − 1
        scaled, away = weights * (1 + excess), cells.values[:, j, None] - self.means.detach()[:, j]
        first = (scaled * away).sum(0)
        gained = (weights * (excess.log1p() - excess)).sum(0)
        return weights.sum(0), scaled.sum(0), first, (scaled * away.square()).sum(0), gained

    def implied(self, counts: Tensor) -> ScaleMixtureMoments:
        """Before x is seen E[u] = 1 and E[log u] = ψ(ν/2) − log(ν/2)."""
        means, cells = self.means.detach(), counts[:, None].expand_as(self.means)
        second = (cells * self.variances).reshape(-1, 1)
        moments = GaussianMoments(cells.flatten(), torch.zeros_like(second), second, means.reshape(-1, 1).clone())
        return ScaleMixtureMoments(moments, cells, -cells * gamma.log_minus_digamma(self.degrees_of_freedom / 2))

    def maximize(self, statistics: ScaleMixtureMoments) -> None:
        """m = Σ r u x / Σ r u, s² = Σ r u (x − m)² / Σ r; log(ν/2) − ψ(ν/2) = −slack / Σ r."""
        idle = statistics.counts < NO_ROWS
        means = self._best_means(statistics)
        if "scales" not in self.fixed:
            scatter, counts = self._posterior_scatter(statistics, means)
            idle_scale = counts < NO_ROWS
            variances = torch.where(idle_scale, self.variances, scatter / torch.where(idle_scale, 1.0, counts))
            self.log_variances.copy_(to_log_variances(variances))
        if "degrees_of_freedom" not in self.fixed:
            best = 2 * gamma.inverse_log_minus_digamma(-statistics.slack / torch.where(idle, 1.0, statistics.counts))
            least, most = (self.degrees_of_freedom.new_tensor(bound) for bound in _DEGREES)
            now = self.degrees_of_freedom  # Q has one top in ν: towards it, it rises from wherever ν is
            best = torch.minimum(torch.maximum(best, torch.minimum(least, now)), torch.maximum(most, now))
            self.log_degrees.copy_(torch.where(idle, self.log_degrees, best.log()))
        self.means.copy_(means)

    def gradient(self, statistics: ScaleMixtureMoments) -> Tensor:
        means, variances, half = self.means.detach(), self.variances, self.degrees_of_freedom / 2
        pulled, weight = self._pull(statistics)
        scatter, counts = self._posterior_scatter(statistics, means)
        origin = self._table(statistics.moments.origin)
        return self._learned(
            (pulled - weight * (means - origin)) / variances,
            0.5 * (scatter / variances - counts),
            half * (statistics.counts * gamma.log_minus_digamma(half) + statistics.slack),
        )

    def log_prior(self) -> float:
        if self.prior is None:
            return 0.0
        none = torch.zeros_like(self.means)
        flat = none.reshape(-1, 1)
        nothing = ScaleMixtureMoments(
            GaussianMoments(none.flatten(), flat, flat, self.means.detach().reshape(-1, 1)), none, none
        )
        scatter, counts = self._posterior_scatter(nothing, self.means.detach())
        return -0.5 * float((counts * self.log_variances.detach() + scatter / self.variances).sum())

    def coordinates(self) -> Tensor:
        return self._learned(self.means.detach(), self.log_variances.detach(), self.log_degrees.detach())

    def set_coordinates(self, vector: Tensor) -> None:
        parts = zip(_PARTS, (self.means, self.log_variances, self.log_degrees), strict=True)
        learned = [parameter for name, parameter in parts if name not in self.fixed]
        for parameter, part in zip(learned, vector.split(self.means.numel()) if learned else (), strict=True):
            parameter.copy_(part.view(parameter.shape))

    def fill(self, target: Tensor | Cells, responsibilities: Tensor) -> Tensor:
        """The center, which is the mean where ν > 1."""
        cells = target if isinstance(target, Cells) else self.prepare(target)
        return cells.fill(self.means.detach(), responsibilities)

    def moments(self) -> tuple[Tensor, Tensor]:
        """The center, and s² ν/(ν − 2), which is ∞ where ν ≤ 2."""
        degrees = self.degrees_of_freedom
        wider = torch.where(degrees > 2, degrees / (degrees - 2), torch.inf)
        return self.means.detach(), self.variances * wider

    def draw(self, states: Tensor, generator: Generator) -> Tensor:
        """By Bailey's polar method (1994, Mathematics of Computation 62:779)."""
        degrees, scales = self.degrees_of_freedom[states], (0.5 * self.log_variances.detach()).exp()[states]
        radius, angle = (
            torch.rand(degrees.shape, generator=generator, dtype=degrees.dtype, device=degrees.device) for _ in range(2)
        )
        length = (degrees * torch.expm1(-2 / degrees * (1 - radius).log())).sqrt()
        return self.means.detach()[states] + scales * length * (2 * math.pi * angle).cos()

    # -- the M-step -------------------------------------------------------------------------------------------------

    def _log_constants(self) -> Tensor:
        """log t_ν(m; m, s), (k, d)."""
        degrees = self.degrees_of_freedom
        return gamma.log_gamma_half_step(degrees / 2) - 0.5 * (_LOG_2PI + self.log_variances.detach())

    def _squares(self, cells: Cells, j: int) -> Tensor:
        """z² = (x − m)²/s² of a column, (n, k)."""
        return (cells.values[:, j, None] - self.means.detach()[:, j]).square() / self.variances[:, j]

    def _table(self, flat: Tensor) -> Tensor:
        return flat.view(self.means.shape)

    def _pull(self, statistics: ScaleMixtureMoments) -> tuple[Tensor, Tensor]:
        """Weighted sum of x about the origin, and its weight, with the prior's share."""
        moments, prior = statistics.moments, self.prior
        first, weight = self._table(moments.first), self._table(moments.counts)
        if prior is None or prior.shrinkage == 0 or prior.mean is None:
            return first, weight
        return first + prior.shrinkage * (prior.mean - self._table(moments.origin)), weight + prior.shrinkage

    def _best_means(self, statistics: ScaleMixtureMoments) -> Tensor:
        if "means" in self.fixed:
            return self.means.detach().clone()
        pulled, weight = self._pull(statistics)
        idle = weight < NO_ROWS
        best = self._table(statistics.moments.origin) + pulled / torch.where(idle, 1.0, weight)
        return torch.where(idle, self.means, best)

    def _posterior_scatter(self, statistics: ScaleMixtureMoments, means: Tensor) -> tuple[Tensor, Tensor]:
        """Scatter about the means, and counts, with the prior's share, (k, d)."""
        scatter = self._table(statistics.moments.scatter(means.reshape(-1, 1)))
        prior = self.prior
        if prior is None:
            return scatter, statistics.counts
        scatter, rows = scatter + prior.scale.diagonal(), prior.degrees_of_freedom + means.shape[1] + 1
        if prior.shrinkage > 0 and prior.mean is not None:
            scatter, rows = scatter + prior.shrinkage * (means - prior.mean).square(), rows + 1
        return scatter, statistics.counts + rows

    def _learned(self, *parts: Tensor) -> Tensor:
        """One after the other, without what is fixed; a copy."""
        kept = [part.flatten() for name, part in zip(_PARTS, parts, strict=True) if name not in self.fixed]
        return torch.cat([self.means.new_zeros(0), *kept])
