"""The sections of a page, one a file, and the table that says which of them a model has."""

from __future__ import annotations

from collections.abc import Callable, Sequence

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

SECTIONS: tuple[tuple[str, tuple[str, ...], Callable[[Subject], Section | None]], ...] = (
    # in the order of the page: the name, what the estimator must have, and what makes it
    ("data", (), data.section),
    ("evidence", ("history_",), evidence.section),
    ("steps", ("history_",), steps.section),
    ("model", (), model.section),
    ("weights", ("hidden_weights_",), weights.section),
    ("loadings", ("loadings_",), loadings.section),
    ("transitions", ("transmat_",), transitions.section),
    ("regions", ("predict_proba", "classes_"), regions.of_classes),
    ("regions", ("predict_proba", "weights_", "sample_missing"), regions.of_components),
    ("regions", ("log_density",), regions.of_numbers),
    ("classes", ("predict_proba", "classes_"), classes.section),
    ("pit", ("distribution", "log_density"), pit.of_targets),
    ("pit", ("sample_missing",), pit.of_columns),
    ("surprising", (), surprising.section),
    ("criteria", (), criteria.section),
    ("settings", (), settings.section),
)

_OF_ROWS = ("regions", "classes", "pit")  # which look at each row alone, and so at no sequence


def sections_of(subject: Subject, only: Sequence[str] | None = None) -> list[Section]:
    """Those that have something to say of the subject, and of those, where it is said, only some."""
    left_out = () if subject.rows.lengths is None else _OF_ROWS
    asked = [(needs, make) for name, needs, make in SECTIONS if (only is None or name in only) and name not in left_out]
    found = (make(subject) for needs, make in asked if subject.can(*needs))
    return [section for section in found if section is not None]
