"""Where hidden Markov models start: what is checked, and what is drawn or taken from the rows."""

from __future__ import annotations

import logging
from abc import abstractmethod
from collections.abc import Collection, Iterable
from numbers import Integral
from typing import Any

import numpy as np
import torch
from sklearn.utils import check_random_state

from emnet.algorithms.base import Callback
from emnet.estimators import markov_durations, options
from emnet.estimators.known_components import best_order, one_hot, require_labels, tell_anything
from emnet.estimators.markov_use import FittedMarkov
from emnet.estimators.sequences import joined, require_lengths, require_sequence_weights
from emnet.estimators.validation import (
    require_callbacks,
    require_columns_seen,
    require_one_of,
    require_positive_integer,
)
from emnet.exceptions import InvalidInputError

_log = logging.getLogger("emnet")


class StartingMarkov(FittedMarkov):
    """Parameters and data that can be used, and parameters that EM can start from."""

    n_iter: int
    params: str
    init_params: str
    fixed: Collection[str]
    fixed_transitions: Any
    n_init: int
    callbacks: Iterable[Callback]

    _letters: dict[str, str]  # of the parameters, as in `params`: what they are called
    _apart: str  # the parameter that sets states apart at a start, one entry a state

    @abstractmethod
    def _start_emission(self, X: np.ndarray) -> None:
        """Set the parameters of the emission that have to start from the rows."""

    # -- input ------------------------------------------------------------------------------------------------------

    def _check_parameters(self) -> None:
        require_positive_integer("n_components", self.n_components)
        require_positive_integer("n_init", self.n_init)
        markov_durations.require_parameters(self.max_duration, self.censored, self.n_components)
        if not isinstance(self.n_iter, Integral) or isinstance(self.n_iter, bool) or self.n_iter < 0:
            raise InvalidInputError(f"n_iter must be a whole number of at least 0; got {self.n_iter!r}.")
        names = tuple(self._letters.values())
        for name in self.fixed:
            if name not in names:
                raise InvalidInputError(f"fixed may name {', '.join(map(repr, names))}; got {name!r}.")
        for name in ("fixed_transitions", "shared_states"):
            wanted = (self.n_components,) * (2 if name == "fixed_transitions" else 1)
            value = getattr(self, name)
            if value is not None and np.shape(value) != wanted:
                raise InvalidInputError(f"{name} must have shape {wanted}; it has {np.shape(value)}.")
        require_one_of("dtype", self.dtype, tuple(options.DTYPES))
        require_callbacks(self.callbacks)
        options.choose_device(self.device)

    def _check_data(
        self, X: Any, lengths: Any, y: Any, sample_weight: Any, reset: bool = True
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray | None, np.ndarray | None]:
        """Sequences that count, their lengths and weights, and the known states."""
        X, lengths = joined(X, lengths)
        X = self._rows(X, reset)
        lengths = require_lengths(lengths, len(X))
        labels = None if y is None else require_labels(y, len(X), self.n_components)
        weights = require_sequence_weights(sample_weight, lengths)
        if weights is None:
            return X, lengths, None, labels
        seen = np.repeat(weights > 0, lengths)
        labels = None if labels is None else labels[seen]
        return X[seen], lengths[weights > 0], weights[weights > 0], labels

    # -- the start --------------------------------------------------------------------------------------------------

    def _init(self, X: np.ndarray, lengths: Any = None, seed: Any = None, labels: np.ndarray | None = None) -> None:
        """Set the parameters that have to start from chance or from the rows; the draws are those of hmmlearn.

        Rows of known states, by `labels` as `require_labels` has them, name the states.
        """
        self._seed = self.random_state if seed is None else seed
        rng, k = check_random_state(self._seed), self.n_components
        require_columns_seen(~np.isnan(X).all(axis=0))
        self._measure(X)
        if self._needs_init("s", "startprob_"):
            self.startprob_ = rng.dirichlet(np.full(k, 1 / k))
        if self._needs_init("t", "transmat_"):
            self.transmat_ = rng.dirichlet(np.full(k, 1 / k), size=k)
            if self.max_duration is not None:
                self.transmat_ = markov_durations.without_a_way_to_itself(self.transmat_)
                self.durations_ = np.full((k, self.max_duration), 1 / self.max_duration)
        given = getattr(self, self._apart, None)
        self._start_emission(X)
        if labels is not None and getattr(self, self._apart) is not given:
            self._name_states(X, labels)
        learned = sum(count for letter, count in self._n_fit_scalars().items() if self._learns(letter))
        if X.size < learned:
            _log.warning(
                "Fitting a model with %d free scalar parameters with only %d data points will result in a degenerate "
                "solution.",
                learned,
                X.size,
            )

    def _name_states(self, X: np.ndarray, labels: np.ndarray) -> None:
        """Put the emissions in the order that explains the rows of known states best."""
        told = tell_anything(labels)
        if self.shared_states is not None or not told.any():
            return
        known = labels[told]
        shares = known if known.ndim == 2 else one_hot(known, self.n_components)
        model = self._learnable()
        rows = self._batches(X[told], np.array([len(known)]), None, None)
        with torch.no_grad():
            found = torch.cat([model.log_likelihood(batch).double().softmax(1) for batch in rows]).cpu().numpy()
        setattr(self, self._apart, getattr(self, self._apart)[best_order(found, shares)])

    def _check_start(self, X: np.ndarray) -> None:
        """Raise InvalidInputError for parameters that EM cannot start from with these rows."""
        self._check()
        if X.shape[1] != self._n_columns():
            raise InvalidInputError(
                f"Unexpected number of dimensions: X has {X.shape[1]} columns, and the parameters that EM starts from "
                f"are of {self._n_columns()}. Let init_params start them anew."
            )

    def _needs_init(self, letter: str, name: str) -> bool:
        if letter not in self.init_params or self._letters.get(letter) in self.fixed:
            return not hasattr(self, name)
        if hasattr(self, name) and not getattr(self, "fits_", ()):
            _log.warning(
                "Even though the %r attribute is set, it will be overwritten during initialization because "
                "'init_params' contains %r",
                name,
                letter,
            )
        return True

    def _learns(self, letter: str) -> bool:
        return letter in self.params and self._letters[letter] not in self.fixed
