"""What a model sees of the data: one immutable bundle of tensors with the rows first."""

from __future__ import annotations

from collections.abc import Callable, Collection, Hashable, Iterator
from dataclasses import dataclass, field, fields, replace
from typing import Any, TypeVar

import torch
from torch import Tensor

from emnet.exceptions import InvalidInputError

Derived = TypeVar("Derived")


@dataclass(frozen=True, eq=False)
class Batch:
    """Rows of data; what is None is absent (weights: 1; observed: everything).

    Attributes
    ----------
    target : (n,) or (n, d), what the model explains. For a classifier (n,) class indices. NaN is not observed.
    given : (n, p), what it is explained from, or None. Factors with a bias expect a leading constant 1.
    observed : like `target`, boolean: which entries were seen.
    weights : (n,), how many rows each row stands for.
    lengths : (number of sequences,), where the rows are sequences end to end.
    labels : (n,), the latent state where it is known, else −1; or (n, k), what multiplies each state's probability.
    """

    target: Tensor
    given: Tensor | None = None
    observed: Tensor | None = None
    weights: Tensor | None = None
    lengths: Tensor | None = None
    labels: Tensor | None = None
    _derived: dict[Hashable, Any] = field(default_factory=dict, init=False, repr=False)

    def __len__(self) -> int:
        return len(self.target)

    @property
    def total_weight(self) -> float:
        return float(len(self)) if self.weights is None else float(self.weights.sum())

    @property
    def inputs(self) -> Tensor:
        """`given`, for models that cannot do without."""
        if self.given is None:
            raise InvalidInputError("This model explains its target from inputs: give the batch `given`, (n, p).")
        return self.given

    def derived(self, function: Callable[..., Derived], *args: Hashable) -> Derived:
        """function(self, *args), worked out once: what every pass needs and no parameter changes."""
        key = (function, *args)
        if key not in self._derived:
            self._derived[key] = function(self, *args)
        return self._derived[key]

    def rows(self, index: slice | Tensor) -> Batch:
        """The batch of some rows (of batches that are not sequences)."""
        if self.lengths is not None:
            raise ValueError("Rows of sequences cannot be taken apart: split the batch by whole sequences.")
        return replace(self, **{name: value[index] for name, value in self._tensors() if name != "lengths"})  # type: ignore[arg-type]

    def split(self, rows: int) -> Iterator[Batch]:
        """The batch in pieces of at most `rows` rows."""
        for start in range(0, len(self), rows):
            yield self.rows(slice(start, start + rows))

    def _tensors(self) -> Iterator[tuple[str, Tensor]]:
        for name in (each.name for each in fields(self)):
            value = getattr(self, name)
            if isinstance(value, Tensor):
                yield name, value


Data = Collection[Batch]
"""Training data: one or more batches, gone through in order by every pass."""


class MiniBatches(Collection[Batch]):
    """A batch in pieces of at most `size` rows, drawn anew in every pass."""

    def __init__(self, batch: Batch, size: int, seed: int):
        self.batch, self.size = batch, size
        self._generator = torch.Generator().manual_seed(seed)

    def __iter__(self) -> Iterator[Batch]:
        order = torch.randperm(len(self.batch), generator=self._generator).to(self.batch.target.device)
        for index in order.split(self.size):
            yield self.batch.rows(index)

    def __len__(self) -> int:
        return -(-len(self.batch) // self.size)

    def __contains__(self, batch: object) -> bool:
        return False  # its batches are made as they are asked for


def total_weight(data: Data) -> float:
    """How many rows the data stand for."""
    return data.batch.total_weight if isinstance(data, MiniBatches) else sum(batch.total_weight for batch in data)


def with_constant(inputs: Tensor) -> Tensor:
    """Inputs with the leading constant 1 that carries the bias: (…, n, p) → (…, n, 1 + p)."""
    return torch.cat((torch.ones_like(inputs[..., :1]), inputs), dim=-1)
