"""Checks of input that all estimators share."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from numbers import Integral, Real
from typing import Any

import numpy as np
from sklearn.utils.validation import _check_sample_weight

from emnet.exceptions import InvalidInputError

_NAMED_COLUMNS = 5


def require_no_negative(X: np.ndarray) -> None:
    """Raise InvalidInputError for a cell below 0 where counts or symbols belong, in the words of scikit-learn."""
    below = np.argwhere(X < 0)
    if len(below):
        row, column = below[0]
        raise InvalidInputError(
            f"Negative values in data: counts and symbols are nonnegative whole numbers; row {row}, column {column} "
            f"has {X[row, column]:g}."
        )


def require_finite(X: np.ndarray, names: np.ndarray | None, remedy: str, what: str = "X") -> None:
    """Raise InvalidInputError that names the columns with NaN or infinity and counts their cells."""
    bad = ~np.isfinite(X)
    if not bad.any():
        return
    kind = "NaN" if np.isnan(X).any() else "infinity"
    counts = bad.sum(axis=0)
    columns = np.flatnonzero(counts)
    parts = [f"{named_column(j, names)}: {counts[j]}" for j in columns[:_NAMED_COLUMNS]]
    more = f" and {len(columns) - _NAMED_COLUMNS} more columns" if len(columns) > _NAMED_COLUMNS else ""
    raise InvalidInputError(
        f"Input {what} contains {kind} (cells that are NaN or infinite, by column: {', '.join(parts)}{more}; "
        f"the first in row {int(np.flatnonzero(bad.any(axis=1))[0])}). {remedy}"
    )


def require_columns_seen(seen: np.ndarray, name: Callable[[int], Any] = int) -> None:
    """Raise InvalidInputError that gives the name of a column of which nothing is seen, (d,) bools."""
    empty = np.flatnonzero(~seen)
    if len(empty):
        raise InvalidInputError(
            f"Column {name(int(empty[0]))!r} has nothing but NaN: there is nothing to learn of it. Leave it out."
        )


def require_known_targets(y: Any, remedy: str = "") -> None:
    """Raise InvalidInputError that names the row and column of the first target that is NaN."""
    values = np.asarray(y)
    if not values.ndim or values.dtype.kind not in "fO":
        return
    missing = values != values if values.dtype.kind == "f" else np.vectorize(_is_missing, otypes=[bool])(values)
    if not missing.any():
        return
    where = np.argwhere(missing)[0]
    column = f", column {where[1]}" if len(where) > 1 else ""
    raise InvalidInputError(
        f"Input y contains NaN, first in row {where[0]}{column} ({int(missing.sum())} in all). Every target has to be "
        f"known: leave those rows out (X[~np.isnan(y)], y[~np.isnan(y)]){remedy}."
    )


def require_positive_integer(name: str, value: Any) -> None:
    require_whole_number(name, value, 1)


def require_whole_number(name: str, value: Any, least: int) -> None:
    if not isinstance(value, Integral) or isinstance(value, bool) or value < least:
        raise InvalidInputError(f"{name} must be a whole number of at least {least}; got {value!r}.")


def require_flag(name: str, value: Any) -> None:
    if not isinstance(value, (bool, np.bool_)):
        raise InvalidInputError(f"{name} must be True or False; got {value!r}.")


def require_verbosity(value: Any) -> None:
    """Raise InvalidInputError unless it is True, False, or a whole number of at least 0."""
    if not isinstance(value, (bool, np.bool_)):
        require_whole_number("verbose", value, 0)


def require_not_negative(name: str, value: Any) -> None:
    if not isinstance(value, Real) or isinstance(value, bool) or not 0 <= float(value) < float("inf"):
        raise InvalidInputError(f"{name} must be a finite number of at least 0; got {value!r}.")


def require_concentration(value: Any, n_components: int) -> None:
    """Raise InvalidInputError unless it is a finite number, or one for each component."""
    try:
        concentration = np.asarray(value, dtype=np.float64)
    except (TypeError, ValueError):
        concentration = np.empty((0, 0))
    if concentration.shape not in ((), (n_components,)) or not np.isfinite(concentration).all():
        raise InvalidInputError(
            f"weight_concentration must be a number or one for each of {n_components} components; got {value!r}."
        )


def require_one_of(name: str, value: Any, allowed: Sequence[Any], else_: str = "") -> None:
    if not any(type(value) is type(option) and value == option for option in allowed):
        also = f" or {else_}" if else_ else ""
        raise InvalidInputError(f"{name} must be {' or '.join(map(repr, allowed))}{also}; got {value!r}.")


def require_names(name: str, values: Any, allowed: Sequence[str]) -> None:
    """Raise InvalidInputError unless it is a collection of such names."""
    if isinstance(values, str) or not isinstance(values, Collection) or not set(values) <= set(allowed):
        raise InvalidInputError(f"{name} must be a tuple of {', '.join(map(repr, allowed))}; got {values!r}.")


def require_levels(quantiles: Any) -> np.ndarray:
    """The levels of quantiles that are asked for, (l,), given as a number between 0 and 1 or a list of such."""
    try:
        levels = np.atleast_1d(np.asarray(quantiles, dtype=float))
    except (TypeError, ValueError):
        levels = np.array([np.nan])
    if levels.ndim != 1 or not ((levels > 0) & (levels < 1)).all():
        raise InvalidInputError(f"quantiles must be a number between 0 and 1, or a list of such; got {quantiles!r}.")
    return levels


def require_callbacks(callbacks: Any) -> None:
    """Callbacks are gone through for every start, so they must be a collection that can be."""
    if not isinstance(callbacks, Sequence) or isinstance(callbacks, str) or not all(map(callable, callbacks)):
        raise InvalidInputError(f"callbacks must be a list or tuple of functions; got {callbacks!r}.")


def plain_labels(y: Any) -> np.ndarray:
    """Labels as an array of numbers, booleans or strings; pandas' own types as those they stand for."""
    if hasattr(y, "to_numpy"):
        y = y.to_numpy()
    y = np.asarray(y)
    if y.dtype != object:
        return y
    kinds = {_kind(label) for label in y.flat}
    if None in kinds:
        odd = next(label for label in y.flat if _kind(label) is None)
        raise InvalidInputError(f"Unknown label type: labels must be numbers, strings or booleans; one is {odd!r}.")
    if len(kinds) > 1:
        raise InvalidInputError(f"Labels must all be of one kind; these are {' and '.join(sorted(map(str, kinds)))}.")
    return y if kinds == {"strings"} else np.array(y.tolist())


def _is_missing(value: Any) -> bool:
    try:
        return value is None or bool(value != value)
    except TypeError:  # pandas' NA, of which nothing is true
        return True


def _kind(label: Any) -> str | None:
    kinds: dict[str, Any] = {"strings": str, "booleans": (bool, np.bool_), "numbers": Real}
    return next((name for name, types in kinds.items() if isinstance(label, types)), None)


def merge_repeated_rows(X: np.ndarray, target: np.ndarray, weights: np.ndarray) -> tuple[np.ndarray, ...]:
    """Every different row once, in an order of their values, with the sum of its weights: all that EM can see of rows.

    So weight 2 is the row twice to the last bit, in float32 too; and tables with few different rows cost little.
    """
    rows = np.ascontiguousarray(np.column_stack((X, target)) + 0.0)  # −0 is 0
    as_bytes = rows.view(np.dtype((np.void, rows.strides[0])))[:, 0]
    _, first, which = np.unique(as_bytes, return_index=True, return_inverse=True)
    return X[first], target[first], np.bincount(which, weights=weights)


def class_weights(
    class_weight: str | dict | None, classes: np.ndarray, codes: np.ndarray, weights: np.ndarray
) -> np.ndarray:
    """Multiplier of each row. "balanced" gives every class the same total; a weight counts as so many rows."""
    if class_weight is None:
        return np.ones(len(codes))
    if isinstance(class_weight, str):
        require_one_of("class_weight", class_weight, ("balanced",), "{label: weight}")
        totals = np.bincount(codes, weights=weights, minlength=len(classes))
        with np.errstate(divide="ignore"):
            by_class = np.where(totals > 0, weights.sum() / ((totals > 0).sum() * totals), 0.0)
        return by_class[codes]
    if not isinstance(class_weight, Mapping):
        raise InvalidInputError(f"class_weight must be None, 'balanced' or {{label: weight}}; got {class_weight!r}.")
    labels = classes.tolist()
    for label, weight in class_weight.items():
        if label not in labels:
            raise InvalidInputError(f"class_weight names {label!r}, which is not a class; the classes are {labels}.")
        require_not_negative(f"class_weight[{label!r}]", weight)
    return np.array([float(class_weight.get(label, 1.0)) for label in labels])[codes]


def checked_weights(weights: Any, X: Any) -> np.ndarray:
    """Finite weights ≥ 0 of the rows, (n,), 1 each if None. Raises ValueError or InvalidInputError for others."""
    checked: np.ndarray = _check_sample_weight(weights, X, dtype=np.float64, ensure_non_negative=True)
    if not (checked > 0).any():
        raise InvalidInputError("All sample weights are zero: no row counts.")
    return checked


def weights_of_some(weights: np.ndarray | None, X: Any) -> np.ndarray:
    """Checked weights of some of the rows, which may all be 0: others have more."""
    if weights is not None and np.shape(weights) == (len(X),) and not np.any(weights):
        return np.zeros(len(X))
    checked: np.ndarray = _check_sample_weight(weights, X, dtype=np.float64, ensure_non_negative=True)
    return checked


def weighted_sum(values: np.ndarray, weights: Any) -> tuple[float, float]:
    """Σ_j w_j v_j of `checked_weights`, and Σ_j w_j; what has weight 0 counts as none."""
    if weights is None:
        return float(values.sum()), float(len(values))
    checked = checked_weights(weights, values)
    seen = checked > 0
    return float(checked[seen] @ values[seen]), float(checked.sum())


def require_tensors(tensors: dict[str, np.ndarray], expected: dict[str, tuple[int, ...]]) -> None:
    """Raise ValueError unless all of them are there, finite and of those shapes."""
    for name, shape in expected.items():
        if tensors[name].shape != shape or not np.isfinite(tensors[name]).all():
            raise ValueError(f"tensor {name!r} should be finite and of shape {shape}")


def named_column(j: int, names: np.ndarray | None) -> str:
    """A column in an error: by its name where there are names."""
    return f"column {j}" if names is None else f"column {names[j]!r}"
