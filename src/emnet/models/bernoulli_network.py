"""The EM-MLP: layers of Bernoulli units under an output."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import singledispatchmethod

import torch
from torch import Tensor, nn

from emnet.batch import Batch, with_constant
from emnet.factors.base import Factor
from emnet.factors.regression import BernoulliUnits, ConfigurationCounts, LinearFactor, SoftmaxOutput
from emnet.kernels import bits
from emnet.models.base import LatentModel
from emnet.posteriors import Bits, BitsPosterior, EvidenceKind, FactorizedBits, SampledBits
from emnet.statistics import ModelStatistics, Statistics


class BernoulliNetwork(LatentModel[BitsPosterior]):
    """p(y | x) = Σ p(z¹ | x) p(z² | z¹) … p(y | z^L), every z^l of m_l bits.

    A batch has `target` (n,) class indices and `given` (n, 1 + p) with the constant 1 first; a row that is not
    `observed` has an unknown class.

    The exact sum over deep layers costs little more than over one: what the upper layers make of a configuration of
    the lowest does not depend on the row, so they are summed once for each of its 2^m configurations.
    """

    layers: Sequence[BernoulliUnits]

    def __init__(self, layers: Sequence[BernoulliUnits], output: SoftmaxOutput):
        super().__init__()
        self.layers = nn.ModuleList(layers)  # type: ignore[assignment]
        self.output = output

    @property
    def factors(self) -> Mapping[str, Factor]:
        hidden: dict[str, Factor] = {f"hidden_{number}": layer for number, layer in enumerate(self.layers, start=1)}
        return {**hidden, "output": self.output}

    @property
    def widths(self) -> tuple[int, ...]:
        """Units of each layer, from the inputs up."""
        return tuple(layer.n_units for layer in self.layers)

    # -- exact ------------------------------------------------------------------------------------------------------

    def require_memory(self, n: int) -> None:
        """Raise InsufficientMemoryError where the exact E-step of n rows does not fit."""
        dtype, device, g = self.layers[0].weights.dtype, self.layers[0].weights.device, self.output.n_classes
        rows = n
        for m in self.widths:
            bits.require_memory(rows, m, g, dtype, device)
            rows = g * 2**m

    def posterior(self, batch: Batch) -> Bits:
        self.require_memory(len(batch))
        tables = self.log_tables()
        groups = batch.derived(_rows_by_class, self.output.n_classes, self.widths[0])
        found = bits.expectations(self.layers[0].predictor(batch.inputs), groups, tables[0], batch.weights)
        return Bits(found.log_evidence, EvidenceKind.EXACT, found.mean, found.counts, tables)

    def log_tables(self) -> tuple[Tensor, ...]:
        """log p(y = i | z^l) for all configurations of each layer, the layers above summed out: (g, 2^m) each."""
        tables = [self.output.log_table()]
        for layer, below in zip(reversed(self.layers[1:]), reversed(self.widths[:-1]), strict=True):
            logits = layer.predictor(_all_inputs(below, layer.weights))
            tables.append(bits.log_marginal(logits, tables[-1]).log_softmax(1).T.to(logits.dtype))
        return tuple(reversed(tables))

    @singledispatchmethod
    def _above(self, posterior: BitsPosterior, batch: Batch) -> list[Statistics]:
        """Statistics of all factors but the lowest layer."""
        raise TypeError(f"A Bernoulli network takes no statistics from {type(posterior).__name__}.")

    def statistics(self, batch: Batch, posterior: BitsPosterior) -> ModelStatistics:
        lowest = self.layers[0].statistics(posterior.mean.double(), batch.weights, batch.inputs.double())
        return ModelStatistics(dict(zip(self.factors, [lowest, *self._above(posterior, batch)], strict=True)))

    @_above.register
    def _(self, posterior: Bits, batch: Batch) -> list[Statistics]:
        """Every configuration of a layer, with a class, is a row for the layer above, its count the row's weight."""
        counts, found = posterior.counts, []
        for layer, below, log_table in zip(self.layers[1:], self.widths, posterior.log_tables[1:], strict=False):
            g = len(counts)
            given = _all_inputs(below, layer.weights).repeat(g, 1)
            classes = torch.arange(g, device=given.device).repeat_interleave(2**below)
            groups = bits.group_by_class(classes, g, layer.n_units)
            weights = counts.flatten()
            above = bits.expectations(layer.predictor(given), groups, log_table, weights.to(given.dtype))
            found.append(layer.statistics(above.mean.double(), weights, given.double()))
            counts = above.counts
        return [*found, ConfigurationCounts(counts)]

    @_above.register
    def _(self, posterior: FactorizedBits, batch: Batch) -> list[Statistics]:
        weights = batch.weights
        if batch.observed is not None:
            weights = batch.observed.double() if weights is None else weights * batch.observed
        return [self.output.statistics_of_means(batch.target, weights, posterior.mean)]

    @_above.register
    def _(self, posterior: SampledBits, batch: Batch) -> list[Statistics]:
        """Every sample is a row, its weight the row's times the sample's."""
        weights = posterior.weights
        if batch.weights is not None:
            weights = weights * batch.weights
        if batch.observed is not None:
            weights = weights * batch.observed
        flat = weights.flatten()
        given = [state.flatten(0, 1) for state in posterior.states]
        found = [
            layer.statistics(state[:, 1:], flat, below)
            for layer, below, state in zip(self.layers[1:], given, given[1:], strict=False)
        ]
        return [*found, self.output.statistics(batch.target.repeat(len(weights)), flat, given[-1])]

    def log_likelihood(self, batch: Batch, top: Tensor) -> Tensor:
        """log p(y | z^L) of samples of the top layer, (s, n, 1 + m): (s, n); 0 where no class is known."""
        likelihood = self.output.log_prob(batch.target, top)
        return likelihood if batch.observed is None else likelihood * batch.observed

    def above(self, number: int, batch: Batch, states: Sequence[Tensor]) -> tuple[LinearFactor, Tensor]:
        """The factor that hidden layer `number` feeds, and its target: the next layer's states, or the classes."""
        if number + 1 < len(self.layers):
            return self.layers[number + 1], states[number + 1]
        return self.output, batch.target

    # -- prediction -------------------------------------------------------------------------------------------------

    def log_predictive(self, given: Tensor) -> Tensor:
        """log p(y | x), all units summed out exactly: (n, 1 + p) → (n, g), float64."""
        self.require_memory(len(given))
        return bits.log_marginal(self.layers[0].predictor(given), self.log_tables()[0]).log_softmax(1)

    def sample(self, given: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Draw z ~ p(z | x) layer by layer, then y: the (n, m) bits of the top layer and (n,) classes."""
        states = given
        for layer in self.layers:
            states = with_constant(torch.bernoulli(layer.predictor(states).sigmoid(), generator=generator))
        probability = self.output.predictor(states).softmax(1)
        return states[:, 1:], torch.multinomial(probability, 1, generator=generator)[:, 0]


def _all_inputs(m: int, like: Tensor) -> Tensor:
    """All configurations of m bits as inputs of the layer above: (2^m, 1 + m)."""
    return with_constant(bits.configurations(m, dtype=like.dtype, device=like.device))


def _rows_by_class(batch: Batch, g: int, m: int) -> list[bits.ClassBlocks]:
    target = batch.target
    if batch.observed is not None:
        target = torch.where(batch.observed, target, bits.UNOBSERVED)
    return bits.group_by_class(target, g, m)
