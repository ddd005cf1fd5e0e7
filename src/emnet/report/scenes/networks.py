"""The EM-MLP: what its hidden bits are thought to be for each row, and what the network makes of the inputs."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np

from emnet.report import svg
from emnet.report.scenes import plane, regions
from emnet.report.scenes.scene import Artists, Over, Scene
from emnet.report.subject import Subject


def scene(subject: Subject) -> Scene | None:
    return Network(subject, regions.two_inputs(subject))


class Network(Scene):
    """Left E[z | x, y], a line for each row and a column for each unit; right the prediction over the inputs."""

    size = (6.8, 4.2)
    e_says: ClassVar[str] = (
        "Of each row the hidden bits are not known. Input and target together say how probable each is to be 1, over "
        "all configurations of the others: the fuller the color of a cell on the left, the surer."
    )
    m_says: ClassVar[str] = (
        "The units learn to give those bits from the inputs, and the output to give the target from the bits, each by "
        "a regression on what was only guessed: the prediction on the right changes."
    )

    def __init__(self, subject: Subject, columns: list[int]):
        super().__init__(subject, columns)
        order = subject.labels[subject.drawn] if subject.task.name == "classes" else regions.target(subject)
        self.order = np.argsort(order, kind="stable")
        m = subject.estimator.hidden_posterior(subject.some.X[:1]).shape[1]
        names = " and ".join(svg.text(subject.fields[j].name) for j in self.columns)
        self.sees = (
            f"Left: for {len(self.order)} rows, sorted by {svg.text(subject.target)}, how probable each of {m} hidden "
            f"units is to be 1 given input and target. Right: what the network predicts over {names}. "
            f"{regions.others(subject, self.columns)}"
        ).strip()
        self.alt = f"Heat map of the posterior of {m} hidden units, and the prediction over {names}."

    def drawn_over(self) -> list[Over]:
        own = self.subject.task.name == "numbers" and len(self.columns) == 1
        target = [(regions.target(self.subject), regions.target_ends(self.subject))] if own else []
        return [*super().drawn_over(), *target]

    def base(self, figure: Any) -> None:
        self.left, self.axes = figure.subplots(1, 2, width_ratios=(1, 1.9))
        self.left.set_xlabel("hidden unit")
        self.left.set_ylabel(f"rows, by {svg.text(self.subject.target)}")
        self.left.set_yticks([])
        if not self.columns:
            self.axes.set_axis_off()
            return
        regions.frame(self.axes, self.subject, self.columns)
        heights = None
        if self.subject.task.name == "numbers":
            self._base_of_numbers()
            return
        if len(self.columns) == 1:
            self.axes.set_ylabel(f"p({svg.text(self.subject.target)})")
            self.axes.set_ylim(-0.14, 1.04)
            heights = -0.02 - 0.1 * (np.arange(len(self.subject.drawn)) * 0.618 % 1)
        regions.rows_by_class(self.axes, self.subject, self.columns, heights)

    def _base_of_numbers(self) -> None:
        y, self.shades = regions.target(self.subject), regions.target_ends(self.subject)
        x = self.subject.X[self.subject.drawn]
        if len(self.columns) == 1:
            self.axes.set_ylim(*self.shades)
            self.axes.set_ylabel(svg.text(self.subject.target))
            plane.points(self.axes, x[:, self.columns[0]], y, svg.FAINT)
            return
        from matplotlib import colormaps

        shades = colormaps["viridis"]((y - self.shades[0]) / (self.shades[1] - self.shades[0]))[:, :3]
        plane.points(self.axes, x[:, self.columns[0]], x[:, self.columns[1]], shades)

    def posterior(self, estimator: Any) -> Artists:
        if estimator is None:
            return []
        rows = self.subject.some
        bits = np.asarray(estimator.hidden_posterior(rows.X, rows.y), dtype=float)[self.order]
        colors = np.empty((*bits.shape, 4))
        colors[..., :3], colors[..., 3] = svg.rgb(0), np.round(np.clip(bits, 0.02, 1) * 32) / 32
        self.left.set_xticks(range(bits.shape[1]) if bits.shape[1] <= 12 else [])
        ends = (-0.5, bits.shape[1] - 0.5, 0, len(bits))
        return [self.left.imshow(colors, aspect="auto", interpolation="nearest", extent=ends)]

    def parameters(self, estimator: Any) -> Artists:
        if not self.columns:
            return []
        if self.subject.task.name == "classes":
            return regions.class_regions(self.axes, self.subject, estimator, self.columns)
        return regions.numbers_over(self.axes, self.subject, estimator, self.columns, self.shades)
