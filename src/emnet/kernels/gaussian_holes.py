"""Which rows have how many holes, for the passes of `gaussian_holes_numba`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from emnet.kernels.compilation import compiled

LANES = 64  # rows of a tile


@dataclass(frozen=True, eq=False)
class Holes:
    """Rows that are observed in part, those of fewest holes first, in tiles of as many holes in every row.

    observed : (n, d), of all rows.
    rows : (h,), the rows with holes.
    starts : (t + 1,), where in `rows` each tile begins, and the end.
    counts : (t,), the holes of a row of each tile.
    """

    observed: Tensor
    rows: Tensor
    starts: Tensor
    counts: Tensor


def group_by_number(observed: Tensor) -> Holes:
    """Rows that are observed in part, (n, d) of booleans; rows with all or nothing are left out."""
    holes = (~observed).sum(1)
    index = torch.nonzero((holes > 0) & (holes < observed.shape[1])).flatten()
    order = torch.argsort(holes[index], stable=True)
    rows, counts = index[order], holes[index][order]
    same = torch.bincount(counts)
    first = same.cumsum(0) - same  # where the rows with as many holes begin
    starts = torch.nonzero((torch.arange(len(rows)) - first[counts]) % LANES == 0).flatten()
    end = torch.tensor([len(rows)])
    return Holes(observed.contiguous(), rows, torch.cat((starts, end)), counts[starts])


def compiled_passes() -> Any:
    """`gaussian_holes_numba`, None without Numba."""
    return compiled("emnet.kernels.gaussian_holes_numba", "the kernel of Gaussians with holes")
