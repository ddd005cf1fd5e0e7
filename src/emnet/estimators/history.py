"""The record of a run as users read it: dicts, printed lines, JSON."""

from __future__ import annotations

from typing import Any

from emnet.algorithms.base import Callback, Fit, Iteration, Progress, Reason
from emnet.posteriors import EvidenceKind


def as_dict(line: Iteration) -> dict[str, Any]:
    """A line of `history_`."""
    progress = line.progress
    return {
        "iteration": line.number,
        "log_evidence": progress.log_evidence,
        "log_prior": progress.log_prior,
        "objective": progress.objective,
        "kind": str(progress.kind),
        **progress.diagnostics,
        "seconds": line.seconds,
    }


def format_line(iteration: Iteration, rows: float) -> str:
    """A line of `verbose`: iteration, mean log p(y | x) (nats a row), log evidence (nats), seconds."""
    diagnostics = "".join(f"   {name.replace('_', ' ')} {x:.1f}" for name, x in iteration.progress.diagnostics.items())
    kind = "" if iteration.progress.kind is EvidenceKind.EXACT else f" ({iteration.progress.kind})"
    return (
        f"iteration {iteration.number:4d}   mean log p(y|x) {iteration.log_evidence / rows:9.5f}   "
        f"log evidence {iteration.log_evidence:12.4f}{kind}{diagnostics}   {iteration.seconds:7.2f} s"
    )


def printer(rows: float, start: int, n_starts: int) -> Callback:
    """A callback that prints every line of the history."""
    name = f"start {start}   " if n_starts > 1 else ""

    def callback(model: Any, iteration: Iteration) -> None:
        print(name + format_line(iteration, rows), flush=True)

    return callback


def fit_to_json(fit: Fit) -> dict[str, Any]:
    return {
        "history": [
            {
                "iteration": line.number,
                "log_evidence": line.progress.log_evidence,
                "log_prior": line.progress.log_prior,
                "kind": str(line.progress.kind),
                "diagnostics": line.progress.diagnostics,
                "seconds": line.seconds,
                **({"unsettled": True} if line.progress.unsettled else {}),
            }
            for line in fit.history
        ],
        "reason": str(fit.reason),
        "rows": fit.rows,
        "seconds": fit.seconds,
    }


def fit_from_json(record: dict[str, Any]) -> Fit:
    """Raises ValueError, TypeError or LookupError for what `fit_to_json` does not give."""
    history = tuple(map(_line, record["history"]))
    return Fit(history, Reason(record["reason"]), _number(record["rows"]), _number(record["seconds"]))


def _line(line: dict[str, Any]) -> Iteration:
    progress = Progress(
        _number(line["log_evidence"]),
        _number(line["log_prior"]),
        EvidenceKind(line["kind"]),
        {name: _number(own) for name, own in line["diagnostics"].items()},
        line.get("unsettled", False) is True,
    )
    return Iteration(int(_number(line["iteration"])), progress, _number(line["seconds"]))


def _number(own: Any) -> float:
    if type(own) not in (int, float):
        raise ValueError(f"a number was expected in the history; there is {own!r:.60}")
    return own
