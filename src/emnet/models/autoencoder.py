"""The variational autoencoder: a Gaussian vector under a neural decoder, with an encoder for its E-step."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping

import torch
from torch import Tensor

from emnet.batch import Batch
from emnet.factors.base import Factor
from emnet.factors.decoder import Decoder, Entries
from emnet.factors.differentiable import DifferentiableFactor
from emnet.factors.encoder import Encoder
from emnet.factors.latent_priors import LatentPrior
from emnet.factors.missingness import SelfMasking
from emnet.kernels import diagonal_gaussian
from emnet.models.base import VariationalModel
from emnet.posteriors import EncodedVector, EvidenceKind
from emnet.statistics import ModelStatistics, Statistics

Penalty = Callable[[Tensor], Tensor]
"""The divergence of q from the prior, by entry, (n, l), or of all, (n, 1) → what the objective takes off, (n,)."""


def total(divergence: Tensor) -> Tensor:
    """The bound's own penalty."""
    return divergence.sum(-1)


class Autoencoder(VariationalModel[EncodedVector]):
    """p(x) = ∫ p(z) Π_j p(x_j | z) dz over the cells that were seen (Kingma & Welling 2014; Mattei & Frellsen 2019).

    What is NaN, or what the batch does not call observed, says nothing. The E-step is the encoder's q(z | x), whose
    parameters are those of a factor beside prior and decoder: ∇Q of all three is the gradient of the bound
    F(q, θ) = E_q log p(x, z) − E_q log q, which variational EM raises in q and in θ (Neal & Hinton 1998).

    Parameters
    ----------
    prior, decoder, encoder : p(z), p(x | z), q(z | x).
    missingness : p(seen or not | x), where holes are not at random; then the evidence is that of the holes too.
    """

    def __init__(self, prior: LatentPrior, decoder: Decoder, encoder: Encoder, missingness: SelfMasking | None = None):
        super().__init__()
        self.prior, self.decoder, self.encoder, self.missingness = prior, decoder, encoder, missingness

    @property
    def n_latent(self) -> int:
        return self.prior.n_latent

    @property
    def factors(self) -> Mapping[str, Factor]:
        own: dict[str, Factor] = {"prior": self.prior, "decoder": self.decoder, "encoder": self.encoder}
        return own if self.missingness is None else {**own, "missingness": self.missingness}

    # -- the bound, with its graph ----------------------------------------------------------------------------------

    def features(self, entries: Entries) -> Tensor:
        """Rows as the encoder is shown them, (n, p)."""
        return features_of(self.decoder, self.encoder, entries)

    def encode(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Mean and log variance of q, (n, l) each: q(z | x), or q(z | given) where the batch says what it is told."""
        told = batch.derived(entries_of) if batch.given is None else seen_of(batch.given)
        mean, log_variance = self.encoder(self.features(told))
        return mean, log_variance

    def bound(self, entries: Entries, mean: Tensor, log_variance: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
        """E_q log p(x | z) from draws, (n,), and the divergence of q from the prior, (n, l) or (n, 1)."""
        draws = diagonal_gaussian.draws(mean, log_variance, noise.squeeze(0))  # of one draw few steps are of three axes
        divergence = self.prior.divergence(mean, log_variance, draws, self.encoder)
        return diagonal_gaussian.mean_of_draws(self.log_likelihood(entries, draws)), divergence

    def log_likelihood(self, entries: Entries, latent: Tensor) -> Tensor:
        """log p(seen cells, and which were seen | z): (…, n, l) → (…, n)."""
        outputs = self.decoder.outputs(latent)
        found = self.decoder.log_prob_of_outputs(entries, outputs)
        if self.missingness is None:
            return found
        return found + self.missingness.log_prob_of_mask(entries, self.decoder, outputs)

    def log_weights(self, entries: Entries, mean: Tensor, log_variance: Tensor, noise: Tensor) -> Tensor:
        """log p(x, z_s) − log q(z_s | x) of draws: (s, n)."""
        draws = diagonal_gaussian.draws(mean, log_variance, noise)
        log_q = -0.5 * (noise.square() + log_variance + math.log(2 * math.pi)).sum(-1)
        return self.log_likelihood(entries, draws) + self.prior.log_density(draws, self.encoder) - log_q

    # -- the contract ------------------------------------------------------------------------------------------------

    def posterior(self, batch: Batch) -> EncodedVector:
        """The encoder's, with the bound at one draw a row that is the same at every call."""
        mean, log_variance = self.encode(batch)
        generator = torch.Generator(mean.device).manual_seed(0)
        noise = torch.randn(1, *mean.shape, generator=generator, dtype=mean.dtype, device=mean.device)
        return self.encoded(batch, mean, log_variance, noise)

    def encoded(
        self, batch: Batch, mean: Tensor, log_variance: Tensor, noise: Tensor, penalty: Penalty = total
    ) -> EncodedVector:
        """The posterior Normal(mean, variance) with its bound; its objective has `penalty` of the divergence in it."""
        log_likelihood, divergence = self.bound(batch.derived(entries_of), mean, log_variance, noise)
        counted = penalty(divergence)
        objective = log_likelihood - counted
        whole = counted.detach() if penalty is total else divergence.detach().sum(-1)
        bound = objective.detach() if penalty is total else log_likelihood.detach() - whole
        return EncodedVector(
            bound.double(),
            EvidenceKind.ESTIMATE,
            mean.detach(),
            log_variance.detach(),
            noise,
            None,
            whole,
            objective,
        )

    def importance(self, batch: Batch, mean: Tensor, log_variance: Tensor, noise: Tensor) -> EncodedVector:
        """The same with log (1/s) Σ_s p(x, z_s) / q(z_s | x), the bound of Burda et al. 2016, which s tightens.

        A row with nothing seen has evidence 1.
        """
        entries = batch.derived(entries_of)
        log_weights = self.log_weights(entries, mean, log_variance, noise)
        objective = log_weights.logsumexp(0) - math.log(len(log_weights))
        log_evidence = objective.detach().double()
        if self.missingness is None and (empty := empty_rows(entries)) is not None:
            log_evidence[empty] = 0.0
        mean, log_variance = mean.detach(), log_variance.detach()
        draws = diagonal_gaussian.draws(mean, log_variance, noise)
        log_prior = self.prior.log_density(draws, self.encoder).detach().mean(0)
        divergence = diagonal_gaussian.negative_entropy(log_variance) - log_prior
        return EncodedVector(
            log_evidence, EvidenceKind.ESTIMATE, mean, log_variance, noise, log_weights, divergence, objective
        )

    def statistics(
        self, batch: Batch, posterior: EncodedVector, factors: Collection[str] | None = None
    ) -> ModelStatistics:
        """Of the named factors, None for all. What is no closed statistic is the gradient of the objective."""
        names = list(self.factors) if factors is None else list(factors)
        return ModelStatistics({name: self._statistics_of(self.factors[name], batch, posterior) for name in names})

    def _statistics_of(self, factor: Factor, batch: Batch, posterior: EncodedVector) -> Statistics:
        if not isinstance(factor, DifferentiableFactor):
            return _of_draws(factor, posterior, batch.weights)
        with torch.enable_grad():
            objective = self._objective(batch, posterior)
            weights = None if batch.weights is None else batch.weights.to(objective)
            return factor.gradient_of(objective.sum() if weights is None else objective @ weights, retain_graph=True)

    def _objective(self, batch: Batch, posterior: EncodedVector) -> Tensor:
        """The posterior's, with a graph behind it."""
        if posterior.objective.requires_grad:
            return posterior.objective
        mean, log_variance = self.encode(batch)
        mean = mean + (posterior.mean - mean).detach()  # where the E-step has moved it from the encoder's
        log_variance = log_variance + (posterior.log_variance - log_variance).detach()
        way = self.encoded if posterior.log_weights is None else self.importance
        return way(batch, mean, log_variance, posterior.noise).objective


def _of_draws(factor: Factor, posterior: EncodedVector, weights: Tensor | None) -> Statistics:
    """A factor's statistics from the posterior's draws: of equal weight, or of their importance."""
    draws = posterior.draws
    if posterior.log_weights is None:
        shares = draws.new_full(draws.shape[:2], 1 / len(draws))
    else:
        shares = posterior.log_weights.detach().softmax(0)
    shares = shares if weights is None else shares * weights.to(shares)
    found: Statistics = factor.statistics(draws.flatten(0, 1), shares.flatten())
    return found


def features_of(decoder: Decoder, encoder: Encoder, entries: Entries) -> Tensor:
    """Rows as the encoder is shown them, (n, p): what is missing is 0, and where it was told so a mask says it."""
    features = decoder.features(entries)
    return torch.cat((features, entries.mask()), dim=1) if encoder.sees_holes else features


def entries_of(batch: Batch) -> Entries:
    """The cells that were seen."""
    target = batch.target
    if batch.complete:
        return Entries(target, None)
    if batch.observed is not None:
        observed = batch.observed if batch.observed.dim() == 2 else batch.observed[:, None]
        target = torch.where(observed, target, torch.nan)
    return seen_of(target)


def seen_of(target: Tensor) -> Entries:
    """Of (n, d) cells those that are not NaN."""
    missing = target.isnan()
    if not bool(missing.any()):
        return Entries(target, None)
    return Entries(target.masked_fill(missing, 0.0), (~missing).to(target.dtype))


def empty_rows(entries: Entries) -> Tensor | None:
    """Which rows have nothing that was seen; None if every row has something."""
    if entries.seen is None:
        return None
    empty = entries.seen.sum(1) == 0
    return empty if bool(empty.any()) else None
