"""Sums over the segmentations of sequences: forward–backward and Viterbi of hidden semi-Markov chains.

A sequence is cut into segments: the first has its state from the start, every other from the state before it, and each
lasts d = 1 … D rows. The kernel sees arrays and no model: log p(first state), (k,), or (s, k) where each sequence has
its own; log p(next state | state), (k, k); log p(d | state), (k, D); and log p(row | state), (n, k). Sequences stand
end to end, as in `chain`; probabilities of 0 are −∞.

Every segment begins within its sequence. The last one may be cut off by the end (`censored`): then its weight is
p(duration ≥ what is seen of it), and the rows' probability sums to 1 over all rows of that length; else it must end
there.

All is done in logarithms, about the best of what is open: a step costs k·D and k² exponentials, which are vector
instructions, nothing is subtracted that was added before, and nothing underflows, however long a segment has to wait
until it comes to matter. On a CPU with Numba the passes are compiled (`segments_numba`); elsewhere PyTorch takes the
sequences side by side, step after step (`segments_steps`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from emnet.exceptions import InvalidInputError
from emnet.kernels import segments_steps
from emnet.kernels.chain import Filtered
from emnet.kernels.chain_log import raise_impossible
from emnet.kernels.compilation import compiled
from emnet.kernels.segments_arrays import Forwarded, Passed, Tables
from emnet.kernels.segments_open import go_on, open_at_end


@dataclass(frozen=True, eq=False)
class Segmented:
    """What forward–backward gives, in float64.

    log_evidence : (s,), log p of each sequence.
    responsibilities : (n, k), p(state of the row | its sequence).
    transitions : (k, k), the expected number of segments of each state that follow each, weighted.
    durations : (k, D), the expected number of segments of each duration, weighted; one that was cut off counts for the
        durations that it may have had.
    """

    log_evidence: Tensor
    responsibilities: Tensor
    transitions: Tensor
    durations: Tensor


class Backend(Protocol):
    """The passes, of log likelihoods (n, k)."""

    def smooth(
        self, log_likelihood: Tensor, tables: Tables, offsets: Tensor, weights: Tensor, censored: bool
    ) -> Passed: ...

    def forward(self, log_likelihood: Tensor, tables: Tables, offsets: Tensor, censored: bool) -> Forwarded: ...

    def viterbi(
        self, log_likelihood: Tensor, tables: Tables, offsets: Tensor, censored: bool
    ) -> tuple[Tensor, Tensor]: ...


def forward_backward(
    log_start: Tensor,
    log_transition: Tensor,
    log_duration: Tensor,
    log_likelihood: Tensor,
    offsets: Tensor,
    weights: Tensor | None = None,
    *,
    censored: bool = True,
) -> Segmented:
    """Posterior of every state and the expected transitions and durations (Guédon 2003, JCGS 12:604; Yu 2010, §2).

    `weights`, (s,), multiply the sequences' transitions and durations.

    Raises
    ------
    InvalidInputError : no segmentation allows a row, or none can end with its sequence; names sequence and step.
    """
    x, offsets, tables = _arguments(log_start, log_transition, log_duration, log_likelihood, offsets)
    weights = x.new_ones(len(offsets) - 1) if weights is None else weights.to(x)
    found = _backend(x).smooth(x, tables, offsets, weights, censored)
    _require_possible(found.failed, offsets)
    durations = found.durations + _spread(found.cut, tables)
    return Segmented(found.log_evidence, found.responsibilities, found.transitions, durations)


def forward(
    log_start: Tensor,
    log_transition: Tensor,
    log_duration: Tensor,
    log_likelihood: Tensor,
    offsets: Tensor,
    *,
    censored: bool = True,
) -> Filtered:
    """Evidence, and p(state of the row | its sequence up to it), whose segment may go on.

    Raises
    ------
    InvalidInputError : no segmentation allows a row, or none can end with its sequence; names sequence and step.
    """
    x, offsets, tables = _arguments(log_start, log_transition, log_duration, log_likelihood, offsets)
    found = _backend(x).forward(x, tables, offsets, censored)
    _require_possible(found.failed, offsets)
    return Filtered(found.log_evidence, found.present.softmax(1))


def advance(
    log_start: Tensor,
    log_transition: Tensor,
    log_duration: Tensor,
    log_likelihood: Tensor,
    opened: Tensor | None = None,
) -> tuple[Tensor, Tensor, Tensor]:
    """The rows of one sequence that goes on: their log evidence, (), filtered states, (t, k), and what is then open.

    What is open, (k, D), is log p(state of the last row, for how many rows it has lasted | rows so far); None: nothing
    yet. Each call takes up where the last one left off.

    Raises
    ------
    ImpossibleRowError : no segmentation allows a row; names its step.
    """
    n = len(log_likelihood)
    x, offsets, tables = _arguments(log_start, log_transition, log_duration, log_likelihood, torch.tensor([0, n]))
    if opened is not None:
        return go_on(x, tables, opened.to(x))
    found = _backend(x).forward(x, tables, offsets, True)
    _require_possible(found.failed, offsets)
    return found.log_evidence[0], found.present.softmax(1), open_at_end(x, tables, found)


def viterbi(
    log_start: Tensor,
    log_transition: Tensor,
    log_duration: Tensor,
    log_likelihood: Tensor,
    offsets: Tensor,
    *,
    censored: bool = True,
) -> tuple[Tensor, Tensor]:
    """The most probable segmentation of each sequence: log p(segments, rows), (s,), and the rows' states, (n,).

    Raises
    ------
    InvalidInputError : no segmentation allows the rows of a sequence; names it and the step.
    """
    x, offsets, tables = _arguments(log_start, log_transition, log_duration, log_likelihood, offsets)
    log_joint, path = _backend(x).viterbi(x, tables, offsets, censored)
    if not bool(log_joint.isfinite().all()):
        forward(log_start, log_transition, log_duration, x, offsets, censored=censored)  # names what is impossible
    return log_joint, path


def log_survival(log_duration: Tensor) -> Tensor:
    """log p(duration ≥ d | state), (k, D)."""
    return log_duration.flip(-1).logcumsumexp(-1).flip(-1)


def _spread(cut: Tensor, tables: Tables) -> Tensor:
    """Segments of at least d rows as what they may have been: Σ_{d ≤ e} cut_d p(e) / p(≥ d), (k, D)."""
    return tables.duration.exp() * torch.where(cut > 0, cut / tables.survival.exp(), 0.0).cumsum(1)


def _arguments(
    log_start: Tensor, log_transition: Tensor, log_duration: Tensor, log_likelihood: Tensor, offsets: Tensor
) -> tuple[Tensor, Tensor, Tables]:
    x, offsets = _float64(log_likelihood), offsets.cpu()
    if bool((undefined := x.isnan().any(1)).any()):
        _raise_undefined(undefined, offsets)
    duration = _float64(log_duration)
    survival = log_survival(duration).contiguous()
    return x, offsets, Tables(_float64(log_start), _float64(log_transition), duration, survival)


def _float64(values: Tensor) -> Tensor:
    return values.detach().double().contiguous()


def _backend(log_likelihood: Tensor) -> Backend:
    return (_numba() if log_likelihood.device.type == "cpu" else None) or segments_steps


def _numba() -> Backend | None:
    """The compiled passes; None where Numba is not installed."""
    return compiled("emnet.kernels.segments_numba", "the kernel of segments")


def _raise_undefined(undefined: Tensor, offsets: Tensor) -> None:
    row = int(torch.nonzero(undefined)[0])
    sequence = int(torch.searchsorted(offsets, row, right=True)) - 1
    raise_impossible(sequence, row - int(offsets[sequence]), True)


def _require_possible(failed: Tensor, offsets: Tensor) -> None:
    if not bool(failed.any()):
        return
    sequence = int(torch.nonzero(failed)[0])
    step, length = int(failed[sequence]) - 1, int(offsets[sequence + 1] - offsets[sequence])
    if step < length:
        raise_impossible(sequence, step, False)
    raise InvalidInputError(
        f"Sequence {sequence} (from 0): no segment that these {length} rows and the durations allow ends with it. Take "
        "censored=True, where the end may cut the last segment off."
    )
