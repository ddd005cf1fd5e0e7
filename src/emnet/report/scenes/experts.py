"""Mixtures of experts: who answers where, and for which rows."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np

from emnet.report import svg
from emnet.report.scenes import plane, regions
from emnet.report.scenes.scene import Artists, Over, Scene
from emnet.report.subject import Subject


def scene(subject: Subject) -> Scene | None:
    """Over the two inputs that tell the targets apart best; of a single input the experts' lines."""
    columns = regions.two_inputs(subject)
    if not columns:
        return None
    lines = len(columns) == 1 and subject.task.name == "numbers" and subject.can("predict_distribution")
    return Lines(subject, columns) if lines else Gate(subject, columns)


class Gate(Scene):
    """p(expert | x) as colors of the plane, or as curves along a single input."""

    e_says: ClassVar[str] = (
        "Each row asks every expert: how probable is my target if you answer, and does the gate send me to you? The "
        "responsibilities mix the experts' colors in the disks; the regions stay where they are."
    )
    m_says: ClassVar[str] = (
        "Each expert learns from the rows, every one counted as much as it belongs to it; the gate learns to send rows "
        "where they belong, so the regions move. The disks stay as they are."
    )

    def __init__(self, subject: Subject, columns: list[int]):
        super().__init__(subject, columns)
        names = " and ".join(svg.text(subject.fields[j].name) for j in columns)
        self.sees = (
            f"The background says whom the gate would ask at that place over {names}, the disks are rows in the colors "
            f"of the experts that explain them. {regions.others(subject, columns)}"
        ).strip()
        self.alt = f"Gate over {names}, and {len(subject.drawn)} rows colored by their experts."

    def base(self, figure: Any) -> None:
        self.axes = figure.subplots()
        regions.frame(self.axes, self.subject, self.columns)
        X = self.subject.X[self.subject.drawn]
        self.x = X[:, self.columns[0]]
        if len(self.columns) == 2:
            self.y = X[:, self.columns[1]]
            return
        self.axes.set_ylabel("p(expert | input)")
        self.axes.set_ylim(-0.14, 1.04)
        self.y = -0.02 - 0.1 * (np.arange(len(self.x)) * 0.618 % 1)

    def posterior(self, estimator: Any) -> Artists:
        rows = self.subject.some
        colors = svg.FAINT if estimator is None else svg.blended(estimator.responsibilities(rows.X, rows.y))
        return plane.points(self.axes, self.x, self.y, colors)

    def parameters(self, estimator: Any) -> Artists:
        chances = estimator.gate_proba(regions.grid(self.subject, self.columns))
        if len(self.columns) == 2:
            return regions.image(self.axes, svg.blended(chances))
        x = regions.along(self.subject, self.columns[0])
        return [self.axes.plot(x, own, color=svg.color(k), lw=1.8)[0] for k, own in enumerate(chances.T)]


class Lines(Gate):
    """The experts' predictions along the only input, as solid as the gate asks them."""

    e_says: ClassVar[str] = Gate.e_says.replace("the regions stay where they are", "the lines stay where they are")
    m_says: ClassVar[str] = (
        "Each expert's line is fitted anew to the rows, every one counted as much as it belongs to it; the gate learns "
        "where each is to be asked: there its line is thick."
    )

    def __init__(self, subject: Subject, columns: list[int]):
        super().__init__(subject, columns)
        name = svg.text(subject.fields[columns[0]].name)
        self.sees = (
            f"Each line is what an expert predicts of {svg.text(subject.target)} from {name}, thick where the "
            f"gate asks it; the disks are rows in the colors of the experts that explain them. "
            f"{regions.others(subject, columns)}"
        ).strip()
        self.alt = f"Scatter plot of {svg.text(subject.target)} against {name} with the experts' lines."

    def drawn_over(self) -> list[Over]:
        return [*super().drawn_over(), (regions.target(self.subject), regions.target_ends(self.subject))]

    def base(self, figure: Any) -> None:
        self.axes = figure.subplots()
        regions.frame(self.axes, self.subject, self.columns)
        self.x, self.y = self.subject.X[self.subject.drawn, self.columns[0]], regions.target(self.subject)
        self.axes.set_ylim(*regions.target_ends(self.subject))
        self.axes.set_ylabel(svg.text(self.subject.target))

    def parameters(self, estimator: Any) -> Artists:
        from matplotlib.collections import LineCollection

        found = estimator.predict_distribution(regions.grid(self.subject, self.columns))
        x, means = regions.along(self.subject, self.columns[0]), np.asarray(found.expert_means)
        means = means.reshape(len(x), -1) if means.ndim == 2 else means[..., 0]
        artists: Artists = []
        for k, (own, weight) in enumerate(zip(means.T, np.asarray(found.weights).T, strict=True)):
            artists += self.axes.plot(x, own, color=svg.color(k), lw=0.8, ls="--", zorder=3)
            places = np.column_stack((x, own))
            parts = np.stack((places[:-1], places[1:]), axis=1)
            thick = LineCollection(list(parts), colors=svg.color(k), linewidths=np.round(5 * weight[1:], 1), zorder=3)
            artists.append(self.axes.add_collection(thick))
        return artists
