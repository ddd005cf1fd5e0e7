"""The passes of `chain` for few states, compiled for the CPU: WIDTH blocks of steps go side by side, one a lane.

A block is a sequence, or where there are few of those a part of one. Then what a part makes of each state that it may
begin in comes first, a k × k matrix M with each row scaled by itself; with these the distributions at all borders are
found, forwards p M and backwards M β, as in `chain_scan`. Transitions are the same for all steps.

Arrays of lanes are (group, …, WIDTH). A lane that has come to its end waits for the others of its group; those that
have no block are of length 0. What is summed is summed by group, so any number of threads gives the same sums.
"""

from __future__ import annotations

import math

import numpy as np
from numba import types

from emnet.kernels.lanes_numba import WIDTH, exponent, lanes, load, mantissa, store, where_more
from emnet.kernels.tools_numba import CUBE, INTEGERS, MATRIX, VECTOR, compiled, exp, part

_FLOOR, _LEAST_SCALE, _MOST_BETA = 1e-200, 1e-100, 1e80  # as in chain_passes_numba
_LEAST_EXPONENT = -460.0
_LARGEST = 1.7976931348623157e308
_TILE = 128  # vectors: of so many the steps are brought into lanes at a time, and stay in the nearest cache
_LOG_2 = math.log(2)
LANES_OF_INTEGERS, STATUSES = types.int64[:, :, ::1], types.uint8[:, ::1]


@part
def _steps_of_tile(k):  # type: ignore[no-untyped-def]
    return max(_TILE // k, 4)


@part
def _longest(blocks, g):  # type: ignore[no-untyped-def]
    longest = 0
    for lane in range(WIDTH):
        longest = max(longest, blocks[g, 1, lane])
    return longest


@part
def _read(x, k, blocks, g, start, stop, out, place):  # type: ignore[no-untyped-def]
    """Steps of every lane's block to rows of out, (…, WIDTH), from `place` on; 0 beyond its end."""
    for lane in range(WIDTH):
        first, count = (blocks[g, 0, lane] + start) * k, max(min(stop, blocks[g, 1, lane]) - start, 0) * k
        for c in range(count):
            out[place + c, lane] = x[first + c]
        for c in range(count, (stop - start) * k):
            out[place + c, lane] = 0.0


@part
def _write(values, place, k, blocks, g, start, stop, x):  # type: ignore[no-untyped-def]
    """The reverse, of the steps that there are."""
    for lane in range(WIDTH):
        first = (blocks[g, 0, lane] + start) * k
        for c in range(max(min(stop, blocks[g, 1, lane]) - start, 0) * k):
            x[first + c] = values[place + c, lane]


@part
def _likelihoods(values, t, k):  # type: ignore[no-untyped-def]
    """exp(step t − its maximum) in place, −∞ to 0 and all else to at least the floor; the maximum. NaN stays NaN."""
    first = t * k
    top = load(values, first)
    for j in range(1, k):
        each = load(values, first + j)
        top = where_more(each, top, each, top)
    for j in range(k):
        away = load(values, first + j) - top
        e = exp(where_more(_LEAST_EXPONENT, away, _LEAST_EXPONENT, away))
        store(values, first + j, where_more(-_LARGEST, away, 0.0, e))
    return top


@part
def _times(state, s, transition, out):  # type: ignore[no-untyped-def]
    """out_j = Σ_i state_i A_ij, of the k rows of `state` from s on."""
    k = transition.shape[0]
    for j in range(k):
        total = load(state, s) * transition[0, j]
        for i in range(1, k):
            total = total + load(state, s + i) * transition[i, j]
        store(out, j, total)


@part
def _without_step(first, state, s, predicted):  # type: ignore[no-untyped-def]
    """There is no step into the first of a sequence: in those lanes what is predicted is the state itself."""
    for j in range(len(predicted)):
        store(predicted, j, where_more(first, 0.5, load(state, s + j), load(predicted, j)))


@part
def _scaled(predicted, values, t, k):  # type: ignore[no-untyped-def]
    """predicted ∘ b_t, adding up to 1 but for the floor of what is possible, in place; the sum and the least."""
    scale = load(predicted, 0) * load(values, t * k)
    for j in range(1, k):
        scale = scale + load(predicted, j) * load(values, t * k + j)
    inverse, lowest = 1.0 / scale, lanes(1.0)
    for j in range(k):
        before, b = load(predicted, j), load(values, t * k + j)
        value = before * b * inverse
        value = where_more(value, _FLOOR, value, _FLOOR)
        possible = where_more(before, b, b, before)
        store(predicted, j, where_more(possible, 0.0, value, 0.0))
        value = where_more(possible, 0.0, value, 1.0)
        lowest = where_more(lowest, value, value, lowest)
    return scale, lowest


@compiled(types.void(VECTOR, MATRIX, LANES_OF_INTEGERS, CUBE, CUBE, CUBE))
def maps(x, transition, blocks, marks, out, exponents_out):  # type: ignore[no-untyped-def]
    """M of every block: M_ij = out_ij 2^e_i, (g, k², WIDTH) and (g, k, WIDTH), but for a factor of each block."""
    k = len(transition)
    tile = _steps_of_tile(k)
    values, state, predicted = np.empty((tile * k, WIDTH)), np.empty((k * k, WIDTH)), np.empty((k, WIDTH))
    products, exponents = np.empty((k, WIDTH)), np.empty((k, WIDTH))
    for g in range(len(blocks)):
        first, lasting, longest = load(marks, 3 * g), load(marks, 3 * g + 1), _longest(blocks, g)
        for i in range(k):
            store(products, i, lanes(1.0))
            store(exponents, i, lanes(0.0))
            for j in range(k):
                store(state, i * k + j, lanes(1.0 if i == j else 0.0))
        for start in range(0, longest, tile):
            stop = min(start + tile, longest)
            _read(x, k, blocks, g, start, stop, values, 0)
            for t in range(stop - start):
                now = float(start + t)
                _likelihoods(values, t, k)
                for i in range(k):
                    _times(state, i * k, transition, predicted)
                    if start + t == 0:
                        _without_step(first, state, i * k, predicted)
                    scale, _ = _scaled(predicted, values, t, k)
                    for j in range(k):
                        held, new = load(state, i * k + j), load(predicted, j)
                        store(state, i * k + j, where_more(lasting, now, new, held))
                    product = load(products, i) * where_more(lasting, now, scale, 1.0)
                    store(exponents, i, load(exponents, i) + exponent(product))
                    store(products, i, where_more(product, 0.0, mantissa(product), product))
        for i in range(k):
            product = load(products, i)
            store(exponents_out, g * k + i, where_more(product, 0.0, load(exponents, i), -np.inf))
            for j in range(k):
                own = where_more(product, 0.0, product, 1.0)
                store(out, (g * k + i) * k + j, load(state, i * k + j) * own)


@part
def _go_forward(x, transition, blocks, marks, g, b, alpha, evidence, status):  # type: ignore[no-untyped-def]
    """b_t, and α_t ∝ b_t ∘ (Aᵀ α_{t−1}), Σ α_t = 1: step t in rows t k of b and (t + 1) k of alpha, which has α₋₁."""
    k = len(transition)
    first, lasting, longest, tile = load(marks, 3 * g), load(marks, 3 * g + 1), _longest(blocks, g), _steps_of_tile(k)
    predicted = np.empty((k, WIDTH))
    tops, product, exponents, failed, lowest = lanes(0.0), lanes(1.0), lanes(0.0), lanes(0.0), lanes(1.0)
    for t in range(longest):
        if t % tile == 0:
            _read(x, k, blocks, g, t, min(t + tile, longest), b, t * k)
        now, top = float(t), _likelihoods(b, t, k)
        _times(alpha, t * k, transition, predicted)
        if t == 0:
            _without_step(first, alpha, 0, predicted)
        scale, least = _scaled(predicted, b, t, k)
        for j in range(k):
            store(alpha, (t + 1) * k + j, load(predicted, j))
        scale, least = where_more(lasting, now, scale, 1.0), where_more(lasting, now, least, 1.0)
        tops = tops + where_more(lasting, now, top, 0.0)
        failed = where_more(scale, _LEAST_SCALE, failed, 1.0)
        lowest = where_more(lowest, least, least, lowest)
        product = product * scale
        exponents, product = exponents + exponent(product), mantissa(product)
    store(evidence, g, tops + exponents * _LOG_2)
    store(predicted, 0, product)
    for lane in range(WIDTH):
        evidence[g, lane] += np.log(predicted[0, lane])
    store(predicted, 0, where_more(failed, 0.5, 2.0, where_more(_LEAST_SCALE, lowest, 1.0, 0.0)))
    for lane in range(WIDTH):
        status[g, lane] = np.uint8(predicted[0, lane])


@part
def _go_back(transition, blocks, marks, g, b, alpha, leaving, xi, status):  # type: ignore[no-untyped-def]
    """β_{t−1} ∝ A (b_t ∘ β_t), Σ α β = 1: γ = α ∘ β in place of α, and Σ ξ without A, which all steps share."""
    k = len(transition)
    first, lasting, weight = load(marks, 3 * g), load(marks, 3 * g + 1), load(marks, 3 * g + 2)
    beta, u, back, sums = np.empty((k, WIDTH)), np.empty((k, WIDTH)), np.empty((k, WIDTH)), np.empty((k * k, WIDTH))
    failed = lanes(0.0)
    for j in range(k):
        store(beta, j, load(leaving, g * k + j))
    for i in range(k * k):
        store(sums, i, lanes(0.0))
    for t in range(_longest(blocks, g) - 1, -1, -1):
        inner = where_more(lasting, float(t), where_more(first, 0.5, 0.0, 1.0) if t == 0 else lanes(1.0), 0.0)
        for j in range(k):
            own, row = load(beta, j), t * k + j
            store(u, j, load(b, row) * own)
            store(alpha, row + k, load(alpha, row + k) * own)
        total = lanes(0.0)
        for i in range(k):
            value = load(u, 0) * transition[i, 0]
            for j in range(1, k):
                value = value + load(u, j) * transition[i, j]
            store(back, i, value)
            total = total + load(alpha, t * k + i) * value
        inverse, size = 1.0 / total, lanes(0.0)
        share = where_more(inner, 0.5, weight * inverse, 0.0)
        for i in range(k):
            before = load(alpha, t * k + i)
            scaled = before * share
            for j in range(k):
                store(sums, i * k + j, load(sums, i * k + j) + scaled * load(u, j))
            value = where_more(before, 0.0, load(back, i) * inverse, 0.0)
            value = where_more(inner, 0.5, value, load(beta, i))
            size = size + value
            store(beta, i, value)
        failed = where_more(_MOST_BETA, size, failed, 1.0)
    store(u, 0, failed)
    for lane in range(WIDTH):
        status[g, lane] = 2 if u[0, lane] > 0 else status[g, lane]
    for i in range(k):
        for j in range(k):
            for lane in range(WIDTH):
                xi[g, i, j] += sums[i * k + j, lane]


@part
def _room(blocks, k):  # type: ignore[no-untyped-def]
    """For b and α of the longest of the blocks."""
    longest = 0
    for g in range(len(blocks)):
        longest = max(longest, _longest(blocks, g))
    return np.empty((longest * k, WIDTH)), np.empty(((longest + 1) * k, WIDTH))


@compiled(types.void(VECTOR, MATRIX, LANES_OF_INTEGERS, CUBE, CUBE, CUBE, VECTOR, MATRIX, CUBE, STATUSES))
def passes(x, transition, blocks, marks, entering, leaving, out, evidence, xi, status):  # type: ignore[no-untyped-def]
    """Both passes over every block from what it is entered and left with: γ to out, (n k,), ξ by group, (g, k, k).

    Where `leaving` has no group the forward pass alone, α to out; where `out` has no row it is not kept.
    """
    k = len(transition)
    b, alpha = _room(blocks, k)
    for g in range(len(blocks)):
        for j in range(k):
            store(alpha, j, load(entering, g * k + j))
        _go_forward(x, transition, blocks, marks, g, b, alpha, evidence, status)
        if len(leaving):
            _go_back(transition, blocks, marks, g, b, alpha, leaving, xi, status)
        if len(out):
            _write(alpha, k, k, blocks, g, 0, _longest(blocks, g), out)


# -- borders --------------------------------------------------------------------------------------------------------


@part
def _shares(p, exponents, g, lane, out):  # type: ignore[no-untyped-def]
    """2^(e_i − the largest) of the states i that are possible, 0 of the others."""
    most = -np.inf
    for i in range(len(p)):
        most = max(most, exponents[g, i, lane] if p[i] > 0 else -np.inf)
    for i in range(len(p)):
        least = p[i] > 0 and exponents[g, i, lane] > most - 1000
        out[i] = math.ldexp(1.0, int(exponents[g, i, lane] - most)) if least else 0.0


@compiled(types.void(INTEGERS, INTEGERS, MATRIX, CUBE, CUBE, CUBE))
def enter(counts, lane_of, start, maps, exponents, entering):  # type: ignore[no-untyped-def]
    """What each block begins with: of the first of a sequence its start, of others the state before it."""
    k, block = start.shape[1], 0
    p, found, share = np.empty(k), np.empty(k), np.empty(k)
    for s in range(len(counts)):
        for i in range(k):
            p[i] = start[s if len(start) > 1 else 0, i]
        for number in range(counts[s]):
            g, lane = lane_of[block + number] // WIDTH, lane_of[block + number] % WIDTH
            for i in range(k):
                entering[g, i, lane] = p[i]
            if number + 1 == counts[s]:
                break
            _shares(p, exponents, g, lane, share)
            total = 0.0
            for j in range(k):
                found[j], reachable = 0.0, False
                for i in range(k):
                    to = maps[g, i * k + j, lane]
                    found[j] += p[i] * share[i] * to
                    reachable |= (p[i] > 0) & (to > 0)
                total += found[j]
                found[j] = found[j] if reachable else -1.0
            for j in range(k):
                p[j] = max(found[j] / total, _FLOOR) if found[j] >= 0 else 0.0
        block += counts[s]


@compiled(types.void(INTEGERS, INTEGERS, CUBE, CUBE, CUBE, CUBE))
def leave(counts, lane_of, entering, maps, exponents, leaving):  # type: ignore[no-untyped-def]
    """β at the end of each block, scaled to Σ α β = 1 with what the next is entered with for α."""
    k, block = leaving.shape[1], 0
    beta, found, p, share = np.empty(k), np.empty(k), np.empty(k), np.empty(k)
    for s in range(len(counts)):
        for i in range(k):
            beta[i] = 1.0
        for number in range(counts[s] - 1, -1, -1):
            g, lane = lane_of[block + number] // WIDTH, lane_of[block + number] % WIDTH
            for i in range(k):
                leaving[g, i, lane] = beta[i]
            if number == 0:
                break
            for i in range(k):
                p[i] = entering[g, i, lane]
            _shares(p, exponents, g, lane, share)
            total = 0.0
            for i in range(k):
                value = 0.0
                for j in range(k):
                    value += maps[g, i * k + j, lane] * beta[j]
                found[i] = value * share[i]
                total += p[i] * found[i]
            for i in range(k):
                beta[i] = found[i] / total
        block += counts[s]
