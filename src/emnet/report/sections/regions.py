"""What the model says over the plane of two inputs."""

from __future__ import annotations

from typing import Any

import numpy as np

from emnet.report import svg
from emnet.report.page import Figure, Section
from emnet.report.scenes import plane
from emnet.report.scenes import regions as drawing
from emnet.report.scenes.gaussians import gaussians_of
from emnet.report.subject import Subject

_SIZE = (6.2, 4.6)
_HOW_TO_CHOOSE = "Two other inputs: emnet explain --show A --show B, or write(…, show=(A, B))."


def of_classes(subject: Subject) -> Section | None:
    """Decision regions of a classifier."""
    columns = drawing.two_inputs(subject) if subject.task.name == "classes" else []
    if not columns:
        return None

    def paint(figure: Any) -> None:
        axes = figure.subplots()
        drawing.frame(axes, subject, columns)
        heights = None
        if len(columns) == 1:
            axes.set_ylabel("probability")
            axes.set_ylim(-0.14, 1.04)
            heights = -0.02 - 0.1 * (np.arange(len(subject.drawn)) * 0.618 % 1)
        drawing.class_regions(axes, subject, subject.estimator, columns)
        drawing.rows_by_class(axes, subject, columns, heights)

    names = _names(subject, columns)
    what = "colors mix" if len(columns) == 2 else "curves are"
    lead = f"The {what} the classes' probabilities over {names}; marks are rows by their class."
    return _section(subject, columns, "Decision regions", lead, paint, f"Decision regions over {names}.")


def of_components(subject: Subject) -> Section | None:
    """Where a mixture of numbers would say that a row belongs, of whose other columns nothing is known."""
    found = gaussians_of(subject.estimator, len(subject.fields)) if subject.task.name == "density" else None
    if found is None or found.means.shape[1] != len(subject.fields) or len(found.weights) < 2:
        return None
    columns = [j for j in subject.measured if j in found.columns]
    if len(columns) < 2:
        return None
    shares = np.asarray(subject.estimator.predict_proba(subject.some.X))
    asked = [j for j in columns if subject.fields[j].name in subject.show]
    rest = plane.telling(subject.X[subject.drawn], shares, [j for j in columns if j not in asked])
    pair = sorted([*asked, *rest][:2])

    def paint(figure: Any) -> None:
        axes = figure.subplots()
        drawing.frame(axes, subject, pair)
        chances = subject.estimator.predict_proba(drawing.grid(subject, pair, holes=True))
        drawing.image(axes, svg.blended(np.asarray(chances)))
        X = subject.X[subject.drawn]
        plane.points(axes, X[:, pair[0]], X[:, pair[1]], svg.blended(shares))

    names = _names(subject, pair)
    lead = (
        f"To which component a row belongs of which {names} are known and nothing else: the colors mix the components' "
        "probabilities. Disks are rows, colored by all that is known of them."
    )
    return _section(subject, pair, "Whose is a row?", lead, paint, f"Regions of the components over {names}.", False)


def of_numbers(subject: Subject) -> Section | None:
    """What a regression predicts."""
    columns = drawing.two_inputs(subject) if subject.task.name == "numbers" else []
    if not columns:
        return None
    y = drawing.target(subject)
    ends = (float(y.min()), float(y.max()) if y.max() > y.min() else float(y.min()) + 1.0)
    one = len(columns) == 1

    def paint(figure: Any) -> None:
        axes = figure.subplots()
        drawing.frame(axes, subject, columns)
        X = subject.X[subject.drawn]
        if one:
            axes.set_ylabel(svg.text(subject.target))
            plane.points(axes, X[:, columns[0]], y, svg.FAINT)
        else:
            from matplotlib import colormaps
            from matplotlib.cm import ScalarMappable
            from matplotlib.colors import Normalize

            shades = colormaps["viridis"]((y - ends[0]) / (ends[1] - ends[0]))[:, :3]
            plane.points(axes, X[:, columns[0]], X[:, columns[1]], shades)
            figure.colorbar(ScalarMappable(Normalize(*ends), "viridis"), ax=axes, label=svg.text(subject.target))
        drawing.numbers_over(axes, subject, subject.estimator, columns, ends)

    names, what = _names(subject, columns), svg.text(subject.target)
    lead = (
        f"The line is the mean that is predicted of {what} along {names}, the band two standard deviations."
        if one
        else f"The background is the mean that is predicted of {what} over {names}; disks are rows, by their own."
    )
    return _section(subject, columns, "What is predicted", lead, paint, f"Prediction of {what} over {names}.")


def _section(
    subject: Subject, columns: list[int], heading: str, lead: str, paint: Any, alt: str, held: bool = True
) -> Section:
    others = drawing.others(subject, columns) if held else ""
    figure = Figure(svg.draw("regions", _SIZE, paint), alt)
    more = [_HOW_TO_CHOOSE] if len(subject.measured) > 2 and not subject.show else []
    return Section("regions", heading, f"{lead} {others}".strip(), [figure], notes=more)


def _names(subject: Subject, columns: list[int]) -> str:
    return " and ".join(svg.text(subject.fields[j].name) for j in columns)
