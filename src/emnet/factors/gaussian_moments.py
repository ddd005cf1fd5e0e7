"""What a Gaussian's passes need of the rows, and the moments that they expect of them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property

import torch
from torch import Tensor

from emnet.kernels import gaussian, gaussian_halves, gaussian_holes, gaussian_missing
from emnet.kernels.gaussian_halves import Halves
from emnet.kernels.gaussian_holes import Holes
from emnet.kernels.gaussian_missing import Patterns
from emnet.statistics import Statistics


@dataclass(frozen=True, eq=False)
class Rows:
    """Rows as every pass needs them: `values`, (n, d), with 0 for what is missing, and what was `observed`."""

    values: Tensor
    observed: Tensor | None  # (n, d); None if everything
    reach: Tensor  # (d,), the largest |x| of each column
    _halves: dict[int, list[Halves]] = field(default_factory=dict, init=False, repr=False)
    _narrow: list[tuple[Tensor, list[int]]] = field(default_factory=list, init=False, repr=False)

    def narrow(self, inverse: Tensor, k: int) -> list[int]:
        """Which of k states the expanded quadratic of these rows is no good for; kept for the same `inverse`."""
        if not self._narrow or self._narrow[0][0] is not inverse:
            self._narrow[:] = [(inverse, gaussian.narrow_states(inverse, self.reach, self.values.dtype, k))]
        return self._narrow[0][1]

    @cached_property
    def features(self) -> Tensor | None:
        """Packed features of few rows without holes."""
        return gaussian.kept_features(self.values, diagonal=False)

    @cached_property
    def diagonal_features(self) -> Tensor | None:
        """The same for diagonal matrices."""
        return gaussian.kept_features(self.values, diagonal=True)

    @cached_property
    def complete(self) -> Tensor | None:
        """Which rows have no hole, as indices; None for all."""
        return None if self.observed is None else torch.nonzero(self.observed.all(1)).flatten()

    @cached_property
    def holes(self) -> Holes | None:
        """The rows with some holes, by their number; None of few patterns, and without compiled passes."""
        if self.observed is None or self.observed.device.type != "cpu":
            return None
        many = gaussian_halves.has_many_patterns(self.observed)
        return gaussian_holes.group_by_number(self.observed) if many and gaussian_holes.compiled_passes() else None

    def halves(self, k: int) -> list[Halves]:
        """The rows with some holes, by patterns of the halves of the columns; none where patterns are few."""
        if self.observed is None:
            return []
        if k not in self._halves:
            self._halves[k] = gaussian_halves.group_by_halves(self.observed, k)
        return self._halves[k]

    @cached_property
    def patterns(self) -> list[Patterns]:
        """The rows with some holes, by pattern."""
        return [] if self.observed is None else gaussian_missing.group_by_pattern(self.observed)


@dataclass(frozen=True, eq=False)
class GaussianMoments(Statistics):
    """Expected Σ r, Σ r (x − o) and Σ r (x − o)(x − o)ᵀ of each state, in float64.

    They mean the same about any origin o, but keep their digits about one near the state's mean. Sums are about the
    origin of the first of them.
    """

    frame = ("origin",)

    counts: Tensor  # (k,)
    first: Tensor  # (k, d)
    second: Tensor  # (k, d, d), or (k, d) of squares alone; (1, …) where summed over the states
    origin: Tensor  # (k, d)

    def __add__(self, other: GaussianMoments) -> GaussianMoments:
        other = other.about(self.origin)
        return GaussianMoments(
            self.counts + other.counts, self.first + other.first, self.second + other.second, self.origin
        )

    def __mul__(self, scale: float) -> GaussianMoments:
        return GaussianMoments(scale * self.counts, scale * self.first, scale * self.second, self.origin)

    def about(self, origin: Tensor) -> GaussianMoments:
        """The same moments about another origin, (k, d)."""
        shift = origin - self.origin
        if not bool(shift.any()):
            return self
        first = self.first - self.counts[:, None] * shift
        return GaussianMoments(self.counts, first, self.scatter(origin), origin)

    def in_frame(self, frame: Iterator[Tensor]) -> GaussianMoments:
        return self.about(next(frame))

    def scatter(self, means: Tensor) -> Tensor:
        """Σ r (x − m)(x − m)ᵀ, in the shape of `second`; differentiable in the means."""
        shift = means - self.origin
        moved = self.counts.unsqueeze(1) * shift - self.first
        if self.second.dim() == 2:
            change = shift * (moved - self.first)
        else:
            change = moved.unsqueeze(2) * shift.unsqueeze(1)
            change.addcmul_(shift.unsqueeze(2), self.first.unsqueeze(1), value=-1)
        return self.second + (change.sum(0, keepdim=True) if len(self.second) < len(means) else change)
