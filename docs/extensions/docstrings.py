"""The docstrings of emnet as reStructuredText.

They are written to be read in an editor: sections underlined, "name : what it is", and plain characters, of which
reStructuredText would take `weights_`, `p(y | x)` and `2^m * k` for its own signs.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from typing import Any

_SECTIONS = ("Parameters", "Attributes", "Raises", "Returns", "Examples", "References")
_CODE = re.compile(r"(``.+?``|`.+?`)")
_SPECIAL = re.compile(r"([\\*|_])")
_ITEMS = ("Parameters", "Attributes", "Raises", "Returns")
_ITEM = re.compile(r"^\s*(\S.*?) : (.*)$")
_NAMES = re.compile(r"^[A-Za-z_]\w*(, [A-Za-z_]\w*)* : ")
_MEMBER = re.compile(r"^[A-Za-z_]\w*(\.\w+)*(\(\))?$")


def readable(text: str) -> str:
    """A line with its special characters quoted and its code as literals or links."""
    parts = _CODE.split(text)
    return "".join(_code(part) if part.startswith("`") else _SPECIAL.sub(r"\\\1", part) for part in parts)


def _code(part: str) -> str:
    name = part.strip("`")
    if part.startswith("``") or not _MEMBER.match(name):
        return f"``{name}``"
    target = public(name.removesuffix("()"))
    if target:
        return f":py:obj:`{name} <{target}>`"
    return f"``{name}``" if name.startswith("emnet.") else f":py:obj:`{name}`"


def public(name: str) -> str | None:
    """Where the reference has a public name of emnet, None of other words."""
    import emnet

    name = name.removeprefix("emnet.")
    if name not in emnet.__all__:
        return None
    return f"emnet.exceptions.{name}" if hasattr(emnet.exceptions, name) else f"emnet.{name}"


def converted(lines: list[str]) -> Iterator[str]:
    """Headings become bold lines, items definitions; examples and literal blocks stay as they are."""
    section, literal, names, in_item = "", False, "", False
    for index, line in enumerate(lines):
        if _is_rule(lines, index):
            continue
        literal = literal and (not line or line.startswith(" "))
        if _is_rule(lines, index + 1):
            section = line
            yield from ("", f"**{line}**", "")
        elif literal or _is_example(lines, index):
            yield line
        elif _is_item(section, line, bool(names)):
            before, _, text = line.strip().partition(" : ")
            names = f"{names} {before}".strip()
            if text:
                yield from ("", f"``{names}``", f"    {readable(text)}")
                names, in_item = "", True
        else:
            if in_item and line and not line.startswith(" "):
                yield ""
                in_item = False
            literal = line.rstrip().endswith("::")
            yield readable(line)


def _is_item(section: str, line: str, goes_on: bool) -> bool:
    """Whether the line begins an item, or goes on with its names: "a, b, c,", "d : what they are"."""
    if section in _ITEMS:
        return (goes_on or not line.startswith(" ")) and bool(line.endswith(",") or _ITEM.match(line))
    return bool(_NAMES.match(line))


def _is_rule(lines: list[str], index: int) -> bool:
    """Whether the line underlines a heading."""
    return 0 < index < len(lines) and lines[index - 1] in _SECTIONS and set(lines[index].strip()) == {"-"}


def _is_example(lines: list[str], index: int) -> bool:
    """Whether the line is of an interactive session: a prompt, or what follows one up to an empty line."""
    while index >= 0 and lines[index].strip():
        if lines[index].lstrip().startswith(">>>"):
            return True
        index -= 1
    return False


def _convert(app: Any, what: str, name: str, obj: Any, options: Any, lines: list[str]) -> None:
    lines[:] = list(converted(lines))


def _skip(app: Any, what: str, name: str, obj: Any, skip: bool, options: Any) -> bool | None:
    """Leave out what other packages have written: torch's and scikit-learn's methods."""
    function = getattr(obj, "fget", None) or getattr(obj, "__func__", obj)
    module = getattr(inspect.unwrap(function) if callable(function) else function, "__module__", None) or ""
    if callable(function) and not module.startswith("emnet"):
        return True
    return None if getattr(obj, "__doc__", None) else True


def setup(app: Any) -> dict[str, bool]:
    app.connect("autodoc-process-docstring", _convert)
    app.connect("autodoc-skip-member", _skip)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
