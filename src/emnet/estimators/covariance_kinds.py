"""The ways in which hmmlearn writes covariances, and the structure that each is to the model."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from torch import Tensor

from emnet.estimators.validation import require_one_of
from emnet.exceptions import InvalidInputError
from emnet.factors.covariances import Covariance, Diagonal, Full, Spherical, Tied


class Writing(ABC):
    """One covariance in numbers; arrays of them have axes before."""

    n_axes: int  # of d each
    diagonal = True

    @abstractmethod
    def n_free(self, d: int) -> int:
        """Free parameters."""

    @abstractmethod
    def matrices(self, covars: np.ndarray, d: int) -> np.ndarray:
        """Σ of each, (…, d, d)."""

    @abstractmethod
    def written(self, covariances: np.ndarray) -> np.ndarray:
        """Matrices of the structure, (…, d, d), as they are written."""

    def start(self, spread: np.ndarray) -> np.ndarray:
        """What hmmlearn starts with where the rows have that covariance, (d, d)."""
        return self.written(spread)

    def are_definite(self, covars: np.ndarray) -> bool:
        """Whether all are positive definite, and symmetric."""
        return bool((covars > 0).all())


class Variance(Writing):
    """One variance of all columns."""

    n_axes = 0

    def n_free(self, d: int) -> int:
        return 1

    def matrices(self, covars: np.ndarray, d: int) -> np.ndarray:
        return np.eye(d) * covars[..., None, None]

    def written(self, covariances: np.ndarray) -> np.ndarray:
        return _variances(covariances).mean(axis=-1)

    def start(self, spread: np.ndarray) -> np.ndarray:
        return spread.mean()  # of all its entries, as hmmlearn has it


class Variances(Writing):
    """The variances of the columns."""

    n_axes = 1

    def n_free(self, d: int) -> int:
        return d

    def matrices(self, covars: np.ndarray, d: int) -> np.ndarray:
        return np.eye(d) * covars[..., None, :]

    def written(self, covariances: np.ndarray) -> np.ndarray:
        return _variances(covariances)


class Matrix(Writing):
    """The whole matrix."""

    n_axes = 2
    diagonal = False

    def n_free(self, d: int) -> int:
        return d * (d + 1) // 2

    def matrices(self, covars: np.ndarray, d: int) -> np.ndarray:
        return covars

    def written(self, covariances: np.ndarray) -> np.ndarray:
        return covariances

    def are_definite(self, covars: np.ndarray) -> bool:
        swapped = np.swapaxes(covars, -1, -2)
        if covars.shape[-1] != covars.shape[-2] or not np.allclose(covars, swapped):
            return False
        return bool((np.linalg.eigvalsh(covars) > 0).all())


def _variances(covariances: np.ndarray) -> np.ndarray:
    return np.diagonal(covariances, axis1=-2, axis2=-1).copy()


@dataclass(frozen=True)
class CovarianceKind:
    """A value of `covariance_type`."""

    name: str
    writing: Writing
    structure: Callable[[Tensor], Covariance]
    shared: bool = False  # by all states, or by the components of each

    def shape(self, groups: tuple[int, ...], d: int) -> tuple[int, ...]:
        """Of the covariances of groups, of which the last axis is what `shared` ones have in common."""
        return (*(groups[:-1] if self.shared else groups), *[d] * self.writing.n_axes)

    def require(self, covars: Any, k: int) -> np.ndarray:
        """Covariances of k states as they are written, (k, …), or of all of them."""
        covars = np.array(covars, dtype=float)
        if self.writing.n_axes == 0 and covars.ndim:  # hmmlearn takes them of every column, too
            covars = covars.reshape(len(covars), -1).mean(axis=1)
        axes = [*([] if self.shared else ["k"]), *["d"] * self.writing.n_axes]
        if covars.ndim != len(axes) or (not self.shared and len(covars) != k):
            shape = f"({', '.join(axes)}{',' if len(axes) == 1 else ''})"
            raise InvalidInputError(f"{self.name!r} covars_ have shape {shape}, k = {k}; these have {covars.shape}.")
        self.require_definite(covars)
        return covars

    def require_definite(self, covars: np.ndarray) -> None:
        """Raise InvalidInputError where one is not symmetric and positive definite."""
        if not self.writing.are_definite(covars):
            raise InvalidInputError(f"{self.name!r} covars_ must be symmetric and positive definite.")


_KINDS: Mapping[str, CovarianceKind] = {
    kind.name: kind
    for kind in (
        CovarianceKind("spherical", Variance(), Spherical),
        CovarianceKind("diag", Variances(), Diagonal),
        CovarianceKind("full", Matrix(), Full),
        CovarianceKind("tied", Matrix(), Tied, shared=True),
    )
}


def covariance_kind(name: Any) -> CovarianceKind:
    """The kind of that name.

    Raises
    ------
    InvalidInputError : there is none.
    """
    require_one_of("covariance_type", name, tuple(_KINDS))
    return _KINDS[name]
