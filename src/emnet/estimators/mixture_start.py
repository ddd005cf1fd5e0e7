"""Where EM for a mixture starts: responsibilities from k-means, chance, or a few rows, as scikit-learn has it.

The same `random_state` draws the same numbers in the same order as scikit-learn's mixtures, so fits can be compared.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
from scipy.spatial.distance import cdist
from sklearn import config_context

from emnet.estimators.known_components import best_order, one_hot, tell_anything

Start = Callable[[np.ndarray, int, np.random.RandomState, np.ndarray | None], np.ndarray]
"""(X without holes, k, random numbers, weights of the rows or None) → responsibilities (n, k)."""


def k_means(X: np.ndarray, k: int, rng: np.random.RandomState, weights: np.ndarray | None) -> np.ndarray:
    return _clusters(X, k, rng, weights, "k-means++")


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
    """Responsibilities, (n, k). Holes are filled with column means.

    Where labels say anything of the rows they come from k-means, whatever the start's name: clusters can be named.
    """
    if np.isnan(X).any():
        X = np.where(np.isnan(X), np.nanmean(X, axis=0), X)
    if labels is None or not (tell := tell_anything(labels)).any():
        return STARTS[name](X, k, rng, weights)
    prior = labels if labels.ndim == 2 else np.where(labels[:, None] >= 0, one_hot(labels, k), 1.0)
    prior = prior / prior.max(axis=1, keepdims=True)  # of each row the same says the same, whatever it is multiplied by
    known = (prior > 0).sum(axis=1) == 1
    states = np.where(known, prior.argmax(axis=1), -1)
    found = _around_labels(X, k, rng, weights, states) if known.any() else k_means(X, k, rng, weights)
    mass = prior if weights is None else prior * weights[:, None]
    allowed = found[:, best_order(found[tell], mass[tell])] * prior
    total = allowed.sum(axis=1, keepdims=True)
    return np.where(total > 0, allowed, prior) / np.where(total > 0, total, prior.sum(axis=1, keepdims=True))


def _around_labels(
    X: np.ndarray, k: int, rng: np.random.RandomState, weights: np.ndarray | None, states: np.ndarray
) -> np.ndarray:
    """k-means from the means of the rows whose states, (n,), are known; the other centers are drawn away from those."""
    mass = np.ones(len(X)) if weights is None else weights
    centers, named = np.empty((k, X.shape[1])), np.unique(states[states >= 0])
    for label in named:
        own = states == label
        centers[label] = np.average(X[own], axis=0, weights=mass[own])
    away = cdist(centers[named], X, "sqeuclidean").min(axis=0)
    for label in np.setdiff1d(np.arange(k), named):
        centers[label], away = _next_center(X, away, k, rng, mass)
    return _clusters(X, k, rng, weights, centers)


def _next_center(
    X: np.ndarray, away: np.ndarray, k: int, rng: np.random.RandomState, mass: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """A row as greedy k-means++ draws it (Arthur & Vassilvitskii 2007), and how far, squared, rows are then away, (n,).

    Of a few rows, drawn in proportion to how far they are from all centers, it is the one that leaves the least.
    """
    reached = np.cumsum(mass * away)
    draws = rng.uniform(size=2 + int(np.log(k))) * reached[-1]
    tried = X[np.searchsorted(reached, draws).clip(max=len(X) - 1)]
    left = np.minimum(away, cdist(tried, X, "sqeuclidean"))
    best = (left @ mass).argmin()
    return tried[best], left[best]


def _clusters(
    X: np.ndarray, k: int, rng: np.random.RandomState, weights: np.ndarray | None, centers: str | np.ndarray
) -> np.ndarray:
    from sklearn.cluster import KMeans

    with config_context(skip_parameter_validation=True):  # a sixth of the time of a small start
        means = KMeans(n_clusters=k, init=centers, n_init=1, random_state=rng)
        return one_hot(means.fit(X, sample_weight=weights).labels_, k)


def _of_rows(rows: np.ndarray, n: int) -> np.ndarray:
    responsibilities = np.zeros((n, len(rows)))
    responsibilities[rows, np.arange(len(rows))] = 1
    return responsibilities
