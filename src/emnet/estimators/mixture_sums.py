"""What is counted and summed of a mixture without an E-step."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import torch

from emnet.batch import Batch
from emnet.models.mixture import Mixture
from emnet.posteriors import Discrete, EvidenceKind
from emnet.statistics import ModelStatistics


def n_free(model: Mixture) -> int:
    """Free parameters, as information criteria count them."""
    of_weights = 0 if model.weights.fixed else model.weights.n_states - 1
    return of_weights + sum(factor.n_parameters for factor in model.emissions.values())


def implied(model: Mixture) -> ModelStatistics:
    """Statistics of a row on average, as the parameters have it: their M-step gives the parameters back."""
    weights: torch.Tensor = model.weights.log_probabilities.exp()
    factors: Mapping[str, Any] = model.factors
    return ModelStatistics({name: factor.implied(weights) for name, factor in factors.items()})


def statistics_of(model: Mixture, data: Iterable[Batch], responsibilities: np.ndarray) -> ModelStatistics:
    """Expected statistics of all rows under responsibilities that are given, (n, k)."""
    total, done = None, 0
    for batch in data:
        rows = slice(done, done + len(batch))
        part = torch.as_tensor(responsibilities[rows], dtype=batch.target.dtype, device=batch.target.device)
        done += len(batch)
        one = model.statistics(batch, Discrete(part.new_zeros(len(part)), EvidenceKind.EXACT, part))
        total = one if total is None else total + one
    assert total is not None
    return total
