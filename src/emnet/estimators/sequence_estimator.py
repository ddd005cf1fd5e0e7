"""What estimators of chains with networks share: sequences as batches, algorithms, starts, and paths."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import torch
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted, validate_data

from emnet.algorithms.base import Algorithm
from emnet.batch import Batch
from emnet.data.sample import Units
from emnet.data.stream import Chunk
from emnet.estimators import options
from emnet.estimators.coordinates_file import CoordinatesInFile
from emnet.estimators.known_components import require_labels
from emnet.estimators.markov_paths import DECODERS
from emnet.estimators.sequences import joined, require_lengths, require_sequence_weights
from emnet.estimators.streaming import sequence_weights
from emnet.estimators.table_input import naming_cells
from emnet.estimators.validation import require_not_negative, require_one_of, require_positive_integer
from emnet.exceptions import InvalidInputError
from emnet.inference.exact import Exact
from emnet.models.semi_markov import MarkovModel

_ITERATIONS, _PASSES, _STARTS = 500, 200, 5


class SequenceEstimator(CoordinatesInFile[MarkovModel]):
    """Parameters as in the subclasses. A subclass says what the batch is and what the model."""

    n_components: int
    shared_states: Any
    algorithm: Any
    prior: Any
    n_init: int | None
    max_iter: int | None
    batch_size: int | None
    dtype: str

    early_stopping = False
    n_iter_no_change = 1

    # -- parameters -------------------------------------------------------------------------------------------------

    def _check_sequence_parameters(self) -> None:
        self._check_common_parameters()
        require_positive_integer("n_components", self.n_components)
        groups = self.shared_states
        if groups is None:
            return
        if np.shape(groups) != (self.n_components,) or sorted({*groups}) != list(range(self._n_groups())):
            raise InvalidInputError(
                f"shared_states must be {self.n_components} numbers of groups, each from 0 on; got {groups!r}."
            )

    def _n_groups(self) -> int:
        """Of states that emit alike."""
        return self.n_components if self.shared_states is None else len({*self.shared_states})

    def _going_on(self) -> list[MarkovModel]:
        states = self.members_[0].start.n_states
        if states != self.n_components:
            raise InvalidInputError(
                f"partial_fit, and fit with warm_start, go on with {states} states; n_components is now "
                f"{self.n_components}. Set it back, or fit anew without warm_start."
            )
        return super()._going_on()

    def _resolve_prior(self, n_features: int) -> tuple[float, float]:
        if isinstance(self.prior, str):
            require_one_of("prior", self.prior, ("auto",), "a number or a pair of numbers")
            return self._auto_prior()
        pair = (self.prior, self.prior) if np.ndim(self.prior) == 0 else tuple(self.prior)
        if len(pair) != 2:
            raise InvalidInputError(f"prior must be a number or a pair (chain, emission); got {self.prior!r}.")
        for precision in pair:
            require_not_negative("prior", precision)
        return float(pair[0]), float(pair[1])

    def _auto_prior(self) -> tuple[float, float]:
        return 0.01, 0.01

    def _e_step(self, seed: int) -> Exact:
        return Exact()

    def _algorithm(self, seed: int) -> Algorithm:
        whole, value = self.batch_size is None, self.algorithm
        if isinstance(value, str) and value == "auto" and whole and self._takes_m_steps():
            value = "squarem"
        return options.choose_algorithm(value, Exact(), self._passes(), whole)

    def _takes_m_steps(self) -> bool:
        """Whether "auto" is SQUAREM and not L-BFGS."""
        return False

    def _passes(self) -> int:
        default = _PASSES if self.batch_size else _ITERATIONS
        return default if self.max_iter is None else self.max_iter

    def _n_starts(self) -> int:
        return _STARTS if self.n_init is None else self.n_init

    def _elements(self, n: int) -> int:
        return n * self.n_components**2

    # -- sequences --------------------------------------------------------------------------------------------------

    def _check_rows(self, X: Any, lengths: Any, reset: bool = False) -> tuple[np.ndarray, np.ndarray]:
        """Sequences as one table, and their lengths."""
        if not reset:
            check_is_fitted(self, "members_")
        X, lengths = joined(X, lengths)
        with naming_cells(X):
            X = validate_data(self, X, dtype=np.float64, reset=reset, ensure_all_finite=False)
        self._require_usable(X)
        return X, require_lengths(lengths, len(X))

    def _known_states(self, states: Any, n: int) -> np.ndarray | None:
        return None if states is None else require_labels(states, n, self.n_components)

    def _fit_sequences(self, X: np.ndarray, batch: Batch, shown: Any) -> Any:
        """Run on a batch made of X; `shown` is the target that callbacks see."""
        return self._fit_starts(batch, None, self._seeds(), X, shown)

    # -- streams ----------------------------------------------------------------------------------------------------

    def _checked_chunk(self, chunk: Chunk) -> Units:
        weights, units = sequence_weights(chunk), super()._checked_chunk(chunk)
        assert chunk.lengths is not None
        if weights is not None and weights.any():
            require_sequence_weights(weights, chunk.lengths)
        return replace(units, weights=weights, lengths=chunk.lengths)

    def _rows_of_chunk(self, chunk: Chunk) -> np.ndarray:
        """Inputs that are checked, (n, p)."""
        X: np.ndarray = validate_data(self, chunk.X, dtype=np.float64, reset=False, ensure_all_finite=False)
        self._require_usable(X)
        return X

    def _batch_of_sample(self, units: Units) -> Batch:
        return self._batch_of(units)

    # -- paths ------------------------------------------------------------------------------------------------------

    def _path(self, batch: Batch, algorithm: str) -> np.ndarray:
        """Viterbi's path, or each row's most probable state: (n,)."""
        require_one_of("algorithm", algorithm, DECODERS)
        if algorithm == "map":
            return self._best.posterior(batch).responsibilities.argmax(1).cpu().numpy()
        return self._best.best_path(batch)[1].cpu().numpy()

    def _generator(self, random_state: Any) -> torch.Generator:
        device = next(self._best.parameters()).device
        return torch.Generator(device=device).manual_seed(int(check_random_state(random_state).randint(2**31)))


def grouped_emission(model: MarkovModel) -> Any:
    """The emission, of states that emit alike that of the groups."""
    emission = model.emissions["emission"]
    return getattr(emission, "groups", emission)
