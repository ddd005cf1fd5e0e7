"""Hidden Markov models whose states emit counts."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Any

import numpy as np
import torch
from scipy import stats
from sklearn.utils import check_random_state
from torch import Tensor, distributions

from emnet.algorithms.base import Callback
from emnet.estimators.column_count import ColumnCount
from emnet.estimators.distributions import mixture
from emnet.estimators.forecasts import Ahead
from emnet.estimators.markov_fit import LearningMarkov
from emnet.estimators.markov_use import require_shape
from emnet.estimators.validation import require_levels, require_no_negative
from emnet.exceptions import InvalidInputError
from emnet.factors.counting import Poisson

_LARGEST = 2.0**53  # beyond it float64 has no longer every whole number


class PoissonHMM(ColumnCount, LearningMarkov):
    """A hidden path of states, each of which emits independent Poisson counts; hmmlearn's interface, for holes too.

    Parameters
    ----------
    lambdas_prior, lambdas_weight : a Gamma prior on the rates that acts as `lambdas_weight` rows which add up to
        `lambdas_prior`: λ = (lambdas_prior + counts) / (lambdas_weight + rows of the state). hmmlearn puts the rows of
        all states in the place of the state's own, so with such a prior the two differ.
    params, init_params : letters of s(tart), t(ransitions), l(ambdas).
    fixed : of "startprob", "transmat", "lambdas".
    n_components, startprob_prior, transmat_prior, algorithm, random_state, n_iter, tol, verbose, implementation,
        fixed_transitions, shared_states, max_duration, duration_prior, censored, n_init, callbacks, dtype, device : as
        of `GaussianHMM`.

    Attributes
    ----------
    lambdas_ : (k, d). The others are those of `GaussianHMM`.

    Raises
    ------
    InvalidInputError : data or a parameter cannot be used; says which and what to do.

    Examples
    --------
    >>> X = np.array([[0], [1], [0], [9], [12], [np.nan], [1]])
    >>> model = PoissonHMM(2, random_state=0).fit(X)
    >>> model.lambdas_.shape
    (2, 1)
    """

    _letters = {"s": "startprob", "t": "transmat", "l": "lambdas"}  # noqa: RUF012
    _apart = "lambdas_"

    lambdas_: np.ndarray

    def __init__(
        self,
        n_components: int = 1,
        startprob_prior: Any = 1.0,
        transmat_prior: Any = 1.0,
        lambdas_prior: Any = 0.0,
        lambdas_weight: Any = 0.0,
        algorithm: str = "viterbi",
        random_state: int | np.random.RandomState | None = None,
        n_iter: int = 10,
        tol: float = 1e-2,
        verbose: bool = False,
        params: str = "stl",
        init_params: str = "stl",
        implementation: str = "log",
        *,
        fixed: Collection[str] = (),
        fixed_transitions: Any = None,
        shared_states: Any = None,
        max_duration: int | None = None,
        duration_prior: Any = 1.0,
        censored: bool = True,
        n_init: int = 1,
        callbacks: Iterable[Callback] = (),
        dtype: str = "float64",
        device: str = "auto",
    ):
        self.n_components = n_components
        self.startprob_prior = startprob_prior
        self.transmat_prior = transmat_prior
        self.lambdas_prior = lambdas_prior
        self.lambdas_weight = lambdas_weight
        self.algorithm = algorithm
        self.random_state = random_state
        self.n_iter = n_iter
        self.tol = tol
        self.verbose = verbose
        self.params = params
        self.init_params = init_params
        self.implementation = implementation
        self.fixed = fixed
        self.fixed_transitions = fixed_transitions
        self.shared_states = shared_states
        self.max_duration = max_duration
        self.duration_prior = duration_prior
        self.censored = censored
        self.n_init = n_init
        self.callbacks = callbacks
        self.dtype = dtype
        self.device = device

    # -- the emission -----------------------------------------------------------------------------------------------

    def _read(self, X: np.ndarray) -> np.ndarray:
        require_no_negative(X)
        bad = (X > _LARGEST) | (np.floor(X) != X) & ~np.isnan(X.astype(float))
        if bad.any():
            row, column = (int(index[0]) for index in np.nonzero(bad))
            raise InvalidInputError(
                f"Expected counts, whole numbers from 0 to {_LARGEST:g}; row {row}, column {column} has "
                f"{X[row, column]:g}."
            )
        return X.astype(float)

    def _start_emission(self, X: np.ndarray) -> None:
        mean, variance = (max(value, np.finfo(float).tiny) for value in (np.nanmean(X), np.nanvar(X)))
        if self._needs_init("l", "lambdas_"):
            size = (self.n_components, X.shape[1])
            self.lambdas_ = check_random_state(self._seed).gamma(mean**2 / variance, variance / mean, size)

    def _emission(self, learning: bool) -> Any:
        own, shape = self._representatives(), self.lambdas_.shape
        sums, rows = (
            np.broadcast_to(np.asarray(p, dtype=float), shape)[own] for p in (self.lambdas_prior, self.lambdas_weight)
        )
        return self._grouped(
            Poisson(
                torch.as_tensor(self.lambdas_[own]),
                shape=1 + torch.tensor(sums) if learning else 1.0,
                rate=torch.tensor(rows) if learning else 0.0,
                fixed=not (learning and self._learns("l")),
            )
        )

    def _publish_emission(self, emission: Poisson) -> None:
        self.lambdas_ = self._spread(emission.means.numpy())

    def _emission_attributes(self) -> tuple[str, ...]:
        return ("lambdas_",)

    def _check_emission(self) -> None:
        self.lambdas_ = np.atleast_2d(np.asarray(self.lambdas_, dtype=float))
        self.n_features = self.lambdas_.shape[1]
        require_shape("lambdas_", self.lambdas_, (self.n_components, self.n_features))
        if not (self.lambdas_ >= 0).all() or not self.lambdas_.size:
            raise InvalidInputError("lambdas_ must be rates of at least 0.")

    def _n_columns(self) -> int:
        return self.lambdas_.shape[1]

    def _n_emission_scalars(self) -> dict[str, int]:
        return {"l": len(self._representatives()) * self.lambdas_.shape[1]}

    def _draw(self, state: int, rng: np.random.RandomState) -> np.ndarray:
        return rng.poisson(self.lambdas_[state])

    def _means(self) -> np.ndarray:
        return self.lambdas_

    def _quantiles_ahead(self, weights: np.ndarray, levels: np.ndarray) -> np.ndarray:
        """The smallest counts whose distribution function reaches the levels."""
        levels = require_levels(levels)
        most = int(stats.poisson.ppf(levels.max(), self.lambdas_.max())) + 1
        below = stats.poisson.cdf(np.arange(most + 1)[:, None, None], self.lambdas_)  # (counts, k, d)
        reached = np.einsum("hk,ckd->hcd", weights, below)
        return (reached[:, None] >= levels[:, None, None] - 1e-12).argmax(axis=2).astype(float)

    def _distribution_ahead(self, weights: Tensor, ahead: Ahead, n_paths: int) -> distributions.Distribution:
        rates = torch.as_tensor(self.lambdas_)
        return mixture(weights, distributions.Independent(distributions.Poisson(rates), 1))

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.positive_only = True
        return tags
