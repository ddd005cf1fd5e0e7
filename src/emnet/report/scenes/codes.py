"""Models of hidden vectors: where the rows lie in the hidden space, and what comes back from there."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np

from emnet.report import svg
from emnet.report.scenes import plane
from emnet.report.scenes.gaussians import gaussians_of
from emnet.report.scenes.scene import Artists, Over, Scene
from emnet.report.subject import Subject


def scene(subject: Subject) -> Scene | None:
    return Codes(subject)


class Codes(Scene):
    """Left the rows' codes; right the rows, gray, and what the decoder makes of their codes."""

    size = (6.8, 3.8)
    e_says: ClassVar[str] = (
        "Each row is given a place in the hidden space: the mean of the vectors that could have made it. What the "
        "decoder makes of the space, on the right, stays."
    )
    m_says: ClassVar[str] = (
        "The way from the hidden space back to the table is learned from the rows and their places: what comes back, "
        "on the right, moves toward the rows."
    )

    def __init__(self, subject: Subject):
        super().__init__(subject)
        codes = self._codes(subject.estimator)
        spread = codes.var(axis=0)
        self.axes_shown = sorted(np.argsort(-spread, kind="stable")[:2].tolist())
        self.components = subject.can("weights_", "means_", "covariances_", "predict_proba")
        self.columns = self._columns()
        self.hue = self._hue(subject.estimator)
        of = "the component that it belongs to" if self.components else "where it lies in the hidden space at the end"
        self.sees = (
            f"Left: {len(codes)} rows in the hidden space of {codes.shape[1]} directions, over the two that "
            f"they differ in most, each colored by {of}. Right: the rows in gray, and in color what comes back."
            if codes.shape[1] > 1
            else f"Left: {len(codes)} rows along the hidden direction. Right: in color what comes back of them."
        )
        names = " and ".join(svg.text(subject.fields[j].name) for j in self.columns)
        self.alt = f"Scatter plot of {len(codes)} codes, and of the rows with their reconstructions over {names}."

    def _codes(self, estimator: Any) -> np.ndarray:
        return np.asarray(estimator.transform(self.subject.some.X), dtype=float)

    def _back(self, estimator: Any) -> np.ndarray:
        """What comes back of the rows, as numbers, (n, d)."""
        return self.subject.coded(estimator.inverse_transform(self._codes(estimator)))

    def _columns(self) -> list[int]:
        """The two columns that come back best."""
        X, back = self.subject.X[self.subject.drawn], self._back(self.subject.estimator)
        measured = self.subject.measured
        left = {j: np.nanvar(X[:, j] - back[:, j]) / max(np.nanvar(X[:, j]), 1e-300) for j in measured}
        asked = [j for j in measured if self.subject.fields[j].name in self.subject.show]
        rest = sorted((j for j in measured if j not in asked), key=lambda j: left[j])
        return sorted([*asked, *rest][:2])

    def _hue(self, estimator: Any) -> np.ndarray:
        if self.components:
            return svg.blended(np.asarray(estimator.predict_proba(self.subject.some.X)))
        codes = self._codes(estimator)
        along = codes[:, codes.var(axis=0).argmax()]
        rank = np.argsort(np.argsort(along, kind="stable"), kind="stable") / max(len(along) - 1, 1)
        return svg.blended(np.column_stack((1 - rank, rank)))

    def drawn_over(self) -> list[Over]:
        codes = self._codes(self.subject.estimator)[:, self.axes_shown]
        return [*super().drawn_over(), *((own, plane.limits(codes)) for own in codes.T)]

    def base(self, figure: Any) -> None:
        self.left, self.right = figure.subplots(1, 2)
        codes = self._codes(self.subject.estimator)[:, self.axes_shown]
        for axis, j in zip((self.left.xaxis, self.left.yaxis), self.axes_shown, strict=False):
            axis.set_label_text(f"hidden direction {j}")
        self.left.set_xlim(*plane.limits(codes))  # the same for both, as a direction that is not used is to look so
        if len(self.axes_shown) == 2:
            self.left.set_ylim(*plane.limits(codes))
        else:
            self.left.set_yticks([])
            self.left.set_ylim(-1, 1)
        if not self.columns:
            self.right.set_axis_off()
            return
        self.xy = self.subject.X[self.subject.drawn][:, self.columns]
        plane.label_axes(self.right, self.subject.fields, self.columns)
        self.right.set_xlim(*self.ends(self.columns[0]))
        if len(self.columns) == 2:
            self.right.set_ylim(*self.ends(self.columns[1]))
            plane.points(self.right, self.xy[:, 0], self.xy[:, 1], svg.FAINT)[0].set_alpha(0.35)
        else:
            self.right.set_ylabel("what comes back")

    def posterior(self, estimator: Any) -> Artists:
        if estimator is None:
            return []
        codes = self._codes(estimator)[:, self.axes_shown]
        second = codes[:, 1] if codes.shape[1] == 2 else 0.6 * np.cos(np.arange(len(codes)) * 2.4)
        return plane.points(self.left, codes[:, 0], second, self._hue(estimator) if self.components else self.hue)

    def parameters(self, estimator: Any) -> Artists:
        found = self._ellipses(estimator) if self.components else []
        if not self.columns:
            return found
        back = self._back(estimator)[:, self.columns]
        second = back[:, 1] if len(self.columns) == 2 else back[:, 0]
        first = back[:, 0] if len(self.columns) == 2 else self.xy[:, 0]
        return [*found, *plane.points(self.right, first, second, self.hue)]

    def _ellipses(self, estimator: Any) -> Artists:
        """Of mixtures in the hidden space."""
        own = gaussians_of(estimator, self._codes(estimator).shape[1])
        if own is None or len(self.axes_shown) < 2:
            return []
        return plane.ellipses(self.left, own, self.axes_shown)
