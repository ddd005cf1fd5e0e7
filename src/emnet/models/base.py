"""The contract of a latent-variable model."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Generic, TypeVar

import torch
from torch import Tensor, nn

from emnet.batch import Batch
from emnet.exceptions import CollapsedComponentError, InvalidInputError
from emnet.factors.base import Factor
from emnet.posteriors import Evidence, Posterior
from emnet.statistics import ModelStatistics

P = TypeVar("P", bound=Posterior)


class LatentModel(nn.Module, ABC, Generic[P]):
    """A latent structure with factors. E: `posterior`, then `statistics`. M: `m_step`, written once, here.

    Factors that are `held` are no part of θ: nothing changes them, and their priors are constants.
    A model that asks autograd for gradients has parameters that require them: EM may run others in PyTorch's inference
    mode, where no graph is kept.
    """

    held: frozenset[str] = frozenset()

    @property
    @abstractmethod
    def factors(self) -> Mapping[str, Factor[Any]]:
        """The factors by name, in the order in which the M-step maximizes them."""

    @abstractmethod
    def posterior(self, batch: Batch) -> P:
        """The exact posterior and evidence of every row. Pure."""

    @abstractmethod
    def statistics(self, batch: Batch, posterior: P) -> ModelStatistics:
        """Expected sufficient statistics of every factor. Pure."""

    def expectations(self, batch: Batch) -> tuple[Evidence, ModelStatistics]:
        """The evidence of every row, and the expected statistics. Pure.

        For models that can have both without the posterior of all rows in memory.
        """
        posterior = self.posterior(batch)
        return posterior, self.statistics(batch, posterior)

    @property
    def learned(self) -> Mapping[str, Factor[Any]]:
        """The factors that are not held."""
        own = self.factors
        return {name: factor for name, factor in own.items() if name not in self.held} if self.held else own

    def prepare(self, batch: Batch) -> None:
        """Have the batch keep what every pass needs of it and no parameter changes, if there is such: see `derived`."""

    def m_step(self, statistics: ModelStatistics) -> None:
        """Raise Q(θ; statistics) + log p(θ), factor by factor; an error that a component collapsed names its factor."""
        for name, factor in self.learned.items():
            try:
                factor.maximize(statistics[name])
            except CollapsedComponentError as error:
                error.factor = name
                raise

    def gradient(self, statistics: ModelStatistics) -> Tensor:
        """∇Q at θ, with the prior's part: by Fisher's identity the gradient of the penalized log evidence."""
        return torch.cat([factor.gradient(statistics[name]) for name, factor in self.learned.items()])

    def log_prior(self) -> float:
        """log p(θ) up to a constant."""
        return sum(factor.log_prior() for factor in self.learned.values())

    def coordinates(self) -> Tensor:
        """θ as one flat float64 vector without constraints; a copy."""
        return torch.cat([factor.coordinates() for factor in self.learned.values()])

    def set_coordinates(self, vector: Tensor) -> None:
        """Write θ from such a vector."""
        factors = self.learned.values()
        sizes = [len(factor.coordinates()) for factor in factors]
        for factor, part in zip(factors, vector.split(sizes), strict=True):
            factor.set_coordinates(part)


@contextmanager
def holding(model: LatentModel[Any], names: Collection[str]) -> Iterator[None]:
    """Factors of those names stay as they are within the block."""
    before, model.held = model.held, model.held | frozenset(names)
    try:
        yield
    finally:
        model.held = before


class VariationalModel(LatentModel[P]):
    """A latent model whose posterior has an `objective`, a bound on the evidence that autograd can go through.

    Factors with parameters that require gradients are learned along the gradient of the objective; the others, from
    their statistics.
    """

    @property
    def closed(self) -> tuple[str, ...]:
        """The factors whose M-step takes statistics, and has something to learn."""
        return tuple(
            name
            for name, factor in self.factors.items()
            if not any(p.requires_grad for p in factor.parameters()) and len(factor.coordinates())
        )

    @abstractmethod
    def statistics(self, batch: Batch, posterior: P, factors: Collection[str] | None = None) -> ModelStatistics:
        """Expected sufficient statistics of the named factors, None for all. Pure."""


def require_variational(model: LatentModel) -> VariationalModel:
    """The model, if its posterior has an objective with a gradient."""
    if not isinstance(model, VariationalModel):
        raise InvalidInputError(f"This algorithm is for models with an encoder; got {type(model).__name__}.")
    return model
