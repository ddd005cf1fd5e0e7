"""What is missing, filled in by a fitted model: with what it expects, and with draws."""

from __future__ import annotations

import copy
import warnings
from dataclasses import dataclass
from typing import Any, Protocol, Self

import numpy as np
from sklearn.exceptions import ConvergenceWarning

from emnet.exceptions import CollapsedComponentWarning
from emnet.interruption import one_of_several

_TRACE = 1e-3  # of a row
_GAIN = 1e-2  # nats of all rows together below which a refit ends: parameters are then what the rows make of them


class Imputing(Protocol):
    """A fitted model that fills holes."""

    def impute(self, X: Any, return_std: bool = False) -> Any: ...

    def sample_missing(self, X: Any, random_state: Any = None) -> Any: ...


@dataclass(frozen=True, eq=False)
class Imputed:
    """A table without holes, and how unsure each filled cell is: (n, d), 0 where it was there.

    The standard deviation of numbers; of categories the probability that it is another one.
    """

    table: Any
    uncertainty: np.ndarray


@dataclass(frozen=True, eq=False)
class FittedTo:
    """What a model was fitted to: the data as `fit` takes them, and how many rows (or sequences) each one counts for.

    data : the arguments of `fit` but for `sample_weight`.
    weights : (n,).
    """

    data: tuple[Any, ...]
    weights: np.ndarray

    @classmethod
    def of_rows(cls, X: Any, weights: Any = None) -> Self:
        """Rows, and the weights that they were given, 1 if none."""
        return cls((X,), np.ones(len(X)) if weights is None else np.asarray(weights, dtype=float))


def impute(model: Imputing, X: Any) -> Imputed:
    """Numbers by their expectation, categories by the most probable one, given what is there of the row."""
    return Imputed(*model.impute(X, return_std=True))


def impute_many(
    model: Imputing, X: Any, m: int, random_state: np.random.RandomState, fitted_to: FittedTo | None = None
) -> list[Any]:
    """m tables whose holes are drawn independently, for an analysis of each: see `emnet.pool_estimates`.

    Rubin's rules need parameters that are drawn for each table too: give what the model was `fitted_to`, and it is
    `refitted` for each. Without it all tables come from the parameters that were fitted, and pooled standard errors are
    too small, the more so the more is missing.
    """
    if fitted_to is None:
        return [model.sample_missing(X, random_state) for _ in range(m)]
    return [refitted(model, fitted_to, random_state).sample_missing(X, random_state) for _ in range(m)]


def refitted(model: Any, to: FittedTo, random_state: np.random.RandomState, **parameters: Any) -> Any:
    """A copy of the model as fitted to a bootstrap of its rows: parameters as if drawn from their posterior.

    The fit goes on from where it ended, with as weights how often each row is drawn; `parameters` are set for it. A row
    that counts for w of them is drawn as w rows are.

    Raises CollapsedComponentError where a component collapses onto the rows that were drawn.
    """
    twin, known = copy.copy(model), model.get_params(deep=False)
    going_on = {"warm_start": True, "n_init": 1, "callbacks": (), "verbose": 0, **parameters}
    if isinstance(known.get("tol"), float):
        going_on["tol"] = min(known["tol"], _GAIN / to.weights.sum())
    twin.set_params(**{name: value for name, value in going_on.items() if name in known})
    twin = copy.deepcopy(twin)  # networks are trained where they are
    with warnings.catch_warnings(), one_of_several():
        for category in (ConvergenceWarning, CollapsedComponentWarning):  # the fit itself has said so
            warnings.simplefilter("ignore", category)
        return twin.fit(*to.data, sample_weight=_bootstrap(to.weights, random_state))


def _bootstrap(weights: np.ndarray, random_state: np.random.RandomState) -> np.ndarray:
    """How often each row is drawn, (n,), of the same sum; of a row that is not drawn a trace stays.

    Without the traces a column, or a category, would now and then have lost all its rows. Weights whose sum is below
    the number of rows are shares, and no counts.
    """
    total = weights.sum()
    n_draws = max(round(total), np.count_nonzero(weights))
    drawn = random_state.multinomial(n_draws, weights / total) + _TRACE * weights * (n_draws / total)
    return np.asarray(drawn * (total / drawn.sum()))
