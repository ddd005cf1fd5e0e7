"""The Gaussian components of estimators that have them, whatever they call them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Gaussians:
    """Weights (k,), means (k, d) and covariances (k, d, d) of the columns by their places in X; NaN of others."""

    weights: np.ndarray
    means: np.ndarray
    covariances: np.ndarray

    @property
    def columns(self) -> list[int]:
        """Those that have a mean."""
        return np.flatnonzero(np.isfinite(self.means).all(axis=0)).tolist()


def gaussians_of(estimator: Any, d: int) -> Gaussians | None:
    """The components of an estimator of d columns; None of one that has none, or whose are of hidden vectors."""
    if hasattr(estimator, "transform"):
        return None
    for needed, found in _WAYS:
        if all(hasattr(estimator, name) for name in needed):
            return found(estimator, d)
    return None


def _of_table(estimator: Any, d: int) -> Gaussians:
    """Each emission is a block of columns."""
    k = len(estimator.weights_)
    means, covariances = np.full((k, d), np.nan), np.zeros((k, d, d))
    positions = {column.name: column.position for column in estimator._coding.columns}
    for key, own in estimator.parameters_.items():
        if "covariances" in own and estimator.emissions_[key] == "gaussian":
            columns = [positions[name] for name in (key if isinstance(key, tuple) else (key,))]
            means[:, columns] = own["means"]
            covariances[np.ix_(range(k), columns, columns)] = own["covariances"]
    return Gaussians(estimator.weights_, means, covariances)


def _of_states(estimator: Any, d: int) -> Gaussians | None:
    covariances = np.asarray(estimator.covars_)
    if covariances.ndim != 3:
        return None
    return Gaussians(estimator.get_stationary_distribution(), np.asarray(estimator.means_), covariances)


def _of_mixture(estimator: Any, d: int) -> Gaussians:
    means, found = np.asarray(estimator.means_), np.asarray(estimator.covariances_)
    k, d = means.shape
    if found.shape == (k, d, d):
        return Gaussians(estimator.weights_, means, found)
    if found.shape == (d, d) and estimator.covariance_type in ("tied", "EEE"):
        return Gaussians(estimator.weights_, means, np.broadcast_to(found, (k, d, d)))
    variances = np.broadcast_to(found.reshape(k, -1), (k, d))
    return Gaussians(estimator.weights_, means, variances[:, :, None] * np.eye(d))


_WAYS = (
    (("parameters_", "emissions_"), _of_table),
    (("means_", "covars_", "transmat_"), _of_states),
    (("means_", "covariances_", "weights_"), _of_mixture),
)
