"""Which sequences go side by side in `chain_lanes_passes_numba`, and its passes over groups of them.

Sequences, or parts of them where there are few, are put in order of their lengths, so that those of a group end at
about the same step. How they are cut and grouped follows from lengths and states alone.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from torch import Tensor

from emnet.kernels.compilation import compiled
from emnet.kernels.lanes_numba import WIDTH
from emnet.kernels.threads import in_threads
from emnet.kernels.tools_numba import with_leading


@dataclass(frozen=True)
class Limits:
    """When lanes pay, as measured.

    states, states_cut : the most of them, where blocks are whole sequences, and where they are parts, which takes k
        times the work.
    blocks : of all sequences, if they can be as short as the least_block, in steps.
    largest_block : steps times states, so that a group stays in cache; of a sequence as a whole `largest_sequence`.
    least_steps : of all sequences; with fewer, what is won is less than what it takes to begin.
    idle : times the steps that there are, how many lanes may take with those that wait.
    tasks : of a thread; the groups of the longest blocks are the first.
    """

    states: int = 32
    states_cut: int = 10
    blocks: int = 128
    least_block: int = 256
    largest_block: int = 2**13
    largest_sequence: int = 2**17
    least_steps: int = 2048
    idle: float = 2.0
    tasks: int = 4

    def steps_of_block(self, steps: int, k: int) -> int:
        """The most, of all the steps that there are of so many states."""
        if k > self.states_cut:
            return max(steps, 1)
        return max(1, min(max(self.least_block, -(-steps // self.blocks)), self.largest_block // k))


LIMITS = Limits()


@dataclass(frozen=True, eq=False)
class Layout:
    """Where every block is; b blocks of q sequences, sequence after sequence, in g groups.

    which : (q,), the numbers of the sequences, without those that are left out, of n_sequences.
    counts : (q,), the blocks of each.
    lane_of : (b,), the lane of each block, of all g · WIDTH.
    first_of, length_of : (b,), its first row, and how many it has.
    lanes : (g, 2, WIDTH), the same of each lane; one without a block has 0 rows.
    n_cut : how many groups have parts of sequences; they are the first.
    """

    n_sequences: int
    which: np.ndarray
    counts: np.ndarray
    lane_of: np.ndarray
    first_of: np.ndarray
    length_of: np.ndarray
    lanes: np.ndarray
    n_cut: int

    @property
    def n_groups(self) -> int:
        return len(self.lanes)

    @property
    def first_blocks(self) -> np.ndarray:
        """The first block of each sequence, (q,)."""
        return np.cumsum(self.counts) - self.counts


def in_lanes(lane_of: np.ndarray, *values: np.ndarray) -> np.ndarray:
    """What each block has, v times (b,), in its lane: (g, v, WIDTH), 0 in lanes without a block."""
    out = np.zeros((len(values), -(-len(lane_of) // WIDTH) * WIDTH), values[0].dtype)
    out[:, lane_of] = values
    return np.ascontiguousarray(out.reshape(len(values), -1, WIDTH).swapaxes(0, 1))


def layout_of(offsets: Tensor, k: int, skip: Tensor) -> Layout | None:
    """None where lanes do not pay: for many states, few steps, or few sequences of which one is by far the longest."""
    which = np.flatnonzero(~skip.numpy().astype(bool))
    lengths = offsets.diff().numpy()[which]
    steps = int(lengths.sum())
    if k > LIMITS.states or steps < LIMITS.least_steps:
        return None
    counts = -(-lengths // LIMITS.steps_of_block(steps, k))
    sequence = np.repeat(np.arange(len(which)), counts)
    number = np.arange(len(sequence)) - np.repeat(np.cumsum(counts) - counts, counts)
    size = -(-lengths // counts)[sequence]
    first_of = offsets.numpy()[which][sequence] + number * size
    length_of = np.minimum(size, lengths[sequence] - number * size)
    cut = counts[sequence] > 1
    order = np.lexsort((-length_of, ~cut))
    lane_of = np.empty_like(order)
    lane_of[order] = np.arange(len(order))
    longest = length_of[order][::WIDTH]
    if longest.sum() * WIDTH > LIMITS.idle * steps or longest[0] * k > LIMITS.largest_sequence:
        return None
    lanes = in_lanes(lane_of, first_of, length_of)
    return Layout(len(skip), which, counts, lane_of, first_of, length_of, lanes, -(-int(cut.sum()) // WIDTH))


def forward(
    layout: Layout, x: Tensor, start: Tensor, transition: Tensor, keep: bool
) -> tuple[Tensor, Tensor | None, Tensor]:
    """As `chain_numba.forward`, of transitions (k, k)."""
    alpha, over = torch.empty_like(x) if keep else x[:0], _Passes(layout, x, start, transition, None)
    over.run(alpha)
    return over.evidence(), alpha if keep else None, over.status()


def smooth(
    layout: Layout, x: Tensor, start: Tensor, transition: Tensor, weights: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """As `chain_numba.smooth`, of transitions (k, k)."""
    gamma, over = torch.empty_like(x), _Passes(layout, x, start, transition, weights)
    over.run(gamma)
    return over.evidence(), gamma, torch.from_numpy(over.xi.sum(0)) * transition, over.status()


class _Passes:
    """The passes over one layout, and their results by lane; without weights the forward pass alone."""

    def __init__(self, layout: Layout, x: Tensor, start: Tensor, transition: Tensor, weights: Tensor | None):
        self.compiled: Any = compiled("emnet.kernels.chain_lanes_passes_numba", "the chain kernel for few states")
        self.layout, self.x, self.transition = layout, x.view(-1).numpy(), transition.numpy()
        self.k, n = x.shape[1], layout.n_groups
        is_first, weight = np.zeros(len(layout.lane_of)), np.ones(len(layout.lane_of))
        is_first[layout.first_blocks] = 1.0
        if weights is not None:
            weight = np.repeat(weights.numpy()[layout.which], layout.counts)
        self.marks = in_lanes(layout.lane_of, is_first, layout.length_of.astype(float), weight)
        self.evidences, self.statuses = np.empty((n, WIDTH)), np.empty((n, WIDTH), np.uint8)
        self.xi = np.zeros((n, self.k, self.k))
        self.entering, self.leaving = self._borders(start, backward=weights is not None)

    def _borders(self, start: Tensor, backward: bool) -> tuple[np.ndarray, np.ndarray]:
        """What blocks begin and end with, (g, k, WIDTH) twice."""
        layout, k, n = self.layout, self.k, self.layout.n_cut
        maps, exponents = np.empty((n, k * k, WIDTH)), np.empty((n, k, WIDTH))
        starts = with_leading(start, 2).numpy()
        starts = starts if len(starts) == 1 else starts[layout.which]
        self._each(lambda group: self.compiled.maps(*self._of(group), maps[group], exponents[group]), n)
        entering = np.zeros((layout.n_groups, k, WIDTH))
        self.compiled.enter(layout.counts, layout.lane_of, starts, maps, exponents, entering)
        leaving = np.zeros((layout.n_groups if backward else 0, k, WIDTH))
        if backward:
            self.compiled.leave(layout.counts, layout.lane_of, entering, maps, exponents, leaving)
        return entering, leaving

    def run(self, out: Tensor) -> None:
        """Write γ, or of the forward pass alone α; an `out` without rows is left."""
        rows = out.view(-1).numpy()

        def run(group: slice) -> None:
            self.compiled.passes(*self._of(group), self.entering[group], self.leaving[group], rows,
                                 self.evidences[group], self.xi[group], self.statuses[group])  # fmt: skip

        self._each(run, self.layout.n_groups)

    def evidence(self) -> Tensor:
        return self._of_sequences(np.add, self.evidences)

    def status(self) -> Tensor:
        """The worst of the blocks of each sequence, (s,)."""
        return self._of_sequences(np.maximum, self.statuses)

    def _of_sequences(self, combine: np.ufunc, lanes: np.ndarray) -> Tensor:
        """From what each lane has, (g, WIDTH), that of each sequence, (s,); 0 of those that were left out."""
        layout, out = self.layout, np.zeros(self.layout.n_sequences, lanes.dtype)
        out[layout.which] = combine.reduceat(lanes.reshape(-1)[layout.lane_of], layout.first_blocks)
        return torch.from_numpy(out)

    def _of(self, group: slice) -> tuple[np.ndarray, ...]:
        return self.x, self.transition, self.layout.lanes[group], self.marks[group]

    def _each(self, run: Callable[[slice], None], n: int) -> None:
        """Run groups, side by side where there are threads for them."""
        threads = min(torch.get_num_threads(), n)
        if threads <= 1:
            run(slice(0, n))
            return
        cuts = np.linspace(0, n, min(n, LIMITS.tasks * threads) + 1).astype(int).tolist()
        in_threads(run, [slice(*pair) for pair in pairwise(cuts)])
