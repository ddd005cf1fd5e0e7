"""Variational EM by stochastic gradients, joint or in turns, with closed M-steps where a factor has one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from emnet.algorithms.adam import falling
from emnet.algorithms.base import Progress
from emnet.algorithms.fused_adam import FusedAdam, Memory
from emnet.batch import Batch, Data, is_shared, summed, total_weight
from emnet.factors.base import Factor
from emnet.inference.base import EStep
from emnet.models.base import LatentModel, VariationalModel, require_variational
from emnet.posteriors import EvidenceKind
from emnet.statistics import ModelStatistics, Statistics

_ROUNDING = 1e-9


@dataclass(frozen=True, eq=False)
class Share(Statistics):
    """What one of many processes has of a sum: numbers, and statistics."""

    values: Tensor
    statistics: ModelStatistics

    def __add__(self, other: Share) -> Share:
        return Share(self.values + other.values, self.statistics + other.statistics)

    def __mul__(self, scale: float) -> Share:
        return Share(self.values * scale, self.statistics * scale)


@dataclass
class VariationalEM:
    """Raise the bound F(q, θ) batch by batch with torch's Adam; a step is one pass over the data.

    With `e_steps=0` every batch moves q and θ together, along the gradient of its bound: the usual training of a
    variational autoencoder. Otherwise each batch first makes that many steps on q alone, the factor "encoder", and then
    one on the rest (He et al. 2019). A factor whose M-step is closed takes it after every batch, from the second pass
    on, from statistics that forget: s ← (1 − γ)·s + γ·ŝ (Cappé & Moulines 2009), γ the share of a batch in `memory`
    passes.

    Many processes make each step together, on the parts that they have of a mini-batch: gradient, weight and statistics
    travel in one vector. Their data must give all of them equally many; a part without weight moves nothing.

    Parameters
    ----------
    inference : the E-step.
    learning_rate : of Adam.
    e_steps : on q alone before each on the rest; 0 for joint steps.
    passes : over which the rate falls to 0 along half a cosine; None keeps it.
    memory : passes that statistics remember.
    largest_norm : to which a gradient is cut.
    """

    inference: EStep
    learning_rate: float = 1e-3
    e_steps: int = 0
    passes: int | None = None
    memory: float = 1.0
    largest_norm: float | None = None

    kept = ("_memories", "_passes", "_kept", "_seen")  # see emnet.algorithms.snapshot

    def __post_init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        self._turns: list[FusedAdam] = []
        self._memories: list[Memory] = []
        self._closed: tuple[str, ...] = ()
        self._passes = 0
        self._kept: ModelStatistics | None = None
        self._seen = 0.0  # passes, whose share of the statistics is even

    def step(self, model: LatentModel, data: Data) -> Progress:
        model = require_variational(model)
        whole, log_prior = total_weight(data), model.log_prior()
        if not self._turns:
            self._begin(model, whole)
        rate = falling(self.learning_rate, self._passes, self.passes)
        evidence, diagnostics = torch.zeros(()), dict[str, float]()
        for batch in data:
            if not batch.total_weight and not is_shared(data):
                continue
            for turn in self._turns:
                posterior, weight, found = self._ascend(model, data, batch, turn, rate)
            self._maximize(model, found, weight, whole)
            evidence = evidence.to(posterior.log_evidence.device) + _summed(posterior.log_evidence, batch.weights)
            for name, value in posterior.diagnostics.items():
                diagnostics[name] = diagnostics.get(name, 0.0) + value * batch.total_weight / whole
        self._passes += 1
        totals = torch.tensor([float(evidence), *diagnostics.values()], dtype=torch.float64)
        total, *means = summed(data, Share(totals, ModelStatistics({}))).values.tolist()
        return Progress(total, log_prior, EvidenceKind.ESTIMATE, dict(zip(diagnostics, means, strict=True)))

    def _begin(self, model: VariationalModel, whole: float) -> None:
        self._closed = model.closed
        names = [name for name in model.factors if name not in self._closed]
        rest = [name for name in names if name != "encoder"]
        parts = [*[["encoder"]] * self.e_steps, rest] if self.e_steps else [names]
        before: dict[tuple[str, ...], FusedAdam] = {}
        for own in map(tuple, parts):
            if own not in before:
                groups = _groups([model.factors[name] for name in own], whole)
                memory = self._memories[len(before)] if len(before) < len(self._memories) else None
                before[own] = FusedAdam(groups, memory)
            self._turns.append(before[own])
        self._memories = [adam.memory for adam in before.values()]

    def _ascend(
        self, model: VariationalModel, data: Data, batch: Batch, turn: FusedAdam, rate: float
    ) -> tuple[Any, float, ModelStatistics]:
        """One step along the gradient of the mean objective of a row; the posterior that it met, weight and statistics.

        Weight and statistics are those of all processes' parts of the mini-batch, as the step is.
        """
        with torch.enable_grad():
            posterior: Any = self.inference(model, batch)
        for adam in self._turns:
            adam.forget_gradients()
        weight = batch.total_weight
        posterior.objective.backward(_slope(posterior.objective, batch.weights, -1 / (weight or 1.0)))
        found = model.statistics(batch, posterior, self._closed if turn is self._turns[-1] else ())
        if is_shared(data):
            weight, found = _joint(model, data, weight, found)
        if self.largest_norm is not None:
            nn.utils.clip_grad_norm_(model.parameters(), self.largest_norm)
        if weight:
            turn.step(rate)
        return posterior, weight, found

    def _maximize(self, model: VariationalModel, found: ModelStatistics, weight: float, whole: float) -> None:
        if not self._closed or not weight:
            return
        found = found * (whole / weight)
        self._seen += weight / whole
        share = weight / whole / min(self._seen, max(self.memory, weight / whole))
        self._kept = found if self._kept is None else self._kept * (1 - share) + found * share
        if self._seen >= min(1.0, self.memory) - _ROUNDING:  # a few batches are too little to go by
            for name in self._closed:
                model.factors[name].maximize(self._kept[name])


def _joint(
    model: VariationalModel, data: Data, weight: float, statistics: ModelStatistics
) -> tuple[float, ModelStatistics]:
    """Of all processes' rows the mean gradient, which parameters then hold, and the weight and the statistics."""
    learned = [parameter for parameter in model.parameters() if parameter.requires_grad]
    for each in learned:
        each.grad = torch.zeros_like(each) if each.grad is None else each.grad
    own = torch.cat([each.grad.flatten() for each in learned])  # type: ignore[union-attr]
    total = summed(data, Share(torch.cat((own.new_tensor([weight]), own * weight)), statistics))
    whole, gradient = float(total.values[0]), total.values[1:]
    parts = (gradient / (whole or 1.0)).split([each.numel() for each in learned])
    for each, part in zip(learned, parts, strict=True):
        each.grad.copy_(part.view_as(each))  # type: ignore[union-attr]
    return whole, total.statistics


def _groups(factors: Sequence[Factor[Any]], whole: float) -> list[tuple[list[nn.Parameter], float]]:
    """Parameters by their prior, which is a decay of the mean gradient of a row: few groups are few calls of Adam."""
    by_decay: dict[float, list[nn.Parameter]] = {}
    for factor in factors:
        own = [parameter for parameter in factor.parameters() if parameter.requires_grad]
        by_decay.setdefault(getattr(factor, "precision", 0.0) / whole, []).extend(own)
    return [(own, decay) for decay, own in by_decay.items() if own]


def _slope(objective: Tensor, weights: Tensor | None, scale: float) -> Tensor:
    """Of scale · Σ_j weight_j objective_j in each of them."""
    return torch.full_like(objective, scale) if weights is None else weights.to(objective) * scale


def _summed(values: Tensor, weights: Tensor | None) -> Tensor:
    return values.sum() if weights is None else values @ weights.to(values)
