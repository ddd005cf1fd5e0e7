"""Exact sums over the 2^m configurations of m Bernoulli units, as matrix products.

Row j switches unit h on with probability u_hj = σ(a_hj), and configuration z gives class i the
probability o_i(z). That table does not depend on the row, and the probability of a configuration
is a product over two halves of the units, so with P_L and P_H the 2^(m/2) × n probabilities of each
half's configurations and T_i the table of class i as a 2^(m/2) × 2^(m/2) matrix,

    evidence_j = Σ_l (T_iᵀ P_H ∘ P_L)_lj        p(y = i | x_j)
    posterior  = the same terms over the evidence, summed over either half
    counts_i   = T_i ∘ (P_H (P_L / evidence)ᵀ)   expected rows of class i in each configuration

Three products of n·2^m multiply–adds; nothing of size n × 2^m is ever held, and no exponential or
logarithm is taken of more than (n·m + g·2^m) numbers. Rows whose products underflow are done again
in log space.

Configurations are numbered Σ_h z_h 2^h; the lower half of the units runs fastest.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from emnet.kernels.memory import require_bytes

UNOBSERVED = -1
_CHUNK_ELEMENTS = 2**20  # of one half's products: a few of them stay in the second-level cache
_REPAIR_ELEMENTS = 2**22
_REMEDY = (
    "Use fewer hidden units, float32 instead of float64, fewer classes, or a sampled or variational "
    "E-step, whose memory does not grow with 2^m."
)


class Expectations(NamedTuple):
    """What the E-step over bits gives: see `expectations`."""

    log_evidence: Tensor  # (n,) float64
    mean: Tensor  # (n, m): E[z | x, y]
    counts: Tensor  # (g, 2^m) float64: Σ_j weight_j p(z | x_j, y_j) [y_j = i]


def configurations(m: int, *, dtype: torch.dtype = torch.float64, device: torch.device | str = "cpu") -> Tensor:
    """All configurations of m bits, (2^m, m); row Σ_h z_h 2^h holds z."""
    index = torch.arange(2**m, device=device)
    return (index[:, None] >> torch.arange(m, device=device) & 1).to(dtype)


def required_bytes(n: int, m: int, g: int, dtype: torch.dtype) -> int:
    """Peak bytes of `expectations` over what its arguments hold: tables, counts and one chunk of rows."""
    size = dtype.itemsize
    tables = g * 2**m * (2 * size + 8) + 2**m * (size + 8)
    chunk = 8 * 2 ** (m - m // 2) * min(n, _chunk_rows(m)) * size
    return tables + chunk + n * m * 4 * size


def require_memory(n: int, m: int, g: int, dtype: torch.dtype, device: torch.device | str) -> None:
    """Raise InsufficientMemoryError, with the bytes and the alternatives, where 2^m does not fit."""
    require_bytes(
        required_bytes(n, m, g, dtype),
        device,
        purpose=f"The exact E-step over 2^{m} configurations of the hidden units, {g} classes, {dtype},",
        remedy=_REMEDY,
    )


def log_output_table(weights: Tensor) -> Tensor:
    """log o_i(z) of a softmax over (1, z) for every configuration: (g, m+1) weights, bias first → (g, 2^m)."""
    logits = weights[:, :1]
    for h in range(1, weights.shape[1]):
        logits = torch.cat((logits, logits + weights[:, h : h + 1]), dim=1)
    return logits.log_softmax(0)


def expectations(logits: Tensor, labels: Tensor, log_table: Tensor, weights: Tensor | None = None) -> Expectations:
    """Posterior over the bits of every row, given its class.

    Parameters
    ----------
    logits : (n, m), a_hj of each row's units.
    labels : (n,) integers in 0 … g−1, or `UNOBSERVED`, for which the posterior is the prior and the evidence 1.
    log_table : (g, 2^m), log o_i(z).
    weights : (n,) multipliers of the rows in `counts`; 1 if not given.
    """
    n, m = logits.shape
    g = log_table.shape[0]
    lower = m - m // 2
    table = log_table.exp().view(g, 2 ** (m - lower), 2**lower)
    units_on = logits.T.sigmoid()
    units_off = (-logits.T).sigmoid()
    bits = [configurations(k, dtype=logits.dtype, device=logits.device).T for k in (lower, m - lower)]

    log_evidence = logits.new_zeros(n, dtype=torch.float64)
    mean = units_on.clone()
    counts = torch.zeros_like(table, dtype=torch.float64)
    smallest = _smallest_trusted(logits.dtype, m)
    suspects = []
    for rows, classes in _chunks_by_class(labels, g, _chunk_rows(m)):
        on, off = units_on[:, rows], units_off[:, rows]
        p_low, p_high = _products(on[:lower], off[:lower]), _products(on[lower:], off[lower:])
        joint_low = torch.empty_like(p_low)
        for i, part in classes:
            joint_low[:, part] = table[i].T @ p_high[:, part]
        joint_low.mul_(p_low)
        evidence = joint_low.sum(0)
        trusted = evidence > smallest
        inverse = torch.where(trusted, evidence, 1.0).reciprocal().mul_(trusted)
        log_evidence[rows] = evidence.double().log()
        mean[:lower, rows] = (bits[0] @ joint_low).mul_(inverse)
        p_low.mul_(inverse)
        joint_high = torch.empty_like(p_high)
        for i, part in classes:
            joint_high[:, part] = table[i] @ p_low[:, part]
        mean[lower:, rows] = bits[1] @ joint_high.mul_(p_high)
        if weights is not None:
            p_low.mul_(weights[rows])
        for i, part in classes:
            counts[i] += p_high[:, part] @ p_low[:, part].T
        if not bool(trusted.all()):
            suspects.append(rows[~trusted])
    counts.mul_(table)

    counts, mean = counts.view(g, -1), mean.T
    for rows in _chunks(suspects, _REPAIR_ELEMENTS // 2**m):
        _expectations_in_logs(rows, logits, labels, log_table, weights, log_evidence, mean, counts)
    return Expectations(log_evidence, mean, counts)


def log_predictive(logits: Tensor, log_table: Tensor) -> Tensor:
    """log p(y = i | x) = log Σ_z p(z | x) o_i(z), the marginal over all configurations: (n, g), float64."""
    n, m = logits.shape
    g = log_table.shape[0]
    lower = m - m // 2
    table = log_table.exp().view(g, 2 ** (m - lower), 2**lower)
    evidence = logits.new_empty(g, n)
    for rows in torch.arange(n, device=logits.device).split(_chunk_rows(m)):
        on, off = logits[rows].T.sigmoid(), (-logits[rows].T).sigmoid()
        p_low, p_high = _products(on[:lower], off[:lower]), _products(on[lower:], off[lower:])
        for i in range(g):
            evidence[i, rows] = (table[i].T @ p_high).mul_(p_low).sum(0)
    result = evidence.T.double().log()
    underflown = (evidence <= _smallest_trusted(logits.dtype, m)).any(0).nonzero()[:, 0]
    for rows in _chunks([underflown], _REPAIR_ELEMENTS // (g * 2**m)):
        joint = _log_configurations(logits[rows])[None] + log_table.double()[:, :, None]
        result[rows] = joint.logsumexp(1).T
    return result.log_softmax(1)


def _products(on: Tensor, off: Tensor) -> Tensor:
    """Probability of each configuration of k independent units, by doubling: (k, n) twice → (2^k, n)."""
    k, n = on.shape
    result = on.new_empty(2**k, n)
    result[:1] = 1.0
    for h in range(k):
        torch.mul(result[: 2**h], on[h], out=result[2**h : 2 ** (h + 1)])
        result[: 2**h] *= off[h]
    return result


def _log_configurations(logits: Tensor) -> Tensor:
    """log p(z | x) of every configuration and row, in float64: (n, m) → (2^m, n)."""
    on, off = logsigmoid(logits.T.double()), logsigmoid(-logits.T.double())
    result = on.new_zeros(1, logits.shape[0])
    for h in range(logits.shape[1]):
        result = torch.cat((result + off[h], result + on[h]))
    return result


def _expectations_in_logs(rows, logits, labels, log_table, weights, log_evidence, mean, counts) -> None:
    """Do `rows` again where no product can underflow, and write them into the three results."""
    joint = _log_configurations(logits[rows]) + log_table.T.double()[:, labels[rows]]
    log_evidence[rows] = joint.logsumexp(0)
    posterior = (joint - log_evidence[rows]).exp_()
    bits = configurations(logits.shape[1], dtype=torch.float64, device=logits.device)
    mean[rows] = (posterior.T @ bits).to(mean.dtype)
    if weights is not None:
        posterior *= weights[rows]
    counts.index_add_(0, labels[rows], posterior.T)


def _chunks_by_class(labels: Tensor, g: int, chunk: int) -> Iterator[tuple[Tensor, list[tuple[int, slice]]]]:
    """Indices of at most `chunk` rows, sorted by class, and each class's slice of them; rows of no class left out."""
    order = labels.argsort(stable=True)
    ends = torch.bincount(labels + 1, minlength=g + 1).cumsum(0).tolist()
    for start in range(ends[0], len(labels), chunk):
        stop = min(start + chunk, len(labels))
        bounds = [(i, max(ends[i], start), min(ends[i + 1], stop)) for i in range(g)]
        yield order[start:stop], [(i, slice(low - start, high - start)) for i, low, high in bounds if low < high]


def _chunks(indices: list[Tensor], size: int) -> Iterator[Tensor]:
    """Pieces of at most max(1, size) indices; none where there is no index."""
    for part in indices:
        yield from part.split(max(1, size)) if len(part) else ()


def _chunk_rows(m: int) -> int:
    return max(256, _CHUNK_ELEMENTS // 2 ** (m - m // 2))


def _smallest_trusted(dtype: torch.dtype, m: int) -> float:
    """An evidence above this has lost less than one rounding error to terms that underflowed."""
    info = torch.finfo(dtype)
    return 2**m * info.tiny / info.eps
