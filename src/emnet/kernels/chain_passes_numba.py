"""The passes of `chain`, compiled for the CPU: each reads the log likelihoods and writes one array as large.

Inner loops run over contiguous states and hold no branch, so that they become vector instructions; exp is written out
for the same reason.
"""

from __future__ import annotations

import numpy as np
from numba import njit, types

from emnet.kernels.tools_numba import CUBE, FLAGS, INTEGERS, MATRIX, SUMS, VECTOR, compiled, exp

_FLOOR = 1e-200  # of what is not 0: nothing becomes subnormal, and what was given up can be told from what cannot be
_LEAST_EXPONENT = -460.0  # about log _FLOOR
_LEAST_SCALE, _MOST_BETA = 1e-100, 1e80  # within them, paths at the floor have a posterior below 1e-20
_BLOCK = 16  # steps whose outer products are added at a time, while a row of the sum stays in registers


@njit(fastmath={"contract"})
def _likelihoods(x, t, out):  # type: ignore[no-untyped-def]
    """exp(row t − its maximum), −∞ to 0 and all else to at least the floor; the maximum. NaN stays NaN."""
    top = x[t, 0]
    for j in range(1, x.shape[1]):
        top = x[t, j] if x[t, j] > top else top
    for j in range(x.shape[1]):
        away = x[t, j] - top
        e = exp(max(away, _LEAST_EXPONENT))
        out[j] = e if away > -np.inf else (0.0 if away == -np.inf else away)
    return top


@compiled(types.void(MATRIX, MATRIX, CUBE, INTEGERS, FLAGS, MATRIX, VECTOR, FLAGS), SUMS)
def forward(x, start, transition, offsets, skip, alpha, evidence, status):  # type: ignore[no-untyped-def]
    """α_t ∝ b_t ∘ (Aᵀ α_{t−1}), Σ α_t = 1; an α of one row holds the last step alone."""
    k = x.shape[1]
    b, predicted = np.empty(k), np.empty(k)
    own_start, varies, keeps = int(len(start) > 1), int(len(transition) > 1), int(len(alpha) > 1)
    for s in range(len(offsets) - 1):
        if skip[s]:
            continue
        log_sum, product, floored = 0.0, 1.0, 0
        for t in range(offsets[s], offsets[s + 1]):
            top = _likelihoods(x, t, b)
            if t == offsets[s]:
                for j in range(k):
                    predicted[j] = start[s * own_start, j]
            else:
                p, v = (t - 1) * keeps, t * varies
                for j in range(k):
                    predicted[j] = alpha[p, 0] * transition[v, 0, j]
                for i in range(1, k):
                    a = alpha[p, i]
                    for j in range(k):
                        predicted[j] += a * transition[v, i, j]
            scale = 0.0
            for j in range(k):
                scale += predicted[j] * b[j]
            if not scale > _LEAST_SCALE:
                status[s] = 2
                break
            inverse, p, lowest = 1 / scale, t * keeps, 1.0
            for j in range(k):
                value = max(predicted[j] * b[j] * inverse, _FLOOR)
                value = value if (predicted[j] > 0) & (b[j] > 0) else 0.0
                alpha[p, j] = value
                lowest = min(lowest, value if value > 0 else 1.0)
            if lowest < _LEAST_SCALE:
                floored = 1
            log_sum += top
            product *= scale
            if product < _LEAST_SCALE:  # one logarithm for many steps
                log_sum += np.log(product)
                product = 1.0
        evidence[s] = log_sum + np.log(product)
        status[s] = max(status[s], np.uint8(floored))


@njit(nogil=True, fastmath=SUMS)
def _add_products(left, right, count, out):  # type: ignore[no-untyped-def]
    """out[0] += leftᵀ right over the first so many rows."""
    for i in range(out.shape[1]):
        for q in range(count):
            a = left[q, i]
            for j in range(out.shape[2]):
                out[0, i, j] += a * right[q, j]


@compiled(types.void(MATRIX, CUBE, INTEGERS, VECTOR, FLAGS, MATRIX, CUBE, FLAGS), SUMS)
def backward(x, transition, offsets, weights, skip, alpha, xi, status):  # type: ignore[no-untyped-def]
    """β_{t−1} ∝ A (b_t ∘ β_t), Σ α β = 1: γ = α ∘ β in place of α, and ξ_t = α_{t−1} A (b_t ∘ β_t).

    Of a constant A its factor is left out of the sum: it is the same for all steps.
    """
    k = x.shape[1]
    b, u, beta, back = np.empty(k), np.empty(k), np.empty(k), np.empty(k)
    left, right, waiting = np.empty((_BLOCK, k)), np.empty((_BLOCK, k)), 0
    varies, by_step = int(len(transition) > 1), len(xi) > 1
    for s in range(len(offsets) - 1):
        if skip[s] or status[s] == 2:
            continue
        beta[:] = 1.0
        for t in range(offsets[s + 1] - 1, offsets[s], -1):
            _likelihoods(x, t, b)
            p, v = t - 1, t * varies
            for j in range(k):
                u[j] = b[j] * beta[j]
            total = 0.0
            for i in range(k):
                value = 0.0
                for j in range(k):
                    value += transition[v, i, j] * u[j]
                back[i] = value
                total += alpha[p, i] * value
            inverse = 1 / total
            weight = inverse * weights[s]
            if varies or by_step:
                for i in range(k):
                    a = alpha[p, i] * weight
                    for j in range(k):
                        xi[t * by_step, i, j] += a * transition[v, i, j] * u[j]
            else:
                for i in range(k):
                    left[waiting, i] = alpha[p, i]
                    right[waiting, i] = u[i] * weight
                waiting += 1
                if waiting == _BLOCK:
                    _add_products(left, right, waiting, xi)
                    waiting = 0
            size = 0.0
            for i in range(k):
                value = back[i] * inverse if alpha[p, i] > 0 else 0.0
                size += value
                beta[i] = value
                alpha[p, i] *= value
            if not size < _MOST_BETA:
                status[s] = 2
                break
    _add_products(left, right, waiting, xi)


@compiled(types.void(MATRIX, MATRIX, CUBE, INTEGERS, VECTOR, INTEGERS), None)
def viterbi(x, start, transition, offsets, log_joint, path):  # type: ignore[no-untyped-def]
    k = x.shape[1]
    own_start, varies = int(len(start) > 1), int(len(transition) > 1)
    longest = 0
    for s in range(len(offsets) - 1):
        longest = max(longest, offsets[s + 1] - offsets[s])
    came_from = np.empty((longest, k), dtype=np.int32)
    best, reached = np.empty(k), np.empty(k)
    for s in range(len(offsets) - 1):
        first, last = offsets[s], offsets[s + 1] - 1
        for j in range(k):
            best[j] = start[s * own_start, j] + x[first, j]
        for t in range(first + 1, last + 1):
            v, p = t * varies, t - first
            for j in range(k):
                reached[j] = best[0] + transition[v, 0, j]
                came_from[p, j] = 0
            for i in range(1, k):
                a = best[i]
                for j in range(k):
                    value = a + transition[v, i, j]
                    better = value > reached[j]
                    reached[j] = value if better else reached[j]
                    came_from[p, j] = i if better else came_from[p, j]
            for j in range(k):
                best[j] = reached[j] + x[t, j]
        state = 0
        for j in range(k):
            if best[j] > best[state]:
                state = j
        log_joint[s] = best[state]
        for t in range(last, first - 1, -1):
            path[t] = state
            state = came_from[t - first, state] if t > first else 0
