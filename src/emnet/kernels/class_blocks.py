"""Rows in blocks of one class each: a table per class then serves all rows by batched products."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

UNOBSERVED = -1


class ClassBlocks(NamedTuple):
    """Rows in blocks of one class each, for batched products: see `group_by_class`."""

    classes: Tensor  # (b,): class of each block
    rows: Tensor  # (b, c): the rows of each block; what a class does not fill is any row
    absent: Tensor  # (b, c): True where the block is not filled
    filled: Tensor  # (k,): the other positions, in the flattened blocks
    owners: Tensor  # (k,): the rows at those positions


def group_by_class(labels: Tensor, g: int, chunk: int) -> list[ClassBlocks]:
    """Sort rows into blocks of one class, and blocks into lists of at most about `chunk` rows.

    `labels` (n,) are integers in 0 … g−1, or `UNOBSERVED`: such rows are in no block. The width of the blocks keeps
    what is not filled below 1.5 times the rows, however uneven the classes are.
    """
    order = labels.argsort(stable=True)
    sizes = torch.bincount(labels + 1, minlength=g + 1)
    starts, sizes = sizes.cumsum(0)[:-1], sizes[1:]
    width = max(1, min(chunk, int(sizes.max()), 1 + 3 * len(labels) // (2 * g)))
    blocks = -(-sizes // width)
    classes = torch.arange(g, device=labels.device).repeat_interleave(blocks)
    first = width * (torch.arange(len(classes), device=labels.device) - (blocks.cumsum(0) - blocks)[classes])
    within = first[:, None] + torch.arange(width, device=labels.device)
    absent = within >= sizes[classes][:, None]
    rows = order[(starts[classes][:, None] + within).clamp_max(len(labels) - 1)]
    result = []
    for part in torch.arange(len(classes), device=labels.device).split(max(1, chunk // width)):
        filled = (~absent[part]).flatten().nonzero()[:, 0]
        result.append(ClassBlocks(classes[part], rows[part], absent[part], filled, rows[part].flatten()[filled]))
    return result
