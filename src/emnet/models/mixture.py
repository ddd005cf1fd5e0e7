"""Mixtures: one hidden state a row, whose weights may depend on inputs, under one or more emissions."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from emnet.batch import Batch
from emnet.exceptions import InvalidInputError
from emnet.factors.base import Factor
from emnet.models.base import LatentModel
from emnet.posteriors import Discrete, EvidenceKind
from emnet.statistics import ModelStatistics

_NEGLIGIBLE = {torch.float64: -670.0, torch.float32: -70.0}  # beside 0, of a logarithm

Columns = tuple[int, ...] | None
"""The columns of the target that an emission explains; None is the target as it is."""


class Weights(Protocol):
    """A factor that gives the states: constant weights, or a gate that depends on `given`."""

    def log_weights(self, given: Tensor | None = None) -> Tensor:
        """log p(state | given): (k,) or (n, k)."""
        ...


class Mixture(LatentModel[Discrete]):
    """p(y | x) = Σ_k p(k | x) Π_e p(y[columns of e] | k, x).

    A Gaussian mixture is constant weights over one emission; latent class analysis and tables of mixed type are
    several emissions, each on its columns; a mixture of experts is a gate for weights and an expert for an emission.

    A float target that is NaN, an integer target of −1, and what the batch does not call observed say nothing: the
    emissions see NaN (or −1) and leave those entries out. A row of which nothing is known has evidence 1 and the
    weights for its posterior.

    Parameters
    ----------
    weights : a factor with `log_weights(given)`, (k,) or (n, k). Its statistics are taken of the responsibilities,
        (n, k), as targets, with the rows' weights, (n,).
    emissions : a factor whose log_prob is (n, k), or several by name. Their statistics are taken with
        responsibilities times the rows' weights, (n, k).
    columns : for emissions by name, which columns of the target each explains; one not named explains all.
    """

    weights: Any
    emissions: Any

    def __init__(
        self,
        weights: Factor[Any],
        emissions: Factor[Any] | Mapping[str, Factor[Any]],
        columns: Mapping[str, Sequence[int]] | None = None,
    ):
        super().__init__()
        emissions = {"emission": emissions} if isinstance(emissions, Factor) else dict(emissions)
        self.columns = _checked_columns(emissions, columns or {})
        self.weights = weights
        self.emissions = nn.ModuleDict(emissions)

    @property
    def factors(self) -> Mapping[str, Factor]:
        return {"weights": self.weights, **self.emissions}

    def log_joint(self, batch: Batch) -> Tensor:
        """log p(k, y | x), of known labels −∞ for the other states: (n, k)."""
        terms = [factor.log_prob(self._target(name, batch), batch.given) for name, factor in self.emissions.items()]
        joint = sum(terms[1:], start=terms[0])
        joint = joint + self.weights.log_weights(batch.given).to(joint.dtype)
        return joint if batch.labels is None else _restricted(joint, batch.labels)

    def posterior(self, batch: Batch) -> Discrete:
        log_evidence, responsibilities = normalized(self.log_joint(batch))
        return Discrete(self._exactly_one(batch, log_evidence), EvidenceKind.EXACT, responsibilities)

    def statistics(self, batch: Batch, posterior: Discrete) -> ModelStatistics:
        responsibilities = posterior.responsibilities
        weighted = responsibilities
        if batch.weights is not None:
            weighted = responsibilities * batch.weights[:, None].to(responsibilities.dtype)
        emissions = {
            name: factor.statistics(self._target(name, batch), weighted, batch.given)
            for name, factor in self.emissions.items()
        }
        weights = self.weights.statistics(responsibilities, batch.weights, batch.given)
        return ModelStatistics({"weights": weights, **emissions})

    def _target(self, name: str, batch: Batch) -> Any:
        return batch.derived(_prepared, type(self.emissions[name]).prepare, self.columns[name])

    def _exactly_one(self, batch: Batch, log_evidence: Tensor) -> Tensor:
        """Evidence 1 to the last bit where nothing is known: what rounding leaves of Σ_k p(k) = 1 is no evidence."""
        if batch.labels is None and (unseen := batch.derived(_unseen)) is not None:
            log_evidence[unseen] = 0.0
        return log_evidence


def normalized(joint: Tensor) -> tuple[Tensor, Tensor]:
    """log Σ_k e^{joint}, (n,) in float64, and e^{joint} over it, (n, k), in the memory of `joint`.

    What is negligible beside a row's largest is 0: subnormal numbers would take a hundred times as long, here and in
    every product to come.
    """
    least = _NEGLIGIBLE[joint.dtype]
    top = joint.amax(1, keepdim=True)
    shares = joint.sub_(top).clamp_(min=least).exp_()
    torch.threshold_(shares, math.exp(least + 1), 0.0)
    total = shares.sum(1, keepdim=True)
    return (top.double() + total.double().log())[:, 0], shares.div_(total)


def _checked_columns(emissions: Mapping[str, Any], columns: Mapping[str, Sequence[int]]) -> dict[str, Columns]:
    if not emissions:
        raise InvalidInputError("A mixture needs at least one emission.")
    for name in columns:
        if name not in emissions:
            raise InvalidInputError(f"columns names {name!r}, which is no emission; those are {', '.join(emissions)}.")
    return {name: tuple(columns[name]) if name in columns else None for name in emissions}


def _observed_target(batch: Batch) -> Tensor:
    """The target with NaN, or −1 where it is an integer, for what was not observed."""
    if batch.observed is None:
        return batch.target
    seen = batch.observed
    if seen.dim() < batch.target.dim():
        seen = seen[:, None]
    return torch.where(seen, batch.target, float("nan") if batch.target.is_floating_point() else -1)


def _prepared(batch: Batch, prepare: Callable[[Tensor], Any], columns: Columns) -> Any:
    target = batch.derived(_observed_target)
    return prepare(target if columns is None else target[:, list(columns)])


def _unseen(batch: Batch) -> Tensor | None:
    """Which rows have nothing observed, (n,); None if there are none."""
    target = batch.derived(_observed_target)
    missing = target.isnan() if target.is_floating_point() else target < 0
    rows = missing.view(len(batch), -1).all(1)
    return rows if bool(rows.any()) else None


def _restricted(joint: Tensor, labels: Tensor) -> Tensor:
    """The joint of the states that the labels allow: indices with −1 for unknown, or multipliers (n, k)."""
    if labels.dim() == 2:
        return joint + labels.to(joint.dtype).log()
    states = torch.arange(joint.shape[1], device=joint.device)
    excluded = (labels[:, None] >= 0) & (labels[:, None] != states)
    return joint.masked_fill_(excluded, float("-inf"))
