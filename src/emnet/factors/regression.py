"""Logistic and multinomial regressions as factors: the Bernoulli units and the softmax output.

Weights are (k, 1 + p) with the bias first, and `given` carries the matching leading constant 1.
M-steps work in float64 whatever the type of the weights.
"""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor, nn
from torch.nn.functional import one_hot

from emnet.batch import with_constant
from emnet.factors.base import Factor, linear_predictor_with, require_given
from emnet.factors.classes import ClassOutput, log_softmax_of
from emnet.kernels import bits, logistic
from emnet.kernels.configurations import all_configurations
from emnet.kernels.logistic import softplus
from emnet.kernels.mean_field import FactorizedSoftmaxRegression
from emnet.kernels.memory import require_bytes
from emnet.statistics import Moments, Observations


@dataclass(frozen=True, eq=False)
class Score(Moments):
    """∇Q of a regression at the θ of the E-step, and Σ_j c_j x_j x_jᵀ: all that a bound or a gradient step needs.

    Constant in size, so it suits streams and many processes; it holds no value of Q and is used for one step.
    """

    gradient: Tensor  # (k, 1 + p), without the prior's part
    gram: Tensor  # (1 + p, 1 + p), or (0, 0) where the M-step has no use for it


@dataclass(frozen=True, eq=False)
class ConfigurationCounts(Moments):
    """Expected number of rows of each class in each configuration of the hidden units."""

    counts: Tensor  # (g, 2^m)

    def expanded(self) -> Observations:
        """As rows: every configuration once, its counts the weighted distribution over the classes."""
        g, configurations = self.counts.shape
        m = configurations.bit_length() - 1
        require_bytes(
            8 * configurations * (4 * (m + 1) + 4 * g),
            self.counts.device,
            purpose=f"The M-step over 2^{m} configurations of the hidden units and {g} classes",
            remedy="Use fewer hidden units or the importance E-step.",
        )
        states = all_configurations(m, device=self.counts.device)
        return Observations(self.counts.T, with_constant(states), torch.ones_like(states[:, 0]))


@dataclass(frozen=True, eq=False)
class FactorizedObservations(Observations):
    """Rows whose `given`, (1, μ), are the means of independent bits: what a softmax expects of them is a bound."""


Rows = Observations | ConfigurationCounts | Score
"""What stands for weighted rows of a regression: themselves, a table of configurations, or their gradient."""


@runtime_checkable
class MStep(Protocol):
    """How a regression raises its part of Q."""

    needs_rows: bool  # whether the value of Q is needed besides its gradient
    needs_gram: bool  # whether Σ_j c_j x_j x_jᵀ is

    def __call__(self, factor: LinearFactor, statistics: Rows) -> Tensor:
        """The new weights, (k, 1 + p) or flat, float64."""
        ...


@dataclass(frozen=True)
class Newton:
    """Damped Newton; a step or two a time are enough, as the next E-step moves the target anyway."""

    max_steps: int = 2
    tol: float = 1e-10
    needs_rows = True
    needs_gram = True

    def __call__(self, factor: LinearFactor, statistics: Rows) -> Tensor:
        regression = factor.regression(statistics)
        return logistic.newton(regression, factor.weights64(), max_steps=self.max_steps, tol=self.tol)


@dataclass(frozen=True)
class FixedBound:
    """One step of the fixed quadratic bound (Böhning & Lindsay 1988): monotone without a line search ("mm")."""

    needs_rows = False
    needs_gram = True

    def __call__(self, factor: LinearFactor, statistics: Rows) -> Tensor:
        score = factor.score(statistics)
        gradient = score.gradient - factor.precision * factor.weights64()
        return factor.weights64() + factor.bound_direction(score.gram, gradient, factor.precision)


@dataclass(frozen=True)
class GradientStep:
    """θ ← θ + η ∇(Q + log prior): as the classic text has it. Monotone only where η is small enough."""

    learning_rate: float = 0.005
    needs_rows = False
    needs_gram = False

    def __call__(self, factor: Factor[Any], statistics: Any) -> Tensor:
        """The new coordinates, of a network's factor too."""
        return factor.coordinates() + self.learning_rate * factor.gradient(statistics)


class LinearFactor(Factor[Rows]):
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

    def predictor(self, given: Tensor) -> Tensor:
        """Linear predictor, here of logits: (…, n, 1 + p) → (…, n, k)."""
        return given @ self.weights.T

    def predictor_with(self, given: Tensor, columns: Tensor, values: Tensor) -> Tensor:
        """The predictor with some columns of `given` set to each row of `values`: (c, n, k)."""
        return linear_predictor_with(self.weights, given, columns, values)

    def weights64(self) -> Tensor:
        return self.weights.detach().double()

    @staticmethod
    @abstractmethod
    def log_prob_of_predictor(target: Tensor, logits: Tensor) -> Tensor:
        """log p(target | logits): (…, n, k) → (…, n)."""

    @abstractmethod
    def regression(self, statistics: Rows) -> logistic.Regression:
        """The concave objective that `statistics` stand for, prior included."""

    @abstractmethod
    def score(self, statistics: Rows) -> Score:
        """`statistics` as gradient and Gram matrix at the present weights."""

    @staticmethod
    @abstractmethod
    def bound_direction(gram: Tensor, gradient: Tensor, precision: Tensor) -> Tensor: ...

    def maximize(self, statistics: Rows) -> None:
        self.set_coordinates(self.m_step(self, statistics))

    def gradient(self, statistics: Rows) -> Tensor:
        gradient = self.score(statistics).gradient - self.precision * self.weights64()
        return (gradient * self.learned).flatten()

    def log_prior(self) -> float:
        return -0.5 * float((self.precision * self.weights64().square()).sum())

    def coordinates(self) -> Tensor:
        return self.weights64().flatten().clone()

    def set_coordinates(self, vector: Tensor) -> None:
        self._write(vector.reshape(self.weights.shape))

    def _collect(self, rows: Observations) -> Rows:
        """The rows, or where the M-step needs no value of Q their gradient, whose size does not grow with n."""
        return rows if self.m_step.needs_rows else self.score(rows)

    def _gram(self, given: Tensor, weights: Tensor) -> Tensor:
        if not self.m_step.needs_gram:
            return torch.zeros(0, 0, dtype=torch.float64, device=given.device)
        return ((given * weights[:, None]).T @ given).double()

    def _write(self, weights: Tensor) -> None:
        self.weights.data.copy_(torch.where(self.learned, weights, 0.0))


class BernoulliUnits(LinearFactor):
    """m units: p(z_h = 1 | x) = σ(w_h·x). `target` are the units' (expected) states, (…, n, m)."""

    bound_direction = staticmethod(logistic.sigmoid_bound_direction)

    @property
    def n_units(self) -> int:
        return len(self.weights)

    def log_prob(self, target: Tensor, given: Tensor | None = None) -> Tensor:
        return self.log_prob_of_predictor(target, self.predictor(require_given(given)))

    @staticmethod
    def log_prob_of_predictor(target: Tensor, logits: Tensor) -> Tensor:
        return (target * logits - softplus(logits)).sum(-1)

    def statistics(self, target: Tensor, weights: Tensor | None, given: Tensor | None = None) -> Rows:
        return self._collect(Observations(target, require_given(given), _ones_if_none(weights, target)))

    def regression(self, statistics: Rows) -> logistic.SigmoidRegression:
        rows = _as_rows(statistics)
        return logistic.SigmoidRegression(
            rows.given.double(), rows.target.double(), rows.weights.double(), self.precision
        )

    def score(self, statistics: Rows) -> Score:
        if isinstance(statistics, Score):
            return statistics
        rows = _as_rows(statistics)
        weighted = rows.given * rows.weights[:, None]
        residual = rows.target - (rows.given @ self.weights64().to(rows.given).T).sigmoid()
        return Score((residual.T @ weighted).double(), self._gram(rows.given, rows.weights))


class SoftmaxOutput(LinearFactor, ClassOutput):
    """A class given m bits, or any inputs: p(y = i | z) = softmax_i(v_i·(1, z)).

    `given` is (1, z); `target` are class indices (n,) or, expected, distributions over the classes (n, g).
    """

    bound_direction = staticmethod(logistic.softmax_bound_direction)

    @property
    def n_bits(self) -> int:
        return self.weights.shape[1] - 1

    @property
    def n_classes(self) -> int:
        return len(self.weights)

    def log_table(self) -> Tensor:
        """log p(y = i | z) for all configurations, (g, 2^m)."""
        return bits.log_output_table(self.weights)

    @staticmethod
    def statistics_of_bits(target: Tensor, weights: Tensor | None, mean: Tensor, counts: Tensor) -> Rows:
        """Statistics from the rows' weight in each class and configuration, (g, 2^m)."""
        return ConfigurationCounts(counts)

    def log_prob(self, target: Tensor, given: Tensor | None = None) -> Tensor:
        return self.log_prob_of_predictor(target, self.predictor(require_given(given)))

    def log_weights(self, given: Tensor | None = None) -> Tensor:
        """log p(class | given) of every class: (n, 1 + m) → (n, g)."""
        return self.predictor(require_given(given)).log_softmax(-1)

    @staticmethod
    def log_prob_of_predictor(target: Tensor, logits: Tensor) -> Tensor:
        return log_softmax_of(target, logits)

    def statistics(self, target: Tensor, weights: Tensor | None, given: Tensor | None = None) -> Rows:
        given = require_given(given)
        if target.dim() == 1:
            target = one_hot(target, self.n_classes)
        return self._collect(Observations(target.to(given.dtype), given, _ones_if_none(weights, given)))

    def statistics_of_means(self, target: Tensor, weights: Tensor | None, means: Tensor) -> Rows:
        """Statistics where independent bits with those means, (n, m), stand below the output."""
        target = one_hot(target, self.n_classes).to(means.dtype)
        return self._collect(FactorizedObservations(target, with_constant(means), _ones_if_none(weights, means)))

    def regression(self, statistics: Rows) -> logistic.SoftmaxRegression | FactorizedSoftmaxRegression:
        rows = _as_rows(statistics)
        target = rows.target.double() * rows.weights.double()[:, None]
        if isinstance(rows, FactorizedObservations):
            return FactorizedSoftmaxRegression(rows.given[:, 1:].double(), target, self.precision)
        return logistic.SoftmaxRegression(rows.given.double(), target, self.precision)

    def score(self, statistics: Rows) -> Score:
        if isinstance(statistics, Score):
            return statistics
        rows = _as_rows(statistics)
        target = rows.target * rows.weights[:, None]
        mass = target.sum(1, keepdim=True)
        if isinstance(rows, FactorizedObservations):
            return self._factorized_score(rows, float(mass.sum()))
        expected = (self.weights64().to(rows.given) @ rows.given.T).log_softmax(0).exp().T * mass
        return Score(((target - expected).T @ rows.given).double(), self._gram(rows.given, mass[:, 0]))

    def _factorized_score(self, rows: FactorizedObservations, mass: float) -> Score:
        """The curvature of the bound is below ½ (1 + m) + ¼ a row: twice that stands in for the Gram matrix."""
        gradient = self.regression(rows).gradient(self.weights64()) + self.precision * self.weights64()
        identity = torch.eye(1 + self.n_bits, dtype=gradient.dtype, device=gradient.device)
        return Score(gradient, mass * (1.5 + self.n_bits) * identity)


def _as_rows(statistics: Rows) -> Observations:
    if isinstance(statistics, Score):
        raise TypeError("The value of Q needs rows, and these statistics are a gradient: see `MStep.needs_rows`.")
    return statistics.expanded() if isinstance(statistics, ConfigurationCounts) else statistics


def _ones_if_none(weights: Tensor | None, like: Tensor) -> Tensor:
    return like.new_ones(len(like)) if weights is None else weights.to(like.dtype)
