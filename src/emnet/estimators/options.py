"""The strings of the estimators' parameters and the objects they stand for: mapped here and nowhere else."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Any

import torch

from emnet.algorithms.base import Algorithm
from emnet.algorithms.em import EM
from emnet.algorithms.gradient import LBFGS
from emnet.algorithms.squarem import Squarem
from emnet.exceptions import InvalidInputError
from emnet.factors.regression import FixedBound, GradientStep, MStep, Newton
from emnet.inference.exact import Exact

M_STEPS: Mapping[str, Callable[[], MStep]] = {"newton": Newton, "mm": FixedBound, "gradient": GradientStep}
ALGORITHMS: Mapping[str, Callable[[], Algorithm]] = {
    "em": lambda: EM(Exact()),
    "squarem": lambda: Squarem(EM(Exact())),
    "lbfgs": lambda: LBFGS(EM(Exact())),
}
DTYPES = {"float64": torch.float64, "float32": torch.float32}
_SAVED = {cls.__name__: cls for cls in (Newton, FixedBound, GradientStep)}
_NEWTON_PARAMETERS = 2000  # beyond it the output's Hessian, of that many rows and columns, costs more than it saves


def choose(name: str, value: Any, table: Mapping[str, Callable[[], Any]], kind: type | tuple[type, ...]) -> Any:
    """The object for a string of `table`, or `value` itself if it already is one."""
    if isinstance(value, str) and value in table:
        return table[value]()
    if isinstance(value, kind):
        return value
    raise InvalidInputError(f"{name} must be one of {', '.join(map(repr, table))} or an object; got {value!r}.")


def choose_m_step(value: Any, n_classes: int, n_units: int) -> MStep:
    """`auto`: Newton, but the fixed bound where the output's Hessian is large."""
    if value == "auto":
        value = "newton" if n_classes * (n_units + 1) <= _NEWTON_PARAMETERS else "mm"
    return choose("m_step", value, {"auto": Newton, **M_STEPS}, MStep)


def choose_device(value: str | torch.device) -> torch.device:
    """`auto`: a GPU when there is one."""
    if value == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    return torch.device(value)


def to_json(value: Any) -> Any:
    """A parameter as a model file holds it; objects of the tables above by their name."""
    if type(value).__name__ in _SAVED:
        return {"option": type(value).__name__, **asdict(value)}
    return list(value) if isinstance(value, tuple) else value


def from_json(value: Any) -> Any:
    if isinstance(value, dict) and value.get("option") in _SAVED:
        return _SAVED[value["option"]](**{k: v for k, v in value.items() if k != "option"})
    return tuple(value) if isinstance(value, list) else value
