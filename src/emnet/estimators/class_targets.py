"""What classifiers share: labels that are checked, weighted, and kept as class indices."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import _check_sample_weight, column_or_1d

from emnet.estimators.validation import class_weights, plain_labels
from emnet.exceptions import InvalidInputError


class ClassTargets:
    """To be mixed into an `IterativeEstimator`."""

    class_weight: Any
    classes_: np.ndarray
    _check_features: Any
    _continues: Any

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

    def _classes_as_json(self) -> dict[str, Any]:
        return {"classes": {"dtype": self.classes_.dtype.str, "values": self.classes_.tolist()}}

    def _restore_classes(self, manifest: dict[str, Any]) -> None:
        self.classes_ = np.array(manifest["classes"]["values"], dtype=np.dtype(manifest["classes"]["dtype"]))
        if len(np.unique(self.classes_)) != len(self.classes_):
            raise ValueError("a class stands twice")
