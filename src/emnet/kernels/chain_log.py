"""The passes of `chain` in logarithms: nothing underflows, at K² exponentials a step. For the few that need it.

The sequences that are asked for are done side by side, padded to the longest.
"""

from __future__ import annotations

from typing import NoReturn

import torch
from torch import Tensor

from emnet.exceptions import ImpossibleRowError


def forward(
    log_likelihood: Tensor,
    log_start: Tensor,
    log_transition: Tensor,
    offsets: Tensor,
    which: Tensor,
    evidence: Tensor,
    filtered: Tensor | None,
) -> None:
    """Write the evidence, (s,), and the filtered probabilities, (n, k), of the sequences `which`, (s,) of booleans."""
    sequences, rows, there = padded(offsets, which, log_likelihood.device)
    alpha, scales = _forward(log_likelihood, log_start, log_transition, sequences, rows, there)
    evidence[sequences] = scales.sum(0)
    if filtered is not None:
        filtered[rows[there]] = alpha[there].exp()


def smooth(
    log_likelihood: Tensor,
    log_start: Tensor,
    log_transition: Tensor,
    offsets: Tensor,
    weights: Tensor,
    which: Tensor,
    evidence: Tensor,
    gamma: Tensor,
    xi: Tensor,
) -> None:
    """Write evidence and responsibilities of the sequences `which`, and add their weighted transitions to `xi`."""
    x = log_likelihood
    sequences, rows, there = padded(offsets, which, x.device)
    alpha, scales = _forward(x, log_start, log_transition, sequences, rows, there)
    evidence[sequences] = scales.sum(0)
    beta = torch.zeros_like(alpha[0])
    for t in range(len(rows) - 1, -1, -1):
        now = there[t]
        gamma[rows[t, now]] = (alpha[t] + beta).softmax(1)[now]
        if t == 0:
            break
        step, into = _step(log_transition, rows[t]), (x[rows[t]] + beta - scales[t, :, None])[:, None]
        joint = (alpha[t - 1][:, :, None] + step + into).exp()
        joint = joint[now] * weights[sequences][now, None, None]
        if xi.dim() == 3:
            xi[rows[t, now]] = joint
        else:
            xi += joint.sum(0)
        beta = torch.where(now[:, None], (step + into).logsumexp(2), beta)


def padded(offsets: Tensor, which: Tensor, device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
    """The sequences by number, (q,), their rows, (t, q), and which of those there are."""
    sequences = torch.nonzero(which).flatten()
    first, lengths = offsets[sequences], offsets[sequences + 1] - offsets[sequences]
    time = torch.arange(int(lengths.max()))[:, None]
    there = time < lengths
    rows = (first + time).where(there, first)
    return sequences.to(device), rows.to(device), there.to(device)


def _forward(
    x: Tensor, log_start: Tensor, log_transition: Tensor, sequences: Tensor, rows: Tensor, there: Tensor
) -> tuple[Tensor, Tensor]:
    """log p(state | rows so far), (t, q, k), and log p(row | rows before), (t, q), 0 where a sequence has ended.

    Scaled step by step: of a long sequence log p(state, rows so far) itself is so large that it would lose digits.
    """
    start = log_start if log_start.dim() == 1 else log_start[sequences]
    alpha, scales = x.new_empty(*rows.shape, x.shape[1]), x.new_zeros(rows.shape)
    for t in range(len(rows)):
        before = start if t == 0 else (alpha[t - 1][:, :, None] + _step(log_transition, rows[t])).logsumexp(1)
        reached = before + x[rows[t]]
        scale = reached.logsumexp(1)
        scales[t] = scale.where(there[t], 0.0)
        alpha[t] = torch.where(there[t, :, None], reached - scale[:, None], alpha[t - 1])
    if not bool((possible := scales.isfinite()).all()):
        number = int(torch.nonzero(~possible.all(0))[0])
        step = int(torch.nonzero(~possible[:, number])[0])
        raise_impossible(int(sequences[number]), step, bool(x[rows[step, number]].isnan().any()))
    return alpha, scales


def _step(log_transition: Tensor, rows: Tensor) -> Tensor:
    return log_transition[rows] if log_transition.dim() == 3 else log_transition


def raise_impossible(sequence: int, step: int, undefined: bool) -> NoReturn:
    """Raise InvalidInputError for a step that no path allows, or whose likelihood is NaN."""
    what = "the log likelihood is NaN" if undefined else "no path through the states allows this observation"
    raise ImpossibleRowError(
        f"Sequence {sequence}, step {step} (both from 0): {what}. Every state that can be reached gives it probability "
        "0. Look at this row, at transitions and starts that are 0, and at known states; a prior keeps probabilities "
        "from becoming 0."
    )
