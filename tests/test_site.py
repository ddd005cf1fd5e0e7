"""The site's pages say what is so: examples and errors are real, names exist, the reference is complete.

Links within the site are Sphinx's to check: `make docs` takes warnings for errors.
"""

import ast
import doctest
import inspect
import re
from pathlib import Path

import pytest

import emnet

DOCS = Path(__file__).parent.parent / "docs"
LINE_OR_ELLIPSIS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
ROWS = [
    line.split(" | ") for line in (DOCS / "start" / "coming_from.md").read_text().splitlines() if line.startswith("| `")
]
NAMES = sorted({code for row in ROWS for code in re.findall(r"`([^`]+)`", row[1])})


@pytest.mark.parametrize("page", ["start/quickstart.md", "start/faq.md", "method/em.md"])
def test_the_pages_print_what_they_say(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    found = doctest.testfile(str(DOCS / page), module_relative=False, optionflags=LINE_OR_ELLIPSIS)
    assert found.attempted > 0
    assert found.failed == 0


@pytest.mark.parametrize("code", NAMES)
def test_the_names_on_the_right_exist(code):
    node = ast.parse(code, mode="eval").body
    if isinstance(node, ast.Attribute):
        cls = getattr(emnet, node.value.id)
        attribute = node.attr
        assert hasattr(cls, attribute) or attribute in (cls.__doc__ or "")
        return
    parts = [part for part in ast.walk(node) if isinstance(part, ast.Call) and part.func.id != "range"]
    assert parts
    for part in parts:
        accepted = inspect.signature(getattr(emnet, part.func.id)).parameters
        assert {keyword.arg for keyword in part.keywords} <= set(accepted)
        assert len(part.args) <= len(accepted)


def test_the_reference_has_every_public_name():
    page = (DOCS / "reference" / "api.md").read_text()
    missing = [name for name in emnet.__all__ if f"emnet.{name}\n" not in page and not hasattr(emnet.exceptions, name)]
    assert missing == []
    assert "emnet.exceptions\n" in page


def test_every_public_name_and_method_is_described():
    """A docstring of its own, or of the class in emnet that it overrides."""
    for name in emnet.__all__:
        value = getattr(emnet, name)
        assert (value.__doc__ or "").strip(), name
        members = inspect.getmembers(value) if inspect.isclass(value) else []
        own = [(m, f) for m, f in members if not m.startswith("_") and inspect.isfunction(f)]
        bare = [m for m, f in own if f.__module__.startswith("emnet") and not (inspect.getdoc(f) or "").strip()]
        assert not bare, (name, bare)


def test_every_tutorial_ends_in_a_figure():
    scripts = sorted((DOCS / "tutorials").glob("*.py"))
    assert len(scripts) >= 7
    for script in scripts:
        assert "plt.show()" in script.read_text(encoding="utf-8"), script
