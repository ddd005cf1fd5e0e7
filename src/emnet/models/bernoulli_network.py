"""The EM-MLP: layers of Bernoulli units under an output."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import singledispatchmethod

import torch
from torch import Tensor, nn

from emnet.batch import Batch, with_constant
from emnet.exceptions import InvalidInputError
from emnet.factors.base import Factor
from emnet.factors.gaussian_output import GaussianOutput
from emnet.factors.module import ModuleGaussian, ModuleOutput, ModuleUnits
from emnet.factors.regression import BernoulliUnits, SoftmaxOutput
from emnet.kernels import bits, class_blocks
from emnet.kernels.configurations import all_configurations
from emnet.kernels.logistic import softplus
from emnet.models.base import LatentModel
from emnet.posteriors import Bits, BitsPosterior, EvidenceKind, FactorizedBits, SampledBits
from emnet.statistics import ModelStatistics, Statistics

Units = BernoulliUnits | ModuleUnits
Output = SoftmaxOutput | GaussianOutput | ModuleOutput | ModuleGaussian


class BernoulliNetwork(LatentModel[BitsPosterior]):
    """p(y | x) = Σ p(z¹ | x) p(z² | z¹) … p(y | z^L), every z^l of m_l bits.

    A batch has `target`, (n,) class indices or (n, d) reals as the output has it, and `given` (n, 1 + p) with the
    constant 1 first; a row that is not `observed` has an unknown target.

    The exact sum over deep layers costs little more than over one: what the upper layers make of a configuration of
    the lowest does not depend on the row, so they are summed once for each of its 2^m configurations.
    """

    layers: Sequence[Units]
    output: Output

    def __init__(self, layers: Sequence[Units], output: Output):
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
        own, g = next(self.layers[0].parameters()), self.output.n_tables
        rows = n
        for m in self.widths:
            bits.require_memory(rows, m, g, own.dtype, own.device)
            rows = g * 2**m

    def posterior(self, batch: Batch) -> Bits:
        self.require_memory(len(batch))
        tables = self.log_tables()
        groups = batch.derived(_rows_by_table, type(self.output).table_of, self.output.n_tables, self.widths[0])
        logits, log_scale = self._tilted(batch, self.layers[0].predictor(batch.inputs))
        found = bits.expectations(logits, groups, tables[0], batch.weights)
        return Bits(found.log_evidence + log_scale, EvidenceKind.EXACT, found.mean, found.counts, tables)

    def _tilted(self, batch: Batch, logits: Tensor) -> tuple[Tensor, Tensor | float]:
        """Logits (n, m) and log factors (n,) that the part of the likelihood linear in the bits turns the prior into.

        Π_h σ(a_h)^z (1 − σ(a_h))^{1−z} · e^{t·z} is the same product with a + t, times Π_h (1 + e^{a+t})/(1 + e^a).
        """
        tilt = self.output.tilt(batch.target)
        if tilt is None:
            return logits, 0.0
        if len(self.layers) > 1:
            raise InvalidInputError(
                f"With real targets the exact E-step is for one hidden layer; this network has {len(self.layers)}. "
                "Use the importance or the Gibbs E-step."
            )
        log_scale = self.output.log_scale(batch.target)
        if batch.observed is not None:
            seen = batch.observed.view(len(batch), -1).all(1)
            tilt, log_scale = tilt * seen[:, None], log_scale * seen
        tilted = logits.double() + tilt
        return tilted.to(logits.dtype), log_scale + (softplus(tilted) - softplus(logits.double())).sum(1)

    def log_tables(self) -> tuple[Tensor, ...]:
        """log p(y = i | z^l) for all configurations of each layer, the layers above summed out: (g, 2^m) each."""
        tables = [self.output.log_table()]
        for layer, below in zip(reversed(self.layers[1:]), reversed(self.widths[:-1]), strict=True):
            logits = layer.predictor(_all_inputs(below, next(layer.parameters())))
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
            given = _all_inputs(below, next(layer.parameters())).repeat(g, 1)
            classes = torch.arange(g, device=given.device).repeat_interleave(2**below)
            groups = bits.group_by_class(classes, g, layer.n_units)
            weights = counts.flatten()
            above = bits.expectations(layer.predictor(given), groups, log_table, weights.to(given.dtype))
            found.append(layer.statistics(above.mean.double(), weights, given.double()))
            counts = above.counts
        seen = _observed_weights(batch)
        return [*found, self.output.statistics_of_bits(batch.target, seen, posterior.mean, counts)]

    @_above.register
    def _(self, posterior: FactorizedBits, batch: Batch) -> list[Statistics]:
        return [self.output.statistics_of_means(batch.target, _observed_weights(batch), posterior.mean)]

    @_above.register
    def _(self, posterior: SampledBits, batch: Batch) -> list[Statistics]:
        """Every sample is a row, its weight the row's times the sample's."""
        rows, weights = _observed_weights(batch), posterior.weights
        if rows is not None:
            weights = weights * rows
        flat = weights.flatten()
        given = [state.flatten(0, 1) for state in posterior.states]
        found = [
            layer.statistics(state[:, 1:], flat, below)
            for layer, below, state in zip(self.layers[1:], given, given[1:], strict=False)
        ]
        target = batch.target.expand(len(weights), *batch.target.shape).flatten(0, 1)
        return [*found, self.output.statistics(target, flat, given[-1])]

    def log_likelihood(self, batch: Batch, top: Tensor) -> Tensor:
        """log p(y | z^L) of samples of the top layer, (s, n, 1 + m): (s, n); 0 where no class is known."""
        likelihood = self.output.log_prob(batch.target, top)
        return likelihood if batch.observed is None else likelihood * batch.observed.view(len(batch), -1).all(1)

    def above(self, number: int, batch: Batch, states: Sequence[Tensor]) -> tuple[Units | Output, Tensor]:
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
        """Draw z ~ p(z | x) layer by layer, then y ~ p(y | z): the (n, m) bits of the top layer and the targets."""
        states = given
        for layer in self.layers:
            states = with_constant(torch.bernoulli(layer.predictor(states).sigmoid(), generator=generator))
        return states[:, 1:], self.output.draw(states, generator)


def _all_inputs(m: int, like: Tensor) -> Tensor:
    """All configurations of m bits as inputs of the layer above: (2^m, 1 + m)."""
    return with_constant(all_configurations(m, dtype=like.dtype, device=like.device))


def _rows_by_table(batch: Batch, table_of: Callable[[Tensor], Tensor], g: int, m: int) -> list[bits.ClassBlocks]:
    tables = table_of(batch.target)
    if batch.observed is not None:
        tables = torch.where(batch.observed.view(len(batch), -1).all(1), tables, class_blocks.UNOBSERVED)
    return bits.group_by_class(tables, g, m)


def _observed_weights(batch: Batch) -> Tensor | None:
    """The rows' weights, 0 where the target was not seen; None where all are 1."""
    if batch.observed is None:
        return batch.weights
    seen = batch.observed.view(len(batch), -1).all(1).to(batch.inputs.dtype)
    return seen if batch.weights is None else seen * batch.weights
