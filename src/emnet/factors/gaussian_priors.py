"""Priors on the means and covariances of Gaussians, as what they add to counts and scatter."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from emnet.exceptions import InvalidInputError

_UNLIKE = 1e-8  # of correlations: what rounding of decimals may have made


class GaussianPrior(Protocol):
    """p(m, Σ) ∝ Π_k |Σ_k|^{−r/2} exp(−½ tr Σ_k⁻¹ [Ψ + κ (m_k − mean)(m_k − mean)ᵀ]): r rows whose scatter is Ψ."""

    @property
    def mean(self) -> Tensor | None:
        """(d,) or (k, d); None if the means have no prior."""
        ...

    def pull(self, means: Tensor) -> Tensor:
        """κ of each state, (k,)."""
        ...

    def scatter(self, diagonal: bool) -> Tensor:
        """Ψ, of one state or of each; of diagonal covariances its diagonal."""
        ...

    def rows(self, means: Tensor, shared: bool) -> Tensor | float:
        """r, of one state or of each; of a covariance that all share, once."""
        ...


@dataclass(frozen=True)
class NormalInverseWishart:
    """A prior, the same for all components: m | Σ ~ Normal(mean, Σ/shrinkage), p(Σ) ∝ |Σ|^{−(ν+d+1)/2} e^{−tr(ΨΣ⁻¹)/2}.

    It acts as `shrinkage` rows at `mean` would on the means (Fraley & Raftery 2007), and as ν + d + 1 rows whose
    scatter is Ψ on the covariances (of a shared one, once); on structured ones it is restricted to what they can be.
    A flat prior has shrinkage 0, Ψ = 0 and ν = −d − 1.

    Parameters
    ----------
    scale : Ψ, (d, d), a tensor or what makes one.
    degrees_of_freedom : ν ≥ −d − 1.
    mean : (d,), needed with a shrinkage.
    shrinkage : κ ≥ 0.
    """

    scale: Tensor
    degrees_of_freedom: float
    mean: Tensor | None = None
    shrinkage: float = 0.0

    def __post_init__(self) -> None:
        object.__setattr__(self, "scale", torch.as_tensor(self.scale, dtype=torch.float64))
        if self.mean is not None:
            object.__setattr__(self, "mean", torch.as_tensor(self.mean, dtype=torch.float64))
        d = self.scale.shape[-1] if self.scale.dim() else 0
        if self.scale.shape != (d, d) or (self.mean is not None and self.mean.shape != (d,)):
            raise InvalidInputError("A NormalInverseWishart has a scale of shape (d, d) and a mean of shape (d,).")
        numbers = math.isfinite(self.degrees_of_freedom) and math.isfinite(self.shrinkage)
        enough = numbers and self.degrees_of_freedom >= -d - 1 and self.shrinkage >= 0
        if not enough or (self.shrinkage > 0 and self.mean is None):
            raise InvalidInputError(
                f"A NormalInverseWishart needs degrees_of_freedom of at least −d − 1 = {-d - 1}, a shrinkage of at "
                f"least 0, and a mean where that is not 0; got {self.degrees_of_freedom} and {self.shrinkage}."
            )
        if self.mean is not None and not bool(self.mean.isfinite().all()):
            raise InvalidInputError(
                "The mean of a NormalInverseWishart must be finite; it has NaN or infinite entries."
            )
        _require_scatter(self.scale)

    def pull(self, means: Tensor) -> Tensor:
        """κ, the same for each state: (k,)."""
        return means.new_full((len(means),), self.shrinkage)

    def scatter(self, diagonal: bool) -> Tensor:
        """Ψ, (d, d), or its diagonal, (d,)."""
        return self.scale.diagonal() if diagonal else self.scale

    def rows(self, means: Tensor, shared: bool) -> float:
        """ν + d + 1, and one more for each mean that has a prior."""
        rows = self.degrees_of_freedom + means.shape[1] + 1
        return rows + (len(means) if shared else 1) if self.shrinkage > 0 else rows


def _require_scatter(scale: Tensor) -> None:
    """Raise InvalidInputError unless (d, d) is what rows may have for a scatter; sizes of columns may differ widely."""
    what = "The scale of a NormalInverseWishart must be a scatter of rows, finite, symmetric and positive semidefinite;"
    if not bool(scale.isfinite().all()):
        raise InvalidInputError(f"{what} it has NaN or infinite entries.")
    squares = scale.diagonal()
    if bool((squares < 0).any()):
        j = int(squares.argmin())
        raise InvalidInputError(f"{what} its entry ({j}, {j}), of column {j}, is {float(squares[j]):g}.")
    deviations = torch.where(squares > 0, squares, 1.0).sqrt()
    alike = scale / deviations / deviations[:, None]
    if float((odd := (alike - alike.T).abs()).max()) > _UNLIKE:
        i, j = divmod(int(odd.argmax()), len(scale))
        raise InvalidInputError(
            f"{what} its entry ({i}, {j}) is {float(scale[i, j]):g}, and ({j}, {i}) is {float(scale[j, i]):g}."
        )
    if not torch.equal(scale, squares.diag()) and float(least := torch.linalg.eigvalsh(alike)[0]) < -_UNLIKE:
        raise InvalidInputError(
            f"{what} with its columns divided by their deviations its smallest eigenvalue is {float(least):.3g}."
        )


@dataclass(frozen=True)
class StatePriors:
    """A prior of its own for each of k states.

    Parameters
    ----------
    scale : Ψ, (k, d, d), or of a shared covariance (1, d, d), or of diagonals (k, d).
    count : r of each state, (k,), or of a shared covariance (1,).
    mean : (k, d), or None.
    shrinkage : κ of each state, (k,).
    """

    scale: Tensor
    count: Tensor
    mean: Tensor | None = None
    shrinkage: Tensor | None = None

    def pull(self, means: Tensor) -> Tensor:
        return means.new_zeros(len(means)) if self.shrinkage is None else self.shrinkage.to(means)

    def scatter(self, diagonal: bool) -> Tensor:
        return self.scale

    def rows(self, means: Tensor, shared: bool) -> Tensor:
        return self.count.to(means)
