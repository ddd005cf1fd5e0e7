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
from typing import NamedTuple, Protocol

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from emnet.kernels import bits_torch, class_blocks
from emnet.kernels.class_blocks import ClassBlocks
from emnet.kernels.compilation import compiled
from emnet.kernels.configurations import all_configurations, bits_by_configuration
from emnet.kernels.memory import require_bytes
from emnet.kernels.threads import in_threads

_CHUNK_ELEMENTS = 2**20  # of one half's products: a few of them stay in the second-level cache
_CHUNK_WORK = 2**24  # rows times configurations that are worth a thread's while
_MOST_PARTS, _PART_BYTES = 16, 2**28  # of parts, and of what all of them count
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


class Passes(Protocol):
    """What is done between the products, over blocks of rows, (b, c); L and H configurations of the two halves."""

    def halves(self, logits: Tensor, rows: Tensor, memory: Tensor) -> tuple[Tensor, Tensor]:
        """P_L, (b, L, c), and P_H, (b, H, c), in `memory`."""
        ...

    def lower(
        self, joint: Tensor, low: Tensor, blocks: ClassBlocks, smallest: float, mean: Tensor, log_evidence: Tensor
    ) -> Tensor:
        """From Tᵀ P_H the evidence and the mean of the lower units, written by row; P_L becomes P_L / evidence.

        True, (b, c), where the evidence is not above `smallest`: 0 stands for P_L / evidence there.
        """
        ...

    def upper(self, joint: Tensor, high: Tensor, blocks: ClassBlocks, weights: Tensor | None, mean: Tensor) -> None:
        """From T (P_L / evidence) the mean of the upper units, written by row; P_H is multiplied by the weights."""
        ...


def required_bytes(n: int, m: int, g: int, dtype: torch.dtype) -> int:
    """Peak bytes of `expectations` over what its arguments hold: tables, counts and a chunk of rows for each thread."""
    size = dtype.itemsize
    tables = g * 2**m * (2 * size + 8) + 2**m * (size + 8)
    parts = 2**m * 8 * (g + 2 * _most_parts(m)) if _most_parts(m) > 1 else 0
    chunk = 8 * 2 ** (m - m // 2) * min(n, torch.get_num_threads() * _chunk_rows(m)) * size
    return tables + parts + chunk + n * m * 4 * size


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
    bias, of_low, of_high = weights.split((1, m - m // 2, m // 2), dim=1)
    low, high = (part @ bits_by_configuration(part.shape[1], part) for part in (of_low, of_high))
    return ((bias + high)[:, :, None] + low[:, None]).flatten(1).log_softmax(0)


def group_by_class(labels: Tensor, g: int, m: int) -> list[ClassBlocks]:
    """Rows by class, in the chunks that `expectations` of m bits takes: see `class_blocks.group_by_class`."""
    of_thread = max(256, _CHUNK_WORK // 2**m) if labels.device.type == "cpu" else len(labels)
    return class_blocks.group_by_class(labels, g, max(1, min(_chunk_rows(m), of_thread)))


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
    logits, (n, m), g = logits.detach(), logits.shape, len(log_table)
    passes, smallest = _passes(logits), _smallest_trusted(logits.dtype, m)
    table = _by_halves(log_table)
    log_evidence, mean = logits.new_zeros(n, dtype=torch.float64), logits.sigmoid()

    def expect(part: Sequence[ClassBlocks]) -> tuple[int, Tensor, list[tuple[Tensor, Tensor]]]:
        """Of rows of a few classes: write what they expect; give the first class, the counts, and what to do again."""
        first, last = int(part[0].classes[0]), int(part[-1].classes[-1])
        with torch.inference_mode(False):  # they are written to when this is over
            counts = table.new_zeros(last + 1 - first, *table.shape[1:], dtype=torch.float64)
        # One workspace for all chunks: fresh pages for every product would cost more than the products.
        size = table.shape[2] * max(blocks.rows.numel() for blocks in part)
        of_halves, of_joints = logits.new_empty(3 * size).split((2 * size, size))
        suspects = []
        for blocks in part:
            own_table = table.index_select(0, blocks.classes)
            low, high = passes.halves(logits, blocks.rows, of_halves)
            joint = torch.bmm(own_table.mT, high, out=_like(low, of_joints))
            doubtful = passes.lower(joint, low, blocks, smallest, mean, log_evidence)
            joint = torch.bmm(own_table, low, out=_like(high, of_joints))
            passes.upper(joint, high, blocks, weights, mean)
            counts.index_add_(0, blocks.classes - first, torch.bmm(high, low.mT).mul_(own_table).double())
            if bool(doubtful.any()):
                suspects.append((blocks.rows[doubtful], blocks.classes[:, None].expand_as(doubtful)[doubtful]))
        return first, counts, suspects

    with torch.inference_mode():  # the bookkeeping of many small operations would take a quarter of the time
        parts = in_threads(expect, _parts(groups, m), compiled=False)
    counts = _added([(first, own) for first, own, _ in parts], table).view(g, -1)
    suspects = [some for _, _, again in parts for some in again]
    for rows, classes in _chunks(suspects, _REPAIR_ELEMENTS // 2**m):
        _expectations_in_logs(rows, classes, logits, log_table, weights, log_evidence, mean, counts)
    return Expectations(log_evidence, mean, counts)


def log_marginal(logits: Tensor, log_table: Tensor) -> Tensor:
    """log Σ_z p(z | x) o_i(z), the sum over all configurations for every class: (n, g), float64."""
    logits, (n, m), g = logits.detach(), logits.shape, len(log_table)
    passes, table = _passes(logits), _by_halves(log_table)
    evidence = logits.new_empty(g, n)
    for rows in torch.arange(n, device=logits.device).split(_chunk_rows(m)):
        low, high = passes.halves(logits, rows[None], logits.new_empty(2 * table.shape[2] * len(rows)))
        for i in range(g):
            evidence[i, rows] = (table[i].T @ high[0]).mul_(low[0]).sum(0)
    result = evidence.T.double().log()
    underflown = (evidence <= _smallest_trusted(logits.dtype, m)).any(0).nonzero()[:, 0]
    for (rows,) in _chunks([(underflown,)], _REPAIR_ELEMENTS // (g * 2**m)):
        bits = all_configurations(m, dtype=torch.float64, device=logits.device)
        joint = _log_configurations(logits[rows], bits)[:, None] + log_table.double()
        result[rows] = joint.logsumexp(2)
    return result


def _passes(logits: Tensor) -> Passes:
    """Compiled on a CPU, where Numba is installed; else in PyTorch."""
    numba = compiled("emnet.kernels.bits_numba", "the kernel of hidden units") if logits.device.type == "cpu" else None
    return numba or bits_torch


def _by_halves(log_table: Tensor) -> Tensor:
    """o_i(z) with the configurations of either half along an axis: (g, 2^m) → (g, H, L)."""
    m = log_table.shape[1].bit_length() - 1
    return log_table.exp().view(len(log_table), 2 ** (m // 2), 2 ** (m - m // 2))


def _like(half: Tensor, memory: Tensor) -> Tensor:
    return memory[: half.numel()].view(half.shape)


def _log_configurations(logits: Tensor, bits: Tensor) -> Tensor:
    """log p(z | x) of every row and configuration, in float64: (n, m), (2^m, m) → (n, 2^m)."""
    return logsigmoid(logits.double()) @ bits.T + logsigmoid(-logits.double()) @ (1 - bits).T


def _expectations_in_logs(rows, classes, logits, log_table, weights, log_evidence, mean, counts) -> None:
    """Do `rows` again where no product can underflow, and write them into the three results."""
    bits = all_configurations(logits.shape[1], dtype=torch.float64, device=logits.device)
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
    return max(256, _CHUNK_ELEMENTS // 2 ** (m - m // 2))


def _most_parts(m: int) -> int:
    """So few that what each counts, a class or two more than all have together, is small beside other memory."""
    return max(1, min(_MOST_PARTS, _PART_BYTES // (16 * 2**m)))


def _parts(groups: list[ClassBlocks], m: int) -> list[list[ClassBlocks]]:
    """Some chunks for a thread of a CPU, the same for any number of threads."""
    parts = _most_parts(m) if groups and groups[0].rows.device.type == "cpu" else 1
    size = max(1, -(-len(groups) // parts))
    return [groups[first : first + size] for first in range(0, len(groups), size)]


def _added(counts: list[tuple[int, Tensor]], table: Tensor) -> Tensor:
    """Counts in the shape of the table, from parts and the first class of each."""
    if len(counts) == 1 and len(counts[0][1]) == len(table):
        return counts[0][1]
    total = torch.zeros_like(table, dtype=torch.float64)
    for first, own in counts:
        total[first : first + len(own)] += own
    return total


def _smallest_trusted(dtype: torch.dtype, m: int) -> float:
    """An evidence above this has lost less than one rounding error to terms that underflowed."""
    info = torch.finfo(dtype)
    return 2**m * info.tiny / info.eps
