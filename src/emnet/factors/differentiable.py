"""Factors whose parameters are moved along gradients that autograd finds."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.utils import parameters_to_vector, vector_to_parameters

from emnet.factors.base import Factor
from emnet.factors.module import Gradient, learned


class DifferentiableFactor(Factor[Gradient]):
    """A factor whose statistics are ∇Q at the θ of the E-step; all its parameters that require a gradient are learned.

    Parameters
    ----------
    precision : of a Gaussian prior on all of them.
    learning_rate : η of the M-step θ ← θ + η ∇(Q + log prior).
    """

    def __init__(self, *, precision: float = 0.0, learning_rate: float = 1e-3):
        super().__init__()
        self.precision, self.learning_rate = float(precision), learning_rate

    def statistics(self, target: Tensor, weights: Tensor | None, given: Tensor | None = None) -> Gradient:
        with torch.enable_grad():
            terms = self.log_prob(target, given)
            return self.gradient_of(terms.sum() if weights is None else (terms * weights.to(terms)).sum())

    def gradient_of(self, total: Tensor) -> Gradient:
        """∇ of a sum over rows, with its graph behind it."""
        own = learned(self)
        if not own:
            return Gradient(torch.zeros(0, dtype=torch.float64, device=total.device))
        parts = torch.autograd.grad(total, own, retain_graph=True, allow_unused=True, materialize_grads=True)
        return Gradient(torch.cat([part.flatten().double() for part in parts]))

    def maximize(self, statistics: Gradient) -> None:
        self.set_coordinates(self.coordinates() + self.learning_rate * self.gradient(statistics))

    def gradient(self, statistics: Gradient) -> Tensor:
        return statistics.vector - self.precision * self.coordinates()

    def log_prior(self) -> float:
        return -0.5 * self.precision * float(self.coordinates().square().sum()) if self.precision else 0.0

    def coordinates(self) -> Tensor:
        own = learned(self)
        return parameters_to_vector(own).detach().double().clone() if own else torch.zeros(0, dtype=torch.float64)

    def set_coordinates(self, vector: Tensor) -> None:
        own = learned(self)
        if own:
            vector_to_parameters(vector.to(own[0].dtype), own)
