"""What classifiers share: labels that are checked, weighted, and kept as class indices."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any, Self, cast

import numpy as np
import torch
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import _check_sample_weight, column_or_1d
from torch.distributions import Categorical, Distribution

from emnet import serialization
from emnet.batch import Batch
from emnet.data.sample import Units
from emnet.data.stream import Chunk, Stream
from emnet.estimators.keeping import keeping_what_was_fitted
from emnet.estimators.targets import Targets
from emnet.estimators.validation import class_weights, plain_labels, require_known_targets, weights_of_some
from emnet.exceptions import InvalidInputError


class ClassTargets(Targets):
    """To be mixed into an `IterativeEstimator`."""

    class_weight: Any
    classes_: np.ndarray
    predict_log_proba: Any

    def partial_fit(self, X: Any, y: Any, classes: Any = None, sample_weight: Any = None) -> Self:
        """A pass of Adam along ∇Q over these rows, from the present parameters; the first call says all `classes`.

        The first rows also say how inputs are standardized.
        """
        with keeping_what_was_fitted(self):
            self._check_parameters()
            known = getattr(self, "classes_", None) if classes is None else np.unique(plain_labels(classes))
            X, codes, weights = self._check_data(X, y, sample_weight, known, reset=not hasattr(self, "members_"))
            return cast(Self, self._fit_pass(X, codes, weights))

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

    def _rows_to_fit(self, X: Any, y: Any, sample_weight: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        X, codes, weights = self._check_data(X, y, sample_weight, reset=not self._continues())
        return X, codes, weights, self.classes_[codes]

    def _check_data(
        self, X: Any, y: Any, sample_weight: Any, known: np.ndarray | None = None, reset: bool = True
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Finite float64 inputs, class indices and weights of the rows whose weight is not zero."""
        y = y if y is None else plain_labels(y)
        require_known_targets(y)
        X, y = self._check_features(X, y, reset=reset)
        y = column_or_1d(y, warn=True)
        check_classification_targets(y)
        before: Any = vars(self).get("classes_")
        self.classes_ = classes = np.unique(y) if known is None else known
        self._require_classes(before)
        codes = self._codes(y)
        weights = _check_sample_weight(sample_weight, X, dtype=np.float64, ensure_non_negative=True)
        weights = weights * class_weights(self.class_weight, classes, codes, weights)
        seen = weights > 0
        if not seen.any():
            raise InvalidInputError("All sample weights are zero: there is nothing to fit.")
        return X[seen], codes[seen], weights[seen]

    def _meet(self, stream: Stream) -> None:
        """The classes of a stream, and how much each of them weighs: a pass."""
        super()._meet(stream)  # type: ignore[misc]
        own: Counter[Any] = Counter()
        for chunk in stream:
            labels, where = np.unique(plain_labels(chunk.y), return_inverse=True)
            weights = None if chunk.weights is None else np.asarray(chunk.weights, dtype=float)
            own.update(dict(zip(labels.tolist(), np.bincount(where, weights).tolist(), strict=True)))
        totals: Counter[Any] = sum(stream.group.gathered(own), Counter())
        self.classes_, before = np.unique(list(totals)), vars(self).get("classes_")
        self._require_classes(before)
        self._multipliers = self._by_class(totals)

    def _by_class(self, totals: Mapping[Any, float]) -> np.ndarray:
        """The multiplier of each class's weights, (g,)."""
        codes = np.arange(len(self.classes_))
        return class_weights(
            self.class_weight, self.classes_, codes, np.array([totals[label] for label in self.classes_.tolist()])
        )

    def _rows_that_count(self, chunk: Chunk) -> Units:
        X, y = self._check_features(chunk.X, plain_labels(chunk.y), reset=False)
        codes = self._codes(column_or_1d(y, warn=True))
        weights = weights_of_some(chunk.weights, X)
        weights = weights * self._multipliers[codes]
        seen = weights > 0
        return Units(X[seen], codes[seen], weights[seen])

    def _require_classes(self, before: Any) -> None:
        if self._continues() and not np.array_equal(self.classes_, before):
            raise InvalidInputError("With warm_start the classes must be those of the last fit.")
        if len(self.classes_) < 2:
            raise InvalidInputError(
                f"A classifier needs at least two classes; y has one class only, {self.classes_.tolist()[0]!r}."
            )

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

    def _onnx_notes(self) -> dict[str, Any]:
        return {"classes": self.classes_.tolist()}

    def _to_state(self) -> serialization.State:
        manifest, tensors = super()._to_state()  # type: ignore[misc]
        classes = {"dtype": self.classes_.dtype.str, "values": self.classes_.tolist()}
        return {**manifest, "classes": classes}, tensors

    def _restore_classes(self, manifest: dict[str, Any]) -> None:
        self.classes_ = np.array(manifest["classes"]["values"], dtype=np.dtype(manifest["classes"]["dtype"]))
        if len(np.unique(self.classes_)) != len(self.classes_):
            raise ValueError("a class stands twice")
