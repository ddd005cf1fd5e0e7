"""The density that outliers and clusters are asked of: a mixture of the whole table, chosen by a criterion."""

from __future__ import annotations

from collections.abc import Iterable
from numbers import Integral
from typing import Any

from emnet.data.frames import column_names, has_words
from emnet.data.stream import Stream
from emnet.estimators.gaussian_mixture import GaussianMixture
from emnet.estimators.mixture_blocks import automatic_families
from emnet.estimators.mixture_model import MixtureModel
from emnet.estimators.mixture_selection import Selection
from emnet.estimators.options import COVARIANCE_TYPES
from emnet.estimators.stream_passes import example_of, number_of_rows
from emnet.estimators.validation import require_one_of, require_positive_integer
from emnet.exceptions import InvalidInputError

_MAX_ITER, _TOL = 200, 1e-4
_MEASURED = ("gaussian", "poisson")


def chosen_density(
    X: Any,
    sizes: tuple[int, ...],
    covariance_types: str | Iterable[str],
    criterion: str,
    seed: int,
    sizes_name: str = "n_components",
) -> Selection:
    """Gaussian mixtures of tables of numbers, else mixtures of mixed type; the lowest criterion is the best.

    X is a table, or a stream of one: then every candidate is fitted to the stream, and judged by a pass over it.
    Raises InvalidInputError where no size, which the user knows as `sizes_name`, is at most the number of rows.
    """
    table, n = (example_of(X), number_of_rows(X.as_frames())) if isinstance(X, Stream) else (X, len(X))
    start: Any = GaussianMixture(  # whose prior is floor enough, and is so in any unit
        prior="auto", reg_covar=0.0, max_iter=_MAX_ITER, tol=_TOL, random_state=seed
    )
    grid: dict[str, Any] = {"covariance_types": kinds_of("covariance_types", covariance_types)}
    if has_words(table):
        start, grid = MixtureModel(emissions=numbers_together(table), max_iter=_MAX_ITER, random_state=seed), {}
    few = sizes_within(sizes_name, sizes, n)
    return start.select(X, n_components=few, criterion=criterion, **grid)  # type: ignore[no-any-return]


def numbers_together(X: Any) -> dict[Any, str]:
    """The family of each column of a table with words, but one Gaussian of all numbers, whose correlations count."""
    families = automatic_families(X)
    numbers = tuple(name for name, family in families.items() if family in _MEASURED)
    rest = {name: family for name, family in families.items() if family not in _MEASURED}
    return {numbers if len(numbers) > 1 else numbers[0]: "gaussian", **rest} if numbers else rest


def sizes_of(name: str, value: int | Iterable[int]) -> tuple[int, ...]:
    """Numbers of components to try. Raises InvalidInputError unless there is one, and all are at least 1."""
    asked: Any = value
    sizes = (asked,) if isinstance(asked, (Integral, str)) else tuple(asked)
    if not sizes:
        raise InvalidInputError(f"{name} must hold at least one number of components; it is empty.")
    for size in sizes:
        require_positive_integer(name, size)
    return tuple(int(size) for size in sizes)


def sizes_within(name: str, sizes: tuple[int, ...], n: int) -> tuple[int, ...]:
    """Those that n rows allow. Raises InvalidInputError where there is none."""
    few = tuple(size for size in sizes if size <= n)
    if not few:
        raise InvalidInputError(f"{name} must be at most the number of rows, {n}; got {', '.join(map(str, sizes))}.")
    return few


def kinds_of(name: str, value: str | Iterable[str]) -> tuple[str, ...]:
    """Types of covariance to try. Raises InvalidInputError unless there is one, and all are known."""
    kinds = (value,) if isinstance(value, str) else tuple(value)
    if not kinds:
        raise InvalidInputError(f"{name} must hold at least one type of covariance; it is empty.")
    for kind in kinds:
        require_one_of(name, kind, COVARIANCE_TYPES)
    return kinds


def names_of(X: Any, estimator: Any) -> list[Any]:
    """The columns as the user knows them."""
    return list(getattr(estimator, "feature_names_in_", column_names(X)))
