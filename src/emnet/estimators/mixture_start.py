"""Where EM for a mixture starts: responsibilities from k-means, chance, or a few rows, as scikit-learn has it.

The same `random_state` draws the same numbers in the same order as scikit-learn's mixtures, so fits can be compared.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
from sklearn import config_context

from emnet.exceptions import InvalidInputError

Start = Callable[[np.ndarray, int, np.random.RandomState, np.ndarray | None], np.ndarray]
"""(X without holes, k, random numbers, weights of the rows or None) → responsibilities (n, k)."""


def k_means(X: np.ndarray, k: int, rng: np.random.RandomState, weights: np.ndarray | None) -> np.ndarray:
    from sklearn.cluster import KMeans

    with config_context(skip_parameter_validation=True):  # a sixth of the time of a small start
        return one_hot(KMeans(n_clusters=k, n_init=1, random_state=rng).fit(X, sample_weight=weights).labels_, k)


def random(X: np.ndarray, k: int, rng: np.random.RandomState, weights: np.ndarray | None) -> np.ndarray:
    responsibilities = rng.uniform(size=(len(X), k))
    return responsibilities / responsibilities.sum(axis=1, keepdims=True)


def random_rows(X: np.ndarray, k: int, rng: np.random.RandomState, weights: np.ndarray | None) -> np.ndarray:
    return _of_rows(rng.choice(len(X), size=k, replace=False), len(X))


def k_means_plus_plus(X: np.ndarray, k: int, rng: np.random.RandomState, weights: np.ndarray | None) -> np.ndarray:
    from sklearn.cluster import kmeans_plusplus

    return _of_rows(kmeans_plusplus(X, k, random_state=rng, sample_weight=weights)[1], len(X))


STARTS: Mapping[str, Start] = {
    "kmeans": k_means,
    "k-means++": k_means_plus_plus,
    "random": random,
    "random_from_data": random_rows,
}


def start(
    name: str, X: np.ndarray, k: int, rng: np.random.RandomState, weights: np.ndarray | None, labels: np.ndarray | None
) -> np.ndarray:
    """Responsibilities, (n, k). Holes are filled with column means; rows of known state keep it."""
    if np.isnan(X).any():
        X = np.where(np.isnan(X), np.nanmean(X, axis=0), X)
    if labels is None:
        return STARTS[name](X, k, rng, weights)
    prior = labels if labels.ndim == 2 else np.where(labels[:, None] >= 0, one_hot(labels, k), 1.0)
    known = (prior > 0).sum(axis=1) == 1
    found = _around_labels(X, k, rng, prior, known) if known.any() else STARTS[name](X, k, rng, weights)
    allowed = found * prior
    total = allowed.sum(axis=1, keepdims=True)
    return np.where(total > 0, allowed, prior) / np.where(total > 0, total, prior.sum(axis=1, keepdims=True))


def one_hot(labels: np.ndarray, k: int) -> np.ndarray:
    return (labels[:, None] == np.arange(k)).astype(float)


def require_labels(labels: np.ndarray, n: int, k: int) -> np.ndarray:
    """Known states, (n,) with −1 for unknown, or multipliers of the states' probabilities, (n, k)."""
    if labels.shape == (n, k) and k > 1:
        soft = labels.astype(float)
        bad = ~(np.isfinite(soft) & (soft >= 0)).all(axis=1) | ~(soft.sum(axis=1) > 0)
        if bad.any():
            raise InvalidInputError(
                f"Soft labels must be finite, not negative and not all 0 in a row; row {int(np.flatnonzero(bad)[0])} "
                "is not. Give an unknown row the same number for each component."
            )
        return soft
    if labels.shape != (n,):
        raise InvalidInputError(f"y must be labels, ({n},), or soft labels, ({n}, {k}); it is {labels.shape}.")
    if labels.dtype.kind not in "iu":
        raise InvalidInputError(
            f"Labels must be whole numbers, −1 for unknown or a component from 0 to {k - 1}; got {labels[0].item()!r}. "
            "Encode the labels, for example with np.unique(y, return_inverse=True)[1], or give labels=False."
        )
    if labels.min() < -1 or labels.max() >= k:
        raise InvalidInputError(
            f"Labels must be whole numbers, −1 for unknown or a component from 0 to {k - 1}; "
            f"got values from {labels.min()!s} to {labels.max()!s}. Raise n_components or encode the labels."
        )
    return labels.astype(np.int64)


def _around_labels(
    X: np.ndarray, k: int, rng: np.random.RandomState, prior: np.ndarray, known: np.ndarray
) -> np.ndarray:
    """k-means from the means of the labeled rows; components that no label names start as k-means++ has them."""
    from sklearn.cluster import KMeans, kmeans_plusplus

    centers = kmeans_plusplus(X, k, random_state=rng)[0]
    state = prior[known].argmax(axis=1)
    for label in np.unique(state):
        centers[label] = X[known][state == label].mean(axis=0)
    return one_hot(KMeans(n_clusters=k, init=centers, n_init=1, random_state=rng).fit(X).labels_, k)


def _of_rows(rows: np.ndarray, n: int) -> np.ndarray:
    responsibilities = np.zeros((n, len(rows)))
    responsibilities[rows, np.arange(len(rows))] = 1
    return responsibilities
