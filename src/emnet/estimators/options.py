"""The strings of the estimators' parameters and the objects they stand for: mapped here and nowhere else."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import pairwise
from typing import Any

import numpy as np
import torch

from emnet.algorithms.adam import Adam
from emnet.algorithms.annealing import Annealing
from emnet.algorithms.base import Algorithm
from emnet.algorithms.em import EM
from emnet.algorithms.gradient import LBFGS
from emnet.algorithms.incremental import Incremental
from emnet.algorithms.online import Online
from emnet.algorithms.split_merge import SplitMerge
from emnet.algorithms.squarem import Squarem
from emnet.exceptions import InvalidInputError
from emnet.factors import covariances, parsimonious
from emnet.factors.covariances import Covariance
from emnet.factors.factor_analysis import FactorAnalytic
from emnet.factors.gaussian_priors import NormalInverseWishart
from emnet.factors.least_squares import ConjugatePrior
from emnet.factors.multinomial_steps import ClassByClass, Irls
from emnet.factors.neural import Ascent, NetworkMStep
from emnet.factors.regression import FixedBound, GradientStep, MStep, Newton
from emnet.inference.base import EStep
from emnet.inference.exact import Exact
from emnet.inference.gibbs import Gibbs
from emnet.inference.importance import Importance
from emnet.inference.mean_field import MeanField
from emnet.warning import warn

M_STEPS: Mapping[str, Callable[[], MStep]] = {"newton": Newton, "mm": FixedBound, "gradient": GradientStep}
EXPERT_M_STEPS: Mapping[str, Callable[[], MStep]] = {**M_STEPS, "ecm": ClassByClass, "irls": Irls}
E_STEPS: Mapping[str, Callable[[int], EStep]] = {
    "exact": lambda seed: Exact(),
    "importance": lambda seed: Importance(_USUAL_SAMPLES, seed=seed),
    "gibbs": lambda seed: Gibbs(seed=seed),
    "mean_field": lambda seed: MeanField(),
}
ALGORITHMS: Mapping[str, Callable[[EStep, int], Algorithm]] = {
    "em": lambda e_step, passes: EM(e_step),
    "squarem": lambda e_step, passes: Squarem(EM(e_step)),
    "lbfgs": lambda e_step, passes: LBFGS(EM(e_step)),
    "adam": lambda e_step, passes: Adam(e_step, passes=passes),
    "online": lambda e_step, passes: Online(e_step),
    "incremental": lambda e_step, passes: Incremental(e_step),
}
COVARIANCES: Mapping[str, Callable[[torch.Tensor], Covariance]] = {
    "full": covariances.Full,
    "tied": covariances.Tied,
    "diag": covariances.Diagonal,
    "spherical": covariances.Spherical,
    "EII": parsimonious.EqualSpherical,
    "VII": covariances.Spherical,
    "EEI": parsimonious.EqualDiagonal,
    "VEI": parsimonious.VaryingVolumeDiagonal,
    "EVI": parsimonious.EqualVolumeDiagonal,
    "VVI": covariances.Diagonal,
    "EEE": covariances.Tied,
    "VEE": parsimonious.VaryingVolume,
    "EVE": parsimonious.EqualVolumeEqualOrientation,
    "VVE": parsimonious.EqualOrientation,
    "EEV": parsimonious.EqualVolumeEqualShape,
    "VEV": parsimonious.EqualShape,
    "EVV": parsimonious.EqualVolume,
    "VVV": covariances.Full,
}
COVARIANCE_TYPES = (*COVARIANCES, "factor")
DTYPES = {"float64": torch.float64, "float32": torch.float32}
_MONOTONE = ("em", "squarem", "lbfgs")
_SAVED = {
    cls.__name__: cls
    for cls in (
        Newton,
        FixedBound,
        GradientStep,
        Irls,
        ClassByClass,
        MeanField,
        ConjugatePrior,
        NormalInverseWishart,
    )
}
_NEWTON_PARAMETERS = 2000  # beyond it the output's Hessian, of that many rows and columns, costs more than it saves
_USUAL_SAMPLES = 10  # more are worth less than more passes
_CHEAP_UNITS, _CHEAP_PAIR = 12, 20  # of a layer, and of two layers together, for which 2^m is summed without asking
_FEW_ELEMENTS = 2**16  # of one half's products: below it a second thread costs more than it brings


def choose(name: str, value: Any, table: Mapping[str, Any], kind: Any, *arguments: Any) -> Any:
    """The object for a string of `table`, or `value` itself if it already is one."""
    if isinstance(value, str) and value in table:
        return table[value](*arguments)
    if isinstance(value, kind) and not isinstance(value, (type, str)):
        return value
    raise InvalidInputError(
        f"{name} must be one of {', '.join(map(repr, table))} or an object of kind {kind.__name__}; got {value!r}."
    )


def choose_m_step(value: Any, n_classes: int, n_units: int, e_step: EStep, algorithm: Any) -> MStep:
    """`auto`: Newton, but the fixed bound where the output's Hessian is large or the posterior is sampled.

    Adam, which takes no M-step, is spared all statistics but the gradient.
    """
    if isinstance(value, str) and value == "auto":
        small = n_classes * (n_units + 1) <= _NEWTON_PARAMETERS
        value = "newton" if small and is_deterministic(e_step) else "mm"
        if not is_deterministic(e_step) and isinstance(algorithm, str) and algorithm in ("auto", "adam"):
            value = "gradient"
    return choose("m_step", value, {"auto": Newton, **M_STEPS}, MStep)


def choose_expert_m_step(value: Any) -> MStep:
    """`auto`: Newton, as gates and experts are small."""
    return choose("m_step", value, {"auto": Newton, **EXPERT_M_STEPS}, MStep)  # type: ignore[no-any-return]


def choose_network_m_step(value: Any, has_rows: bool) -> NetworkMStep:
    """Of networks: steps that never lower Q, but of a fixed rate where they are asked for or there are no rows."""
    if isinstance(value, GradientStep):
        return value
    return GradientStep() if value == "gradient" or not has_rows else Ascent()


def choose_e_step(value: Any, widths: Sequence[int], seed: int) -> EStep:
    """`auto`: exact while 2^m is cheap, else importance sampling. An object is copied, so each start has its own."""
    if isinstance(value, str) and value == "auto":
        value = "exact" if exact_is_cheap(widths) else "importance"
    return copy.deepcopy(choose("e_step", value, {"auto": None, **E_STEPS}, EStep, seed))  # type: ignore[no-any-return]


def exact_is_cheap(widths: Sequence[int]) -> bool:
    return max(widths) <= _CHEAP_UNITS and all(a + b <= _CHEAP_PAIR for a, b in pairwise(widths))


def is_deterministic(e_step: EStep) -> bool:
    """Whether the same parameters always give the same evidence, so that a line search makes sense."""
    return isinstance(e_step, (Exact, MeanField))


def choose_algorithm(value: Any, e_step: EStep, passes: int, whole: bool) -> Algorithm:
    """`auto`: L-BFGS where the evidence is no estimate and comes from the whole data, else Adam."""
    if isinstance(value, str) and value == "auto":
        value = "lbfgs" if whole and is_deterministic(e_step) else "adam"
    return choose("algorithm", value, {"auto": None, **ALGORITHMS}, Algorithm, e_step, passes)


def choose_covariance(kind: str, start: torch.Tensor, n_factors: int) -> Covariance:
    """The structure of that name, near (k, d, d) covariances."""
    return FactorAnalytic(start, n_factors) if kind == "factor" else COVARIANCES[kind](start)


def choose_mixture_algorithm(value: Any, tol: float) -> Algorithm:
    """Plain or accelerated EM, or with means against bad optima; `tol` is the estimator's."""
    algorithms: Mapping[str, Callable[[], Algorithm]] = {
        "em": lambda: EM(Exact()),
        "squarem": lambda: Squarem(EM(Exact())),
        "annealing": lambda: Annealing(EM(Exact()), Exact(), tol),
        "split_merge": lambda: SplitMerge(EM(Exact()), Exact(), tol),
        "online": lambda: Online(Exact()),
        "incremental": lambda: Incremental(Exact()),
    }
    return choose("algorithm", value, algorithms, Algorithm)  # type: ignore[no-any-return]


def choose_monotone_algorithm(value: Any) -> Algorithm:
    """Plain or accelerated EM, or its gradient, of a model whose posterior is exact."""
    return choose("algorithm", value, {name: ALGORITHMS[name] for name in _MONOTONE}, Algorithm, Exact(), 0)  # type: ignore[no-any-return]


def choose_device(value: str | torch.device) -> torch.device:
    """`auto`: a GPU when there is one."""
    if value == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(value)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError, TypeError, NotImplementedError) as error:
        raise InvalidInputError(
            f"device must be 'auto' or a device of this machine's PyTorch; got {value!r}."
        ) from error
    return device


def device_at_hand(device: Any) -> Any:
    """A model from a machine with a GPU goes where this one can hold it."""
    try:
        choose_device(device)
    except InvalidInputError:
        warn(f"The model was fitted on {device!r}, which this machine lacks; it uses 'auto'.", UserWarning)
        return "auto"
    return device


@contextmanager
def few_threads(elements: int) -> Iterator[None]:
    """One thread for small work: two that wait for each other on a busy machine take a hundred times as long."""
    before = torch.get_num_threads()
    if elements < _FEW_ELEMENTS:
        torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def to_json(value: Any) -> Any:
    """A parameter as a model file holds it; objects of the tables above by their name."""
    if type(value).__name__ in _SAVED:
        return {"option": type(value).__name__, **{k: to_json(v) for k, v in vars(value).items()}}
    if isinstance(value, dict):
        return {"pairs": [[to_json(k), to_json(v)] for k, v in value.items()]}
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, torch.device):
        return str(value)
    if isinstance(value, (np.ndarray, torch.Tensor)):
        return to_json(value.tolist())
    if isinstance(value, float) and math.isnan(value):
        return None
    if isinstance(value, (set, frozenset)):
        return sorted(value)
    return [to_json(part) for part in value] if isinstance(value, (tuple, list)) else value


def from_json(value: Any) -> Any:
    if isinstance(value, dict) and "pairs" in value:
        return {from_json(k): from_json(v) for k, v in value["pairs"]}
    if isinstance(value, dict) and value.get("option") in _SAVED:
        return _SAVED[value["option"]](**{k: from_json(v) for k, v in value.items() if k != "option"})
    return tuple(from_json(part) for part in value) if isinstance(value, list) else value
