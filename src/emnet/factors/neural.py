"""What all factors share that a torch network holds: Q over rows, its gradient, and M-steps that go up both."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from emnet.factors.differentiable import Gradient, TorchFactor, learned
from emnet.factors.regression import ConfigurationCounts
from emnet.kernels.ascent import ascend
from emnet.statistics import Observations

Known = Observations | ConfigurationCounts | Gradient
"""What an E-step leaves of the rows: themselves, a table of configurations, or ∇Q alone."""


@runtime_checkable
class NetworkMStep(Protocol):
    """How a network raises its part of Q."""

    needs_rows: bool  # whether the value of Q is needed besides its gradient

    def __call__(self, factor: NeuralFactor, statistics: Any) -> Tensor:
        """The new coordinates."""
        ...


@dataclass(frozen=True)
class Ascent:
    """Steps along ∇(Q + log prior), each halved until it rises: no M-step lowers Q, whatever the data's scale.

    More of them bring more an iteration of EM, and carry rounding further: their lengths follow from differences.
    """

    steps: int = 10
    needs_rows = True

    def __call__(self, factor: NeuralFactor, statistics: Observations | ConfigurationCounts) -> Tensor:
        rows = factor.rows_of(statistics)
        return ascend(lambda at: factor.objective(at, rows), factor.coordinates(), steps=self.steps)


class NeuralFactor(TorchFactor[Any]):
    """A factor of a network, which is deterministic and is not told the constant 1 that `given` carries first.

    Its statistics are the rows, so that the M-step sees Q; or for streams, and M-steps of a fixed rate, ∇Q, whose size
    is constant. L-BFGS and Adam ask for the gradient alone, and take no M-steps.

    Parameters
    ----------
    network : a torch module, of which all parameters that require a gradient are learned.
    precision : of a Gaussian prior on all of them.
    m_step : `Ascent`, or `emnet.factors.regression.GradientStep`, which needs no rows and may overshoot.
    """

    def __init__(self, network: nn.Module, *, precision: float = 0.0, m_step: NetworkMStep | None = None):
        super().__init__(precision=precision)
        self.network = network
        self.m_step: NetworkMStep = Ascent() if m_step is None else m_step

    @abstractmethod
    def _log_likelihood(self, target: Tensor, given: Tensor) -> Tensor:
        """log p(target | given) as rows are weighted, (n,) or (n, k), with a graph behind it."""

    @property
    def dtype(self) -> torch.dtype:
        """The network's; of one without parameters, which takes any, float64."""
        return next((own.dtype for own in self.network.parameters()), torch.float64)

    def theta(self) -> list[nn.Parameter]:
        return learned(self.network)

    def rows_of(self, statistics: Observations | ConfigurationCounts) -> Observations:
        """Rows as the network takes them, without the constant 1."""
        if isinstance(statistics, Observations):
            return statistics
        rows = statistics.expanded()
        return Observations(rows.target, rows.given[:, 1:].to(self.dtype), rows.weights)

    def objective(self, vector: Tensor, rows: Observations) -> tuple[float, Tensor]:
        """Q + log prior at a vector of coordinates, which stays in the network, and its gradient."""
        self.set_coordinates(vector)
        value, found = self._expected(rows)
        return value + self.log_prior(), found.vector + self.slope_of_prior()

    def maximize(self, statistics: Known) -> None:
        self.set_coordinates(self.m_step(self, statistics))

    def gradient(self, statistics: Known) -> Tensor:
        found = statistics if isinstance(statistics, Gradient) else self._expected(self.rows_of(statistics))[1]
        return found.vector + self.slope_of_prior()

    def _collect(self, target: Tensor, given: Tensor, weights: Tensor) -> Known:
        """The rows, whose `given` is without the constant 1, or where the M-step needs none their gradient."""
        target = target.to(self.dtype) if target.is_floating_point() else target
        rows = Observations(target, given.to(self.dtype), weights.detach())
        return rows if self.m_step.needs_rows else self._expected(rows)[1]

    def _expected(self, rows: Observations) -> tuple[float, Gradient]:
        """Q and its gradient."""
        with torch.enable_grad():
            terms = self._log_likelihood(rows.target, rows.given)
            total = (terms.double() * rows.weights.double()).sum()
            return float(total.detach()), self.gradient_of(total)
