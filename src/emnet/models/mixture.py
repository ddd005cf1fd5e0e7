"""Mixtures: one hidden state a row, whose weights may depend on inputs, under one or more emissions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor

from emnet.batch import Batch
from emnet.factors.base import Factor
from emnet.kernels.normalize import normalized
from emnet.models.emitting import EmittingModel, unseen
from emnet.posteriors import Discrete, Evidence, EvidenceKind
from emnet.statistics import ModelStatistics


class Mixture(EmittingModel[Discrete]):
    """p(y | x) = Σ_k p(k | x) Π_e p(y[columns of e] | k, x).

    A Gaussian mixture is constant weights over one emission; latent class analysis and tables of mixed type are
    several emissions, each on its columns; a mixture of experts is a gate for weights and an expert for an emission.
    A row of which nothing is known has evidence 1 and the weights for its posterior.

    Parameters
    ----------
    weights : a factor with `log_weights(given)`, (k,) or (n, k). Its statistics are taken of the responsibilities,
        (n, k), as targets, with the rows' weights, (n,).
    emissions, columns : as of `EmittingModel`.
    """

    weights: Any

    def __init__(
        self,
        weights: Factor[Any],
        emissions: Factor[Any] | Mapping[str, Factor[Any]],
        columns: Mapping[str, Sequence[int]] | None = None,
    ):
        super().__init__(emissions, columns)
        self.weights = weights

    @property
    def factors(self) -> Mapping[str, Factor]:
        return {"weights": self.weights, **self.emissions}

    def log_joint(self, batch: Batch) -> Tensor:
        """log p(k, y | x), of known labels −∞ for the other states: (n, k)."""
        joint = self.log_likelihood(batch)
        return joint.add_(self.weights.log_weights(batch.given).to(joint.dtype))  # fresh memory costs more than the sum

    def posterior(self, batch: Batch) -> Discrete:
        log_evidence, responsibilities = normalized(self.log_likelihood(batch), self.weights.log_weights(batch.given))
        return Discrete(self._exactly_one(batch, log_evidence), EvidenceKind.EXACT, responsibilities)

    def statistics(self, batch: Batch, posterior: Discrete) -> ModelStatistics:
        weights = self.weights.statistics(posterior.responsibilities, batch.weights, batch.given)
        emissions = self.emission_statistics(batch, posterior.responsibilities, batch.weights)
        return ModelStatistics({"weights": weights, **emissions})

    def expectations(self, batch: Batch) -> tuple[Evidence, ModelStatistics]:
        return self._in_one_pass(batch) or super().expectations(batch)

    def _in_one_pass(self, batch: Batch) -> tuple[Evidence, ModelStatistics] | None:
        """Where the only emission knows one; None elsewhere, and for weights that depend on the row."""
        (name, emission), *others = self.emissions.items()
        if others or batch.given is not None or batch.labels is not None:
            return None
        found = emission.expectations(self.shown(name, batch), self.weights.log_weights(), batch.weights)
        if found is None:
            return None
        log_evidence, totals, statistics = found
        weights = self.weights.statistics(totals[None], None)
        evidence = Evidence(self._exactly_one(batch, log_evidence), EvidenceKind.EXACT)
        return evidence, ModelStatistics({"weights": weights, name: statistics})

    def _exactly_one(self, batch: Batch, log_evidence: Tensor) -> Tensor:
        """Evidence 1 to the last bit where nothing is known: what rounding leaves of Σ_k p(k) = 1 is no evidence."""
        if batch.labels is None and (rows := batch.derived(unseen)) is not None:
            log_evidence[rows] = 0.0
        return log_evidence
