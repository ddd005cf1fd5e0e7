"""Packed features of Gaussians, and densities and moments of their mixture in one pass, compiled for the CPU."""

from __future__ import annotations

import numpy as np
import torch
from numba import njit, types
from torch import Tensor

from emnet.kernels.blas_numba import address_of_product, times, times_transposed
from emnet.kernels.chunks import Chunks, added, over_parts
from emnet.kernels.normalize_numba import TILE_ROWS, empty_tile, limits, scale_tile, share_tile
from emnet.kernels.tools_numba import MATRIX, VECTOR, arrays, compiled

_CHUNK_ROWS = 3 * TILE_ROWS  # products of so many are as fast as of more, and what goes in and comes out stays in cache


@njit(error_model="numpy")
def _pack(x, start, n, diagonal, out):  # type: ignore[no-untyped-def]
    d = x.shape[1]
    first = d if diagonal else d * (d + 1) // 2
    for i in range(d):
        for row in range(n):
            out[first + i, row] = x[start + row, i]
    position = 0
    for i in range(d):
        for j in range(i, i + 1 if diagonal else d):
            for row in range(n):
                out[position, row] = out[first + i, row] * out[first + j, row]
            position += 1


@compiled([types.void(real[:, :], real[:, ::1]) for real in (types.float32, types.float64)])
def _pack_features(x, out):  # type: ignore[no-untyped-def]
    _pack(x, 0, len(x), False, out)


def pack_features(x: Tensor, out: Tensor) -> None:
    """x_i x_j for i ≤ j, then x, of rows (n, d) in either order in memory, in the first rows of `out`, (width, n)."""
    _pack_features(*arrays(x, out))


def _signature(real):  # type: ignore[no-untyped-def]
    given = types.boolean, real[:, :], real[:, ::1], real[::1], real[::1], real, real
    return types.void(types.int64, *given, VECTOR, VECTOR, MATRIX, types.int64, types.int64)


@compiled([_signature(types.float32), _signature(types.float64)])
def _expectations(address, diagonal, x, coefficients, bias, weights, least, bound, tops, totals, sums, start, stop):  # type: ignore[no-untyped-def]
    """Of the rows from `start` to `stop`; `weights` may be none at all, for 1 each."""
    (k, width), one = coefficients.shape, x.dtype.type(1)
    features, joint = np.empty((width, _CHUNK_ROWS), x.dtype), np.empty((k, _CHUNK_ROWS), x.dtype)
    own = np.empty_like(coefficients)
    features[-1] = one
    tile, top, share = empty_tile(joint)
    for chunk in range(start, stop, _CHUNK_ROWS):
        n = min(_CHUNK_ROWS, stop - chunk)
        _pack(x, chunk, n, diagonal, features)
        times(address, coefficients, features, joint, n)
        for first in range(0, n, TILE_ROWS):
            here, row = min(TILE_ROWS, n - first), chunk + first
            share_tile(joint[:, first : first + here], bias, least, bound, tile, top, share)
            for r in range(here):
                tops[row + r] = top[r]
                totals[row + r] = share[r]
                share[r] = one / share[r]
            if len(weights):
                for r in range(here):
                    share[r] *= weights[row + r]
            scale_tile(tile, share, joint[:, first : first + here])
        times_transposed(address, joint, features, own, n)
        for state in range(k):
            for position in range(width):
                sums[state, position] += own[state, position]


def expectations(
    x: Tensor, coefficients: Tensor, bias: Tensor, weights: Tensor | None, least: float, *, diagonal: bool
) -> tuple[Tensor, Tensor] | None:
    """Log evidence, (n,), and Σ_j w_j r_j f(x_j)ᵀ, (k, width), of packed features f, both in float64.

    A row's joint is coefficients f(x) + bias, its responsibilities r are the shares of e^joint; what is e^least or less
    beside the largest is 0. None where PyTorch does not show its matrix product.

    Parameters
    ----------
    x : (n, d), with rows; `coefficients`, (k, width), `bias`, (k,), and the rows' weights w, (n,), in its type.
    """
    values = x.numpy()
    if (address := address_of_product(values.dtype)) is None:
        return None
    top, total = x.new_empty(2, len(x), dtype=torch.float64)  # each row's largest joint, t, and Σ_k e^{joint − t}
    multipliers = x.new_empty(0) if weights is None else weights.contiguous()
    own = arrays(coefficients, bias.contiguous(), multipliers)
    given = address, diagonal, values, *own, *limits(values.dtype, least), *arrays(top, total)

    def summed(part: Chunks) -> tuple[Tensor]:
        sums = np.zeros(coefficients.shape)
        _expectations(*given, sums, part[0].start, part[-1].stop)
        return (torch.from_numpy(sums),)

    (sums,) = added(over_parts(summed, x, coefficients.shape[1], 2 * coefficients.numel(), 4 * _CHUNK_ROWS))
    return top.add_(total.log_()), sums
