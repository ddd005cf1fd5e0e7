"""Hidden Markov models whose states emit the counts of several trials."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Any

import numpy as np
import torch
from scipy import stats
from sklearn.utils import check_random_state
from torch import Tensor, distributions
from torch.distributions import Distribution

from emnet.algorithms.base import Callback
from emnet.estimators.column_count import ColumnCount
from emnet.estimators.distributions import mixture
from emnet.estimators.forecasts import Ahead
from emnet.estimators.markov_fit import LearningMarkov
from emnet.estimators.markov_use import require_distributions, require_shape
from emnet.estimators.validation import require_no_negative
from emnet.exceptions import InvalidInputError
from emnet.factors.multinomial import Multinomial


class MultinomialHMM(ColumnCount, LearningMarkov):
    """A hidden path of states, each of which emits how often each symbol came up in a row's trials.

    Parameters
    ----------
    n_trials : what each row adds up to, a number or (n,); None: whatever it does. `sample` needs one number.
    params, init_params : letters of s(tart), t(ransitions), e(missions).
    fixed : of "startprob", "transmat", "emissionprob".
    n_components, startprob_prior, transmat_prior, algorithm, random_state, n_iter, tol, verbose, implementation,
        fixed_transitions, shared_states, max_duration, duration_prior, censored, n_init, callbacks, dtype, device : as
        of `GaussianHMM`.

    A row of NaN is a missing value; of a row that is known in part nothing can be learned without its total.

    Attributes
    ----------
    emissionprob_ : (k, symbols). The others are those of `GaussianHMM`.

    Raises
    ------
    InvalidInputError : data or a parameter cannot be used; says which and what to do.

    Examples
    --------
    >>> X = np.array([[5, 0], [4, 1], [0, 5], [1, 4], [0, 5]])
    >>> model = MultinomialHMM(2, random_state=0).fit(X)
    >>> model.emissionprob_.shape
    (2, 2)
    """

    _letters = {"s": "startprob", "t": "transmat", "e": "emissionprob"}  # noqa: RUF012
    _apart = "emissionprob_"

    emissionprob_: np.ndarray

    def __init__(
        self,
        n_components: int = 1,
        n_trials: Any = None,
        startprob_prior: Any = 1.0,
        transmat_prior: Any = 1.0,
        algorithm: str = "viterbi",
        random_state: int | np.random.RandomState | None = None,
        n_iter: int = 10,
        tol: float = 1e-2,
        verbose: bool = False,
        params: str = "ste",
        init_params: str = "ste",
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
        self.n_trials = n_trials
        self.startprob_prior = startprob_prior
        self.transmat_prior = transmat_prior
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
        X = X.astype(float)
        whole = X[~np.isnan(X).all(axis=1)]
        require_no_negative(X)
        if (whole != np.floor(whole)).any():
            raise InvalidInputError(
                "Symbol counts should be nonnegative integers, and a missing row nothing but NaN: the trials of a row "
                "that is known in part are unknown."
            )
        self._require_trials(X)
        return X

    def _require_trials(self, X: np.ndarray) -> None:
        if self.n_trials is None:
            return
        wanted = np.asarray(self.n_trials)
        if wanted.ndim and wanted.shape != (len(X),):
            raise InvalidInputError(f"n_trials must be a number, or one for each of {len(X)} rows; got {wanted.shape}.")
        bad = (X.sum(axis=1) != wanted) & ~np.isnan(X).all(axis=1)
        if bad.any():
            row = int(np.flatnonzero(bad)[0])
            raise InvalidInputError(
                f"Total count for each sample should add up to the number of trials; row {row} adds up to "
                f"{X[row].sum():g}, and n_trials says {np.broadcast_to(wanted, len(X))[row]}."
            )

    def _start_emission(self, X: np.ndarray) -> None:
        if self._needs_init("e", "emissionprob_"):
            found = check_random_state(self._seed).rand(self.n_components, X.shape[1])
            self.emissionprob_ = found / found.sum(axis=1, keepdims=True)

    def _emission(self, learning: bool) -> Any:
        table = torch.as_tensor(self.emissionprob_[self._representatives()])
        return self._grouped(Multinomial(table, fixed=not (learning and self._learns("e"))))

    def _publish_emission(self, emission: Multinomial) -> None:
        self.emissionprob_ = self._spread(emission.log_probabilities.exp().numpy())

    def _emission_attributes(self) -> tuple[str, ...]:
        return ("emissionprob_",)

    def _check_emission(self) -> None:
        self.emissionprob_ = np.atleast_2d(np.asarray(self.emissionprob_, dtype=float))
        self.n_features = self.emissionprob_.shape[1]
        require_shape("emissionprob_", self.emissionprob_, (self.n_components, self.n_features))
        require_distributions("emissionprob_", self.emissionprob_)

    def _n_columns(self) -> int:
        return self.emissionprob_.shape[1]

    def _n_emission_scalars(self) -> dict[str, int]:
        return {"e": len(self._representatives()) * (self.emissionprob_.shape[1] - 1)}

    def _single_n_trials(self, purpose: str) -> int:
        trials = np.unique([] if self.n_trials is None else self.n_trials)
        if len(trials) != 1:
            raise InvalidInputError(f"For {purpose}, a single n_trials must be given.")
        return int(trials[0])

    def _draw(self, state: int, rng: np.random.RandomState) -> np.ndarray:
        return stats.multinomial.rvs(self._single_n_trials("sampling"), self.emissionprob_[state], random_state=rng)

    def _distribution_ahead(self, weights: Tensor, ahead: Ahead, n_paths: int) -> Distribution:
        """Of counts, whose mean is `n_trials` times that of the forecast."""
        trials = self._single_n_trials("the distribution of a row to come")
        return mixture(weights, distributions.Multinomial(trials, torch.as_tensor(self.emissionprob_)))

    def _means(self) -> np.ndarray:
        """The symbols' probabilities: how they share the trials of a row."""
        return self.emissionprob_

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.positive_only = True
        return tags
