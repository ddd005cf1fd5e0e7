"""What a model says over a plane of two inputs, or along a single one, the others being what they usually are."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from emnet.report import svg
from emnet.report.scenes import plane
from emnet.report.scenes.scene import Artists
from emnet.report.subject import Subject

_CELLS, _ALONG = 56, 120
_FAINT = 0.38  # opacity of regions, which lets either background through
_PARTS_OF_TARGET = 4


def groups(subject: Subject) -> np.ndarray:
    """Of the rows their class, or of numbers the quarter they are in, as (n, g) shares."""
    if subject.task.name == "classes":
        own = subject.labels
        return (own[:, None] == np.arange(len(subject.classes))).astype(float)
    y = np.asarray(subject.rows.y, dtype=float).reshape(len(subject.X), -1)[:, 0]
    cuts = np.quantile(y, np.linspace(0, 1, _PARTS_OF_TARGET + 1)[1:-1])
    return (np.searchsorted(cuts, y)[:, None] == np.arange(_PARTS_OF_TARGET)).astype(float)


def two_inputs(subject: Subject) -> list[int]:
    """Those asked for, then those that tell targets apart best: two, or as many as there are."""
    asked = [j for j in subject.measured if subject.fields[j].name in subject.show]
    rest = plane.telling(subject.X, groups(subject), [j for j in subject.measured if j not in asked])
    return sorted([*asked, *rest][:2])


def usually(subject: Subject) -> np.ndarray:
    """Of each input the median, of words the most frequent one: (d,)."""
    found = []
    for j, own in enumerate(subject.fields):
        seen = subject.X[~np.isnan(subject.X[:, j]), j]
        if not seen.size:
            found.append(np.nan)
        elif own.is_category:
            values, counts = np.unique(seen, return_counts=True)
            found.append(float(values[counts.argmax()]))
        else:
            found.append(float(np.median(seen)))
    return np.array(found)


def others(subject: Subject, columns: Sequence[int]) -> str:
    """A sentence on the inputs that a picture does not show."""
    left = len(subject.fields) - len(columns)
    if not left:
        return ""
    return (
        f"The other {'input is' if left == 1 else f'{left} inputs are'} held at the median or the most frequent value."
    )


def grid(subject: Subject, columns: Sequence[int], holes: bool = False) -> Any:
    """Rows of a lattice over the columns, row by row from below, as the estimator takes them.

    The others are what they usually are, or with `holes` missing.
    """
    ends = [plane.limits(subject.X[:, j]) for j in columns]
    n = _CELLS if len(columns) == 2 else _ALONG
    edges = [np.linspace(*end, n + 1) for end in ends]
    centers = [(edge[1:] + edge[:-1]) / 2 for edge in edges]
    mesh = np.meshgrid(*centers)
    usual = np.full(subject.X.shape[1], np.nan) if holes else usually(subject)
    table = np.repeat(usual[None], mesh[0].size, axis=0)
    for j, own in zip(columns, mesh, strict=True):
        table[:, j] = own.ravel()
    return subject.complete(table)


def along(subject: Subject, column: int) -> np.ndarray:
    """The places of `grid` over a single column."""
    edge = np.linspace(*plane.limits(subject.X[:, column]), _ALONG + 1)
    return (edge[1:] + edge[:-1]) / 2


def frame(axes: Any, subject: Subject, columns: Sequence[int]) -> None:
    """Axes over one input and what is predicted, or over two."""
    axes.set_xlim(*plane.limits(subject.X[:, columns[0]]))
    plane.label_axes(axes, subject.fields, columns)
    if len(columns) == 2:
        axes.set_ylim(*plane.limits(subject.X[:, columns[1]]))


def image(axes: Any, colors: np.ndarray) -> Artists:
    """(cells², 3) colors as a faint picture over the axes."""
    square = np.concatenate((colors, np.full((len(colors), 1), _FAINT)), axis=1).reshape(_CELLS, _CELLS, 4)
    ends = (*axes.get_xlim(), *axes.get_ylim())
    return [axes.imshow(square, origin="lower", extent=ends, aspect="auto", interpolation="nearest", zorder=0)]


def rows_by_class(axes: Any, subject: Subject, columns: Sequence[int], heights: np.ndarray | None = None) -> None:
    """Some of the rows, each class with a color and a mark of its own."""
    X, own = subject.X[subject.drawn], subject.labels[subject.drawn]
    y = X[:, columns[1]] if heights is None else heights
    for k, name in enumerate(subject.classes):
        mark = svg.MARKERS[k % len(svg.MARKERS)]
        here = own == k
        if here.any():
            disks = plane.points(axes, X[here, columns[0]], y[here], svg.color(k), mark)
            disks[0].set_label(svg.text(name, 18))
    if len(subject.classes) <= len(svg.MARKERS):
        axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.16), ncols=4, fontsize=9, handletextpad=0.2)


def class_regions(axes: Any, subject: Subject, estimator: Any, columns: Sequence[int]) -> Artists:
    """p(class | inputs): as mixed colors over two inputs, as curves along one."""
    chances = np.asarray(estimator.predict_proba(grid(subject, columns)))
    if len(columns) == 2:
        return image(axes, svg.blended(chances))
    x = along(subject, columns[0])
    return [axes.plot(x, chances[:, k], color=svg.color(k), lw=1.8)[0] for k in range(chances.shape[1])]


def numbers_over(
    axes: Any, subject: Subject, estimator: Any, columns: Sequence[int], ends: tuple[float, float]
) -> Artists:
    """What is predicted: as shades between two ends over two inputs; along one as a line with two deviations around."""
    mean, sd = estimator.predict(grid(subject, columns), return_std=True)
    mean, sd = (np.asarray(part, dtype=float).reshape(len(mean), -1)[:, 0] for part in (mean, sd))
    if len(columns) == 2:
        from matplotlib import colormaps

        return image(axes, colormaps["viridis"](np.clip((mean - ends[0]) / (ends[1] - ends[0]), 0, 1))[:, :3])
    x = along(subject, columns[0])
    band = axes.fill_between(x, mean - 2 * sd, mean + 2 * sd, color=svg.color(0), alpha=0.2, lw=0)
    return [band, axes.plot(x, mean, color=svg.color(0), lw=1.8)[0]]


def target(subject: Subject) -> np.ndarray:
    """Of the drawn rows the number that is explained, the first of several."""
    return np.asarray(subject.rows.y, dtype=float).reshape(len(subject.X), -1)[subject.drawn, 0]


def target_ends(subject: Subject) -> tuple[float, float]:
    """The ends of its axis."""
    return plane.limits(target(subject))
