"""Where EM for a mixture of experts starts: k-means, down the tree of the gate, then M-steps on what it gives."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from emnet.algorithms.adam import Adam
from emnet.batch import Batch
from emnet.factors.module import ModuleFactor
from emnet.models.base import LatentModel
from emnet.models.mixture import Mixture
from emnet.posteriors import Discrete, EvidenceKind

_SURE = 0.9  # of a row's own cluster; the rest is spread, so that gates stay finite and every expert sees every row
_MOST_ROWS = 10_000
_M_STEPS, _MODULE_STEPS, _MODULE_RATE = 5, 100, 0.02


def responsibilities(features: np.ndarray, weights: np.ndarray, levels: Sequence[int], seed: int) -> np.ndarray:
    """Soft responsibilities of the leaves, (n, k): each node parts its rows by k-means, from the root down.

    They depend on which rows there are and their weights, not on the rows' order or on how often each is written.
    """
    rng = np.random.RandomState(seed)
    leaf = np.zeros(len(features), dtype=int)
    for branches in levels:
        deeper = leaf * branches
        for node in np.unique(leaf):
            own = leaf == node
            deeper[own] += _clusters(features[own], weights[own], branches, rng)
        leaf = deeper
    k = int(np.prod(levels))
    return np.where(leaf[:, None] == np.arange(k), _SURE + (1 - _SURE) / k, (1 - _SURE) / k)


def random_responsibilities(n: int, levels: Sequence[int], seed: int) -> np.ndarray:
    """Drawn from a flat Dirichlet distribution, (n, k): what k-means is measured against."""
    return np.random.RandomState(seed).dirichlet(np.ones(int(np.prod(levels))), size=n)


def prime(model: Mixture, batch: Batch, shares: np.ndarray) -> None:
    """M-steps on given responsibilities, of networks a hundred of Adam's."""
    fixed = _Given(torch.as_tensor(shares, dtype=batch.target.dtype if batch.given is None else batch.given.dtype))
    with torch.no_grad():
        for _ in range(_M_STEPS):
            model.m_step(model.statistics(batch, fixed(model, batch)))
        if any(isinstance(part, ModuleFactor) for part in model.modules()):
            adam = Adam(fixed, learning_rate=_MODULE_RATE)
            for _ in range(_MODULE_STEPS):
                adam.step(model, [batch])


class _Given:
    """An E-step that gives what it was given."""

    def __init__(self, shares: Tensor):
        self.shares = shares

    def __call__(self, model: LatentModel, batch: Batch) -> Discrete:
        shares = self.shares.to(batch.target.device)
        return Discrete(torch.zeros(len(shares), device=shares.device).double(), EvidenceKind.ESTIMATE, shares)


def _clusters(features: np.ndarray, weights: np.ndarray, k: int, rng: np.random.RandomState) -> np.ndarray:
    from sklearn.cluster import KMeans

    distinct, which = np.unique(features, axis=0, return_inverse=True)
    mass = np.bincount(which.ravel(), weights=weights)
    kept = rng.choice(len(distinct), _MOST_ROWS, replace=False) if len(distinct) > _MOST_ROWS else slice(None)
    seed = int(rng.randint(2**31))
    k = min(k, len(distinct))
    found = KMeans(k, n_init=1, random_state=seed).fit(distinct[kept], sample_weight=mass[kept])
    return found.predict(distinct)[which.ravel()]
