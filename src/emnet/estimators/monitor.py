"""hmmlearn's record of a run: what it prints, and when it says that EM has converged."""

from __future__ import annotations

import logging
import sys
from collections import deque

import numpy as np
from torch import Tensor

from emnet.algorithms.base import Iteration
from emnet.models.base import LatentModel

_log = logging.getLogger("emnet")


class ConvergenceMonitor:
    """Converged: after `n_iter` iterations, or when the log-likelihood rose by less than `tol`.

    For a rule of one's own, subclass it and set a fitted or new model's `monitor_`.

    Attributes
    ----------
    history : the log-likelihoods of the iterations, in nats.
    iter : how many there were.
    """

    kept = ("history", "iter")
    _template = "{iter:>10d} {log_prob:>16.8f} {delta:>+16.8f}"

    def __init__(self, tol: float, n_iter: int, verbose: bool):
        self.tol, self.n_iter, self.verbose = tol, n_iter, verbose
        self.history: deque[float] = deque()
        self.iter = 0

    def __repr__(self) -> str:
        parts = sorted(dict(vars(self), history=list(self.history)).items())
        return f"{type(self).__name__}({', '.join(f'{name}={value}' for name, value in parts)})"

    def _reset(self) -> None:
        self.iter = 0
        self.history.clear()

    def report(self, log_prob: float) -> None:
        """Take down an iteration; with `verbose` print its number, log-likelihood and rise to standard error."""
        change = log_prob - self.history[-1] if self.history else np.nan
        if self.verbose:
            print(self._template.format(iter=self.iter + 1, log_prob=log_prob, delta=change), file=sys.stderr)
        self.history.append(log_prob)
        self.iter += 1

    @property
    def converged(self) -> bool:
        rests = len(self.history) >= 2 and self.history[-1] - self.history[-2] < self.tol
        return self.iter == self.n_iter or rests


class Monitoring:
    """Ends a run when its monitor says so, or after `n_iter` M-steps; `parameters` are those of the last of them."""

    kept = ("parameters",)

    def __init__(self, monitor: ConvergenceMonitor, n_iter: int, log_scale: float):
        self.monitor, self.n_iter, self.log_scale = monitor, n_iter, log_scale
        self.parameters: Tensor | None = None

    def __call__(self, model: LatentModel, iteration: Iteration) -> bool:
        self.monitor.report(iteration.log_evidence - self.log_scale)
        if not self.monitor.converged and iteration.number + 1 < self.n_iter:
            return False
        self.parameters = model.coordinates()
        return True
