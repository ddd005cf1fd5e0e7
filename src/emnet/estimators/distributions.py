"""Predictive distributions as `torch.distributions`, in the units of the data."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Size, Tensor
from torch.distributions import (
    Bernoulli,
    Categorical,
    Distribution,
    Independent,
    LogNormal,
    MixtureSameFamily,
    MultivariateNormal,
    Normal,
    Poisson,
    StudentT,
    constraints,
)

OF_FAMILY: Mapping[str, Callable[[Mapping[str, Tensor]], Distribution]] = {
    "gaussian": lambda p: MultivariateNormal(p["means"], p["covariances"]),
    "student_t": lambda p: Independent(StudentT(p["degrees_of_freedom"], p["means"], p["scales"]), 1),
    "log_normal": lambda p: Independent(LogNormal(p["log_means"], p["log_variances"].sqrt()), 1),
    "poisson": lambda p: Independent(Poisson(p["rates"]), 1),
    "bernoulli": lambda p: Independent(Bernoulli(p["probabilities"]), 1),
    "categorical": lambda p: Categorical(p["probabilities"]),
}
"""Of an emission's parameters, as mixtures of tables publish them."""


class SideBySide(Distribution):
    """Independent parts, each of its own columns of one event, (d,); a part without an event shape has one column."""

    arg_constraints: ClassVar[dict[str, Any]] = {}
    support = constraints.real_vector

    def __init__(self, parts: Sequence[Distribution], columns: Sequence[Sequence[int]]):
        self.parts, self.columns = tuple(parts), tuple(list(own) for own in columns)
        shape = torch.broadcast_shapes(*(part.batch_shape for part in parts))
        super().__init__(Size(shape), Size([sum(map(len, self.columns))]), validate_args=False)

    def expand(self, batch_shape: Any, _instance: Any = None) -> SideBySide:
        return SideBySide([part.expand(batch_shape) for part in self.parts], self.columns)

    def log_prob(self, value: Tensor) -> Tensor:
        own = (value[..., columns] for columns in self.columns)
        terms = [
            part.log_prob(cells if part.event_shape else cells[..., 0])
            for part, cells in zip(self.parts, own, strict=True)
        ]
        return sum(terms[1:], start=terms[0])

    def sample(self, sample_shape: Any = ()) -> Tensor:
        return self._placed(part.sample(sample_shape) for part in self.parts)

    @property
    def mean(self) -> Tensor:
        return self._placed(part.mean for part in self.parts)

    @property
    def variance(self) -> Tensor:
        return self._placed(part.variance for part in self.parts)

    def _placed(self, found: Any) -> Tensor:
        """What the parts say, in the order of the columns."""
        cells = [own if part.event_shape else own[..., None] for part, own in zip(self.parts, found, strict=True)]
        order = torch.tensor([column for columns in self.columns for column in columns]).argsort()
        return torch.cat([own.double() for own in cells], dim=-1)[..., order]


def mixture(weights: Tensor, components: Distribution) -> Distribution:
    """Σ_k w_k p_k, of weights (…, k) and components whose batch shape is that, or (k,)."""
    return MixtureSameFamily(Categorical(probs=weights), components.expand(weights.shape), validate_args=False)


def gaussian_mixture(weights: Tensor, means: Tensor, lower: Tensor) -> Distribution:
    """Σ_k w_k Normal(m_k, L_k L_kᵀ), of weights (…, k), means (…, k, d) and Cholesky factors (…, k, d, d)."""
    return MixtureSameFamily(Categorical(probs=weights), MultivariateNormal(means, scale_tril=lower))


def diagonal_mixture(weights: Tensor, means: Tensor, variances: Tensor) -> Distribution:
    """Σ_m w_m Π_j Normal(m_mj, σ²_mj), of weights (…, m), means and variances (…, m, d)."""
    parts = Independent(Normal(means, variances.sqrt()), 1)
    return MixtureSameFamily(Categorical(probs=weights), parts)


def of_targets(
    weights: Tensor, means: Tensor, lower: Tensor, center: np.ndarray, scale: np.ndarray, flat: bool
) -> Distribution:
    """The same of standardized targets, whose center and scale are (d,); a `flat` one has no axis of its own."""
    by, at = (torch.as_tensor(x, dtype=means.dtype, device=means.device) for x in (scale, center))
    means, lower = means * by + at, lower * by[:, None]
    if not flat:
        return gaussian_mixture(weights, means, lower)
    one, sd = means[..., 0], lower[..., 0, 0]
    return MixtureSameFamily(Categorical(probs=weights), Normal(one, sd.expand_as(one)))
