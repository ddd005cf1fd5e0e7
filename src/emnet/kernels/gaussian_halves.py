"""Gaussians given what is observed of each row, for tables where nearly every row has a pattern of holes of its own.

The columns are cut into halves A and B. Patterns of one half are far fewer than of both, so what is observed of A is
eliminated once for each of A's patterns, and each row's own matrix is of half the size. With z = x − m, 0 where
missing,

    Λ_a = Σ_aa⁻¹,   C = Σ_BA Λ_a,   S = Σ_BB − C Σ_AB,   α_B = S_bb⁻¹ (z_B − C z_A),   α_A = Λ_a z_A − Cᵀ α_B:

α = Σ_oo⁻¹ z_o, from which E[x − m | x_o] = Σα and, P being Σ_oo⁻¹ in its place among zeros,
E[(x − m)(x − m)ᵀ | x_o] = Σ (ααᵀ − P) Σ + Σ. Sums over rows are taken before the products with Σ, which is what makes
it fast, and what loses digits where Σ is nearly singular: `is_safe` says where it may be used.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import torch
from torch import Tensor

from emnet.kernels.gaussian import Sums

_FEWEST_PATTERNS, _FEWEST_COLUMNS = 200, 6  # for which it pays
_WORST_CONDITION = 1e7
_CHUNK_ELEMENTS = 2**18
_LOG_2PI = math.log(2 * math.pi)


@dataclass(frozen=True, eq=False)
class Halves:
    """Some patterns of A with the patterns of B that come with them, and the rows, all padded to the same number.

    first : (g, h), what is observed of A, 1 or 0.
    second : (g, p, d − h), what is observed of B.
    rows : (g, c), the rows of each pattern of A; `real` is 1 where that is no padding.
    pattern : (g·c,), which of the g·p patterns of B a row has.
    seen : (g, c), how many columns are observed.
    """

    first: Tensor
    second: Tensor
    rows: Tensor
    real: Tensor
    pattern: Tensor
    seen: Tensor

    def of_rows(self, of_patterns: Tensor) -> Tensor:
        """What belongs to the patterns of B, (g·p, k, …), for their rows: (g, k, c, …)."""
        each = of_patterns if self.one_each else of_patterns.index_select(0, self.pattern)
        return each.view(*self.rows.shape, *each.shape[1:]).transpose(1, 2)

    @cached_property
    def one_each(self) -> bool:
        """Whether every row has a pattern of its own, in order."""
        return self.rows.numel() == len(self.second) * self.second.shape[1] and self.pattern.equal(
            torch.arange(len(self.pattern), device=self.pattern.device)
        )


def group_by_halves(observed: Tensor, k: int) -> list[Halves]:
    """Rows that are observed in part, (n, d) of booleans, for k states; none where patterns are few."""
    if not has_many_patterns(observed):
        return []
    index, d = _with_holes(observed), observed.shape[1]
    masks, pattern = torch.unique(observed[index], dim=0, return_inverse=True)
    halves, own = torch.unique_consecutive(masks[:, : d // 2], dim=0, return_inverse=True)  # masks are in order
    order = torch.argsort(pattern, stable=True)
    index, pattern = index[order], pattern[order]
    rows_of = torch.bincount(own[pattern], minlength=len(halves))
    patterns_of = torch.bincount(own, minlength=len(halves))
    by_size = torch.argsort(rows_of, descending=True, stable=True)
    return [
        _padded(masks, halves[part], index, pattern, part, rows_of, patterns_of)
        for part in _split(by_size, rows_of, k * (d - d // 2) ** 2)
    ]


def has_many_patterns(observed: Tensor) -> bool:
    """Whether rows that are observed in part, (n, d) of booleans, have so many patterns that each is of few rows."""
    index = _with_holes(observed)
    if observed.shape[1] < _FEWEST_COLUMNS or len(index) < _FEWEST_PATTERNS:
        return False
    return len(torch.unique(observed[index], dim=0)) >= _FEWEST_PATTERNS


def _with_holes(observed: Tensor) -> Tensor:
    """The rows that are observed in part, as indices."""
    seen = observed.sum(1)
    return torch.nonzero((seen > 0) & (seen < observed.shape[1])).flatten()


def is_safe(covariances: Tensor) -> bool:
    """Whether no state's covariance, (k, d, d), is too near to singular."""
    values = torch.linalg.eigvalsh(covariances)
    return bool((values[:, -1] < _WORST_CONDITION * values[:, 0]).all())


def log_density(x: Tensor, groups: list[Halves], means: Tensor, covariances: Tensor, out: Tensor) -> None:
    """log Normal of what is observed, written into the rows of `out`, (n, k)."""
    for group in groups:
        first, second = _eliminate(group, covariances)
        own, alpha, left = _conditioned(x, group, means, first)
        left = left * group.of_rows(group.second.flatten(0, 1)[:, None])
        whitened = torch.linalg.solve_triangular(group.of_rows(second.lower), left[..., None], upper=False)
        squares = (own * alpha).sum(3) + whitened.square().sum((3, 4))
        scales = first.log_scale[:, :, None] + group.of_rows(second.log_scale) + 0.5 * _LOG_2PI * group.seen[:, None]
        values = -0.5 * squares - scales
        real = group.real > 0
        out[group.rows[real]] = values.transpose(1, 2)[real].to(out.dtype)


def moments(x: Tensor, groups: list[Halves], weights: Tensor, means: Tensor, covariances: Tensor) -> Sums:
    """Σ r, Σ r E[x − m], Σ r E[(x − m)(x − m)ᵀ] of each state: (k,), (k, d), (k, d, d), in float64."""
    k, d = means.shape
    counts, slope, curve = means.new_zeros(k), means.new_zeros(k, d), means.new_zeros(k, d, d)
    for group in groups:
        r = (weights[group.rows].double() * group.real[:, :, None]).transpose(1, 2)  # (g, k, c)
        counts += r.sum((0, 2))
        first, second = _eliminate(group, covariances)
        _, alpha_first, left = _conditioned(x, group, means, first)
        inverse = second.inverse(group)
        own = group.of_rows(inverse)
        alpha_second = (own.mT @ (own @ left[..., None]))[..., 0]  # (g, k, c, d − h)
        alpha = torch.cat((alpha_first - alpha_second @ first.slope, alpha_second), dim=3)
        alpha = alpha.permute(1, 3, 0, 2).flatten(2)  # (k, d, g·c)
        weighted = alpha * r.transpose(0, 1).flatten(1)[:, None]
        slope += weighted.sum(2)
        curve += weighted @ alpha.mT
        curve -= _precisions(group, r, first, inverse)
    return counts, (covariances @ slope[:, :, None])[:, :, 0], _sandwiched(covariances, curve, counts)


class _First(NamedTuple):
    precision: Tensor  # Λ_a, (g, k, h, h), 0 where missing
    slope: Tensor  # C, (g, k, d − h, h)
    rest: Tensor  # S, (g, k, d − h, d − h)
    log_scale: Tensor  # ½ log |Σ_aa|, (g, k)


class _Second(NamedTuple):
    lower: Tensor  # L of S_bb = LLᵀ, (g·p, k, d − h, d − h), that of the identity where missing
    log_scale: Tensor  # ½ log |S_bb|, (g·p, k)

    def inverse(self, group: Halves) -> Tensor:
        """L⁻¹, with 0 where missing."""
        return _inverse(self.lower, group.second.flatten(0, 1)[:, None])


def _eliminate(group: Halves, covariances: Tensor) -> tuple[_First, _Second]:
    h = group.first.shape[1]
    own, cross, other = covariances[:, :h, :h], covariances[:, h:, :h], covariances[:, h:, h:]
    lower, log_scale = _masked_factor(own.expand(len(group.first), -1, -1, -1), group.first[:, None])
    inverse = _inverse(lower, group.first[:, None])
    precision = inverse.mT @ inverse
    slope = cross @ precision
    rest = other - slope @ cross.mT
    g, p, _ = group.second.shape
    each = rest[:, None].expand(g, p, *rest.shape[1:]).flatten(0, 1)
    return _First(precision, slope, rest, log_scale), _Second(
        *_masked_factor(each, group.second.flatten(0, 1)[:, None])
    )


def _masked_factor(matrices: Tensor, observed: Tensor) -> tuple[Tensor, Tensor]:
    """L and Σ log diag L of what is observed of matrices (…, m, m), with the identity for what is not."""
    masked = matrices * observed[..., :, None] * observed[..., None, :]
    masked.diagonal(dim1=-2, dim2=-1).add_(1 - observed)
    lower = torch.linalg.cholesky_ex(masked)[0]
    return lower, lower.diagonal(dim1=-2, dim2=-1).log().sum(-1)


def _inverse(lower: Tensor, observed: Tensor) -> Tensor:
    return torch.linalg.solve_triangular(lower, torch.diag_embed(observed).expand_as(lower), upper=False)


def _conditioned(x: Tensor, group: Halves, means: Tensor, first: _First) -> tuple[Tensor, Tensor, Tensor]:
    """z_A and Λ_a z_A, (g, k, c, h), and z_B − C z_A, (g, k, c, d − h)."""
    h = group.first.shape[1]
    away = x[group.rows].double()[:, None] - means[:, None]
    own = away[..., :h] * group.first[:, None, None]
    return own, own @ first.precision, away[..., h:] - own @ first.slope.mT


def _precisions(group: Halves, r: Tensor, first: _First, inverse: Tensor) -> Tensor:
    """Σ r Σ_oo⁻¹, each in its place among zeros: (k, d, d)."""
    g, k, c = r.shape
    p = group.second.shape[1]
    mass = r.new_zeros(g * p, k).index_add_(0, group.pattern, r.transpose(1, 2).reshape(g * c, k))
    rooted = inverse * mass.sqrt()[:, :, None, None]
    rooted = rooted.view(g, p, *rooted.shape[1:]).transpose(1, 2).flatten(2, 3)  # (g, k, p·(d − h), d − h)
    of_second = rooted.mT @ rooted
    both = -of_second @ first.slope
    of_first = r.sum(2)[..., None, None] * first.precision - first.slope.mT @ both
    top = torch.cat((of_first.sum(0), both.sum(0).mT), dim=2)
    return torch.cat((top, torch.cat((both.sum(0), of_second.sum(0)), dim=2)), dim=1)


def _sandwiched(covariances: Tensor, curve: Tensor, counts: Tensor) -> Tensor:
    second = covariances @ curve @ covariances + counts[:, None, None] * covariances
    return 0.5 * (second + second.mT)


def _split(by_size: Tensor, counts: Tensor, width: int) -> Iterator[Tensor]:
    """Patterns of A, those of most rows first, in pieces of like numbers of rows."""
    sizes = counts[by_size].tolist()
    start = 0
    while start < len(sizes):
        most = max(1, _CHUNK_ELEMENTS // (sizes[start] * width))
        stop = start
        while stop < len(sizes) and stop - start < most and 3 * sizes[stop] >= 2 * sizes[start]:
            stop += 1
        yield by_size[start:stop]
        start = stop


def _padded(
    masks: Tensor, halves: Tensor, index: Tensor, pattern: Tensor, part: Tensor, rows_of: Tensor, patterns_of: Tensor
) -> Halves:
    h = halves.shape[1]
    first_row, first_pattern = rows_of.cumsum(0) - rows_of, patterns_of.cumsum(0) - patterns_of
    steps = torch.arange(int(rows_of[part].max()), device=masks.device)
    real = steps < rows_of[part, None]
    place = first_row[part, None] + torch.minimum(steps, rows_of[part, None] - 1)
    p = int(patterns_of[part].max())
    ways = torch.arange(p, device=masks.device)
    chosen = first_pattern[part, None] + torch.minimum(ways, patterns_of[part, None] - 1)
    within = pattern[place] - first_pattern[part, None]
    flat = within + p * torch.arange(len(part), device=masks.device)[:, None]
    return Halves(
        halves.double(),
        masks[chosen][:, :, h:].double(),
        index[place],
        real.double(),
        flat.flatten(),
        masks[pattern[place]].sum(2).double(),
    )
