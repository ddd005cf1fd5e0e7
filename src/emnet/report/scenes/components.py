"""Mixtures: rows colored by whose they are, and the components as ellipses, or as curves over a single column."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np

from emnet.report import svg
from emnet.report.scenes import plane, shares
from emnet.report.scenes.gaussians import gaussians_of
from emnet.report.scenes.scene import Artists, Scene
from emnet.report.subject import Subject


def scene(subject: Subject) -> Scene:
    """Over the two columns in which the components lie furthest apart; of words alone, their shares."""
    found = gaussians_of(subject.estimator, len(subject.fields))
    columns = [] if found is None else [j for j in subject.measured if j in found.columns]
    if not columns:
        return shares.scene(subject)
    chances = np.asarray(subject.estimator.predict_proba(subject.some.X))
    asked = [j for j in columns if subject.fields[j].name in subject.show]
    best = plane.telling(subject.X[subject.drawn], chances, [j for j in columns if j not in asked])
    chosen = sorted([*asked, *best][:2])
    return (Components if len(chosen) == 2 else Curves)(subject, chosen)


class Components(Scene):
    """Ellipses."""

    e_says: ClassVar[str] = (
        "Each row asks every component: how probable is it that I come from you? The answers, the responsibilities, "
        "mix the components' colors. The ellipses stay where they are."
    )
    m_says: ClassVar[str] = (
        "Each component moves to the mean of the rows, every one counted as much as it belongs to it, and takes their "
        "spread. The colors stay as they are."
    )

    def __init__(self, subject: Subject, columns: list[int]):
        super().__init__(subject, columns)
        first, second = (svg.text(subject.fields[j].name) for j in columns)
        k = len(np.asarray(subject.estimator.weights_))
        self.sees = (
            f"Each disk is a row, in the colors of the components that it belongs to; an ellipse reaches two standard "
            f"deviations from the mean of its component, over {first} and {second}."
        )
        self.alt = (
            f"Scatter plot of {len(subject.drawn)} rows over {first} and {second} with {k} components as ellipses."
        )

    def base(self, figure: Any) -> None:
        self.axes = figure.subplots()
        self.xy = self.subject.X[self.subject.drawn][:, self.columns]
        self.axes.set_xlim(*self.ends(self.columns[0]))
        self.axes.set_ylim(*self.ends(self.columns[1]))
        plane.label_axes(self.axes, self.subject.fields, self.columns)

    def posterior(self, estimator: Any) -> Artists:
        colors = svg.FAINT if estimator is None else svg.blended(estimator.predict_proba(self.subject.some.X))
        return plane.points(self.axes, self.xy[:, 0], self.xy[:, 1], colors)

    def parameters(self, estimator: Any) -> Artists:
        found = gaussians_of(estimator, len(self.subject.fields))
        assert found is not None
        return plane.ellipses(self.axes, found, self.columns)


class Curves(Scene):
    """Densities over the only column of numbers."""

    e_says: ClassVar[str] = (
        "Each row asks every component: how probable is it that I come from you? That is the share of its curve in the "
        "sum of all at that place, and mixes the disks' colors."
    )
    m_says: ClassVar[str] = Components.m_says

    def __init__(self, subject: Subject, columns: list[int]):
        super().__init__(subject, columns)
        (self.column,) = columns
        name = svg.text(subject.fields[self.column].name)
        self.sees = (
            f"Curves are the components' densities over {name}, dotted their sum; the bars are how the rows are "
            "spread, and the disks some of them, in the colors of the components that they belong to."
        )
        self.alt = f"Histogram of {name} with the densities of {len(subject.estimator.weights_)} components."

    def base(self, figure: Any) -> None:
        self.axes = figure.subplots()
        own = self.subject.X[:, self.column]
        plane.histogram(self.axes, own, self.ends(self.column))
        self.axes.set_xlim(*self.ends(self.column))
        self.axes.set_ylabel("density")
        plane.label_axes(self.axes, self.subject.fields, [self.column])
        self.top = self.axes.get_ylim()[1]
        self.axes.set_ylim(-0.12 * self.top, 1.25 * self.top)
        self.x = self.subject.X[self.subject.drawn, self.column]
        self.y = -self.top * (0.02 + 0.08 * (np.arange(len(self.x)) * 0.618 % 1))

    def posterior(self, estimator: Any) -> Artists:
        colors = svg.FAINT if estimator is None else svg.blended(estimator.predict_proba(self.subject.some.X))
        return plane.points(self.axes, self.x, self.y, colors)

    def parameters(self, estimator: Any) -> Artists:
        found = gaussians_of(estimator, len(self.subject.fields))
        assert found is not None
        return plane.curves(self.axes, found, self.column)
