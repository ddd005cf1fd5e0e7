"""Reports of fitted estimators, and of the command line's models, as HTML files."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sklearn.exceptions import NotFittedError
from sklearn.utils.validation import check_is_fitted

from emnet.estimators.description import Inside
from emnet.exceptions import InvalidInputError
from emnet.report.film import Film
from emnet.report.page import Page, Section, html, require_report
from emnet.report.sections import sections_of
from emnet.report.subject import Subject, of_arrays, task_of
from emnet.report.words import several


def write(
    estimator: Any,
    X: Any,
    y: Any = None,
    *,
    path: str | os.PathLike,
    lengths: Any = None,
    film: Film | None = None,
    show: Sequence[str] = (),
    title: str | None = None,
) -> Path:
    """Write a report of an estimator on those rows: one HTML file that needs nothing else.

    An estimator that is not fitted is fitted first, and its iterations can then be stepped through. Of one that is they
    can where its fit was recorded: ``with Film() as film: model.fit(X)``.

    Parameters
    ----------
    X, y : rows, and the targets of a classifier or regressor. Those of the fit, or others.
    lengths : of sequences end to end.
    film : the recorded fit.
    show : names of one or two inputs to draw things over, in place of those that tell most.
    title : of the page.

    Raises
    ------
    MissingDependencyError : matplotlib or jinja2 is not installed.
    InvalidInputError : X, y or a name in `show` cannot be used.

    Examples
    --------
    >>> import tempfile
    >>> from emnet import GaussianMixture, report
    >>> X = [[0.0, 0.1], [0.2, 0.0], [0.1, 0.2], [5.0, 5.2], [5.2, 5.0], [5.1, 5.1]]
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     report.write(GaussianMixture(2, prior="auto", random_state=0), X, path=f"{folder}/report.html").name
    'report.html'
    """
    require_report()
    usual = None
    if not _is_fitted(estimator):
        film, usual = Film(), True
        with film:
            _fit(estimator, X, y, lengths)
    inner = (
        estimator._inside(X) if hasattr(estimator, "_inside") else Inside(getattr(estimator, "model_", estimator), X)
    )
    more: dict[str, Any] = {"film": film, "usual": usual, "show": tuple(map(str, show)), "note": inner.note}
    subject = of_arrays(inner.model, inner.X, y, lengths, inner.names, **more)
    return write_subject(subject, path, title or f"{type(estimator).__name__}: {several(len(subject.X), 'row')}")


def write_subject(
    subject: Subject,
    path: str | os.PathLike,
    title: str,
    extra: Sequence[Section] = (),
    only: Sequence[str] | None = None,
) -> Path:
    """The page of a subject; `extra` sections stand after the data; of the others, where it is said, `only` some."""
    for name in subject.show:
        if name not in (field.name for field in subject.fields):
            raise InvalidInputError(
                f"There is no input {name!r} to show; there are {', '.join(f.name for f in subject.fields)}."
            )
    found = sections_of(subject, only)
    place = sum(section.name == "data" for section in found[:1])
    return write_page(Page(title, subject.note or _about(subject), [*found[:place], *extra, *found[place:]]), path)


def write_page(page: Page, path: str | os.PathLike) -> Path:
    target = Path(path)
    target.write_text(html(page), encoding="utf-8")
    return target


def _about(subject: Subject) -> str:
    return f"A {type(subject.estimator).__name__} of emnet, in pictures and figures."


def _is_fitted(estimator: Any) -> bool:
    try:
        check_is_fitted(estimator)
    except NotFittedError:
        return False
    return True


def _fit(estimator: Any, X: Any, y: Any, lengths: Any) -> None:
    task = task_of(estimator, y, lengths)
    if task.name in ("sequences", "paths"):
        estimator.fit(*(part for part in (X, y) if part is not None), lengths=lengths)
    else:
        estimator.fit(X) if y is None else estimator.fit(X, y)
