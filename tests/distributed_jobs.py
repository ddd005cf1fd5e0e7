"""What the processes of tests/test_distributed.py fit; they import it by name."""

from __future__ import annotations

import hashlib
import warnings
from typing import Any

import numpy as np
from sklearn.base import clone

from tests.distributed_faults import Share
from tests.streamed import CASES

_NAMES = ("gaussians-prior-squarem", "tables", "em-mlp-lbfgs", "experts", "chain")


def digests(share: Share) -> dict[str, str]:
    """The bits of an estimator of every kind, fitted to this process's share."""
    warnings.simplefilter("ignore")
    cases = [case for case in CASES if case.name in _NAMES]
    return {case.name: _digest(case, clone(case.estimator).fit(share.of(case.stream()))) for case in cases}


def _digest(case: Any, model: Any) -> str:
    numbers = [np.ascontiguousarray(part).tobytes() for part in case.parameters(model)]
    return hashlib.sha256(b"".join([*numbers, np.float64(model.log_evidence_).tobytes()])).hexdigest()
