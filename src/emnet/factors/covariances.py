"""What the covariances of k Gaussians may be: each structure turns expected scatter into covariances.

Σ_k = λ_k D_k A_k D_kᵀ has a volume λ, a shape A (diagonal, |A| = 1) and an orientation D; the three letters of the
parsimonious families say of each whether it is Equal or Varies over the states, or is the Identity (Celeux & Govaert
1995, Pattern Recognition 28:781; the names are those of mclust). Full is VVV, Tied EEE, Diagonal VVI, Spherical VII.

A structure maximizes −½ Σ_k [n_k log |Σ_k| + tr(Σ_k⁻¹ W_k)] given W, (k, d, d), and n, (k,); priors and reg_covar are
in W and n before it sees them. Its parameters are free of constraints, and so are EM's coordinates.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Sequence
from functools import lru_cache

import torch
from torch import Tensor, nn

from emnet.exceptions import CollapsedComponentError
from emnet.kernels.triangles import pack, triangle

_SHARE_OF_DIRECTION, _NAMED_COLUMNS = 0.3, 4  # what a column has of a flat direction, beside the first, to be named
_ROUNDING = 2 * torch.finfo(torch.float64).eps  # share of a variance that a sum over columns may leave, for each

_Written = Sequence[tuple[Tensor, int, torch.device]]
"""Tensors, how often each was written, and where it is: what tells whether something worked out of them still holds."""


class Covariance(nn.Module):
    """Covariances of k states in d dimensions, started at `covariances`, (k, d, d) or of diagonals (k, d)."""

    diagonal: bool  # whether variances alone are modeled, and so moments are squares alone
    shared: bool = False  # whether all states have one matrix, and so moments may be summed over states

    def __init__(self, n_states: int, n_features: int):
        super().__init__()
        self.n_states, self.n_features = n_states, n_features
        self._inverse: tuple[_Written, Tensor] | None = None

    @property
    @abstractmethod
    def n_parameters(self) -> int:
        """Free parameters, as information criteria count them."""

    @abstractmethod
    def factor(self, *parameters: Tensor) -> Tensor:
        """L with Σ = LLᵀ from the parameters, (k, d, d), or (1, d, d) if shared; of diagonals √Σ, (k, d)."""

    @abstractmethod
    def maximize(self, scatter: Tensor, counts: Tensor) -> None:
        """Write the parameters that maximize, or at least raise, the objective."""

    def objective(self, scatter: Tensor, counts: Tensor, *parameters: Tensor) -> Tensor:
        """−½ Σ_k [n_k log |Σ_k| + tr(Σ_k⁻¹ W_k)], differentiable in all it is given."""
        factor = self.factor(*(parameters or self.parameters()))
        if self.diagonal:
            return -(counts @ factor.log().sum(1)) - 0.5 * (scatter / factor.square()).sum()
        inverse = self._inverted(factor)
        log_scales = factor.diagonal(dim1=1, dim2=2).log().sum(1)
        return -(counts @ log_scales) - 0.5 * ((inverse @ scatter) * inverse).sum()

    def inverse_factor(self) -> Tensor:
        """U with Σ⁻¹ = UᵀU: (k or 1, d, d), or (k, d) of diagonals; worked out once for the same parameters."""
        held = (*self._parameters.values(), *self._buffers.values())
        now = [(tensor, tensor._version, tensor.device) for tensor in held if tensor is not None]
        if self._inverse is None or not _same(now, self._inverse[0]) or _is_out_of_mode(self._inverse[1]):
            self._inverse = (now, self._inverted(self.factor(*self._values())))
        return self._inverse[1]

    def _inverted(self, factor: Tensor) -> Tensor:
        if self.diagonal:
            return factor.reciprocal()
        identity = _identity(self.n_features, factor.dtype, factor.device).expand_as(factor)
        return torch.linalg.solve_triangular(factor, identity, upper=False)

    def lower(self) -> Tensor:
        """L with Σ = LLᵀ of every state, (k, d, d)."""
        factor = self.factor(*self._values())
        return (factor.diag_embed() if self.diagonal else factor).expand(self.n_states, -1, -1)

    def covariances(self) -> Tensor:
        """Σ of every state, (k, d, d)."""
        lower = self.lower()
        return lower @ lower.mT

    def coordinates(self) -> Tensor:
        return torch.cat([values.flatten() for values in self._values()])

    def set_coordinates(self, vector: Tensor) -> None:
        own = self._values()
        for values, part in zip(own, vector.split([values.numel() for values in own]), strict=True):
            values.copy_(part.view(values.shape))

    def _values(self) -> list[Tensor]:
        """The parameters without their graph; a structure has no modules within it, where torch would look for more."""
        return [parameter.detach() for parameter in self._parameters.values() if parameter is not None]


@lru_cache
def _identity(d: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    with torch.inference_mode(False):
        return torch.eye(d, dtype=dtype, device=device)


def _same(now: _Written, then: _Written) -> bool:
    return all(a[0] is b[0] and a[1:] == b[1:] for a, b in zip(now, then, strict=True))


def _is_out_of_mode(kept: Tensor) -> bool:
    """Whether it was worked out in PyTorch's inference mode, and may now meet a graph that it cannot be part of."""
    return kept.is_inference() and not torch.is_inference_mode_enabled()


def free(values: Tensor) -> nn.Parameter:
    """A parameter of its own memory, in float64, written by M-steps and not by autograd."""
    return nn.Parameter(values.detach().double().clone(), requires_grad=False)


class Given(Covariance):
    """Covariances by their factor, for use without learning: L (k, d, d), or (1, d, d) shared, or √Σ, (k, d)."""

    lower_factor: Tensor

    def __init__(self, lower_factor: Tensor, n_states: int):
        super().__init__(n_states, lower_factor.shape[-1])
        self.diagonal = lower_factor.dim() == 2
        self.shared = not self.diagonal and len(lower_factor) < n_states
        self.register_buffer("lower_factor", lower_factor)

    @property
    def n_parameters(self) -> int:
        return 0

    def factor(self, *parameters: Tensor) -> Tensor:
        return self.lower_factor

    def maximize(self, scatter: Tensor, counts: Tensor) -> None:
        """Nothing is learned."""


# -- log-Cholesky coordinates ---------------------------------------------------------------------------------------


def to_log_cholesky(matrices: Tensor) -> Tensor:
    """(k, d, d) positive definite → (k, d (d + 1)/2): the Cholesky factor by columns, logarithms on its diagonal.

    Raises
    ------
    CollapsedComponentError : a matrix is not positive definite; the message names the component.
    """
    factor, failed = torch.linalg.cholesky_ex(matrices)
    scales = factor.diagonal(dim1=1, dim2=2)
    least = float((scales.square() / matrices.diagonal(dim1=1, dim2=2)).amin())  # NaN if anything is
    if not least > _ROUNDING * matrices.shape[1] or bool(failed.any()):
        require_definite(is_definite(matrices), matrices)
    scales.log_()
    return pack(factor)


def is_definite(matrices: Tensor, rounding: float | None = None) -> Tensor:
    """Which of (k, d, d) symmetric matrices are positive definite beyond rounding, in any units of the columns: (k,).

    rounding : the share of a column's variance that is none where the columns before it leave no more.
    """
    factor, failed = torch.linalg.cholesky_ex(matrices)
    left = factor.diagonal(dim1=1, dim2=2).square() / matrices.diagonal(dim1=1, dim2=2)
    return (failed == 0) & (left > (_ROUNDING * matrices.shape[1] if rounding is None else rounding)).all(1)


def from_log_cholesky(vector: Tensor, d: int) -> Tensor:
    """The inverse: (k, d (d + 1)/2) → lower triangular (k, d, d)."""
    flat = vector.new_zeros(len(vector), d * d).index_copy(1, triangle(d, vector.device).lower, vector)
    factor = flat.view(-1, d, d)
    factor.diagonal(dim1=1, dim2=2).exp_()
    return factor


def to_log_variances(variances: Tensor) -> Tensor:
    """log of (k, d) variances, all of which must be positive."""
    logs = variances.log()
    if not math.isfinite(float(logs.sum())):
        require_definite((variances > 0).all(1) & variances.isfinite().all(1), variances)
    return logs


def require_definite(good: Tensor, matrices: Tensor) -> None:
    """Raise unless every matrix, or diagonal, is positive definite; `good` is (k,), or (1,) of a single matrix."""
    if bool(good.all()):
        return
    bad = torch.nonzero(~good).flatten().tolist()
    which = "The covariance" if len(good) == 1 else f"The covariance of component {', '.join(map(str, bad))}"
    raise CollapsedComponentError(
        f"{which} is not positive definite ({_flattest(matrices[bad[0]])}). Fitting the mixture model "
        "failed because some components have ill-defined empirical covariance (for instance caused by singleton or "
        "collapsed samples).",
        components=bad,
        remedy="Try fewer components, or a prior on covariances; columns that depend on each other have to go.",
    )


def _flattest(matrix: Tensor) -> str:
    """Where a covariance, (d, d), or variances, (d,), are the smallest, in words: columns that depend on each other."""
    variances = matrix if matrix.dim() == 1 else matrix.diagonal()
    least = float(variances.min())
    if matrix.dim() == 1 or not least > 0 or not bool(matrix.isfinite().all()):
        return f"smallest variance {least:.3g}, of column {int(variances.argmin())}"
    scale = variances.rsqrt()
    weights = torch.linalg.eigh(matrix * scale[:, None] * scale).eigenvectors[:, 0].abs()  # in the columns' own units
    columns = torch.nonzero(weights > _SHARE_OF_DIRECTION * weights.max()).flatten().tolist()[:_NAMED_COLUMNS]
    smallest = max(float(torch.linalg.eigvalsh(matrix)[0]), 0.0)
    return f"smallest variance along a direction {smallest:.3g}, by columns {', '.join(map(str, columns))}"


# -- structures with a closed form ----------------------------------------------------------------------------------


class Full(Covariance):
    """VVV: any covariance, one for each state. Σ_k = W_k / n_k."""

    diagonal = False

    def __init__(self, covariances: Tensor):
        super().__init__(*covariances.shape[:2])
        self.log_cholesky = free(to_log_cholesky(covariances.double()))

    @property
    def n_parameters(self) -> int:
        return self.n_states * self.n_features * (self.n_features + 1) // 2

    def factor(self, *parameters: Tensor) -> Tensor:
        return from_log_cholesky(parameters[0], self.n_features)

    def maximize(self, scatter: Tensor, counts: Tensor) -> None:
        self.log_cholesky.copy_(to_log_cholesky(scatter / counts[:, None, None]))


class Tied(Covariance):
    """EEE: one covariance for all states. Σ = Σ_k W_k / n."""

    diagonal, shared = False, True

    def __init__(self, covariances: Tensor):
        super().__init__(*covariances.shape[:2])
        self.log_cholesky = free(to_log_cholesky(covariances.double().mean(0, keepdim=True)))

    @property
    def n_parameters(self) -> int:
        return self.n_features * (self.n_features + 1) // 2

    def factor(self, *parameters: Tensor) -> Tensor:
        return from_log_cholesky(parameters[0], self.n_features)

    def maximize(self, scatter: Tensor, counts: Tensor) -> None:
        self.log_cholesky.copy_(to_log_cholesky(scatter / counts[:, None, None]))


class TiedInGroups(Covariance):
    """One covariance for each group of `size` states side by side."""

    diagonal = False

    def __init__(self, covariances: Tensor, size: int):
        super().__init__(*covariances.shape[:2])
        self.size = size
        self.log_cholesky = free(to_log_cholesky(self._summed(covariances.double()) / size))

    @property
    def n_parameters(self) -> int:
        return self.n_states // self.size * self.n_features * (self.n_features + 1) // 2

    def factor(self, *parameters: Tensor) -> Tensor:
        return from_log_cholesky(parameters[0], self.n_features).repeat_interleave(self.size, 0)

    def maximize(self, scatter: Tensor, counts: Tensor) -> None:
        total = self._summed(counts)
        self.log_cholesky.copy_(to_log_cholesky(self._summed(scatter) / total[:, None, None]))

    def _summed(self, values: Tensor) -> Tensor:
        return values.view(-1, self.size, *values.shape[1:]).sum(1)


class DiagonalCovariance(Covariance):
    """Σ_k = λ_k A_k with A_k diagonal: log variances are the sum of a volume and a shape."""

    diagonal = True

    def __init__(self, covariances: Tensor):
        k, d = covariances.shape[:2]
        super().__init__(k, d)
        self._start(covariances.double() if covariances.dim() == 2 else covariances.double().diagonal(dim1=1, dim2=2))

    @abstractmethod
    def _start(self, variances: Tensor) -> None:
        """Make the parameters, near (k, d) variances."""

    def factor(self, *parameters: Tensor) -> Tensor:
        log_variances = parameters[0]
        for part in parameters[1:]:
            log_variances = log_variances + part
        return (0.5 * log_variances).exp().expand(self.n_states, self.n_features)


class Diagonal(DiagonalCovariance):
    """VVI: variances of each state and column."""

    def _start(self, variances: Tensor) -> None:
        self.log_variances = free(to_log_variances(variances))

    @property
    def n_parameters(self) -> int:
        return self.n_states * self.n_features

    def maximize(self, scatter: Tensor, counts: Tensor) -> None:
        self.log_variances.copy_(to_log_variances(scatter / counts[:, None]))


class Spherical(DiagonalCovariance):
    """VII: one variance for each state."""

    def _start(self, variances: Tensor) -> None:
        self.log_variances = free(to_log_variances(variances.mean(1, keepdim=True)))

    @property
    def n_parameters(self) -> int:
        return self.n_states

    def maximize(self, scatter: Tensor, counts: Tensor) -> None:
        self.log_variances.copy_(to_log_variances((scatter / counts[:, None]).mean(1, keepdim=True)))
