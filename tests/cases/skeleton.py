"""The skeleton of docs/method/extending.md: its factor in its model."""

from __future__ import annotations

import math

import torch

from docs.method.skeleton import Exponential, OneOfK
from emnet.batch import Batch
from emnet.factors.tables import MixingWeights
from tests.cases.case import Case
from tests.oracles import enumerate_mixture


def waiting(seed: int, dtype: torch.dtype) -> OneOfK:
    generator = torch.Generator().manual_seed(seed)
    rates, weights = torch.rand(2, 3, generator=generator, dtype=torch.float64) + 0.2
    return OneOfK(MixingWeights(weights), Exponential(rates, shape=1.5, rate=0.3))


def times(seed: int, dtype: torch.dtype, n: int = 40) -> Batch:
    generator = torch.Generator().manual_seed(100 + seed)
    target = torch.empty(n, dtype=torch.float64).exponential_(generator=generator) * (1 + 9 * (torch.arange(n) % 2))
    target[torch.rand(n, generator=generator) < 0.2] = torch.nan
    weights = torch.rand(n, generator=generator, dtype=torch.float64) + 0.5
    return Batch(target.to(dtype), weights=weights.to(dtype))


def waiting_oracle(model: OneOfK, batch: Batch) -> tuple:
    rows, rates = batch.target.double().numpy(), model.emission.log_rates.exp().tolist()
    seen = [True] * len(rows) if batch.observed is None else batch.observed.tolist()

    def density(rate: float):
        return lambda j: math.log(rate) - rate * rows[j] if seen[j] and rows[j] == rows[j] else 0.0

    weights = model.weights.log_probabilities.exp().expand(len(batch), -1).numpy()
    return enumerate_mixture(weights, [density(rate) for rate in rates])


CASES = [Case("skeleton", waiting, times, waiting_oracle, lambda posterior: posterior.responsibilities, closed=True)]
