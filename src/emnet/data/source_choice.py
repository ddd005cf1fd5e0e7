"""The source for whatever `emnet.stream` may be given."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from typing import Any

from emnet.data.file_sources import Dataset, Files, matching
from emnet.data.sources import Factory, Source, Table
from emnet.exceptions import InvalidInputError


def source_of(data: Any) -> Source:
    """The source for whatever `emnet.stream` may be given."""
    if isinstance(data, (str, os.PathLike)):
        return Files(tuple(matching(os.fspath(data))))
    if isinstance(data, (list, tuple)) and data and all(isinstance(part, (str, os.PathLike)) for part in data):
        return Files(tuple(path for part in data for path in matching(os.fspath(part))))
    if type(data).__module__.startswith("pyarrow._dataset"):
        return Dataset(data)
    if callable(data) and not hasattr(data, "__len__"):
        return Factory(data)
    if _is_table(data):
        return Table(data)
    if isinstance(data, Iterator):
        raise InvalidInputError(
            f"EM goes through the data many times, and {type(data).__name__} can be gone through once: give a function "
            "that makes it, such as lambda: read_batches(path)."
        )
    if isinstance(data, Iterable):
        return Factory(data.__iter__)
    raise InvalidInputError(
        f"emnet.stream takes a path, a pattern, an array, a table, an Arrow data set, a DataLoader or a function that "
        f"makes an iterator; got {type(data).__name__}."
    )


def _is_table(data: Any) -> bool:
    if isinstance(data, tuple):
        return bool(data) and all(part is None or hasattr(part, "shape") for part in data)
    return hasattr(data, "shape") or hasattr(data, "__dataframe__") or hasattr(data, "__arrow_c_stream__")
