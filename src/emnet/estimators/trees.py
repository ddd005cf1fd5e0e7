"""Arrays in dicts, and dicts in those: as one vector, and back."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor


def flattened(tree: Mapping[Any, Any]) -> Tensor:
    """All arrays end to end, (q,), float64."""
    parts = [torch.as_tensor(np.asarray(array, dtype=np.float64)).flatten() for array in _arrays(tree)]
    return torch.cat([torch.zeros(0, dtype=torch.float64), *parts])


def shaped_as(tree: Mapping[Any, Any], flat: Tensor) -> dict[Any, Any]:
    """The dicts of `tree` with arrays of such a vector, (q,)."""
    sizes = [int(np.size(array)) for array in _arrays(tree)]
    return _with(tree, iter(flat.split(sizes)))


def _arrays(tree: Mapping[Any, Any]) -> Iterator[Any]:
    for value in tree.values():
        if isinstance(value, Mapping):
            yield from _arrays(value)
        else:
            yield value


def _with(tree: Mapping[Any, Any], parts: Iterator[Tensor]) -> dict[Any, Any]:
    return {
        key: _with(value, parts) if isinstance(value, Mapping) else next(parts).numpy().reshape(np.shape(value))
        for key, value in tree.items()
    }
