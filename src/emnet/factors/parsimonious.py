"""The parsimonious covariances of Celeux & Govaert 1995 (Pattern Recognition 28:781) under mclust's names.

Σ_k = λ_k D_k A_k D_kᵀ: volume, shape, orientation, each Equal or Varying over the states, or the Identity. Here are
those that are neither full, tied, diagonal nor spherical; where no closed form is known, each M-step does some inner
iterations from where it stands, which raise the objective every time.
"""

from __future__ import annotations

from abc import abstractmethod

import torch
from torch import Tensor, nn

from emnet.factors.covariances import (
    Covariance,
    DiagonalCovariance,
    free,
    from_log_cholesky,
    is_definite,
    require_definite,
    to_log_cholesky,
    to_log_variances,
)
from emnet.kernels.rotations import cayley, nearest_rotation, skew_of

_INNER_ITERATIONS = 10


class EqualSpherical(DiagonalCovariance):
    """EII: one variance for all states and columns. λ = Σ_k tr W_k / (n d)."""

    def _start(self, variances: Tensor) -> None:
        self.log_variances = free(to_log_variances(variances.mean((0, 1)).view(1, 1)))

    @property
    def n_parameters(self) -> int:
        return 1

    def maximize(self, scatter: Tensor, counts: Tensor) -> None:
        total = scatter.sum() / (counts.sum() * self.n_features)
        self.log_variances.copy_(to_log_variances(total.view(1, 1)))


class EqualDiagonal(DiagonalCovariance):
    """EEI: the same variances, one for each column, in all states. Σ_k diag W_k / n."""

    def _start(self, variances: Tensor) -> None:
        self.log_variances = free(to_log_variances(variances.mean(0, keepdim=True)))

    @property
    def n_parameters(self) -> int:
        return self.n_features

    def maximize(self, scatter: Tensor, counts: Tensor) -> None:
        self.log_variances.copy_(to_log_variances(scatter.sum(0, keepdim=True) / counts.sum()))


class VaryingVolumeDiagonal(DiagonalCovariance):
    """VEI: Σ_k = λ_k A, A diagonal. λ_k and A in turn."""

    def _start(self, variances: Tensor) -> None:
        self.log_volumes = free(to_log_variances(variances).mean(1, keepdim=True))
        self.log_shape = free(to_log_variances(variances.mean(0, keepdim=True)))
        self.maximize(variances, torch.ones_like(variances[:, 0]))

    @property
    def n_parameters(self) -> int:
        return self.n_states + self.n_features - 1

    def maximize(self, scatter: Tensor, counts: Tensor) -> None:
        log_shape = self.log_shape.detach()
        for _ in range(_INNER_ITERATIONS):
            log_volumes = _log_volumes((scatter / log_shape.exp()).sum(1), counts, self.n_features)
            log_shape = centered(to_log_variances((scatter / log_volumes.exp()).sum(0, keepdim=True)))
        self.log_volumes.copy_(_log_volumes((scatter / log_shape.exp()).sum(1), counts, self.n_features))
        self.log_shape.copy_(log_shape)


class EqualVolumeDiagonal(DiagonalCovariance):
    """EVI: Σ_k = λ A_k, A_k diagonal. A_k = diag W_k / |diag W_k|^{1/d}, λ = Σ_k |diag W_k|^{1/d} / n."""

    def _start(self, variances: Tensor) -> None:
        self.log_volume = free(to_log_variances(variances).mean().view(1, 1))
        self.log_shapes = free(centered(to_log_variances(variances)))

    @property
    def n_parameters(self) -> int:
        return 1 + self.n_states * (self.n_features - 1)

    def factor(self, *parameters: Tensor) -> Tensor:
        return super().factor(parameters[0], centered(parameters[1]))

    def maximize(self, scatter: Tensor, counts: Tensor) -> None:
        logs = to_log_variances(scatter)
        self.log_volume.fill_(float((logs.mean(1).exp().sum() / counts.sum()).log()))
        self.log_shapes.copy_(centered(logs))


class VaryingVolume(Covariance):
    """VEE: Σ_k = λ_k C. λ_k and C in turn."""

    diagonal = False

    def __init__(self, covariances: Tensor):
        super().__init__(*covariances.shape[:2])
        covariances = covariances.double()
        self.log_volumes = free(torch.zeros_like(covariances[:, :1, 0]))
        self.log_cholesky = free(to_log_cholesky(covariances.mean(0, keepdim=True)))
        self.maximize(covariances, torch.ones_like(covariances[:, 0, 0]))

    @property
    def n_parameters(self) -> int:
        return self.n_features * (self.n_features + 1) // 2 + self.n_states - 1

    def factor(self, *parameters: Tensor) -> Tensor:
        return (0.5 * parameters[0])[:, :, None].exp() * from_log_cholesky(parameters[1], self.n_features)

    def maximize(self, scatter: Tensor, counts: Tensor) -> None:
        vector = self.log_cholesky.detach()
        for _ in range(_INNER_ITERATIONS):
            log_volumes = self._log_volumes(vector, scatter, counts)
            total = (scatter / log_volumes.exp()[:, :, None]).sum(0, keepdim=True) / counts.sum()
            vector = to_log_cholesky(total)
        self.log_volumes.copy_(self._log_volumes(vector, scatter, counts))
        self.log_cholesky.copy_(vector)

    def _log_volumes(self, vector: Tensor, scatter: Tensor, counts: Tensor) -> Tensor:
        lower = from_log_cholesky(vector, self.n_features)
        whitened = torch.linalg.solve_triangular(lower.expand_as(scatter), scatter, upper=False)
        traces = torch.linalg.solve_triangular(lower.expand_as(scatter), whitened.mT, upper=False)
        return _log_volumes(traces.diagonal(dim1=1, dim2=2).sum(1), counts, self.n_features)


class EqualVolume(Covariance):
    """EVV: Σ_k = λ C_k, |C_k| = 1. C_k = W_k / |W_k|^{1/d}, λ = Σ_k |W_k|^{1/d} / n."""

    diagonal = False

    def __init__(self, covariances: Tensor):
        super().__init__(*covariances.shape[:2])
        self.log_volume = free(covariances.new_zeros(1))
        self.log_cholesky = free(to_log_cholesky(covariances.double()))
        self.maximize(covariances.double(), torch.ones_like(covariances[:, 0, 0]))

    @property
    def n_parameters(self) -> int:
        return self.n_states * (self.n_features * (self.n_features + 1) // 2 - 1) + 1

    def factor(self, *parameters: Tensor) -> Tensor:
        lower = from_log_cholesky(parameters[1], self.n_features)
        scale = lower.diagonal(dim1=1, dim2=2).log().mean(1) - 0.5 * parameters[0]
        return lower * torch.exp(-scale)[:, None, None]

    def maximize(self, scatter: Tensor, counts: Tensor) -> None:
        vector = to_log_cholesky(scatter / counts[:, None, None])
        logs = from_log_cholesky(vector, self.n_features).diagonal(dim1=1, dim2=2).log().mean(1)
        self.log_volume.copy_(((2 * logs).exp() @ counts / counts.sum()).log())
        self.log_cholesky.copy_(vector)


# -- structures with an orientation ---------------------------------------------------------------------------------


class Oriented(Covariance):
    """Σ_k = D_k diag(e^{l_k}) D_kᵀ, D a rotation in Cayley's coordinates; l is a sum of volumes and shapes."""

    diagonal = False
    orientations_vary: bool
    skew: nn.Parameter

    def __init__(self, covariances: Tensor):
        k, d = covariances.shape[:2]
        super().__init__(k, d)
        covariances = covariances.double()
        require_definite((torch.linalg.eigvalsh(covariances) > 0).all(1), covariances)
        own = covariances if self.orientations_vary else covariances.mean(0, keepdim=True)
        self._set_orientations(torch.linalg.eigh(own)[1])
        self._start(covariances)
        self.maximize(covariances, torch.ones_like(covariances[:, 0, 0]))

    @abstractmethod
    def _start(self, covariances: Tensor) -> None:
        """Make the parameters of volume and shape."""

    @abstractmethod
    def log_values(self, *parameters: Tensor) -> Tensor:
        """l from the parameters other than the orientation, (k, d) or what broadcasts to it."""

    def factor(self, *parameters: Tensor) -> Tensor:
        """Σ = BᵀB with B = e^{l/2} Dᵀ, and B = QR gives L = Rᵀ."""
        d = self.n_features
        half = (0.5 * self.log_values(*parameters[1:])).exp()[:, :, None] * cayley(parameters[0], d).mT
        upper = torch.linalg.qr(half.expand(self.n_states, d, d))[1]
        return (upper * upper.diagonal(dim1=1, dim2=2).sign()[:, :, None]).mT

    def orientations(self) -> Tensor:
        return cayley(self.skew.detach(), self.n_features)

    def _set_orientations(self, rotations: Tensor) -> None:
        skew = skew_of(rotations)
        if hasattr(self, "skew"):
            self.skew.copy_(skew)
        else:
            self.skew = free(skew)

    def _beta(self) -> int:
        return self.n_features * (self.n_features + 1) // 2


def _eigen(scatter: Tensor, counts: Tensor) -> tuple[Tensor, Tensor]:
    """Eigenvalues and eigenvectors of (k, d, d) scatters, of which one or more are to be definite.

    What is not finite is an error that names its component, as LAPACK's does not. Where all are singular the smallest
    eigenvalue is rounding, and nothing tells it from one of the data.
    """
    require_definite(scatter.isfinite().flatten(1).all(1), scatter)
    definite = is_definite(scatter)
    if not bool(definite.any()):
        require_definite(definite, scatter / counts[:, None, None])
    values, rotations = torch.linalg.eigh(scatter)
    return values, rotations


class EqualVolumeEqualShape(Oriented):
    """EEV: Σ_k = λ D_k A D_kᵀ. D_k of the eigenvectors of W_k; λA = Σ_k of their eigenvalues / n."""

    orientations_vary = True

    def _start(self, covariances: Tensor) -> None:
        self.log_eigenvalues = free(torch.zeros_like(covariances[:1, 0]))

    @property
    def n_parameters(self) -> int:
        return self.n_states * self._beta() - (self.n_states - 1) * self.n_features

    def log_values(self, *parameters: Tensor) -> Tensor:
        return parameters[0]

    def maximize(self, scatter: Tensor, counts: Tensor) -> None:
        values, rotations = _eigen(scatter, counts)
        self.log_eigenvalues.copy_(to_log_variances(values.sum(0, keepdim=True) / counts.sum()))
        self._set_orientations(rotations)


class EqualShape(Oriented):
    """VEV: Σ_k = λ_k D_k A D_kᵀ. D_k of the eigenvectors of W_k; λ_k and A in turn."""

    orientations_vary = True

    def _start(self, covariances: Tensor) -> None:
        self.log_volumes = free(torch.zeros_like(covariances[:, :1, 0]))
        self.log_shape = free(torch.linalg.eigvalsh(covariances.mean(0, keepdim=True)).log())

    @property
    def n_parameters(self) -> int:
        return self.n_states * self._beta() - (self.n_states - 1) * (self.n_features - 1)

    def log_values(self, *parameters: Tensor) -> Tensor:
        return parameters[0] + parameters[1]

    def maximize(self, scatter: Tensor, counts: Tensor) -> None:
        values, rotations = _eigen(scatter, counts)
        values, log_shape = values.clamp_min(0.0), self.log_shape.detach()
        for _ in range(_INNER_ITERATIONS):
            log_volumes = _log_volumes((values / log_shape.exp()).sum(1), counts, self.n_features)
            log_shape = centered(to_log_variances((values / log_volumes.exp()).sum(0, keepdim=True)))
        self.log_volumes.copy_(_log_volumes((values / log_shape.exp()).sum(1), counts, self.n_features))
        self.log_shape.copy_(log_shape)
        self._set_orientations(rotations)


class EqualOrientation(Oriented):
    """VVE: Σ_k = D diag(e^{l_k}) Dᵀ. e^{l_k} = diag(Dᵀ W_k D) / n_k; D by a majorizer (Browne & McNicholas 2014)."""

    orientations_vary = False

    def _start(self, covariances: Tensor) -> None:
        self.log_eigenvalues = free(torch.zeros_like(covariances[:, 0]))

    @property
    def n_parameters(self) -> int:
        return self._beta() + (self.n_states - 1) * self.n_features

    def log_values(self, *parameters: Tensor) -> Tensor:
        return parameters[0]

    def maximize(self, scatter: Tensor, counts: Tensor) -> None:
        rotation = self.orientations()[0]
        for _ in range(_INNER_ITERATIONS):
            values = _rotated_diagonals(rotation, scatter) / counts[:, None]
            rotation = _better_rotation(rotation, scatter, to_log_variances(values).exp())
        self.log_eigenvalues.copy_(to_log_variances(_rotated_diagonals(rotation, scatter) / counts[:, None]))
        self._set_orientations(rotation[None])


class EqualVolumeEqualOrientation(Oriented):
    """EVE: Σ_k = λ D A_k Dᵀ, |A_k| = 1, as VVE with λ = Σ_k |diag(Dᵀ W_k D)|^{1/d} / n."""

    orientations_vary = False

    def _start(self, covariances: Tensor) -> None:
        self.log_volume = free(covariances.new_zeros(1, 1))
        self.log_shapes = free(torch.zeros_like(covariances[:, 0]))

    @property
    def n_parameters(self) -> int:
        return self._beta() + (self.n_states - 1) * (self.n_features - 1)

    def log_values(self, *parameters: Tensor) -> Tensor:
        return parameters[0] + centered(parameters[1])

    def maximize(self, scatter: Tensor, counts: Tensor) -> None:
        rotation = self.orientations()[0]
        for _ in range(_INNER_ITERATIONS):
            logs = to_log_variances(_rotated_diagonals(rotation, scatter))
            rotation = _better_rotation(rotation, scatter, centered(logs).exp())
        logs = to_log_variances(_rotated_diagonals(rotation, scatter))
        self.log_volume.fill_(float((logs.mean(1).exp().sum() / counts.sum()).log()))
        self.log_shapes.copy_(centered(logs))
        self._set_orientations(rotation[None])


def centered(logs: Tensor) -> Tensor:
    """Logarithms of a shape, whose determinant is 1: less their mean, (…, d)."""
    return logs - logs.mean(-1, keepdim=True)


def _log_volumes(traces: Tensor, counts: Tensor, d: int) -> Tensor:
    """log of λ_k = tr(W_k C⁻¹) / (n_k d), (k, 1)."""
    return to_log_variances((traces / (counts * d))[:, None])


def _rotated_diagonals(rotation: Tensor, scatter: Tensor) -> Tensor:
    """diag(Dᵀ W_k D), (k, d)."""
    return ((scatter @ rotation) * rotation).sum(1)


def _better_rotation(rotation: Tensor, scatter: Tensor, values: Tensor) -> Tensor:
    """D with a lower Σ_k tr(W_k D V_k⁻¹ Dᵀ): W_k − ω_k ≤ 0 makes it concave, so its tangent at D lies above it."""
    largest = torch.linalg.eigvalsh(scatter)[:, -1]
    tangent = (scatter @ rotation - largest[:, None, None] * rotation) / values[:, None]
    return nearest_rotation(-tangent.sum(0))
