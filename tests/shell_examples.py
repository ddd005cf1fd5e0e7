"""Examples of a document that are lines for a shell, and what they print: run inside this process."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

from click.testing import CliRunner

from emnet.cli import cli

_BLOCK = re.compile(r"^```\n(\$ .*?)^```$", re.S | re.M)
_NUMBER = re.compile(r"-?\d+(\.\d+)?(e[+-]?\d+)?")


def blocks(text: str) -> list[tuple[re.Match, list[str]]]:
    """The blocks that begin with a command, and the commands of each."""
    return [
        (found, [line[2:] for line in found[1].splitlines() if line.startswith("$ ")])
        for found in _BLOCK.finditer(text)
    ]


def printed(command: str) -> list[str]:
    """What a command prints; "head -n file", and emnet's own."""
    words = shlex.split(command)
    if words[0] == "head":
        return Path(words[2]).read_text(encoding="utf-8").splitlines()[: -int(words[1])]
    done = CliRunner().invoke(cli, words[1:])
    assert done.exit_code == 0, done.output
    return [line.rstrip() for line in done.output.splitlines() if line.strip()]


def shown(commands: list[str]) -> str:
    """The block that has those commands and what they print."""
    return "".join("\n".join([f"$ {command}", *printed(command)]) + "\n" for command in commands)


def masked(text: str) -> str:
    """Without its figures, and the room they take: those of another machine may differ in the last digit."""
    return re.sub(r"[ ─]+", " ", _NUMBER.sub("#", text))
