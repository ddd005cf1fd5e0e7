"""`emnet datasets`: what is bundled."""

from __future__ import annotations

import click

from emnet.cli import options
from emnet.cli.talk import Talk


@click.command()
@options.talk_options
def datasets(as_json: bool, quiet: bool) -> None:
    """List the bundled data sets; every command takes their names for DATA.

    \b
    Examples:
      emnet datasets
      emnet cluster iris --drop target
    """
    from emnet.data.bundled import NAMES, load_bundled

    talk = Talk(as_json, quiet)
    tables = [load_bundled(name) for name in NAMES]
    talk.table(
        ("name", "rows", "numbers", "classes of the column target"),
        [(t.name, str(len(t.X)), str(len(t.columns)), ", ".join(t.class_names)) for t in tables],
    )
    talk.found(
        {
            "datasets": [
                {"name": t.name, "rows": len(t.X), "columns": list(t.columns), "classes": t.class_names} for t in tables
            ]
        }
    )
