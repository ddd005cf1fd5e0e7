"""Models of parts without a place in a plane: a strip of who belongs to whom, and bars of how large the parts are."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np

from emnet.report import svg
from emnet.report.scenes.scene import Artists, Scene
from emnet.report.subject import Subject

_ROWS = 120


def scene(subject: Subject) -> Scene:
    return Shares(subject)


class Shares(Scene):
    """Columns of color: each row of the table, divided among the parts."""

    size = (6.2, 3.6)
    e_says: ClassVar[str] = "Each row is divided among the parts, by how probable it is that it comes from them."
    m_says: ClassVar[str] = "Each part learns from the rows, every one counted as much as it belongs to it."

    def __init__(self, subject: Subject):
        super().__init__(subject)
        chances = self._chances(subject.estimator)
        self.order = np.lexsort((-chances.max(axis=1), chances.argmax(axis=1)))[:: -(-len(chances) // _ROWS)]
        self.sees = (
            "Each upright line is a row of the table, divided in the colors of the parts that it belongs to; the bars "
            "beside say how large the parts are."
        )
        self.alt = f"Posterior shares of {len(self.order)} rows among {chances.shape[1]} parts."

    def _chances(self, estimator: Any) -> np.ndarray:
        rows = self.subject.some
        return np.asarray(estimator.predict_proba(*((rows.X,) if rows.lengths is None else (rows.X, rows.lengths))))

    def base(self, figure: Any) -> None:
        self.left, self.right = figure.subplots(1, 2, width_ratios=(4, 1))
        self.left.set_xlabel("rows, sorted by the part that they end in")
        self.left.set_ylabel("p(part | row)")
        self.left.set_xlim(0, len(self.order))
        self.left.set_ylim(0, 1)
        self.left.set_xticks([])
        self.right.set_ylim(0, 1)
        self.right.set_ylabel("share")
        self.right.set_xlabel("part")

    def posterior(self, estimator: Any) -> Artists:
        if estimator is None:
            return []
        return strip(self.left, self._chances(estimator)[self.order])

    def parameters(self, estimator: Any) -> Artists:
        weights = np.asarray(getattr(estimator, "weights_", self._chances(estimator).mean(axis=0)))
        self.right.set_xticks(range(len(weights)))
        return list(self.right.bar(range(len(weights)), weights, color=[svg.color(k) for k in range(len(weights))]))


def strip(axes: Any, chances: np.ndarray) -> Artists:
    """(n, k) chances as a stack of colors over the rows."""
    edges = np.arange(len(chances) + 1)
    tops = np.cumsum(chances, axis=1)
    tops = np.vstack((tops, tops[-1:]))
    floor = np.zeros(len(edges))
    found = []
    for k in range(chances.shape[1]):
        found.append(axes.fill_between(edges, floor, tops[:, k], step="post", color=svg.color(k), lw=0))
        floor = tops[:, k]
    return found
