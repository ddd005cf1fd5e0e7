"""A factor, a model, an E-step and an algorithm, each as small as it can be and held to the laws like emnet's own.

`tests/cases/skeleton.py` puts factor and model into the table of cases, `tests/test_skeleton.py` tries the other two.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from emnet.algorithms.base import Progress, evaluate
from emnet.algorithms.em import EM
from emnet.batch import Batch, Data
from emnet.exceptions import InvalidInputError
from emnet.factors.base import Factor
from emnet.factors.tables import MixingWeights
from emnet.inference.base import EStep
from emnet.kernels.normalize import normalized
from emnet.models.base import LatentModel
from emnet.models.emitting import observed_target
from emnet.posteriors import Discrete, EvidenceKind
from emnet.statistics import ModelStatistics, Moments

# -- a factor: p(x | state) = λ e^{−λx}, waiting times -----------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Times(Moments):
    """What the M-step needs of any number of rows: + and a scale come with `Moments`."""

    counts: Tensor  # (k,), Σ_j r_jk
    sums: Tensor  # (k,), Σ_j r_jk x_j


class Exponential(Factor[Times]):
    """Waiting times with rate λ_k in state k, and a Gamma prior, λ^{shape − 1} e^{−rate·λ}; NaN is not observed.

    The coordinates are log λ, so any vector is a parameter.
    """

    def __init__(self, rates: Tensor, *, shape: float = 1.0, rate: float = 0.0):
        super().__init__()
        if not bool((rates > 0).all()) or shape < 1 or rate < 0:
            raise InvalidInputError(f"rates must be above 0, shape at least 1, rate at least 0; got {rates.tolist()}.")
        self.log_rates = nn.Parameter(rates.double().log(), requires_grad=False)  # EM writes it, autograd does not
        self.shape, self.rate = shape, rate

    def log_prob(self, target: Tensor, given: Tensor | None = None) -> Tensor:
        """(n,) → (n, k); 0 where nothing was seen."""
        log_rates, times = self.log_rates.to(target.dtype), target[:, None]
        return torch.where(times.isnan(), 0.0, log_rates - log_rates.exp() * times)

    def statistics(self, target: Tensor, weights: Tensor | None, given: Tensor | None = None) -> Times:
        """From responsibilities times the rows' weights, (n, k), summed in float64."""
        shares = torch.ones(len(target), len(self.log_rates)) if weights is None else weights
        shares, seen = shares.double(), ~target.isnan()
        return Times(shares[seen].sum(0), shares[seen].T @ target[seen].double())

    def maximize(self, statistics: Times) -> None:
        """λ = (counts + shape − 1) / (sums + rate); a state without rows and prior stays where it is."""
        counts, sums = statistics.counts + self.shape - 1, statistics.sums + self.rate
        reached = (counts > 0) & (sums > 0)
        self.log_rates.copy_(torch.where(reached, (counts / sums).log(), self.log_rates))

    def gradient(self, statistics: Times) -> Tensor:
        """∂/∂log λ of counts·log λ − sums·λ and of the prior."""
        rates = self.log_rates.exp()
        return statistics.counts + self.shape - 1 - (statistics.sums + self.rate) * rates

    def log_prior(self) -> float:
        return float(((self.shape - 1) * self.log_rates - self.rate * self.log_rates.exp()).sum())

    def coordinates(self) -> Tensor:
        return self.log_rates.clone()

    def set_coordinates(self, vector: Tensor) -> None:
        self.log_rates.copy_(vector)


# -- a model: one of k states a row ------------------------------------------------------------------------------------


class OneOfK(LatentModel[Discrete]):
    """p(x) = Σ_k p(k) p(x | k). `emnet.models.mixture.Mixture` does this, and labels and several columns besides."""

    def __init__(self, weights: MixingWeights, emission: Factor[Any]):
        super().__init__()
        self.weights, self.emission = weights, emission

    @property
    def factors(self) -> Mapping[str, Factor]:
        return {"weights": self.weights, "emission": self.emission}

    def posterior(self, batch: Batch) -> Discrete:
        """E: the exact posterior, and the evidence of each row; 1 to the last bit of a row that was not seen."""
        target = observed_target(batch)  # NaN for what was not observed
        log_evidence, responsibilities = normalized(self.emission.log_prob(target), self.weights.log_weights())
        return Discrete(log_evidence.masked_fill(target.isnan(), 0.0), EvidenceKind.EXACT, responsibilities)

    def statistics(self, batch: Batch, posterior: Discrete) -> ModelStatistics:
        """What each factor's M-step needs; `m_step` itself is written in the base class."""
        shares = posterior.responsibilities
        weighted = shares if batch.weights is None else shares * batch.weights[:, None]
        of_weights = self.weights.statistics(shares, batch.weights)
        return ModelStatistics(
            {"weights": of_weights, "emission": self.emission.statistics(observed_target(batch), weighted)}
        )


# -- an E-step: all of a row to its most probable state ----------------------------------------------------------------


@dataclass(frozen=True)
class Hard(EStep):
    """Classification EM (Celeux & Govaert 1992): q is a point, so E_q log p(x, z) − E_q log q is log max_k p(x, k)."""

    def __call__(self, model: LatentModel, batch: Batch) -> Discrete:
        found = model.posterior(batch)
        largest, state = found.responsibilities.max(1, keepdim=True)
        point = torch.zeros_like(found.responsibilities).scatter_(1, state, 1.0)
        bound = found.log_evidence + largest[:, 0].double().log()
        return replace(found, log_evidence=bound, kind=EvidenceKind.BOUND, responsibilities=point)


# -- an algorithm: longer steps while they pay -------------------------------------------------------------------------


@dataclass
class Overrelaxed:
    """θ ← θ + η (EM(θ) − θ), η ← 1.1 η; where that ends below EM's own step, EM's step, and η ← 1.

    Adaptive overrelaxed bound optimization (Salakhutdinov & Roweis 2003, ICML). It knows coordinates and no model.
    """

    em: EM
    growth: float = 1.1
    kept = ("_rate",)  # what a checkpoint has to hold

    def __post_init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        self._rate = 1.0

    def step(self, model: LatentModel, data: Data) -> Progress:
        """Report on the parameters that were found, then improve them."""
        start = model.coordinates()
        progress = self.em.step(model, data)
        if self._rate > 1:
            self._go_further(model, data, start)
        self._rate *= self.growth
        return progress

    def _go_further(self, model: LatentModel, data: Data, start: Tensor) -> None:
        end, floor = model.coordinates(), evaluate(model, data, self.em.inference).objective
        model.set_coordinates(start + self._rate * (end - start))
        if not evaluate(model, data, self.em.inference).objective >= floor:  # NaN, too
            model.set_coordinates(end)
            self._rate = 1.0
