"""The sections of a page, one a file, and the table that says which of them a model has."""

from __future__ import annotations

from collections.abc import Callable

from emnet.report.page import Section
from emnet.report.sections import (
    classes,
    criteria,
    data,
    evidence,
    loadings,
    model,
    pit,
    regions,
    settings,
    steps,
    surprising,
    transitions,
    weights,
)
from emnet.report.subject import Subject

SECTIONS: tuple[tuple[tuple[str, ...], Callable[[Subject], Section | None]], ...] = (  # what each needs, in page order
    ((), data.section),
    (("history_",), evidence.section),
    ((), steps.section),
    ((), model.section),
    (("hidden_weights_",), weights.section),
    (("loadings_",), loadings.section),
    (("transmat_",), transitions.section),
    (("predict_proba", "classes_"), regions.of_classes),
    (("predict_proba", "weights_", "sample_missing"), regions.of_components),
    (("log_density",), regions.of_numbers),
    (("predict_proba", "classes_"), classes.section),
    (("distribution", "log_density"), pit.of_targets),
    (("sample_missing",), pit.of_columns),
    ((), surprising.section),
    ((), criteria.section),
    ((), settings.section),
)


def sections_of(subject: Subject) -> list[Section]:
    """Those that have something to say of the subject."""
    found = (make(subject) for needs, make in SECTIONS if subject.can(*needs))
    return [section for section in found if section is not None]
