"""What a command says: notes and progress on standard error, what was found on standard output."""

from __future__ import annotations

import json
import math
import time
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from emnet.algorithms.base import Iteration
    from emnet.applications.select import Tried

_EVERY = 10.0  # seconds between lines of a fit in a log
WIDTH = 120
_ROUNDING = 1e-12
_HALF_PERCENT = 0.005


class Talk:
    """One command's voice. `as_json` and `quiet` silence what people read; on a terminal progress is one line."""

    def __init__(self, as_json: bool, quiet: bool, table_on_stdout: bool = False):
        self.as_json, self.quiet = as_json, quiet
        self.aside = table_on_stdout or as_json  # whether words go to standard error
        self.compared: list[Tried] = []
        self._status: Any = None
        self._began = self._last = time.perf_counter()

    def note(self, text: str) -> None:
        """A remark on the way."""
        if not self.quiet:
            click.echo(f"note: {text}", err=True)

    def say(self, text: str = "") -> None:
        """A line of what was found."""
        if not self.quiet and not self.as_json:
            click.echo(text, err=self.aside)

    def table(self, header: Sequence[str], rows: Iterable[Sequence[str]], left: int = 1) -> None:
        """A table, its first columns flush left."""
        if self.quiet or self.as_json:
            return
        from rich.box import SIMPLE_HEAD
        from rich.console import Console
        from rich.table import Table

        table = Table(box=SIMPLE_HEAD, pad_edge=False)
        for j, name in enumerate(header):
            table.add_column(name, justify="left" if j < left else "right", overflow="fold")
        for row in rows:
            table.add_row(*row)
        console = Console(stderr=self.aside, highlight=False, markup=False)
        console.width = max(console.width, WIDTH)
        console.print(table)

    def found(self, content: Mapping[str, Any]) -> None:
        """What was found, for machines."""
        if self.as_json:
            click.echo(json.dumps(_plain(content), ensure_ascii=False, allow_nan=False))

    # -- progress ---------------------------------------------------------------------------------------------------

    @contextmanager
    def progress(self, seconds: float) -> Iterator[None]:
        """While models are compared and fitted; warnings come out as notes."""
        from rich.console import Console

        console = Console(stderr=True)
        self._began = self._last = time.perf_counter()
        self._budget = seconds
        shown = console.is_terminal and not self.quiet and not self.as_json
        self._status = console.status("Reading …") if shown else None
        if self._status is not None:
            self._status.start()
        try:
            with warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter("always", UserWarning)
                yield
        finally:
            if self._status is not None:
                self._status.stop()
        for text in dict.fromkeys(str(w.message) for w in caught if issubclass(w.category, UserWarning)):
            self.note(text)

    def tried(self, tried: Tried, total: int) -> None:
        """After every model compared."""
        self.compared.append(tried)
        number, used = len(self.compared), time.perf_counter() - self._began
        left = max(0.0, min(self._budget - used, used / number * (total - number)))
        what = f"{tried.evidence:.4g} nats" if tried.problem is None else "could not be fitted"
        text = f"compared {number} of {total}: {tried.candidate.name}: {what}"
        self._show(f"{text}; at most {left:.0f} s left", f"{text} ({tried.seconds:.1f} s)")

    def compared_one(self, what: str, number: int, total: int) -> None:
        """After every model compared by a criterion of all rows."""
        used = time.perf_counter() - self._began
        text = f"compared {number} of {total}: {what}"
        self._show(f"{text}; about {used / number * (total - number):.0f} s left", f"{text} ({used:.1f} s)")

    def iteration(self, model: Any, iteration: Iteration) -> None:
        """After every iteration of the fit."""
        now = time.perf_counter()
        text = f"fitting, iteration {iteration.number}: log evidence {iteration.log_evidence:.6g}"
        if self._status is not None:
            self._show(text, text)
        elif now - self._last > _EVERY:
            self._last = now
            self._show(text, f"{text} ({now - self._began:.0f} s)")

    def _show(self, on_terminal: str, in_log: str) -> None:
        if self._status is not None:
            self._status.update(on_terminal)
        elif not self.quiet and not self.as_json:
            click.echo(in_log, err=True)


def number(x: float | None) -> str:
    """A figure as people read it; what rounding left of 0 is 0."""
    return "" if x is None or math.isnan(x) else "0" if abs(x) < _ROUNDING else f"{x:.4g}"


def percent(share: float) -> str:
    """Without decimals; what is there is not nothing."""
    return "<1%" if 0 < share < _HALF_PERCENT else f"{share:.0%}"


def several(n: int, noun: str) -> str:
    """A count of things."""
    return f"{n} {noun}{'' if n == 1 else 's'}"


def short(values: Iterable[float]) -> list[float]:
    """Figures with the digits that are worth a place in a table."""
    return [float(f"{value:.6g}") for value in values]


def _plain(value: Any) -> Any:
    """A value as JSON has it: numbers that are none are null."""
    if isinstance(value, Mapping):
        return {str(key): _plain(part) for key, part in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(part) for part in value]
    if hasattr(value, "tolist"):
        return _plain(value.tolist())
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value if value is None or isinstance(value, (bool, int, str)) else str(value)
