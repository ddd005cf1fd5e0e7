"""Hidden semi-Markov models: states that last for a duration of their own, under one or more emissions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from emnet.batch import Batch
from emnet.factors.base import Factor
from emnet.kernels import segments
from emnet.kernels.chain import Filtered
from emnet.models.emitting import EmittingModel
from emnet.models.markov import (
    Advanced,
    HiddenMarkov,
    exactly_one,
    first_rows,
    given_of,
    nothing_known,
    offsets,
    pairs_of,
    sequence_of_rows,
)
from emnet.posteriors import EvidenceKind, Segments
from emnet.statistics import ModelStatistics


class HiddenSemiMarkov(EmittingModel[Segments]):
    """p(y, segments) = p(z₁) Π_i p(z_i | z_{i−1}) Π_i p(d_i | z_i) Π_t p(y_t | state of its segment, x_t).

    The explicit-duration model of Ferguson 1980: segment i of a sequence has a state z_i and lasts d_i = 1 … D rows.
    The first segment begins with its sequence. With `censored` the last one may go on after it, and counts by
    p(duration ≥ what is seen of it); without, it ends there (Guédon 2003). With transitions that have no way from a
    state to itself, segments are what is seen as runs of a state, and durations mean what they say.

    Its batches are those of `HiddenMarkov`, and so are `start`, `emissions` and `columns`. A sequence of rows of which
    nothing is known has evidence 1 if `censored`, else the probability that a segment ends with it.

    Parameters
    ----------
    transition : a factor with `log_weights(given)`, (k, k), of the state of the next segment.
    duration : a factor with `log_weights(given)`, (k, D). Its statistics are taken of the expected segments of each
        duration, which have the weights in them already.
    censored : whether the end of a sequence may cut its last segment off.
    """

    start: Any
    transition: Any
    duration: Any

    def __init__(
        self,
        start: Factor[Any],
        transition: Factor[Any],
        duration: Factor[Any],
        emissions: Factor[Any] | Mapping[str, Factor[Any]],
        columns: Mapping[str, Sequence[int]] | None = None,
        *,
        censored: bool = True,
    ):
        super().__init__(emissions, columns)
        self.start, self.transition, self.duration, self.censored = start, transition, duration, censored

    @property
    def factors(self) -> Mapping[str, Factor]:
        own = {"start": self.start, "transition": self.transition, "duration": self.duration}
        return {**own, **self.emissions}

    def posterior(self, batch: Batch) -> Segments:
        weights = None if batch.weights is None else batch.weights.double()
        found = segments.forward_backward(*self._arrays(batch), weights, censored=self.censored)
        log_evidence = self._exactly_one(batch, found.log_evidence)
        return Segments(log_evidence, EvidenceKind.EXACT, found.responsibilities, found.transitions, found.durations)

    def statistics(self, batch: Batch, posterior: Segments) -> ModelStatistics:
        first, weights = first_rows(batch), batch.weights
        start = self.start.statistics(posterior.responsibilities[first], weights, given_of(batch, first))
        transition = self.transition.statistics(posterior.transitions, None, batch.given)
        duration = self.duration.statistics(posterior.durations, None, batch.given)
        of_rows = None if weights is None else weights[sequence_of_rows(batch)]
        emissions = self.emission_statistics(batch, posterior.responsibilities, of_rows)
        return ModelStatistics({"start": start, "transition": transition, "duration": duration, **emissions})

    def as_if_independent(self, batch: Batch, responsibilities: Tensor) -> Segments:
        """What M-steps of a start take: pairs counted as if the states of rows, (n, k), were independent.

        Of durations nothing is counted: they stay.
        """
        pairs = pairs_of(batch, responsibilities)
        durations = torch.zeros_like(self.duration.log_weights(batch.given))
        return Segments(nothing_known(batch), EvidenceKind.ESTIMATE, responsibilities, pairs, durations)

    def filter(self, batch: Batch, *, keep: bool = True) -> Filtered:
        """Evidence, and with `keep` p(state of the row | its sequence up to it), (n, k): the forward pass alone."""
        found = segments.forward(*self._arrays(batch), censored=self.censored)
        return Filtered(self._exactly_one(batch, found.log_evidence), found.probabilities if keep else None)

    def best_path(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Viterbi: log p(segments, rows) of each sequence's most probable segmentation, (s,), and the states, (n,)."""
        return segments.viterbi(*self._arrays(batch), censored=self.censored)

    def advance(self, batch: Batch, at: Tensor | None = None) -> Advanced:
        """The rows of one sequence that goes on from where `at` left off; None: from its start. No end is assumed."""
        total, states, opened = segments.advance(*self._arrays(batch)[:-1], at)
        return Advanced(float(total), states, opened)

    def draw_path(self, batch: Batch, generator: torch.Generator, at: Tensor | None = None) -> Tensor:
        """States drawn from the chain as it is before any row is seen, (n,): all sequences go step by step together.

        They go on from where `at` left off, or begin.
        """
        first, lengths = first_rows(batch), offsets(batch).diff().to(batch.target.device)
        states = torch.zeros(len(batch), dtype=torch.int64, device=first.device)
        state, left = self._draw_open(batch, generator, at)
        steps = self.transition.log_weights(batch.given).exp()
        durations = self.duration.log_weights(batch.given).exp()
        for step in range(int(lengths.max())):
            if step or at is not None:
                state = torch.where(left > 0, state, _drawn(steps[state], generator))
            left = torch.where(left > 0, left, 1 + _drawn(durations[state], generator)) - 1
            there = lengths > step
            states[first[there] + step] = state[there]
        return states

    def _draw_open(self, batch: Batch, generator: torch.Generator, at: Tensor | None) -> tuple[Tensor, Tensor]:
        """A state for each sequence, (s,), and for how many rows more it goes on, (s,); 0: a segment begins."""
        first = first_rows(batch)
        if at is None:
            start = self.start.log_weights(given_of(batch, first)).exp().expand(len(first), -1)
            return _drawn(start, generator), torch.zeros_like(first)
        drawn = _drawn(at.flatten().exp().expand(len(first), -1), generator)
        longest = at.shape[1]
        state, age = drawn // longest, drawn % longest  # from 0
        table = self.duration.log_weights(batch.given).exp()[state]
        possible = torch.arange(longest, device=table.device) >= age[:, None]
        return state, _drawn(table * possible, generator) - age

    def _arrays(self, batch: Batch) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        log_start = self.start.log_weights(given_of(batch, first_rows(batch)))
        tables = self.transition.log_weights(batch.given), self.duration.log_weights(batch.given)
        rows = self.log_likelihood(batch).contiguous()  # here, where what it may be a copy of is let go
        return log_start, *tables, rows, offsets(batch)

    def _exactly_one(self, batch: Batch, log_evidence: Tensor) -> Tensor:
        return exactly_one(batch, log_evidence) if self.censored else log_evidence


def _drawn(probabilities: Tensor, generator: torch.Generator) -> Tensor:
    """An index for each row of weights: (n, k) → (n,)."""
    return torch.multinomial(probabilities, 1, generator=generator)[:, 0]


MarkovModel = HiddenMarkov | HiddenSemiMarkov
"""What has a start, transitions, `posterior`, `filter`, `advance`, `best_path` and `draw_path`."""
