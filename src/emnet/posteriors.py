"""What an E-step gives: the distribution of what was not seen, and the evidence of what was."""

from __future__ import annotations

from abc import ABC
from dataclasses import dataclass
from enum import StrEnum

from torch import Tensor


class EvidenceKind(StrEnum):
    """What `log_evidence` is: the exact value, a lower bound, or a random estimate."""

    EXACT = "exact"
    BOUND = "bound"
    ESTIMATE = "estimate"


@dataclass(frozen=True, eq=False)
class Posterior(ABC):
    """Posterior over the latent structure of every row.

    `log_evidence` is (n,), in nats, unweighted, float64.
    """

    log_evidence: Tensor
    kind: EvidenceKind

    def total(self, weights: Tensor | None) -> float:
        """Weighted sum of the rows' log evidence; a row of weight 0 counts as no row."""
        if weights is None:
            return float(self.log_evidence.sum())
        seen = weights > 0
        return float(self.log_evidence[seen] @ weights[seen].double())


@dataclass(frozen=True, eq=False)
class Bits(Posterior):
    """Posterior over m Bernoulli units.

    mean : (n, m), E[z | x, y].
    counts : (g, 2^m), the rows' weights, by class, spread over the configurations of the units.
    """

    mean: Tensor
    counts: Tensor
