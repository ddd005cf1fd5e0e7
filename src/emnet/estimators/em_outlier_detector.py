"""Rows that a model of all of them finds unlikely."""

from __future__ import annotations

from collections.abc import Iterable
from numbers import Real
from typing import Any, Self

import numpy as np
from sklearn.base import BaseEstimator, OutlierMixin, clone
from sklearn.utils.validation import check_is_fitted

from emnet.applications import anomaly
from emnet.data.stream import Stream
from emnet.estimators.auto_density import chosen_density, names_of, sizes_of
from emnet.estimators.mixture_selection import Selection
from emnet.estimators.pyod_names import PyODDetector
from emnet.estimators.resuming import resumable
from emnet.estimators.stream_passes import end_to_end, require_unweighted, seed_for, some_rows
from emnet.estimators.table_input import check_table
from emnet.estimators.validation import require_one_of
from emnet.exceptions import FitInterrupted, InvalidInputError


class EMOutlierDetector(OutlierMixin, BaseEstimator):
    """Outliers are the rows of lowest evidence under a mixture of the table, fitted by exact EM.

    The score of a row is log p(what is there of it), the lower the stranger; missing cells are integrated out, and
    components that one row of `fit` has made alone do not count: it would vouch for itself. `explain` says which
    columns made a row unlikely. `as_pyod` gives the same detector with PyOD's names and sign.

    Parameters
    ----------
    model : "auto", of tables of numbers a Gaussian mixture and of tables with words a `MixtureModel`, whose size and
        covariances have the lowest BIC; or an estimator of your own with ``score_samples``.
    contamination : share of the training rows that `fit` calls outliers, above 0 and at most 0.5.
    n_components, covariance_types : what "auto" chooses from.
    random_state : of the fit's starts.

    Attributes
    ----------
    model_ : the fitted model.
    selection_ : of "auto", the table of the fits, else None.
    offset_ : the score below which a row is an outlier.
    n_features_in_, feature_names_in_ : as in scikit-learn.

    Raises
    ------
    InvalidInputError : data or a parameter cannot be used; says which and what to do.

    Examples
    --------
    >>> X = np.array([[0.0, 0.1], [0.2, 0.0], [0.1, 0.2], [0.0, 0.2], [0.2, 0.1], [9.0, 0.1]])
    >>> EMOutlierDetector(contamination=0.2, n_components=1, random_state=0).fit_predict(X).tolist()
    [1, 1, 1, 1, 1, -1]
    """

    def __init__(
        self,
        model: Any = "auto",
        *,
        contamination: float = 0.05,
        n_components: int | Iterable[int] = (1, 2, 3, 4, 5, 6),
        covariance_types: Iterable[str] = ("full", "diag"),
        random_state: int | np.random.RandomState | None = None,
    ):
        self.model = model
        self.contamination = contamination
        self.n_components = n_components
        self.covariance_types = covariance_types
        self.random_state = random_state

    @resumable
    def fit(self, X: Any, y: Any = None) -> Self:
        """Fit the model to (n, d) rows, an array or a data frame, in which cells may be missing; y is ignored.

        Or to an `emnet.stream` without weights; then what is usual of a column (see `surprise`) is that of some rows.
        """
        self._check_parameters()
        require_unweighted(X, "EMOutlierDetector")
        X = check_table(self, X, reset=True)
        self.selection_: Selection | None = None
        if isinstance(self.model, str):
            seed = seed_for(self.random_state, X)
            sizes = sizes_of("n_components", self.n_components)
            self.selection_ = chosen_density(X, sizes, self.covariance_types, "bic", seed)
            return self._judging(X, self.selection_.best)
        model = clone(self.model)
        try:
            model.fit(X)
        except FitInterrupted:
            self._judging(X, model)
            raise
        return self._judging(X, model)

    def _judging(self, X: Any, model: Any) -> Self:
        """With the threshold of the rows that the model was fitted to."""
        rows = X.as_frames() if isinstance(X, Stream) else X
        self.model_, self._usual = model, anomaly.without_lone_parts(model, rows, end_to_end)
        scores = end_to_end(rows, self._usual.score_samples)
        self._fitted_rows = some_rows(rows, len(scores)) if isinstance(rows, Stream) else rows
        self.offset_ = anomaly.outlier_threshold(scores, float(self.contamination))
        return self

    def score_samples(self, X: Any) -> np.ndarray:
        """log p of what is there of each row, in nats, (n,): the lower the stranger."""
        check_is_fitted(self, "model_")
        return np.asarray(self._usual.score_samples(check_table(self, X, reset=False)))

    def decision_function(self, X: Any) -> np.ndarray:
        """`score_samples` less `offset_`, (n,): below 0 of outliers."""
        return self.score_samples(X) - self.offset_

    def predict(self, X: Any) -> np.ndarray:
        """−1 of outliers, 1 of the rest, (n,)."""
        return np.where(self.decision_function(X) < 0, -1, 1)

    def surprise(self, X: Any) -> np.ndarray:
        """How much more each cell surprises, given the rest of its row, than that column's cells do in `fit`'s rows.

        In nats, (n, d): −log p(x_j | the rest) less its median there. It is 0 on an ordinary day, and has no unit.
        """
        check_is_fitted(self, "model_")
        rows = check_table(self, X, reset=False)
        usual = anomaly.surprise(self._usual, self._fitted_rows)
        return anomaly.excess(anomaly.surprise(self._usual, rows), usual)

    def explain(self, X: Any, most: int = 3) -> list[list[anomaly.Reason]]:
        """Of each row the columns that made it unlikely, the most surprising first."""
        return anomaly.reasons(self.surprise(X), names_of(X, self), most)

    def as_pyod(self) -> PyODDetector:
        """This detector with PyOD's names, in which higher is stranger and 1 is an outlier."""
        return PyODDetector(self)

    def _check_parameters(self) -> None:
        share = self.contamination
        if not isinstance(share, Real) or isinstance(share, bool) or not 0 < share <= 0.5:
            raise InvalidInputError(f"contamination must be a share above 0 and at most 0.5; got {share!r}.")
        if isinstance(self.model, str):
            require_one_of("model", self.model, ("auto",), "an estimator with score_samples")
        elif not hasattr(self.model, "score_samples") or isinstance(self.model, type):
            raise InvalidInputError(f"model must be 'auto' or an estimator with score_samples; got {self.model!r}.")
        sizes_of("n_components", self.n_components)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        return tags
