"""The graph of a chain's transitions."""

from __future__ import annotations

from typing import Any

import numpy as np

from emnet.report import svg
from emnet.report.page import Figure, Section, Table
from emnet.report.subject import Subject
from emnet.report.words import percent

_WORTH_DRAWING = 0.02
_MOST = 12


def section(subject: Subject) -> Section | None:
    steps = np.asarray(subject.estimator.transmat_, dtype=float)
    if steps.ndim != 2 or len(steps) < 2:
        return None
    start = np.asarray(getattr(subject.estimator, "startprob_", np.full(len(steps), np.nan)))
    names = [f"state {k}" for k in range(len(steps))]
    rows = [(f"from {names[k]}", *(percent(p) for p in own), percent(start[k])) for k, own in enumerate(steps)]
    shades = [[0.0, *own.tolist(), 0.0] for own in steps]
    table = Table(("", *(f"to {name}" for name in names), "at the start"), rows, "Transition probabilities.", shades)
    stays, longest = int(np.argmax(np.diag(steps))), float(np.diag(steps).max())
    lead = (
        f"Arrows are the steps from state to state, the thicker the more probable; those below "
        f"{percent(_WORTH_DRAWING)} are left out. State {stays} holds on most, with probability {percent(longest)}."
    )
    figures = [_graph(steps)] if len(steps) <= _MOST else []
    return Section("transitions", "From state to state", lead, figures, [table])


def _graph(steps: np.ndarray) -> Figure:
    """States on a circle."""
    k = len(steps)
    angles = np.pi / 2 - 2 * np.pi * np.arange(k) / k
    places = np.column_stack((np.cos(angles), np.sin(angles)))

    def paint(figure: Any) -> None:
        axes = figure.subplots()
        axes.set_axis_off()
        axes.set_aspect("equal")
        axes.set_xlim(places[:, 0].min() - 0.8, places[:, 0].max() + 0.8)
        axes.set_ylim(places[:, 1].min() - 0.8, places[:, 1].max() + 0.8)
        for i in range(k):
            for j in range(k):
                if steps[i, j] >= _WORTH_DRAWING:
                    _loop(axes, places[i], steps[i, i], i) if i == j else _arrow(
                        axes, places[i], places[j], steps[i, j], i
                    )
            axes.scatter(*places[i][:, None], s=620, color=svg.color(i), linewidths=0, zorder=4)
            axes.text(*places[i], str(i), color="#ffffff", ha="center", va="center", weight="bold", zorder=5)

    return Figure(svg.draw("transitions", (4.2, 4.2), paint), f"Graph of {k} states with arrows for their transitions.")


def _arrow(axes: Any, start: np.ndarray, end: np.ndarray, p: float, state: int) -> None:
    from matplotlib.patches import FancyArrowPatch

    arrow = FancyArrowPatch(
        tuple(start), tuple(end), connectionstyle="arc3,rad=0.18", arrowstyle="-|>", mutation_scale=11 + 6 * p,
        shrinkA=15, shrinkB=16, lw=0.8 + 4 * p, color=svg.color(state), zorder=2,
    )  # fmt: skip
    axes.add_patch(arrow)
    along = end - start
    side = np.array([along[1], -along[0]]) * 0.14
    axes.text(*((start + end) / 2 + side), percent(p), ha="center", va="center", fontsize=9, zorder=6)


def _loop(axes: Any, place: np.ndarray, p: float, state: int) -> None:
    from matplotlib.patches import Circle

    axes.add_patch(Circle(tuple(1.27 * place), 0.2, fill=False, ec=svg.color(state), lw=0.8 + 4 * p, zorder=1))
    axes.text(*(1.6 * place), percent(p), ha="center", va="center", fontsize=9)
