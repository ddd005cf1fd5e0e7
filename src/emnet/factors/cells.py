"""Likelihoods of cells whose parameters a network gives: of several columns alike, independent given the network."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod

import numpy as np
import torch
from torch import Generator, Tensor, distributions, nn
from torch.nn import functional

from emnet.factors.discretized_logistic import DiscretizedLogistic, log_mass
from emnet.kernels import diagonal_gaussian

_LEAST_LOG_SCALE = -4.5  # of standardized columns: a density does not shrink onto a value that is repeated
_LEAST_DEGREES = 2.0  # of freedom: with fewer a t has no variance
_NODES = 16  # of a Gaussian, against a logistic function
_LARGEST_LOG_RATE = 30.0


class CellLikelihood(nn.Module, ABC):
    """p(x_j | outputs) of d columns; `outputs` are (…, n, n_outputs), cells (n, d), what is said of them (…, n, d).

    Cells that are missing are 0 here, and the caller leaves them out.
    """

    def __init__(self, n_columns: int, outputs_a_column: int = 1):
        super().__init__()
        self.n_columns = n_columns
        self.n_outputs = n_columns * outputs_a_column

    @property
    def n_features(self) -> int:
        """Columns that an encoder sees of them."""
        return self.n_columns

    def features(self, cells: Tensor) -> Tensor:
        """Cells as an encoder sees them, (n, n_features)."""
        return cells

    @abstractmethod
    def log_prob(self, cells: Tensor, outputs: Tensor) -> Tensor:
        """log p of each cell."""

    @abstractmethod
    def mean(self, outputs: Tensor) -> Tensor:
        """E[x] of each cell; of a category, the most probable one."""

    def fill(self, outputs: Tensor, weights: Tensor) -> Tensor:
        """E[x] under weighted draws of the outputs, (s, n, n_outputs) and (s, n) → (n, d)."""
        return (weights[..., None] * self.mean(outputs)).sum(0)

    def variance(self, outputs: Tensor) -> Tensor:
        """Var[x] of each cell, where it is asked for."""
        return torch.zeros_like(self.mean(outputs))

    @abstractmethod
    def mode(self, outputs: Tensor) -> Tensor:
        """The most probable value of each cell."""

    @abstractmethod
    def draw(self, outputs: Tensor, generator: Generator) -> Tensor:
        """A value of each cell."""

    @abstractmethod
    def distribution(
        self, outputs: Tensor, center: Tensor, scale: Tensor, logarithmic: bool = False
    ) -> distributions.Distribution:
        """Of batch shape (…, n) and event (d,), or () of a category, in the units of the table.

        center, scale : (d,), of what is said of the cells, or where it is `logarithmic` of their logarithms.
        """

    has_nodes = False

    def nodes(self, outputs: Tensor) -> tuple[Tensor, Tensor]:
        """Values and log weights, (q, …, n, d) each, whose weighted sums are expectations, where there are such."""
        raise NotImplementedError(f"{type(self).__name__} has no nodes: ask `has_nodes` first.")

    @abstractmethod
    def start(self, cells: Tensor, seen: Tensor) -> Tensor:
        """Outputs under which all rows are alike and like these, (n_outputs,)."""


class LocationScale(CellLikelihood):
    """A location from the network, and a scale.

    Parameters
    ----------
    noise : where the scale comes from: "column", a parameter of each column; "shared", one of all; "row", the network.
    """

    least: Tensor

    def __init__(self, n_columns: int, noise: str = "column"):
        super().__init__(n_columns, 2 if noise == "row" else 1)
        self.noise = noise
        self.register_buffer("least", torch.tensor(_LEAST_LOG_SCALE), persistent=False)  # has type and place
        if noise != "row":
            self.log_scale = nn.Parameter(torch.zeros(n_columns if noise == "column" else 1))

    def location(self, outputs: Tensor) -> Tensor:
        return outputs[..., : self.n_columns] if self.noise == "row" else outputs

    def log_scales(self, outputs: Tensor) -> Tensor:
        """Bounded from below, softly: log (e^raw + e^least)."""
        raw = outputs[..., self.n_columns :] if self.noise == "row" else self.log_scale
        return torch.logaddexp(raw, self.least)

    def mean(self, outputs: Tensor) -> Tensor:
        return self.location(outputs)

    def mode(self, outputs: Tensor) -> Tensor:
        return self.location(outputs)

    def start(self, cells: Tensor, seen: Tensor) -> Tensor:
        counts = seen.sum(0).clamp_min(1)
        location = (cells * seen).sum(0) / counts
        return torch.cat((location, torch.zeros_like(location))) if self.noise == "row" else location


class GaussianCells(LocationScale):
    """Normal(location, scale²)."""

    def log_prob(self, cells: Tensor, outputs: Tensor) -> Tensor:
        return diagonal_gaussian.log_density(cells, self.location(outputs), self.log_scales(outputs))

    def variance(self, outputs: Tensor) -> Tensor:
        return (2 * self.log_scales(outputs)).exp().expand_as(self.location(outputs))

    def distribution(
        self, outputs: Tensor, center: Tensor, scale: Tensor, logarithmic: bool = False
    ) -> distributions.Distribution:
        family = distributions.LogNormal if logarithmic else distributions.Normal
        deviation = self.log_scales(outputs).double().exp() * scale
        return distributions.Independent(family(self.location(outputs).double() * scale + center, deviation), 1)

    has_nodes = True

    def nodes(self, outputs: Tensor) -> tuple[Tensor, Tensor]:
        """Those of Gauss and Hermite."""
        location = self.location(outputs)
        points, weights = (torch.as_tensor(part).to(location) for part in np.polynomial.hermite_e.hermegauss(_NODES))
        shape = (_NODES, *(1,) * location.dim())
        values = location + points.view(shape) * self.log_scales(outputs).exp()
        return values, (weights / weights.sum()).log().view(shape).expand_as(values)

    def draw(self, outputs: Tensor, generator: Generator) -> Tensor:
        location = self.location(outputs)
        return location + self.log_scales(outputs).exp() * _normal(location, generator)


class StudentCells(LocationScale):
    """t_ν(location, scale) with ν > 2 of each column."""

    def __init__(self, n_columns: int, noise: str = "column"):
        super().__init__(n_columns, noise)
        self.log_degrees = nn.Parameter(torch.full((n_columns,), math.log(8.0)))

    @property
    def degrees_of_freedom(self) -> Tensor:
        return _LEAST_DEGREES + self.log_degrees.exp()

    def log_prob(self, cells: Tensor, outputs: Tensor) -> Tensor:
        degrees, log_scale = self.degrees_of_freedom, self.log_scales(outputs)
        squares = (cells - self.location(outputs)).square() * (-2 * log_scale).exp()
        constant = torch.lgamma((degrees + 1) / 2) - torch.lgamma(degrees / 2) - 0.5 * (degrees * math.pi).log()
        return constant - log_scale - 0.5 * (degrees + 1) * (squares / degrees).log1p()

    def variance(self, outputs: Tensor) -> Tensor:
        degrees = self.degrees_of_freedom
        return (2 * self.log_scales(outputs)).exp() * (degrees / (degrees - 2)).expand_as(self.location(outputs))

    def distribution(
        self, outputs: Tensor, center: Tensor, scale: Tensor, logarithmic: bool = False
    ) -> distributions.Distribution:
        location = self.location(outputs).double() * scale + center
        spread = self.log_scales(outputs).double().exp() * scale
        degrees = self.degrees_of_freedom.double()
        return distributions.Independent(distributions.StudentT(degrees, location, spread), 1)

    def draw(self, outputs: Tensor, generator: Generator) -> Tensor:
        location = self.location(outputs)
        halves = (self.degrees_of_freedom / 2).expand_as(location).contiguous()
        precision = torch._standard_gamma(halves, generator=generator) / halves
        return location + self.log_scales(outputs).exp() * _normal(location, generator) * precision.rsqrt()


class DiscretizedLogisticCells(LocationScale):
    """Whole numbers from 0 to `levels` − 1: a logistic distribution's mass between half steps, open at both ends.

    Salimans et al. 2017, eq. 2. Locations and scales are those of x between −1 and 1.
    """

    def __init__(self, n_columns: int, noise: str = "column", levels: int = 256):
        super().__init__(n_columns, noise)
        self.levels = levels
        if noise != "row":
            nn.init.constant_(self.log_scale, -2.0)

    def features(self, cells: Tensor) -> Tensor:
        return cells * (2 / (self.levels - 1)) - 1

    def log_prob(self, cells: Tensor, outputs: Tensor) -> Tensor:
        return log_mass(cells, self.location(outputs), self.log_scales(outputs).exp(), self.levels)

    def distribution(
        self, outputs: Tensor, center: Tensor, scale: Tensor, logarithmic: bool = False
    ) -> distributions.Distribution:
        location, spread = self.location(outputs).double(), self.log_scales(outputs).double().exp()
        return distributions.Independent(DiscretizedLogistic(location, spread, self.levels), 1)

    def mean(self, outputs: Tensor) -> Tensor:
        return ((self.location(outputs) + 1) * ((self.levels - 1) / 2)).clamp(0, self.levels - 1)

    def mode(self, outputs: Tensor) -> Tensor:
        return self.mean(outputs).round()

    def draw(self, outputs: Tensor, generator: Generator) -> Tensor:
        location = self.location(outputs)
        uniform = torch.rand(location.shape, generator=generator, dtype=location.dtype, device=location.device)
        drawn = location + self.log_scales(outputs).exp() * uniform.clamp(1e-6, 1 - 1e-6).logit()
        return ((drawn + 1) * ((self.levels - 1) / 2)).round().clamp(0, self.levels - 1)

    def start(self, cells: Tensor, seen: Tensor) -> Tensor:
        return super().start(self.features(cells), seen)


class BernoulliCells(CellLikelihood):
    """0 or 1, of which the network gives the logit."""

    def log_prob(self, cells: Tensor, outputs: Tensor) -> Tensor:
        cells = cells.expand_as(outputs)
        return -functional.binary_cross_entropy_with_logits(outputs, cells, reduction="none")

    def mean(self, outputs: Tensor) -> Tensor:
        return outputs.sigmoid()

    def variance(self, outputs: Tensor) -> Tensor:
        return outputs.sigmoid() * (-outputs).sigmoid()

    def distribution(
        self, outputs: Tensor, center: Tensor, scale: Tensor, logarithmic: bool = False
    ) -> distributions.Distribution:
        return distributions.Independent(distributions.Bernoulli(logits=outputs.double()), 1)

    has_nodes = True

    def nodes(self, outputs: Tensor) -> tuple[Tensor, Tensor]:
        """0 and 1."""
        values = torch.stack((torch.zeros_like(outputs), torch.ones_like(outputs)))
        return values, functional.logsigmoid(torch.stack((-outputs, outputs)))

    def mode(self, outputs: Tensor) -> Tensor:
        return (outputs > 0).to(outputs)

    def draw(self, outputs: Tensor, generator: Generator) -> Tensor:
        return torch.bernoulli(outputs.sigmoid(), generator=generator)

    def start(self, cells: Tensor, seen: Tensor) -> Tensor:
        return (((cells * seen).sum(0) + 0.5) / (seen.sum(0) + 1)).logit()


class PoissonCells(CellLikelihood):
    """Counts, of which the network gives the logarithm of the rate."""

    def features(self, cells: Tensor) -> Tensor:
        return cells.log1p()

    def log_prob(self, cells: Tensor, outputs: Tensor) -> Tensor:
        log_rate = _bounded(outputs)
        return cells * log_rate - log_rate.exp() - torch.lgamma(cells + 1)

    def mean(self, outputs: Tensor) -> Tensor:
        return _bounded(outputs).exp()

    def variance(self, outputs: Tensor) -> Tensor:
        return self.mean(outputs)

    def distribution(
        self, outputs: Tensor, center: Tensor, scale: Tensor, logarithmic: bool = False
    ) -> distributions.Distribution:
        return distributions.Independent(distributions.Poisson(self.mean(outputs).double()), 1)

    def mode(self, outputs: Tensor) -> Tensor:
        return self.mean(outputs).floor()

    def draw(self, outputs: Tensor, generator: Generator) -> Tensor:
        return torch.poisson(self.mean(outputs), generator=generator)

    def start(self, cells: Tensor, seen: Tensor) -> Tensor:
        return (((cells * seen).sum(0) + 0.5) / (seen.sum(0) + 1)).log()


class CategoricalCells(CellLikelihood):
    """One column of g categories, of which the network gives the logits; the cell is the category's index."""

    def __init__(self, n_categories: int):
        super().__init__(1, n_categories)

    @property
    def n_features(self) -> int:
        return self.n_outputs

    def features(self, cells: Tensor) -> Tensor:
        return functional.one_hot(cells[:, 0].long(), self.n_outputs).to(cells)

    def log_prob(self, cells: Tensor, outputs: Tensor) -> Tensor:
        index = cells.long().expand(*outputs.shape[:-1], 1)
        return outputs.gather(-1, index) - outputs.logsumexp(-1, keepdim=True)

    def mean(self, outputs: Tensor) -> Tensor:
        return self.mode(outputs)

    def fill(self, outputs: Tensor, weights: Tensor) -> Tensor:
        """The category that is most probable under all draws together."""
        return (weights[..., None] * outputs.softmax(-1)).sum(0).argmax(-1, keepdim=True).to(outputs)

    def distribution(
        self, outputs: Tensor, center: Tensor, scale: Tensor, logarithmic: bool = False
    ) -> distributions.Distribution:
        return distributions.Categorical(logits=outputs.double())

    def mode(self, outputs: Tensor) -> Tensor:
        return outputs.argmax(-1, keepdim=True).to(outputs)

    def draw(self, outputs: Tensor, generator: Generator) -> Tensor:
        flat = torch.multinomial(outputs.softmax(-1).flatten(0, -2), 1, generator=generator)
        return flat.view(*outputs.shape[:-1], 1).to(outputs)

    def start(self, cells: Tensor, seen: Tensor) -> Tensor:
        counts = functional.one_hot(cells[:, 0].long(), self.n_outputs).to(cells) * seen
        return ((counts.sum(0) + 0.5) / (seen.sum() + 0.5 * self.n_outputs)).log()


def _bounded(log_rate: Tensor) -> Tensor:
    return log_rate.clamp_max(_LARGEST_LOG_RATE)


def _normal(like: Tensor, generator: Generator) -> Tensor:
    return torch.randn(like.shape, generator=generator, dtype=like.dtype, device=like.device)
