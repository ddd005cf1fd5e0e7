"""Classes of sequences: one hidden Markov model for each."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Self

import numpy as np
import torch
from scipy.special import log_softmax
from sklearn.base import BaseEstimator, ClassifierMixin, clone
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, column_or_1d
from torch.distributions import Categorical, Distribution

from emnet.data.columns import Parts
from emnet.data.stream import Stream, rows_of
from emnet.estimators.iterative_stream import NO_TARGETS
from emnet.estimators.markov_fit import LearningMarkov
from emnet.estimators.resuming import resumable
from emnet.estimators.sequences import joined, require_lengths
from emnet.estimators.streaming import require_alone, sequence_weights
from emnet.estimators.validation import plain_labels, require_not_negative
from emnet.exceptions import InvalidInputError
from emnet.interruption import one_of_several


class SequenceClassifier(ClassifierMixin, BaseEstimator):
    """p(class | sequence) ∝ p(class) p(sequence | model of the class), with one hidden Markov model for each class.

    Parameters
    ----------
    model : a hidden Markov estimator, which is cloned for every class.
    class_prior : p(class), (g,), in the order of `classes_`; None takes the shares of the training sequences.
    common_rows : None: the classes have nothing in common. A number: `model` is first fitted to the sequences of all
        classes; each class's starts from what it found, its means pulled there as by so many rows of each state (MAP
        adaptation, Gauvain & Lee 1994). For few sequences a class; of `GaussianHMM` and `GMMHMM`.

    Attributes
    ----------
    classes_ : (g,).
    models_ : the fitted models, in their order.
    class_prior_ : (g,).
    common_model_ : of all classes, with `common_rows`.

    Raises
    ------
    InvalidInputError : there is not one class for each sequence; names what came.

    Examples
    --------
    >>> from emnet import GaussianHMM
    >>> rising, falling = np.arange(8.0)[:, None], np.arange(8.0)[::-1, None]
    >>> X = [rising, falling + 0.1, rising + 0.1, falling]
    >>> model = SequenceClassifier(GaussianHMM(2, random_state=0)).fit(X, ["up", "down", "up", "down"])
    >>> model.predict([rising[:5], falling[:5]]).tolist()
    ['up', 'down']
    """

    def __init__(self, model: LearningMarkov, *, class_prior: Any = None, common_rows: float | None = None):
        self.model = model
        self.class_prior = class_prior
        self.common_rows = common_rows

    @resumable
    def fit(self, X: Any, y: Any = None, lengths: Any = None) -> Self:
        """Fit every class's model to its sequences.

        Parameters
        ----------
        X : a list of sequences, (t, d) each, or (n, d), sequences end to end. Or an `emnet.stream` with the columns
            `target`, the class, the same in all rows of a sequence, and `sequence`; it is gone through for each class.
        y : (s,), the class of each sequence.
        lengths : of sequences end to end.
        """
        if isinstance(X, Stream):
            require_alone(y, lengths)
            return self._fit_stream(X)
        sequences, y = _separate(X, lengths), column_or_1d(y)
        check_classification_targets(y)
        if len(y) != len(sequences):
            raise InvalidInputError(f"y must have a class for each of the {len(sequences)} sequences; it has {len(y)}.")
        self.classes_, index = np.unique(y, return_inverse=True)
        self.class_prior_ = self._prior(np.bincount(index) / len(index))
        with one_of_several():
            start = self._start(sequences)
            self.models_ = [
                start().fit([each for each, own in zip(sequences, index, strict=True) if own == number])
                for number in range(len(self.classes_))
            ]
        return self

    def _fit_stream(self, stream: Stream) -> Self:
        """Fit every class's model to its part of a stream."""
        totals = _weights_by_class(stream)
        self.classes_ = np.unique(list(totals))
        shares = np.array([totals[label] for label in self.classes_.tolist()])
        self.class_prior_ = self._prior(shares / shares.sum())
        labels = self.classes_.tolist()
        with one_of_several():
            start = self._start(replace(stream, chosen=without_labels))
            self.models_ = [start().fit(replace(stream, chosen=OfClass(label))) for label in labels]
        return self

    def _start(self, X: Any) -> Callable[[], LearningMarkov]:
        """What makes a class's model before its fit; X are the sequences of all classes."""
        if self.common_rows is None:
            return partial(clone, self.model)
        require_not_negative("common_rows", self.common_rows)
        if "means_weight" not in self.model.get_params():
            raise InvalidInputError(
                f"common_rows is of GaussianHMM and GMMHMM, whose means may have a prior; {type(self.model).__name__} "
                "has none: leave it out."
            )
        self.common_model_ = clone(self.model).fit(X)
        return partial(_adapted, self.common_model_, self.common_rows)

    def predict(self, X: Any, lengths: Any = None) -> np.ndarray:
        """The most probable class of each sequence, (s,)."""
        joint = self.predict_joint_log_proba(X, lengths)
        return self.classes_[joint.argmax(axis=1)]

    def predict_proba(self, X: Any, lengths: Any = None) -> np.ndarray:
        """p(class | sequence), (s, g)."""
        return np.exp(self.predict_log_proba(X, lengths))

    def predict_log_proba(self, X: Any, lengths: Any = None) -> np.ndarray:
        """log p(class | sequence), (s, g)."""
        return log_softmax(self.predict_joint_log_proba(X, lengths), axis=1)

    def distribution(self, X: Any, lengths: Any = None) -> Distribution:
        """p(class | sequence) over the indices of `classes_`, a `torch.distributions.Categorical`."""
        return Categorical(logits=torch.as_tensor(self.predict_log_proba(X, lengths)))

    def decision_function(self, X: Any, lengths: Any = None) -> np.ndarray:
        """log p(class, sequence), in nats, (s, g); of two classes how much the second has more, (s,)."""
        joint = self.predict_joint_log_proba(X, lengths)
        return joint if len(self.classes_) > 2 else joint[:, -1] - joint[:, 0]

    def predict_joint_log_proba(self, X: Any, lengths: Any = None) -> np.ndarray:
        """log p(class, sequence), in nats, (s, g)."""
        check_is_fitted(self, "models_")
        scores = [model.score_sequences(X, lengths) for model in self.models_]
        with np.errstate(divide="ignore"):
            return np.stack(scores, axis=1) + np.log(self.class_prior_)

    def _prior(self, shares: np.ndarray) -> np.ndarray:
        if self.class_prior is None:
            return shares
        prior = np.asarray(self.class_prior, dtype=float)
        if prior.shape != shares.shape or (prior < 0).any() or abs(prior.sum() - 1) > 1e-6:
            raise InvalidInputError(
                f"class_prior must be {len(shares)} probabilities that add up to 1, in the order of the classes; got "
                f"{self.class_prior!r}."
            )
        return prior


def _adapted(common: Any, rows: float) -> Any:
    """A copy of a fitted model whose next fit starts from what it has learned, its means counting as so many rows."""
    prior = {"means_prior": common.means_, "means_weight": rows}
    return copy.deepcopy(common).set_params(init_params="", **prior)


def without_labels(parts: Parts) -> Parts:
    """All rows, without their labels."""
    return replace(parts, y=None)


@dataclass(frozen=True)
class OfClass:
    """The rows of a class, without their labels."""

    label: Any

    def __call__(self, parts: Parts) -> Parts:
        assert parts.y is not None
        return without_labels(rows_of(parts, np.asarray(plain_labels(parts.y) == self.label)))


def _weights_by_class(stream: Stream) -> dict[Any, float]:
    """How much the sequences of each class weigh."""
    own: dict[Any, float] = {}
    for chunk in stream:
        weights = sequence_weights(chunk)
        if chunk.y is None:
            raise InvalidInputError(NO_TARGETS)
        labels, lengths = plain_labels(chunk.y), chunk.lengths
        assert lengths is not None
        first = labels[np.cumsum(lengths) - lengths]
        odd = np.flatnonzero(np.repeat(first, lengths) != labels)
        if len(odd):
            raise InvalidInputError(
                f"{chunk.label}: row {odd[0]} of them has another class than its sequence began with."
            )
        for label, weight in zip(first.tolist(), np.ones(len(first)) if weights is None else weights, strict=True):
            own[label] = own.get(label, 0.0) + float(weight)
    parts = stream.group.gathered(own)
    return {label: sum(part.get(label, 0.0) for part in parts) for label in set().union(*parts)}


def _separate(X: Any, lengths: Any) -> list[Any]:
    """The sequences, (t, d) each."""
    X, lengths = joined(X, lengths)
    if lengths is None:
        raise InvalidInputError(
            "X must be a list of sequences, (t, d) each, or come with the `lengths` of its sequences."
        )
    ends = np.cumsum(require_lengths(lengths, len(X)))
    rows = X.iloc if hasattr(X, "iloc") else np.asarray(X)
    return [rows[end - length : end] for end, length in zip(ends, lengths, strict=True)]
