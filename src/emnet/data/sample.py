"""A random sample of a stream: the same for any number of processes, and all of a stream that is small."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from emnet.distributed import Group


@dataclass(frozen=True)
class Units:
    """Rows, or sequences of rows end to end, as numbers.

    X : (n, d). target : (n,) or (n, t), or None. weights : (units,), or None. lengths : (units,), None where units are
    rows.
    """

    X: np.ndarray
    target: np.ndarray | None = None
    weights: np.ndarray | None = None
    lengths: np.ndarray | None = None

    @property
    def n_units(self) -> int:
        return len(self.X) if self.lengths is None else len(self.lengths)

    @property
    def total_weight(self) -> float:
        return float(self.n_units if self.weights is None else self.weights.sum())

    def row_weights(self) -> np.ndarray:
        """(n,)."""
        each = np.ones(self.n_units) if self.weights is None else self.weights
        return each if self.lengths is None else np.repeat(each, self.lengths)

    def chosen(self, units: np.ndarray) -> Units:
        """Some of the units, by index, in the order of the index."""
        rows, lengths = units, None
        if self.lengths is not None:
            lengths = self.lengths[units]
            first = (np.cumsum(self.lengths) - self.lengths)[units]
            within = np.arange(lengths.sum()) - np.repeat(np.cumsum(lengths) - lengths, lengths)
            rows = np.repeat(first, lengths) + within
        target = None if self.target is None else self.target[rows]
        return Units(self.X[rows], target, None if self.weights is None else self.weights[units], lengths)


class Sample:
    """The units with the smallest of random keys, as many as have at most `rows` rows, in the stream's order.

    A key depends on where a unit is, so it does not matter which process meets it. (Efraimidis & Spirakis 2006 with
    equal weights.) Units that are wanted have a sample of their own beside it, of at most an eighth as many rows: few
    among many would be missed.
    """

    def __init__(self, rows: int):
        self.rows = rows
        self._kept: list[tuple[np.ndarray, Units]] = []  # (units, 5) of key, piece, chunk, unit, whether it is wanted
        self._n_rows = 0

    def offer(self, units: Units, place: tuple[int, int], wanted: np.ndarray | None = None) -> None:
        """Units of a chunk at that place, and which of them are wanted, (units,)."""
        keys = np.random.default_rng(place).random(units.n_units)
        where = np.broadcast_to(place, (units.n_units, 2))
        wanted = np.zeros(units.n_units) if wanted is None else wanted
        self._add(np.column_stack((keys, where, np.arange(units.n_units), wanted)), units)

    def of_all(self, group: Group) -> Units:
        """The sample of what all processes were offered."""
        self._prune()
        own, self._kept, self._n_rows = self._kept, [], 0
        for kept in group.gathered(own):
            for keys, units in kept:
                self._add(keys, units)
        self._prune()
        keys, units = self._kept[0]
        return units.chosen(np.lexsort((keys[:, 3], keys[:, 2], keys[:, 1])))

    def _add(self, keys: np.ndarray, units: Units) -> None:
        self._kept.append((keys, units))
        self._n_rows += len(units.X)
        if self._n_rows > 2 * self.rows:
            self._prune()

    def _prune(self) -> None:
        if not self._kept:
            return
        keys, units = np.concatenate([keys for keys, _ in self._kept]), end_to_end([units for _, units in self._kept])
        order = np.argsort(keys[:, 0], kind="stable")
        lengths = np.ones(len(keys)) if units.lengths is None else units.lengths
        wanted, lengths = keys[order, 4] > 0, lengths[order]
        fits = (np.cumsum(lengths) <= self.rows) | (wanted & (np.cumsum(wanted * lengths) <= self.rows // 8))
        fits[0] = True
        self._kept = [(keys[order[fits]], units.chosen(order[fits]))]
        self._n_rows = len(self._kept[0][1].X)


def end_to_end(parts: Sequence[Units]) -> Units:
    """All of them as one."""

    def joined(values: Iterable[np.ndarray | None]) -> np.ndarray | None:
        values = list(values)
        return None if values[0] is None else np.concatenate(values)  # type: ignore[arg-type]

    X = np.concatenate([part.X for part in parts])
    return Units(X, joined(p.target for p in parts), joined(p.weights for p in parts), joined(p.lengths for p in parts))
