"""Whole numbers that are a logistic variable rounded, as torch has distributions."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Size, Tensor
from torch.distributions import Distribution, constraints
from torch.nn.functional import logsigmoid


def log_mass(cells: Tensor, location: Tensor, scale: Tensor, levels: int) -> Tensor:
    """log [σ(a) − σ(b)] = log σ(a) + log σ(−b) + log(1 − e^{b−a}) for the edges a > b of whole numbers (…).

    Salimans et al. 2017, eq. 2: location and scale are those of x between −1 and 1; both ends are open.
    """
    half = 1 / (levels - 1) / scale
    away = (cells * (2 / (levels - 1)) - 1 - location) / scale
    below, above = logsigmoid(away + half), logsigmoid(half - away)
    within = below + above + (-torch.expm1(-2 * half)).log()
    return torch.where(cells <= 0, below, torch.where(cells >= levels - 1, above, within))


class DiscretizedLogistic(Distribution):
    """Whole numbers from 0 to `levels` − 1, with `log_mass`. Moments are sums over the levels: (…) · levels numbers."""

    arg_constraints: ClassVar[dict[str, Any]] = {}

    def __init__(self, location: Tensor, scale: Tensor, levels: int = 256):
        self.location, self.scale = torch.broadcast_tensors(location, scale)
        self.levels = levels
        super().__init__(self.location.shape, validate_args=False)

    @property
    def support(self) -> constraints.Constraint:
        return constraints.integer_interval(0, self.levels - 1)

    def expand(self, batch_shape: Any, _instance: Any = None) -> DiscretizedLogistic:
        return DiscretizedLogistic(self.location.expand(batch_shape), self.scale.expand(batch_shape), self.levels)

    def log_prob(self, value: Tensor) -> Tensor:
        inside = (value >= 0) & (value <= self.levels - 1) & (value == value.floor())
        return log_mass(value, self.location, self.scale, self.levels).masked_fill(~inside, -torch.inf)

    def sample(self, sample_shape: Any = ()) -> Tensor:
        shape = Size(sample_shape) + self.batch_shape
        uniform = torch.rand(shape, dtype=self.location.dtype, device=self.location.device).clamp(1e-12, 1 - 1e-12)
        drawn = (self.location + self.scale * uniform.logit() + 1) * ((self.levels - 1) / 2)
        return drawn.round().clamp(0, self.levels - 1)

    @property
    def mean(self) -> Tensor:
        """E[x] = Σ_{j ≥ 1} p(x ≥ j)."""
        return self._upper()[1].sum(-1)

    @property
    def variance(self) -> Tensor:
        """E[x²] − E[x]², E[x²] = Σ_{j ≥ 1} (2j − 1) p(x ≥ j)."""
        j, upper = self._upper()
        return ((2 * j - 1) * upper).sum(-1) - upper.sum(-1).square()

    def _upper(self) -> tuple[Tensor, Tensor]:
        """j = 1, 2, …, and p(x ≥ j), (…, levels − 1)."""
        j = torch.arange(1, self.levels, dtype=self.location.dtype, device=self.location.device)
        edges = (j - 0.5) * (2 / (self.levels - 1)) - 1
        return j, torch.sigmoid((self.location[..., None] - edges) / self.scale[..., None])
