"""What the hidden directions of linear models are made of."""

from __future__ import annotations

import numpy as np

from emnet.report import svg
from emnet.report.page import Section, Table
from emnet.report.subject import Subject
from emnet.report.words import number

_MOST = 40


def section(subject: Subject) -> Section | None:
    """Loadings in the units of the columns' standard deviations, so that they compare."""
    model = subject.estimator
    loadings = np.asarray(model.loadings_)
    if len(loadings) != len(subject.fields):
        return None
    sd = np.sqrt(np.diag(model.get_covariance()))
    scaled = loadings / sd[:, None]
    rows = [
        (svg.text(field.name, 60), *(number(x) for x in own), f"{1 - (own**2).sum():.0%}")
        for field, own in zip(subject.fields[:_MOST], scaled, strict=False)
    ]
    header = ("column", *(f"direction {j}" for j in range(loadings.shape[1])), "noise")
    shades = [[0.0, *np.minimum(np.abs(own), 1).tolist(), 0.0] for own in scaled[:_MOST]]
    lead = (
        "How far each column moves along each hidden direction, in its standard deviations; noise is the share of its "
        "variance that no direction explains."
    )
    return Section("loadings", "What the directions are made of", lead, tables=[Table(header, rows, shades=shades)])
