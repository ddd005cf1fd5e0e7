"""Split and merge: states that explain one thing become one, and one that explains two things becomes two."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import combinations, islice, product

import torch
from torch import Tensor

from emnet.algorithms.base import Algorithm, Progress, evaluate
from emnet.batch import Batch, Batches, Data, total_weight
from emnet.exceptions import DegenerateFitError, InvalidInputError
from emnet.inference.base import EStep
from emnet.models.base import LatentModel
from emnet.posteriors import Discrete, require_discrete
from emnet.statistics import ModelStatistics

_AXES = (-1, 0)  # the longest and the shortest: clusters lie end to end, or side by side as long ones do
_SURE_GAIN = 1e-7  # relative: less is what the last steps of EM would have found


@dataclass
class SplitMerge:
    """EM that, where it has come to rest, tries to merge two states and split a third (Ueda et al. 2000, SMEM).

    Pairs to merge are those whose responsibilities go together, r_iᵀr_j; a state to split is one whose rows are far
    from distributed as it says, by the Kullback–Leibler divergence of its rows from it. The rows of the split state
    are divided across their longest axis, or across their shortest. Each candidate is run until it rests; the highest
    is taken if it lies higher than before, else everything is put back: so no run ends below where `algorithm` alone
    would have ended. A line at rest has "moved" in the history, 1 if a candidate was taken. Neural Computation 12:2109.

    Parameters
    ----------
    algorithm : what climbs.
    inference : the E-step.
    tol : at rest is where the objective per row changes by less; what ends the run should not be looser.
    candidates : how many are tried at each rest.
    max_iter : steps of a candidate at most.
    """

    algorithm: Algorithm
    inference: EStep
    tol: float = 1e-3
    candidates: int = 10
    max_iter: int = 200
    kept = ("_last", "_exhausted")

    def __post_init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        self._last = -math.inf
        self._exhausted = False
        self.algorithm.reset()

    def step(self, model: LatentModel, data: Data) -> Progress:
        progress = self.algorithm.step(model, data)
        change, self._last = progress.objective - self._last, progress.objective
        at_rest = abs(change) <= self.tol * total_weight(data)
        if not at_rest or self._exhausted:
            return progress
        moved = self._move(model, data)
        self._exhausted = not moved
        return replace(progress, unsettled=moved, diagnostics={**progress.diagnostics, "moved": float(moved)})

    def _move(self, model: LatentModel, data: Data) -> bool:
        """Take the candidate that ends highest, if it ends higher than here; whether it does."""
        here = best = model.coordinates()
        highest = floor = evaluate(model, data, self.inference).objective
        _require_in_memory(data)
        posteriors = [self._posterior(model, batch) for batch in data]
        for candidate in islice(product(_candidates(data, posteriors), _AXES), self.candidates):
            try:
                model.m_step(_rearranged(model, data, posteriors, *candidate[0], candidate[1]))
                reached = self._climb(model, data)
            except (DegenerateFitError, torch.linalg.LinAlgError):  # a part with too few rows
                reached = math.nan
            if reached > highest:
                highest, best = reached, model.coordinates()
            model.set_coordinates(here)
        self.algorithm.reset()
        if highest <= floor + _SURE_GAIN * (total_weight(data) + abs(floor)):
            return False
        model.set_coordinates(best)
        return True

    def _climb(self, model: LatentModel, data: Data) -> float:
        """Run to rest; the objective there."""
        self.algorithm.reset()
        last, rows = -math.inf, total_weight(data)
        for _ in range(self.max_iter):
            reached = self.algorithm.step(model, data).objective
            if not math.isfinite(reached) or abs(reached - last) <= self.tol * rows:
                break
            last = reached
        return evaluate(model, data, self.inference).objective

    def _posterior(self, model: LatentModel, batch: Batch) -> Discrete:
        return require_discrete(self.inference(model, batch))


def _require_in_memory(data: Data) -> None:
    if isinstance(data, Batches):
        raise InvalidInputError(
            "Splitting and merging needs the posterior of every row at once: give an array, or take the algorithm "
            "'annealing' or 'em'."
        )


def _candidates(data: Data, posteriors: list[Discrete]) -> Iterator[tuple[int, int, int]]:
    """(merged, merged, split), by Ueda's two criteria: pairs in order, with each the state furthest off first."""
    shares = [_weighted(batch, posterior) for batch, posterior in zip(data, posteriors, strict=True)]
    overlap = torch.stack([p.responsibilities.double().T @ r for p, r in zip(posteriors, shares, strict=True)]).sum(0)
    norms = overlap.diagonal().clamp_min(torch.finfo(torch.float64).tiny).sqrt()
    likeness = overlap / norms[:, None] / norms
    counts = torch.stack([share.sum(0) for share in shares]).sum(0)
    worst = _misfit(posteriors, shares, counts).argsort(descending=True).tolist()
    pairs = sorted(combinations(range(len(counts)), 2), key=lambda pair: -float(likeness[pair]))
    ranked = [
        (first + second, one, other, split)
        for first, (one, other) in enumerate(pairs)
        for second, split in enumerate([state for state in worst if state not in (one, other)])
    ]
    yield from ((one, other, split) for _, one, other, split in sorted(ranked))


def _misfit(posteriors: list[Discrete], shares: list[Tensor], counts: Tensor) -> Tensor:
    """Σ_j f_jk log (f_jk / p(x_j | k)), with f_jk = r_jk / Σ_j r_jk: (k,).

    log p(x | k) is log r + log evidence − log weight: no part of the model is asked for.
    """
    total = torch.zeros_like(counts)
    mass = counts / counts.sum()
    for posterior, share in zip(posteriors, shares, strict=True):
        local = share / counts.clamp_min(torch.finfo(torch.float64).tiny)
        r = posterior.responsibilities.double()
        density = r.log() + posterior.log_evidence.double()[:, None] - mass.log()
        total += torch.where(local > 0, local * (local.log() - density), 0.0).sum(0)
    return total


def _rearranged(
    model: LatentModel, data: Data, posteriors: list[Discrete], one: int, other: int, split: int, across: int
) -> ModelStatistics:
    """Statistics with the rows of `one` and `other` in `one`, and those of `split` divided between it and `other`."""
    center, axis, scale = _principal_axis(data, posteriors, split, across)
    total: ModelStatistics | None = None
    for batch, posterior in zip(data, posteriors, strict=True):
        r = posterior.responsibilities.clone()
        r[:, one] += r[:, other]
        beyond = ((_numbers(batch) - center) / scale).nan_to_num(0.0) @ axis > 0
        r[:, other] = torch.where(beyond, r[:, split], 0.0)
        r[:, split] = torch.where(beyond, 0.0, r[:, split])
        part = model.statistics(batch, replace(posterior, responsibilities=r))
        total = part if total is None else total + part
    assert total is not None
    return total


def _principal_axis(data: Data, posteriors: list[Discrete], state: int, across: int) -> tuple[Tensor, Tensor, Tensor]:
    """Of a state's rows: the mean, a principal axis of the columns divided by their deviations, and those."""
    pieces = [_of_state(batch, posterior, state) for batch, posterior in zip(data, posteriors, strict=True)]
    mass = _sum(weight for _, weight in pieces)
    center = _sum(weight * rows for rows, weight in pieces) / mass
    scale = (_sum(weight * (rows - center).square() for rows, weight in pieces) / mass).sqrt()
    scale = torch.where(scale > 0, scale, 1.0)
    products = [((weight * (rows - center) / scale).T @ ((rows - center) / scale)) for rows, weight in pieces]
    _, axes = torch.linalg.eigh(torch.stack(products).sum(0))
    return center, axes[:, across], scale


def _of_state(batch: Batch, posterior: Discrete, state: int) -> tuple[Tensor, Tensor]:
    """The rows, with 0 for holes, and the weight of each cell in the state: (n, d) each."""
    rows = _numbers(batch)
    return rows.nan_to_num(0.0), _weighted(batch, posterior)[:, state, None] * ~rows.isnan()


def _sum(parts: Iterable[Tensor]) -> Tensor:
    """Over the rows of all parts: (d,)."""
    return torch.stack([part.sum(0) for part in parts]).sum(0)


def _numbers(batch: Batch) -> Tensor:
    """The target as (n, d) numbers, NaN for what was not observed."""
    target = batch.target.reshape(len(batch), -1).double()
    if batch.observed is None:
        return target
    seen = batch.observed if batch.observed.dim() == batch.target.dim() else batch.observed[:, None]
    return torch.where(seen.reshape(len(batch), -1), target, torch.nan)


def _weighted(batch: Batch, posterior: Discrete) -> Tensor:
    r = posterior.responsibilities.double()
    return r if batch.weights is None else r * batch.weights[:, None].double()
