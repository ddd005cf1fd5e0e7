"""Hidden Markov models whose states emit one symbol of several."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Any

import numpy as np
import torch
from sklearn.utils import check_random_state
from torch import Tensor, distributions

from emnet.algorithms.base import Callback
from emnet.estimators.forecasts import Ahead
from emnet.estimators.markov_fit import LearningMarkov
from emnet.estimators.markov_use import require_distributions, require_shape
from emnet.estimators.validation import require_no_negative
from emnet.exceptions import InvalidInputError
from emnet.factors.tables import Categorical


class CategoricalHMM(LearningMarkov):
    """A hidden path of states, each of which emits a symbol; hmmlearn's interface, for rows with holes.

    Parameters
    ----------
    emissionprob_prior : concentrations of a Dirichlet prior on the emissions, at least 1: a number or (k, symbols).
    n_features : how many symbols there are; None for those in X, which it then tells, as in hmmlearn; clones do not.
    params, init_params : letters of s(tart), t(ransitions), e(missions).
    fixed : of "startprob", "transmat", "emissionprob".
    n_components, startprob_prior, transmat_prior, algorithm, random_state, n_iter, tol, verbose, implementation,
        fixed_transitions, shared_states, max_duration, duration_prior, censored, n_init, callbacks, dtype, device : as
        of `GaussianHMM`.

    X is (n, 1), whole numbers from 0; NaN, in a column of floats, is a missing value.

    Attributes
    ----------
    emissionprob_ : (k, symbols). The others are those of `GaussianHMM`.

    Raises
    ------
    InvalidInputError : data or a parameter cannot be used; says which and what to do.

    Examples
    --------
    >>> X = np.array([[0], [0], [0], [1], [1], [2], [0], [0]])
    >>> model = CategoricalHMM(2, random_state=1, n_iter=100).fit(X)
    >>> model.score(X) < 0
    True
    """

    _letters = {"s": "startprob", "t": "transmat", "e": "emissionprob"}  # noqa: RUF012
    _apart = "emissionprob_"

    emissionprob_: np.ndarray

    def __init__(
        self,
        n_components: int = 1,
        startprob_prior: Any = 1.0,
        transmat_prior: Any = 1.0,
        *,
        emissionprob_prior: Any = 1.0,
        n_features: int | None = None,
        algorithm: str = "viterbi",
        random_state: int | np.random.RandomState | None = None,
        n_iter: int = 10,
        tol: float = 1e-2,
        verbose: bool = False,
        params: str = "ste",
        init_params: str = "ste",
        implementation: str = "log",
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
        self.emissionprob_prior = emissionprob_prior
        self.n_features = n_features
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
        """Symbols as floats, NaN for what is missing."""
        if X.shape[1] != 1:
            raise InvalidInputError(f"X must have one column, of symbols; it has {X.shape[1]}.")
        seen = X[~np.isnan(X.astype(float))]
        if X.dtype.kind not in "iu" and (len(seen) == len(X) or (seen != np.floor(seen)).any()):
            raise InvalidInputError("Symbols should be integers (of floats, only beside NaN). Encode them from 0 on.")
        require_no_negative(X.astype(float))
        return X.astype(float)

    def _rows(self, X: Any, reset: bool = False) -> np.ndarray:
        X = super()._rows(X, reset)
        most = vars(self)["n_features"] if reset else self.n_features
        if most is not None:
            _require_symbols(X, most)
        return X

    def _check_start(self, X: np.ndarray) -> None:
        super()._check_start(X)
        _require_symbols(X, self.n_features)

    def _start_emission(self, X: np.ndarray) -> None:
        if self._needs_init("e", "emissionprob_"):
            given = vars(self)["n_features"]
            symbols = int(np.nanmax(X)) + 1 if given is None else given
            found = check_random_state(self._seed).rand(self.n_components, symbols)
            self.emissionprob_ = found / found.sum(axis=1, keepdims=True)

    @property
    def n_features(self) -> Any:
        """How many symbols there are, as given or else as fitted."""
        given = vars(self)["n_features"]
        return self.emissionprob_.shape[1] if given is None and hasattr(self, "emissionprob_") else given

    @n_features.setter
    def n_features(self, symbols: int | None) -> None:
        self.__dict__["n_features"] = symbols

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """As given: a clone learns anew how many symbols there are."""
        return {**super().get_params(deep), "n_features": vars(self)["n_features"]}

    def _emission(self, learning: bool) -> Any:
        own = self._representatives()
        table = self.emissionprob_[own]
        prior = np.broadcast_to(np.asarray(self.emissionprob_prior, dtype=float), self.emissionprob_.shape)[own]
        return self._grouped(
            Categorical(
                torch.as_tensor(table),
                concentration=torch.tensor(prior) if learning else 1.0,
                fixed=not (learning and self._learns("e")),
            )
        )

    def _publish_emission(self, emission: Categorical) -> None:
        self.emissionprob_ = self._spread(emission.log_probabilities.exp().numpy())

    def _emission_attributes(self) -> tuple[str, ...]:
        return ("emissionprob_",)

    def _check_emission(self) -> None:
        self.emissionprob_ = np.atleast_2d(np.asarray(self.emissionprob_, dtype=float))
        require_shape("emissionprob_", self.emissionprob_, (self.n_components, self.n_features))
        require_distributions("emissionprob_", self.emissionprob_)

    def _n_columns(self) -> int:
        return 1

    def _n_emission_scalars(self) -> dict[str, int]:
        return {"e": len(self._representatives()) * (self.n_features - 1)}

    def _draw(self, state: int, rng: np.random.RandomState) -> np.ndarray:
        return np.array([(np.cumsum(self.emissionprob_[state]) > rng.rand()).argmax()])

    def _means(self) -> np.ndarray:
        """The symbols' probabilities."""
        return self.emissionprob_

    def _distribution_ahead(self, weights: Tensor, ahead: Ahead, n_paths: int) -> distributions.Distribution:
        """Of the symbol, whose event has no shape."""
        return distributions.Categorical(probs=weights @ torch.as_tensor(self.emissionprob_))

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.categorical = tags.input_tags.positive_only = True
        return tags


def _require_symbols(X: np.ndarray, n: int) -> None:
    """Raise InvalidInputError for symbols that are not below n; names the first row of them."""
    odd = np.flatnonzero(X[:, 0] >= n)
    if len(odd):
        raise InvalidInputError(
            f"Largest symbol is {np.nanmax(X):g} but the model only emits symbols up to {n - 1}; row {odd[0]} has "
            f"{X[odd[0], 0]:g}. Fit with all symbols that may come, or give n_features."
        )
