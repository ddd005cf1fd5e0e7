"""What a model sees of the data: one immutable bundle of tensors with the rows first."""

from __future__ import annotations

from collections.abc import Callable, Collection, Hashable, Iterator
from dataclasses import dataclass, field, fields, replace
from typing import Any, TypeVar

import torch
from torch import Tensor

from emnet.exceptions import InvalidInputError

Derived = TypeVar("Derived")
_BY_SEQUENCE = ("weights", "lengths")


@dataclass(frozen=True, eq=False)
class Batch:
    """Rows of data, or sequences of rows end to end; what is None is absent (weights: 1; observed: everything).

    Its units are what is independent of one another: the rows, or the sequences where there are `lengths`.

    Attributes
    ----------
    target : (n,) or (n, d), what the model explains. For a classifier (n,) class indices. NaN is not observed.
    given : (n, p), what it is explained from, or None. Factors with a bias expect a leading constant 1.
    observed : like `target`, boolean: which entries were seen.
    weights : how many units each unit stands for: (n,), or (number of sequences,).
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
        return float(self.n_units) if self.weights is None else float(self.weights.sum())

    @property
    def n_units(self) -> int:
        return len(self) if self.lengths is None else len(self.lengths)

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
            raise ValueError("Rows of sequences cannot be taken apart: take whole sequences, by `units`.")
        return replace(self, **{name: value[index] for name, value in self._tensors() if name != "lengths"})  # type: ignore[arg-type]

    def units(self, index: slice | Tensor) -> Batch:
        """The batch of some rows, or of some sequences; an index may name one more than once."""
        if self.lengths is None:
            return self.rows(index)
        rows = self._rows_of(index).to(self.target.device)
        own = {name: value[index if name in _BY_SEQUENCE else rows] for name, value in self._tensors()}
        return replace(self, **own)  # type: ignore[arg-type]

    def split(self, units: int) -> Iterator[Batch]:
        """The batch in pieces of at most so many units."""
        for start in range(0, self.n_units, units):
            yield self.units(slice(start, start + units))

    def _rows_of(self, index: slice | Tensor) -> Tensor:
        """The rows of some sequences."""
        assert self.lengths is not None
        lengths = self.lengths.cpu()
        first = (lengths.cumsum(0) - lengths)[index if isinstance(index, slice) else index.cpu()]
        own = lengths[index if isinstance(index, slice) else index.cpu()]
        within = torch.arange(int(own.sum())) - (own.cumsum(0) - own).repeat_interleave(own)
        return first.repeat_interleave(own) + within

    def _tensors(self) -> Iterator[tuple[str, Tensor]]:
        for name in (each.name for each in fields(self)):
            value = getattr(self, name)
            if isinstance(value, Tensor):
                yield name, value


def distinct_inputs(batch: Batch) -> tuple[Tensor, Tensor] | None:
    """Every different row of `given` once, and which of them each row has, (n,); None where few rows are alike."""
    rows, which = torch.unique(batch.inputs, dim=0, return_inverse=True)
    return (rows, which) if 2 * len(rows) <= len(batch) else None


Data = Collection[Batch]
"""Training data: one or more batches, gone through in order by every pass."""


class MiniBatches(Collection[Batch]):
    """A batch in pieces of at most `size` units, drawn anew in every pass."""

    kept = ("_generator",)  # see emnet.algorithms.snapshot

    def __init__(self, batch: Batch, size: int, seed: int):
        self.batch, self.size = batch, size
        self._generator = torch.Generator().manual_seed(seed)

    def __iter__(self) -> Iterator[Batch]:
        order = torch.randperm(self.batch.n_units, generator=self._generator).to(self.batch.target.device)
        for index in order.split(self.size):
            yield self.batch.units(index)

    def __len__(self) -> int:
        return -(-self.batch.n_units // self.size)

    def __contains__(self, batch: object) -> bool:
        return False  # its batches are made as they are asked for


def total_weight(data: Data) -> float:
    """How many units the data stand for."""
    return data.batch.total_weight if isinstance(data, MiniBatches) else sum(batch.total_weight for batch in data)


def with_constant(inputs: Tensor) -> Tensor:
    """Inputs with the leading constant 1 that carries the bias: (…, n, p) → (…, n, 1 + p)."""
    return torch.cat((torch.ones_like(inputs[..., :1]), inputs), dim=-1)
