"""Which of several models explains rows best that it has not seen, within a budget of time."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from emnet.exceptions import DegenerateFitError, InvalidInputError

_FAR, _FARTHER = 20.0, 10.0  # nats below the median, and times the lower half's spread: beyond both a row is absurd
_PATIENCE = 2  # sizes in a row that are worse than the best of their family, after which larger ones are not tried


@dataclass(frozen=True)
class Candidate:
    """A model that might be chosen.

    name : in words, as in "a Gaussian mixture of 3 components".
    family : candidates that differ in size alone, which come in growing order.
    evidence : fits it without some rows and gives log p of each of those, (n,), the same rows for all candidates.
    """

    name: str
    family: str
    evidence: Callable[[], np.ndarray]
    what: Any = None


@dataclass(frozen=True)
class Tried:
    """A line of the table: mean held-out log evidence of a row, in nats, or why there is none.

    rows : log p of each row, (n,), as it is counted (`bounded`).
    absurd : how many rows count as less unlikely than they were found.
    """

    candidate: Candidate
    evidence: float
    rows: np.ndarray
    seconds: float
    problem: str | None = None
    absurd: int = 0


@dataclass(frozen=True)
class Choice:
    """The candidate chosen, all that were tried by their evidence, and how many were left out for lack of time.

    unit : what the evidence is of, "row" or "sequence".
    """

    best: Candidate
    table: tuple[Tried, ...]
    left_out: int
    unit: str = "row"

    @property
    def sentence(self) -> str:
        """What was chosen and why."""
        first, name = self.table[0], self.best.name
        if len(self.table) == 1 or self.table[1].problem is not None:
            return f"Chose {name}: no other was fitted ({self._effort})."
        other = self.table[1]
        gap, error = first.evidence - other.evidence, _standard_error(first.rows - other.rows)
        close = ", which is within the error" if gap <= 2 * error else ""
        more = f"{_figure(gap, 2)} ± {_figure(error, 1)} more than the next best, {other.candidate.name}{close}"
        if self.best is not first.candidate:
            more = self._smaller
        return (
            f"Chose {name}: on {self.unit}s that it had not seen its log evidence is {self._chosen.evidence:.4g} nats "
            f"a {self.unit}, {more} ({self._effort}).{self._bounded}"
        )

    @property
    def _chosen(self) -> Tried:
        return next(tried for tried in self.table if tried.candidate is self.best)

    @property
    def _smaller(self) -> str:
        first, own = self.table[0], self._chosen
        gap, error = first.evidence - own.evidence, _standard_error(first.rows - own.rows)
        return (
            f"{_figure(gap, 2)} less than the best, {first.candidate.name}, but within one standard error of it, "
            f"{_figure(error, 2)}, and the smallest of its kind that is"
        )

    @property
    def _bounded(self) -> str:
        n, least = self._chosen.absurd, self._chosen.rows.min()
        if not n:
            return ""
        return f" {n} {self.unit}{'s' * (n > 1)} far below all others count{'s' * (n == 1)} as {least:.4g} nats."

    @property
    def _effort(self) -> str:
        tried = f"{len(self.table)} model{'s' * (len(self.table) > 1)} in {sum(t.seconds for t in self.table):.1f} s"
        if not self.left_out:
            return tried
        return f"{tried}; {self.left_out} more {'was' if self.left_out == 1 else 'were'} left out for lack of time"


def select(
    candidates: Iterable[Candidate],
    seconds: float,
    report: Callable[[Tried], None] = lambda tried: None,
    unit: str = "row",
) -> Choice:
    """Try candidates in their order until the time is over, and choose by held-out evidence.

    That is the smallest of the best one's family that is not worse by more than one standard error of the difference
    (Breiman et al. 1984, §3.4.3, with paired rows).

    None is begun for which the time that the last one took is no longer there; larger ones of a family are not tried
    after two in a row that are worse than its best.

    Raises InvalidInputError where none could be fitted.
    """
    began, table, left_out = time.perf_counter(), list[Tried](), 0
    for candidate in candidates:
        used = time.perf_counter() - began
        expected = table[-1].seconds if len(table) > 1 else 0.0  # the first one pays for what is loaded and compiled
        if table and used + expected > seconds:
            left_out += 1
        elif not _given_up(candidate.family, table):
            table.append(_try(candidate))
            report(table[-1])
    ranked = sorted(table, key=lambda tried: (tried.problem is not None, -tried.evidence))
    if not ranked or ranked[0].problem is not None:
        raise InvalidInputError(f"No model could be fitted. {ranked[0].problem if table else 'There was none to try.'}")
    return Choice(_smallest_as_good(ranked[0], table), tuple(ranked), left_out, unit)


def _smallest_as_good(best: Tried, table: list[Tried]) -> Candidate:
    """The first of the best one's family, whose sizes grow, within one standard error of it."""
    family = [own for own in table if own.candidate.family == best.candidate.family and own.problem is None]
    return next(
        own.candidate
        for own in family
        if own is best or best.evidence - own.evidence <= _standard_error(best.rows - own.rows)
    )


def _try(candidate: Candidate) -> Tried:
    began = time.perf_counter()
    try:
        rows = np.asarray(candidate.evidence(), dtype=float)
    except (DegenerateFitError, InvalidInputError) as error:
        return Tried(candidate, -np.inf, np.empty(0), time.perf_counter() - began, str(error))
    seconds = time.perf_counter() - began
    if not np.isfinite(rows).all():
        return Tried(candidate, -np.inf, rows, seconds, "its evidence of rows that it had not seen is not finite")
    counted = bounded(rows)
    return Tried(candidate, float(counted.mean()), counted, seconds, absurd=int((counted > rows).sum()))


def bounded(evidence: np.ndarray) -> np.ndarray:
    """max(log p, a bound far below the median), (n,): one impossible cell is not to decide between models.

    A slip of the decimal point costs a good model ten thousand nats, more than all that it knows of the other rows. The
    bound is 20 nats and ten times the distance of the lower quartile below the median: no sound row is there, so where
    no cell is impossible the mean is that of the rows as they are.
    """
    if not len(evidence):
        return evidence
    quartile, median = np.quantile(evidence, (0.25, 0.5))
    return np.maximum(evidence, median - _FAR - _FARTHER * (median - quartile))


def _given_up(family: str, table: list[Tried]) -> bool:
    own = [tried.evidence for tried in table if tried.candidate.family == family]
    return len(own) > _PATIENCE and max(own[-_PATIENCE:]) < max(own)


def _figure(x: float, digits: int) -> str:
    return f"{x:.0f}" if abs(x) >= 10 else f"{x:.{digits}g}"


def _standard_error(differences: np.ndarray) -> float:
    n = len(differences)
    return float(differences.std(ddof=1) / np.sqrt(n)) if n > 1 else float("nan")
