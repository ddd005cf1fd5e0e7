"""What an E-step gives: the distribution of what was not seen, and the evidence of what was."""

from __future__ import annotations

from abc import ABC
from dataclasses import dataclass, replace
from enum import StrEnum

import torch
from torch import Tensor

from emnet.exceptions import InvalidInputError
from emnet.kernels import diagonal_gaussian


class EvidenceKind(StrEnum):
    """What `log_evidence` is: the exact value, a lower bound, or a random estimate."""

    EXACT = "exact"
    BOUND = "bound"
    ESTIMATE = "estimate"


@dataclass(frozen=True, eq=False)
class Evidence:
    """What the model makes of every unit: row, or sequence of rows.

    `log_evidence` is one for each unit, in nats, unweighted, float64.
    """

    log_evidence: Tensor
    kind: EvidenceKind

    @property
    def diagnostics(self) -> dict[str, float]:
        """What the history should say of this E-step besides its evidence: means over the rows."""
        return {}

    def total(self, weights: Tensor | None) -> float:
        """Weighted sum of the units' log evidence; a unit of weight 0 counts as none."""
        if weights is None:
            return float(self.log_evidence.sum())
        seen = weights > 0
        return float(self.log_evidence[seen] @ weights[seen].double())


class Posterior(Evidence, ABC):
    """The evidence, and the posterior over the latent structure of every unit."""


@dataclass(frozen=True, eq=False)
class Discrete(Posterior):
    """Posterior over one of k states. `responsibilities` is (n, k), p(state | row); each row adds up to 1."""

    responsibilities: Tensor


def one_state(posterior: Discrete, generator: torch.Generator) -> Discrete:
    """A state for each row, drawn by its responsibilities, as the posterior that is sure of it."""
    states = torch.multinomial(posterior.responsibilities.double(), 1, generator=generator)
    chosen = torch.zeros_like(posterior.responsibilities).scatter_(1, states, 1.0)
    return replace(posterior, responsibilities=chosen)


@dataclass(frozen=True, eq=False)
class Chain(Posterior):
    """Posterior over a path through k states for each sequence.

    responsibilities : (n, k), p(state of the row | its sequence); each row adds up to 1.
    transitions : (k, k), expected steps from each state to each, times the sequences' weights; or by step, (n, k, k),
        row t for the step into row t, 0 where a sequence begins.
    """

    responsibilities: Tensor
    transitions: Tensor


@dataclass(frozen=True, eq=False)
class Segments(Posterior):
    """Posterior over the segmentation of each sequence, and a state for each segment.

    responsibilities : (n, k), p(state of the row | its sequence); each row adds up to 1.
    transitions : (k, k), expected segments of each state that follow one of each, times the sequences' weights.
    durations : (k, D), expected segments of each state and duration, times the sequences' weights.
    """

    responsibilities: Tensor
    transitions: Tensor
    durations: Tensor


def require_discrete(posterior: Posterior) -> Discrete:
    """The posterior, if it is over one of k states."""
    if not isinstance(posterior, Discrete):
        raise InvalidInputError(
            f"This algorithm is for models whose posterior is over one of k states; got {type(posterior).__name__}."
        )
    return posterior


@dataclass(frozen=True, eq=False)
class BitsPosterior(Posterior):
    """Posterior over Bernoulli units. `mean` is (n, m), E[z | x, y] of the layer next to the inputs."""

    mean: Tensor


@dataclass(frozen=True, eq=False)
class Bits(BitsPosterior):
    """The exact posterior.

    counts : (g, 2^m), the rows' weights, by class, spread over the configurations of the layer next to the inputs.
    log_tables : for every layer, log p(y = i | z): (g, 2^m of the layer).
    """

    counts: Tensor
    log_tables: tuple[Tensor, ...]


@dataclass(frozen=True, eq=False)
class FactorizedBits(BitsPosterior):
    """The nearest distribution of independent units, q(z) = Π_h Bernoulli(mean_h): variational."""


@dataclass(frozen=True, eq=False)
class SampledBits(BitsPosterior):
    """Weighted draws of all layers; `mean` has less variance than the draws' own.

    states : for every layer, as inputs of the next, (s, n, 1 + m of the layer): the constant 1 and the units.
    weights : (s, n), adding up to 1 over the samples of each row.
    """

    states: tuple[Tensor, ...]
    weights: Tensor

    @property
    def effective_samples(self) -> Tensor:
        """How many draws of equal weight are worth as much, 1/Σ_s w_s² (Kong 1992): (n,)."""
        return self.weights.square().sum(0).reciprocal()

    @property
    def diagnostics(self) -> dict[str, float]:
        return {"effective_samples": float(self.effective_samples.mean())}


@dataclass(frozen=True, eq=False)
class GaussianVector(Posterior):
    """Posterior over a vector of l real numbers, Normal(mean, covariance).

    mean : (n, l).
    covariance : (n, l, l), or (n, l), the variances of numbers that are independent of one another.
    """

    mean: Tensor
    covariance: Tensor


@dataclass(frozen=True, eq=False)
class EncodedVector(Posterior):
    """Normal(mean, variance) with independent entries, as an encoder has it, and what training is to raise by it.

    mean, log_variance : (n, l), detached.
    noise : (s, n, l) or (s, 1, l), standard normal: the draws are mean + √variance · noise.
    log_weights : log p(x, z_s) − log q(z_s | x) of the draws, (s, n); None where the bound needs none.
    divergence : KL(q ‖ p(z)), or what bounds it, (n,), detached.
    objective : (n,), with its graph: the bound, or what a schedule makes of it; `log_evidence` is the bound itself.
    """

    mean: Tensor
    log_variance: Tensor
    noise: Tensor
    log_weights: Tensor | None
    divergence: Tensor
    objective: Tensor

    @property
    def draws(self) -> Tensor:
        """(s, n, l)."""
        return diagonal_gaussian.draws(self.mean, self.log_variance, self.noise)

    @property
    def diagnostics(self) -> dict[str, float]:
        return {"divergence": float(self.divergence.mean())}
