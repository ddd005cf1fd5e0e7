"""Why a fit ended, in words: sentences for pages, phrases for a line."""

from __future__ import annotations

from typing import Any

from emnet.algorithms.base import Reason

_SENTENCES: dict[Any, str] = {
    Reason.CONVERGED: "It converged: the last iteration brought less than the tolerance.",
    Reason.MAX_ITER: "It ended at the largest number of iterations, before it converged: more may bring more.",
    Reason.DECREASED: "It ended because the evidence fell; the best parameters are kept.",
    Reason.DEGENERATE: "It ended because the parameters became degenerate; the last good ones are kept.",
    Reason.INTERRUPTED: "It was interrupted; the best parameters are kept.",
    Reason.STOPPED: "A callback ended it.",
}
_PHRASES: dict[Any, str] = {
    Reason.CONVERGED: "converged",
    Reason.MAX_ITER: "ended by max_iter",
    Reason.DECREASED: "ended by a fall of the evidence",
    Reason.DEGENERATE: "ended by degenerate parameters",
    Reason.INTERRUPTED: "interrupted",
    Reason.STOPPED: "ended by a callback",
}
_EARLY_SENTENCE = (
    "Early stopping ended it: the evidence of held-out rows had not risen for {} iterations; the parameters at which "
    "it was highest are kept."
)
_EARLY_PHRASE = "ended by early stopping"


def sentence(estimator: Any, reason: str | None) -> str:
    """Nothing where there is no reason."""
    if _is_early(estimator, reason):
        return _EARLY_SENTENCE.format(estimator.n_iter_no_change)
    return _SENTENCES.get(reason, "")


def phrase(estimator: Any, reason: str) -> str:
    """What "after 12 iterations" may follow."""
    return _EARLY_PHRASE if _is_early(estimator, reason) else _PHRASES.get(reason, "ended")


def _is_early(estimator: Any, reason: str | None) -> bool:
    return reason == Reason.STOPPED and bool(getattr(estimator, "early_stopping", False))
