"""What classifiers and regressors share: how they are fitted to rows and to streams."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any, Self, cast

import numpy as np

from emnet.data.stream import Stream
from emnet.estimators.callbacks import with_callbacks
from emnet.estimators.keeping import keeping_what_was_fitted
from emnet.estimators.resuming import resumable
from emnet.estimators.streaming import require_alone


class Targets:
    """To be mixed into an `IterativeEstimator`."""

    _batch: Any
    _check_features: Any
    _check_inputs: Any
    _check_parameters: Any
    _continues: Any
    _fit: Any
    _fit_pass: Any
    _fit_stream: Any

    @resumable
    @with_callbacks
    def fit(self, X: Any, y: Any = None, sample_weight: Any = None) -> Self:
        """Fit to (n, p) inputs and their targets; weight 2 is the row twice, 0 no row.

        The targets of a classifier are (n,) labels: numbers, strings or booleans; those of a regressor (n,) or (n, d)
        numbers. An `emnet.stream` in place of X brings its targets and weights.

        An interrupted fit keeps the starts that had ended, or else the best parameters of the one that had not, and
        raises FitInterrupted, a KeyboardInterrupt. A fit that fails before leaves the estimator as it was.

        Raises
        ------
        InvalidInputError : what was expected, what came (column, count), and what to do.
        InsufficientMemoryError : a sum over hidden configurations does not fit.
        DegenerateFitError : the evidence became NaN; the estimator is fitted with the last finite parameters.
        """
        with keeping_what_was_fitted(self):
            self._check_parameters()
            if isinstance(X, Stream):
                require_alone(y, sample_weight)
                return cast(Self, self._fit_stream(X))
            return cast(Self, self._fit(*self._rows_to_fit(X, y, sample_weight)))

    @abstractmethod
    def _rows_to_fit(self, X: Any, y: Any, sample_weight: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Checked inputs, targets as the model has them, weights, and targets as the user has them."""
