"""Estimators of sequences as scikit-learn's checks call them: every row is a sequence of its own.

hmmlearn's second argument is `lengths` where scikit-learn's is `y`, symbols and counts are whole numbers where its rows
are drawn from a Gaussian, and hmmlearn's score_samples gives two things. Here is the table of what is coded and why.
"""

import numpy as np
from sklearn.utils.validation import _num_samples, check_is_fitted, validate_data

from emnet import GMMHMM, CategoricalHMM, GaussianHMM, MultinomialHMM, NeuralHMM, PoissonHMM, SequenceClassifier


class EachRowASequence:
    """Weights are of sequences, and so of rows."""

    def fit(self, X, y=None, sample_weight=None):
        return super().fit(X, _lengths(X), sample_weight=sample_weight)

    def partial_fit(self, X, y=None, sample_weight=None):
        return super().partial_fit(X, _lengths(X), sample_weight=sample_weight)

    def predict(self, X):
        return super().predict(X, _lengths(X))

    def predict_proba(self, X):
        return self.score_pairs(X)[1]

    def score_pairs(self, X):
        return super().score_samples(X, _lengths(X))

    def score_samples(self, X):
        return super().score_sequences(X, _lengths(X))

    def score(self, X, y=None):
        return super().score(X, _lengths(X))


class RowsOfGaussianHMM(EachRowASequence, GaussianHMM):
    pass


class RowsOfGMMHMM(EachRowASequence, GMMHMM):
    pass


class RowsOfNeuralHMM(EachRowASequence, NeuralHMM):
    pass


class RowsOfPoissonHMM(EachRowASequence, PoissonHMM):
    """Counts are whole numbers."""

    def _read(self, X):
        return super()._read(np.round(X.astype(float)))


class RowsOfMultinomialHMM(EachRowASequence, MultinomialHMM):
    """Counts are whole numbers, and a row is missing whole."""

    def _read(self, X):
        whole = np.round(X.astype(float))
        return super()._read(np.where(np.isnan(whole).any(axis=1, keepdims=True), np.nan, whole))


class RowsOfCategoricalHMM(EachRowASequence, CategoricalHMM):
    """A row has one symbol, a whole number."""

    def _read(self, X):
        first = np.minimum(np.round(X.astype(float).min(axis=1, keepdims=True)), 2)
        return super()._read(first if np.isnan(first).any() else first.astype(int))


class RowsOfSequenceClassifier(SequenceClassifier):
    """A row is a sequence of one step."""

    def fit(self, X, y):
        X, y = validate_data(self, X, y, dtype=float)
        return super().fit(list(X[:, None]), y)

    def predict_joint_log_proba(self, X, lengths=None):
        check_is_fitted(self)
        X = validate_data(self, X, dtype=float, reset=False)
        return super().predict_joint_log_proba(list(X[:, None]))


def _lengths(X):
    return np.ones(_num_samples(X), dtype=int)
