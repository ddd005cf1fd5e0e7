"""New rows from a fitted model, given some of their values or none."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from emnet.applications.impute import Imputing
from emnet.data.frames import rows_given


def sample(model: Imputing, like: Any, n: int, given: Mapping[Any, Any] | None = None, random_state: Any = None) -> Any:
    """Draw n rows from p(row | the given values), by column: a table of the kind of `like`, whose rows do not matter.

    A row of which nothing is known has the prior as its posterior (law 9), so drawing what is missing draws it all.

    Raises InvalidInputError for a column that `like` does not have.
    """
    return model.sample_missing(rows_given(like, n, given or {}), random_state)
