"""The EM-MLP: a hidden layer of m Bernoulli units under a softmax output."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from emnet.batch import Batch
from emnet.factors.base import Factor
from emnet.factors.regression import BernoulliUnits, ConfigurationCounts, SoftmaxOutput
from emnet.kernels import bits
from emnet.models.base import LatentModel
from emnet.posteriors import Bits, EvidenceKind
from emnet.statistics import ModelStatistics


class BernoulliNetwork(LatentModel[Bits]):
    """p(y | x) = Σ_z p(z | x) p(y | z) with z of m bits.

    A batch has `target` (n,) class indices and `given` (n, 1 + p) with the constant 1 first; a row that is not
    `observed` has an unknown class.
    """

    def __init__(self, hidden: BernoulliUnits, output: SoftmaxOutput):
        super().__init__()
        self.hidden = hidden
        self.output = output

    @property
    def factors(self) -> Mapping[str, Factor]:
        return {"hidden": self.hidden, "output": self.output}

    @property
    def n_classes(self) -> int:
        return len(self.output.weights)

    def require_memory(self, n: int) -> None:
        """Raise InsufficientMemoryError where the exact E-step of n rows does not fit."""
        dtype, device = self.hidden.weights.dtype, self.hidden.weights.device
        bits.require_memory(n, self.output.n_bits, self.n_classes, dtype, device)

    def posterior(self, batch: Batch) -> Bits:
        self.require_memory(len(batch))
        groups = batch.derived(_rows_by_class, self.n_classes, self.output.n_bits)
        expected = bits.expectations(self.hidden.logits(batch.inputs), groups, self.output.log_table(), batch.weights)
        return Bits(expected.log_evidence, EvidenceKind.EXACT, expected.mean, expected.counts)

    def statistics(self, batch: Batch, posterior: Bits) -> ModelStatistics:
        return ModelStatistics(
            {
                "hidden": self.hidden.statistics(posterior.mean, batch.weights, batch.inputs),
                "output": ConfigurationCounts(posterior.counts),
            }
        )

    def log_predictive(self, given: Tensor) -> Tensor:
        """log p(y | x), z summed out exactly: (n, 1 + p) → (n, g), float64."""
        self.require_memory(len(given))
        return bits.log_predictive(self.hidden.logits(given), self.output.log_table())

    def sample(self, given: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Draw z ~ p(z | x), then y ~ p(y | z): (n, m) bits and (n,) classes."""
        states = torch.bernoulli(self.hidden.logits(given).sigmoid(), generator=generator)
        logits = states @ self.output.weights[:, 1:].T + self.output.weights[:, 0]
        return states, torch.multinomial(logits.softmax(1), 1, generator=generator)[:, 0]


def _rows_by_class(batch: Batch, g: int, m: int) -> list[bits.ClassBlocks]:
    target = batch.target
    if batch.observed is not None:
        target = torch.where(batch.observed, target, bits.UNOBSERVED)
    return bits.group_by_class(target, g, m)
