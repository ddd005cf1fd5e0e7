"""Gaussian mixtures with holes, labels and priors."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial

import torch

from emnet.batch import Batch
from emnet.factors.covariances import Diagonal, Full, Spherical, Tied
from emnet.factors.factor_analysis import FactorAnalytic
from emnet.factors.gaussian import Gaussian
from emnet.factors.gaussian_priors import NormalInverseWishart
from emnet.factors.parsimonious import EqualVolumeEqualOrientation
from emnet.factors.tables import MixingWeights
from emnet.models.mixture import Mixture
from tests.cases.case import Case
from tests.oracles import (
    enumerate_mixture,
    log_normal,
)


def random_covariances(k: int, d: int, generator: torch.Generator) -> torch.Tensor:
    root = torch.randn(k, d, d + 2, generator=generator, dtype=torch.float64)
    return root @ root.mT / d


def gaussians(seed: int, dtype: torch.dtype, structure=Full, *, k=3, d=3, prior=None, fixed=()) -> Mixture:
    generator = torch.Generator().manual_seed(seed)
    means = torch.randn(k, d, generator=generator, dtype=torch.float64)
    weights = torch.rand(k, generator=generator, dtype=torch.float64) + 0.5
    covariance = structure(random_covariances(k, d, generator))
    return Mixture(MixingWeights(weights), Gaussian(means, covariance, prior=prior, fixed=fixed))


def points(seed: int, dtype: torch.dtype, *, n=40, d=3, missing=0.0) -> Batch:
    """Three clouds, with holes."""
    generator = torch.Generator().manual_seed(1000 + seed)
    centers = 3 * torch.randn(3, d, generator=generator, dtype=torch.float64)
    target = centers[torch.arange(n) % 3] + torch.randn(n, d, generator=generator, dtype=torch.float64)
    target[torch.rand(n, d, generator=generator) < missing] = torch.nan
    weights = torch.rand(n, generator=generator, dtype=torch.float64) + 0.5
    return Batch(target.to(dtype), weights=weights.to(dtype))


def gaussians_oracle(model: Mixture, batch: Batch) -> tuple:
    factor = model.emissions["emission"]
    means, covariances = factor.means.numpy(), factor.covariance.covariances().numpy()
    seen = batch.target if batch.observed is None else torch.where(batch.observed[:, None], batch.target, torch.nan)
    rows = seen.double().numpy()

    def density(state: int) -> Callable[[int], float]:
        return lambda j: log_normal(rows[j], means[state], covariances[state])

    weights = model.weights.log_probabilities.exp().expand(len(batch), -1).numpy()
    labels = None if batch.labels is None else batch.labels.numpy()
    return enumerate_mixture(weights, [density(state) for state in range(len(means))], labels)


def weak_prior(d: int = 3, shrinkage: float = 0.1) -> NormalInverseWishart:
    return NormalInverseWishart(0.3 * torch.eye(d).double(), 1.0, torch.zeros(d).double(), shrinkage)


def some_labels(batch: Batch, seed: int, k: int) -> Batch:
    """The same rows, of which a third have a known state."""
    generator = torch.Generator().manual_seed(2000 + seed)
    labels = torch.randint(k, (len(batch),), generator=generator)
    return replace(batch, labels=torch.where(torch.rand(len(batch), generator=generator) < 1 / 3, labels, -1))


def _gaussian_case(name: str, structure=Full, *, missing=0.0, d=3, prior=None, fixed=(), labels=False, closed=True):
    def data(seed: int, dtype: torch.dtype) -> Batch:
        batch = points(seed, dtype, d=d, missing=missing)
        return some_labels(batch, seed, 3) if labels else batch

    return Case(
        f"gaussians-{name}",
        lambda seed, dtype: gaussians(seed, dtype, structure, d=d, prior=prior, fixed=fixed),
        data,
        gaussians_oracle,
        lambda posterior: posterior.responsibilities,
        closed=closed,
    )


CASES = [
    _gaussian_case("full", prior=weak_prior()),
    _gaussian_case("full-holes", prior=weak_prior(), missing=0.3),
    _gaussian_case("tied", Tied),
    _gaussian_case("tied-holes", Tied, missing=0.3, prior=weak_prior()),
    _gaussian_case("diagonal-holes", Diagonal, missing=0.3, prior=weak_prior(shrinkage=0.0)),
    _gaussian_case("spherical", Spherical, d=1, prior=weak_prior(1)),
    _gaussian_case("spherical-holes-labels", Spherical, missing=0.3, labels=True, prior=weak_prior()),
    _gaussian_case("parsimonious", EqualVolumeEqualOrientation, prior=weak_prior(), closed=False),
    _gaussian_case("factor", partial(FactorAnalytic, n_factors=1), prior=weak_prior(), closed=False),
    _gaussian_case("fixed-means", missing=0.1, fixed=("means",), prior=weak_prior()),
]
