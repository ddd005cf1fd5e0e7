"""Factors whose parameters are torch's own, moved along gradients that autograd finds."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import Tensor, nn

from emnet.factors.base import Factor
from emnet.statistics import Moments, Statistics

S = TypeVar("S", bound=Statistics)


@dataclass(frozen=True, eq=False)
class Gradient(Moments):
    """∇Q at the θ of the E-step, without the prior's part: additive, of constant size, used for one step."""

    vector: Tensor


def learned(network: nn.Module) -> list[nn.Parameter]:
    """The parameters that are learned."""
    return [parameter for parameter in network.parameters() if parameter.requires_grad]


def flat(tensors: Iterable[Tensor]) -> Tensor:
    """Tensors as one vector in float64; of none, an empty one."""
    parts = [tensor.detach().flatten().double() for tensor in tensors]
    return torch.cat(parts) if parts else torch.zeros(0, dtype=torch.float64)


class TorchFactor(Factor[S]):
    """A factor whose θ are torch parameters, with a Gaussian prior on all of them.

    Parameters
    ----------
    precision : the prior's.
    """

    def __init__(self, *, precision: float = 0.0):
        super().__init__()
        self.precision = float(precision)

    def theta(self) -> list[nn.Parameter]:
        """The parameters that make up the coordinates, in their order."""
        return learned(self)

    def gradient_of(self, total: Tensor, *, retain_graph: bool = False) -> Gradient:
        """∇ of a sum over rows, with its graph behind it."""
        own = self.theta()
        if not own:
            return Gradient(torch.zeros(0, dtype=torch.float64, device=total.device))
        found = torch.autograd.grad(total, own, retain_graph=retain_graph, allow_unused=True, materialize_grads=True)
        return Gradient(flat(found))

    def slope_of_prior(self) -> Tensor:
        """∇ log p(θ)."""
        return -self.precision * self.coordinates()

    def log_prior(self) -> float:
        return -0.5 * self.precision * float(self.coordinates().square().sum()) if self.precision else 0.0

    def coordinates(self) -> Tensor:
        return flat(self.theta())

    def set_coordinates(self, vector: Tensor) -> None:
        own = self.theta()
        for parameter, part in zip(own, vector.split([each.numel() for each in own]), strict=True):
            parameter.data.copy_(part.view_as(parameter))


class DifferentiableFactor(TorchFactor[Gradient]):
    """A factor whose statistics are ∇Q at the θ of the E-step; all its parameters that require a gradient are learned.

    Parameters
    ----------
    precision : of a Gaussian prior on all of them.
    learning_rate : η of the M-step θ ← θ + η ∇(Q + log prior).
    """

    def __init__(self, *, precision: float = 0.0, learning_rate: float = 1e-3):
        super().__init__(precision=precision)
        self.learning_rate = learning_rate

    def statistics(self, target: Tensor, weights: Tensor | None, given: Tensor | None = None) -> Gradient:
        with torch.enable_grad():
            terms = self.log_prob(target, given)
            total = terms.sum() if weights is None else (terms * weights.to(terms)).sum()
            return self.gradient_of(total, retain_graph=True)

    def maximize(self, statistics: Gradient) -> None:
        self.set_coordinates(self.coordinates() + self.learning_rate * self.gradient(statistics))

    def gradient(self, statistics: Gradient) -> Tensor:
        return statistics.vector + self.slope_of_prior()
