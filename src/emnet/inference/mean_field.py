"""The variational E-step with independent units."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from emnet.batch import Batch
from emnet.exceptions import InvalidInputError
from emnet.factors.regression import SoftmaxOutput
from emnet.inference.base import EStep
from emnet.kernels import mean_field
from emnet.models.bernoulli_network import BernoulliNetwork
from emnet.posteriors import EvidenceKind, FactorizedBits


@dataclass(frozen=True)
class MeanField(EStep):
    """q(z) = Π_h Bernoulli(μ_h), by coordinate ascent on a closed bound: see `emnet.kernels.mean_field`.

    `tol` : a sweep that raises no row's bound by more than tol · (1 + |bound|) is the last.
    For networks of one hidden layer. Costs n·m·g a sweep.
    """

    tol: float = 1e-8
    max_sweeps: int = 200

    def __call__(self, model: BernoulliNetwork, batch: Batch) -> FactorizedBits:
        if not isinstance(model.output, SoftmaxOutput):
            raise InvalidInputError(
                'The mean-field E-step is for classes; with real targets use "exact" or "importance".'
            )
        if len(model.layers) != 1:
            raise InvalidInputError(
                f"The mean-field E-step is for one hidden layer; this network has {len(model.layers)}. "
                "Use the importance or the Gibbs E-step."
            )
        logits = model.layers[0].predictor(batch.inputs)
        mean, bound = mean_field.coordinate_ascent(
            logits, batch.target, model.output.weights, tol=self.tol, max_sweeps=self.max_sweeps
        )
        if batch.observed is not None:
            mean = torch.where(batch.observed[:, None], mean, logits.double().sigmoid())
            bound = bound * batch.observed
        return FactorizedBits(bound, EvidenceKind.BOUND, mean)
