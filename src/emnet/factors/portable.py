"""Emissions as modules of operations that no value of a row changes: what a graph for other programs is made of.

Each is made once of a fitted emission, keeps constants alone, and takes (n, d) rows with NaN for what is missing to
log p(row | state), (n, k), less what is the same of all states.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from emnet.kernels.elimination import eliminated, independent_log_density


class PortableGaussian(nn.Module):
    """Normal(m_k, Σ_k): means (k, d) and covariances (k, d, d), or of independent columns their variances, (k, d)."""

    means: Tensor
    covariances: Tensor

    def __init__(self, means: Tensor, covariances: Tensor):
        super().__init__()
        self.register_buffer("means", means)
        self.register_buffer("covariances", covariances)

    def forward(self, rows: Tensor) -> Tensor:
        rows = rows.double()
        if self.covariances.dim() == 2:
            return independent_log_density(rows, self.means, self.covariances)
        return eliminated(rows, self.means, self.covariances).log_density


class PortableLogarithms(nn.Module):
    """An emission of the logarithms of positive numbers."""

    def __init__(self, of_logarithms: nn.Module):
        super().__init__()
        self.of_logarithms = of_logarithms

    def forward(self, rows: Tensor) -> Tensor:
        found: Tensor = self.of_logarithms(rows.log())
        return found


class PortableStudentT(nn.Module):
    """Π_j t_ν(x_j; m_j, s_j) of means and degrees of freedom, and of the logarithms of its constants: (k, d) each."""

    means: Tensor
    spread: Tensor  # ν s²
    powers: Tensor  # (ν + 1)/2
    log_constants: Tensor

    def __init__(self, means: Tensor, variances: Tensor, degrees: Tensor, log_constants: Tensor):
        super().__init__()
        self.register_buffer("means", means)
        self.register_buffer("spread", variances * degrees)
        self.register_buffer("powers", 0.5 * (degrees + 1))
        self.register_buffer("log_constants", log_constants)

    def forward(self, rows: Tensor) -> Tensor:
        seen = ~rows.isnan()
        away = torch.where(seen, rows, 0.0).double()[:, None] - self.means
        terms = self.log_constants - self.powers * (1 + away.square() / self.spread).log()
        return (terms * seen[:, None]).sum(-1)


class PortableNaturalFamily(nn.Module):
    """Π_j e^{η_kj x_j − A(η_kj)}, of η and A: (k, d) each."""

    natural: Tensor
    log_normalizer: Tensor

    def __init__(self, natural: Tensor, log_normalizer: Tensor):
        super().__init__()
        self.register_buffer("natural", natural)
        self.register_buffer("log_normalizer", log_normalizer)

    def forward(self, rows: Tensor) -> Tensor:
        seen = ~rows.isnan()
        values = torch.where(seen, rows, 0.0).double()
        return values @ self.natural.T - seen.double() @ self.log_normalizer.T


class PortableTable(nn.Module):
    """p(category | state) of one column of category indices: log probabilities (k, g)."""

    log_probabilities: Tensor

    def __init__(self, log_probabilities: Tensor):
        super().__init__()
        self.register_buffer("log_probabilities", log_probabilities)

    def forward(self, rows: Tensor) -> Tensor:
        seen = ~rows.isnan()
        codes = torch.where(seen, rows, 0.0)[:, 0].long()
        return torch.where(seen, self.log_probabilities.T[codes], 0.0)
