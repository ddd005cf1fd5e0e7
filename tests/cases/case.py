"""A model with data and its truth: a row of the table."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch

from emnet.batch import Batch
from emnet.models.base import LatentModel


@dataclass(frozen=True)
class Case:
    """A model with data. `oracle` gives each row's log evidence and a posterior summary, by brute force."""

    name: str
    make: Callable[[int, torch.dtype], LatentModel]  # (seed, dtype)
    data: Callable[[int, torch.dtype], Batch]
    oracle: Callable[[LatentModel, Batch], tuple]
    summary: Callable  # of a posterior, beside the oracle's
    closed: bool = False  # whether every factor's M-step ends where the gradient of Q vanishes
