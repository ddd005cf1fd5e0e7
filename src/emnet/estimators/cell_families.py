"""The likelihoods of cells by name, for decoders."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from emnet.factors.cells import (
    BernoulliCells,
    CategoricalCells,
    CellLikelihood,
    DiscretizedLogisticCells,
    GaussianCells,
    PoissonCells,
    StudentCells,
)
from emnet.factors.counting import Bernoulli, Poisson
from emnet.factors.log_normal import LogNormal

_LEVELS = 256


@dataclass(frozen=True)
class CellFamily:
    """A likelihood by name.

    make : (columns, or categories of a single column; where the noise comes from) → the likelihood.
    measured : whether the decoder sees its columns centered and scaled.
    logarithmic : whether it sees their logarithms.
    single : whether a likelihood explains one column alone.
    support, expected : which numbers it explains, and what those are called.
    """

    make: Callable[[int, str], CellLikelihood]
    measured: bool = False
    logarithmic: bool = False
    single: bool = False
    support: Callable[[Tensor], Tensor] = torch.isfinite
    expected: str = "finite numbers"


def _is_level(values: Tensor) -> Tensor:
    return (values >= 0) & (values <= _LEVELS - 1) & (values == values.floor())  # 256 is no number of 8 bits


CELL_FAMILIES: Mapping[str, CellFamily] = {
    "gaussian": CellFamily(GaussianCells, measured=True),
    "student_t": CellFamily(StudentCells, measured=True),
    "log_normal": CellFamily(
        GaussianCells, measured=True, logarithmic=True, support=LogNormal.support, expected=LogNormal.expected
    ),
    "bernoulli": CellFamily(
        lambda size, noise: BernoulliCells(size), support=Bernoulli.support, expected=Bernoulli.expected
    ),
    "categorical": CellFamily(lambda size, noise: CategoricalCells(size), single=True),
    "poisson": CellFamily(lambda size, noise: PoissonCells(size), support=Poisson.support, expected=Poisson.expected),
    "discretized_logistic": CellFamily(
        lambda size, noise: DiscretizedLogisticCells(size, noise, _LEVELS),
        support=_is_level,
        expected=f"whole numbers from 0 to {_LEVELS - 1}",
    ),
}
