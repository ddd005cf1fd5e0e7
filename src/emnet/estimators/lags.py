"""The rows before each row of a sequence, as what it is explained from."""

from __future__ import annotations

import torch
from torch import Tensor


def past_of(rows: Tensor, lengths: Tensor, lags: int) -> Tensor:
    """(n, d) → (n, lags·d + lags): the rows 1, 2, … steps before, then for each lag whether it is not there.

    What lies before a sequence begins, and what is NaN, is 0, the mean of standardized rows; a lag that has such a cell
    counts as not there, so what is learned of whole pasts is not mixed with what is learned of broken ones.
    """
    lengths = lengths.to(rows.device)
    within = torch.arange(len(rows), device=rows.device) - (lengths.cumsum(0) - lengths).repeat_interleave(lengths)
    values, absent = [], []
    for lag in range(1, lags + 1):
        before = rows.roll(lag, dims=0)
        gone = (within < lag) | before.isnan().any(1)
        values.append(torch.where((within < lag)[:, None], 0.0, before).nan_to_num(0.0))
        absent.append(gone[:, None].to(rows.dtype))
    return torch.cat((*values, *absent), dim=1)
