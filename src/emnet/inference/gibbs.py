"""The E-step by block Gibbs sampling."""

from __future__ import annotations

import math
from weakref import WeakKeyDictionary

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from emnet.batch import Batch, with_constant
from emnet.inference.base import EStep
from emnet.inference.importance import Importance
from emnet.kernels.configurations import all_configurations
from emnet.kernels.sampling import SeededGenerator
from emnet.models.bernoulli_network import BernoulliNetwork
from emnet.posteriors import EvidenceKind, SampledBits

_CHUNK_ELEMENTS = 2**22


class Gibbs(EStep):
    """Blocks of units, drawn in turn from their exact conditional given all others; chains persist between E-steps.

    A block's 2^b configurations are weighed by the layer below and by what the layer above, or the output, makes of
    them. The mean of the lowest layer is the average of the blocks' exact conditional means (Rao–Blackwell).

    Parameters
    ----------
    sweeps : passes over all units in an E-step, each of which gives one sample.
    block_size : units summed together, b. Costs grow with 2^b / b, and mixing gets faster.
    burn_in : passes at the first E-step on a batch, before its chains persist.
    evidence : how the evidence, which a chain does not give, is estimated.
    seed : of the draws.
    """

    kept = ("_chains",)

    def __init__(
        self,
        sweeps: int = 3,
        block_size: int = 4,
        burn_in: int = 10,
        evidence: Importance | None = None,
        seed: int = 0,
    ):
        self.sweeps, self.block_size, self.burn_in, self.seed = sweeps, block_size, burn_in, seed
        self.evidence = Importance(10, seed=seed) if evidence is None else evidence
        self._chains: WeakKeyDictionary[Batch, list[Tensor]] = WeakKeyDictionary()
        self._generator = SeededGenerator(seed)

    def __call__(self, model: BernoulliNetwork, batch: Batch) -> SampledBits:
        log_weight = self.evidence.draw(model, batch)[2]
        log_evidence = log_weight.logsumexp(0) - math.log(self.evidence.samples)
        states = self._chains.get(batch)
        if states is None:
            states = self._start(model, batch)
            for _ in range(self.burn_in):
                self._sweep(model, batch, states)
        samples, mean = [], torch.zeros_like(states[0])
        for _ in range(self.sweeps):
            mean += self._sweep(model, batch, states) / self.sweeps
            samples.append([state.clone() for state in states])
        self._chains[batch] = states
        layers = tuple(with_constant(torch.stack(layer)) for layer in zip(*samples, strict=True))
        weights = mean.new_full((self.sweeps, len(batch)), 1 / self.sweeps)
        return SampledBits(log_evidence, EvidenceKind.ESTIMATE, mean, layers, weights)

    def _start(self, model: BernoulliNetwork, batch: Batch) -> list[Tensor]:
        below, states = batch.inputs, []
        for layer in model.layers:
            states.append(torch.bernoulli(layer.predictor(below).sigmoid(), generator=self._generator.on(below.device)))
            below = with_constant(states[-1])
        return states

    def _sweep(self, model: BernoulliNetwork, batch: Batch, states: list[Tensor]) -> Tensor:
        """Draw every unit once, in place; the conditional means of the lowest layer."""
        mean = torch.empty_like(states[0])
        for number, layer in enumerate(model.layers):
            below = batch.inputs if number == 0 else with_constant(states[number - 1])
            logits = layer.predictor(below)
            for block in torch.arange(layer.n_units, device=logits.device).split(self.block_size):
                probability = self._conditional(model, batch, states, number, block, logits[:, block])
                configurations = all_configurations(len(block), dtype=logits.dtype, device=logits.device)
                drawn = torch.multinomial(probability, 1, generator=self._generator.on(logits.device))[:, 0]
                states[number][:, block] = configurations[drawn]
                if number == 0:
                    mean[:, block] = probability @ configurations
        return mean

    def _conditional(
        self, model: BernoulliNetwork, batch: Batch, states: list[Tensor], number: int, block: Tensor, logits: Tensor
    ) -> Tensor:
        """p(z_block | everything else) of each of its configurations: (n, 2^b)."""
        configurations = all_configurations(len(block), dtype=logits.dtype, device=logits.device)
        prior = logsigmoid(logits) @ configurations.T + logsigmoid(-logits) @ (1 - configurations).T
        joint = prior.clone()
        factor, target = model.above(number, batch, states)
        given = with_constant(states[number])
        chunk = max(1, _CHUNK_ELEMENTS // (len(configurations) * given.shape[1]))
        for rows in torch.arange(len(batch), device=logits.device).split(chunk):
            candidates = factor.predictor_with(given[rows], 1 + block, configurations)
            joint[rows] += factor.log_prob_of_predictor(target[rows], candidates).T
        if target is batch.target and batch.observed is not None:
            joint = torch.where(batch.observed[:, None], joint, prior)
        return joint.softmax(1)
