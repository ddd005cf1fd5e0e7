"""Clusters as the components of a mixture of the table."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Self

import numpy as np
from sklearn.base import BaseEstimator, ClusterMixin
from sklearn.utils.validation import check_is_fitted

from emnet.applications.cluster import Profile, profiles
from emnet.data.stream import Stream
from emnet.estimators.auto_density import chosen_density, sizes_of
from emnet.estimators.mixture_selection import CRITERIA
from emnet.estimators.resuming import resumable
from emnet.estimators.stream_passes import end_to_end, require_unweighted, seed_for
from emnet.estimators.table_input import check_table
from emnet.estimators.validation import require_one_of

_AUTO = tuple(range(1, 11))


class EMClusterer(ClusterMixin, BaseEstimator):
    """Clusters of a table whose cells may be missing and may be words, with p(cluster | row) and a profile of each.

    The components of a Gaussian mixture, or of a `MixtureModel` where there are words, fitted by exact EM.

    Parameters
    ----------
    n_clusters : a number, several of which the criterion chooses, or "auto", 1 to 10.
    criterion : "icl", which wants clusters that do not overlap, "bic" or "aic".
    covariance_types : what the criterion chooses from, where all columns are numbers.
    random_state : of the fits' starts.

    Attributes
    ----------
    labels_ : (n,), of the training rows.
    n_clusters_ : how many were chosen.
    model_ : the fitted mixture; its components are the clusters.
    table_ : a dict a fit, the best first, with its criteria.
    n_features_in_, feature_names_in_ : as in scikit-learn.

    Raises
    ------
    InvalidInputError : data or a parameter cannot be used; says which and what to do.

    Examples
    --------
    >>> X = np.array([[0.0, 0.1], [0.2, 0.0], [0.1, np.nan], [5.0, 5.2], [5.2, 5.0], [np.nan, 5.1]])
    >>> labels = EMClusterer(2, covariance_types=["tied"], random_state=0).fit_predict(X)
    >>> (labels == labels[0]).tolist()
    [True, True, True, False, False, False]
    """

    def __init__(
        self,
        n_clusters: int | str | Iterable[int] = "auto",
        *,
        criterion: str = "icl",
        covariance_types: Iterable[str] = ("full", "tied", "diag"),
        random_state: int | np.random.RandomState | None = None,
    ):
        self.n_clusters = n_clusters
        self.criterion = criterion
        self.covariance_types = covariance_types
        self.random_state = random_state

    @resumable
    def fit(self, X: Any, y: Any = None) -> Self:
        """Fit to (n, d) rows, an array, a data frame or an `emnet.stream` without weights; y is ignored."""
        require_one_of("criterion", self.criterion, CRITERIA)
        sizes = sizes_of("n_clusters", self._candidates())
        require_unweighted(X, "EMClusterer")
        X = check_table(self, X, reset=True)
        seed = seed_for(self.random_state, X)
        selection = chosen_density(X, sizes, self.covariance_types, self.criterion, seed, "n_clusters")
        self.model_, self.table_ = selection.best, selection.table
        self.n_clusters_ = int(self.model_.n_components)
        self.labels_ = end_to_end(X.as_frames() if isinstance(X, Stream) else X, self.model_.predict)
        return self

    def predict(self, X: Any) -> np.ndarray:
        """The most probable cluster of each row, (n,)."""
        check_is_fitted(self, "model_")
        return np.asarray(self.model_.predict(check_table(self, X, reset=False)))

    def predict_proba(self, X: Any) -> np.ndarray:
        """p(cluster | what is there of the row), (n, k)."""
        check_is_fitted(self, "model_")
        return np.asarray(self.model_.predict_proba(check_table(self, X, reset=False)))

    def score(self, X: Any, y: Any = None) -> float:
        """Mean log-likelihood of a row, in nats."""
        check_is_fitted(self, "model_")
        return float(self.model_.score(check_table(self, X, reset=False)))

    def profiles(self, X: Any) -> list[Profile]:
        """What the rows of each cluster have in common, and what sets them apart."""
        return profiles(X, self.predict_proba(X))

    def _candidates(self) -> int | Iterable[int]:
        if isinstance(self.n_clusters, str):
            require_one_of("n_clusters", self.n_clusters, ("auto",), "a whole number, or several")
            return _AUTO
        return self.n_clusters

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        return tags
