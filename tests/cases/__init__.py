"""The table of models and algorithms: a new one is a row of a family's file and is held to every law.

Each file here has a family of models: how one is made from a seed, its data, and its truth by brute force.
"""

from __future__ import annotations

from collections.abc import Callable

from emnet.algorithms.base import Algorithm
from emnet.algorithms.em import EM
from emnet.algorithms.gradient import LBFGS
from emnet.algorithms.squarem import Squarem
from emnet.inference.exact import Exact
from tests.cases import (
    chains,
    columns,
    experts,
    gaussians,
    linear_gaussians,
    networks,
    neural_chains,
    segments,
    skeleton,
    tables,
)
from tests.cases.case import Case

CASES: list[Case] = [
    *networks.CASES,
    *tables.CASES,
    *gaussians.CASES,
    *linear_gaussians.CASES,
    *experts.CASES,
    *columns.CASES,
    *chains.CASES,
    *segments.CASES,
    *neural_chains.CASES,
    *skeleton.CASES,
]

ALGORITHMS: dict[str, Callable[[], Algorithm]] = {
    "em": lambda: EM(Exact()),
    "squarem": lambda: Squarem(EM(Exact())),
    "lbfgs": lambda: LBFGS(EM(Exact())),
}
