"""A fit on Iris to convergence against scikit-learn's MLPClassifier(lbfgs)."""

from __future__ import annotations

import warnings

from sklearn.datasets import load_iris
from sklearn.exceptions import ConvergenceWarning
from sklearn.neural_network import MLPClassifier
from sklearn.preprocessing import StandardScaler

from benchmarks.results import markdown, write
from benchmarks.timing import alternate
from emnet import EMMLPClassifier

_UNITS, _PENALTY = 7, 0.02


def main() -> None:
    X, y = load_iris(return_X_y=True)
    X = StandardScaler().fit_transform(X)
    tasks = {
        "MLPClassifier(lbfgs)": MLPClassifier(
            (_UNITS,), activation="logistic", solver="lbfgs", alpha=_PENALTY, max_iter=5000, random_state=0
        ),
        "EMMLPClassifier(), default: 3 starts": EMMLPClassifier(_UNITS, random_state=0),
        "EMMLPClassifier(n_init=1)": EMMLPClassifier(_UNITS, n_init=1, random_state=0),
        "EMMLPClassifier(n_init=1, algorithm='squarem')": EMMLPClassifier(
            _UNITS, n_init=1, algorithm="squarem", random_state=0
        ),
        "EMMLPClassifier(n_init=1, algorithm='em', max_iter=5000)": EMMLPClassifier(
            _UNITS, n_init=1, algorithm="em", max_iter=5000, random_state=0
        ),
    }
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        seconds = alternate({name: lambda m=model: m.fit(X, y) for name, model in tasks.items()})
    peer = seconds["MLPClassifier(lbfgs)"]
    rows = [
        [name, f"{seconds[name]:.3f}", f"{seconds[name] / peer:.1f} ×", model.n_iter_, getattr(model, "converged_", "")]
        for name, model in tasks.items()
    ]
    body = markdown(["fit", "s", "ratio", "iterations (best start)", "converged"], rows)
    write("iris_fit", "A fit on Iris, 7 units, to convergence", body + "\n\nGoal: under 20 ×.")
