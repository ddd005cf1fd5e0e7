"""Which columns of a table are inputs, target, weight and sequence, and the table as arrays."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from emnet.exceptions import InvalidInputError, MissingDependencyError

Column = str | int
_SHOWN = 20
_NO_NUMBERS = (
    "Column {!r} holds no numbers ({}){}. Leave it out of columns=, or take emnet.MixtureModel, which explains words "
    "too."
)


@dataclass(frozen=True)
class Parts:
    """Rows of a table: `X` (n, d), float64 or, where there are words, a data frame; the others (n,), or None.

    names : of the columns of X, None of arrays.
    """

    X: Any
    y: np.ndarray | None = None
    weights: np.ndarray | None = None
    sequence: np.ndarray | None = None
    names: tuple[str, ...] | None = None


class Reading(Protocol):
    """How the tables of a source become rows: by the roles of `Columns`, or in another way.

    as_frames, as_cells : see `Columns`.
    """

    @property
    def sequence(self) -> Column | None: ...
    @property
    def roles(self) -> tuple[Column, ...]: ...
    @property
    def as_frames(self) -> bool: ...
    @property
    def as_cells(self) -> bool: ...
    def read(self) -> list[str] | None: ...
    def parts(self, table: Any) -> Parts: ...


@dataclass(frozen=True)
class Columns:
    """The roles of columns, by name or, of arrays, position; `inputs` None is every column without a role.

    as_frames : whether inputs of tables stay data frames though all of them are numbers.
    as_cells : whether all columns come as what stands in them, text of CSV files: X is (n, d) of objects.
    """

    inputs: tuple[Column, ...] | None = None
    target: Column | None = None
    weight: Column | None = None
    sequence: Column | None = None
    as_frames: bool = False
    as_cells: bool = False

    @property
    def roles(self) -> tuple[Column, ...]:
        return tuple(c for c in (self.target, self.weight, self.sequence) if c is not None)

    def read(self) -> list[str] | None:
        """What to ask a file for, None for all of it."""
        return None if self.inputs is None else list(dict.fromkeys(map(str, (*self.inputs, *self.roles))))

    def parts(self, table: Any) -> Parts:
        """An array, a tuple (X, y) or (X, y, weights), or a table that narwhals knows, by roles."""
        if self.as_cells:
            cells = {name: _objects(column) for name, column in cells_of(table).items()}
            sequence = None if self.sequence is None else cells[str(self.sequence)]
            return Parts(np.column_stack(list(cells.values())), None, None, sequence, tuple(cells))
        if isinstance(table, (tuple, list)):
            return self._of_tuple(table)
        table = _as_numpy(table)
        if isinstance(table, dict):
            return self._of_frame(_framed(table)) if self.as_frames else self._of_columns(table)
        return self._of_array(table) if isinstance(table, np.ndarray) else self._of_table(table)

    def _of_tuple(self, table: Any) -> Parts:
        if not 1 <= len(table) <= 3 or self.roles:
            raise InvalidInputError(
                f"A batch must be a table, or (X, y) or (X, y, weights) without target=, weight= and sequence=; got "
                f"{len(table)} parts."
            )
        inputs, *rest = (_as_numpy(part) for part in table)
        y, weights = (*rest, None, None)[:2]
        own = self.parts(inputs)
        return Parts(own.X, y, weights, names=own.names)

    def _of_array(self, table: np.ndarray) -> Parts:
        if table.ndim != 2:
            raise InvalidInputError(f"A batch of rows must be (n, d); got an array of shape {table.shape}.")
        d = table.shape[1]
        for column in (*(self.inputs or ()), *self.roles):
            if not isinstance(column, (int, np.integer)) or not -d <= column < d:
                raise InvalidInputError(f"An array of {d} columns has no column {column!r}: give positions.")
        roles = [column % d for column in self.roles]  # type: ignore[operator]
        if self.inputs is None and not roles:
            X = table
        else:
            X = table[:, [j for j in range(d) if j not in roles] if self.inputs is None else list(self.inputs)]  # type: ignore[index]

        def of(column: Any) -> np.ndarray | None:
            return None if column is None else table[:, column]

        return Parts(np.asarray(X, dtype=np.float64), of(self.target), of(self.weight), of(self.sequence))

    def _of_table(self, table: Any) -> Parts:
        import narwhals as nw

        try:
            frame = nw.from_native(table, eager_only=True)
        except TypeError as error:
            raise InvalidInputError(
                f"A batch must be an array, a tensor, or a pandas, polars or Arrow table; got {type(table).__name__}."
            ) from error
        return self._of_frame(frame)

    def _of_frame(self, frame: Any) -> Parts:
        inputs = self._inputs_among(frame.columns)

        def of(column: Any) -> np.ndarray | None:
            return None if column is None else _plain(frame[column].to_numpy())

        X = _as_frame(frame.select(inputs)) if self.as_frames else _inputs(frame, inputs)
        return Parts(X, of(self.target), of(self.weight), of(self.sequence), tuple(inputs))

    def _of_columns(self, table: dict[str, np.ndarray]) -> Parts:
        """Columns of numbers, or of words."""
        inputs = self._inputs_among(list(table))
        for name in inputs:
            if table[name].dtype == object:
                raise InvalidInputError(_NO_NUMBERS.format(name, "text", f"; its row 0 is {table[name][0]!r}"))
        X = np.stack([table[name] for name in inputs]).T.astype(np.float64)
        y, weights, sequence = (None if name is None else table[str(name)] for name in self._own)
        return Parts(X, y, weights, sequence, tuple(inputs))

    def _inputs_among(self, names: Sequence[str]) -> list[str]:
        require_names((*(self.inputs or ()), *self.roles), names)
        return [n for n in names if n not in self.roles] if self.inputs is None else list(map(str, self.inputs))

    @property
    def _own(self) -> tuple[Column | None, Column | None, Column | None]:
        return self.target, self.weight, self.sequence


def cells_of(table: Any) -> dict[str, Any]:
    """What stands in each column: lists, or arrays of numbers; the columns of an array are x0, x1, …"""
    table = _as_numpy(table)
    if isinstance(table, dict):
        return table
    if isinstance(table, np.ndarray):
        return {f"x{j}": column for j, column in enumerate(table.T)}
    import narwhals as nw

    frame = nw.from_native(table, eager_only=True)
    return {name: _cells(frame[name]) for name in frame.columns}


def _cells(column: Any) -> Any:
    plain = column.dtype.is_float() or (column.dtype.is_integer() and not column.null_count())
    return column.to_numpy() if plain else column.to_list()


def require_names(wanted: Iterable[Any], names: Sequence[str]) -> None:
    """Raise InvalidInputError for a column that is not there."""
    for name in wanted:
        if name not in names:
            more = ", …" if len(names) > _SHOWN else ""
            raise InvalidInputError(f"No column {name!r}; there are {', '.join(map(str, names[:_SHOWN]))}{more}.")


def _inputs(frame: Any, names: Sequence[str]) -> np.ndarray:
    """The columns as one float64 array, (n, d), in memory column by column, as tables have them and kernels like it."""
    import narwhals as nw

    if (rows := _arrow_rows(frame.to_native(), names)) is not None:
        return rows
    columns = list(frame.select(names).iter_columns())  # asked for one by one they would take longer than to copy
    for name, column in zip(names, columns, strict=True):
        if not column.dtype.is_numeric() and column.dtype != nw.Boolean:
            raise InvalidInputError(_NO_NUMBERS.format(name, column.dtype, _first_word(column)))
    out = np.empty((len(names), len(frame))).T
    for j, column in enumerate(columns):
        cells = column.to_numpy()
        out[:, j] = cells if cells.dtype != object else column.cast(nw.Float64).to_numpy()
    return out


def _arrow_rows(table: Any, names: Sequence[str]) -> np.ndarray | None:
    """The same of an Arrow table in one piece whose columns are reals of one type, None of others.

    Arrow copies all columns at once and without Python's lock, which a thread that works on other rows needs.
    """
    if not type(table).__module__.startswith("pyarrow"):
        return None
    import pyarrow.types

    chosen = table.select(names)
    pieces, kinds = chosen.to_batches(), set(chosen.schema.types)
    if len(pieces) != 1 or len(kinds) != 1 or not all(map(pyarrow.types.is_floating, kinds)):
        return None
    return np.asarray(pieces[0].to_tensor(null_to_nan=True, row_major=False).to_numpy(), dtype=np.float64)


def _first_word(column: Any) -> str:
    """The first cell that is none, and its row in the batch."""
    for row, cell in enumerate(column.to_list()):
        try:
            float("nan" if cell is None else cell)
        except (TypeError, ValueError):
            return f"; its row {row} is {cell!r}"
    return ""


def _as_frame(frame: Any) -> Any:
    """A frame of the library that made it; an Arrow table as one of pandas or polars, whichever is there."""
    native = frame.to_native()
    if not type(native).__module__.startswith("pyarrow"):
        return native
    try:
        return frame.to_pandas()
    except ImportError:
        return frame.to_polars()


def _framed(table: dict[str, np.ndarray]) -> Any:
    """Columns as a frame of whichever library is there."""
    import narwhals as nw

    for library in ("pandas", "polars"):
        try:
            return nw.from_dict(table, backend=library)
        except ImportError:
            continue
    raise MissingDependencyError("Streams of CSV files with words need pandas or polars: pip install pandas.")


def _objects(cells: Any) -> np.ndarray:
    """As Python has them."""
    out = np.empty(len(cells), dtype=object)
    out[:] = cells.tolist() if isinstance(cells, np.ndarray) else cells
    return out


def _as_numpy(table: Any) -> Any:
    """Tensors and record batches as what the others are."""
    if hasattr(table, "detach") and hasattr(table, "numpy"):
        return table.detach().cpu().numpy()
    if type(table).__name__ == "RecordBatch":
        import pyarrow

        return pyarrow.Table.from_batches([table])
    return table


def _plain(cells: np.ndarray) -> np.ndarray:
    """Words as objects, so that all batches have one type of them."""
    return cells.astype(object) if cells.dtype.kind in "US" else cells
