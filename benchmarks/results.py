"""Tables in RESULTS.md, each between markers of its suite."""

from __future__ import annotations

import platform
import re
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

import torch

RESULTS = Path(__file__).with_name("RESULTS.md")
_PACKAGES = ("emnet", "torch", "numpy", "scikit-learn")


def markdown(header: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(map(str, line)) + " |" for line in lines)


def write(suite: str, title: str, body: str) -> None:
    """Replace or add the section of `suite`."""
    versions = ", ".join(f"{name} {version(name)}" for name in _PACKAGES)
    machine = f"{platform.machine()}, {torch.get_num_threads()} threads, Python {platform.python_version()}, {versions}"
    head = f"## {title}\n\nCommand: `python -m benchmarks {suite}`. {machine}."
    section = f"<!-- {suite} -->\n{head}\n\n{body}\n<!-- /{suite} -->"
    text = RESULTS.read_text(encoding="utf-8") if RESULTS.exists() else "# Results\n"
    pattern = re.compile(rf"<!-- {suite} -->.*?<!-- /{suite} -->", re.DOTALL)
    text = pattern.sub(lambda _: section, text) if pattern.search(text) else f"{text.rstrip()}\n\n{section}\n"
    RESULTS.write_text(text, encoding="utf-8")
    print(section)
