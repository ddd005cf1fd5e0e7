"""The passes of `segments`, compiled for the CPU.

What is open at a step is shifted by one duration from step to step, between two arrays, so that the inner loops run
over contiguous durations without a branch and become vector instructions.
"""

from __future__ import annotations

import numpy as np
import torch
from numba import njit, types
from torch import Tensor

from emnet.kernels.segments_arrays import Forwarded, Passed, Tables
from emnet.kernels.tools_numba import (
    INTEGERS,
    MATRIX,
    SUMS,
    VECTOR,
    arrays,
    compiled,
    each,
    exp,
    groups,
    own,
    with_leading,
    within,
)

_LEAST_EXPONENT = -700.0


@njit(fastmath={"nnan", "nsz"})
def _largest(values, count):  # type: ignore[no-untyped-def]
    top = values[0]
    for i in range(1, count):
        top = max(top, values[i])
    return top


@njit(fastmath={"reassoc", "contract", "nsz"})
def _log_sum_exp(values, count):  # type: ignore[no-untyped-def]
    """(maximum, Σ e^{value − maximum}), those terms in place of the first `count` values; (−∞, 0) of nothing."""
    top, total = _largest(values, count), 0.0
    if top == -np.inf:
        return top, total
    for i in range(count):
        away = values[i] - top
        e = exp(max(away, _LEAST_EXPONENT))
        values[i] = e if away > _LEAST_EXPONENT else 0.0
        total += values[i]
    return top, total


@njit
def _extend(opened, begins, b, x, t, scale, count, out):  # type: ignore[no-untyped-def]
    """Row t more for all that is open, (k, D), and what begins with it, row b of `begins`: no views, as in `chain`."""
    for j in range(x.shape[1]):
        row = x[t, j] - scale
        out[j, 0] = begins[b, j] + row
        for d in range(1, count):
            out[j, d] = opened[j, d - 1] + row


@compiled(
    types.void(MATRIX, MATRIX, MATRIX, MATRIX, MATRIX, types.boolean, INTEGERS, MATRIX, MATRIX, MATRIX, VECTOR, VECTOR,
               INTEGERS),
    SUMS,
)  # fmt: skip
def _forward(x, start, into, duration, survival, censored, offsets, entered, ended, present, scales, left, failed):  # type: ignore[no-untyped-def]
    """log p of what begins, of what ends and, unless it has no rows, of what is present at each step, (n, k) each.

    `into` is the transposed transition matrix.
    """
    k, longest = duration.shape
    opened, other, work = np.empty((k, longest)), np.empty((k, longest)), np.empty(max(k, longest))
    own_start = int(len(start) > 1)
    for s in range(len(offsets) - 1):
        top = 0.0
        for t in range(offsets[s], offsets[s + 1]):
            count = min(longest, t - offsets[s] + 1)
            for j in range(k):
                if t == offsets[s]:
                    entered[t, j] = start[s * own_start, j]
                else:
                    for i in range(k):
                        work[i] = ended[t - 1, i] + into[j, i]
                    most, total = _log_sum_exp(work, k)
                    entered[t, j] = most + np.log(total)
            scales[t] = x[t, 0]
            for j in range(1, k):
                scales[t] = max(scales[t], x[t, j])
            scales[t] += top
            if scales[t] == -np.inf:
                failed[s] = t - offsets[s] + 1
                break
            _extend(opened, entered, t, x, t, scales[t], count, other)
            opened, other = other, opened
            top = -np.inf
            for j in range(k):
                for d in range(count):
                    work[d] = opened[j, d] + survival[j, d]
                top = max(top, _largest(work, count))
                if len(present):
                    most, total = _log_sum_exp(work, count)
                    present[t, j] = most + np.log(total)
                for d in range(count):
                    work[d] = opened[j, d] + duration[j, d]
                most, total = _log_sum_exp(work, count)
                ended[t, j] = most + np.log(total)
            if top == -np.inf:
                failed[s] = t - offsets[s] + 1
                break
        if failed[s]:
            continue
        total = 0.0
        for j in range(k):
            for d in range(count):
                value = opened[j, d] + (survival[j, d] if censored else duration[j, d])
                total += np.exp(value - top)
        left[s] = top + np.log(total)
        if not total > 0:
            failed[s] = offsets[s + 1] - offsets[s] + 1


@compiled(
    types.void(MATRIX, MATRIX, MATRIX, MATRIX, types.boolean, INTEGERS, VECTOR, MATRIX, MATRIX, VECTOR, VECTOR,
               INTEGERS, MATRIX, MATRIX, MATRIX),
    SUMS,
)  # fmt: skip
def _backward(x, transition, duration, survival, censored, offsets, weights, gamma, ended, scales, left, failed, xi,
              durations, cut):  # type: ignore[no-untyped-def]  # fmt: skip
    """γ in the place of what begins: row t is read when it is first written, as segments reach forward alone.

    p(a segment of j of d rows begins at t) = e^{begins_tj + log p(d) + Σ rows + closes_{t+d−1,j} − log evidence}.
    """
    k, longest = duration.shape
    tail, other, work = np.empty((k, longest)), np.empty((k, longest)), np.empty(max(k, longest))
    closed, begun, begins = np.empty((1, k)), np.empty(k), np.empty(k)
    for s in range(len(offsets) - 1):
        if failed[s]:
            continue
        first, end = offsets[s], offsets[s + 1]
        closed[:] = 0.0
        for t in range(end - 1, first - 1, -1):
            count = min(longest, end - t)
            last = count - 1 if censored and count == end - t else longest  # the duration that the end cuts off
            _extend(tail, closed, 0, x, t, scales[t], count, other)
            tail, other = other, tail
            for j in range(k):
                begins[j] = gamma[t, j]
                gamma[t, j] = 0.0
            for j in range(k):
                for d in range(count):
                    work[d] = tail[j, d] + duration[j, d]
                if last < longest:
                    work[last] = tail[j, last] + survival[j, last]
                top, total = _log_sum_exp(work, count)
                begun[j] = top + np.log(total)
                share = np.exp(begins[j] + top - left[s]) if total > 0 else 0.0
                if not share > 0:
                    continue
                suffix = 0.0
                for d in range(count - 1, -1, -1):
                    work[d] *= share
                    suffix += work[d]
                    gamma[t + d, j] += suffix
                if last < longest:
                    cut[j, last] += weights[s] * work[last]
                    work[last] = 0.0
                for d in range(count):
                    durations[j, d] += weights[s] * work[d]
            if t == first:
                break
            for i in range(k):
                for j in range(k):
                    work[j] = transition[i, j] + begun[j]
                top, total = _log_sum_exp(work, k)
                closed[0, i] = top + np.log(total)
                share = weights[s] * np.exp(ended[t - 1, i] + top - left[s]) if total > 0 else 0.0
                for j in range(k):
                    xi[i, j] += share * work[j] if share > 0 else 0.0


@compiled(
    types.void(MATRIX, MATRIX, MATRIX, MATRIX, MATRIX, types.boolean, INTEGERS, VECTOR, INTEGERS), {"nnan", "nsz"}
)
def _viterbi(x, start, into, duration, survival, censored, offsets, log_joint, path):  # type: ignore[no-untyped-def]
    k, longest = duration.shape
    opened, other, entered, ended = np.empty((k, longest)), np.empty((k, longest)), np.empty((1, k)), np.empty(k)
    steps, own_start = 0, int(len(start) > 1)
    for s in range(len(offsets) - 1):
        steps = max(steps, offsets[s + 1] - offsets[s])
    came_from, lasted = np.empty((steps, k), dtype=np.int32), np.empty((steps, k), dtype=np.int32)
    for s in range(len(offsets) - 1):
        first, end = offsets[s], offsets[s + 1]
        for j in range(k):
            entered[0, j] = start[s * own_start, j]
        for t in range(first, end):
            count = min(longest, t - first + 1)
            _extend(opened, entered, 0, x, t, 0.0, count, other)
            opened, other = other, opened
            for j in range(k):
                best, length = opened[j, 0] + duration[j, 0], 0
                for d in range(1, count):
                    value = opened[j, d] + duration[j, d]
                    if value > best:
                        best, length = value, d
                ended[j], lasted[t - first, j] = best, length + 1
            for j in range(k):
                best, origin = ended[0] + into[j, 0], 0
                for i in range(1, k):
                    value = ended[i] + into[j, i]
                    if value > best:
                        best, origin = value, i
                entered[0, j], came_from[t - first, j] = best, origin
        best, state, length = -np.inf, 0, 1
        for j in range(k):
            for d in range(count):
                value = opened[j, d] + (survival[j, d] if censored else duration[j, d])
                if value > best:
                    best, state, length = value, j, d + 1
        log_joint[s] = best
        t = end - 1
        while True:
            path[t - length + 1 : t + 1] = state
            t -= length
            if t < first:
                break
            state = came_from[t - first, state]
            length = lasted[t - first, state]


def smooth(log_likelihood: Tensor, tables: Tables, offsets: Tensor, weights: Tensor, censored: bool) -> Passed:
    x, s, (k, longest) = log_likelihood, len(offsets) - 1, tables.duration.shape
    gamma, ended, scales, nothing = torch.empty_like(x), torch.empty_like(x), x.new_empty(len(x)), x.new_empty(0, k)
    left, failed = x.new_zeros(s), torch.zeros(s, dtype=torch.int64)
    starts, into, every = with_leading(tables.start, 2), tables.transition.T.contiguous(), groups(offsets, k * longest)
    xi, durations, cut = (x.new_zeros(len(every), k, size) for size in (k, longest, longest))

    def run(group: slice) -> None:
        bounds, number = within(offsets, group), every.index(group)
        _forward(*arrays(x, own(starts, group), into, tables.duration, tables.survival), censored,
                 *arrays(bounds, gamma, ended, nothing, scales, left[group], failed[group]))  # fmt: skip
        _backward(*arrays(x, *tables[1:]), censored,
                  *arrays(bounds, weights[group], gamma, ended, scales, left[group], failed[group]),
                  *arrays(xi[number], durations[number], cut[number]))  # fmt: skip

    each(run, offsets, k * longest)
    return Passed(_with_scales(left, scales, offsets), gamma, xi.sum(0), durations.sum(0), cut.sum(0), failed)


def forward(log_likelihood: Tensor, tables: Tables, offsets: Tensor, censored: bool) -> Forwarded:
    x, s = log_likelihood, len(offsets) - 1
    begins, ended, present, scales = *torch.empty(3, *x.shape, dtype=x.dtype), x.new_empty(len(x))
    left, failed = x.new_zeros(s), torch.zeros(s, dtype=torch.int64)
    starts, into = with_leading(tables.start, 2), tables.transition.T.contiguous()

    def run(group: slice) -> None:
        bounds = within(offsets, group)
        _forward(*arrays(x, own(starts, group), into, tables.duration, tables.survival), censored,
                 *arrays(bounds, begins, ended, present, scales, left[group], failed[group]))  # fmt: skip

    each(run, offsets, tables.duration.numel())
    return Forwarded(_with_scales(left, scales, offsets), begins, present, scales, failed)


def viterbi(log_likelihood: Tensor, tables: Tables, offsets: Tensor, censored: bool) -> tuple[Tensor, Tensor]:
    x = log_likelihood
    log_joint, path = x.new_empty(len(offsets) - 1), torch.zeros(len(x), dtype=torch.int64)
    starts, into = with_leading(tables.start, 2), tables.transition.T.contiguous()

    def run(group: slice) -> None:
        _viterbi(*arrays(x, own(starts, group), into, tables.duration, tables.survival), censored,
                 *arrays(within(offsets, group), log_joint[group], path))  # fmt: skip

    each(run, offsets, tables.duration.numel())
    return log_joint, path


def _with_scales(left: Tensor, scales: Tensor, offsets: Tensor) -> Tensor:
    """Log evidence of the sequences: what is left, (s,), and the scales of their rows, (n,)."""
    return left + torch.stack([part.sum() for part in scales.split(offsets.diff().tolist())])
