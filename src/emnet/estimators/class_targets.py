"""What classifiers share: labels that are checked, weighted, and kept as class indices."""

from __future__ import annotations

from typing import Any, Self, cast

import numpy as np
import torch
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import _check_sample_weight, column_or_1d
from torch.distributions import Categorical, Distribution

from emnet import serialization
from emnet.batch import Batch
from emnet.estimators.callbacks import with_callbacks
from emnet.estimators.keeping import keeping_what_was_fitted
from emnet.estimators.validation import class_weights, plain_labels
from emnet.exceptions import InvalidInputError


class ClassTargets:
    """To be mixed into an `IterativeEstimator`."""

    class_weight: Any
    classes_: np.ndarray
    predict_log_proba: Any
    _check_features: Any
    _check_inputs: Any
    _check_parameters: Any
    _continues: Any
    _fit: Any
    _batch: Any

    @with_callbacks
    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> Self:
        """Fit to (n, p) inputs and (n,) labels: numbers, strings or booleans; weight 2 is the row twice, 0 no row.

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
            X, codes, weights = self._check_data(X, y, sample_weight)
            return cast(Self, self._fit(X, codes, weights, self.classes_[codes]))

    def predict_proba(self, X: Any) -> np.ndarray:
        """p(y | x), what is hidden summed out: (n, g), columns as `classes_`."""
        return np.exp(self.predict_log_proba(X))

    def distribution(self, X: Any) -> Distribution:
        """p(y | x) of each row over the indices of `classes_`, a `torch.distributions.Categorical`."""
        return Categorical(logits=torch.as_tensor(self.predict_log_proba(X)))

    def predict(self, X: Any) -> np.ndarray:
        """The most probable class of each row, (n,)."""
        most_probable = self.predict_log_proba(X).argmax(axis=1)
        return self.classes_[most_probable]

    def _check_data(
        self, X: Any, y: Any, sample_weight: Any, known: np.ndarray | None = None, reset: bool = True
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Finite float64 inputs, class indices and weights of the rows whose weight is not zero."""
        X, y = self._check_features(X, y if y is None else plain_labels(y), reset=reset)
        y = column_or_1d(y, warn=True)
        check_classification_targets(y)
        classes = np.unique(y) if known is None else known
        before: Any = vars(self).get("classes_")
        if self._continues() and not np.array_equal(classes, before):
            raise InvalidInputError("With warm_start the classes must be those of the last fit.")
        if len(classes) < 2:
            raise InvalidInputError(
                f"A classifier needs at least two classes; y has one class only, {classes.tolist()[0]!r}."
            )
        self.classes_ = classes
        codes = self._codes(y)
        weights = _check_sample_weight(sample_weight, X, dtype=np.float64, ensure_non_negative=True)
        weights = weights * class_weights(self.class_weight, classes, codes, weights)
        seen = weights > 0
        if not seen.any():
            raise InvalidInputError("All sample weights are zero: there is nothing to fit.")
        return X[seen], codes[seen], weights[seen]

    def _codes(self, y: np.ndarray) -> np.ndarray:
        unknown = np.setdiff1d(y, self.classes_)
        if len(unknown):
            raise InvalidInputError(f"y holds {unknown.tolist()[0]!r}, which was not a class in training.")
        return np.searchsorted(self.classes_, y)

    def _answered(self, X: Any, y: Any) -> Batch:
        """Rows with their labels."""
        X, y = self._check_inputs(X), column_or_1d(plain_labels(y))
        if len(y) != len(X):
            raise InvalidInputError(f"X and y must have as many rows; X has {len(X)}, y {len(y)}.")
        return cast(Batch, self._batch(X, self._codes(y)))

    def _to_state(self) -> serialization.State:
        manifest, tensors = super()._to_state()  # type: ignore[misc]
        classes = {"dtype": self.classes_.dtype.str, "values": self.classes_.tolist()}
        return {**manifest, "classes": classes}, tensors

    def _restore_classes(self, manifest: dict[str, Any]) -> None:
        self.classes_ = np.array(manifest["classes"]["values"], dtype=np.dtype(manifest["classes"]["dtype"]))
        if len(np.unique(self.classes_)) != len(self.classes_):
            raise ValueError("a class stands twice")
