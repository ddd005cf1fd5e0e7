"""The contract of a latent-variable model."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, Generic, TypeVar

import torch
from torch import Tensor, nn

from emnet.batch import Batch
from emnet.factors.base import Factor
from emnet.posteriors import Posterior
from emnet.statistics import ModelStatistics

P = TypeVar("P", bound=Posterior)


class LatentModel(nn.Module, ABC, Generic[P]):
    """A latent structure with factors. E: `posterior`, then `statistics`. M: `m_step`, written once, here."""

    @property
    @abstractmethod
    def factors(self) -> Mapping[str, Factor[Any]]:
        """The factors by name, in the order in which the M-step maximises them."""

    @abstractmethod
    def posterior(self, batch: Batch) -> P:
        """The exact posterior and evidence of every row. Pure."""

    @abstractmethod
    def statistics(self, batch: Batch, posterior: P) -> ModelStatistics:
        """Expected sufficient statistics of every factor. Pure."""

    def prepare(self, batch: Batch) -> None:
        """Have the batch keep what every pass needs of it and no parameter changes, if there is such: see `derived`."""

    def m_step(self, statistics: ModelStatistics) -> None:
        """Raise Q(θ; statistics) + log p(θ), factor by factor."""
        for name, factor in self.factors.items():
            factor.maximize(statistics[name])

    def gradient(self, statistics: ModelStatistics) -> Tensor:
        """∇Q at θ, with the prior's part: by Fisher's identity the gradient of the penalised log evidence."""
        return torch.cat([factor.gradient(statistics[name]) for name, factor in self.factors.items()])

    def log_prior(self) -> float:
        """log p(θ) up to a constant."""
        return sum(factor.log_prior() for factor in self.factors.values())

    def coordinates(self) -> Tensor:
        """θ as one flat float64 vector without constraints; a copy."""
        return torch.cat([factor.coordinates() for factor in self.factors.values()])

    def set_coordinates(self, vector: Tensor) -> None:
        """Write θ from such a vector."""
        sizes = [len(factor.coordinates()) for factor in self.factors.values()]
        for factor, part in zip(self.factors.values(), vector.split(sizes), strict=True):
            factor.set_coordinates(part)
