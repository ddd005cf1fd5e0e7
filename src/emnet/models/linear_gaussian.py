"""Factor analysis and probabilistic PCA: a Gaussian vector behind every row, seen linearly and with noise."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from emnet.batch import Batch
from emnet.factors.base import Factor
from emnet.factors.linear_decoder import LinearDecoder
from emnet.kernels import linear_gaussian
from emnet.kernels.linear_gaussian import PatternedRows, by_pattern
from emnet.models.base import LatentModel
from emnet.models.emitting import observed_target
from emnet.posteriors import EvidenceKind, GaussianVector
from emnet.statistics import ModelStatistics


class LinearGaussian(LatentModel[GaussianVector]):
    """p(x) = ∫ Normal(z; 0, I) Normal(x; b + Λz, Ψ) dz = Normal(x; b, ΛΛᵀ + Ψ), of what is there of each row.

    Posterior and evidence are exact, and so is every M-step. A target that is NaN, or that the batch does not call
    observed, says nothing; a row of nothing has evidence 1 and the prior, Normal(0, I), for its posterior.
    """

    def __init__(self, decoder: LinearDecoder):
        super().__init__()
        self.decoder = decoder

    @property
    def factors(self) -> Mapping[str, Factor]:
        return {"decoder": self.decoder}

    def posterior(self, batch: Batch) -> GaussianVector:
        decoder, rows = self.decoder, batch.derived(_rows)
        mean, covariance, log_evidence = linear_gaussian.posterior(rows, decoder.bias, decoder.loadings, decoder.noise)
        return GaussianVector(log_evidence, EvidenceKind.EXACT, mean, covariance)

    def statistics(self, batch: Batch, posterior: GaussianVector) -> ModelStatistics:
        rows = batch.derived(_rows)
        own = self.decoder.statistics_of_vector(rows, batch.weights, posterior.mean, posterior.covariance)
        return ModelStatistics({"decoder": own})

    def conditional(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """E[x | what is observed] and its variance, (n, d) each, in float64; what is observed stands for itself."""
        posterior, decoder = self.posterior(batch), self.decoder
        target, loadings = batch.derived(observed_target).double(), decoder.loadings
        holes = target.isnan()
        mean = decoder.bias + posterior.mean.double() @ loadings.T
        spread = torch.einsum("npq,dp,dq->nd", posterior.covariance.double(), loadings, loadings) + decoder.noise
        return torch.where(holes, mean, target), spread * holes

    def draw(self, mean: Tensor, covariance: Tensor, generator: torch.Generator) -> Tensor:
        """Rows of vectors that are drawn from Normal(mean, covariance), (n, q) and (n, q, q): (n, d), float64."""
        loadings = self.decoder.loadings
        own = torch.randn(mean.shape, generator=generator, dtype=loadings.dtype, device=loadings.device)
        vector = mean.double() + (torch.linalg.cholesky(covariance.double()) @ own[:, :, None])[:, :, 0]
        shape = len(mean), len(loadings)
        noise = torch.randn(shape, generator=generator, dtype=loadings.dtype, device=loadings.device)
        return self.decoder.bias + vector @ loadings.T + noise * self.decoder.noise.sqrt()


def _rows(batch: Batch) -> PatternedRows:
    return by_pattern(batch.derived(observed_target))
