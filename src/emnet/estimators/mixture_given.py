"""Parameters of a table's mixture that its user gives: to start from, or to be kept."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from emnet.estimators.families import in_units_of_model
from emnet.estimators.gaussian_parameters import require_array, require_weights
from emnet.estimators.mixture_blocks import Block
from emnet.exceptions import InvalidInputError

_Legal = Callable[[np.ndarray], bool]
_LEGAL: Mapping[str, tuple[_Legal, str]] = {
    "covariances": (
        lambda x: np.allclose(x, np.swapaxes(x, 1, 2)) and bool((np.linalg.eigvalsh(x) > 0).all()),
        "symmetric and positive definite",
    ),
    "scales": (lambda x: bool((x > 0).all()), "positive"),
    "degrees_of_freedom": (lambda x: bool((x > 0).all()), "positive"),
    "log_variances": (lambda x: bool((x > 0).all()), "positive"),
    "rates": (lambda x: bool((x >= 0).all()), "at least 0"),
    "probabilities": (lambda x: bool(((x >= 0) & (x <= 1)).all()), "between 0 and 1"),
}


@dataclass(frozen=True)
class Given:
    """weights : of the components, or None.
    parameters : of each block, by name, in the units of the model.
    fixes_weights, fixed : what EM leaves as it is, the latter names of each block.
    """

    weights: np.ndarray | None
    parameters: tuple[Mapping[str, Tensor], ...]
    fixes_weights: bool
    fixed: tuple[frozenset[str], ...]

    @property
    def is_empty(self) -> bool:
        return not any(self.parameters)

    def held(self) -> Given:
        """The same, where all that is given stays."""
        return replace(self, fixes_weights=self.weights is not None, fixed=tuple(map(frozenset, self.parameters)))


def given_of(
    blocks: Sequence[Block],
    weights: Any,
    parameters: Mapping[Any, Mapping[str, Any]] | None,
    fixed: Collection[Any],
    k: int,
    center: np.ndarray,
    scale: np.ndarray,
) -> Given:
    """What `weights_init`, `parameters_init` and `fixed` say of the blocks of centered and scaled columns."""
    arrays = given_arrays(blocks, parameters, k)
    scaled = tuple(
        {name: _scaled(name, value, block, center, scale) for name, value in own.items()}
        for own, block in zip(arrays, blocks, strict=True)
    )
    fixes_weights, names = fixed_names(blocks, fixed)
    return Given(None if weights is None else require_weights(weights, k), scaled, fixes_weights, names)


def given_arrays(blocks: Sequence[Block], parameters: Any, k: int) -> tuple[dict[str, np.ndarray], ...]:
    """`parameters_init` for each block, in the units of the data."""
    if parameters is not None and not isinstance(parameters, Mapping):
        raise InvalidInputError(f"parameters_init must be {{column: {{name: array}}}}; got {parameters!r}.")
    parameters = parameters or {}
    keys = [block.key for block in blocks]
    for key in parameters:
        if key not in keys:
            raise InvalidInputError(f"parameters_init names {key!r}, which is none of {', '.join(map(repr, keys))}.")
    return tuple(_checked(block, parameters.get(block.key, {}), k) for block in blocks)


def fixed_names(blocks: Sequence[Block], fixed: Collection[Any]) -> tuple[bool, tuple[frozenset[str], ...]]:
    """Whether the weights are fixed, and the names of each block's parameters that are."""
    of_entry: dict[Any, tuple[Any, frozenset[str]]] = {
        (block.key, name): (block.key, frozenset((name,))) for block in blocks for name in block.names
    }
    example = next(iter(of_entry))
    of_entry |= {block.key: (block.key, frozenset(block.names)) for block in blocks}
    fixed = [tuple(entry) if isinstance(entry, list) else entry for entry in fixed]
    for entry in fixed:
        if entry != "weights" and entry not in of_entry:
            raise InvalidInputError(
                f"fixed names {entry!r}, which is neither 'weights' nor a column (one of "
                f"{', '.join(repr(block.key) for block in blocks)}) nor a column's parameter, such as {example!r}."
            )
    chosen = [of_entry[entry] for entry in fixed if entry != "weights"]
    names = tuple(frozenset().union(*(own for key, own in chosen if key == block.key)) for block in blocks)
    for block, own in zip(blocks, names, strict=True):
        _require_fixable(block, own)
    return "weights" in fixed, names


def _require_fixable(block: Block, names: frozenset[str]) -> None:
    if names and block.given is not None:
        raise InvalidInputError(
            f"The factor for {block.key!r} says itself what stays: {type(block.given).__name__}(..., fixed=...). Leave "
            f"{block.key!r} out of fixed."
        )


def _checked(block: Block, parameters: Mapping[str, Any], k: int) -> dict[str, np.ndarray]:
    if parameters and block.given is not None:
        raise InvalidInputError(f"{block.key!r} has a factor, which is its start: leave it out of parameters_init.")
    if not isinstance(parameters, Mapping):
        raise InvalidInputError(
            f"parameters_init[{block.key!r}] must be {{name: array}}, of {', '.join(block.names)}; got {parameters!r}."
        )
    for name in parameters:
        if name not in block.names:
            raise InvalidInputError(
                f"parameters_init[{block.key!r}] names {name!r}; a {block.family} has {', '.join(block.names)}."
            )
    return {name: _legal(block, name, value, k) for name, value in parameters.items()}


def _legal(block: Block, name: str, value: Any, k: int) -> np.ndarray:
    where = f"parameters_init[{block.key!r}][{name!r}]"
    array = require_array(where, value, block.shape_of(name, k))
    legal, words = _LEGAL.get(name, (None, ""))
    if legal is not None and not legal(array):
        raise InvalidInputError(f"{where} must be {words}; got {array.tolist()}.")
    if block.n_categories and not np.allclose(array.sum(axis=1), 1):
        raise InvalidInputError(f"{where} must add up to 1 in each row; the sums are {array.sum(axis=1).tolist()}.")
    return array


def _scaled(name: str, value: np.ndarray, block: Block, center: np.ndarray, scale: np.ndarray) -> Tensor:
    own = list(block.columns)
    return torch.as_tensor(in_units_of_model(name, value, center[own], scale[own]))
