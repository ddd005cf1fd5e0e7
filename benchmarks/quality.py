"""The default EM against back-propagation with its best penalty, by `emnet compare`, 30 splits."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path

from benchmarks.results import markdown, write

_SETS = ("iris", "wine", "breast_cancer", "digits")
_REPEATS = 30
_METHODS = ("back-propagation", "back-propagation, best", "EM, classic text", "EM, default")


def compare(name: str) -> dict:
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "r.json"
        command = [sys.executable, "-m", "emnet", "compare", name, "--repeats", str(_REPEATS), "--json", str(out)]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        return json.loads(out.read_text())


def main() -> None:
    rows = []
    for name in _SETS:
        result = compare(name)
        for method in _METHODS:
            mean, sd = result["methods"][method]["mean"], result["methods"][method]["sd"]
            label = f"{method} (penalty {result['best_penalty']:.3g})" if method.endswith("best") else method
            rows.append(
                [
                    name,
                    label,
                    f"{mean['train_ce']:.4f}",
                    f"{mean['test_ce']:.4f} ± {sd['test_ce']:.4f}",
                    f"{mean['accuracy']:.2%} ± {sd['accuracy']:.2%}",
                    f"{mean['iterations']:.0f}",
                    f"{mean['seconds']:.2f}",
                ]
            )
        wins = result["wins"]["back-propagation, best"]
        rows.append([name, f"EM, default beat best in {wins['lower_ce']} of {wins['splits']} splits on CE", *[""] * 5])
        best, em = (result["methods"][method]["mean"] for method in _METHODS[1::2])
        reached = em["test_ce"] <= best["test_ce"] and em["accuracy"] >= best["accuracy"] - 0.005
        rows.append([name, f"goal {'reached' if reached else 'MISSED'}", *[""] * 5])
    header = ["data", "method", "train CE ↓", "test CE ↓", "test accuracy ↑", "iterations", "s"]
    body = markdown(header, rows) + (
        "\n\nGoal: the default EM's mean test CE at or below back-propagation's with its best penalty of six (the "
        "classic EM's among them), chosen on these very test sets, and accuracy no lower than 0.5 point below. Seconds "
        "of the default EM are of its three starts.\n\n"
        "What was tried beside a constant prior, none of it better on all four: one precision for both layers, the "
        "Laplace evidence, approximate leave-one-out, inner cross-validation, averaging over strengths, weights "
        "sampled from the Laplace approximation, and stopping early, which helps wine and hurts iris and digits. In "
        "the sweep of suite `prior` no precision reaches the goal on wine."
    )
    write("quality", f"EM against back-propagation, 8 hidden units, {_REPEATS} stratified splits", body)
