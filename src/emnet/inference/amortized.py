"""The E-step by an encoder: as it says, refined row by row, or corrected by importance weights."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from emnet.batch import Batch
from emnet.inference.base import EStep
from emnet.kernels import sampling
from emnet.models.autoencoder import Autoencoder, Penalty, total
from emnet.posteriors import EncodedVector

_LARGEST_CHANGE = 1.0  # of a log variance in one refinement


class DivergencePenalty:
    """What the objective takes off for the divergence of q from the prior, in place of all of it.

    Parameters
    ----------
    beta : its factor (Higgins et al. 2017); 1 is the bound.
    warm_up : updates over which the factor rises to `beta` from 0 (Bowman et al. 2016).
    free_bits : nats that each latent entry has for nothing, on the mean of the batch (Kingma et al. 2016).
    """

    kept = ("_updates",)  # see emnet.algorithms.snapshot

    def __init__(self, beta: float = 1.0, warm_up: int = 0, free_bits: float = 0.0):
        self.beta, self.warm_up, self.free_bits = beta, warm_up, free_bits
        self._updates = 0

    def __call__(self, divergence: Tensor) -> Tensor:
        return self._factor() * self._counted(divergence)

    def advance(self) -> None:
        """One update has been made."""
        self._updates += 1

    def anew(self) -> DivergencePenalty:
        return DivergencePenalty(self.beta, self.warm_up, self.free_bits)

    def _factor(self) -> float:
        return self.beta if not self.warm_up else self.beta * min(1.0, self._updates / self.warm_up)

    def _counted(self, divergence: Tensor) -> Tensor:
        if not self.free_bits:
            return divergence.sum(-1)
        over = divergence.detach().mean(0) > self.free_bits
        return torch.where(over, divergence, self.free_bits).sum(-1)


@dataclass(frozen=True)
class Refined:
    """Mean and log variance of q, (n, l) each, and the slope of the objective where they began, (n, 2 l)."""

    mean: Tensor
    log_variance: Tensor
    slope: Tensor


@dataclass(frozen=True)
class Refinement:
    """Steps on each row's own mean and log variance, from the encoder's, that raise its bound at fixed draws.

    The gradient is the natural one (Amari 1998): times s² for the mean, twice for the log variance. A step that would
    lower the row's bound is taken back and halved. Kim et al. 2018 call this semi-amortized.

    Parameters
    ----------
    steps : for each row.
    samples : draws for each step, in pairs of opposite sign: a single one could be fitted itself.
    rate : of the first step.
    """

    steps: int = 5
    samples: int = 16
    rate: float = 0.5

    def __call__(
        self,
        model: Autoencoder,
        batch: Batch,
        mean: Tensor,
        log_variance: Tensor,
        generator: torch.Generator,
        penalty: Penalty = total,
    ) -> Refined:
        noise = torch.randn(
            (max(1, self.samples // 2), 1, mean.shape[1]), generator=generator, dtype=mean.dtype, device=mean.device
        )
        noise = torch.cat((noise, -noise))
        best = at = torch.cat((mean, log_variance), dim=1).detach()
        reached, slope = self._slope(model, batch, at, noise, penalty)
        first, rate = slope, at.new_full((len(at), 1), self.rate)
        for _ in range(self.steps):
            at = best + self._step(best, slope, rate)
            value, found = self._slope(model, batch, at, noise, penalty)
            better = value >= reached
            best, slope = torch.where(better, at, best), torch.where(better, found, slope)
            reached, rate = torch.where(better, value, reached), torch.where(better, rate, rate / 2)
        mean, log_variance = best.chunk(2, dim=1)
        return Refined(mean, log_variance, first)

    @staticmethod
    def _slope(model: Autoencoder, batch: Batch, at: Tensor, noise: Tensor, penalty: Penalty) -> tuple[Tensor, Tensor]:
        """The objective of each row, (n, 1), and its gradient, (n, 2 l)."""
        with torch.enable_grad():
            at = at.clone().requires_grad_()
            mean, log_variance = at.chunk(2, dim=1)
            objective = model.encoded(batch, mean, log_variance, noise, penalty).objective
            (slope,) = torch.autograd.grad(objective.sum(), at)
        return objective.detach()[:, None], slope

    @staticmethod
    def _step(at: Tensor, slope: Tensor, rate: Tensor) -> Tensor:
        of_mean, of_log_variance = slope.chunk(2, dim=1)
        variance = at.chunk(2, dim=1)[1].exp()
        change = (2 * rate * of_log_variance).clamp(-_LARGEST_CHANGE, _LARGEST_CHANGE)
        return torch.cat((rate * variance * of_mean, change), dim=1)


class Amortized(EStep):
    """q(z | x) by the model's encoder, with the bound from reparametrized draws.

    Parameters
    ----------
    samples : draws for each row, s.
    importance_weighted : whether the bound is log (1/s) Σ_s p(x, z_s) / q(z_s | x), which s tightens, and not the mean
        of the logarithms.
    refinement : of each row's q before its bound is taken; the encoder learns from the slope where it began.
    penalty : of the divergence, None for the bound's own.
    seed : of the draws; a new object with the same seed draws the same.
    rank : of the process whose draws they are, where many fit together; each then has draws of its own.
    """

    def __init__(
        self,
        samples: int = 1,
        *,
        importance_weighted: bool = False,
        refinement: Refinement | None = None,
        penalty: DivergencePenalty | None = None,
        seed: int = 0,
        rank: int | None = None,
    ):
        self.samples, self.importance_weighted, self.refinement = samples, importance_weighted, refinement
        self.penalty, self.seed = penalty, seed
        self._generator = sampling.source(seed, rank)

    def with_seed(self, seed: int, rank: int | None = None) -> Amortized:
        """The same with draws, and updates, that begin anew."""
        return Amortized(
            self.samples,
            importance_weighted=self.importance_weighted,
            refinement=self.refinement,
            penalty=None if self.penalty is None else self.penalty.anew(),
            seed=seed,
            rank=rank,
        )

    def __call__(self, model: Autoencoder, batch: Batch) -> EncodedVector:
        mean, log_variance = model.encode(batch)
        generator = self._generator.on(mean.device)
        noise = torch.randn((self.samples, *mean.shape), generator=generator, dtype=mean.dtype, device=mean.device)
        if self.refinement is not None:
            found = self._refined(model, batch, mean, log_variance, noise)
        else:
            found = self._bound(model, batch, mean, log_variance, noise)
        if self.penalty is not None and torch.is_grad_enabled():
            self.penalty.advance()
        return found

    def _bound(
        self, model: Autoencoder, batch: Batch, mean: Tensor, log_variance: Tensor, noise: Tensor
    ) -> EncodedVector:
        if self.importance_weighted:
            return model.importance(batch, mean, log_variance, noise)
        return model.encoded(batch, mean, log_variance, noise, self.penalty or total)

    def _refined(
        self, model: Autoencoder, batch: Batch, mean: Tensor, log_variance: Tensor, noise: Tensor
    ) -> EncodedVector:
        """The bound of the refined q; through the encoder's q flows the slope that the refinement met there."""
        assert self.refinement is not None
        generator = self._generator.on(mean.device)
        moved = self.refinement(model, batch, mean, log_variance, generator, self.penalty or total)
        found = self._bound(model, batch, moved.mean, moved.log_variance, noise)
        toward = (torch.cat((mean, log_variance), dim=1) * moved.slope).sum(1)
        return replace(found, objective=found.objective + (toward - toward.detach()))


def proposal(
    model: Autoencoder, batch: Batch, samples: int, generator: torch.Generator, refinement: Refinement | None = None
) -> EncodedVector:
    """Weighted draws for use after training, whose noise all rows share: what is said of a row depends on no other.

    Rows would share its error too, so the noise is spread evenly: a scrambled net of Sobol (Owen 1997).
    """
    mean, log_variance = model.encode(batch)
    noise = sampling.sobol_normal(samples, mean.shape[1], like=mean, generator=generator)[:, None]
    if refinement is not None:
        moved = refinement(model, batch, mean, log_variance, generator)
        mean, log_variance = moved.mean, moved.log_variance
    return model.importance(batch, mean, log_variance, noise)


def standard_error(log_weights: Tensor) -> Tensor:
    """Of log (1/s) Σ_s w_s, (s, n) → (n,), by the delta method: the mean's own over the mean."""
    shares = log_weights.double().softmax(0)
    s = len(shares)
    excess = (shares.square().sum(0) - 1 / s).clamp_min(0.0)
    return (excess * s / max(s - 1, 1)).sqrt()
