"""Altered model files by Hypothesis, `--seconds` of each class: a ModelFileError and nothing else."""

from __future__ import annotations

import sys
import tempfile
import time
import warnings
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

import emnet
from benchmarks.results import markdown, write
from emnet import envelope
from emnet.data.schema import schema_of
from emnet.estimators.table_choice import Request, fit_table
from emnet.serialization import _CLASSES
from tests.cases.altered import JSON, accidents, flipped, foreign_classes, opened, places, purposes, replaced
from tests.cases.fits import FITS, FitCase

_SECONDS = 15.0
_CHECKS = list(HealthCheck)
_TABLE = {
    "number": [f"{i * i % 37 / 4}" for i in range(60)],
    "word": ["up", "down", "up", "aside"] * 15,
    "date": [f"2020-01-{1 + i % 28:02d}" for i in range(60)],
}


def main() -> None:
    seconds = float(sys.argv[sys.argv.index("--seconds") + 1]) if "--seconds" in sys.argv else _SECONDS
    warnings.simplefilter("ignore")
    rows = [_row(case, seconds) for case in _one_of_each_class()]
    header = [
        "class",
        "altered by accident",
        "refused",
        "altered on purpose",
        "refused",
        "still a model",
        "other errors",
    ]
    body = markdown(header, rows) + (
        "\n\nBy accident: cut at every kilobyte, bytes and bits flipped, headers that lie. On purpose, with a checksum "
        "that fits: tensors of NaN, of other shapes, under other names, left out; any value at any place of the state; "
        'other classes. "Still a model": what was put there may stand there, as another `tol`. Errors other than '
        f"ModelFileError: {sum(int(row[-1]) for row in rows)}."
    )
    write("fuzz", "Altered files", body)


def _one_of_each_class() -> list[FitCase]:
    found = {type(case.make()).__name__: case for case in reversed(FITS)}
    return [FitCase("TableModel", TableModel, (_TABLE,)), *(case for name, case in found.items() if name in _CLASSES)]


class TableModel:
    """What fits a model of a table with numbers, words and dates."""

    def fit(self, columns: dict[str, list[str]]) -> Any:
        return fit_table(columns, schema_of(columns), Request("mixture", (2,)))


def _row(case: FitCase, seconds: float) -> list[object]:
    with tempfile.TemporaryDirectory() as folder:
        path, altered = Path(folder) / "model.emnet", Path(folder) / "altered.emnet"
        case.fit().save(path)
        content, model = path.read_bytes(), opened(path)
        by_accident, on_purpose = Counter[str](), Counter[str]()
        for _, other in accidents(content):
            altered.write_bytes(other)
            by_accident[_outcome(altered)] += 1
        for _, put in (*purposes(model), *foreign_classes(model)):
            put(altered)
            on_purpose[_outcome(altered)] += 1
        _until(seconds / 3, lambda data: by_accident.update([_flip(data, content, altered)]))
        _until(seconds * 2 / 3, lambda data: on_purpose.update([_put(data, model, altered)]))
    refused, others = "refused", [k for k in {*by_accident, *on_purpose} if k not in ("refused", "a model")]
    for name in others:
        print(case.name, name, flush=True)
    wrong = by_accident["a model"] + sum(by_accident[k] + on_purpose[k] for k in others)
    row = [_name(case), by_accident.total(), by_accident[refused], on_purpose.total(), on_purpose[refused]]
    print(row, wrong, flush=True)
    return [*row, on_purpose["a model"], wrong]


def _name(case: FitCase) -> str:
    return type(case.make()).__name__


def _outcome(path: Path) -> str:
    try:
        emnet.load(path)
    except emnet.ModelFileError:
        return "refused"
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return "a model"


def _flip(data: Any, content: bytes, path: Path) -> str:
    position, mask = data.draw(st.integers(0, len(content) - 1)), data.draw(st.integers(1, 255))
    path.write_bytes(flipped(content, position, mask))
    return _outcome(path)


def _put(data: Any, model: tuple, path: Path) -> str:
    """Any value at any place, or a tensor of any shape and numbers."""
    name, state, tensors = model
    if data.draw(st.booleans()):
        place = data.draw(st.sampled_from(list(places(state))))
        state = replaced(state, place, data.draw(JSON))
    else:
        key = data.draw(st.sampled_from(sorted(tensors)))
        shape = data.draw(st.lists(st.integers(0, 5), max_size=4))
        numbers = data.draw(st.lists(st.floats(width=64), min_size=1, max_size=8))
        tensors = {**tensors, key: np.resize(np.array(numbers), shape)}
    envelope.write(path, name, state, tensors)
    return _outcome(path)


def _until(seconds: float, attempt: Any) -> None:
    end = time.monotonic() + seconds

    @settings(max_examples=100, deadline=None, database=None, phases=[Phase.generate], suppress_health_check=_CHECKS)
    @given(st.data())
    def examples(data: Any) -> None:
        attempt(data)

    while time.monotonic() < end:
        examples()


if __name__ == "__main__":
    main()
