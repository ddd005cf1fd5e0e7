"""Logistic and multinomial regressions as factors: the Bernoulli units and the softmax output.

Weights are (k, 1 + p) with the bias first, and `given` carries the matching leading constant 1.
M-steps work in float64 whatever the type of the weights.
"""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor, nn
from torch.nn.functional import logsigmoid

from emnet.factors.base import Factor, S, require_given
from emnet.kernels import bits, logistic
from emnet.statistics import Moments, Observations


@dataclass(frozen=True, eq=False)
class Score(Moments):
    """∇Q of a regression at the θ of the E-step, and Σ_j c_j x_j x_jᵀ: all that a bound or a gradient step needs.

    Constant in size, so it suits streams and many processes; it holds no value of Q and is used for one step.
    """

    gradient: Tensor  # (k, 1 + p), without the prior's part
    gram: Tensor  # (1 + p, 1 + p)


@dataclass(frozen=True, eq=False)
class ConfigurationCounts(Moments):
    """Expected number of rows of each class in each configuration of the hidden units."""

    counts: Tensor  # (g, 2^m)


@runtime_checkable
class MStep(Protocol):
    """How a regression raises its part of Q."""

    needs_rows: bool  # whether the value of Q is needed besides its gradient

    def __call__(self, factor: LinearFactor[S], statistics: S) -> Tensor:
        """The new weights, (k, 1 + p), float64."""
        ...


@dataclass(frozen=True)
class Newton:
    """Damped Newton; a step or two a time are enough, as the next E-step moves the target anyway."""

    max_steps: int = 2
    tol: float = 1e-10
    needs_rows = True

    def __call__(self, factor: LinearFactor[S], statistics: S) -> Tensor:
        regression = factor.regression(statistics)
        return logistic.newton(regression, factor.weights64(), max_steps=self.max_steps, tol=self.tol)


@dataclass(frozen=True)
class FixedBound:
    """One step of the fixed quadratic bound (Böhning & Lindsay 1988): monotone without a line search ("mm")."""

    needs_rows = False

    def __call__(self, factor: LinearFactor[S], statistics: S) -> Tensor:
        score = factor.score(statistics)
        gradient = score.gradient - factor.precision * factor.weights64()
        return factor.weights64() + factor.bound_direction(score.gram, gradient, factor.precision)


@dataclass(frozen=True)
class GradientStep:
    """θ ← θ + η ∇(Q + log prior): as the classic text has it. Monotone only where η is small enough."""

    learning_rate: float = 0.005
    needs_rows = False

    def __call__(self, factor: LinearFactor[S], statistics: S) -> Tensor:
        gradient = factor.score(statistics).gradient - factor.precision * factor.weights64()
        return factor.weights64() + self.learning_rate * gradient


class LinearFactor(Factor[S]):
    """A regression with weights (k, 1 + p), a zero-mean Gaussian prior on all but the biases, and an M-step.

    Parameters
    ----------
    weights : (k, 1 + p), the start; its dtype is the factor's.
    precision : the prior's precision, ≥ 0: a number, or anything that broadcasts to (k, p).
    bias : with False the biases stay at 0 (the classic text's network).
    """

    precision: Tensor
    learned: Tensor
    m_step: MStep

    def __init__(self, weights: Tensor, *, precision: float | Tensor = 0.0, m_step: MStep, bias: bool = True):
        super().__init__()
        self.weights = nn.Parameter(weights.clone(), requires_grad=False)
        self.register_buffer("precision", torch.zeros_like(weights, dtype=torch.float64))
        self.register_buffer("learned", torch.ones_like(weights, dtype=torch.bool))
        self.set_precision(precision)
        self.m_step = m_step
        if not bias:
            self.weights[:, 0] = 0.0
            self.learned[:, 0] = False

    def set_precision(self, precision: float | Tensor) -> None:
        self.precision[:, 1:] = precision

    def weights64(self) -> Tensor:
        return self.weights.detach().double()

    @abstractmethod
    def regression(self, statistics: S) -> logistic.Regression:
        """The concave objective that `statistics` stand for, prior included."""

    @abstractmethod
    def score(self, statistics: S) -> Score:
        """`statistics` as gradient and Gram matrix at the present weights."""

    @staticmethod
    @abstractmethod
    def bound_direction(gram: Tensor, gradient: Tensor, precision: Tensor) -> Tensor: ...

    def maximize(self, statistics: S) -> None:
        self._write(self.m_step(self, statistics))

    def gradient(self, statistics: S) -> Tensor:
        gradient = self.score(statistics).gradient - self.precision * self.weights64()
        return (gradient * self.learned).flatten()

    def log_prior(self) -> float:
        return -0.5 * float((self.precision * self.weights64().square()).sum())

    def coordinates(self) -> Tensor:
        return self.weights64().flatten().clone()

    def set_coordinates(self, vector: Tensor) -> None:
        self._write(vector.view(self.weights.shape))

    def _write(self, weights: Tensor) -> None:
        self.weights.data.copy_(torch.where(self.learned, weights, 0.0))


class BernoulliUnits(LinearFactor["Observations | Score"]):
    """m units: p(z_h = 1 | x) = σ(w_h·x). `target` are the units' (expected) states, (n, m)."""

    bound_direction = staticmethod(logistic.sigmoid_bound_direction)

    def logits(self, given: Tensor) -> Tensor:
        """a_hj = w_h·x_j: (n, 1 + p) → (n, m)."""
        return given @ self.weights.T

    def log_prob(self, target: Tensor, given: Tensor | None = None) -> Tensor:
        logits = self.logits(require_given(given))
        return (target * logsigmoid(logits) + (1 - target) * logsigmoid(-logits)).sum(1)

    def statistics(self, target: Tensor, weights: Tensor | None, given: Tensor | None = None) -> Observations | Score:
        target, given = target.double(), require_given(given).double()
        weights = target.new_ones(len(target)) if weights is None else weights.double()
        rows = Observations(target, given, weights)
        return rows if self.m_step.needs_rows else self.score(rows)

    def regression(self, statistics: Observations | Score) -> logistic.SigmoidRegression:
        if isinstance(statistics, Score):
            raise TypeError("The value of Q needs rows, and these statistics are a gradient: see `MStep.needs_rows`.")
        return logistic.SigmoidRegression(statistics.given, statistics.target, statistics.weights, self.precision)

    def score(self, statistics: Observations | Score) -> Score:
        if isinstance(statistics, Score):
            return statistics
        weighted = statistics.given * statistics.weights[:, None]
        residual = statistics.target - (statistics.given @ self.weights64().T).sigmoid()
        return Score(residual.T @ weighted, weighted.T @ statistics.given)


class SoftmaxOutput(LinearFactor[ConfigurationCounts]):
    """A class given m bits: p(y = i | z) = softmax_i(v_i·(1, z)). `target` are class indices, `given` is (1, z)."""

    bound_direction = staticmethod(logistic.softmax_bound_direction)

    @property
    def n_bits(self) -> int:
        return self.weights.shape[1] - 1

    def log_table(self) -> Tensor:
        """log p(y = i | z) for all configurations, (g, 2^m)."""
        return bits.log_output_table(self.weights)

    def log_prob(self, target: Tensor, given: Tensor | None = None) -> Tensor:
        return (require_given(given) @ self.weights.T).log_softmax(1).gather(1, target[:, None])[:, 0]

    def statistics(self, target: Tensor, weights: Tensor | None, given: Tensor | None = None) -> ConfigurationCounts:
        given = require_given(given)
        configuration = (given[:, 1:].long() << torch.arange(self.n_bits, device=given.device)).sum(1)
        counts = torch.zeros(len(self.weights), 2**self.n_bits, dtype=torch.float64, device=given.device)
        weights = torch.ones_like(target, dtype=torch.float64) if weights is None else weights.double()
        return ConfigurationCounts(counts.index_put((target, configuration), weights, accumulate=True))

    def regression(self, statistics: ConfigurationCounts) -> logistic.SoftmaxRegression:
        return logistic.SoftmaxRegression(self._design(), statistics.counts.T, self.precision)

    def score(self, statistics: ConfigurationCounts) -> Score:
        design, counts = self._design(), statistics.counts
        mass = counts.sum(0)
        expected = bits.log_output_table(self.weights64()).exp() * mass
        return Score((counts - expected) @ design, (design * mass[:, None]).T @ design)

    def _design(self) -> Tensor:
        states = bits.configurations(self.n_bits, device=self.weights.device)
        return torch.cat((torch.ones_like(states[:, :1]), states), dim=1)
