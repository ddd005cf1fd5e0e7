"""Tables of probabilities: the weights of a mixture, and a category that depends on the state alone."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Generator, Tensor, nn

from emnet.exceptions import InvalidInputError
from emnet.factors.base import Factor
from emnet.factors.emission import Emission
from emnet.statistics import Moments

_LEAST_COUNT = 10 * torch.finfo(torch.float64).eps  # of a category that no row has: its logarithm stays finite


@dataclass(frozen=True, eq=False)
class Counts(Moments):
    """Expected weight of the rows in each entry of a table."""

    counts: Tensor  # (…, g)


class Table(Factor[Counts]):
    """Probabilities that add up to 1 over the last axis, with a Dirichlet prior: p ∝ Π_i p_i^{α_i − 1}.

    The coordinates are logits: a shift of all logits of a row changes nothing, and no gradient points along it.

    Parameters
    ----------
    probabilities : (…, g), the start.
    concentration : α ≥ 1, a number or anything that broadcasts to (…, g); 1 is no prior.
    fixed : whether EM leaves the table as it is.
    """

    concentration: Tensor

    def __init__(self, probabilities: Tensor, *, concentration: float | Tensor = 1.0, fixed: bool = False):
        super().__init__()
        self.logits = nn.Parameter(_log(probabilities), requires_grad=False)
        alpha = torch.as_tensor(concentration, dtype=torch.float64).expand(self.logits.shape).clone()
        if not bool((alpha >= 1).all()):
            raise InvalidInputError(
                f"A Dirichlet prior needs concentrations of at least 1, or its mode lies at a probability of 0; the "
                f"smallest is {float(alpha.min()):g}. Take 1 for no prior."
            )
        self.register_buffer("concentration", alpha)
        self.fixed, self.has_prior = fixed, bool((alpha > 1).any())

    @property
    def log_probabilities(self) -> Tensor:
        """(…, g), float64."""
        return self.logits.detach().log_softmax(-1)

    def maximize(self, statistics: Counts) -> None:
        """p_i ∝ n_i + α_i − 1."""
        if not self.fixed:
            self.logits.data.copy_(_log(self._pseudo_counts(statistics)).log_softmax(-1))

    def gradient(self, statistics: Counts) -> Tensor:
        pseudo = self._pseudo_counts(statistics)
        expected = pseudo.sum(-1, keepdim=True) * self.log_probabilities.exp()
        return (pseudo - expected).flatten()[: self._n_free()]

    def log_prior(self) -> float:
        if self.fixed or not self.has_prior:
            return 0.0
        return float(((self.concentration - 1) * self.log_probabilities).sum())

    def coordinates(self) -> Tensor:
        return self.logits.detach().flatten()[: self._n_free()].clone()

    def set_coordinates(self, vector: Tensor) -> None:
        if not self.fixed:
            self.logits.data.copy_(vector.view(self.logits.shape))

    def _n_free(self) -> int:
        return 0 if self.fixed else self.logits.numel()

    def _pseudo_counts(self, statistics: Counts) -> Tensor:
        return statistics.counts + self.concentration - 1


class MixingWeights(Table):
    """p(state): the weights of a mixture, (k,), the same for all rows. The target is the (expected) state."""

    @property
    def n_states(self) -> int:
        return len(self.logits)

    def log_weights(self, given: Tensor | None = None) -> Tensor:
        """log p(state | given), here of no given: (k,)."""
        return self.log_probabilities

    def log_prob(self, target: Tensor, given: Tensor | None = None) -> Tensor:
        """log p(state) of states by index: (n,) → (n,)."""
        return self.log_probabilities[target]

    def statistics(self, target: Tensor, weights: Tensor | None, given: Tensor | None = None) -> Counts:
        """From the responsibilities, (n, k), and the rows' weights, (n,)."""
        return Counts(target.double().sum(0) if weights is None else weights.double() @ target.double())

    def implied(self, counts: Tensor) -> Counts:
        """So many rows of each state, (k,), are their own statistics."""
        return Counts(counts)


class Categorical(Table, Emission[Counts]):
    """p(category | state) of one column, whose target is the category's index; NaN or −1 is not observed.

    Parameters
    ----------
    probabilities : (k, g), each state's.
    """

    @property
    def n_states(self) -> int:
        return len(self.logits)

    @property
    def n_parameters(self) -> int:
        return 0 if self.fixed else len(self.logits) * (self.logits.shape[1] - 1)

    @staticmethod
    def prepare(target: Tensor) -> Tensor:
        """Category indices, (n,), −1 where not observed, from a column of floats or integers."""
        column = target.reshape(len(target))
        if column.is_floating_point():
            column = torch.where(column.isnan(), -1.0, column)
        return column.long()

    def log_prob(self, target: Tensor, given: Tensor | None = None) -> Tensor:
        """(n,) → (n, k)."""
        codes = self.prepare(target)
        return self.log_probabilities.T[codes.clamp_min(0)] * (codes >= 0)[:, None]

    def statistics(self, target: Tensor, weights: Tensor | None, given: Tensor | None = None) -> Counts:
        """From responsibilities times the rows' weights, (n, k)."""
        codes = self.prepare(target)
        if weights is None:
            weights = self.logits.new_ones(len(codes), len(self.logits))
        seen = codes >= 0
        counts = self.logits.new_zeros(self.logits.shape[::-1])
        return Counts(counts.index_add_(0, codes[seen], weights[seen].double()).T)

    def implied(self, counts: Tensor) -> Counts:
        return Counts(counts[:, None] * self.log_probabilities.exp())

    def fill(self, target: Tensor, responsibilities: Tensor) -> Tensor:
        """(n, 1): the most probable category for what is missing."""
        codes = self.prepare(target)
        best = (responsibilities.double() @ self.log_probabilities.exp()).argmax(1)
        return torch.where(codes >= 0, codes, best)[:, None].double()

    def draw(self, states: Tensor, generator: Generator) -> Tensor:
        return torch.multinomial(self.log_probabilities.exp()[states], 1, generator=generator).double()


def _log(probabilities: Tensor) -> Tensor:
    return probabilities.detach().double().clamp_min(_LEAST_COUNT).log()
