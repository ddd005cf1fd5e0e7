"""How many components, and of what kind: fits side by side under one criterion."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from numbers import Integral
from typing import Any

import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils import check_random_state

from emnet.estimators.validation import require_one_of
from emnet.exceptions import (
    CollapsedComponentError,
    CollapsedComponentWarning,
    InvalidInputError,
    RegularizationWarning,
    TooFewRowsError,
)
from emnet.interruption import one_of_several

CRITERIA = ("bic", "icl", "aic")


@dataclass(frozen=True)
class Selection:
    """What `select` found.

    best : the fitted model of the lowest criterion.
    table : a dict a fit, the best first: what was tried, log_likelihood, parameters, bic, icl, aic, converged, and in
        "problem" why a fit does not count, or None.
    """

    best: Any
    table: tuple[dict[str, Any], ...]


def select(
    model: Any,
    data: tuple[Any, ...],
    grid: Mapping[str, Any],
    criterion: str,
    criteria: Sequence[str] = CRITERIA,
    tried: Callable[[dict[str, Any]], None] = lambda line: None,
    sample_weight: Any = None,
) -> Selection:
    """Fit `model` to the data with every combination of those parameters; the lowest criterion is the best.

    A fit with a collapsed component has an unbounded likelihood, so it stands in the table and cannot be chosen.
    A number or a word is the only one to try. `tried` is told of every line. Where rows have weights, (n,), the model's
    fit and criteria are given them.
    """
    weighted = {} if sample_weight is None else {"sample_weight": sample_weight}
    require_one_of("criterion", criterion, criteria)
    grid = {name: _choices(name, values) for name, values in grid.items()}
    lines, fitted = [], {}
    said: set[tuple[str, type[Warning]]] = set()
    for chosen in product(*grid.values()):
        candidate = type(model)(**{**model.get_params(deep=False), **dict(zip(grid, chosen, strict=True))})
        lines.append({**dict(zip(grid, chosen, strict=True)), **_fit(candidate, data, weighted, criteria, said)})
        fitted[chosen] = candidate
        tried(lines[-1])
    lines.sort(key=lambda line: (line["problem"] is not None, line[criterion]))
    if not lines or lines[0]["problem"] is not None:
        raise InvalidInputError(
            f"No model could be selected. The first: {lines[0]['problem']} Give prior='auto', or fewer components."
            if lines
            else f"There is nothing to select from: give at least one of {' and of '.join(grid)}."
        )
    return Selection(fitted[tuple(lines[0][name] for name in grid)], tuple(lines))


@dataclass(frozen=True)
class LikelihoodRatioTest:
    """2 log of the ratio of likelihoods of k + 1 and k components, what it is under k, and the share at least as large.

    p_value : (1 + how many of `simulated` reach `statistic`) / (1 + how many there are).
    """

    statistic: float
    p_value: float
    simulated: np.ndarray


def bootstrap_test(model: Any, X: np.ndarray, n_bootstrap: int, random_state: Any) -> LikelihoodRatioTest:
    """Whether one component more is called for, by the parametric bootstrap (McLachlan 1987, Appl. Stat. 36:318).

    Data are drawn from the fitted k components, with the holes of X, and both models are fitted to them anew. The model
    and X, (n, d), have been checked.
    """
    rng = check_random_state(random_state)
    holes = np.isnan(X)
    statistic, null = _twice_log_ratio(model, X, rng)
    simulated = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RegularizationWarning)  # which the fits to X have given
        for _ in range(n_bootstrap):
            drawn, _ = null._draw_rows(len(X), check_random_state(int(rng.randint(2**31))))
            rows = rng.permutation(drawn)  # which come component after component, as holes do not
            rows[holes] = np.nan
            simulated.append(_twice_log_ratio(model, rows, rng)[0])
    p_value = (1 + sum(value >= statistic for value in simulated)) / (1 + n_bootstrap)
    return LikelihoodRatioTest(statistic, p_value, np.array(simulated))


def repeated(X: np.ndarray, weights: np.ndarray | None) -> np.ndarray:
    """Rows as often as their weights say."""
    if weights is None:
        return X
    if (odd := np.flatnonzero(weights != np.floor(weights))).size:
        raise InvalidInputError(
            f"The bootstrap draws as many rows as there are: sample_weight must be whole numbers; one is "
            f"{weights[odd[0]]:g}. Round them, or scale them to counts."
        )
    return np.repeat(X, weights.astype(np.int64), axis=0)


def _twice_log_ratio(model: Any, X: np.ndarray, rng: np.random.RandomState) -> tuple[float, Any]:
    """Of a component more, and the fit of k; a model that contains the other is never worse, so at least 0."""
    reached, fitted = [], []
    for more in (0, 1):
        candidate = copy.copy(model)  # which knows what the columns are: a draw need not show it
        seed, k = int(rng.randint(2**31)), model.n_components + more
        candidate.set_params(n_components=k, random_state=seed, warm_start=False)
        with warnings.catch_warnings():
            for category in (ConvergenceWarning, CollapsedComponentWarning):
                warnings.simplefilter("ignore", category)
            candidate._fit(X, None, None)
        reached.append(float(candidate._log_densities(X).sum()))
        fitted.append(candidate)
    return max(0.0, 2 * (reached[1] - reached[0])), fitted[0]


def _choices(name: str, values: Any) -> tuple[Any, ...]:
    if isinstance(values, (Integral, str)):
        return (values,)
    if not isinstance(values, Iterable):
        raise InvalidInputError(f"{name} must be what to try, one or several of them; got {values!r}.")
    return tuple(values)


def _fit(
    candidate: Any,
    data: tuple[Any, ...],
    weighted: Mapping[str, Any],
    criteria: Sequence[str],
    said: set[tuple[str, type[Warning]]],
) -> dict[str, Any]:
    """The line of a fit. Warnings that are no part of it are passed on, but for those `said` of another fit."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            with one_of_several():
                candidate.fit(*data, **weighted)
        except (CollapsedComponentError, TooFewRowsError) as error:
            nothing = dict.fromkeys(("log_likelihood", "parameters", *criteria), np.inf)
            return {**nothing, "converged": False, "problem": str(error)}
    problem = None
    for warning in caught:
        if issubclass(warning.category, CollapsedComponentWarning):
            problem = str(warning.message)
        elif issubclass(warning.category, ConvergenceWarning):  # which the table says
            continue
        elif (words := (str(warning.message), warning.category)) not in said:
            said.add(words)
            warnings.warn_explicit(warning.message, warning.category, warning.filename, warning.lineno)
    return {
        "log_likelihood": candidate._log_likelihood(*data, **weighted),
        "parameters": candidate._n_parameters(),
        **{name: getattr(candidate, name)(*data, **weighted) for name in criteria},
        "converged": candidate.converged_,
        "problem": problem,
    }
