"""A fit that fails before it has parameters leaves the estimator as it was."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from emnet.exceptions import UnfinishedFit


@contextmanager
def keeping_what_was_fitted(estimator: Any) -> Iterator[None]:
    """Undo what a failed fit set; one that was interrupted or degenerated has set its best parameters."""
    before = dict(vars(estimator))
    try:
        yield
    except BaseException as error:
        if not isinstance(error, UnfinishedFit) or error.fit is None:
            estimator.__dict__.clear()
            estimator.__dict__.update(before)
        raise
