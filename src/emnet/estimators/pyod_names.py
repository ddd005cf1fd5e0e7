"""PyOD's names for a detector of scikit-learn's convention."""

from __future__ import annotations

from typing import Any, Self

import numpy as np


class PyODDetector:
    """Higher is stranger, 1 is an outlier and 0 is none (Zhao, Nasrullah & Li 2019, JMLR 20:96).

    Wraps any detector with `score_samples`, `offset_` and `contamination`; PyOD is not needed.

    Attributes
    ----------
    contamination : the detector's.
    decision_scores_ : −log p of the training rows, (n,), of a stream those of some.
    threshold_ : the score above which a row is an outlier.
    labels_ : 0 and 1 of the training rows, (n,).
    """

    def __init__(self, detector: Any):
        self.detector = detector
        self.contamination = detector.contamination
        if hasattr(detector, "offset_"):
            self._publish(detector._fitted_rows)

    def fit(self, X: Any, y: Any = None) -> Self:
        self.detector.fit(X)
        self._publish(self.detector._fitted_rows)
        return self

    def decision_function(self, X: Any) -> np.ndarray:
        """−log p of each row, in nats, (n,)."""
        scores: np.ndarray = -self.detector.score_samples(X)
        return scores

    def predict(self, X: Any, return_confidence: bool = False) -> Any:
        """1 of outliers, else 0, (n,)."""
        labels = (self.decision_function(X) > self.threshold_).astype(int)
        return (labels, self.predict_confidence(X)) if return_confidence else labels

    def fit_predict(self, X: Any, y: Any = None) -> np.ndarray:
        labels: np.ndarray = self.fit(X).labels_
        return labels

    def predict_proba(self, X: Any, method: str = "linear") -> np.ndarray:
        """Scores brought between 0 and 1 by those of the training rows: columns of no outlier and of one, (n, 2)."""
        low, high = self.decision_scores_.min(), self.decision_scores_.max()
        outlier = np.clip((self.decision_function(X) - low) / ((high - low) or 1.0), 0, 1)
        return np.column_stack((1 - outlier, outlier))

    def predict_confidence(self, X: Any) -> np.ndarray:
        """How sure it is that the label would stay, were the training rows drawn anew, (n,).

        Perini, Vercruyssen & Davis 2020, "Quantifying the confidence of anomaly detectors". By Bayes' rule
        with a uniform prior, a row's score exceeds a training score with p = (1 + how many it exceeds) / (2 + n); it is
        an outlier if at least n (1 − contamination) + 1 of n training scores lie below it.
        """
        from scipy.stats import binom

        n = len(self.decision_scores_)
        scores = self.decision_function(X)
        below = np.searchsorted(np.sort(self.decision_scores_), scores, side="right")
        posterior = (1 + below) / (2 + n)
        outlier = 1 - binom.cdf(n - int(n * self.contamination), n, posterior)
        return np.where(scores > self.threshold_, outlier, 1 - outlier)

    def _publish(self, X: Any) -> None:
        self.decision_scores_ = self.decision_function(X)
        self.threshold_ = -float(self.detector.offset_)
        self.labels_ = (self.decision_scores_ > self.threshold_).astype(int)
