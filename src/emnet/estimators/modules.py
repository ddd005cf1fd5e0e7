"""A user's torch module as a part of an estimator: a copy of its own for every start, and its shape checked."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor, nn

from emnet.exceptions import EmnetWarning, InvalidInputError
from emnet.warning import warn

_DROPOUT = (nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d, nn.AlphaDropout, nn.FeatureAlphaDropout)


def fresh_module(name: str, module: Any, dtype: torch.dtype, seed: int) -> nn.Module:
    """A copy with parameters drawn anew by its layers' own `reset_parameters`, from `seed` alone.

    Parameters that require no gradient stay as they are. Layers that act otherwise in training are said aloud.
    """
    if not isinstance(module, nn.Module):
        raise InvalidInputError(f"{name} must be a torch.nn.Module; got {module!r}.")
    _warn_of_modes(name, module)
    fresh = copy.deepcopy(module)
    with torch.random.fork_rng(devices=[]):
        torch.random.default_generator.manual_seed(seed)
        for part in fresh.modules():
            reset = getattr(part, "reset_parameters", None)
            if callable(reset):
                reset()
    for own, given in zip(fresh.parameters(), module.parameters(), strict=True):
        if not given.requires_grad:
            own.data.copy_(given)
    return fresh.to(dtype).eval()


def require_shape(name: str, module: nn.Module, n_inputs: int, n_outputs: int, dtype: torch.dtype) -> None:
    """Raise InvalidInputError unless the module takes (n, n_inputs) and gives (n, n_outputs)."""
    try:
        with torch.no_grad():
            found = module(torch.zeros(2, n_inputs, dtype=dtype))
    except (RuntimeError, ValueError, TypeError) as error:
        raise InvalidInputError(f"{name} does not take {n_inputs} inputs a row: {error}.") from error
    if not isinstance(found, Tensor):
        raise InvalidInputError(
            f"{name} must give a tensor, {n_outputs} numbers a row; it gave a {type(found).__name__}."
        )
    shape = tuple(found.shape)
    if shape != (2, n_outputs):
        raise InvalidInputError(f"{name} must give {n_outputs} numbers a row, one a unit; of 2 rows it gave {shape}.")


def _warn_of_modes(name: str, module: nn.Module) -> None:
    """Say which layers stay as in evaluation: EM asks for the same function of a row whenever it asks."""
    kinds = {
        type(part).__name__
        for part in module.modules()
        if getattr(part, "track_running_stats", False) or (isinstance(part, _DROPOUT) and part.p)
    }
    if kinds:
        warn(
            f"{name} has layers that act as in evaluation while it learns ({', '.join(sorted(kinds))}): dropout "
            "leaves nothing out, and running means and variances do not move. Take a precision, or LayerNorm.",
            EmnetWarning,
        )
