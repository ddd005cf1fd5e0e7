"""What the rows of each cluster have in common, and what sets them apart."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from emnet.data.frames import cells_of, column_names, kind_of, missing_cells, values_of

_LISTED_VALUES = 5


@dataclass(frozen=True)
class ColumnProfile:
    """A column in a cluster.

    mean, sd : of numbers, of the rows that have a value, else None.
    shares : of the rest, {value: its share among them}, the most frequent first.
    apart : how far the cluster is from all rows: (mean − overall mean) / overall sd of numbers; of the rest the largest
        difference of a value's shares.
    """

    column: Any
    mean: float | None
    sd: float | None
    shares: dict[Any, float]
    apart: float


@dataclass(frozen=True)
class Profile:
    """A cluster: its expected share of the rows, and its columns, those first that set it apart most."""

    cluster: int
    share: float
    columns: tuple[ColumnProfile, ...]


def profiles(X: Any, responsibilities: np.ndarray) -> list[Profile]:
    """Of each cluster, by p(cluster | row), (n, k): sums over rows that belong to a cluster in part."""
    columns = [_column(name, cells_of(X, j), responsibilities) for j, name in enumerate(column_names(X))]
    shares = responsibilities.mean(axis=0)
    return [
        Profile(k, float(share), tuple(sorted((c[k] for c in columns), key=lambda c: -abs(c.apart))))
        for k, share in enumerate(shares)
    ]


def _column(name: Any, cells: np.ndarray, responsibilities: np.ndarray) -> list[ColumnProfile]:
    """A column's profile in each cluster."""
    seen = ~missing_cells(cells)
    weights, cells = responsibilities[seen], cells[seen]
    if kind_of(cells) in (int, float):
        return _numbers(name, cells.astype(float), weights)
    return _values(name, cells, weights)


def _numbers(name: Any, cells: np.ndarray, weights: np.ndarray) -> list[ColumnProfile]:
    overall, spread = (float(cells.mean()), float(cells.std()) or 1.0) if len(cells) else (np.nan, 1.0)
    found = []
    for own in weights.T:
        mass = own.sum()
        mean = float(own @ cells / mass) if mass > 0 else np.nan
        sd = float(np.sqrt(own @ (cells - mean) ** 2 / mass)) if mass > 0 else np.nan
        found.append(ColumnProfile(name, mean, sd, {}, (mean - overall) / spread if mass > 0 else 0.0))
    return found


def _values(name: Any, cells: np.ndarray, weights: np.ndarray) -> list[ColumnProfile]:
    values = values_of(name, cells)
    counts = np.array([weights[cells == value].sum(axis=0) for value in values]).reshape(len(values), -1)
    overall = counts.sum(axis=1) / max(counts.sum(), 1e-300)
    found = []
    for own in counts.T:
        shares = own / max(own.sum(), 1e-300)
        order = np.argsort(-shares, kind="stable")[:_LISTED_VALUES]
        apart = float(np.abs(shares - overall).max()) if len(values) and own.sum() > 0 else 0.0
        found.append(ColumnProfile(name, None, None, {values[i]: float(shares[i]) for i in order}, apart))
    return found
