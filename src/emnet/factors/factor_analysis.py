"""Covariances of few factors: mixtures of factor analyzers."""

from __future__ import annotations

import torch
from torch import Tensor

from emnet.exceptions import InvalidInputError
from emnet.factors.covariances import Covariance, free, require_definite, to_log_variances

_INNER_ITERATIONS = 10
_LEAST_STRENGTH = 1e-3  # of a principal variance: loadings of 0 are a saddle, which EM does not leave
_LEAST_NOISE = 1e-3  # of a column's variance, at the start
_ITERATIONS, _SMALLEST_DAMPING, _LARGEST_DAMPING = 200, 1e-15, 1e8  # of the search for factors that are exact
_LEAST_CURVATURE, _LONGEST_STEP = 1e-12, 2.0  # in a logarithm of noise
_LEAST_SHARE = 1e-7  # of a column's variance, of noise: less is nearly none, and a step of EM is of few digits
_EXACT, _ROUNDING = 1e-6, 1e-13  # what the other axes may have beside the noise; and when nothing more is to be gained


class FactorAnalytic(Covariance):
    """Σ_k = Λ_k Λ_kᵀ + Ψ_k, Λ (d, q), Ψ diagonal (Ghahramani & Hinton 1996; McLachlan & Peel 2000).

    Each M-step does some EM iterations of factor analysis on S_k = W_k / n_k (Rubin & Thayer 1982).

    Parameters
    ----------
    covariances : (k, d, d), the start: as they are where they are of that form, else from their principal axes.
    n_factors : q < d.
    """

    diagonal = False

    def __init__(self, covariances: Tensor, n_factors: int):
        k, d = covariances.shape[:2]
        super().__init__(k, d)
        if not 1 <= n_factors < max(d, 2):
            raise InvalidInputError(f"n_factors must be at least 1 and less than the {d} columns; got {n_factors!r}.")
        self.n_factors = n_factors
        loadings, noise = near(covariances.detach().double(), n_factors)
        self.loadings, self.log_noise = free(loadings), free(to_log_variances(noise))

    @property
    def n_parameters(self) -> int:
        """Loadings up to a rotation, and noise; no more than a full covariance has."""
        d, q = self.n_features, self.n_factors
        return self.n_states * min(d * (q + 1) - q * (q - 1) // 2, d * (d + 1) // 2)

    def factor(self, *parameters: Tensor) -> Tensor:
        loadings, log_noise = parameters
        return torch.linalg.cholesky(loadings @ loadings.mT + log_noise.exp().diag_embed())

    def maximize(self, scatter: Tensor, counts: Tensor) -> None:
        sample = scatter / counts[:, None, None]
        require_definite((sample.diagonal(dim1=1, dim2=2) > 0).all(1) & sample.isfinite().flatten(1).all(1), sample)
        loadings, noise = self.loadings.detach(), self.log_noise.detach().exp()
        for _ in range(_INNER_ITERATIONS):
            loadings, noise = _em_step(sample, loadings, noise)
        log_noise = to_log_variances(noise)
        self.loadings.copy_(loadings)
        self.log_noise.copy_(log_noise)


def _em_step(sample: Tensor, loadings: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
    """With M = I + ΛᵀΨ⁻¹Λ and β = M⁻¹ΛᵀΨ⁻¹: Λ ← SβᵀΘ⁻¹, Θ = M⁻¹ + βSβᵀ; Ψ ← diag(S − ΛβS)."""
    identity = torch.eye(loadings.shape[2], dtype=loadings.dtype, device=loadings.device)
    scaled = loadings / noise[:, :, None]
    inverse = torch.linalg.inv(identity + loadings.mT @ scaled)
    slope = inverse @ scaled.mT
    cross = sample @ slope.mT
    second = inverse + slope @ cross
    loadings = torch.linalg.solve(second, cross, left=False)
    return loadings, sample.diagonal(dim1=1, dim2=2) - (loadings * cross).sum(2)


def principal_axes(covariances: Tensor, q: int, noise: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Loadings from the first q principal axes, (k, d, q), less `noise`, (k,): by default the mean of what they leave.

    That is the maximum of the likelihood of q factors and one noise variance (Tipping & Bishop 1999, equation 7).
    """
    values, axes = torch.linalg.eigh(covariances)
    if noise is None:
        noise = values[:, :-q].mean(1) if q < values.shape[1] else torch.zeros_like(values[:, 0])
    kept = values[:, -q:].clamp_min(0.0)
    strength = torch.maximum(kept - noise[:, None], _LEAST_STRENGTH * kept).sqrt()
    return axes[:, :, -q:] * strength[:, None], noise


def near(covariances: Tensor, q: int) -> tuple[Tensor, Tensor]:
    """Loadings, (k, d, q), and noise, (k, d), of covariances that have them; of others those of `principal`."""
    loadings, noise = principal(covariances, q)
    for state, covariance in enumerate(covariances):
        if (found := _exact(covariance, q)) is not None:
            loadings[state], noise[state] = found
    return loadings, noise


def _exact(covariance: Tensor, q: int) -> tuple[Tensor, Tensor] | None:
    """Λ and Ψ with ΛΛᵀ + Ψ = Σ, (d, d); None where none are found, or nothing but noise.

    That is where Ψ^−½ΣΨ^−½ has all eigenvalues θ but q at 1: Newton's steps for Σ (θ − log θ − 1) of those, in log Ψ,
    with the Hessian as it is at the solution, damped, from Jöreskog's start (Lawley & Maxwell 1971, chapter 4).
    """
    lower, failed = torch.linalg.cholesky_ex(covariance)
    if failed or q == len(covariance):
        return None
    least = (_LEAST_SHARE * covariance.diagonal()).log()
    bound = torch.cholesky_inverse(lower).diagonal().reciprocal()
    log_noise, damping = torch.maximum(((1 - q / (2 * len(covariance))) * bound).log(), least), 1e-2
    value, theta, axes = _whitened(covariance, log_noise, q)
    for _ in range(_ITERATIONS):
        away, rest = 1 - theta[:-q], axes[:, :-q]
        if float(away.abs().max()) < _ROUNDING or damping > _LARGEST_DAMPING:
            break
        hessian = (rest @ rest.T).square()
        hessian.diagonal().mul_(1 + damping).add_(_LEAST_CURVATURE)
        step = torch.linalg.solve(hessian, rest.square() @ away).clamp_(-_LONGEST_STEP, _LONGEST_STEP)
        there = torch.maximum(log_noise - step, least)
        if (at := _whitened(covariance, there, q))[0] <= value:
            log_noise, (value, theta, axes) = there, at
            damping = max(damping / 10, _SMALLEST_DAMPING)
        else:
            damping *= 10
    strengths = (theta[-q:] - 1).clamp_min(0)
    if not float((theta[:-q] - 1).abs().max()) < _EXACT < float(strengths.max()):
        return None
    return (0.5 * log_noise).exp()[:, None] * axes[:, -q:] * strengths.sqrt(), log_noise.exp()


def _whitened(covariance: Tensor, log_noise: Tensor, q: int) -> tuple[float, Tensor, Tensor]:
    """Σ (θ − log θ − 1) of all but the q largest eigenvalues θ of Ψ^−½ΣΨ^−½; all of them; and their axes."""
    scale = (-0.5 * log_noise).exp()
    theta, axes = torch.linalg.eigh(covariance * scale[:, None] * scale)
    rest = theta[:-q]
    return float((rest - rest.log() - 1).sum()), theta, axes


def principal(covariances: Tensor, q: int) -> tuple[Tensor, Tensor]:
    """Loadings from the first q principal axes, and the noise that they leave to each column."""
    loadings, _ = principal_axes(covariances, q)
    own = covariances.diagonal(dim1=1, dim2=2)
    return loadings, torch.maximum(own - loadings.square().sum(2), _LEAST_NOISE * own)
