"""Counts of categories: so many trials a row, spread over the categories as the state has it."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Generator, Tensor

from emnet.exceptions import InvalidInputError
from emnet.factors.emission import Emission
from emnet.factors.tables import Counts, Table


@dataclass(frozen=True, eq=False)
class Trials:
    """Counts as every pass needs them: (n, g) in float64, zeros for rows of which nothing is known."""

    counts: Tensor
    log_base: Tensor  # (n,), log n! / Π x_i!
    dtype: torch.dtype


class Multinomial(Table, Emission[Counts]):
    """p(counts | state) = n! Π_i p_i^{x_i} / x_i!, n = Σ x_i given; a row of NaN, or of −1, is not observed.

    Parameters
    ----------
    probabilities : (k, g), each state's.
    """

    @staticmethod
    def prepare(target: Tensor) -> Trials:
        """Raises InvalidInputError for what is no count, and for a row that is known in part."""
        missing = target.isnan() if target.is_floating_point() else target < 0
        unseen = missing.all(1, keepdim=True)
        counts = target.double().masked_fill(unseen, 0.0)
        bad = ~((counts >= 0) & (counts == counts.floor()))
        if bool(bad.any()):
            row, column = torch.nonzero(bad)[0].tolist()
            raise InvalidInputError(
                "Expected counts, whole numbers of at least 0, or a row of nothing but NaN, as what is missing of some "
                f"categories says nothing without the others; row {row}, column {column} has "
                f"{target[row, column].item():g}."
            )
        log_base = torch.lgamma(counts.sum(1) + 1) - torch.lgamma(counts + 1).sum(1)
        return Trials(counts, log_base, target.dtype if target.is_floating_point() else torch.float64)

    def log_prob(self, target: Tensor | Trials, given: Tensor | None = None) -> Tensor:
        """(n, g) → (n, k)."""
        trials = target if isinstance(target, Trials) else self.prepare(target)
        table = self.log_probabilities
        impossible = table.isinf()
        joint = trials.counts @ table.masked_fill(impossible, 0.0).T + trials.log_base[:, None]
        if bool(impossible.any()):  # 0 · log 0 is 0
            joint = joint.masked_fill(trials.counts @ impossible.double().T > 0, float("-inf"))
        return joint.to(trials.dtype)

    def statistics(self, target: Tensor | Trials, weights: Tensor | None, given: Tensor | None = None) -> Counts:
        """From responsibilities times the rows' weights, (n, k)."""
        trials = target if isinstance(target, Trials) else self.prepare(target)
        if weights is None:
            weights = trials.counts.new_ones(len(trials.counts), self.n_states)
        return Counts(weights.double().T @ trials.counts)

    def implied(self, counts: Tensor) -> Counts:
        """Of rows of one trial."""
        return Counts(counts[:, None] * self.log_probabilities.exp())

    def fill(self, target: Tensor | Trials, responsibilities: Tensor) -> Tensor:
        """(n, g): of a row of which nothing is known, whose trials nobody knows either, the expected shares."""
        trials = target if isinstance(target, Trials) else self.prepare(target)
        shares = responsibilities.double() @ self.log_probabilities.exp()
        return torch.where(trials.counts.sum(1, keepdim=True) > 0, trials.counts, shares)

    def draw(self, states: Tensor, generator: Generator) -> Tensor:
        """One trial for each state: (n, g)."""
        chosen = torch.multinomial(self.log_probabilities.exp()[states], 1, generator=generator)
        return torch.zeros(len(states), self.logits.shape[1], dtype=torch.float64).scatter_(1, chosen, 1.0)
