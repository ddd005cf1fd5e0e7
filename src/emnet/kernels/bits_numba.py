"""The passes of `bits` over one chunk of rows, compiled for the CPU: see `bits.Passes`.

Rows run along the last axis, so that inner loops become vector instructions; exp is written out for the same reason.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numba import njit, types
from torch import Tensor

from emnet.kernels.class_blocks import ClassBlocks
from emnet.kernels.tools_numba import arrays, compiled, exp

_LEAST_EXPONENT = -700.0
_ROWS, _ABSENT = types.int64[:, ::1], types.boolean[:, ::1]


def _of_both_types(*arguments: Any) -> list[Any]:
    """Signatures in float32 and float64: what is a number of axes stands for an array of the type."""
    layout = {
        0: lambda real: real,
        1: lambda real: real[::1],
        2: lambda real: real[:, ::1],
        3: lambda real: real[:, :, ::1],
    }
    return [
        types.void(*(layout[kind](real) if isinstance(kind, int) else kind for kind in arguments))
        for real in (types.float32, types.float64)
    ]


@njit(inline="always")
def _n_bits(n):  # type: ignore[no-untyped-def]
    k = 0
    while (1 << k) < n:
        k += 1
    return k


@njit(fastmath={"contract"}, error_model="numpy")  # a division that could raise would not become vector instructions
def _products(logits, rows, first, out):  # type: ignore[no-untyped-def]
    """The probability of each configuration of the units from `first` on, by doubling, in `out`, (2^k, c)."""
    c = len(rows)
    logit, off, on = np.empty(c), np.empty(c, out.dtype), np.empty(c, out.dtype)
    out[0] = 1
    for h in range(_n_bits(len(out))):
        for j in range(c):
            logit[j] = logits[rows[j], first + h]
        for j in range(c):
            e = exp(max(-abs(logit[j]), _LEAST_EXPONENT))
            likely = 1 / (1 + e)
            on[j] = likely if logit[j] >= 0 else e * likely
            off[j] = e * likely if logit[j] >= 0 else likely
        n = 1 << h
        for lower in range(n):
            for j in range(c):
                out[n + lower, j] = out[lower, j] * on[j]
                out[lower, j] *= off[j]


@compiled(_of_both_types(2, _ROWS, 3, 3), {"contract"})
def _halves(logits, rows, low, high):  # type: ignore[no-untyped-def]
    for b in range(len(rows)):
        _products(logits, rows[b], 0, low[b])
        _products(logits, rows[b], _n_bits(low.shape[1]), high[b])


@njit(fastmath={"contract"})
def _sums(joint, p, of_bits):  # type: ignore[no-untyped-def]
    """joint ∘ p summed over the configurations in which each bit is on, and over all in joint[0]; by halving."""
    n, c = joint.shape
    for z in range(n):
        for j in range(c):
            joint[z, j] *= p[z, j]
    of_bits[:] = 0
    for h in range(len(of_bits) - 1, -1, -1):
        n >>= 1
        for z in range(n):
            for j in range(c):
                on = joint[n + z, j]
                of_bits[h, j] += on
                joint[z, j] += on


@compiled(_of_both_types(3, 3, _ROWS, _ABSENT, 0, 2, types.float64[::1], _ABSENT), {"contract"})
def _lower(joint, low, rows, absent, smallest, mean, log_evidence, doubtful):  # type: ignore[no-untyped-def]
    k, c = _n_bits(low.shape[1]), low.shape[2]
    of_bits, inverse = np.empty((k, c), joint.dtype), np.empty(c, joint.dtype)
    for b in range(len(rows)):
        _sums(joint[b], low[b], of_bits)
        evidence = joint[b, 0]
        for j in range(c):
            trusted = evidence[j] > smallest
            doubtful[b, j] = (not trusted) & (not absent[b, j])
            inverse[j] = 1 / evidence[j] if trusted & (not absent[b, j]) else 0
        for j in range(c):
            if not absent[b, j]:
                row = rows[b, j]
                log_evidence[row] = np.log(np.float64(evidence[j]))
                for h in range(k):
                    mean[row, h] = of_bits[h, j] * inverse[j]
        for z in range(low.shape[1]):
            for j in range(c):
                low[b, z, j] *= inverse[j]


@compiled(_of_both_types(3, 3, _ROWS, _ABSENT, 2, 1), {"contract"})
def _upper(joint, high, rows, absent, mean, weights):  # type: ignore[no-untyped-def]
    k, c = _n_bits(high.shape[1]), high.shape[2]
    first = mean.shape[1] - k
    of_bits, weight = np.empty((k, c), joint.dtype), np.empty(c, joint.dtype)
    for b in range(len(rows)):
        _sums(joint[b], high[b], of_bits)
        for j in range(c):
            if not absent[b, j]:
                for h in range(k):
                    mean[rows[b, j], first + h] = of_bits[h, j]
        if len(weights):
            for j in range(c):
                weight[j] = weights[rows[b, j]]
            for z in range(high.shape[1]):
                for j in range(c):
                    high[b, z, j] *= weight[j]


# -- the passes -----------------------------------------------------------------------------------------------------


def halves(logits: Tensor, rows: Tensor, memory: Tensor) -> tuple[Tensor, Tensor]:
    (b, c), m = rows.shape, logits.shape[1]
    shapes = (b, 2 ** (m - m // 2), c), (b, 2 ** (m // 2), c)
    ends = b * shapes[0][1] * c, b * (shapes[0][1] + shapes[1][1]) * c
    low, high = memory[: ends[0]].view(shapes[0]), memory[ends[0] : ends[1]].view(shapes[1])
    _halves(*arrays(logits, rows, low, high))
    return low, high


def lower(
    joint: Tensor, low: Tensor, blocks: ClassBlocks, smallest: float, mean: Tensor, log_evidence: Tensor
) -> Tensor:
    doubtful = torch.empty_like(blocks.absent)
    of_type = low.numpy().dtype.type(smallest)
    _lower(*arrays(joint, low, blocks.rows, blocks.absent), of_type, *arrays(mean, log_evidence, doubtful))
    return doubtful


def upper(joint: Tensor, high: Tensor, blocks: ClassBlocks, weights: Tensor | None, mean: Tensor) -> None:
    _upper(*arrays(joint, high, blocks.rows, blocks.absent, mean, high.new_empty(0) if weights is None else weights))
