"""What models share whose states emit rows: the emissions, their columns, and what is observed of the rows."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import reduce
from operator import add
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from emnet.batch import Batch, Data
from emnet.exceptions import InvalidInputError
from emnet.factors.base import Factor
from emnet.kernels.sums import may_hold_nan
from emnet.models.base import LatentModel, P
from emnet.statistics import ModelStatistics, Statistics

Columns = tuple[int, ...] | None
"""The columns of the target that an emission explains; None is the target as it is."""


class Weights(Protocol):
    """A factor that gives the states: constant weights, or a gate that depends on `given`."""

    def log_weights(self, given: Tensor | None = None) -> Tensor:
        """log p(state | given): (k,) or (n, k)."""
        ...


class EmittingModel(LatentModel[P]):
    """Every row has one of k states, and p(row | k, x) = Π_e p(row[columns of e] | k, x).

    A float target that is NaN, an integer target of −1, and what the batch does not call observed say nothing: the
    emissions see NaN (or −1) and leave those entries out.

    Parameters
    ----------
    emissions : a factor whose log_prob is (n, k), or several by name. Their statistics are taken with
        responsibilities times the rows' weights, (n, k).
    columns : for emissions by name, which columns of the target each explains; one not named explains all.
    """

    emissions: Any

    def __init__(
        self, emissions: Factor[Any] | Mapping[str, Factor[Any]], columns: Mapping[str, Sequence[int]] | None = None
    ):
        super().__init__()
        emissions = {"emission": emissions} if isinstance(emissions, Factor) else dict(emissions)
        self.columns = _checked_columns(emissions, columns or {})
        self.emissions = nn.ModuleDict(emissions)

    def prepare(self, batch: Batch) -> None:
        for name in self.emissions:
            self.shown(name, batch)
        if batch.labels is None:
            batch.derived(unseen)

    def log_likelihood(self, batch: Batch) -> Tensor:
        """log p(row | k, x), −∞ for the states that the batch's labels exclude: (n, k)."""
        terms = [factor.log_prob(self.shown(name, batch), batch.given) for name, factor in self.emissions.items()]
        total = sum(terms[1:], start=terms[0])
        return total if batch.labels is None else _restricted(total, batch.labels)

    def emission_statistics(
        self, batch: Batch, responsibilities: Tensor, weights: Tensor | None
    ) -> dict[str, Statistics]:
        """Of each emission, from responsibilities (n, k) and the rows' weights, (n,)."""
        if weights is not None:
            responsibilities = responsibilities * weights[:, None].to(responsibilities.dtype)
        return {
            name: factor.statistics(self.shown(name, batch), responsibilities, batch.given)
            for name, factor in self.emissions.items()
        }

    def implied(self, batch: Batch) -> ModelStatistics:
        """Statistics of the batch's units as the model expects them before it has seen what it explains of them.

        Where M-steps are closed and there is no prior, they give the parameters back.
        """
        blank = batch.unanswered()
        posterior: Any = self.posterior(blank)  # type: ignore[assignment]
        shares, weights = posterior.responsibilities.double(), batch.row_weights
        shares = shares if weights is None else shares * weights[:, None]
        own = {name: factor.implied_by(shares, batch.given) for name, factor in self.emissions.items()}  # type: ignore[operator]
        return ModelStatistics({**self.statistics(blank, posterior).by_factor, **own})

    def shown(self, name: str, batch: Batch) -> Any:
        """What the emission of that name is given of the batch."""
        return batch.derived(_prepared, self.emissions[name].prepare, self.columns[name])


def implied(model: LatentModel[Any], data: Data) -> ModelStatistics:
    """`EmittingModel.implied` over all batches."""
    emitting: Any = model
    return reduce(add, [emitting.implied(batch) for batch in data])


def _checked_columns(emissions: Mapping[str, Any], columns: Mapping[str, Sequence[int]]) -> dict[str, Columns]:
    if not emissions:
        raise InvalidInputError("A model needs at least one emission.")
    for name in columns:
        if name not in emissions:
            raise InvalidInputError(f"columns names {name!r}, which is no emission; those are {', '.join(emissions)}.")
    return {name: tuple(columns[name]) if name in columns else None for name in emissions}


def observed_target(batch: Batch) -> Tensor:
    """The target with NaN, or −1 where it is an integer, for what was not observed."""
    if batch.observed is None:
        return batch.target
    seen = batch.observed
    if seen.dim() < batch.target.dim():
        seen = seen[:, None]
    return torch.where(seen, batch.target, float("nan") if batch.target.is_floating_point() else -1)


def _prepared(batch: Batch, prepare: Callable[[Tensor], Any], columns: Columns) -> Any:
    target = batch.derived(observed_target)
    return prepare(target if columns is None else target[:, list(columns)])


def unseen(batch: Batch) -> Tensor | None:
    """Which rows have nothing observed, (n,); None if there are none."""
    target = batch.derived(observed_target)
    if target.is_floating_point() and not may_hold_nan(target):
        return None
    missing = target.isnan() if target.is_floating_point() else target < 0
    rows = missing.view(len(batch), -1).all(1)
    return rows if bool(rows.any()) else None


def _restricted(joint: Tensor, labels: Tensor) -> Tensor:
    """The joint of the states that the labels allow: indices with −1 for unknown, or multipliers (n, k)."""
    if labels.dim() == 2:
        return joint + labels.double().log().to(joint.dtype)  # the logarithm of what float32 has no number for
    states = torch.arange(joint.shape[1], device=joint.device)
    excluded = (labels[:, None] >= 0) & (labels[:, None] != states)
    return joint.masked_fill_(excluded, float("-inf"))
