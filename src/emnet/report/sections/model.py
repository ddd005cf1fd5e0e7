"""The fitted model as a picture, and its parts as a table."""

from __future__ import annotations

from typing import Any

import numpy as np

from emnet.report import svg
from emnet.report.page import Figure, Section, Table
from emnet.report.scenes import scene_for
from emnet.report.scenes.gaussians import gaussians_of
from emnet.report.subject import Subject
from emnet.report.words import number, percent

_MOST_PARTS, _MOST_COLUMNS = 12, 8


def section(subject: Subject) -> Section | None:
    """The same drawing that the slider has, at the end."""
    scene = scene_for(subject)
    if scene is None:
        return None

    def paint(figure: Any) -> None:
        scene.base(figure)
        scene.posterior(subject.estimator)
        scene.parameters(subject.estimator)

    figure = Figure(svg.draw("model", scene.size, paint), scene.alt, wide=scene.size[0] > 6.5)
    parts = _parts(subject)
    return Section("model", "The model", scene.sees, [figure], [parts] if parts else [], notes=scene.notes)


def _parts(subject: Subject) -> Table | None:
    """Of Gaussian components and states their share, and mean ± standard deviation by column."""
    found = gaussians_of(subject.estimator, len(subject.fields))
    if found is None or found.means.shape[1] != len(subject.fields):
        return None
    columns = found.columns[:_MOST_COLUMNS]
    k = min(len(found.weights), _MOST_PARTS)
    rows = [("share", *(percent(share) for share in found.weights[:k]))]
    for j in columns:
        field, deviations = subject.fields[j], np.sqrt(found.covariances[:, j, j])
        dates = field.kind == "date"
        middles = field.decode(found.means[:, j]) if dates else [number(mean) for mean in found.means[:, j]]
        unit = " days" if dates else ""
        cells = [f"{mean} ± {number(sd)}{unit}" for mean, sd in zip(middles, deviations, strict=True)]
        rows.append((svg.text(field.name, 60), *cells[:k]))
    return Table(("", *(str(part) for part in range(k))), rows, "Each part's mean ± standard deviation.")
