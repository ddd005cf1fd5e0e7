"""Log densities and weighted moments of k Gaussians over rows without holes, in chunks: never an n × k × d array.

A matrix is given by the inverse U of the Cholesky factor of its covariance, Σ⁻¹ = UᵀU: (k, d, d), or (1, d, d) where
all states share one, or (k, d) of diagonal matrices. The expanded quadratic xᵀΣ⁻¹x − 2mᵀΣ⁻¹x + mᵀΣ⁻¹m is one product
over packed features (x_i x_j for i ≤ j, or x_i² where matrices are diagonal; x; 1), and it cancels where a component is
far narrower than the data: those that `narrow_states` finds are done as ‖U(x − m)‖². Data are thought of as centered
near 0.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

from emnet.kernels.chunks import Chunks, added, chunks, over_parts
from emnet.kernels.compilation import compiled
from emnet.kernels.normalize import NEGLIGIBLE, normalized
from emnet.kernels.triangles import pack, triangle

_CANCELLATION = {torch.float64: 1e-9, torch.float32: 1e-3}  # nats of a row's log density that rounding may cost
_LOG_2PI = math.log(2 * math.pi)
Sums = tuple[Tensor, Tensor, Tensor]
"""Σ r, (k,); Σ r x, (k, d); Σ r x xᵀ, (g, d, d), or Σ r x², (g, d)."""


def narrow_states(inverse: Tensor, reach: Tensor, dtype: torch.dtype, k: int) -> list[int]:
    """Which of k states are too narrow for the expanded quadratic of data with |x_j| ≤ reach_j, (d,)."""
    sizes = (inverse * reach).square_().sum(tuple(range(1, inverse.dim()))).tolist()
    most = _CANCELLATION[dtype] / torch.finfo(dtype).eps
    narrow = [state for state, size in enumerate(sizes) if not size <= most]  # so that NaN is narrow
    return list(range(k)) if narrow and len(sizes) == 1 else narrow


def is_many(x: Tensor, *, diagonal: bool) -> bool:
    """Whether the packed features of the rows are more than a chunk."""
    return len(list(chunks(len(x), _width(x.shape[1], diagonal), x.dtype))) > 1


def kept_features(x: Tensor, *, diagonal: bool) -> Tensor | None:
    """Packed features of so few rows that they fit a chunk, to be kept for the next pass; None of more."""
    return None if is_many(x, diagonal=diagonal) else next(_features(x, [slice(0, len(x))], diagonal))[1]


def log_density(x: Tensor, means: Tensor, inverse: Tensor, narrow: list[int], features: Tensor | None = None) -> Tensor:
    """log Normal(x; m_k, Σ_k): (n, d) → (n, k), in the type of x; `features` are those of `kept_features`."""
    k, shared = len(means), len(inverse) == 1
    if not narrow:
        return _expanded(x, means, inverse, features)
    out = x.new_empty(len(x), k)
    if wide := _others(narrow, k):
        out[:, wide] = _expanded(x, means[wide], inverse[wide], features)
    for state in narrow:
        out[:, state] = _by_factor(x, means[state], inverse[0 if shared else state])
    return out


def moments(
    x: Tensor,
    weights: Tensor,
    origin: Tensor,
    narrow: list[int],
    *,
    diagonal: bool,
    shared: bool,
    features: Tensor | None = None,
) -> Sums:
    """Σ r, Σ r (x − o), Σ r (x − o)(x − o)ᵀ of each state, about its origin o: (k,), (k, d), (g, d, d), in float64.

    `weights` r are (n, k), and `origin`, (k, d), is 0 but for the `narrow` states; of a diagonal only the squares are
    summed, (g, d); shared matrices are summed over the states, g = 1. Chunks are summed in the type of x, and their
    sums in float64.
    """
    if not narrow:
        return _moments_about_zero(x, weights, diagonal, shared, features)
    counts, first, second = _empty_moments(weights.shape[1], x, diagonal, shared)
    if rest := _others(narrow, len(origin)):
        n, f, s = _moments_about_zero(x, weights[:, rest], diagonal, shared, features)
        counts[rest], first[rest] = n, f
        second[slice(None) if shared else rest] = s
    for state in narrow:
        own = torch.nonzero(weights[:, state]).flatten()  # a narrow state has few of many rows
        moved = (x[own] - origin[state]).to(x.dtype)
        n, f, s = _moments_about_zero(moved, weights[own, state : state + 1], diagonal, shared, None)
        counts[state], first[state] = n[0], f[0]
        second[0 if shared else state] += s[0]
    return counts, first, second


def expectations(
    x: Tensor,
    means: Tensor,
    inverse: Tensor,
    log_weights: Tensor,
    weights: Tensor | None,
    features: Tensor | None,
    *,
    shared: bool,
) -> tuple[Tensor, Sums] | None:
    """Log evidence of each row of a mixture, (n,), and `moments` about 0 under its responsibilities, in one pass.

    Of many rows neither densities nor responsibilities leave the cache; None off the CPU, and without Numba. No state
    may be narrow.

    Parameters
    ----------
    log_weights : of the states, (k,).
    weights : of the rows, (n,), None for 1 each; responsibilities are multiplied by them.
    features : those of `kept_features`, None of many rows.
    shared : whether the second moments are to be summed over the states.
    """
    diagonal, d = inverse.dim() == 2, x.shape[1]
    weights = weights if weights is None else weights.to(x.dtype)
    if features is not None:
        log_evidence, shares = normalized(_expanded_packed(x, means, inverse, features), log_weights)
        shares = shares if weights is None else shares.mul_(weights[:, None])
        return log_evidence, _moments_about_zero(x, shares, diagonal, shared, features)
    if x.device.type != "cpu" or (passes := _passes()) is None:
        return None
    common = inverse[0].to(x.dtype) if shared and not diagonal else None
    coefficients = _coefficients(means, inverse, x) if common is None else _coefficients_of_shared(means, inverse[0], x)
    found = passes.expectations(x, coefficients, common, log_weights.to(x.dtype), weights, NEGLIGIBLE[x.dtype])
    if found is None:
        return None
    log_evidence, total, scatter = found
    if common is not None:
        return log_evidence, (total[:, -1], total[:, :d], scatter[None])
    return log_evidence, _unpacked(total, d, diagonal, shared)


def _passes() -> Any:
    return compiled("emnet.kernels.gaussian_numba", "the kernels of Gaussians")


def _others(narrow: list[int], k: int) -> list[int]:
    return sorted(set(range(k)) - set(narrow))


# -- densities ------------------------------------------------------------------------------------------------------


def _log_scale(inverse: Tensor, d: int) -> Tensor:
    """log |U| − d/2 log 2π of each state."""
    scales = inverse.diagonal(dim1=1, dim2=2) if inverse.dim() == 3 else inverse
    return scales.log().sum(1) - 0.5 * d * _LOG_2PI


def _expanded(x: Tensor, means: Tensor, inverse: Tensor, features: Tensor | None) -> Tensor:
    if features is None and inverse.dim() == 3 and len(inverse) == 1:
        return _expanded_shared(x, means, inverse[0])
    return _expanded_packed(x, means, inverse, features)


def _expanded_shared(x: Tensor, means: Tensor, inverse: Tensor) -> Tensor:
    """One matrix for all: whiten the rows, then distances."""
    whitened = means @ inverse.T
    factor, linear = inverse.T.to(x.dtype), whitened.T.to(x.dtype)
    bias = (_log_scale(inverse[None], x.shape[1]) - 0.5 * whitened.square().sum(1)).to(x.dtype)
    out = x.new_empty(len(x), len(means))

    def write(part: Chunks) -> None:
        for rows in part:
            y = x[rows] @ factor
            torch.addmm(bias, y, linear, out=out[rows])
            out[rows].sub_(0.5 * y.square().sum(1, keepdim=True))

    over_parts(write, x, 2 * x.shape[1], x.shape[1] * (x.shape[1] + len(means)))
    return out


def _coefficients(means: Tensor, inverse: Tensor, x: Tensor) -> Tensor:
    """What each state's log density has of each packed feature, (k, width), in the type of x."""
    if inverse.dim() == 2:
        precision = inverse.square().expand_as(means)
        linear, quadratic = precision * means, -0.5 * precision
    else:
        precision = torch.bmm(inverse.mT, inverse).expand(len(means), -1, -1)
        linear = torch.bmm(precision, means.unsqueeze(2)).squeeze(2)
        quadratic = pack(precision) * _shares(x.shape[1], x.device)
    bias = torch.sub(_log_scale(inverse, x.shape[1]), (linear * means).sum(1), alpha=0.5)
    return torch.cat((quadratic, linear, bias.unsqueeze(1)), dim=1).to(x.dtype)


def _coefficients_of_shared(means: Tensor, inverse: Tensor, x: Tensor) -> Tensor:
    """The same of x and 1, (k, d + 1), beside −½ ‖U x‖², which all states have."""
    whitened = means @ inverse.T
    bias = _log_scale(inverse[None], x.shape[1]) - 0.5 * whitened.square().sum(1)
    return torch.cat((whitened @ inverse, bias[:, None]), dim=1).to(x.dtype)


def _expanded_packed(x: Tensor, means: Tensor, inverse: Tensor, kept: Tensor | None) -> Tensor:
    coefficients = _coefficients(means, inverse, x)
    if kept is not None:
        return (coefficients @ kept.T).T
    out = x.new_empty(len(means), len(x))

    def write(part: Chunks) -> None:
        for rows, features in _features(x, part, inverse.dim() == 2):
            torch.mm(coefficients, features.T, out=out[:, rows])

    width = coefficients.shape[1]
    over_parts(write, x, width, width * len(means))
    return out.T


@lru_cache
def _shares(d: int, device: torch.device) -> Tensor:
    """What each packed feature x_i x_j has of −½ xᵀΛx, beside Λ_ij."""
    with torch.inference_mode(False):
        return torch.where(triangle(d, device).on_diagonal, -0.5, -1.0).double()


def _by_factor(x: Tensor, mean: Tensor, inverse: Tensor) -> Tensor:
    """−½ ‖U(x − m)‖² and the constant, for one state: (n,)."""
    out = x.new_empty(len(x))
    own = inverse.to(x.dtype)

    def write(part: Chunks) -> None:
        for rows in part:
            away = (x[rows] - mean).to(x.dtype)
            y = away * own if inverse.dim() == 1 else away @ own.T
            out[rows] = -0.5 * y.square().sum(1)

    over_parts(write, x, 2 * x.shape[1], x.shape[1] ** inverse.dim())
    return out.add_(_log_scale(inverse[None], x.shape[1]).to(x.dtype))


# -- moments --------------------------------------------------------------------------------------------------------


def _empty_moments(k: int, x: Tensor, diagonal: bool, shared: bool) -> Sums:
    d, g = x.shape[1], 1 if shared else k
    zero = torch.zeros((), dtype=torch.float64, device=x.device)
    return zero.new_zeros(k), zero.new_zeros(k, d), zero.new_zeros((g, d) if diagonal else (g, d, d))


def _moments_about_zero(x: Tensor, weights: Tensor, diagonal: bool, shared: bool, kept: Tensor | None) -> Sums:
    k, d = weights.shape[1], x.shape[1]
    if kept is not None:
        total = (weights.T @ kept).double()
    elif shared and not diagonal:
        return _moments_of_shared(x, weights)
    else:
        width = _width(d, diagonal)

        def summed(part: Chunks) -> tuple[Tensor]:
            total = torch.zeros(k, width, dtype=torch.float64, device=x.device)
            for rows, features in _features(x, part, diagonal):
                total += weights[rows].T @ features
            return (total,)

        (total,) = added(over_parts(summed, x, width, width * k))
    return _unpacked(total, d, diagonal, shared)


def _unpacked(total: Tensor, d: int, diagonal: bool, shared: bool) -> Sums:
    """The moments of sums of packed features, (k, width)."""
    counts, first = total[:, -1], total[:, -1 - d : -1]
    second = total[:, :d] if diagonal else total[:, : -1 - d]
    if shared:
        second = second.sum(0, keepdim=True)
    if not diagonal:
        second = second.index_select(1, triangle(d, total.device).symmetric).view(-1, d, d)
    return counts, first, second


def _moments_of_shared(x: Tensor, weights: Tensor) -> Sums:
    """About 0, of one matrix for all states."""

    def summed(part: Chunks) -> Sums:
        counts, first, second = _empty_moments(weights.shape[1], x, diagonal=False, shared=True)
        for rows in part:
            own, r = x[rows], weights[rows]
            counts += r.sum(0)
            first += r.T @ own
            second += (own * r.sum(1, keepdim=True)).T @ own
        return counts, first, second

    counts, first, second = added(over_parts(summed, x, 2 * x.shape[1], x.shape[1] * (x.shape[1] + weights.shape[1])))
    return counts, first, second


# -- features -------------------------------------------------------------------------------------------------------


def _width(d: int, diagonal: bool) -> int:
    return 2 * d + 1 if diagonal else (d * (d + 3)) // 2 + 1


def _features(x: Tensor, part: Chunks, diagonal: bool) -> Iterator[tuple[slice, Tensor]]:
    """Packed features of chunk after chunk, (rows, width), each in the memory of the one before."""
    made_by, memory = _DiagonalFeatures if diagonal else _Features, None
    for rows in part:
        size = rows.stop - rows.start
        if memory is None or len(memory.all) != size:
            memory = made_by(x, size)
        yield rows, memory.of(x[rows])


class _Features:
    """Memory for the features of a chunk, which are written along the rows."""

    def __init__(self, x: Tensor, rows: int):
        self.d = x.shape[1]
        self.memory = x.new_empty(_width(self.d, diagonal=False), rows)
        self.memory[-1] = 1.0
        self.all = self.memory.T
        many = rows < len(x) and x.device.type == "cpu"  # of one chunk, compiling or loading costs more than it saves
        self.passes = _passes() if many else None

    def of(self, x: Tensor) -> Tensor:
        if self.passes:
            self.passes.pack_features(x, self.memory)
            return self.all
        columns, start = self.memory[-1 - self.d : -1], 0
        columns.copy_(x.T)
        for i in range(self.d):
            torch.mul(columns[i:], columns[i], out=self.memory[start : start + self.d - i])
            start += self.d - i
        return self.all


class _DiagonalFeatures:
    """The same for diagonal matrices, in the order of x: transposing it would take longer than its squares."""

    def __init__(self, x: Tensor, rows: int):
        d = x.shape[1]
        self.all = x.new_empty(rows, _width(d, diagonal=True))
        self.all[:, -1] = 1.0
        self.squares, self.columns = self.all[:, :d], self.all[:, d : 2 * d]

    def of(self, x: Tensor) -> Tensor:
        self.columns.copy_(x)
        torch.mul(x, x, out=self.squares)
        return self.all
