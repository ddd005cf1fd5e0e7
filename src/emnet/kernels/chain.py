"""Sums over the paths of Markov chains: forward–backward, filtering and Viterbi over sequences of any lengths.

The kernel sees three arrays and no model: log p(first state), (k,), or (s, k) where each sequence has its own; log
p(state | state before), (k, k), or (n, k, k) where it varies with time, row t being the step *into* row t; and log
p(row | state), (n, k). Sequences stand end to end; `offsets`, (s + 1,), says where each begins and the last ends.
Probabilities of 0 are −∞: known states and left-to-right chains need nothing else.

On a CPU with Numba the passes are compiled (`chain_numba`), and of few states go over many sequences, or over parts of
a long one, at once (`chain_lanes_numba`); elsewhere blocks of time are scanned side by side in PyTorch (`chain_scan`).
All scale every step and keep what falls below 1e-200 at that floor, so they know when a path that they gave up has come
to matter: such sequences, and those with a step that is impossible, are done again in logarithms (`chain_log`), which
names what is impossible. The result is exact for every input, and never NaN.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from emnet.exceptions import InvalidInputError
from emnet.kernels import chain_log, chain_scan
from emnet.kernels.compilation import compiled

_TINY = 1e-100  # a transition below it, but for 0, could be lost in the products: logarithms from the start
_DENSE = 1e-40  # where no transition is below it, no path that was given up can come back
FLOORED, FAILED = 1, 2  # what a pass says of a sequence: a path was kept at the floor; the result is not to be used


@dataclass(frozen=True, eq=False)
class Smoothed:
    """What forward–backward gives, in float64.

    log_evidence : (s,), log p of each sequence.
    responsibilities : (n, k), p(state of the row | its sequence).
    transitions : (k, k), the expected number of steps from each state to each, weighted; or by step, (n, k, k), each
        weighted with its sequence and 0 where a sequence begins.
    """

    log_evidence: Tensor
    responsibilities: Tensor
    transitions: Tensor


@dataclass(frozen=True, eq=False)
class Filtered:
    """What the forward pass gives, in float64.

    log_evidence : (s,), log p of each sequence.
    probabilities : (n, k), p(state of the row | its sequence up to it), or None if it was not asked for.
    """

    log_evidence: Tensor
    probabilities: Tensor | None


class Backend(Protocol):
    """The passes in probabilities. `status`, (s,), is 0, FLOORED or FAILED; sequences of `skip`, (s,), are left out."""

    def forward(
        self, log_likelihood: Tensor, start: Tensor, transition: Tensor, offsets: Tensor, keep: bool
    ) -> tuple[Tensor, Tensor | None, Tensor]: ...

    def smooth(
        self,
        log_likelihood: Tensor,
        start: Tensor,
        transition: Tensor,
        offsets: Tensor,
        weights: Tensor,
        skip: Tensor,
        by_step: bool,
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]: ...

    def viterbi(
        self, log_likelihood: Tensor, log_start: Tensor, log_transition: Tensor, offsets: Tensor
    ) -> tuple[Tensor, Tensor]: ...


def offsets_of(lengths: Tensor | None, n: int) -> Tensor:
    """Where each of the sequences begins, and the end: (s,) lengths → (s + 1,) of int64; None is one sequence.

    Raises
    ------
    InvalidInputError : a length is below 1, or they do not add up to n.
    """
    lengths = torch.tensor([n]) if lengths is None else lengths.cpu().long()
    if not len(lengths) or int(lengths.min()) < 1:
        which = f"sequence {int(lengths.argmin())} has {int(lengths.min())}" if len(lengths) else "there are none"
        raise InvalidInputError(f"Every sequence needs at least one row; {which}. Leave empty sequences out.")
    if int(lengths.sum()) != n:
        raise InvalidInputError(f"The lengths of the sequences add up to {int(lengths.sum())}; there are {n} rows.")
    return torch.cat((torch.zeros(1, dtype=torch.int64), lengths.cumsum(0)))


def forward_backward(
    log_start: Tensor,
    log_transition: Tensor,
    log_likelihood: Tensor,
    offsets: Tensor,
    weights: Tensor | None = None,
    *,
    by_step: bool = False,
) -> Smoothed:
    """Posterior of every state and the expected transitions (Rabiner 1989, Proc. IEEE 77:257, eq. 27 and 38).

    `weights`, (s,), multiply the sequences' transitions. With `by_step` those are (n, k, k), else summed on the way.

    Raises
    ------
    ImpossibleRowError : no path allows a row; names its sequence and step.
    """
    x, offsets = _float64(log_likelihood), offsets.cpu()
    log_start, log_transition = _float64(log_start), _float64(log_transition)
    start, transition = log_start.exp(), log_transition.exp()
    weights = x.new_ones(len(offsets) - 1) if weights is None else weights.to(x)
    backend, failed = _backend(x), torch.full((len(offsets) - 1,), _has_tiny(start, transition))
    evidence, gamma, xi, status = backend.smooth(x, start, transition, offsets, weights, failed, by_step)
    if bool((new := (status == FAILED) & ~failed).any()):  # what they added to the sum has to go
        failed |= new
        evidence, gamma, xi, _ = backend.smooth(x, start, transition, offsets, weights, failed, by_step)
    if bool(failed.any()):
        chain_log.smooth(x, log_start, log_transition, offsets, weights, failed, evidence, gamma, xi)
    return Smoothed(evidence, gamma, xi)


def forward(
    log_start: Tensor, log_transition: Tensor, log_likelihood: Tensor, offsets: Tensor, *, keep: bool = True
) -> Filtered:
    """Evidence, and with `keep` the filtered probabilities: what is known of each state when its row has been seen.

    Raises
    ------
    ImpossibleRowError : no path allows a row; names its sequence and step.
    """
    x, offsets = _float64(log_likelihood), offsets.cpu()
    log_start, log_transition = _float64(log_start), _float64(log_transition)
    start, transition = log_start.exp(), log_transition.exp()
    evidence, filtered, status = _backend(x).forward(x, start, transition, offsets, keep)
    doubtful = status == FAILED
    if not bool(transition.amin() >= _DENSE):  # no backward pass will say whether what was floored comes to matter
        doubtful |= (status == FLOORED) | _has_tiny(start, transition)
    if bool(doubtful.any()):
        chain_log.forward(x, log_start, log_transition, offsets, doubtful, evidence, filtered)
    return Filtered(evidence, filtered)


def viterbi(
    log_start: Tensor, log_transition: Tensor, log_likelihood: Tensor, offsets: Tensor
) -> tuple[Tensor, Tensor]:
    """The most probable path of each sequence: log p(path, rows), (s,), and the states, (n,); ties to the lower state.

    Raises
    ------
    ImpossibleRowError : no path allows the rows of a sequence; names it and the step.
    """
    x, offsets = _float64(log_likelihood), offsets.cpu()
    log_start, log_transition = _float64(log_start), _float64(log_transition)
    log_joint, path = _backend(x).viterbi(x, log_start, log_transition, offsets)
    impossible = ~log_joint.isfinite().cpu() | bool(x.isnan().any())  # a NaN loses every comparison
    if bool(impossible.any()):
        chain_log.forward(x, log_start, log_transition, offsets, impossible, log_joint, None)
    return log_joint, path


def _float64(values: Tensor) -> Tensor:
    return values.detach().double().contiguous()


def _has_tiny(*probabilities: Tensor) -> bool:
    return any(bool(((p > 0) & (p < _TINY)).any()) for p in probabilities)


def _backend(log_likelihood: Tensor) -> Backend:
    return (_numba() if log_likelihood.device.type == "cpu" else None) or chain_scan


def _numba() -> Backend | None:
    """The compiled passes; None where Numba is not installed."""
    return compiled("emnet.kernels.chain_numba", "the chain kernel")
