"""Brute-force truth, written without any of emnet's kernels: loops over every configuration, in float64."""

from __future__ import annotations

import itertools
import math
from typing import NamedTuple

import numpy as np


class Enumerated(NamedTuple):
    log_evidence: np.ndarray  # (n,)
    posterior: np.ndarray  # (n, 2^m), configuration Σ_h z_h 2^h
    mean: np.ndarray  # (n, m)
    counts: np.ndarray  # (g, 2^m)


def all_configurations(m: int) -> np.ndarray:
    """(2^m, m), the first unit changing fastest."""
    return np.array([z[::-1] for z in itertools.product((0, 1), repeat=m)], dtype=float)


def log_softplus_sigmoid(a: float) -> float:
    """log σ(a), stable."""
    return -math.log1p(math.exp(-a)) if a > 0 else a - math.log1p(math.exp(a))


def log_output(output_weights: np.ndarray, z: np.ndarray) -> np.ndarray:
    """log softmax(v·(1, z)), (g,)."""
    logits = output_weights[:, 0] + output_weights[:, 1:] @ z
    top = logits.max()
    return logits - top - math.log(np.exp(logits - top).sum())


def enumerate_network(logits, labels, output_weights, weights=None) -> Enumerated:
    """The EM-MLP's posterior by enumeration; label −1 is unknown."""
    states = all_configurations(logits.shape[1])
    return enumerate_table(logits, labels, [log_output(output_weights, z) for z in states], weights)


def enumerate_table(logits, labels, outputs, weights=None) -> Enumerated:
    """The same where log p(y | z) of every configuration is given, (2^m, g)."""
    n, m = logits.shape
    states = all_configurations(m)
    log_evidence, posterior = np.zeros(n), np.zeros((n, 2**m))
    counts = np.zeros((len(outputs[0]), 2**m))
    for j in range(n):
        joint = np.array(
            [
                sum(log_softplus_sigmoid(a if bit else -a) for a, bit in zip(logits[j], z, strict=True))
                + (outputs[c][labels[j]] if labels[j] >= 0 else 0.0)
                for c, z in enumerate(states)
            ]
        )
        top = joint.max()
        log_evidence[j] = top + math.log(np.exp(joint - top).sum())
        posterior[j] = np.exp(joint - log_evidence[j])
        if labels[j] >= 0:
            counts[labels[j]] += posterior[j] * (1.0 if weights is None else weights[j])
    return Enumerated(log_evidence, posterior, posterior @ states, counts)


class EnumeratedLayers(NamedTuple):
    log_evidence: np.ndarray  # (n,)
    mean: np.ndarray  # (n, m of the lowest layer)


def enumerate_layers(inputs, labels, weights) -> EnumeratedLayers:
    """A network of any depth, summed over all units of all layers at once; biases first, label −1 is unknown."""
    *hidden, output = weights
    joint_states = list(itertools.product(*(all_configurations(len(w)) for w in hidden)))
    log_evidence, mean = np.zeros(len(inputs)), np.zeros((len(inputs), len(hidden[0])))
    for j, row in enumerate(inputs):
        joint = []
        for states in joint_states:
            given, total = row, 0.0
            for w, z in zip(hidden, states, strict=True):
                total += sum(log_softplus_sigmoid(a if bit else -a) for a, bit in zip(w @ given, z, strict=True))
                given = np.append(1.0, z)
            joint.append(total + (log_output(output, states[-1])[labels[j]] if labels[j] >= 0 else 0.0))
        joint = np.array(joint)
        log_evidence[j] = joint.max() + math.log(np.exp(joint - joint.max()).sum())
        mean[j] = np.exp(joint - log_evidence[j]) @ np.array([states[0] for states in joint_states])
    return EnumeratedLayers(log_evidence, mean)


def enumerate_regression(inputs, target, seen, hidden, output, variance) -> EnumeratedLayers:
    """A network of one layer with Gaussian targets, summed over its configurations; `seen` says which rows have."""
    states = all_configurations(len(hidden))
    log_evidence, mean = np.zeros(len(inputs)), np.zeros((len(inputs), len(hidden)))
    for j, row in enumerate(inputs):
        joint = []
        for z in states:
            total = sum(log_softplus_sigmoid(a if bit else -a) for a, bit in zip(hidden @ row, z, strict=True))
            if seen[j]:
                for y, v, s in zip(target[j], output, variance, strict=True):
                    total -= 0.5 * ((y - v[0] - v[1:] @ z) ** 2 / s + math.log(2 * math.pi * s))
            joint.append(total)
        joint = np.array(joint)
        log_evidence[j] = joint.max() + math.log(np.exp(joint - joint.max()).sum())
        mean[j] = np.exp(joint - log_evidence[j]) @ states
    return EnumeratedLayers(log_evidence, mean)


def enumerate_mixture(weights, densities, labels=None) -> tuple[np.ndarray, np.ndarray]:
    """Log evidence (n,) and responsibilities (n, k); `densities[k](row)` is log p(row | k), label −1 is unknown."""
    n = len(weights)
    log_evidence, responsibilities = np.zeros(n), np.zeros((n, len(densities)))
    for j in range(n):
        joint = np.array([math.log(w) + density(j) for w, density in zip(weights[j], densities, strict=True)])
        if labels is not None and labels[j] >= 0:
            joint[np.arange(len(joint)) != labels[j]] = -math.inf
        log_evidence[j] = joint.max() + math.log(np.exp(joint - joint.max()).sum())
        responsibilities[j] = np.exp(joint - log_evidence[j])
    return log_evidence, responsibilities


def leaf_probabilities(row: np.ndarray, nodes: list[np.ndarray], levels: tuple[int, ...]) -> np.ndarray:
    """p(leaf | x) of a tree of softmax gates, path after path; `nodes` from the root down, level after level."""
    leaves = []
    for path in itertools.product(*(range(branches) for branches in levels)):
        log_path, first, position = 0.0, 0, 0
        for level, branch in enumerate(path):
            log_path += log_output(nodes[first + position], row[1:])[branch]
            first += math.prod(levels[:level])
            position = position * levels[level] + branch
        leaves.append(math.exp(log_path))
    return np.array(leaves)


def log_regression(target: np.ndarray, mean: np.ndarray, variance: np.ndarray) -> float:
    """log Normal of independent targets, without those that are NaN."""
    return sum(
        -0.5 * ((y - m) ** 2 / s + math.log(2 * math.pi * s))
        for y, m, s in zip(target, mean, variance, strict=True)
        if y == y
    )


def log_normal(row: np.ndarray, mean: np.ndarray, covariance: np.ndarray) -> float:
    """log Normal of the entries of a row that are not NaN."""
    seen = ~np.isnan(row)
    if not seen.any():
        return 0.0
    away, own = (row - mean)[seen], covariance[np.ix_(seen, seen)]
    return -0.5 * float(away @ np.linalg.solve(own, away) + np.linalg.slogdet(2 * math.pi * own)[1])


def log_cell(family: str, x: float, *parameters: float) -> float:
    """log density or mass of one cell by SciPy; 0 of one that is not observed."""
    from scipy import stats  # here, as the core's tests run where SciPy is not

    densities = {
        "StudentT": lambda: stats.t.logpdf(x, parameters[2], parameters[0], math.sqrt(parameters[1])),
        "Bernoulli": lambda: stats.bernoulli.logpmf(int(x), parameters[0]),
        "Poisson": lambda: stats.poisson.logpmf(int(x), parameters[0]),
        "LogNormal": lambda: stats.lognorm.logpdf(x, math.sqrt(parameters[1]), scale=math.exp(parameters[0])),
    }
    return 0.0 if math.isnan(x) else float(densities[family]())


def log_multinomial(row: np.ndarray, log_probabilities: np.ndarray) -> float:
    """log p of counts; 0 of a row that is not observed."""
    if np.isnan(row).any():
        return 0.0
    own = sum(x * p - math.lgamma(x + 1) for x, p in zip(row, log_probabilities, strict=True))
    return float(own + math.lgamma(row.sum() + 1))


def expected_moments(row: np.ndarray, mean: np.ndarray, covariance: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """E[x] and E[x xᵀ] given the entries of a row that are not NaN."""
    seen = ~np.isnan(row)
    filled, spread = mean.copy(), covariance.copy()
    if seen.any():
        slope = covariance[:, seen] @ np.linalg.inv(covariance[np.ix_(seen, seen)])
        filled = mean + slope @ (row - mean)[seen]
        spread = covariance - slope @ covariance[seen]
    return filled, np.outer(filled, filled) + spread


def linear_gaussian(row, bias, loadings, noise) -> tuple[float, np.ndarray, np.ndarray]:
    """log p(x_o), E[z | x_o] and Cov[z | x_o] of x = b + Λz + ε from the joint Gaussian of (z, x); NaN is a hole."""
    q = loadings.shape[1]
    covariance = np.block([[np.eye(q), loadings.T], [loadings, loadings @ loadings.T + np.diag(noise)]])
    first, second = expected_moments(np.r_[[np.nan] * q, row], np.r_[np.zeros(q), bias], covariance)
    mean = first[:q]
    return log_normal(row, bias, covariance[q:, q:]), mean, second[:q, :q] - np.outer(mean, mean)


def finite_difference(function, vector: np.ndarray, step: float = 1e-6) -> np.ndarray:
    """Central differences of a scalar function."""
    gradient = np.zeros_like(vector)
    for i in range(len(vector)):
        up, down = vector.copy(), vector.copy()
        up[i] += step
        down[i] -= step
        gradient[i] = (function(up) - function(down)) / (2 * step)
    return gradient


def enumerate_chain(start, transitions, likelihoods) -> tuple[float, np.ndarray, np.ndarray, np.ndarray, float]:
    """One sequence by all k^T paths: log evidence, p(state | step), p(pair | step), the best path, its log joint.

    `start` is (k,), `transitions` (T, k, k) whose row t leads into step t, `likelihoods` (T, k): all logarithms.
    Of paths that are equally good the first in lexicographic order of the reversed path is the best.
    """
    steps, k = likelihoods.shape
    paths = list(itertools.product(range(k), repeat=steps))
    joint = np.array(
        [
            start[path[0]]
            + sum(likelihoods[t, path[t]] for t in range(steps))
            + sum(transitions[t, path[t - 1], path[t]] for t in range(1, steps))
            for path in paths
        ]
    )
    top = joint.max()
    log_evidence = top + math.log(np.exp(joint - top).sum())
    gamma, xi = np.zeros((steps, k)), np.zeros((steps, k, k))
    for path, probability in zip(paths, np.exp(joint - log_evidence), strict=True):
        for t in range(steps):
            gamma[t, path[t]] += probability
            if t:
                xi[t, path[t - 1], path[t]] += probability
    best = int(joint.argmax())
    return log_evidence, gamma, xi, np.array(paths[best]), joint[best]


def finite_difference_hessian(function, vector: np.ndarray, step: float = 1e-4) -> np.ndarray:
    """Central second differences of a scalar function."""
    p, eye = len(vector), np.eye(len(vector))

    def at(i: int, j: int, one: int, other: int) -> float:
        return function(vector + step * (one * eye[i] + other * eye[j]))

    hessian = np.zeros((p, p))
    for i, j in itertools.product(range(p), repeat=2):
        hessian[i, j] = (at(i, j, 1, 1) - at(i, j, 1, -1) - at(i, j, -1, 1) + at(i, j, -1, -1)) / (4 * step**2)
    return hessian


def enumerate_segments(start, transition, duration, likelihoods, censored=True):
    """One sequence by all its segmentations: log evidence, p(state | step), pairs, durations, best path, its joint.

    `start` is (k,), `transition` (k, k), `duration` (k, D), `likelihoods` (T, k): all logarithms. Of a last segment
    that the end cuts off, every duration that it may have had is a segmentation of its own; the best path is of those
    durations together.
    """
    (steps, k), longest = likelihoods.shape, duration.shape[1]
    found = []  # (log joint, segments as (state, first row, row after the last, duration))

    def extend(segments, log_joint, first):
        if first >= steps:
            found.append((log_joint, segments))
            return
        for state in range(k):
            begins = start[state] if not segments else transition[segments[-1][0], state]
            for lasts in range(1, longest + 1):
                if first + lasts > steps and not censored:
                    break
                end = min(first + lasts, steps)
                own = begins + duration[state, lasts - 1] + likelihoods[first:end, state].sum()
                if own > -math.inf:
                    extend([*segments, (state, first, end, lasts)], log_joint + own, end)

    extend([], 0.0, 0)
    joint = np.array([each[0] for each in found])
    log_evidence = joint.max() + math.log(np.exp(joint - joint.max()).sum())
    gamma, xi, counts = np.zeros((steps, k)), np.zeros((k, k)), np.zeros((k, longest))
    together: dict[tuple, float] = {}
    for (log_joint, segments), probability in zip(found, np.exp(joint - log_evidence), strict=True):
        for state, first, end, lasts in segments:
            gamma[first:end, state] += probability
            counts[state, lasts - 1] += probability
        for (before, *_), (after, *_) in itertools.pairwise(segments):
            xi[before, after] += probability
        seen = tuple((state, first, end) for state, first, end, _ in segments)
        together[seen] = np.logaddexp(together.get(seen, -math.inf), log_joint)
    best = max(together, key=lambda seen: together[seen])
    path = np.concatenate([[state] * (end - first) for state, first, end in best])
    return log_evidence, gamma, xi, counts, path, together[best]


def log_linear_gaussian(rows, offset, loadings, variance):
    """log Normal(x; b, WWᵀ + σ²I) of each row, (n,)."""
    covariance = loadings @ loadings.T + variance * np.eye(len(offset))
    return np.array([log_normal(row, offset, covariance) for row in rows])


def probabilistic_pca_evidence(rows, n_latent):
    """The highest Σ log p(x) of probabilistic PCA, in closed form (Tipping & Bishop 1999, eqs. 7 and 8)."""
    n, d = rows.shape
    values = np.sort(np.linalg.eigvalsh(np.cov(rows.T, bias=True)))[::-1]
    noise = values[n_latent:].mean()
    log_determinant = np.log(values[:n_latent]).sum() + (d - n_latent) * np.log(noise)
    return -0.5 * n * (d * np.log(2 * np.pi) + log_determinant + d)
