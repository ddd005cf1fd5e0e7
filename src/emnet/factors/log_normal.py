"""Positive numbers whose logarithms are Gaussian."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import torch
from torch import Generator, Tensor

from emnet.factors.columns import Cells, cells_of
from emnet.factors.covariances import Diagonal
from emnet.factors.emission import Emission
from emnet.factors.gaussian import Gaussian
from emnet.factors.gaussian_moments import GaussianMoments, Rows
from emnet.factors.gaussian_priors import NormalInverseWishart
from emnet.factors.portable import PortableLogarithms


@dataclass(frozen=True, eq=False)
class LogRows:
    """The cells, their logarithms as a Gaussian needs them, and log |∂ log x / ∂ x| of each row, (n,)."""

    cells: Cells
    rows: Rows
    log_volume: Tensor


class LogNormal(Emission[GaussianMoments]):
    """p(x | state) = Π_j Normal(log x_j; m_j, s_j²) / x_j of independent columns; NaN is not observed.

    All the learning is that of a Gaussian over the logarithms.

    Parameters
    ----------
    means, variances : of the logarithms, (k, d), the start.
    prior : on them, as a diagonal `Gaussian` has it.
    fixed : which of "means" and "covariances" EM leaves as they are.
    """

    def __init__(
        self,
        means: Tensor,
        variances: Tensor,
        *,
        prior: NormalInverseWishart | None = None,
        fixed: Collection[str] = (),
    ):
        super().__init__()
        self.of_logarithms = Gaussian(means, Diagonal(variances), prior=prior, fixed=fixed)

    @property
    def n_states(self) -> int:
        return self.of_logarithms.n_states

    @property
    def n_parameters(self) -> int:
        return self.of_logarithms.n_parameters

    expected = "positive numbers"

    @staticmethod
    def support(values: Tensor) -> Tensor:
        return (values > 0) & (values < float("inf"))

    @staticmethod
    def prepare(target: Tensor) -> LogRows:
        cells = cells_of(target, LogNormal.support, LogNormal.expected)
        logarithms = torch.where(cells.seen > 0, cells.values, 1.0).log()
        rows = Gaussian.prepare(torch.where(cells.seen > 0, logarithms, torch.nan).to(cells.dtype))
        return LogRows(cells, rows, -logarithms.sum(1).to(cells.dtype))

    def log_prob(self, target: Tensor | LogRows, given: Tensor | None = None) -> Tensor:
        """(n, d) → (n, k)."""
        rows = target if isinstance(target, LogRows) else self.prepare(target)
        return self.of_logarithms.log_prob(rows.rows) + rows.log_volume[:, None]

    def portable(self) -> PortableLogarithms:
        return PortableLogarithms(self.of_logarithms.portable())

    def statistics(
        self, target: Tensor | LogRows, weights: Tensor | None, given: Tensor | None = None
    ) -> GaussianMoments:
        rows = target if isinstance(target, LogRows) else self.prepare(target)
        return self.of_logarithms.statistics(rows.rows, weights)

    def implied(self, counts: Tensor) -> GaussianMoments:
        return self.of_logarithms.implied(counts)

    def maximize(self, statistics: GaussianMoments) -> None:
        self.of_logarithms.maximize(statistics)

    def gradient(self, statistics: GaussianMoments) -> Tensor:
        return self.of_logarithms.gradient(statistics)

    def log_prior(self) -> float:
        return self.of_logarithms.log_prior()

    def coordinates(self) -> Tensor:
        return self.of_logarithms.coordinates()

    def set_coordinates(self, vector: Tensor) -> None:
        self.of_logarithms.set_coordinates(vector)

    def fill(self, target: Tensor | LogRows, responsibilities: Tensor) -> Tensor:
        """E[x | state] = e^{m + s²/2}."""
        rows = target if isinstance(target, LogRows) else self.prepare(target)
        return rows.cells.fill(self.moments()[0], responsibilities)

    def moments(self) -> tuple[Tensor, Tensor]:
        means, covariances = self.of_logarithms.means.detach(), self.of_logarithms.covariance.covariances()
        variances = covariances.diagonal(dim1=1, dim2=2)
        expected = (means + variances / 2).exp()
        return expected, variances.expm1() * expected.square()

    def draw(self, states: Tensor, generator: Generator) -> Tensor:
        return self.of_logarithms.draw(states, generator).exp()
