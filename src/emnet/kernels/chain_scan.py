"""The passes of `chain` in PyTorch, parallel over time: for GPUs, and for machines without Numba.

Sequences are cut into blocks that are gone through side by side. Where a sequence has several, the first pass finds
what each block makes of every state that it may begin in, a k × k matrix M with each row scaled by itself; a scan over
the blocks then gives the distribution at every border, forwards p M and backwards M β, and the second pass is that of
many short sequences (an associative scan in two levels: Särkkä & García-Fernández 2021, IEEE TAC 66:299).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

_FLOOR, _LEAST_SCALE, _MOST_BETA = 1e-200, 1e-100, 1e80  # as in chain_passes_numba
_LEAST_EXPONENT = -460.0
_ENOUGH_BLOCKS = 256  # side by side: with so many sequences none needs to be cut
_LEAST_BLOCK = 16
_FLOORED, _FAILED = 1, 2  # as in chain


@dataclass(frozen=True, eq=False)
class _Blocks:
    """Blocks of all sequences, padded to the same length t; c of them, sequence after sequence.

    rows, there : (t, c), the rows of each, and which of those are no padding.
    sequence : (c,), whose block it is.
    levels : the blocks that are first, second, … of their sequence; each follows the one before it.
    """

    rows: Tensor
    there: Tensor
    sequence: Tensor
    levels: list[Tensor]

    @property
    def first(self) -> Tensor:
        return self.levels[0]

    def is_first(self) -> Tensor:
        return torch.zeros_like(self.sequence, dtype=torch.bool).index_fill_(0, self.first, True)


def _cut(offsets: Tensor, device: torch.device) -> _Blocks:
    lengths = offsets.diff()
    longest, n = int(lengths.max()), int(offsets[-1])
    size = longest if n / longest >= _ENOUGH_BLOCKS else min(longest, max(_LEAST_BLOCK, math.isqrt(n)))
    counts = torch.div(lengths + size - 1, size, rounding_mode="floor")
    sequence = torch.arange(len(lengths)).repeat_interleave(counts)
    level = torch.arange(len(sequence)) - (counts.cumsum(0) - counts)[sequence]
    begin = offsets[:-1][sequence] + level * size
    time = torch.arange(size)[:, None]
    there = begin + time < offsets[1:][sequence]
    rows = (begin + time).where(there, begin)
    levels = [torch.nonzero(level == number).flatten().to(device) for number in range(int(level.max()) + 1)]
    return _Blocks(rows.to(device), there.to(device), sequence.to(device), levels)


def forward(
    log_likelihood: Tensor, start: Tensor, transition: Tensor, offsets: Tensor, keep: bool
) -> tuple[Tensor, Tensor | None, Tensor]:
    passes = _Passes(log_likelihood, start, transition, offsets)
    alpha = passes.forward()
    filtered = passes.scatter(alpha) if keep else None
    return passes.evidence, filtered, passes.status.cpu()


def smooth(
    log_likelihood: Tensor,
    start: Tensor,
    transition: Tensor,
    offsets: Tensor,
    weights: Tensor,
    skip: Tensor,
    by_step: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    passes = _Passes(log_likelihood, start, transition, offsets)
    alpha = passes.forward()
    used = torch.where(skip.to(weights.device), 0.0, weights)
    gamma, xi = passes.backward(alpha, used, by_step)
    return passes.evidence, passes.scatter(gamma), xi, passes.status.cpu()


def viterbi(
    log_likelihood: Tensor, log_start: Tensor, log_transition: Tensor, offsets: Tensor
) -> tuple[Tensor, Tensor]:
    """Step by step, sequences side by side."""
    x, device = log_likelihood, log_likelihood.device
    lengths = offsets.diff()
    time = torch.arange(int(lengths.max()))[:, None]
    there = (time < lengths).to(device)
    rows = (offsets[:-1] + time).where(time < lengths, offsets[:-1]).to(device)
    best = log_start + x[rows[0]]
    origins = []
    for t in range(1, len(rows)):
        step = log_transition[rows[t]] if log_transition.dim() == 3 else log_transition
        reached, origin = (best[:, :, None] + step).max(1)
        now = there[t, :, None]
        best = torch.where(now, reached + x[rows[t]], best)
        origins.append(torch.where(now, origin, torch.arange(x.shape[1], device=device)))
    log_joint, state = best.max(1)
    path = torch.empty(len(x), dtype=torch.int64, device=device)
    for t in range(len(rows) - 1, -1, -1):
        path[rows[t, there[t]]] = state[there[t]]
        if t:
            state = origins[t - 1].gather(1, state[:, None])[:, 0]
    return log_joint, path


class _Passes:
    """Both passes over one cut of the data; `status`, (s,), says of which sequences they are not to be trusted."""

    def __init__(self, x: Tensor, start: Tensor, transition: Tensor, offsets: Tensor):
        self.x, self.transition, self.offsets = x, transition, offsets
        self.blocks = _cut(offsets, x.device)
        self.start = start if start.dim() == 1 else start[self.blocks.sequence[self.blocks.first]]
        self.status = torch.zeros(len(offsets) - 1, dtype=torch.uint8, device=x.device)
        top = x.amax(1, keepdim=True)
        self.top = top[:, 0]
        shifted = x - top
        self.b = torch.where(shifted == -math.inf, 0.0, shifted.clamp_min(_LEAST_EXPONENT).exp())
        self.maps = self._maps() if len(self.blocks.levels) > 1 else None

    def _step(self, t: int) -> Tensor:
        """The transitions into step t of every block: (k, k) or (c, k, k)."""
        return self.transition if self.transition.dim() == 2 else self.transition[self.blocks.rows[t]]

    def _maps(self) -> tuple[Tensor, Tensor]:
        """M of every block, (c, k, k), its rows adding up to 1, and the logarithms of what they were, (c, k)."""
        blocks, k = self.blocks, self.x.shape[1]
        rows = torch.eye(k, dtype=self.x.dtype, device=self.x.device).expand(len(blocks.sequence), k, k)
        log_scale = rows.new_zeros(rows.shape[:2])
        for t in range(len(blocks.rows)):
            moved, scale = _normalized(rows @ self._step(t), self.b[blocks.rows[t]][:, None])
            now = blocks.there[t]
            rows = torch.where(now[:, None, None], moved, rows)
            log_scale = log_scale + torch.where(now[:, None], scale.log(), 0.0)
        return rows, log_scale

    def forward(self) -> Tensor:
        """α, (t, c, k)."""
        blocks, entering = self.blocks, self._entering()
        self.before = entering
        alpha = self.x.new_empty(*blocks.rows.shape, self.x.shape[1])
        evidence, smallest, lowest = self.x.new_zeros(3, len(blocks.sequence))
        smallest, lowest = smallest + 1.0, lowest + 1.0
        is_first = blocks.is_first()[:, None]
        last = entering
        for t in range(len(blocks.rows)):
            now, rows = blocks.there[t], blocks.rows[t]
            predicted = _times(last, self._step(t))
            predicted = torch.where(is_first, entering, predicted) if t == 0 else predicted
            moved, scale = _normalized(predicted, self.b[rows])
            last = alpha[t] = torch.where(now[:, None], moved, last)
            evidence += torch.where(now, scale.log() + self.top[rows], 0.0)
            smallest = torch.minimum(smallest, torch.where(now, scale, 1.0))
            lowest = torch.minimum(lowest, torch.where(last > 0, last, 1.0).amin(1))
        self.evidence = self.x.new_zeros(len(self.status)).index_add_(0, blocks.sequence, evidence)
        self._mark(lowest < _LEAST_SCALE, _FLOORED)
        self._mark(~(smallest > _LEAST_SCALE), _FAILED)
        return alpha

    def _entering(self) -> Tensor:
        """What each block begins with: of the first of a sequence its start, of others the state before it, (c, k)."""
        blocks = self.blocks
        entering = self.x.new_zeros(len(blocks.sequence), self.x.shape[1])
        entering[blocks.first] = self.start
        for number, level in enumerate(blocks.levels[1:]):
            before = level - 1
            entering[level] = self._through(before, entering[before], first=number == 0)
        return entering

    def _through(self, block: Tensor, entering: Tensor, first: bool) -> Tensor:
        """p M of some blocks; a sequence's first has no transition into its first step, so it is gone through."""
        if first:
            last = entering
            for t in range(len(self.blocks.rows)):
                step = self.transition if self.transition.dim() == 2 else self.transition[self.blocks.rows[t, block]]
                predicted = last if t == 0 else _times(last, step)
                last = _normalized(predicted, self.b[self.blocks.rows[t, block]])[0]
            return last
        assert self.maps is not None
        rows, log_scale = self.maps[0][block], self.maps[1][block]
        share = torch.where(entering > 0, log_scale, -math.inf)
        weight = (entering * (share - share.amax(1, keepdim=True)).exp())[:, None]
        reachable = (((entering > 0).to(rows)[:, None]) @ (rows > 0).to(rows))[:, 0]
        total = (weight @ rows)[:, 0]
        total = total / total.sum(1, keepdim=True)
        return torch.where(reachable > 0, total.clamp_min(_FLOOR), total * 0.0)

    def backward(self, alpha: Tensor, weights: Tensor, by_step: bool) -> tuple[Tensor, Tensor]:
        """γ, (t, c, k), in place of α, and Σ ξ, (k, k) or by step, (n, k, k)."""
        blocks, k = self.blocks, self.x.shape[1]
        beta = self._leaving(alpha)
        varies = self.transition.dim() == 3
        xi = self.x.new_zeros(len(self.x), k, k) if by_step else self.x.new_zeros(k, k)
        weight, is_first = weights[blocks.sequence], blocks.is_first()
        largest = beta.amax(1)
        for t in range(len(blocks.rows) - 1, -1, -1):
            now, rows = blocks.there[t], blocks.rows[t]
            u = self.b[rows] * beta
            before = alpha[t - 1] if t else self.before
            alpha[t] *= beta
            inner = now if t else now & ~is_first
            back = _times(u, self._step(t).mT)
            scale = torch.where(inner, 1 / (before * back).sum(1), 0.0)
            share = torch.where(inner & (weight > 0), weight * scale, 0.0)
            right = torch.where(share[:, None] > 0, u * share[:, None], 0.0)
            if by_step:
                joint = before[:, :, None] * self._step(t) * right[:, None]
                xi[rows[inner]] = joint[inner]
            elif varies:
                xi += (before[:, :, None] * self._step(t) * right[:, None]).sum(0)
            else:
                xi += torch.where(share[:, None] > 0, before, 0.0).T @ right
            moved = torch.where(before > 0, back * scale[:, None], 0.0)
            beta = torch.where(inner[:, None], moved, beta)
            largest = torch.maximum(largest, beta.sum(1))
        self._mark(~(largest < _MOST_BETA), _FAILED)
        return alpha, xi if by_step or varies else xi * self.transition

    def _leaving(self, alpha: Tensor) -> Tensor:
        """β at the end of each block, scaled to Σ α β = 1: (c, k)."""
        blocks = self.blocks
        ends = alpha[-1]
        beta = (ends > 0).to(alpha)
        for level in reversed(blocks.levels[1:]):
            assert self.maps is not None
            rows, log_scale = self.maps[0][level], self.maps[1][level]
            before = ends[level - 1]
            share = torch.where(before > 0, log_scale, -math.inf)
            found = (share - share.amax(1, keepdim=True)).exp() * (rows @ beta[level][:, :, None])[:, :, 0]
            beta[level - 1] = found / (before * found).sum(1, keepdim=True)
        return beta

    def scatter(self, values: Tensor) -> Tensor:
        """(t, c, k) to rows, (n, k)."""
        out = torch.empty_like(self.x)
        out[self.blocks.rows[self.blocks.there]] = values[self.blocks.there]
        return out

    def _mark(self, bad: Tensor, status: int) -> None:
        self.status[self.blocks.sequence[bad]] = status


def _times(vectors: Tensor, step: Tensor) -> Tensor:
    """vᵀ A of each: (c, k) with (k, k) or (c, k, k)."""
    return vectors @ step if step.dim() == 2 else (vectors[:, None] @ step)[:, 0]


def _normalized(predicted: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """predicted ∘ b, adding up to 1 but for the floor of what is possible, and the sum. A row of zeros stays one."""
    joint = predicted * b
    scale = joint.sum(-1)
    possible = (predicted > 0) & (b > 0)
    scaled = (joint / torch.where(scale == 0, 1.0, scale)[..., None]).clamp_min(_FLOOR)
    return torch.where(possible, scaled, joint * 0.0), scale
