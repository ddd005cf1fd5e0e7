"""What a mixture's fit says while it runs and of how it ended."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import numpy as np

from emnet.algorithms.base import Fit
from emnet.exceptions import CollapsedComponentError, CollapsedComponentWarning
from emnet.warning import warn

_FEW_ROWS = 1.5
_NO_ROWS = 1e-6  # expected rows of a state that nothing is learned of


class Printer:
    """scikit-learn's lines: with `verbose` 1 the iterations, with 2 also changes and times."""

    def __init__(self, verbose: int, interval: int, number: int):
        self.verbose, self.interval = int(verbose), interval
        self.began = self.last = time.perf_counter()
        if self.verbose:
            print(f"Initialization {number}")

    def iteration(self, number: int, change: float) -> None:
        if not self.verbose or number % self.interval:
            return
        now = time.perf_counter()
        more = f"\t time lapse {now - self.last:.5f}s\t ll change {change:.5f}" if self.verbose > 1 else ""
        self.last = now
        print(f"  Iteration {number}{more}")

    def end(self, fit: Fit) -> None:
        if not self.verbose:
            return
        more = ""
        if self.verbose > 1:
            seconds, reached = time.perf_counter() - self.began, fit.last.log_evidence / fit.rows
            more = f"\t time lapse {seconds:.5f}s\t lower bound {reached:.5f}"
        print(f"Initialization {'converged.' if fit.converged else 'did not converge.'}{more}")


def shifted(line: dict[str, Any], amount: float) -> dict[str, Any]:
    """A line of the history with the log evidence of the data in their own units."""
    return {
        **line,
        "log_evidence": line["log_evidence"] + amount,
        "objective": line["objective"] + amount,
    }


def warn_of_failed_starts(failures: Sequence[CollapsedComponentError], n_init: int) -> None:
    if failures:
        warn(
            f"{len(failures)} of {n_init} starts ended in a collapsed component and do not count. The first said: "
            f"{failures[0]}",
            CollapsedComponentWarning,
        )


def warn_of_collapse(counts: np.ndarray, covariances: np.ndarray, reg_covar: float) -> None:
    """Name components that stand for about a row or none, or whose variance is what reg_covar put there.

    A column that is constant has that variance in all components, and is no reason to warn.
    """
    k = len(counts)
    variances = np.diagonal(covariances, axis1=1, axis2=2) if covariances.ndim == 3 else covariances.reshape(k, -1)
    on_floor = variances <= 2 * reg_covar
    collapsed = (on_floor & ~on_floor.all(axis=0)).any(axis=1) | (counts < _FEW_ROWS)
    if not collapsed.any():
        return
    parts = [
        f"component {i} ({counts[i]:.3g} rows, smallest variance {variances[i].min():.3g})"
        for i in np.flatnonzero(collapsed)
    ]
    warn(
        f"Collapsed onto few rows or none: {', '.join(parts)}. The density there is what reg_covar={reg_covar:g} "
        "allows, and the likelihood means little. Decrease n_components, raise reg_covar or n_init, or give "
        "prior='auto'.",
        CollapsedComponentWarning,
    )


def warn_of_idle_states(counts: Any) -> None:
    """Name states of chains that no row is expected to have had, of expected rows (k,)."""
    idle = np.flatnonzero(counts.cpu().numpy() < _NO_ROWS)
    if len(idle):
        warn(
            f"State {', '.join(map(str, idle))} has no expected rows, so nothing was learned of it and it is where it "
            "started. Decrease n_components, start its parameters nearer to the data, raise n_init, or give priors.",
            CollapsedComponentWarning,
        )
