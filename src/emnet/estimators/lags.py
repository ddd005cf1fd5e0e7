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


def linear_means_ahead(weights: Tensor, now: Tensor, steps: Tensor, before: Tensor, states: Tensor) -> Tensor:
    """E[row] of linear emissions that go on after rows `before`, (b, d): (h, d), exact over all paths.

    What is carried along is E[the last rows, where the state is k], (k, lags·d), which is linear in itself.

    Parameters
    ----------
    weights : (k, d, 1 + lags·d + lags), as of `past_of` with a bias first.
    now : p(state of the last row), (k,).
    steps : p(state | state before), (k, k).
    states : p(state) of the rows to come, (h, k).
    """
    d = weights.shape[1]
    lags = (weights.shape[2] - 1) // (d + 1)
    window = torch.cat((before, before.new_zeros(1, d)))
    past = past_of(window, torch.tensor([len(window)]), lags)[-1].double()
    bias, slopes, flags = weights.split([1, lags * d, lags], dim=2)
    rows, absent, means = now[:, None] * past[: lags * d], past[lags * d :], []
    for shares in states:
        rows = steps.T @ rows
        constant = bias[:, :, 0] + flags @ absent
        expected = shares[:, None] * constant + (slopes @ rows[:, :, None])[:, :, 0]
        means.append(expected.sum(0))
        rows = torch.cat((expected, rows[:, : (lags - 1) * d]), dim=1)
        absent = torch.cat((absent.new_zeros(1), absent[:-1]))
    return torch.stack(means)
