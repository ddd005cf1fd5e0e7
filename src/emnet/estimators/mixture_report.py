"""What a mixture's fit says while it runs and of how it ended."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from emnet.algorithms.base import Fit
from emnet.estimators.degenerate import SMALL, Flat
from emnet.exceptions import CollapsedComponentError, CollapsedComponentWarning, RegularizationWarning
from emnet.warning import warn

_FEW_ROWS = 1.5
_FEW_COLUMNS = 3  # that a warning names
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


def of_few_digits(dtype: str) -> str:
    """What else to do about a component that collapsed."""
    return "" if dtype == "float64" else " Where clusters lie far apart float32 loses digits: take dtype='float64'."


def warn_of_failed_starts(failures: Sequence[CollapsedComponentError], n_init: int) -> None:
    if failures:
        warn(
            f"{len(failures)} of {n_init} starts ended in a collapsed component and do not count. The first said: "
            f"{failures[0]}",
            CollapsedComponentWarning,
        )


def warn_of_collapse(rows: np.ndarray | None, flat: Mapping[int, Flat], names: Sequence[Any], reg_covar: float) -> None:
    """Name components that stand for about a row or none, of expected rows (k,) or None, and those that are flat."""
    few = [] if rows is None else np.flatnonzero(rows < _FEW_ROWS).tolist()
    parts = []
    for i in sorted({*few, *flat}):
        about = [] if rows is None else [f"{rows[i]:.3g} rows"]
        if i in flat:
            along = ", ".join(repr(names[j]) for j in flat[i].columns[:_FEW_COLUMNS])
            more = ", …" if len(flat[i].columns) > _FEW_COLUMNS else ""
            about.append(f"smallest variance {flat[i].variance:.3g}, along column {along}{more}")
        parts.append(f"component {i} ({', '.join(about)})")
    if parts:
        warn(
            f"Collapsed onto few rows or none, or onto rows that do not vary: {', '.join(parts)}. The density there is "
            f"what reg_covar={reg_covar:g} allows, and the likelihood means little. Decrease n_components, raise "
            "reg_covar or n_init, or give prior='auto'.",
            CollapsedComponentWarning,
        )


def warn_of_large_floor(variances: np.ndarray, names: Sequence[Any], reg_covar: float) -> None:
    """Name columns whose variance, (d,), 0 of a constant, is not large beside what is added to it."""
    drowned = np.flatnonzero((variances > 0) & (reg_covar > SMALL * variances)).tolist()
    if drowned:
        parts = [f"column {names[j]!r} (variance {variances[j]:.3g})" for j in drowned[:_FEW_COLUMNS]]
        more = f" and {len(drowned) - _FEW_COLUMNS} more" if len(drowned) > _FEW_COLUMNS else ""
        warn(
            f"reg_covar={reg_covar:g} is added to every variance, and is not small beside that of {', '.join(parts)}"
            f"{more}: what sets components apart there is lost in it. Scale such columns, by StandardScaler for one, "
            "or lower reg_covar.",
            RegularizationWarning,
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
