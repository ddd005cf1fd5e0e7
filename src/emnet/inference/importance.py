"""The E-step by importance sampling."""

from __future__ import annotations

import math
from typing import Protocol

import torch
from torch import Tensor

from emnet.batch import Batch
from emnet.exceptions import SampleCollapseWarning
from emnet.inference.base import EStep
from emnet.kernels import sampling
from emnet.kernels.logistic import softplus
from emnet.models.bernoulli_network import BernoulliNetwork
from emnet.posteriors import EvidenceKind, SampledBits
from emnet.warning import warn

_COLLAPSED = 1.5  # effective samples of the mean row: one sample decides


class Proposal(Protocol):
    """What hidden states are drawn from."""

    def tilt(self, model: BernoulliNetwork, layer: int, batch: Batch) -> Tensor | None:
        """What is added to a layer's logits, (n, m); None: nothing, the prior p(z | x) itself."""
        ...

    def learn(self, model: BernoulliNetwork, batch: Batch, posterior: SampledBits, drawn: list[Tensor]) -> None:
        """Come nearer to the weighted samples; `drawn` are the probabilities that each layer was drawn with."""
        ...


class Prior:
    """Draw from p(z | x): no sample knows its row's class."""

    def tilt(self, model: BernoulliNetwork, layer: int, batch: Batch) -> Tensor | None:
        return None

    def learn(self, model: BernoulliNetwork, batch: Batch, posterior: SampledBits, drawn: list[Tensor]) -> None:
        """The prior learns with the model."""


class Recognition:
    """Draw from q(z^l | z^{l−1}, y) = σ(a + B φ(y)): the model's logits a, shifted by what the target says of a unit.

    φ(y) is one column a class, or (1, y) of real targets. B starts at 0, the prior, and moves with every E-step by one
    step of the fixed bound of logistic regression on the weighted samples (the wake phase of Bornschein & Bengio 2015).
    Where log p(y | z) is linear in φ(y) and in z and its normalizer varies little with z, B holds the exact posterior.
    """

    kept = ("_shifts",)

    def __init__(self) -> None:
        self._shifts: list[Tensor] = []

    def tilt(self, model: BernoulliNetwork, layer: int, batch: Batch) -> Tensor | None:
        features = _seen_features(model, batch)
        if not self._shifts:
            self._shifts = [features.new_zeros(features.shape[1], m) for m in model.widths]
        return features @ self._shifts[layer]

    def learn(self, model: BernoulliNetwork, batch: Batch, posterior: SampledBits, drawn: list[Tensor]) -> None:
        features = _seen_features(model, batch)
        gram = features.T @ features + torch.eye(features.shape[1], dtype=features.dtype, device=features.device)
        for shift, state, probability in zip(self._shifts, posterior.states, drawn, strict=True):
            residual = (posterior.weights[..., None] * (state[..., 1:] - probability)).sum(0)
            shift += 4 * torch.linalg.solve(gram, features.T @ residual)


def _seen_features(model: BernoulliNetwork, batch: Batch) -> Tensor:
    """φ(y), (n, f), and 0 where the target was not observed."""
    features = model.output.features(batch.target).to(batch.inputs.dtype)
    return features if batch.observed is None else features * batch.observed.view(len(batch), -1).all(1)[:, None]


class Importance(EStep):
    """z_s from a proposal q, weights ∝ p(z_s | x) p(y | z_s) / q(z_s), their mean an unbiased estimate of the evidence.

    Parameters
    ----------
    samples : draws for each row, s.
    proposal : `Prior()` or `Recognition()`.
    seed : of the draws; a new object with the same seed draws the same.
    """

    def __init__(self, samples: int = 30, proposal: Proposal | None = None, seed: int = 0):
        self.samples, self.seed = samples, seed
        self.proposal = Prior() if proposal is None else proposal
        self._generator = sampling.SeededGenerator(seed)

    def __call__(self, model: BernoulliNetwork, batch: Batch) -> SampledBits:
        states, drawn, log_weight = self.draw(model, batch)
        total = log_weight.logsumexp(0)
        weights = (log_weight - total).exp_().to(states[0].dtype)
        mean = _controlled_mean(weights, states[0][..., 1:], drawn[0])
        log_evidence = total - math.log(self.samples)
        posterior = SampledBits(log_evidence, EvidenceKind.ESTIMATE, mean, tuple(states), weights)
        self.proposal.learn(model, batch, posterior, drawn)
        self._warn_if_collapsed(posterior)
        return posterior

    def draw(self, model: BernoulliNetwork, batch: Batch) -> tuple[list[Tensor], list[Tensor], Tensor]:
        """States of every layer, (s, n, 1 + m), the probabilities they were drawn with, and log weights, (s, n).

        The mean of the weights, exp(logsumexp − log s), is an unbiased estimate of each row's evidence.
        """
        below, states, drawn = batch.inputs, [], []
        log_weight = batch.inputs.new_zeros(self.samples, len(batch), dtype=torch.float64)
        for number, layer in enumerate(model.layers):
            logits = layer.predictor(below)
            tilt = self.proposal.tilt(model, number, batch)
            tilted = logits if tilt is None else logits + tilt
            generator = self._generator.on(logits.device)
            drawn.append(tilted.sigmoid())
            below = sampling.draw_units(drawn[-1], self.samples, generator)
            states.append(below)
            if tilt is not None:
                log_weight += _log_ratio(below[..., 1:], logits, tilted)
        return states, drawn, log_weight + model.log_likelihood(batch, below)

    def _warn_if_collapsed(self, posterior: SampledBits) -> None:
        effective = posterior.diagnostics["effective_samples"]
        if effective < min(_COLLAPSED, self.samples):
            warn(
                f"Of {self.samples} samples a row, the weights leave {effective:.1f} effective ones. Draw more, use "
                "Importance(proposal=Recognition()) or the Gibbs E-step, or give a stronger prior.",
                SampleCollapseWarning,
            )


def _log_ratio(state: Tensor, logits: Tensor, tilted: Tensor) -> Tensor:
    """log p(z) − log q(z) of units with those logits: (s, n)."""
    difference = state * (logits - tilted) - softplus(logits)
    return (difference + softplus(tilted)).sum(-1).double()


def _controlled_mean(weights: Tensor, states: Tensor, drawn: Tensor) -> Tensor:
    """Σ_s w_s z_s, less what the same draws err in a mean that is known: Σ_s z_s / s against their probability."""
    return ((weights - 1 / len(weights))[..., None] * states).sum(0) + drawn
