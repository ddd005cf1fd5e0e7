"""Yes or no, and counts: emissions whose mean has a closed form, written once for both."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass

import torch
from torch import Generator, Tensor

from emnet.exceptions import InvalidInputError
from emnet.factors.columns import NO_ROWS, Cells, cells_of, weights_of
from emnet.factors.covariances import free
from emnet.factors.emission import Emission
from emnet.factors.portable import PortableNaturalFamily
from emnet.statistics import Moments

_LEAST_MEAN = 10 * torch.finfo(torch.float64).eps  # of an event that no row has: its logarithm stays finite


@dataclass(frozen=True, eq=False)
class Sums(Moments):
    """Expected weight of the cells that were seen, and of their values."""

    counts: Tensor  # (k, d)
    sums: Tensor  # (k, d)


class NaturalFamily(Emission[Sums]):
    """p(x | k) = Π_j h(x_j) e^{η_kj x_j − A(η_kj)} of independent columns; NaN or −1 is not observed.

    The conjugate prior p(η) ∝ e^{η s₀ − n₀ A(η)} acts as n₀ rows that add up to s₀. The coordinates are η.
    """

    prior_sums: Tensor
    prior_counts: Tensor

    def __init__(self, means: Tensor, prior_sums: Tensor, prior_counts: Tensor, fixed: bool):
        super().__init__()
        means = torch.as_tensor(means, dtype=torch.float64)
        if means.dim() != 2:
            raise InvalidInputError(
                f"The start has one row a state and one column a column: (k, d); got {means.dim()}D."
            )
        self.natural = free(self.link(means))
        self.register_buffer("prior_sums", prior_sums.double())
        self.register_buffer("prior_counts", prior_counts.double())
        self.fixed = fixed

    @abstractmethod
    def link(self, means: Tensor) -> Tensor:
        """η of a mean; finite for means on the border too."""

    @abstractmethod
    def mean_of(self, natural: Tensor) -> Tensor:
        """E[x] = A′(η)."""

    @abstractmethod
    def log_normalizer(self, natural: Tensor) -> Tensor:
        """A(η)."""

    def log_base(self, cells: Cells) -> Tensor | None:
        """Σ_j log h(x_j) of each row, (n,); None if it is 0."""
        return None

    @property
    def means(self) -> Tensor:
        """E[x], (k, d)."""
        return self.mean_of(self.natural.detach())

    @property
    def n_states(self) -> int:
        return len(self.natural)

    @property
    def n_parameters(self) -> int:
        return 0 if self.fixed else self.natural.numel()

    def log_prob(self, target: Tensor | Cells, given: Tensor | None = None) -> Tensor:
        """(n, d) → (n, k)."""
        cells = target if isinstance(target, Cells) else self.prepare(target)
        natural = self.natural.detach()
        joint = cells.values @ natural.T - cells.seen @ self.log_normalizer(natural).T
        base = self.log_base(cells)
        return (joint if base is None else joint + base[:, None]).to(cells.dtype)

    def portable(self) -> PortableNaturalFamily:
        """Without log h, of which all states have the same."""
        natural = self.natural.detach()
        return PortableNaturalFamily(natural, self.log_normalizer(natural))

    def statistics(self, target: Tensor | Cells, weights: Tensor | None, given: Tensor | None = None) -> Sums:
        """From responsibilities times the rows' weights, (n, k)."""
        cells = target if isinstance(target, Cells) else self.prepare(target)
        weights = weights_of(weights, cells, self.n_states)
        return Sums(weights.T @ cells.seen, weights.T @ cells.values)

    def implied(self, counts: Tensor) -> Sums:
        means = self.means
        return Sums(counts[:, None].expand_as(means), counts[:, None] * means)

    def maximize(self, statistics: Sums) -> None:
        """E[x] = (Σ r x + s₀) / (Σ r + n₀); a state that no row belongs to stays."""
        if self.fixed:
            return
        counts, sums = self._with_prior(statistics)
        idle = counts < NO_ROWS
        means = sums / torch.where(idle, 1.0, counts)
        self.natural.copy_(torch.where(idle, self.natural, self.link(means)))

    def gradient(self, statistics: Sums) -> Tensor:
        counts, sums = self._with_prior(statistics)
        return (sums - counts * self.means).flatten()[: self.n_parameters]

    def log_prior(self) -> float:
        if self.fixed:
            return 0.0
        natural = self.natural.detach()
        return float((self.prior_sums * natural - self.prior_counts * self.log_normalizer(natural)).sum())

    def coordinates(self) -> Tensor:
        return self.natural.detach().flatten()[: self.n_parameters].clone()

    def set_coordinates(self, vector: Tensor) -> None:
        if not self.fixed:
            self.natural.copy_(vector.view(self.natural.shape))

    def fill(self, target: Tensor | Cells, responsibilities: Tensor) -> Tensor:
        cells = target if isinstance(target, Cells) else self.prepare(target)
        return cells.fill(self.means, responsibilities)

    def _with_prior(self, statistics: Sums) -> tuple[Tensor, Tensor]:
        return statistics.counts + self.prior_counts, statistics.sums + self.prior_sums


class Bernoulli(NaturalFamily):
    """p(1 | state) of each of several columns of 0 and 1.

    Parameters
    ----------
    probabilities : (k, d), the start.
    a, b : of a Beta prior, p^{a−1} (1 − p)^{b−1}, each at least 1: numbers or (d,); 1 and 1 are no prior.
    fixed : whether EM leaves them as they are.
    """

    def __init__(self, probabilities: Tensor, *, a: float | Tensor = 1.0, b: float | Tensor = 1.0, fixed: bool = False):
        first, second = torch.as_tensor(a, dtype=torch.float64), torch.as_tensor(b, dtype=torch.float64)
        if not bool((first >= 1).all() and (second >= 1).all()):
            raise InvalidInputError(
                "A Beta prior needs a and b of at least 1, or its mode lies at a probability of 0 or 1; got "
                f"{float(first.min()):g} and {float(second.min()):g}. Take 1 for no prior."
            )
        super().__init__(probabilities, first - 1, first + second - 2, fixed)

    expected = "0 or 1"

    @staticmethod
    def support(values: Tensor) -> Tensor:
        return (values == 0) | (values == 1)

    @staticmethod
    def prepare(target: Tensor) -> Cells:
        return cells_of(target, Bernoulli.support, Bernoulli.expected)

    def link(self, means: Tensor) -> Tensor:
        return means.clamp(_LEAST_MEAN, 1 - _LEAST_MEAN).logit()

    def mean_of(self, natural: Tensor) -> Tensor:
        return natural.sigmoid()

    def log_normalizer(self, natural: Tensor) -> Tensor:
        return natural.clamp_min(0.0) + natural.abs().neg().exp().log1p()

    def fill(self, target: Tensor | Cells, responsibilities: Tensor) -> Tensor:
        """The more probable of 0 and 1."""
        cells = target if isinstance(target, Cells) else self.prepare(target)
        return cells.fill(self.means, responsibilities).round()

    def uncertainty(self, target: Tensor, responsibilities: Tensor) -> Tensor:
        expected = responsibilities.double() @ self.means
        return torch.where(target.isnan(), torch.minimum(expected, 1 - expected), 0.0)

    def draw(self, states: Tensor, generator: Generator) -> Tensor:
        return torch.bernoulli(self.means[states], generator=generator)


class Poisson(NaturalFamily):
    """Counts of several columns: p(x | state) = Π_j λ_j^{x_j} e^{−λ_j} / x_j!.

    Parameters
    ----------
    rates : λ, (k, d), the start.
    shape, rate : of a Gamma prior, λ^{shape−1} e^{−rate·λ}, at least 1 and 0: numbers or (d,); those are no prior.
    fixed : whether EM leaves them as they are.
    """

    def __init__(self, rates: Tensor, *, shape: float | Tensor = 1.0, rate: float | Tensor = 0.0, fixed: bool = False):
        form, per = torch.as_tensor(shape, dtype=torch.float64), torch.as_tensor(rate, dtype=torch.float64)
        if not bool((form >= 1).all() and (per >= 0).all()):
            raise InvalidInputError(
                "A Gamma prior needs a shape of at least 1, or its mode lies at a rate of 0, and a rate of at least 0; "
                f"got {float(form.min()):g} and {float(per.min()):g}. Take 1 and 0 for no prior."
            )
        super().__init__(rates, form - 1, per, fixed)

    expected = "counts, whole numbers of at least 0"

    @staticmethod
    def support(values: Tensor) -> Tensor:
        return (values >= 0) & (values == values.floor()) if values.is_floating_point() else values >= 0

    @staticmethod
    def prepare(target: Tensor) -> Cells:
        return cells_of(target, Poisson.support, Poisson.expected)

    def link(self, means: Tensor) -> Tensor:
        return means.clamp_min(_LEAST_MEAN).log()

    def mean_of(self, natural: Tensor) -> Tensor:
        return natural.exp()

    def log_normalizer(self, natural: Tensor) -> Tensor:
        return natural.exp()

    def log_base(self, cells: Cells) -> Tensor:
        return -torch.lgamma(cells.values + 1).sum(1)

    def moments(self) -> tuple[Tensor, Tensor]:
        return self.means, self.means

    def draw(self, states: Tensor, generator: Generator) -> Tensor:
        return torch.poisson(self.means[states], generator=generator)
