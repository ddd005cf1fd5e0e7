"""A Gaussian vector seen through x = b + Λz + ε, z ~ Normal(0, I), ε ~ Normal(0, Ψ) with Ψ diagonal: exact, with holes.

Of a row only the observed columns o count. With M = I + Λ_oᵀΨ_o⁻¹Λ_o and r = x_o − b_o (Bishop 2006, section 12.2)

    Cov[z | x_o] = M⁻¹,   E[z | x_o] = M⁻¹Λ_oᵀΨ_o⁻¹r,
    −2 log p(x_o) = ‖Ψ_o^{−1/2}(r − Λ_o E z)‖² + ‖E z‖² + log |M| + Σ_o log 2πψ:

sums of squares alone, so nothing cancels where the noise is small. M is worked out once for each pattern of holes.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

_CHUNK_ELEMENTS = 2**20
_LOG_2PI = math.log(2 * math.pi)


@dataclass(frozen=True, eq=False)
class PatternedRows:
    """Rows as every pass needs them.

    values : (n, d), with 0 for what is missing.
    patterns : (u, d), 1 for what is observed; one for all rows where none has a hole.
    pattern : (n,), which of them a row has.
    """

    values: Tensor
    patterns: Tensor
    pattern: Tensor

    @property
    def complete(self) -> bool:
        """Whether no row has a hole."""
        return len(self.patterns) == 1 and bool(self.patterns.all())

    def of_rows(self, by_pattern: Tensor) -> Tensor:
        """What is known of each pattern, (u, …), for each row, (n, …)."""
        if len(self.patterns) == 1:
            return by_pattern.expand(len(self.values), *by_pattern.shape[1:])
        return by_pattern[self.pattern]


def by_pattern(target: Tensor) -> PatternedRows:
    """(n, d) with NaN for holes."""
    missing = target.isnan()
    if not bool(missing.any()):
        every = torch.ones_like(target[:1]) if len(target) else target.new_ones(1, target.shape[1])
        return PatternedRows(target, every, torch.zeros(len(target), dtype=torch.int64, device=target.device))
    patterns, pattern = torch.unique(~missing, dim=0, return_inverse=True)
    return PatternedRows(target.masked_fill(missing, 0.0), patterns.to(target.dtype), pattern)


def posterior(rows: PatternedRows, bias: Tensor, loadings: Tensor, noise: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """E[z | x_o], (n, q), and Cov[z | x_o], (n, q, q), in the type of the rows, and log p(x_o), (n,), in float64.

    `bias` is (d,), `loadings` (d, q), `noise` the diagonal of Ψ, (d,), all in float64.
    """
    dtype = rows.values.dtype
    covariance, log_scale = _of_patterns(rows.patterns.double(), loadings, noise)
    away = rows.values - bias.to(dtype)
    if not rows.complete:
        away = away * rows.of_rows(rows.patterns)
    pull = away @ (loadings / noise[:, None]).to(dtype)
    own = rows.of_rows(covariance.to(dtype))
    mean = pull @ own[0] if len(rows.patterns) == 1 and len(own) else (own @ pull[:, :, None])[:, :, 0]
    residual = torch.addmm(away, mean, loadings.to(dtype).T, alpha=-1)
    if not rows.complete:
        residual = residual * rows.of_rows(rows.patterns)
    squares = (residual.square() @ noise.reciprocal().to(dtype)).double() + mean.double().square().sum(1)
    return mean, own, -0.5 * (squares + rows.of_rows(log_scale))


def moments(
    rows: PatternedRows, weights: Tensor | None, mean: Tensor, covariance: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Σ_j over the rows that have column i of w E[ζζᵀ], w x E[ζ], w x² and w, for ζ = (1, z) and every i.

    (d, 1 + q, 1 + q), (d, 1 + q), (d,), (d,), in float64; without holes the first is one matrix for all columns.
    """
    values = rows.values
    weights = values.new_ones(len(values)) if weights is None else weights.to(values.dtype)
    share = weights[:, None] if rows.complete else rows.of_rows(rows.patterns) * weights[:, None]
    vector = torch.cat((torch.ones_like(mean[:, :1]), mean), dim=1)
    weighted = values * share
    cross, squares = (weighted.T @ vector).double(), (weighted * values).sum(0).double()
    gram = _grams(share, vector, covariance)
    return gram.expand(values.shape[1], -1, -1), cross, squares, share.sum(0).double().expand(values.shape[1])


def _of_patterns(observed: Tensor, loadings: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
    """M⁻¹, (u, q, q), and log |M| + Σ_o log 2πψ, (u,), of patterns (u, d)."""
    d, q = loadings.shape
    scaled = loadings / noise.sqrt()[:, None]
    products = (scaled[:, :, None] * scaled[:, None, :]).view(d, q * q)
    identity = torch.eye(q, dtype=loadings.dtype, device=loadings.device)
    factor = torch.linalg.cholesky(identity + (observed @ products).view(-1, q, q))
    log_determinant = 2 * factor.diagonal(dim1=1, dim2=2).log().sum(1)
    return torch.cholesky_inverse(factor), log_determinant + observed @ (noise.log() + _LOG_2PI)


def _grams(share: Tensor, vector: Tensor, covariance: Tensor) -> Tensor:
    """Σ_j share_ji (ζζᵀ + Cov ζ), (…, 1 + q, 1 + q) for every column of `share`, in chunks of rows."""
    p = vector.shape[1]
    total = vector.new_zeros(share.shape[1], p * p, dtype=torch.float64)
    size = max(1, _CHUNK_ELEMENTS // p**2)
    for part, own, spread in zip(share.split(size), vector.split(size), covariance.split(size), strict=True):
        second = own[:, :, None] * own[:, None, :]
        second[:, 1:, 1:] += spread
        total += (part.T @ second.flatten(1)).double()
    return total.view(-1, p, p)
