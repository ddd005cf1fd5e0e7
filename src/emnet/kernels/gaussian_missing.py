"""Gaussians given what is observed of each row: exact densities and expected moments (Ghahramani & Jordan 1994).

Rows are grouped by their pattern of holes. With a pattern's observed columns first, one Cholesky factor L of the whole
covariance has it all: with y = L₁₁⁻¹(x_o − m_o),

    log p(x_o) = −½‖y‖² − Σ log diag L₁₁ − o/2 log 2π,   E[x − m | x_o] = L (y, 0),   Cov[x | x_o] = L diag(0, 1) Lᵀ.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from emnet.kernels.chunks import Chunks, added, over_parts
from emnet.kernels.gaussian import Sums

_CHUNK_ELEMENTS = 2**18  # of factors, and of whitened rows
_NONE = torch.finfo(torch.float64).tiny  # beside a responsibility
_LOG_2PI = math.log(2 * math.pi)


@dataclass(frozen=True, eq=False)
class Patterns:
    """Some patterns of holes of about equally many rows, padded to the same number.

    order : (g, d), the columns of each pattern, the observed ones first.
    observed : (g, d), 1 for the first so many, else 0.
    rows : (g, c), the rows of each pattern.
    real : (g, c), 1 where that is a row and no padding.
    """

    order: Tensor
    observed: Tensor
    rows: Tensor
    real: Tensor

    @property
    def places(self) -> Tensor:
        """Where each column stands in `order`: (g, d)."""
        return self.order.argsort(1)


def group_by_pattern(observed: Tensor) -> list[Patterns]:
    """Rows that are observed in part, (n, d) of booleans, by pattern; rows with all or nothing are left out."""
    seen = observed.sum(1)
    index = torch.nonzero((seen > 0) & (seen < observed.shape[1])).flatten()
    if not len(index):
        return []
    masks, pattern = torch.unique(observed[index], dim=0, return_inverse=True)
    by_pattern = index[torch.argsort(pattern, stable=True)]
    counts = torch.bincount(pattern, minlength=len(masks))
    starts = counts.cumsum(0) - counts
    by_size = torch.argsort(counts, descending=True, stable=True)
    return [_padded(masks[g], by_pattern, starts[g], counts[g]) for g in _split(by_size, counts, observed.shape[1])]


def log_density(x: Tensor, groups: list[Patterns], means: Tensor, factor: Tensor, out: Tensor) -> None:
    """log Normal of what is observed, written into the rows of `out`, (n, k); `factor` is (k, d, d), Σ = LLᵀ."""
    for group in groups:
        for part in _few_states(group, means, factor):
            lower, whitened = _whitened(x, group, means[part], factor[part])
            seen = group.observed[:, None]
            scales = (lower.diagonal(dim1=2, dim2=3).log() * seen).sum(2) + 0.5 * _LOG_2PI * seen.sum(2)
            values = -0.5 * whitened.square().sum(2) - scales[:, :, None]
            real = group.real > 0
            out[group.rows[real], part] = values.transpose(1, 2)[real].to(out.dtype)


def moments(x: Tensor, groups: list[Patterns], weights: Tensor, means: Tensor, factor: Tensor) -> Sums:
    """Σ r, Σ r E[x − m], Σ r E[(x − m)(x − m)ᵀ] of each state: (k,), (k, d), (k, d, d), in float64."""
    k, d = means.shape
    counts, first, second = means.new_zeros(k), means.new_zeros(k, d), means.new_zeros(k, d, d)
    for group in groups:
        r = (weights[group.rows].double() * group.real[:, :, None]).permute(0, 2, 1)  # (g, k, c)
        counts += r.sum((0, 2))
        for part in _few_states(group, means, factor):
            lower, whitened = _whitened(x, group, means[part], factor[part])
            lower = lower.gather(2, group.places[:, None, :, None].expand_as(lower))  # its rows as the columns of x
            expected = (lower @ whitened).permute(1, 2, 0, 3).flatten(2)  # (k, d, g·c)
            weighted = expected * r[:, part].transpose(0, 1).flatten(1)[:, None]
            first[part] += weighted.sum(2)
            second[part] += weighted @ expected.mT
            unknown = (1 - group.observed)[:, None, :] * r[:, part].sum(2, keepdim=True)  # (g, k, d)
            spread = (lower * unknown.sqrt()[:, :, None]).permute(1, 2, 0, 3).flatten(2)
            second[part] += spread @ spread.mT
    return counts, first, second


def log_density_diagonal(x: Tensor, observed: Tensor, means: Tensor, inverse: Tensor, narrow: list[int]) -> Tensor:
    """log Normal of what is observed, of independent columns: (n, d) → (n, k); x is 0 where it is not observed."""
    precision = inverse.square()
    linear, square = (means * precision).T.to(x.dtype), (-0.5 * precision).T.to(x.dtype)
    constant = (inverse.log() - 0.5 * _LOG_2PI - 0.5 * means.square() * precision).T.to(x.dtype)
    out = x.new_empty(len(x), len(means))

    def write(part: Chunks) -> None:
        for rows in part:
            torch.mm(x[rows], linear, out=out[rows])
            out[rows].addmm_(x[rows].square(), square).addmm_(observed[rows].to(x.dtype), constant)

    over_parts(write, x, 3 * x.shape[1], 3 * out.shape[1] * x.shape[1])
    for state in narrow:
        scaled = ((x - means[state]) * inverse[state]).square() + (_LOG_2PI - 2 * inverse[state].log())
        out[:, state] = -0.5 * (scaled * observed).sum(1).to(x.dtype)
    return out


def moments_diagonal(
    x: Tensor, observed: Tensor, weights: Tensor, away: Tensor, variances: Tensor, origin: Tensor, narrow: list[int]
) -> Sums:
    """`moments` of independent columns about `origin`, (k, d), from the means less it: (k,), (k, d), (k, d).

    The origin is 0 but for the `narrow` states.
    """

    def summed(part: Chunks) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        counts, mass = away.new_zeros(len(away)), torch.zeros_like(away)
        first, second = torch.zeros_like(away), torch.zeros_like(away)
        for rows in part:
            own, seen = x[rows], observed[rows].to(x.dtype)
            r = weights[rows] * observed[rows].any(1, keepdim=True)
            counts += r.sum(0)
            mass += r.T @ seen
            sums, squares = (r.T @ own).double(), (r.T @ own.square()).double()
            for state in narrow:
                moved = ((own - origin[state]) * seen).to(x.dtype)
                sums[state], squares[state] = r[:, state] @ moved, r[:, state] @ moved.square()
            first += sums
            second += squares
        return counts, mass, first, second

    counts, mass, first, second = added(over_parts(summed, x, 3 * x.shape[1], 3 * away.numel()))
    unseen = counts[:, None] - mass
    return counts, first + unseen * away, second + unseen * (away.square() + variances)


def conditional(
    x: Tensor, groups: list[Patterns], weights: Tensor, means: Tensor, factor: Tensor, mean: Tensor, variance: Tensor
) -> None:
    """E[x | x_o] and Var[x | x_o] under responsibilities `weights`, (n, k), written into the groups' holes.

    `mean` and `variance` are (n, d) in float64. States are put together by moments about their own mean, which of
    a row far from all of them keeps the digits that Σ_k r_k m_k² − (Σ_k r_k m_k)² would lose.
    """
    for group in groups:
        first = torch.zeros(*group.rows.shape, x.shape[1], dtype=torch.float64, device=x.device)
        second, total = torch.zeros_like(first), torch.zeros_like(first[..., :1])
        unseen = (1 - group.observed)[:, None, :, None]
        for part in _few_states(group, means, factor):
            lower, whitened = _whitened(x, group, means[part], factor[part])
            lower = lower.gather(2, group.places[:, None, :, None].expand_as(lower))
            guess = (lower @ whitened).transpose(2, 3) + means[part][None, :, None]  # (g, k, c, d)
            spread = (lower.square() @ unseen).transpose(2, 3)  # (g, k, 1, d)
            r = weights[group.rows][:, :, part].double().transpose(1, 2)[..., None]
            own, before = r.sum(1), total
            total = before + own
            center = (guess * r).sum(1) / own.clamp_min(_NONE)
            within = (guess - center[:, None]).mul_(r.sqrt()).square_().add_(spread * r).sum(1)
            away, share = center - first, own / total.clamp_min(_NONE)
            second += within + (away * (before * share).sqrt()).square_()
            first += away * share
        holes = (group.real > 0)[..., None] & (group.observed.gather(1, group.places) == 0)[:, None]
        row, column = group.rows[..., None].expand_as(holes)[holes], torch.nonzero(holes)[:, 2]
        mean[row, column] = first[holes]
        variance[row, column] = second[holes]


def _whitened(x: Tensor, group: Patterns, means: Tensor, factor: Tensor) -> tuple[Tensor, Tensor]:
    """L with the pattern's columns in order, (g, k, d, d), and (y, 0), (g, k, d, c), in float64."""
    k, d = means.shape
    order = group.order
    by_row = (factor @ factor.mT).transpose(0, 1).reshape(d, k * d)
    rows = by_row.index_select(0, order.flatten()).view(-1, d, k, d).transpose(1, 2)  # whole rows, then columns
    columns = order[:, None, None, :].expand(-1, k, d, d)
    lower = torch.linalg.cholesky_ex(rows.gather(3, columns))[0]
    own = x[group.rows[:, :, None], order[:, None, :]].double().transpose(1, 2)  # (g, d, c)
    away = own[:, None] - means[:, order].transpose(0, 1)[..., None]
    seen = group.observed[:, None, :, None]
    return lower, torch.linalg.solve_triangular(lower, away * seen, upper=False) * seen


def _few_states(group: Patterns, means: Tensor, factor: Tensor) -> Iterator[slice]:
    """States in pieces, as many a time as fit the chunk."""
    g, c = group.rows.shape
    size = max(1, _CHUNK_ELEMENTS // (g * means.shape[1] * max(c, means.shape[1])))
    return (slice(start, start + size) for start in range(0, len(factor), size))


def _split(by_size: Tensor, counts: Tensor, d: int) -> Iterator[Tensor]:
    """Patterns, most rows first, in pieces of like numbers of rows."""
    sizes = counts[by_size].tolist()
    start = 0
    while start < len(sizes):
        most = max(1, _CHUNK_ELEMENTS // (4 * d * max(sizes[start], d)))
        stop = start
        while stop < len(sizes) and stop - start < most and 2 * sizes[stop] >= sizes[start]:
            stop += 1
        yield by_size[start:stop]
        start = stop


def _padded(masks: Tensor, by_pattern: Tensor, starts: Tensor, counts: Tensor) -> Patterns:
    order = torch.argsort(masks.to(torch.int8), dim=1, descending=True, stable=True)
    observed = torch.gather(masks, 1, order).double()
    steps = torch.arange(int(counts.max()), device=masks.device)
    real = steps < counts[:, None]
    rows = by_pattern[starts[:, None] + torch.minimum(steps, counts[:, None] - 1)]
    return Patterns(order, observed, rows, real.double())
