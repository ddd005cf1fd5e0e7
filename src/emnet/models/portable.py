"""What fitted models predict, as modules of operations that no value of a row changes: for other programs.

Each keeps its own copy of what it needs of the model, on the CPU, and says in `outputs` what it gives.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor, nn

from emnet.batch import with_constant
from emnet.factors.decoder import Decoder, Entries
from emnet.factors.gaussian import Gaussian
from emnet.kernels.bits_torch import configuration_probabilities
from emnet.kernels.elimination import eliminated
from emnet.models.autoencoder import Autoencoder, features_of
from emnet.models.bernoulli_network import BernoulliNetwork
from emnet.models.experts import EXPERT, JOINT
from emnet.models.mixture import Mixture

Moments = tuple[Tensor, Tensor]
"""Means and standard deviations."""


class Portable(nn.Module):
    """A module whose outputs have names: a tensor for one, a tuple for several."""

    outputs: ClassVar[tuple[str, ...]] = ("probabilities",)


class Standardized(Portable):
    """Columns less `center`, over `scale`, both (d,), in the type of what comes next.

    Those that are `logarithmic`, (d,), are taken by their logarithm.
    """

    center: Tensor
    scale: Tensor
    logarithmic: Tensor | None

    def __init__(
        self, center: Tensor, scale: Tensor, dtype: torch.dtype, then: Portable, logarithmic: Tensor | None = None
    ):
        super().__init__()
        self.register_buffer("center", center)
        self.register_buffer("scale", scale)
        self.register_buffer("logarithmic", logarithmic)
        self.dtype, self.then = dtype, then
        self.outputs = then.outputs  # type: ignore[misc]

    def forward(self, rows: Tensor) -> Tensor | Moments:
        if self.logarithmic is not None:
            rows = torch.where(self.logarithmic, rows.log(), rows)
        found: Tensor | Moments = self.then(((rows - self.center) / self.scale).to(self.dtype))
        return found


class PosteriorOfStates(Portable):
    """p(state | what is there of the row), (n, k), of a mixture, and of one whose gate looks at inputs the gate."""

    def __init__(self, mixture: Mixture, without: Sequence[str] = ()):
        super().__init__()
        mixture = copy.deepcopy(mixture).cpu()
        self.weights = mixture.weights
        self.columns = {name: own for name, own in mixture.columns.items() if name not in without}
        self.emissions = nn.ModuleDict({name: mixture.emissions[name].portable() for name in self.columns})

    def forward(self, rows: Tensor) -> Tensor:
        return self.log_probabilities(rows, with_constant(rows)).exp()

    def log_probabilities(self, rows: Tensor, given: Tensor) -> Tensor:
        total = self.weights.log_weights(given).double()  # type: ignore[operator]
        for name, own in self.columns.items():
            total = total + self.emissions[name](rows if own is None else rows[:, list(own)])
        return total.log_softmax(-1).expand(rows.shape[0], -1)


class ClassesOfExperts(Portable):
    """p(y | x), (n, g), of a mixture of experts for classes."""

    def __init__(self, mixture: Mixture):
        super().__init__()
        self.gate = PosteriorOfStates(mixture, without=[EXPERT])
        self.experts = copy.deepcopy(mixture.emissions[EXPERT]).cpu()

    def forward(self, rows: Tensor) -> Tensor:
        given = with_constant(rows)
        log_gate = self.gate.log_probabilities(rows, given)
        log_experts = self.experts.log_probabilities(given).double()
        return (log_gate[:, :, None] + log_experts).logsumexp(1).exp()


class NumbersOfExperts(Portable):
    """E[y | x] and the standard deviation of y, (n, d) each, of a mixture of experts for real targets."""

    outputs = ("mean", "standard_deviation")
    variance: Tensor

    def __init__(self, mixture: Mixture, center: Tensor, scale: Tensor):
        super().__init__()
        self.gate = PosteriorOfStates(mixture, without=[EXPERT])
        self.experts = copy.deepcopy(mixture.emissions[EXPERT]).cpu()
        self.register_buffer("variance", self.experts.variance.detach().clone())
        self.units = TargetUnits(center, scale)

    def forward(self, rows: Tensor) -> Moments:
        given = with_constant(rows)
        weights = self.gate.log_probabilities(rows, given).exp()
        return self.units(*mixed(weights, self.experts.predictor(given).double(), self.variance))


class NumbersOfGaussians(Portable):
    """The same of experts whose x and y are one Gaussian: x may have NaN, which is integrated out."""

    outputs = ("mean", "standard_deviation")
    means: Tensor
    covariances: Tensor

    def __init__(self, mixture: Mixture, n_inputs: int, center: Tensor, scale: Tensor):
        super().__init__()
        joint: Gaussian = copy.deepcopy(mixture.emissions[JOINT]).cpu()
        self.weights, self.n_inputs = copy.deepcopy(mixture.weights).cpu(), n_inputs
        self.register_buffer("means", joint.means.detach().double())
        self.register_buffer("covariances", joint.covariance.covariances().double())
        self.units = TargetUnits(center, scale)

    def forward(self, rows: Tensor) -> Moments:
        unknown = torch.full_like(rows[:, :1], torch.nan).expand(-1, self.means.shape[1] - self.n_inputs)
        found = eliminated(torch.cat((rows, unknown), dim=1).double(), self.means, self.covariances)
        weights = (self.weights.log_weights().double() + found.log_density).softmax(-1)
        return self.units(*mixed(weights, found.mean[..., self.n_inputs :], found.variance[..., self.n_inputs :]))


class TargetUnits(nn.Module):
    """Means and variances of standardized targets as means and standard deviations in the units of the data."""

    center: Tensor
    scale: Tensor

    def __init__(self, center: Tensor, scale: Tensor):
        super().__init__()
        self.register_buffer("center", center)
        self.register_buffer("scale", scale)

    def forward(self, mean: Tensor, variance: Tensor) -> Moments:
        return mean * self.scale + self.center, variance.sqrt() * self.scale


class ClassesOfBits(Portable):
    """p(y | x), (n, g), of an EM-MLP: the average over networks of Σ_z p(z | x) p(y | z)."""

    def __init__(self, networks: Sequence[BernoulliNetwork]):
        super().__init__()
        self.layers = nn.ModuleList(copy.deepcopy(network.layers[0]).cpu() for network in networks)
        for number, network in enumerate(networks):
            self.register_buffer(f"table_{number}", network.log_tables()[0].detach().cpu().exp())

    def forward(self, rows: Tensor) -> Tensor:
        given = with_constant(rows)
        found = [
            configuration_probabilities(layer.predictor(given)).T @ getattr(self, f"table_{number}").T  # type: ignore[operator]
            for number, layer in enumerate(self.layers)
        ]
        probabilities = torch.stack(found).mean(0)
        return probabilities / probabilities.sum(-1, keepdim=True)


class NumbersOfBits(Portable):
    """E[y | x] and the standard deviation of y, (n, d) each, of EM-MLPs with one layer under linear means."""

    outputs = ("mean", "standard_deviation")

    def __init__(self, networks: Sequence[BernoulliNetwork], center: Tensor, scale: Tensor):
        super().__init__()
        self.layers = nn.ModuleList(copy.deepcopy(network.layers[0]).cpu() for network in networks)
        self.tops = nn.ModuleList(copy.deepcopy(network.output).cpu() for network in networks)
        self.units = TargetUnits(center, scale)

    def forward(self, rows: Tensor) -> Moments:
        given = with_constant(rows)
        found = [
            top.moments_of_bits(layer.predictor(given).sigmoid().double())  # type: ignore[operator]
            for layer, top in zip(self.layers, self.tops, strict=True)
        ]
        means, variances = (torch.stack(part, dim=1) for part in zip(*found, strict=True))
        return self.units(*mixed(torch.full_like(means[..., 0], 1 / len(found)), means, variances))


class EncoderOfRows(Portable):
    """Mean and standard deviation of q(z | x), (n, l) each, of rows as the decoder sees them, with NaN."""

    outputs = ("mean", "standard_deviation")

    def __init__(self, autoencoder: Autoencoder):
        super().__init__()
        own = copy.deepcopy(autoencoder).cpu()
        self.decoder, self.encoder = own.decoder, own.encoder

    def forward(self, rows: Tensor) -> Moments:
        seen = ~rows.isnan()
        entries = Entries(torch.where(seen, rows, torch.zeros_like(rows)), seen.to(rows.dtype))
        mean, log_variance = self.encoder(features_of(self.decoder, self.encoder, entries))
        return mean, (0.5 * log_variance).exp()


class DecoderOfVectors(Portable):
    """Rows that latent vectors stand for, (n, l) → (n, d): expectations, and the most probable categories' numbers.

    Parameters
    ----------
    center, scale, logarithmic : as of `Standardized`.
    """

    outputs = ("cells",)
    center: Tensor
    scale: Tensor
    logarithmic: Tensor | None

    def __init__(self, decoder: Decoder, center: Tensor, scale: Tensor, logarithmic: Tensor | None):
        super().__init__()
        self.decoder = copy.deepcopy(decoder).cpu()
        self.dtype = next(self.decoder.parameters()).dtype
        for name, own in (("center", center), ("scale", scale), ("logarithmic", logarithmic)):
            self.register_buffer(name, own)

    def forward(self, latent: Tensor) -> Tensor:
        outputs = self.decoder.outputs(latent.to(self.dtype))
        cells = self.decoder.fill(outputs[None], torch.ones_like(outputs[None, :, 0])).double()
        cells = cells * self.scale + self.center
        if self.logarithmic is None:
            return cells
        variance = self.decoder.variance(outputs).double() * self.scale.square()
        return torch.where(self.logarithmic, (cells + 0.5 * variance).exp(), cells)


def mixed(weights: Tensor, means: Tensor, variances: Tensor) -> Moments:
    """Mean and variance, (n, d), of a mixture with weights (n, k), means (n, k, d) and variances that broadcast."""
    share = weights[:, :, None]
    mean = (share * means).sum(1)
    return mean, (share * (variances + (means - mean[:, None]).square())).sum(1)
