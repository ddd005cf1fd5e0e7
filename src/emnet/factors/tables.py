"""Tables of probabilities: the weights of a mixture, and a category that depends on the state alone."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Generator, Tensor, nn

from emnet.exceptions import InvalidInputError
from emnet.factors.base import Factor
from emnet.factors.emission import Emission
from emnet.factors.portable import PortableTable
from emnet.kernels.sums import over_rows
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
    fixed : whether EM leaves the table as it is; or which entries, (…, g), it leaves: those keep their start, which may
        be 0, and the others share what is left of their row.
    """

    concentration: Tensor
    held: Tensor | None  # log probabilities of the entries that are fixed, NaN of the others; None if none is
    rest: Tensor | None  # log of what they leave of each row, (…, 1)

    def __init__(self, probabilities: Tensor, *, concentration: float | Tensor = 1.0, fixed: bool | Tensor = False):
        super().__init__()
        self.logits = nn.Parameter(_log(probabilities), requires_grad=False)
        alpha = torch.as_tensor(concentration, dtype=torch.float64)
        if not (least := float(alpha.min())) >= 1:
            raise InvalidInputError(
                f"A Dirichlet prior needs concentrations of at least 1, or its mode lies at a probability of 0; the "
                f"smallest is {least:g}. Take 1 for no prior."
            )
        self.register_buffer("concentration", alpha.expand(self.logits.shape).clone())
        self.has_prior = float(alpha.max()) > 1
        entries = torch.as_tensor(fixed, device=self.logits.device)
        self.fixed, some = bool(entries.all()), bool(entries.any())
        held, rest = _holding(probabilities.detach().double(), entries) if some else (None, None)
        self.register_buffer("held", held)
        self.register_buffer("rest", rest)

    @property
    def log_probabilities(self) -> Tensor:
        """(…, g), float64."""
        if self.held is None or self.rest is None:
            return self.logits.detach().log_softmax(-1)
        return torch.where(self._free, self._free_shares().log() + self.rest, self.held)

    @property
    def n_states(self) -> int:
        """Rows of the table, or of a table that is one row its entries."""
        return len(self.logits)

    @property
    def n_parameters(self) -> int:
        """Free parameters, as information criteria count them."""
        return int((self._free.sum(-1) - 1).clamp_min(0).sum())

    def maximize(self, statistics: Counts) -> None:
        """p_i ∝ n_i + α_i − 1, over the entries that are free."""
        if self.fixed:
            return
        pseudo = self._pseudo_counts(statistics)
        if self.held is None:  # most tables: half the operations
            found, reached = _log(pseudo).log_softmax(-1), pseudo.sum(-1, keepdim=True) > 0
        else:
            free = self._free
            found = _log(pseudo).masked_fill(~free, float("-inf")).log_softmax(-1)
            reached = free & (torch.where(free, pseudo, 0.0).sum(-1, keepdim=True) > 0)
        self.logits.data.copy_(torch.where(reached, found, self.logits))  # a row that nobody reaches stays

    def gradient(self, statistics: Counts) -> Tensor:
        pseudo = torch.where(self._free, self._pseudo_counts(statistics), 0.0)
        return (pseudo - pseudo.sum(-1, keepdim=True) * self._free_shares())[self._free]

    def log_prior(self) -> float:
        if self.fixed or not self.has_prior:
            return 0.0
        return float(((self.concentration - 1) * self.log_probabilities)[self._free].sum())

    def coordinates(self) -> Tensor:
        return self.logits.detach().flatten().clone() if self.held is None else self.logits.detach()[self._free]

    def set_coordinates(self, vector: Tensor) -> None:
        if self.held is None:
            self.logits.data.copy_(vector.view_as(self.logits))
        else:
            self.logits.data[self._free] = vector

    @property
    def _free(self) -> Tensor:
        """Which entries EM learns, (…, g)."""
        return torch.ones_like(self.logits, dtype=torch.bool) if self.held is None else self.held.isnan()

    def _free_shares(self) -> Tensor:
        """What of the rest of its row each free entry has, (…, g); 0 of a fixed one."""
        return self.logits.detach().masked_fill(~self._free, float("-inf")).softmax(-1).nan_to_num(0.0)

    def _pseudo_counts(self, statistics: Counts) -> Tensor:
        return statistics.counts + (self.concentration - 1) if self.has_prior else statistics.counts


class MixingWeights(Table):
    """p(state): the weights of a mixture, (k,), the same for all rows. The target is the (expected) state."""

    def log_weights(self, given: Tensor | None = None) -> Tensor:
        """log p(state | given), here of no given: (k,)."""
        return self.log_probabilities

    def log_prob(self, target: Tensor, given: Tensor | None = None) -> Tensor:
        """log p(state) of states by index: (n,) → (n,)."""
        return self.log_probabilities[target]

    def statistics(self, target: Tensor, weights: Tensor | None, given: Tensor | None = None) -> Counts:
        """From the responsibilities, (n, k), and the rows' weights, (n,)."""
        return Counts(over_rows(target, weights))

    def implied(self, counts: Tensor) -> Counts:
        """So many rows of each state, (k,), are their own statistics."""
        return Counts(counts)


class Transitions(Table):
    """p(state | state before) of a Markov chain, (k, k): the same for all steps. The target is the (expected) pair.

    A chain asks its transitions for their logarithms by `log_weights(given)`, (k, k), or (n, k, k) where they depend on
    `given`, row t being the step into row t, and gives them the expected pairs as a target: (k, k), or with `by_step`
    (n, k, k), both times the weights of the sequences.
    """

    by_step = False

    def log_weights(self, given: Tensor | None = None) -> Tensor:
        """log p(state | state before, given), here of no given: (k, k)."""
        return self.log_probabilities

    def log_prob(self, target: Tensor, given: Tensor | None = None) -> Tensor:
        """log p(second state | first) of pairs by index: (n, 2) → (n,)."""
        return self.log_probabilities[target[:, 0], target[:, 1]]

    def statistics(self, target: Tensor, weights: Tensor | None, given: Tensor | None = None) -> Counts:
        """From expected pairs, (k, k), which have the sequences' weights in them already."""
        return Counts(target.double())


class Durations(Table):
    """p(duration | state) of the segments of a semi-Markov chain, (k, D): 1 … D rows. The target is the duration."""

    def log_weights(self, given: Tensor | None = None) -> Tensor:
        """log p(duration | state, given), here of no given: (k, D)."""
        return self.log_probabilities

    def log_prob(self, target: Tensor, given: Tensor | None = None) -> Tensor:
        """log p of durations from 1 to D, of every state: (n,) → (n, k)."""
        return self.log_probabilities.T[target - 1]

    def statistics(self, target: Tensor, weights: Tensor | None, given: Tensor | None = None) -> Counts:
        """From expected segments, (k, D), which have the sequences' weights in them already."""
        return Counts(target.double())


class Categorical(Table, Emission[Counts]):
    """p(category | state) of one column, whose target is the category's index; NaN or −1 is not observed.

    Parameters
    ----------
    probabilities : (k, g), each state's.
    """

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
        return self.log_probabilities.T[codes.clamp_min(0)].masked_fill((codes < 0)[:, None], 0.0)

    def portable(self) -> PortableTable:
        return PortableTable(self.log_probabilities)

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

    def uncertainty(self, target: Tensor, responsibilities: Tensor) -> Tensor:
        best = (responsibilities.double() @ self.log_probabilities.exp()).amax(1, keepdim=True)
        return torch.where(target.isnan(), 1 - best, 0.0)

    def draw(self, states: Tensor, generator: Generator) -> Tensor:
        return torch.multinomial(self.log_probabilities.exp()[states], 1, generator=generator).double()


def _holding(probabilities: Tensor, entries: Tensor) -> tuple[Tensor, Tensor]:
    """Logarithms of the entries that are fixed, NaN elsewhere, and of what they leave of each row."""
    probabilities = probabilities / probabilities.sum(-1, keepdim=True)
    rest = torch.where(entries, 0.0, probabilities).sum(-1, keepdim=True)
    return torch.where(entries, probabilities.log(), torch.nan), rest.log()


def _log(probabilities: Tensor) -> Tensor:
    return probabilities.detach().double().clamp_min(_LEAST_COUNT).log()
