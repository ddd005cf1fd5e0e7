"""Which rows are unlikely, and which of their columns made them so."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from emnet.data.frames import column_names, without_column

_MOST_USUAL = 1000


class Density(Protocol):
    """A fitted model of rows whose cells may be missing."""

    def score_samples(self, X: Any) -> np.ndarray:
        """log p of what is there of each row, (n,)."""
        ...


@dataclass(frozen=True)
class Reason:
    """A column that made a row unlikely: `surprise` is −log p(its cell | the rest of the row), in nats."""

    column: Any
    surprise: float


def at_once(X: Any, wanted: Callable[[Any], np.ndarray]) -> np.ndarray:
    return wanted(X)


def without_lone_parts(model: Any, X: Any, end_to_end: Callable[..., np.ndarray] = at_once) -> Any:
    """The model without the components more than half of which is one row of X, (n, d): Σ_i r_ik < 2 max_i r_ik.

    A row so far from all others that EM gives it a component of its own would vouch for itself: its evidence would be
    among the highest. A model without components, or of nothing but such, is returned as it is. `end_to_end` gives
    what is wanted of X, rows after rows.
    """
    if not hasattr(model, "without_components"):
        return model

    def sum_and_largest(rows: Any) -> np.ndarray:
        shares = model.predict_proba(rows)
        return np.stack((shares.sum(axis=0), shares.max(axis=0)))[None]

    parts = end_to_end(X, sum_and_largest)
    lone = parts[:, 0].sum(axis=0) < 2 * parts[:, 1].max(axis=0)
    return model.without_components(lone) if lone.any() and not lone.all() else model


def surprise(model: Density, X: Any) -> np.ndarray:
    """−log p(x_j | the rest of the row) = log p(row without x_j) − log p(row), in nats: (n, d).

    The evidence with and without each column. What is missing surprises nobody: 0. Of a density of numbers it depends
    on their unit, as all densities do, so compare rows within a column, or with `excess`. A cell that makes a row
    impossible, of log p −∞, surprises without bound: ∞; one without which the row still is has no part in it: 0.
    """
    whole = model.score_samples(X)
    without = np.stack([model.score_samples(without_column(X, j)) for j in range(len(column_names(X)))], axis=1)
    with np.errstate(invalid="ignore"):  # ∞ − ∞
        return np.where(np.isneginf(without), 0.0, without - whole[:, None])


def some_of(n: int) -> np.ndarray:
    """Which of n rows say what is usual: a thousand of them at most, evenly."""
    return np.arange(0, n, -(-n // _MOST_USUAL))


def excess(surprises: np.ndarray, usual: np.ndarray) -> np.ndarray:
    """How much more the cells surprise than those of most rows: (n, d) less the medians of `usual`, (m, d).

    It has no unit: a column in meters and the same one in millimeters have the same excess.
    """
    return surprises - np.median(usual, axis=0)


def reasons(excesses: np.ndarray, names: Iterable[Any], most: int = 3) -> list[list[Reason]]:
    """Of each row the columns that surprise more than usual, the most surprising first, `most` at most."""
    names = list(names)
    return [
        [Reason(names[j], float(row[j])) for j in np.argsort(-row, kind="stable")[:most] if row[j] > 0]
        for row in excesses
    ]


def outlier_threshold(scores: np.ndarray, contamination: float) -> float:
    """The score below which lies that share of the rows: (n,) log evidences."""
    return float(np.quantile(scores, contamination))
