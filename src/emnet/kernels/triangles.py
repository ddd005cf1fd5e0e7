"""Symmetric and triangular matrices as vectors of the entries of one triangle, (…, d (d + 1)/2)."""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import torch
from torch import Tensor


class Triangle(NamedTuple):
    """Where the packed entries (i, j), i ≤ j, row by row, stand in a d × d matrix: see `triangle`."""

    rows: Tensor  # i, (d (d + 1)/2,)
    columns: Tensor  # j
    on_diagonal: Tensor  # whether i = j
    lower: Tensor  # the place of (j, i) in the flattened matrix
    symmetric: Tensor  # (d²,), the packed entry that stands at each place of a symmetric matrix


@lru_cache
def triangle(d: int, device: torch.device) -> Triangle:
    """The layout of packed d × d matrices; not to be written into."""
    with torch.inference_mode(False):
        rows, columns = torch.triu_indices(d, d, device=device)
        entries = torch.arange(len(rows), device=device)
        symmetric = torch.empty(d, d, dtype=torch.int64, device=device)
        symmetric[rows, columns] = symmetric[columns, rows] = entries
        return Triangle(rows, columns, rows == columns, columns * d + rows, symmetric.flatten())


def pack(matrices: Tensor) -> Tensor:
    """The lower triangles of (k, d, d): (k, d (d + 1)/2)."""
    return matrices.flatten(1).index_select(1, triangle(matrices.shape[1], matrices.device).lower)
