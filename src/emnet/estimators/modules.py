"""A user's torch module as a part of an estimator: a copy of its own for every start, and its shape checked."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import nn

from emnet.exceptions import InvalidInputError


def fresh_module(name: str, module: Any, dtype: torch.dtype, seed: int) -> nn.Module:
    """A copy with parameters drawn anew by its layers' own `reset_parameters`, from `seed` alone."""
    if not isinstance(module, nn.Module):
        raise InvalidInputError(f"{name} must be a torch.nn.Module; got {module!r}.")
    fresh = copy.deepcopy(module)
    with torch.random.fork_rng(devices=[]):
        torch.random.default_generator.manual_seed(seed)
        for part in fresh.modules():
            reset = getattr(part, "reset_parameters", None)
            if callable(reset):
                reset()
    return fresh.to(dtype).eval()


def require_shape(name: str, module: nn.Module, n_inputs: int, n_outputs: int, dtype: torch.dtype) -> None:
    """Raise InvalidInputError unless the module takes (n, n_inputs) and gives (n, n_outputs)."""
    try:
        with torch.no_grad():
            shape = tuple(module(torch.zeros(2, n_inputs, dtype=dtype)).shape)
    except (RuntimeError, ValueError, TypeError) as error:
        raise InvalidInputError(f"{name} does not take {n_inputs} inputs a row: {error}.") from error
    if shape != (2, n_outputs):
        raise InvalidInputError(f"{name} must give {n_outputs} numbers a row, one a unit; of 2 rows it gave {shape}.")
