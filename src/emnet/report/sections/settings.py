"""What one has to know to do it again."""

from __future__ import annotations

import inspect
import platform
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from emnet.report import svg
from emnet.report.page import Section, Table
from emnet.report.subject import Subject
from emnet.report.words import number

_PACKAGES = ("emnet", "torch", "numpy", "scipy", "scikit-learn", "numba")
_LONGEST = 100


def section(subject: Subject) -> Section:
    """Parameters that were set, or found; versions; and the command."""
    rows = [(name, _said(value)) for name, value in _changed(subject.estimator).items() if name != "callbacks"]
    more = [(name, _said(value)) for name, value in subject.settings.items() if name != "command"]
    tables = [
        Table(
            ("parameter", "value"), [*more, *rows], f"{type(subject.estimator).__name__}; all else is as by default."
        ),
        Table(("package", "version"), versions()),
    ]
    command = str(subject.settings.get("command", ""))
    lead = "The same data, settings, versions and number of threads give the same fit, to the last bit."
    if command:
        lead += " The command:"
    return Section("settings", "To run it again", lead, tables=tables, code=command)


def _changed(estimator: Any) -> dict[str, Any]:
    """The parameters that are not as by default."""
    usual = inspect.signature(type(estimator)).parameters
    found = estimator.get_params(deep=False)
    return {name: value for name, value in found.items() if repr(value) != repr(usual[name].default)}


def versions() -> list[tuple[str, str]]:
    found = [("Python", platform.python_version())]
    for name in _PACKAGES:
        try:
            found.append((name, version(name)))
        except PackageNotFoundError:
            continue
    return found


def _said(value: Any) -> str:
    if isinstance(value, float):
        return number(value)
    if hasattr(value, "shape") and value.shape:
        return f"an array of shape {tuple(value.shape)}"
    return svg.text(value, _LONGEST)
