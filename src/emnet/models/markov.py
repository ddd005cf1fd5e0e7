"""Hidden Markov models: a hidden path through k states for each sequence, under one or more emissions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from emnet.batch import Batch, distinct_inputs
from emnet.factors.base import Factor
from emnet.kernels import chain
from emnet.kernels.chain import Filtered
from emnet.models.emitting import EmittingModel, unseen
from emnet.posteriors import Chain, EvidenceKind
from emnet.statistics import ModelStatistics, Statistics


@dataclass(frozen=True, eq=False)
class Advanced:
    """What the forward pass over rows of a sequence gives, that goes on with the rows to come.

    log_evidence : log p(rows | those before them).
    probabilities : (t, k), p(state of the row | all rows so far).
    at : log p of what has to be known to go on: the state of the last row, (k,), or with durations also for how many
        rows it has lasted, (k, D).
    """

    log_evidence: float
    probabilities: Tensor
    at: Tensor


class HiddenMarkov(EmittingModel[Chain]):
    """p(y, z | x) = p(z₁ | x₁) Π_t p(z_t | z_{t−1}, x_t) Π_t p(y_t | z_t, x_t), for each of the batch's sequences.

    The units of its batches are sequences: `lengths` says where they end (None: one sequence), `weights` has one for
    each. A row of which nothing is known lets its neighbors speak; a sequence of such rows has evidence 1.

    Parameters
    ----------
    start : a factor with `log_weights(given)`, (k,) or, of the sequences' first rows, (s, k). Its statistics are taken
        of the first rows' responsibilities, (s, k), as targets, with the sequences' weights, (s,).
    transition : a factor with `log_weights(given)`, (k, k), or (n, k, k), row t being the step into row t. Its
        statistics are taken of the expected pairs of states, which have the weights in them already: (k, k), or by step
        if it says `by_step`, (n, k, k), 0 where a sequence begins.
    emissions, columns : as of `EmittingModel`.
    """

    start: Any
    transition: Any

    def __init__(
        self,
        start: Factor[Any],
        transition: Factor[Any],
        emissions: Factor[Any] | Mapping[str, Factor[Any]],
        columns: Mapping[str, Sequence[int]] | None = None,
    ):
        super().__init__(emissions, columns)
        self.start, self.transition = start, transition

    @property
    def factors(self) -> Mapping[str, Factor]:
        return {"start": self.start, "transition": self.transition, **self.emissions}

    def posterior(self, batch: Batch) -> Chain:
        weights = None if batch.weights is None else batch.weights.double()
        found = chain.forward_backward(*self._arrays(batch), weights, by_step=self.transition.by_step)
        log_evidence = exactly_one(batch, found.log_evidence)
        return Chain(log_evidence, EvidenceKind.EXACT, found.responsibilities, found.transitions)

    def statistics(self, batch: Batch, posterior: Chain) -> ModelStatistics:
        first, weights = first_rows(batch), batch.weights
        start = self.start.statistics(posterior.responsibilities[first], weights, given_of(batch, first))
        transition = self._transition_statistics(batch, posterior.transitions)
        of_rows = None if weights is None else weights[sequence_of_rows(batch)]
        emissions = self.emission_statistics(batch, posterior.responsibilities, of_rows)
        return ModelStatistics({"start": start, "transition": transition, **emissions})

    def as_if_independent(self, batch: Batch, responsibilities: Tensor) -> Chain:
        """What M-steps of a start take: pairs counted as if the states of rows, (n, k), were independent.

        Of transitions that are the same for all steps.
        """
        return Chain(nothing_known(batch), EvidenceKind.ESTIMATE, responsibilities, pairs_of(batch, responsibilities))

    def filter(self, batch: Batch, *, keep: bool = True) -> Filtered:
        """Evidence, and with `keep` p(state of the row | its sequence up to it), (n, k): the forward pass alone."""
        found = chain.forward(*self._arrays(batch), keep=keep)
        return Filtered(exactly_one(batch, found.log_evidence), found.probabilities)

    def best_path(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Viterbi: log p(path, rows) of each sequence, (s,), and the states, (n,)."""
        return chain.viterbi(*self._arrays(batch))

    def advance(self, batch: Batch, at: Tensor | None = None) -> Advanced:
        """The rows of one sequence that goes on from where `at` left off; None: from its start."""
        steps = self._log_transition(batch)
        found = chain.forward(self._log_first(batch, steps, at), steps, self.log_likelihood(batch), offsets(batch))
        assert found.probabilities is not None
        return Advanced(float(found.log_evidence), found.probabilities, found.probabilities[-1].log())

    def draw_path(self, batch: Batch, generator: torch.Generator, at: Tensor | None = None) -> Tensor:
        """States drawn from the chain as it is before any row is seen, (n,): all sequences go step by step together.

        They go on from where `at` left off, or begin.
        """
        first, lengths = first_rows(batch), offsets(batch).diff().to(batch.target.device)
        log_steps = self._log_transition(batch)
        start, steps = self._log_first(batch, log_steps, at).exp(), log_steps.exp()
        states = torch.zeros(len(batch), dtype=torch.int64, device=first.device)
        states[first] = torch.multinomial(start.expand(len(first), -1), 1, generator=generator)[:, 0]
        for step in range(1, int(lengths.max())):
            rows = first[lengths > step] + step
            before = states[rows - 1]
            ahead = steps[rows, before] if steps.dim() == 3 else steps[before]
            states[rows] = torch.multinomial(ahead, 1, generator=generator)[:, 0]
        return states

    def _arrays(self, batch: Batch) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        first = first_rows(batch)
        log_start = self.start.log_weights(given_of(batch, first))
        rows = self.log_likelihood(batch).contiguous()  # here, where what it may be a copy of is let go
        return log_start, self._log_transition(batch), rows, offsets(batch)

    def _log_first(self, batch: Batch, steps: Tensor, at: Tensor | None) -> Tensor:
        """log p(state of each sequence's first row), (k,) or (s, k): of the start, or a step after `at`."""
        first = first_rows(batch)
        if at is None:
            return self.start.log_weights(given_of(batch, first))  # type: ignore[no-any-return]
        into = steps[first] if steps.dim() == 3 else steps
        return (at.exp().to(into) @ into.exp()).log()

    def _log_transition(self, batch: Batch) -> Tensor:
        if (alike := self._alike(batch)) is None:
            return self.transition.log_weights(batch.given)  # type: ignore[no-any-return]
        rows, which = alike
        return self.transition.log_weights(rows)[which]  # type: ignore[no-any-return]

    def _transition_statistics(self, batch: Batch, pairs: Tensor) -> Statistics:
        if (alike := self._alike(batch)) is None:
            return self.transition.statistics(pairs, None, batch.given)  # type: ignore[no-any-return]
        rows, which = alike
        summed = pairs.new_zeros(len(rows), *pairs.shape[1:]).index_add_(0, which, pairs)
        return self.transition.statistics(summed, None, rows)  # type: ignore[no-any-return]

    def _alike(self, batch: Batch) -> tuple[Tensor, Tensor] | None:
        """The steps' inputs, each different one once: of steps whose inputs are alike only the sum of pairs counts."""
        return batch.derived(distinct_inputs) if self.transition.by_step and batch.given is not None else None


def offsets(batch: Batch) -> Tensor:
    """Where the batch's sequences begin and the last ends, (s + 1,)."""
    return batch.derived(_offsets)


def _offsets(batch: Batch) -> Tensor:
    return chain.offsets_of(batch.lengths, len(batch))


def first_rows(batch: Batch) -> Tensor:
    """The first row of each sequence, (s,)."""
    return offsets(batch)[:-1].to(batch.target.device)


def sequence_of_rows(batch: Batch) -> Tensor:
    """Whose row each is, (n,)."""
    return batch.derived(_sequences)


def _sequences(batch: Batch) -> Tensor:
    lengths = offsets(batch).diff()
    return torch.arange(len(lengths)).repeat_interleave(lengths).to(batch.target.device)


def nothing_known(batch: Batch) -> Tensor:
    """A log evidence of 0 for each sequence, (s,)."""
    return torch.zeros(batch.n_units, dtype=torch.float64, device=batch.target.device)


def pairs_of(batch: Batch, responsibilities: Tensor) -> Tensor:
    """Expected pairs, (k, k), of states that are independent given their rows."""
    inside = torch.ones(len(batch), dtype=torch.bool, device=responsibilities.device)
    inside[first_rows(batch)] = False
    rows = torch.nonzero(inside).flatten()
    return responsibilities[rows - 1].T.double() @ responsibilities[rows].double()


def given_of(batch: Batch, rows: Tensor) -> Tensor | None:
    return None if batch.given is None else batch.given[rows]


def exactly_one(batch: Batch, log_evidence: Tensor) -> Tensor:
    """Evidence 1 to the last bit where nothing is known of a sequence."""
    if batch.labels is None and (rows := batch.derived(unseen)) is not None:
        seen = torch.zeros_like(log_evidence).index_add_(0, sequence_of_rows(batch), (~rows).to(log_evidence))
        log_evidence[seen == 0] = 0.0
    return log_evidence
