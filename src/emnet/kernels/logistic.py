"""Weighted logistic and multinomial regressions with soft targets and Gaussian priors.

Two concave objectives over a design matrix whose first column is the constant 1:

    sigmoid:  Q(w_h) = Σ_j c_j [t_hj a_hj − softplus(a_hj)] − ½ Σ λ_h w_h²,     a_hj = w_h·x_j, m units apart
    softmax:  Q(v)   = Σ_j Σ_i t_ij log softmax_i(v·x_j) − ½ Σ λ v²,            g classes together

and ways up: Newton with step halving (for the softmax with the full g·p Hessian over classes: Chen, Xu & Chi 1999), a
class at a time, or with the classes' own blocks of the Hessian alone; the fixed bounds of Böhning & Lindsay 1988 and
Böhning 1992; and a gradient step.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from emnet.exceptions import SeparationWarning
from emnet.kernels.normal_equations import solve, weighted_grams
from emnet.warning import warn

_ARMIJO = 1e-4
_MAX_HALVINGS = 30
_SEPARATED_LOGIT = 30.0  # beyond it a float64 probability is 1 to 13 digits


@dataclass(frozen=True)
class SigmoidRegression:
    """m logistic regressions on one design: `objective` gives each its own value, (m, 1)."""

    design: Tensor  # (n, p)
    target: Tensor  # (n, m), each in [0, 1]
    weight: Tensor | None  # (n,)
    precision: Tensor  # (m, p)
    offset: Tensor | float = 0.0  # (n, m), added to the logits

    def objective(self, weights: Tensor) -> Tensor:
        logits = self._logits(weights)
        terms = self.target * logits - softplus(logits)
        total = terms.sum(0) if self.weight is None else self.weight @ terms
        return (total - _penalty(weights, self.precision).sum(1))[:, None]

    def gradient(self, weights: Tensor) -> Tensor:
        residual = self.target - self._logits(weights).sigmoid()
        if self.weight is not None:
            residual = residual * self.weight[:, None]
        return residual.T @ self.design - self.precision * weights

    def newton_direction(self, weights: Tensor, gradient: Tensor) -> Tensor:
        probability = self._logits(weights).sigmoid()
        curvature = probability * (1 - probability)
        if self.weight is not None:
            curvature = curvature * self.weight[:, None]
        hessian = weighted_grams(self.design, curvature) + torch.diag_embed(self.precision)
        return solve(hessian, gradient[:, :, None])[:, :, 0]

    def largest_logit(self, weights: Tensor) -> float:
        return float(self._logits(weights).abs().max())

    def _logits(self, weights: Tensor) -> Tensor:
        return self.design @ weights.T + self.offset


@dataclass(frozen=True)
class SoftmaxRegression:
    """One multinomial regression: `objective` is a single value, (1, 1). Rows of `target` carry the weights."""

    design: Tensor  # (n, p)
    target: Tensor  # (n, g): weight of the row times its distribution over the classes
    precision: Tensor  # (g, p)

    def objective(self, weights: Tensor) -> Tensor:
        log_probability = (self.design @ weights.T).log_softmax(1)
        return ((self.target * log_probability).sum() - _penalty(weights, self.precision).sum()).view(1, 1)

    def gradient(self, weights: Tensor) -> Tensor:
        probability = (self.design @ weights.T).softmax(1)
        expected = probability * self.target.sum(1, keepdim=True)
        return (self.target - expected).T @ self.design - self.precision * weights

    def newton_direction(self, weights: Tensor, gradient: Tensor) -> Tensor:
        g, p = weights.shape
        probability = (self.design @ weights.T).softmax(1)
        mass = self.target.sum(1, keepdim=True)
        pairs = -(mass * probability)[:, :, None] * probability[:, None, :]
        pairs.diagonal(dim1=1, dim2=2).add_(mass * probability)
        blocks = weighted_grams(self.design, pairs.flatten(1)).view(g, g, p, p)
        # One vector added to every class changes no probability: where no prior forbids that, the projector on
        # those directions makes the Hessian regular and leaves the step, which has no part in them, as it is.
        free = (self.precision == 0).all(0).to(weights.dtype)
        scale = blocks.diagonal().mean().clamp_min(torch.finfo(weights.dtype).tiny) * g
        blocks = blocks + (scale / g) * torch.diag(free)
        hessian = blocks.permute(0, 2, 1, 3).reshape(g * p, g * p) + torch.diag(self.precision.flatten())
        return solve(hessian, gradient.reshape(-1, 1)).view(g, p)

    def blockwise(self) -> BlockwiseSoftmaxRegression:
        """The same objective, whose directions take the classes for independent."""
        return BlockwiseSoftmaxRegression(self)

    def of_class(self, number: int, logits: Tensor) -> SigmoidRegression:
        """The objective as a function of one class's weights, the others' logits, (n, g), held fixed.

        −log Σ_r e^{a_r} = −softplus(a_i − c) − c with c = log Σ_{r ≠ i} e^{a_r}: a logistic regression with an offset.
        """
        mass = self.target.sum(1)
        others = logits.clone()
        others[:, number] = float("-inf")
        share = torch.where(mass > 0, self.target[:, number] / mass.clamp_min(torch.finfo(mass.dtype).tiny), 0.0)
        precision = self.precision[number : number + 1]
        return SigmoidRegression(self.design, share[:, None], mass, precision, -others.logsumexp(1, keepdim=True))

    def largest_logit(self, weights: Tensor) -> float:
        return float((self.design @ weights.T).abs().max())


@dataclass(frozen=True)
class BlockwiseSoftmaxRegression:
    """A softmax regression whose Newton direction leaves out the Hessian's blocks between classes.

    That is iteratively reweighted least squares as Jordan & Jacobs 1994 have it, whose whole steps may diverge (Chen,
    Xu & Chi 1999). Over the classes the Hessian is the Laplacian of a graph and its blocks are the degrees, so it is at
    most twice their matrix: half a step, which is what the direction here is, never overshoots near the maximum.
    """

    whole: SoftmaxRegression

    @property
    def precision(self) -> Tensor:
        return self.whole.precision

    def objective(self, weights: Tensor) -> Tensor:
        return self.whole.objective(weights)

    def gradient(self, weights: Tensor) -> Tensor:
        return self.whole.gradient(weights)

    def newton_direction(self, weights: Tensor, gradient: Tensor) -> Tensor:
        probability = (self.whole.design @ weights.T).softmax(1)
        curvature = probability * (1 - probability) * self.whole.target.sum(1, keepdim=True)
        hessian = weighted_grams(self.whole.design, curvature) + torch.diag_embed(self.precision)
        return solve(hessian, gradient[:, :, None])[:, :, 0] / 2

    def largest_logit(self, weights: Tensor) -> float:
        return self.whole.largest_logit(weights)


class Regression(Protocol):
    """A concave objective in weights (k, p), as one value or one a row of the weights."""

    @property
    def precision(self) -> Tensor: ...

    def objective(self, weights: Tensor) -> Tensor:
        """(1, 1) or (k, 1)."""
        ...

    def gradient(self, weights: Tensor) -> Tensor: ...

    def newton_direction(self, weights: Tensor, gradient: Tensor) -> Tensor: ...

    def largest_logit(self, weights: Tensor) -> float: ...


def newton(regression: Regression, start: Tensor, *, max_steps: int = 100, tol: float = 1e-10) -> Tensor:
    """Maximize by damped Newton steps, from `start` (k, p); no step lowers any regression's objective.

    Stops when no step promises more than `tol` relative gain. Warns with SeparationWarning when it ends at
    logits beyond what a probability can tell from certainty and no prior holds the weights.
    """
    weights, value = start, regression.objective(start)
    for _ in range(max_steps):
        gradient = regression.gradient(weights)
        direction = regression.newton_direction(weights, gradient)
        promised = _per_objective(gradient * direction, value)
        if bool((promised <= tol * (1 + value.abs())).all()):
            # Newton's last step squares the error, and a rise so small cannot be told from rounding.
            rounding = 8 * torch.finfo(weights.dtype).eps * (1 + value.abs())
            polished = weights + direction
            return torch.where(regression.objective(polished) >= value - rounding, polished, weights)
        weights, value = _halve_until_better(regression.objective, weights, value, direction, promised)
    if _is_separated(regression, weights):
        warn(
            "The classes are separable and some weights have no prior: their maximum lies at infinity, and Newton "
            "stopped on the way. Give a prior (a precision above 0).",
            SeparationWarning,
        )
    return weights


def class_by_class(regression: SoftmaxRegression, start: Tensor, *, sweeps: int, tol: float = 1e-10) -> Tensor:
    """Maximize by a damped Newton step of each class in turn, the others held fixed (Ng & McLachlan 2004).

    A sweep solves g systems of p equations where Newton solves one of g·p; each step is a step of an ECM algorithm.
    """
    weights = start.clone()
    for _ in range(sweeps):
        logits = regression.design @ weights.T
        for number in range(len(weights)):
            one = regression.of_class(number, logits)
            weights[number] = newton(one, weights[number : number + 1], max_steps=1, tol=tol)[0]
            logits[:, number] = regression.design @ weights[number]
    return weights


def sigmoid_bound_direction(gram: Tensor, gradient: Tensor, precision: Tensor) -> Tensor:
    """Step of the fixed bound for m logistic regressions: (¼ XᵀCX + Λ)⁻¹ ∇Q (Böhning 1992; Jaakkola & Jordan 2000)."""
    if bool((precision == precision[0]).all()):  # one Cholesky serves all units
        return solve(gram / 4 + torch.diag(precision[0]), gradient.T).T
    return solve(gram / 4 + torch.diag_embed(precision), gradient[:, :, None])[:, :, 0]


def softmax_bound_direction(gram: Tensor, gradient: Tensor, precision: Tensor) -> Tensor:
    """Step of the fixed bound ½ (I − 11ᵀ/g) ⊗ XᵀCX for a multinomial regression (Böhning 1992).

    With one precision for all classes the Kronecker bound falls apart into one p × p system, as ∇Q has no part
    along equal shifts of all classes; with several, ½ I ⊗ XᵀCX, a looser bound, gives one system a class.
    """
    return sigmoid_bound_direction(2 * gram, gradient, precision)


def softplus(x: Tensor) -> Tensor:
    """log(1 + eˣ) to the last digit; torch's own is off by 2e-9 at its threshold, x = 20."""
    return -logsigmoid(-x)


def _halve_until_better(
    objective: Callable[[Tensor], Tensor], weights: Tensor, value: Tensor, direction: Tensor, promised: Tensor
) -> tuple[Tensor, Tensor]:
    length = torch.ones_like(value)
    for _ in range(_MAX_HALVINGS):
        candidate = weights + length * direction
        reached = objective(candidate)
        enough = reached >= value + _ARMIJO * length * promised
        if bool(enough.all()):
            return candidate, reached
        length = torch.where(enough, length, length / 2)
    keep = objective(candidate) >= value
    return torch.where(keep, candidate, weights), torch.where(keep, reached, value)


def _is_separated(regression: Regression, weights: Tensor) -> bool:
    unpenalized = (regression.precision[:, 1:] == 0).any()
    return bool(unpenalized) and regression.largest_logit(weights) > _SEPARATED_LOGIT


def _per_objective(terms: Tensor, value: Tensor) -> Tensor:
    return terms.sum(1, keepdim=True) if len(value) == len(terms) else terms.sum().view(1, 1)


def _penalty(weights: Tensor, precision: Tensor) -> Tensor:
    return precision * weights.square() / 2
