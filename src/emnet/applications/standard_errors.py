"""How well parameters are known: observed information from EM's own gradient."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from emnet.algorithms.base import e_step
from emnet.batch import Data
from emnet.exceptions import InvalidInputError
from emnet.inference.base import EStep
from emnet.models.base import LatentModel

_STEP = 1e-5  # of a coordinate, relative to 1 + |it|
_FLAT = 1e-8  # share of the largest information below which a direction is one in which nothing changes


def standard_errors(model: LatentModel, data: Data, inference: EStep, published: Callable[[Any], Tensor]) -> Tensor:
    """Of what is published of a model that is at a maximum, (q,): the root of `covariance_of`; 0 of what is fixed."""
    start, here = model.coordinates(), published(model)
    if not len(start):
        return torch.zeros_like(here)

    def change(vector: Tensor) -> Tensor:
        model.set_coordinates(vector.to(start.device))
        return published(model) - here

    with torch.no_grad():
        information = observed_information(model, data, inference)
        covariance = covariance_of(change, start.cpu(), information.cpu())
    model.set_coordinates(start)
    return covariance.diagonal().clamp_min(0.0).sqrt()


def observed_information(model: LatentModel, data: Data, inference: EStep) -> Tensor:
    """−∂² (log evidence + log prior) / ∂θ² at the model's coordinates, (p, p).

    By Fisher's identity ∇ log evidence is ∇Q at θ, so central differences of it are the missing-information formulas of
    Louis 1982 and Oakes 1999 without their algebra (Jamshidian & Jennrich 2000). It takes 2 p E-steps.
    """
    start = model.coordinates()

    def slope(vector: Tensor) -> Tensor:
        model.set_coordinates(vector)
        return model.gradient(e_step(model, data, inference)[1])

    try:
        curvature = -differences(slope, start)
    finally:
        model.set_coordinates(start)
    return 0.5 * (curvature + curvature.mT)


def covariance_of(published: Callable[[Tensor], Tensor], vector: Tensor, information: Tensor) -> Tensor:
    """Covariance of what is published of the coordinates, by the delta method: J I⁺ Jᵀ.

    Directions that change nothing (a shift of all logits) have no information, and J is 0 along them.

    Raises
    ------
    InvalidInputError : the information has a negative direction, so these parameters are no maximum.
    """
    values, axes = torch.linalg.eigh(information)
    least = _FLAT * float(values.abs().max())
    if float(values[0]) < -1e3 * least:
        raise InvalidInputError(
            f"The parameters are not at a maximum: the information has a negative direction ({float(values[0]):.3g}). "
            "Fit again with a smaller tol and more iterations."
        )
    used = values > least
    jacobian = differences(published, vector) @ axes[:, used]
    return (jacobian / values[used]) @ jacobian.mT


def differences(function: Callable[[Tensor], Tensor], vector: Tensor) -> Tensor:
    """The Jacobian of a function by central differences: (…, p)."""
    columns = []
    for i in range(len(vector)):
        step = _STEP * (1 + vector[i].abs())
        up, down = vector.clone(), vector.clone()
        up[i] += step
        down[i] -= step
        columns.append((function(up) - function(down)) / (2 * step))
    return torch.stack(columns, dim=-1)
