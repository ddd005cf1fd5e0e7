"""What goes into the passes of `segments`, and what comes out."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor


class Tables(NamedTuple):
    """All logarithms: p(first state), (k,) or (s, k); p(next state | state), (k, k); p(d | state), p(≥ d), (k, D)."""

    start: Tensor
    transition: Tensor
    duration: Tensor
    survival: Tensor


class Passed(NamedTuple):
    """What the passes give: see `Segmented`; `durations` are those of the segments that were seen to end.

    cut : (k, D), the expected segments that the end cut off, by what is seen of them.
    failed : (s,), 0, or 1 + the step that no segmentation allows, or 1 + the length where none can end.
    """

    log_evidence: Tensor
    responsibilities: Tensor
    transitions: Tensor
    durations: Tensor
    cut: Tensor
    failed: Tensor


class Forwarded(NamedTuple):
    """What the forward pass gives.

    log_evidence : (s,); failed : (s,), as of `Passed`.
    entered, present : (n, k), log p of the segments that begin with each row, and of the states that are there.
    scales : (n,), by which each row was divided: `entered` of a row is beside the scales of those before it.
    """

    log_evidence: Tensor
    entered: Tensor
    present: Tensor
    scales: Tensor
    failed: Tensor
