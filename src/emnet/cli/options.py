"""Options that several commands share, and what they stand for."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.shell_completion import CompletionItem

from emnet.estimators.model_table import KINDS
from emnet.exceptions import InvalidInputError

if TYPE_CHECKING:
    from emnet.data.reading import Columns
    from emnet.data.schema import Schema
    from emnet.estimators.table_model import TableModel

BUNDLED = ("iris", "wine", "breast_cancer", "digits")
MODELS = ("auto", *KINDS)
CLUSTERINGS = ("auto", *(name for name, kind in KINDS.items() if kind.clusters))
DENSITIES = ("auto", *(name for name, kind in KINDS.items() if kind.task == "density"))
OF_ROWS = (*DENSITIES, *(name for name, kind in KINDS.items() if kind.task == "sequences"))
_TABLES = (".csv", ".tsv", ".txt", ".parquet", ".feather", ".arrow", ".npy", ".npz")
_KINDS = ("number", "category", "date")


class SizesType(click.ParamType):
    """A number, several with commas between, or a range: 3, 2,4,8 or 2..10."""

    name = "int|a..b"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[int, ...] | None:
        if not isinstance(value, str):
            return value  # type: ignore[no-any-return]
        if value == "auto":
            return None
        first, dots, last = value.partition("..")
        try:
            sizes = tuple(range(int(first), int(last) + 1)) if dots else tuple(int(part) for part in value.split(","))
        except ValueError:
            sizes = ()
        if not sizes or min(sizes) < 1:
            self.fail(
                f"{value!r} is neither a number of at least 1, nor several (2,4,8), nor a range (2..10)", param, ctx
            )
        return sizes


class ModelType(click.ParamType):
    """A model by name, or a file that `emnet fit` wrote."""

    def __init__(self, names: tuple[str, ...]):
        self.names = names
        self.name = "|".join(names)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        if value in self.names or Path(value).suffix == ".emnet":
            return str(value)
        return self.fail(f"{value!r} is none of {', '.join(self.names)}, nor a file that ends in .emnet", param, ctx)

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        names = [CompletionItem(name) for name in self.names if name.startswith(incomplete)]
        return names or [CompletionItem(incomplete, type="file")]


class DataType(click.ParamType):
    """A file, a bundled data set, or - for standard input."""

    name = "data"

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        names = [CompletionItem(name) for name in BUNDLED if incomplete and name.startswith(incomplete)]
        return names or [CompletionItem(incomplete, type="file")]


class ColumnType(click.ParamType):
    """The name of a column, completed from the header of the data."""

    name = "column"

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        for data in (ctx.params.get("data"), *ctx.args):  # of words that are not finished, what is left over
            try:
                names = list(load_columns(str(data)))
            except (InvalidInputError, OSError):
                continue
            return [CompletionItem(name) for name in names if name.startswith(incomplete)]
        return []


data_argument = click.argument("data", type=DataType())
model_argument = click.argument("model", type=click.Path(dir_okay=False))
seed_option = click.option("--seed", type=click.IntRange(0, 2**31 - 1), default=0, show_default=True)


def table_options(command: Callable) -> Callable:
    """How the columns of a table are read."""
    for option in reversed(
        (
            click.option(
                "--drop",
                metavar="COLUMN",
                multiple=True,
                type=ColumnType(),
                help="Leave a column out (again for more).",
            ),
            click.option(
                "--as",
                "kinds",
                metavar="COLUMN=KIND",
                multiple=True,
                help="Take a column as number, category or date (again for more).",
            ),
            missing_option,
        )
    ):
        command = option(command)
    return command


target_option = click.option(
    "--target", metavar="COLUMN", type=ColumnType(), help="Explain this column from the others."
)
sequence_option = click.option(
    "--sequence", metavar="COLUMN", type=ColumnType(), help="Says to which sequence a row belongs."
)
missing_option = click.option(
    "--missing", metavar="WORD", multiple=True, help="A word that stands for nothing, besides NA, NaN, ? and the like."
)


quiet_option = click.option("-q", "--quiet", is_flag=True, help="Say nothing but what goes wrong.")


def talk_options(command: Callable) -> Callable:
    """How much is said, and in what form."""
    command = quiet_option(command)
    return click.option("--json", "as_json", is_flag=True, help="Print what was found as one JSON document.")(command)


def choice_options(command: Callable) -> Callable:
    """How a model is chosen."""
    command = seed_option(command)
    command = click.option(
        "--seconds",
        type=click.FloatRange(0),
        default=30.0,
        show_default=True,
        help="Time for comparing sizes and kinds on rows held out.",
    )(command)
    return click.option(
        "--size", type=SizesType(), metavar="INT|A..B", help="Components, units, experts or states; else chosen."
    )(command)


def stream_options(command: Callable) -> Callable:
    """What long fits need, and those of many processes."""
    for option in reversed(
        (
            click.option(
                "--checkpoint",
                metavar="FILE",
                type=click.Path(dir_okay=False),
                help="Keep the fit in this file, and go on from what it holds; name --model and --size then.",
            ),
            click.option(
                "--checkpoint-every", metavar="SECONDS", type=click.FloatRange(0), help="Between two checkpoints: 60."
            ),
            click.option(
                "--blocks",
                type=click.IntRange(1),
                default=12,
                show_default=True,
                help="Most processes that may share files; the same number gives the same bits.",
            ),
            click.option(
                "--timeout",
                metavar="SECONDS",
                type=click.FloatRange(1),
                default=600.0,
                show_default=True,
                help="After which a process that others wait for is lost.",
            ),
        )
    ):
        command = option(command)
    return command


def is_stream(data: str) -> bool:
    """Whether rows are read file by file: those of a folder or a pattern, and of whatever torchrun starts."""
    from glob import has_magic

    started = "RANK" in os.environ
    if started and (data in BUNDLED or data == "-"):
        raise InvalidInputError(
            f"{data}: processes that torchrun starts share files; give a file, a folder or a pattern."
        )
    return started or (not Path(data).is_file() and (has_magic(data) or Path(data).is_dir()))


def load_columns(data: str, missing: tuple[str, ...] = ()) -> Columns:
    """A bundled data set, a file, or standard input; words that stand for nothing become None."""
    from emnet.data.bundled import NAMES, load_bundled
    from emnet.data.reading import STDIN, read_columns, without_words

    if data in NAMES:
        table = load_bundled(data)
        return {**{name: table.X[:, j].tolist() for j, name in enumerate(table.columns)}, "target": table.y.tolist()}
    if data != STDIN and not Path(data).exists() and Path(data).suffix == "":
        raise InvalidInputError(f"{data!r}: neither a bundled data set ({', '.join(NAMES)}) nor a file that exists.")
    if Path(data).suffix == ".emnet":
        raise InvalidInputError(
            f"{data} is a model, where a table was expected; models come first, as in emnet predict."
        )
    return without_words(read_columns(data), missing)


def read_schema(
    columns: Columns,
    drop: tuple[str, ...],
    kinds: tuple[str, ...],
    target: str | None = None,
    sequence: str | None = None,
    missing: tuple[str, ...] = (),
) -> Schema:
    """What the columns are, with what the user said of some."""
    from emnet.data.schema import schema_of

    return schema_of(columns, target=target, sequence=sequence, drop=drop, kinds=read_kinds(kinds), missing=missing)


def read_kinds(kinds: tuple[str, ...]) -> dict[str, str]:
    """{column: what it is to be taken as}."""
    wanted = {}
    for text in kinds:
        name, _, kind = text.rpartition("=")
        if not name or kind not in _KINDS:
            raise InvalidInputError(f"--as {text}: COLUMN=KIND was expected, where KIND is {', '.join(_KINDS)}.")
        wanted[name.strip("'\"")] = kind
    return wanted


def load_model(path: str) -> TableModel:
    """A model of a table from a file.

    Raises InvalidInputError for a file of an estimator that Python saved: it has no columns to speak of.
    """
    from emnet.estimators.table_model import TableModel
    from emnet.serialization import load

    if Path(path).suffix.lower() in _TABLES:
        raise InvalidInputError(
            f"{path} is a table, where a model was expected: models come first, as in emnet predict."
        )
    model = load(path)
    if not isinstance(model, TableModel):
        raise InvalidInputError(
            f"{path}: a {type(model).__name__} that Python saved, without the names of a table's columns. Load it in "
            "Python, or fit one with emnet fit."
        )
    return model


def beside(path: str, word: str) -> str:
    """The name of a file beside another: filled.csv → filled.sd.csv."""
    return str(Path(path).with_suffix(f".{word}{Path(path).suffix}"))
