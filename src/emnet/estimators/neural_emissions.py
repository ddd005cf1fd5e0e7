"""The emissions of `NeuralHMM` by name: which factor each stands for."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from emnet.estimators.modules import fresh_module, require_shape
from emnet.exceptions import InvalidInputError
from emnet.factors.base import Factor
from emnet.factors.experts import GaussianExperts, ModuleExperts
from emnet.factors.least_squares import ConjugatePrior
from emnet.factors.mixture_density import MixtureDensity
from emnet.factors.module import ModuleGaussian
from emnet.factors.module_density import ModuleDensity, ScaledLikelihood
from emnet.factors.neural import NetworkMStep

_REFERENCE_ROWS = 2000  # that stand for the distribution of the data


@dataclass(frozen=True)
class Plan:
    """What an emission is made from: k states, d columns, p columns of the past."""

    k: int
    d: int
    p: int
    network: nn.Module | None
    n_mixtures: int
    hidden_units: int
    precision: float
    noise: float  # residual of the prior on σ
    dtype: torch.dtype
    seed: int
    rows: Tensor  # (r, d), standardized rows of the data, none missing
    m_step: NetworkMStep  # of networks

    def fresh(self, module: nn.Module, more: int = 0) -> nn.Module:
        return fresh_module("network", module, self.dtype, self.seed + more)


def autoregressive(plan: Plan) -> Factor[Any]:
    """Gaussians about a linear function of the past, or about what a network makes of it, one for each state."""
    variance = torch.ones(plan.k, plan.d, dtype=torch.float64)
    if plan.network is None:
        weights = torch.zeros(plan.k, plan.d, 1 + plan.p, dtype=plan.dtype)
        return GaussianExperts(weights, variance, prior=ConjugatePrior(plan.precision, plan.noise))
    copies = [plan.fresh(plan.network, state) for state in range(plan.k)]
    require_shape("network", copies[0], plan.p, plan.d, plan.dtype)
    options: dict[str, Any] = {"residual": plan.noise, "precision": plan.precision, "m_step": plan.m_step}
    return ModuleExperts([ModuleGaussian(own, variance[0], **options) for own in copies])


def mixture_density(plan: Plan) -> Factor[Any]:
    """Mixtures of Gaussians whose parameters one network makes of the past for all states."""
    blank = MixtureDensity(plan.d, plan.k, plan.n_mixtures, n_past=plan.p, hidden_units=plan.hidden_units)
    return ModuleDensity(plan.fresh(blank), precision=plan.precision, m_step=plan.m_step)


def discriminative(plan: Plan) -> Factor[Any]:
    """A classifier of states, divided by their shares."""
    given = plan.network or nn.Sequential(
        nn.Linear(plan.d, plan.hidden_units), nn.Tanh(), nn.Linear(plan.hidden_units, plan.k)
    )
    network = plan.fresh(given)
    require_shape("network", network, plan.d, plan.k, plan.dtype)
    return ScaledLikelihood(network, plan.rows, precision=plan.precision, m_step=plan.m_step)


def of_module(module: nn.Module) -> Callable[[Plan], Factor[Any]]:
    """A module of the user's, which gives log densities."""

    def make(plan: Plan) -> Factor[Any]:
        network = plan.fresh(module)
        _require_density(network, plan)
        return ModuleDensity(network, precision=plan.precision, m_step=plan.m_step)

    return make


def reference_rows(rows: Tensor) -> Tensor:
    """Rows that stand for the distribution of the data: those with no hole, at most 2000 of them at even distances."""
    whole = rows[~rows.isnan().any(1)]
    return whole[:: -(-len(whole) // _REFERENCE_ROWS)] if len(whole) else rows.new_zeros(1, rows.shape[1])


def _require_density(network: nn.Module, plan: Plan) -> None:
    """Raise InvalidInputError unless the module takes rows (and their past) and gives (n, k)."""
    inputs = [torch.zeros(2, width, dtype=plan.dtype) for width in (plan.d, plan.p) if width]
    try:
        with torch.no_grad():
            shape = tuple(network(*inputs).shape)
    except (RuntimeError, ValueError, TypeError) as error:
        sizes = " and ".join(f"(n, {part.shape[1]})" for part in inputs)
        raise InvalidInputError(f"emission does not take rows {sizes}: {error}.") from error
    if shape != (2, plan.k):
        raise InvalidInputError(
            f"emission must give a log density for each of {plan.k} states; of 2 rows it gave {shape}."
        )


EMISSIONS: Mapping[str, Callable[[Plan], Factor[Any]]] = {
    "autoregressive": autoregressive,
    "mixture_density": mixture_density,
    "discriminative": discriminative,
}
TAKES_HOLES = ("autoregressive", "mixture_density")
"""Those that leave single missing cells out of a row; the others know whole rows only."""
