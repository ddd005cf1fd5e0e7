"""What a Gaussian mixture starts from besides responsibilities: the spread of its columns, and sums of all digits."""

from __future__ import annotations

import numpy as np
import torch

from emnet.batch import Batch, total_weight
from emnet.estimators.gaussian_parameters import gaussian_of
from emnet.estimators.mixture_sums import statistics_of
from emnet.exceptions import CollapsedComponentError
from emnet.models.mixture import Mixture
from emnet.statistics import ModelStatistics

_ROUNDING = 1e-14  # of a sum of squares about 0, beside the largest of them


@torch.no_grad()
def exact_statistics(model: Mixture, data: list[Batch], responsibilities: np.ndarray) -> tuple[ModelStatistics, bool]:
    """Statistics of responsibilities in float64; of states that are narrow beside the data, about their means.

    Which those are the model does not know before an M-step, which may be of too few digits to be a model: the floor.
    With the statistics comes whether that M-step, which they end with, is theirs.
    """
    data = [batch.to_float64() for batch in data]
    statistics = statistics_of(model, data, responsibilities)
    shown = [model.shown("emission", batch) for batch in data]
    emission, sound = gaussian_of(model), True
    try:
        model.m_step(statistics)
    except CollapsedComponentError:
        sound, emission.floor = False, _ROUNDING * max(float(rows.reach.max()) for rows in shown) ** 2
        model.m_step(statistics)
        emission.floor = 0.0
    if any(emission.narrow(rows) for rows in shown):
        return statistics_of(model, data, responsibilities), False
    return statistics, sound


def spread_and_seen(data: list[Batch]) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean square of what is there of each column, of centered data, and the share that is there, (d,) each."""
    total, mass = torch.zeros(()), torch.zeros(())
    for batch in data:
        seen = (~batch.target.isnan()).double()
        share = seen if batch.weights is None else seen * batch.weights[:, None]
        total = total + (share * batch.target.nan_to_num(0.0).double().square()).sum(0)
        mass = mass + share.sum(0)
    return total / mass, mass / total_weight(data)


def or_one(variances: torch.Tensor) -> torch.Tensor:
    """Of a constant, which any width would do for, 1."""
    return torch.where(variances > 0, variances, 1.0)
