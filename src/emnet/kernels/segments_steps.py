"""The passes of `segments` in PyTorch: all sequences side by side, padded to the longest, a step at a time.

What is open at a step, (q, k, D), is shifted by one duration from step to step; −∞ stands for what has not begun.
"""

from __future__ import annotations

import torch
from torch import Tensor

from emnet.kernels.chain_log import padded
from emnet.kernels.segments_arrays import Forwarded, Passed, Tables

_NEVER = float("-inf")


def smooth(log_likelihood: Tensor, tables: Tables, offsets: Tensor, weights: Tensor, censored: bool) -> Passed:
    x, (k, longest) = log_likelihood, tables.duration.shape
    _, rows, there = padded(offsets, torch.ones(len(offsets) - 1, dtype=torch.bool), x.device)
    left, entered, ended, _, scales, failed = _forward(x, tables, rows, there, censored)
    steps, q = rows.shape
    gamma = x.new_zeros(steps + longest, q, k)
    xi, durations, cut = x.new_zeros(k, k), x.new_zeros(k, longest), x.new_zeros(k, longest)
    tail, closed, lengths = x.new_full((q, k, longest), _NEVER), x.new_zeros(q, k), there.sum(0)
    for t in range(steps - 1, -1, -1):
        tail = _extended(tail, closed, x[rows[t]] - scales[t][:, None]).masked_fill(~there[t][:, None, None], _NEVER)
        last = _reaches_the_end(lengths - t, longest) & censored
        shares = torch.where(last, tail + tables.survival, tail + tables.duration)
        begun = shares.logsumexp(2)
        shares = (shares + (entered[t] - left[:, None])[:, :, None]).exp()
        gamma[t : t + longest] += shares.flip(2).cumsum(2).flip(2).permute(2, 0, 1)
        weighted = shares * weights[:, None, None]
        cut += (weighted * last).sum(0)
        durations += (weighted * ~last).sum(0)
        if t == 0:
            break
        joint = tables.transition + begun[:, None]
        xi += ((joint + (ended[t - 1] - left[:, None])[:, :, None]).exp() * weights[:, None, None]).sum(0)
        closed = torch.where(there[t][:, None], joint.logsumexp(2), 0.0)
    responsibilities = torch.empty_like(x)
    responsibilities[rows[there]] = gamma[:steps][there]
    return Passed(_with_scales(left, scales, there), responsibilities, xi, durations, cut, failed)


def forward(log_likelihood: Tensor, tables: Tables, offsets: Tensor, censored: bool) -> Forwarded:
    x = log_likelihood
    _, rows, there = padded(offsets, torch.ones(len(offsets) - 1, dtype=torch.bool), x.device)
    left, entered, _, present, scales, failed = _forward(x, tables, rows, there, censored)
    begins, found, divided = torch.empty_like(x), torch.empty_like(x), torch.empty_like(x[:, 0])
    for of_rows, of_steps in ((begins, entered), (found, present), (divided, scales)):
        of_rows[rows[there]] = of_steps[there]
    return Forwarded(_with_scales(left, scales, there), begins, found, divided, failed)


def viterbi(log_likelihood: Tensor, tables: Tables, offsets: Tensor, censored: bool) -> tuple[Tensor, Tensor]:
    x = log_likelihood
    _, rows, there = padded(offsets, torch.ones(len(offsets) - 1, dtype=torch.bool), x.device)
    steps, q = rows.shape
    opened = x.new_full((q, *tables.duration.shape), _NEVER)
    came_from, lasted = (
        torch.zeros(steps, q, len(tables.duration), dtype=torch.int64, device=x.device) for _ in range(2)
    )
    entered = tables.start.expand(q, -1)
    log_joint, state, length = x.new_full((q,), _NEVER), rows.new_zeros(q), rows.new_ones(q)
    for t in range(steps):
        opened = _extended(opened, entered, x[rows[t]])
        ended, lasted[t] = (opened + tables.duration).max(2)
        entered, came_from[t] = (ended[:, :, None] + tables.transition).max(1)
        best, index = (opened + tables.survival if censored else opened + tables.duration).flatten(1).max(1)
        ends = there[t] & (~there[t + 1] if t + 1 < steps else True)
        log_joint = torch.where(ends, best, log_joint)
        state = torch.where(ends, index // opened.shape[2], state)
        length = torch.where(ends, index % opened.shape[2] + 1, length)
    path = torch.empty(len(x), dtype=torch.int64, device=x.device)
    every = torch.arange(q, device=x.device)
    for t in range(steps - 1, -1, -1):
        now = there[t]
        path[rows[t, now]] = state[now]
        begins = now & (length == 1)
        if t > 0:
            before = came_from[t - 1, every, state]
            length = torch.where(begins, lasted[t - 1, every, before] + 1, length - now.long())
            state = torch.where(begins, before, state)
    return log_joint, path


def _forward(
    x: Tensor, tables: Tables, rows: Tensor, there: Tensor, censored: bool
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Log evidence without the scales, (q,); log p of what begins, ends and is present at each step, (t, q, k); the
    scales that every step is divided by, (t, q); what failed, (q,)."""
    steps, q = rows.shape
    entered, ended, present = x.new_empty(3, steps, q, x.shape[1])
    scales, failed = x.new_zeros(steps, q), torch.zeros(q, dtype=torch.int64, device=x.device)
    opened, top, left = x.new_full((q, *tables.duration.shape), _NEVER), x.new_zeros(q), x.new_full((q,), _NEVER)
    entered[0] = tables.start
    for t in range(steps):
        best = x[rows[t]].amax(1)
        scales[t] = torch.where(best > _NEVER, best + top, 0.0)
        opened = _extended(opened, entered[t], x[rows[t]] - scales[t][:, None])
        alive = opened + tables.survival
        top = alive.amax((1, 2))
        failed = torch.where(there[t] & (failed == 0) & (top == _NEVER), t + 1, failed)
        top = torch.where(top > _NEVER, top, 0.0)
        ended[t] = (opened + tables.duration).logsumexp(2)
        present[t] = alive.logsumexp(2)
        left = torch.where(there[t], (present if censored else ended)[t].logsumexp(1), left)
        if t + 1 < steps:
            entered[t + 1] = (ended[t][:, :, None] + tables.transition).logsumexp(1)
    failed = torch.where((failed == 0) & (left == _NEVER), there.sum(0) + 1, failed)
    return left, entered, ended, present, scales, failed


def _extended(opened: Tensor, begins: Tensor, row: Tensor) -> Tensor:
    """One row more for all that is open, (q, k, D), and what begins with it, (q, k)."""
    return torch.cat((begins[:, :, None], opened[:, :, :-1]), dim=2) + row[:, :, None]


def _reaches_the_end(remaining: Tensor, longest: int) -> Tensor:
    """Whether a duration is all that is left of its sequence: (q,) → (q, 1, D)."""
    return remaining[:, None, None] == torch.arange(1, longest + 1, device=remaining.device)


def _with_scales(left: Tensor, scales: Tensor, there: Tensor) -> Tensor:
    """Log evidence of the sequences: what is left, (q,), and the scales of their steps, (t, q)."""
    return left + scales.where(there, 0.0).sum(0)
