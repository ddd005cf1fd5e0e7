"""Priors of a latent vector: standard normal, a mixture of Gaussians, and a mixture of the encoder's own posteriors."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Callable

import torch
from torch import Generator, Tensor, nn

from emnet.factors.base import Factor, S
from emnet.factors.composite import Composite, bundle
from emnet.factors.differentiable import DifferentiableFactor, Gradient
from emnet.factors.gaussian import Gaussian
from emnet.factors.gaussian_moments import GaussianMoments
from emnet.factors.tables import MixingWeights
from emnet.kernels import diagonal_gaussian
from emnet.statistics import ModelStatistics

Encode = Callable[[Tensor], tuple[Tensor, Tensor]]
"""Features → mean and log variance of q."""


class LatentPrior(Factor[S]):
    """p(z) of vectors with l entries. Its target is z, (n, l).

    `encode` is given to all, and only a prior that is made of the encoder uses it.
    """

    n_latent: int

    @abstractmethod
    def log_density(self, latent: Tensor, encode: Encode) -> Tensor:
        """log p(z): (…, n, l) → (…, n), with its graph."""

    @abstractmethod
    def divergence(self, mean: Tensor, log_variance: Tensor, draws: Tensor, encode: Encode) -> Tensor:
        """KL(q ‖ p), a bound, or an estimate from draws of q, ((s,) n, l): by entry, (n, l), or of all, (n, 1)."""

    @abstractmethod
    def draw(self, n: int, encode: Encode, generator: Generator) -> Tensor:
        """(n, l)."""


class StandardNormal(LatentPrior[Gradient], DifferentiableFactor):
    """Normal(0, I): nothing to learn."""

    zero: Tensor

    def __init__(self, n_latent: int):
        super().__init__()
        self.n_latent = n_latent
        self.register_buffer("zero", torch.zeros(()), persistent=False)  # knows type and place

    def log_density(self, latent: Tensor, encode: Encode) -> Tensor:
        return -0.5 * (latent.square() + math.log(2 * math.pi)).sum(-1)

    def log_prob(self, target: Tensor, given: Tensor | None = None) -> Tensor:
        return -0.5 * (target.square() + math.log(2 * math.pi)).sum(-1)

    def divergence(self, mean: Tensor, log_variance: Tensor, draws: Tensor, encode: Encode) -> Tensor:
        return diagonal_gaussian.divergence_from_standard(mean, log_variance)

    def draw(self, n: int, encode: Encode, generator: Generator) -> Tensor:
        zero = self.zero
        return torch.randn(n, self.n_latent, generator=generator, dtype=zero.dtype, device=zero.device)


class MixturePrior(LatentPrior[ModelStatistics], Composite):
    """Σ_k w_k Normal(z; m_k, Σ_k), whose M-step is closed: that of a Gaussian mixture on what the encoder says.

    What a component is responsible for is p(k | z) of draws of q, so the bound has no gap besides q's own (VaDE, Jiang
    et al. 2017, with draws in the M-step as in the bound).

    Parameters
    ----------
    mixing : the weights.
    components : the Gaussians, whose covariances are diagonal or full.
    """

    def __init__(self, mixing: MixingWeights, components: Gaussian):
        super().__init__((mixing, components))
        self.n_latent = components.means.shape[1]

    @property
    def n_states(self) -> int:
        return self.mixing.n_states

    @property
    def mixing(self) -> MixingWeights:
        return self.parts[0]  # type: ignore[return-value]

    @property
    def components(self) -> Gaussian:
        return self.parts[1]  # type: ignore[return-value]

    def log_joint(self, latent: Tensor) -> Tensor:
        """log w_k + log Normal(z; m_k, Σ_k): (…, n, l) → (…, n, k), with its graph."""
        means, inverse = self.components.means.to(latent), self.components.covariance.inverse_factor().to(latent)
        return diagonal_gaussian.log_densities(latent, means, inverse) + self.mixing.log_probabilities.to(latent)

    def log_density(self, latent: Tensor, encode: Encode) -> Tensor:
        return self.log_prob(latent)

    def log_prob(self, target: Tensor, given: Tensor | None = None) -> Tensor:
        return self.log_joint(target).logsumexp(-1)

    def divergence(self, mean: Tensor, log_variance: Tensor, draws: Tensor, encode: Encode) -> Tensor:
        expected = diagonal_gaussian.mean_of_draws(self.log_prob(draws))
        return (diagonal_gaussian.negative_entropy(log_variance) - expected)[:, None]

    def responsibilities(self, latent: Tensor) -> Tensor:
        """p(state | z), (…, n, k)."""
        return self.log_joint(latent).softmax(-1)

    def statistics(self, target: Tensor, weights: Tensor | None, given: Tensor | None = None) -> ModelStatistics:
        """From draws, (n, l), and their weights, (n,)."""
        latent = target.detach().double()
        shares = self.responsibilities(latent)
        weighted = shares if weights is None else shares * weights[:, None].double()
        moments = self.components.statistics(Gaussian.prepare(latent), weighted)
        return bundle((self.mixing.statistics(shares, weights), moments))

    def statistics_of(self, shares: Tensor, mean: Tensor, variance: Tensor) -> ModelStatistics:
        """Under responsibilities that are given, (n, k), of vectors known as Normal(mean, variance), (n, l) each."""
        moments = self.components.statistics(Gaussian.prepare(mean), shares)
        spread = shares.T @ variance
        second = moments.second + (spread if moments.second.dim() == 2 else spread.diag_embed())
        moments = GaussianMoments(moments.counts, moments.first, second, moments.origin)
        return bundle((self.mixing.statistics(shares, None), moments))

    def draw(self, n: int, encode: Encode, generator: Generator) -> Tensor:
        states = torch.multinomial(self.mixing.log_probabilities.exp(), n, replacement=True, generator=generator)
        return self.draw_of(states, generator)

    def draw_of(self, states: Tensor, generator: Generator) -> Tensor:
        """A vector of each of (n,) states."""
        return self.components.draw(states, generator)


class VampPrior(LatentPrior[Gradient], DifferentiableFactor):
    """(1/k) Σ q(z | u_k), the encoder's posteriors of k pseudo-rows, which are learned (Tomczak & Welling 2018).

    Parameters
    ----------
    pseudo_rows : (k, p), the start, as an encoder is shown rows.
    n_latent : l.
    """

    def __init__(self, pseudo_rows: Tensor, n_latent: int):
        super().__init__()
        self.pseudo_rows = nn.Parameter(pseudo_rows.detach().clone())
        self.n_latent = n_latent

    def log_prob(self, target: Tensor, given: Tensor | None = None) -> Tensor:
        raise NotImplementedError("A VampPrior has no density without an encoder: ask `log_density`.")

    def log_density(self, latent: Tensor, encode: Encode) -> Tensor:
        means, log_variances = encode(self.pseudo_rows)
        terms = diagonal_gaussian.log_densities(latent, means, (-0.5 * log_variances).exp())
        return terms.logsumexp(-1) - math.log(len(means))

    def divergence(self, mean: Tensor, log_variance: Tensor, draws: Tensor, encode: Encode) -> Tensor:
        expected = diagonal_gaussian.mean_of_draws(self.log_density(draws, encode))
        return (diagonal_gaussian.negative_entropy(log_variance) - expected)[:, None]

    def draw(self, n: int, encode: Encode, generator: Generator) -> Tensor:
        means, log_variances = encode(self.pseudo_rows)
        states = torch.randint(len(means), (n,), generator=generator, device=means.device)
        noise = torch.randn(n, self.n_latent, generator=generator, dtype=means.dtype, device=means.device)
        return means[states] + (0.5 * log_variances[states]).exp() * noise
