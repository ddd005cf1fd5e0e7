"""`emnet schema`: what the JSON documents of the other commands have in them."""

from __future__ import annotations

import json
from importlib.resources import files
from typing import Any

import click

_SHARED = ("kind", "cell")
VERBS = ("compare", "cluster", "datasets", "detect", "explain", "fit", "impute", "info", "predict", "sample", "score")


@click.command()
@click.argument("verb", type=click.Choice(VERBS), metavar="[VERB]", required=False)
def schema(verb: str | None) -> None:
    """Print the JSON Schema of what a command prints with --json; without VERB those of all, under $defs.

    \b
    Examples:
      emnet schema detect
      emnet schema > emnet.schema.json
    """
    click.echo(json.dumps(document() if verb is None else document_of(verb), indent=1, ensure_ascii=False))


def document() -> dict[str, Any]:
    """The schemas of all verbs, under $defs."""
    content: dict[str, Any] = json.loads(files("emnet.cli").joinpath("output.schema.json").read_text(encoding="utf-8"))
    return content


def document_of(verb: str) -> dict[str, Any]:
    """The schema of one verb, by itself."""
    whole = document()
    shared = {name: whole["$defs"][name] for name in _SHARED}
    return {"$schema": whole["$schema"], **whole["$defs"][verb], "$defs": shared}
