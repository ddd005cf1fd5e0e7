"""Factor analysis and probabilistic PCA, by conditioning the joint Gaussian of vector and row."""

from __future__ import annotations

from functools import partial

import numpy as np
import torch

from emnet.batch import Batch
from emnet.factors.least_squares import ConjugatePrior
from emnet.factors.linear_decoder import LinearDecoder
from emnet.models.linear_gaussian import LinearGaussian
from emnet.posteriors import GaussianVector
from tests.cases.case import Case
from tests.cases.gaussians import points
from tests.oracles import linear_gaussian

WEAK = ConjugatePrior(precision=0.3, residual=0.4)


def linear(seed: int, dtype: torch.dtype, *, d=5, q=2, shared=False, prior=WEAK, fixed=()) -> LinearGaussian:
    generator = torch.Generator().manual_seed(seed)
    weights = torch.randn(d, 1 + q, generator=generator, dtype=torch.float64)
    noise = torch.rand(1 if shared else d, generator=generator, dtype=torch.float64) + 0.3
    return LinearGaussian(LinearDecoder(weights, noise, prior=prior, fixed=fixed))


def linear_oracle(model: LinearGaussian, batch: Batch) -> tuple[np.ndarray, np.ndarray]:
    seen = batch.target if batch.observed is None else torch.where(batch.observed[:, None], batch.target, torch.nan)
    decoder = model.decoder
    parameters = [part.numpy() for part in (decoder.bias, decoder.loadings, decoder.noise)]
    found = [linear_gaussian(row, *parameters) for row in seen.double().numpy()]
    return np.array([each[0] for each in found]), np.stack([np.r_[mean, own.ravel()] for _, mean, own in found])


def moments_of(posterior: GaussianVector) -> torch.Tensor:
    return torch.cat((posterior.mean, posterior.covariance.flatten(1)), dim=1)


def _linear_case(name: str, *, d=5, missing=0.0, **options) -> Case:
    return Case(
        f"linear-{name}",
        partial(linear, d=d, **options),
        partial(points, d=d, missing=missing),
        linear_oracle,
        moments_of,
        closed=True,
    )


CASES = [
    _linear_case("factors", d=4, q=1, prior=None),
    _linear_case("factors-holes", missing=0.4),
    _linear_case("ppca-holes", missing=0.4, shared=True),
    _linear_case("ppca-one", d=3, q=1, shared=True, prior=None),
    _linear_case("known-noise", missing=0.2, q=3, prior=ConjugatePrior(precision=0.2), fixed=("noise",)),
]
