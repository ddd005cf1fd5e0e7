"""q(z | x) by a network."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn.functional import hardtanh

from emnet.factors.base import require_given
from emnet.factors.differentiable import DifferentiableFactor
from emnet.kernels import diagonal_gaussian

_LOG_VARIANCES = (-16.0, 8.0)  # beyond it a draw is the mean, or a number that no decoder has seen


class Encoder(DifferentiableFactor):
    """q(z | x) = Normal(m(x), s(x)²) with independent entries, of which a network gives m and log s².

    Its target is z, and what is given the features of the row: (n, p). It is no part of the model but of its E-step;
    as a factor it is copied, saved, put back and moved along gradients as the others are.

    Parameters
    ----------
    network : a torch module, (n, p) → (n, 2 l), without dropout in training.
    sees_holes : whether features are followed by 1 for each cell that was seen and 0 for each that was not.
    """

    def __init__(
        self, network: nn.Module, *, sees_holes: bool = False, precision: float = 0.0, learning_rate: float = 1e-3
    ):
        super().__init__(precision=precision, learning_rate=learning_rate)
        self.network, self.sees_holes = network, sees_holes

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """m and log s², (n, l) each."""
        mean, log_variance = self.network(features).chunk(2, dim=-1)
        return mean, hardtanh(log_variance, *_LOG_VARIANCES)  # a clamp whose gradient is one step

    def log_prob(self, target: Tensor, given: Tensor | None = None) -> Tensor:
        """log q(z | x): (…, n, l) → (…, n)."""
        mean, log_variance = self(require_given(given))
        found: Tensor = diagonal_gaussian.log_density(target, mean, 0.5 * log_variance).sum(-1)
        return found
