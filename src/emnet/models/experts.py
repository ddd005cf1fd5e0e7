"""What a mixture of experts says of y given x. The model itself is a `Mixture`, in one of three forms:

gate(x), expert(y given x)                    the gate is the mixture's weights
weights, Gaussian(x), expert(y given x)       a Gaussian gate (Xu, Jordan & Hinton 1995): x is explained too
weights, Gaussian(x and y)                    the same with linear experts, whose noise is correlated; x may have$
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from emnet.batch import Batch
from emnet.factors.gaussian import Gaussian
from emnet.kernels.quantiles import mixture_quantiles
from emnet.models.mixture import Mixture

INPUTS, EXPERT, JOINT = "inputs", "expert", "joint"
"""Names of the emissions: of x, of y given x, and of both at once."""


@dataclass(frozen=True, eq=False)
class Components:
    """p(y | x) of each row, a mixture of k Gaussians in d dimensions, in float64.

    weights : (n, k), of the gate.
    means : (n, k, d).
    lower : (c, k, d, d), Cholesky factors of the covariances.
    which : (n,), the factor of each row: they differ only where x has different holes.
    """

    weights: Tensor
    means: Tensor
    lower: Tensor
    which: Tensor

    @property
    def scales(self) -> Tensor:
        """Standard deviation of each target: (n or 1, k, d)."""
        scales = self.lower.square().sum(3).sqrt()
        return scales if len(scales) == 1 else scales[self.which]

    def mean(self) -> Tensor:
        """E[y | x], (n, d)."""
        return (self.weights[:, :, None] * self.means).sum(1)

    def variance(self) -> Tensor:
        """Var[y | x] of each target, (n, d): the experts' noise and their disagreement."""
        spread = self.scales.square() + (self.means - self.mean()[:, None]).square()
        return (self.weights[:, :, None] * spread).sum(1)

    def quantiles(self, levels: Tensor) -> Tensor:
        """(n, l, d)."""
        return mixture_quantiles(self.weights, self.means, self.scales, levels)

    def draw(self, generator: torch.Generator) -> Tensor:
        """An expert drawn by the gate, then y from it: (n, d)."""
        n, _, d = self.means.shape
        expert = torch.multinomial(self.weights, 1, generator=generator)[:, 0]
        noise = torch.randn(n, d, generator=generator, dtype=self.means.dtype, device=self.means.device)
        rows = torch.arange(n, device=expert.device)
        return self.means[rows, expert] + (self.lower[self.which, expert] @ noise[:, :, None])[:, :, 0]


def gate_of(model: Mixture, batch: Batch) -> Tensor:
    """p(k | x), (n, k): the posterior where nothing of y is known. The batch's y is to be missing."""
    return model.posterior(batch).responsibilities


def components(model: Mixture, batch: Batch, n_inputs: int) -> Components:
    """p(y | x) of rows whose y is missing and whose x has so many columns."""
    weights = gate_of(model, batch).double()
    if JOINT in model.emissions:
        joint: Gaussian = model.emissions[JOINT]
        return Components(weights, *_conditional(joint, batch.target.double(), n_inputs))
    expert = model.emissions[EXPERT]
    means = expert.predictor(batch.inputs).double()
    lower = expert.variance.sqrt().diag_embed()[None]
    return Components(weights, means, lower, torch.zeros(len(means), dtype=torch.int64, device=means.device))


def class_log_probabilities(model: Mixture, batch: Batch) -> Tensor:
    """log p(y | x), (n, g), of rows whose y is missing."""
    log_experts = model.emissions[EXPERT].log_probabilities(batch.inputs).double()
    return (gate_of(model, batch).double().log()[:, :, None] + log_experts).logsumexp(1)


def regressions(joint: Gaussian, first: int) -> tuple[Tensor, Tensor]:
    """Of the columns from `first` on, on those before: weights (k, d, 1 + p), biases first, and variances (k, d)."""
    origin = torch.zeros(1, first, dtype=torch.float64, device=joint.means.device)
    at_origin, lower, _ = _conditional(joint, origin, first)
    covariances = joint.covariance.covariances()
    slope = torch.linalg.solve(covariances[:, :first, :first], covariances[:, :first, first:])
    return torch.cat((at_origin[0][:, :, None], slope.mT), dim=2), lower[0].square().sum(2)


def _conditional(joint: Gaussian, rows: Tensor, first: int) -> tuple[Tensor, Tensor, Tensor]:
    """Of the columns from `first` on given what is there of those before: means, factors, and which row has which."""
    means, covariances = joint.means.detach(), joint.covariance.covariances()
    patterns, which = torch.unique(~rows[:, :first].isnan(), dim=0, return_inverse=True)
    out = means.new_empty(len(rows), len(means), means.shape[1] - first)
    factors = []
    for number, pattern in enumerate(patterns):
        known, own = torch.nonzero(pattern).flatten(), torch.nonzero(which == number).flatten()
        across = covariances[:, known, first:]
        slope = torch.linalg.solve(covariances[:, known][:, :, known], across)
        away = rows[own][:, known] - means[:, None, known]
        out[own] = (means[:, None, first:] + away @ slope).transpose(0, 1)
        factors.append(torch.linalg.cholesky(covariances[:, first:, first:] - across.mT @ slope))
    return out, torch.stack(factors), which
