"""Gaussians given what is observed of each row, by the precision of what is missing, compiled for the CPU.

With z = x − m, 0 where missing, Λ = Σ⁻¹, g = Λz, and Λ_MM = LLᵀ of the columns that are missing,

    log |Σ_oo| = log |Σ| + log |Λ_MM|,   z_oᵀ Σ_oo⁻¹ z_o = zᵀg − ‖L⁻¹ g_M‖²,
    E[x_M − m_M | x_o] = −Λ_MM⁻¹ g_M,   Cov[x_M | x_o] = Λ_MM⁻¹:

a row with few holes costs little more than a product with Λ, whatever its pattern. What Σ loses of its digits in Λ is
lost: see `gaussian_halves.is_safe`. Rows with as many holes are done side by side, along the last axis of every array
of a tile, so that inner loops become vector instructions.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit, types
from torch import Tensor

from emnet.kernels.gaussian import Sums
from emnet.kernels.gaussian_holes import LANES, Holes
from emnet.kernels.tools_numba import CUBE, INTEGERS, MATRIX, SUMS, VECTOR, arrays, compiled, over_blocks

_BLOCK_TILES, _MOST_BLOCKS = 16, 16
_TOGETHER = 8  # factors of a determinant that are multiplied before a logarithm is taken
_LOG_2PI = math.log(2 * math.pi)
_OBSERVED = types.boolean[:, ::1]


@njit(error_model="numpy")
def _load(x, observed, rows, values, seen, holes):  # type: ignore[no-untyped-def]
    """Rows into lanes, with their missing columns; lanes that are left over repeat the first row."""
    for lane in range(LANES):
        row, hole = rows[lane if lane < len(rows) else 0], 0
        for i in range(x.shape[1]):
            values[i, lane], seen[i, lane] = x[row, i], observed[row, i]
            if not observed[row, i]:
                holes[hole, lane] = i
                hole += 1


@njit(fastmath=SUMS, error_model="numpy")
def _condition(values, seen, holes, m, mean, precision, z, g, lower):  # type: ignore[no-untyped-def]
    """z, g and L, whose diagonal is inverted."""
    d = len(z)
    for i in range(d):
        for lane in range(LANES):
            z[i, lane] = (values[i, lane] - mean[i]) * seen[i, lane]
    for i in range(d):
        own = g[i]
        for lane in range(LANES):
            own[lane] = 0.0
        for j in range(d):
            entry, other = precision[i, j], z[j]
            for lane in range(LANES):
                own[lane] += entry * other[lane]
    for i in range(m):
        for j in range(i + 1):
            own = lower[i, j]
            for lane in range(LANES):
                own[lane] = precision[holes[i, lane], holes[j, lane]]
            for q in range(j):
                left, right = lower[i, q], lower[j, q]
                for lane in range(LANES):
                    own[lane] -= left[lane] * right[lane]
            if j < i:
                scale = lower[j, j]
                for lane in range(LANES):
                    own[lane] *= scale[lane]
            else:
                for lane in range(LANES):
                    own[lane] = 1.0 / np.sqrt(own[lane])


_ROWS = MATRIX, _OBSERVED, INTEGERS, INTEGERS, INTEGERS  # x, observed, rows, starts and holes of the tiles


@compiled(types.void(*_ROWS, MATRIX, CUBE, VECTOR, MATRIX, types.int64, types.int64), SUMS)
def _log_density(x, observed, rows, starts, counts, means, precisions, scales, out, first, last):  # type: ignore[no-untyped-def]
    k, d = means.shape
    memory_4 = np.empty((4, d, LANES))
    values, seen, z, g = memory_4[0], memory_4[1], memory_4[2], memory_4[3]
    most = counts[last - 1]
    holes, lower = np.empty((most, LANES), np.int64), np.empty((most, most, LANES))
    white, squares, product = np.empty((most, LANES)), np.empty(LANES), np.empty(LANES)
    for tile in range(first, last):
        m, here = counts[tile], slice(starts[tile], starts[tile + 1])
        _load(x, observed, rows[here], values, seen, holes)
        for state in range(k):
            _condition(values, seen, holes, m, means[state], precisions[state], z, g, lower)
            found = out[state, here]
            for lane in range(LANES):
                squares[lane], product[lane] = 0.0, 1.0
            for lane in range(len(found)):
                found[lane] = scales[state] - 0.5 * (d - m) * _LOG_2PI
            for i in range(d):
                for lane in range(LANES):
                    squares[lane] += z[i, lane] * g[i, lane]
            for i in range(m):
                own, scale = white[i], lower[i, i]
                for lane in range(LANES):
                    own[lane] = g[holes[i, lane], lane]
                for q in range(i):
                    left, right = lower[i, q], white[q]
                    for lane in range(LANES):
                        own[lane] -= left[lane] * right[lane]
                for lane in range(LANES):
                    own[lane] *= scale[lane]
                    squares[lane] -= own[lane] * own[lane]
                    product[lane] *= scale[lane]
                if i % _TOGETHER == _TOGETHER - 1 or i == m - 1:
                    for lane in range(len(found)):
                        found[lane] += np.log(product[lane])
                        product[lane] = 1.0
            for lane in range(len(found)):
                found[lane] -= 0.5 * squares[lane]


@njit(fastmath=SUMS, error_model="numpy")
def _invert(lower, m, inverse, covariance):  # type: ignore[no-untyped-def]
    """L⁻¹ and Λ_MM⁻¹ = L⁻ᵀL⁻¹, of which the lower triangle."""
    for i in range(m):
        scale = lower[i, i]
        inverse[i, i] = scale
        for j in range(i):
            own = inverse[i, j]
            for lane in range(LANES):
                own[lane] = 0.0
            for q in range(j, i):
                left, right = lower[i, q], inverse[q, j]
                for lane in range(LANES):
                    own[lane] -= left[lane] * right[lane]
            for lane in range(LANES):
                own[lane] *= scale[lane]
    for i in range(m):
        for j in range(i + 1):
            own = covariance[i, j]
            for lane in range(LANES):
                own[lane] = 0.0
            for q in range(i, m):
                left, right = inverse[q, i], inverse[q, j]
                for lane in range(LANES):
                    own[lane] += left[lane] * right[lane]


@njit(fastmath=SUMS, error_model="numpy")
def _fill(z, g, holes, m, covariance, expected):  # type: ignore[no-untyped-def]
    """E[x − m | x_o] in place of z: −Λ_MM⁻¹ g_M where missing."""
    for i in range(m):
        for lane in range(LANES):
            expected[lane] = 0.0
        for j in range(m):
            own = covariance[max(i, j), min(i, j)]
            for lane in range(LANES):
                expected[lane] -= own[lane] * g[holes[j, lane], lane]
        for lane in range(LANES):
            z[holes[i, lane], lane] = expected[lane]


@compiled(types.void(*_ROWS, MATRIX, CUBE, MATRIX, VECTOR, MATRIX, CUBE, types.int64, types.int64), SUMS)
def _moments(x, observed, rows, starts, counts, means, precisions, weights, count, first, second, start, stop):  # type: ignore[no-untyped-def]
    """Of the second moments, the lower triangle."""
    k, d = means.shape
    memory_5 = np.empty((5, d, LANES))
    values, seen, z, g, weighted = memory_5[0], memory_5[1], memory_5[2], memory_5[3], memory_5[4]
    most = counts[stop - 1]
    holes, expected, r = np.empty((most, LANES), np.int64), np.empty(LANES), np.empty(LANES)
    memory_3 = np.empty((3, most, most, LANES))
    lower, inverse, covariance = memory_3[0], memory_3[1], memory_3[2]
    for tile in range(start, stop):
        m, here = counts[tile], slice(starts[tile], starts[tile + 1])
        _load(x, observed, rows[here], values, seen, holes)
        for state in range(k):
            own = weights[state, here]
            for lane in range(LANES):
                r[lane] = own[lane] if lane < len(own) else 0.0
                count[state] += r[lane]
            _condition(values, seen, holes, m, means[state], precisions[state], z, g, lower)
            _invert(lower, m, inverse, covariance)
            _fill(z, g, holes, m, covariance, expected)
            for i in range(d):
                own, total = weighted[i], 0.0
                for lane in range(LANES):
                    own[lane] = r[lane] * z[i, lane]
                    total += own[lane]
                first[state, i] += total
                for j in range(i + 1):
                    other, total = z[j], 0.0
                    for lane in range(LANES):
                        total += own[lane] * other[lane]
                    second[state, i, j] += total
            for i in range(m):
                for j in range(i + 1):
                    own = covariance[i, j]
                    for lane in range(LANES):
                        second[state, holes[i, lane], holes[j, lane]] += r[lane] * own[lane]


# -- the passes -----------------------------------------------------------------------------------------------------


def log_density(x: Tensor, holes: Holes, means: Tensor, inverse: Tensor, out: Tensor) -> None:
    """log Normal of what is observed, into the rows of `out`, (n, k); `inverse` is (k, d, d), Σ⁻¹ = UᵀU."""
    scales = inverse.diagonal(dim1=1, dim2=2).log().sum(1)
    found = means.new_empty(len(means), len(holes.rows))
    values = arrays(*_of_rows(x, holes), means.contiguous(), inverse.mT @ inverse, scales, found)
    over_blocks(lambda tiles: _log_density(*values, tiles.start, tiles.stop), *_blocks(holes))
    out[holes.rows] = found.T.to(out.dtype)


def moments(x: Tensor, holes: Holes, weights: Tensor, means: Tensor, inverse: Tensor) -> Sums:
    """Σ r, Σ r E[x − m], Σ r E[(x − m)(x − m)ᵀ] of each state: (k,), (k, d), (k, d, d), in float64."""
    (n, size), (k, d) = _blocks(holes), means.shape
    own = weights.T[:, holes.rows].double().contiguous()
    sums = [means.new_zeros(-(-n // size), *shape) for shape in ((k,), (k, d), (k, d, d))]
    values = arrays(*_of_rows(x, holes), means.contiguous(), inverse.mT @ inverse, own)

    def run(tiles: slice) -> None:
        _moments(*values, *arrays(*(part[tiles.start // size] for part in sums)), tiles.start, tiles.stop)

    over_blocks(run, n, size)
    count, first, second = (part.sum(0) for part in sums)
    return count, first, second + second.tril(-1).mT


def _of_rows(x: Tensor, holes: Holes) -> tuple[Tensor, ...]:
    return x.double().contiguous(), holes.observed, holes.rows, holes.starts, holes.counts


def _blocks(holes: Holes) -> tuple[int, int]:
    """How many tiles there are, and how many of them are a block: by the data alone, so that threads change no bit."""
    n = len(holes.counts)
    return n, max(_BLOCK_TILES, -(-n // _MOST_BLOCKS))
