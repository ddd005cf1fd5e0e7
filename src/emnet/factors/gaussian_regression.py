"""What linear regressions with Gaussian noise share: one for each target, or one for each state and target."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from emnet.factors.base import Factor
from emnet.factors.least_squares import ConjugatePrior, RegressionMoments, gradient


class GaussianRegression(Factor[RegressionMoments]):
    """y_i ~ Normal(v_i·x, σ_i²); the coordinates are v and log σ².

    Parameters
    ----------
    weights : (…, d, 1 + p), the start, biases first.
    variance : (…, d), the start of σ².
    prior : conjugate, the same for all.
    """

    def __init__(self, weights: Tensor, variance: Tensor, prior: ConjugatePrior):
        super().__init__()
        self.weights = nn.Parameter(weights.clone(), requires_grad=False)
        self.log_variance = nn.Parameter(variance.double().log(), requires_grad=False)
        self.prior = prior

    @property
    def variance(self) -> Tensor:
        """σ², (…, d), float64."""
        return self.log_variance.detach().exp()

    def weights64(self) -> Tensor:
        return self.weights.detach().double()

    def gradient(self, statistics: RegressionMoments) -> Tensor:
        parts = gradient(statistics, self.weights64(), self.variance, self.prior)
        return torch.cat([part.flatten() for part in parts])

    def log_prior(self) -> float:
        return self.prior.log_density(self.weights64(), self.variance)

    def coordinates(self) -> Tensor:
        return torch.cat((self.weights64().flatten(), self.log_variance.detach().flatten()))

    def set_coordinates(self, vector: Tensor) -> None:
        size = self.weights.numel()
        self.weights.data.copy_(vector[:size].view(self.weights.shape))
        self.log_variance.data.copy_(vector[size:].view(self.log_variance.shape))
