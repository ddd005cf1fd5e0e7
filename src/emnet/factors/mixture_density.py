"""A mixture-density network: what each state emits is a mixture whose parameters a network makes of the past."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn

_LEAST_LOG_VARIANCE = -9.0  # of standardized columns: a component does not shrink onto a value that is repeated


class Gaussians(NamedTuple):
    """p(row | state) of n rows, or of all alike: mixtures of c Gaussians with independent columns.

    log_weights : (n or 1, k, c).
    means, variances : (n or 1, k, c, d).
    """

    log_weights: Tensor
    means: Tensor
    variances: Tensor


class MixtureDensity(nn.Module):
    """log p(y | state, past), (n, k): mixtures of c Gaussians with independent columns (Bishop 1994).

    Cells of y that are NaN are left out. Without a past the mixtures are constant.

    Parameters
    ----------
    n_columns, n_states, n_components : d, k, c.
    n_past : columns of the past, p; 0 for none.
    hidden_units : of the one layer between the past and the parameters.
    """

    def __init__(
        self, n_columns: int, n_states: int, n_components: int = 3, *, n_past: int = 0, hidden_units: int = 16
    ):
        super().__init__()
        self.shape = (n_states, n_components, 1 + 2 * n_columns)
        self.base = nn.Parameter(torch.empty(self.shape))
        outputs = math.prod(self.shape)
        self.network = (
            nn.Sequential(nn.Linear(n_past, hidden_units), nn.Tanh(), nn.Linear(hidden_units, outputs))
            if n_past
            else None
        )
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Weights alike, means drawn, variances 1: states and components differ from the start."""
        d = (self.shape[2] - 1) // 2
        with torch.no_grad():
            self.base.zero_()
            self.base[:, :, 1 : 1 + d] = torch.randn(*self.shape[:2], d)

    def forward(self, target: Tensor, past: Tensor | None = None) -> Tensor:
        """(n, d) and (n, p) → (n, k)."""
        return self._log_joint(target, *self.parameters_of(past)).logsumexp(2)

    def means(self, target: Tensor, past: Tensor | None = None) -> Tensor:
        """E[row | state, what is there of it, past], (n, k, d): what is there tells the components apart."""
        log_weights, means, log_variances = self.parameters_of(past)
        shares = self._log_joint(target, log_weights, means, log_variances).softmax(2)
        return (shares[..., None] * means).sum(2)

    def gaussians(self, past: Tensor | None = None) -> Gaussians:
        """p(row | state, past)."""
        log_weights, means, log_variances = (part.double() for part in self.parameters_of(past))
        return Gaussians(log_weights, means, log_variances.exp())

    @staticmethod
    def _log_joint(target: Tensor, log_weights: Tensor, means: Tensor, log_variances: Tensor) -> Tensor:
        """log p(component, what is there of the row | state), (n, k, c)."""
        seen = ~target.isnan()
        away = torch.where(seen, target, 0.0)[:, None, None] - means
        terms = -0.5 * (away.square() / log_variances.exp() + log_variances + math.log(2 * math.pi))
        return log_weights + (terms * seen[:, None, None]).sum(3)

    def parameters_of(self, past: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
        """log weights (n or 1, k, c), means and log variances (n or 1, k, c, d)."""
        found = self.base[None]
        if self.network is not None and past is not None:
            found = found + self.network(past).view(-1, *self.shape)
        d = (self.shape[2] - 1) // 2
        log_variances = _LEAST_LOG_VARIANCE + nn.functional.softplus(found[..., 1 + d :] - _LEAST_LOG_VARIANCE)
        return found[..., 0].log_softmax(2), found[..., 1 : 1 + d], log_variances

    def draw(self, states: Tensor, past: Tensor | None, generator: torch.Generator) -> Tensor:
        """A row for each of (n,) states, (n, d)."""
        rows = torch.arange(len(states), device=states.device)
        parts = [part.expand(len(states), *part.shape[1:])[rows, states] for part in self.parameters_of(past)]
        chosen = torch.multinomial(parts[0].exp(), 1, generator=generator)[:, 0]
        means, log_variances = (part[rows, chosen] for part in parts[1:])
        noise = torch.randn(means.shape, generator=generator, dtype=means.dtype, device=means.device)
        return means + noise * (0.5 * log_variances).exp()
