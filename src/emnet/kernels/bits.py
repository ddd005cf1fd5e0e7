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

from collections.abc import Iterator, Sequence
from functools import cache
from math import prod
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from emnet.kernels.memory import require_bytes

UNOBSERVED = -1
_CHUNK_ELEMENTS = 2**20  # of one half's products: a few of them stay in the second-level cache
_REPAIR_ELEMENTS = 2**22
_REMEDY = (
    "Use fewer hidden units, fewer classes, float32 instead of float64, or an E-step whose memory does not grow with "
    "2^m: importance, gibbs or mean_field."
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


def second_moments(counts: Tensor) -> Tensor:
    """Σ_z counts(z) z̃ z̃ᵀ with z̃ = (1, z): (2^m,) → (1 + m, 1 + m), float64."""
    m = len(counts).bit_length() - 1
    result = counts.new_zeros(1 + m, 1 + m, dtype=torch.float64)
    for part in torch.arange(len(counts), device=counts.device).split(_REPAIR_ELEMENTS // (1 + m)):
        states = (part[:, None] >> torch.arange(m, device=counts.device) & 1).double()
        states = torch.cat((torch.ones_like(states[:, :1]), states), dim=1)
        result += (states * counts[part, None]).T @ states
    return result


def required_bytes(n: int, m: int, g: int, dtype: torch.dtype) -> int:
    """Peak bytes of `expectations` over what its arguments hold: tables, counts and one chunk of rows."""
    size = dtype.itemsize
    tables = g * 2**m * (2 * size + 8) + 2**m * (size + 8)
    chunk = 8 * 2 ** _lower_half(m) * min(n, _chunk_rows(m)) * size
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
    m = weights.shape[1] - 1
    lower = _lower_half(m)
    bias, of_low, of_high = weights.split((1, lower, m - lower), dim=1)
    low, high = (part @ _bits_by_configuration(part.shape[1], part) for part in (of_low, of_high))
    return ((bias + high)[:, :, None] + low[:, None]).flatten(1).log_softmax(0)


class ClassBlocks(NamedTuple):
    """Rows in blocks of one class each, for batched products: see `group_by_class`."""

    classes: Tensor  # (b,): class of each block
    rows: Tensor  # (b, c): the rows of each block; what a class does not fill is any row
    absent: Tensor  # (b, c): True where the block is not filled
    filled: Tensor  # (k,): the other positions, in the flattened blocks
    owners: Tensor  # (k,): the rows at those positions


def group_by_class(labels: Tensor, g: int, m: int) -> list[ClassBlocks]:
    """Sort rows into blocks of one class, and blocks into chunks for `expectations` of m bits.

    `labels` (n,) are integers in 0 … g−1, or `UNOBSERVED`: such rows are in no block. The width of the blocks keeps
    what is not filled below 1.5 times the rows, however uneven the classes are.
    """
    chunk = _chunk_rows(m)
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


def expectations(
    logits: Tensor, groups: list[ClassBlocks], log_table: Tensor, weights: Tensor | None = None
) -> Expectations:
    """Posterior over the bits of every row, given its class.

    Parameters
    ----------
    logits : (n, m), a_hj of each row's units.
    groups : the rows by class, from `group_by_class`; for a row in no group the posterior is the prior, the evidence 1.
    log_table : (g, 2^m), log o_i(z).
    weights : (n,) multipliers of the rows in `counts`; 1 if not given.
    """
    n, m = logits.shape
    g = log_table.shape[0]
    lower = _lower_half(m)
    table = log_table.exp().view(g, 2 ** (m - lower), 2**lower)
    bits_low, bits_high = (_bits_by_configuration(k, logits) for k in (lower, m - lower))

    log_evidence = logits.new_zeros(n, dtype=torch.float64)
    mean = logits.sigmoid()
    counts = torch.zeros_like(table, dtype=torch.float64)
    smallest = _smallest_trusted(logits.dtype, m)
    suspects = []
    # One workspace for all chunks: fresh pages for every product would cost more than the products.
    size = 2**lower * max((blocks.rows.numel() for blocks in groups), default=0)
    of_halves, of_joints = logits.new_empty(3 * size).split((2 * size, size))
    with torch.inference_mode():  # the bookkeeping of many small operations would take a quarter of the time
        for blocks in groups:
            b, c = blocks.rows.shape
            own_table = table.index_select(0, blocks.classes)
            units = _units(logits.index_select(0, blocks.rows.flatten()).view(b, c, m))
            p_low, p_high = _halves(units, of_halves)

            joint_low = torch.bmm(own_table.mT, p_high, out=_view(of_joints, *p_low.shape)).mul_(p_low)
            evidence = joint_low.sum(1).masked_fill_(blocks.absent, torch.inf)
            trusted = evidence > smallest
            inverse = torch.where(trusted, evidence, torch.inf).reciprocal_()[:, None]
            mean_low = (bits_low @ joint_low).mul_(inverse)
            p_low.mul_(inverse)
            joint_high = torch.bmm(own_table, p_low, out=_view(of_joints, *p_high.shape)).mul_(p_high)
            block_mean = torch.cat((mean_low, bits_high @ joint_high), dim=1).mT.flatten(0, 1)

            mean.index_copy_(0, blocks.owners, block_mean.index_select(0, blocks.filled))
            log_evidence.index_copy_(
                0, blocks.owners, evidence.flatten().index_select(0, blocks.filled).double().log_()
            )
            if weights is not None:
                p_low.mul_(weights[blocks.rows][:, None])
            counts.index_add_(0, blocks.classes, torch.bmm(p_high, p_low.mT).mul_(own_table).double())
            if not bool(trusted.all()):
                suspects.append((blocks.rows[~trusted], blocks.classes[:, None].expand(b, c)[~trusted]))

    counts = counts.view(g, -1)
    for rows, classes in _chunks(suspects, _REPAIR_ELEMENTS // 2**m):
        _expectations_in_logs(rows, classes, logits, log_table, weights, log_evidence, mean, counts)
    return Expectations(log_evidence, mean, counts)


def log_marginal(logits: Tensor, log_table: Tensor) -> Tensor:
    """log Σ_z p(z | x) o_i(z), the sum over all configurations for every class: (n, g), float64."""
    n, m = logits.shape
    g = log_table.shape[0]
    lower = _lower_half(m)
    table = log_table.exp().view(g, 2 ** (m - lower), 2**lower)
    evidence = logits.new_empty(g, n)
    for rows in torch.arange(n, device=logits.device).split(_chunk_rows(m)):
        p_low, p_high = _halves(_units(logits[rows]), logits.new_empty(2 ** (1 + lower) * len(rows)))
        for i in range(g):
            evidence[i, rows] = (table[i].T @ p_high).mul_(p_low).sum(0)
    result = evidence.T.double().log()
    underflown = (evidence <= _smallest_trusted(logits.dtype, m)).any(0).nonzero()[:, 0]
    for (rows,) in _chunks([(underflown,)], _REPAIR_ELEMENTS // (g * 2**m)):
        bits = configurations(m, dtype=torch.float64, device=logits.device)
        joint = _log_configurations(logits[rows], bits)[:, None] + log_table.double()
        result[rows] = joint.logsumexp(2)
    return result


def _lower_half(m: int) -> int:
    return m - m // 2


def _units(logits: Tensor) -> Tensor:
    """Probability of each unit's two states, off and on: (…, n, m) → (…, m, 2, n)."""
    logits = logits.mT.contiguous()
    return torch.stack((-logits, logits), dim=-2).sigmoid_()


def _halves(units: Tensor, memory: Tensor) -> tuple[Tensor, Tensor]:
    """Probability of each configuration of the lower and of the upper half of m units, in `memory`.

    (…, m, 2, n) → (…, 2^⌈m/2⌉, n), (…, 2^⌊m/2⌋, n)
    """
    m = units.shape[-3]
    if m % 2 == 0 and m > 0:  # both in the same few operations
        return _products(units.unflatten(-3, (2, m // 2)), memory).unbind(-3)  # type: ignore[return-value]
    low, high = units.split((_lower_half(m), m // 2), dim=-3)
    of_low, of_high = memory.split((2 * len(memory) // 3, len(memory) - 2 * len(memory) // 3))
    return _products(low, of_low), _products(high, of_high)


def _products(units: Tensor, memory: Tensor | None = None) -> Tensor:
    """Probability of each configuration of k independent units, by halves: (…, k, 2, n) → (…, 2^k, n)."""
    *batch, k, _, n = units.shape
    if k == 0:
        return units.new_ones(*batch, 1, n)
    if k == 1:
        return units.squeeze(-3)
    if k % 2 == 0:
        low, high = _products(units.unflatten(-3, (2, k // 2))).unbind(-3)
    else:
        low, high = (_products(part) for part in units.split((_lower_half(k), k // 2), dim=-3))
    out = None if memory is None else _view(memory, *batch, high.shape[-2], low.shape[-2], n)
    return torch.mul(high.unsqueeze(-2), low.unsqueeze(-3), out=out).flatten(-3, -2)


def _view(buffer: Tensor, *shape: int) -> Tensor:
    return buffer[: prod(shape)].view(shape)


def _bits_by_configuration(k: int, like: Tensor) -> Tensor:
    """(k, 2^k), in the type and on the device of `like`; not to be written into."""
    return _cached_bits(k, like.dtype, like.device)


@cache
def _cached_bits(k: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    with torch.inference_mode(False):
        return configurations(k, dtype=dtype, device=device).T.contiguous()


def _log_configurations(logits: Tensor, bits: Tensor) -> Tensor:
    """log p(z | x) of every row and configuration, in float64: (n, m), (2^m, m) → (n, 2^m)."""
    return logsigmoid(logits.double()) @ bits.T + logsigmoid(-logits.double()) @ (1 - bits).T


def _expectations_in_logs(rows, classes, logits, log_table, weights, log_evidence, mean, counts) -> None:
    """Do `rows` again where no product can underflow, and write them into the three results."""
    bits = configurations(logits.shape[1], dtype=torch.float64, device=logits.device)
    joint = _log_configurations(logits[rows], bits) + log_table.double()[classes]
    log_evidence[rows] = joint.logsumexp(1)
    posterior = joint.sub_(log_evidence[rows, None]).exp_()
    mean[rows] = (posterior @ bits).to(mean.dtype)
    if weights is not None:
        posterior *= weights[rows, None]
    counts.index_add_(0, classes, posterior)


def _chunks(indices: Sequence[tuple[Tensor, ...]], size: int) -> Iterator[tuple[Tensor, ...]]:
    """Pieces of at most max(1, size) of each tuple of indices; none where there is no index."""
    for parts in indices:
        if len(parts[0]):
            yield from zip(*(part.split(max(1, size)) for part in parts), strict=True)


def _chunk_rows(m: int) -> int:
    return max(256, _CHUNK_ELEMENTS // 2 ** _lower_half(m))


def _smallest_trusted(dtype: torch.dtype, m: int) -> float:
    """An evidence above this has lost less than one rounding error to terms that underflowed."""
    info = torch.finfo(dtype)
    return 2**m * info.tiny / info.eps
