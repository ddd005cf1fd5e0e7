"""scikit-learn's rule for when a mixture has converged."""

from __future__ import annotations

import math
from collections.abc import Callable

from torch import Tensor

from emnet.algorithms.base import Iteration
from emnet.models.base import LatentModel
from emnet.posteriors import EvidenceKind


class MeanGain:
    """Ends a run when the objective per row changes by less than `tol`, or after `max_iter` M-steps.

    scikit-learn keeps the parameters of the last M-step, whose evidence it has not seen; `parameters` are those.
    Evidence that is an estimate ends nothing: the run goes on to its own end, an E-step over all rows.
    """

    kept = ("last", "converged", "parameters")

    def __init__(self, tol: float, max_iter: int, rows: float, before: float, report: Callable[[int, float], None]):
        self.tol, self.max_iter, self.rows, self.report = tol, max_iter, rows, report
        self.last, self.converged = before, False
        self.parameters: Tensor | None = None

    def __call__(self, model: LatentModel, iteration: Iteration) -> bool:
        reached = iteration.progress.objective / self.rows
        change, self.last = reached - self.last, reached
        number = iteration.number + 1
        self.report(number, change)
        estimated = iteration.progress.kind is EvidenceKind.ESTIMATE
        unsettled = iteration.progress.unsettled or estimated
        self.converged = math.isfinite(change) and abs(change) < self.tol and not unsettled
        if unsettled:
            self.last = -math.inf
        if estimated or (not self.converged and number < self.max_iter):
            return False
        self.parameters = model.coordinates()
        return True
