"""The command line: one file a verb. Heavy imports wait until a command runs."""

from __future__ import annotations

import io
import sys
from typing import NoReturn

import click

from emnet import __version__
from emnet.cli.compare import compare
from emnet.exceptions import EmnetError
from emnet.interruption import exit_code, terminating_as_interrupts


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="emnet")
def cli() -> None:
    """EM for neural networks."""


cli.add_command(compare)


def main() -> None:
    """Run the command line; bad input ends in one sentence and exit code 2, Ctrl-C in 130, SIGTERM in 143."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # an arrow that the terminal cannot show is no reason to fail
    try:
        with terminating_as_interrupts():
            cli.main(standalone_mode=False)
    except click.exceptions.Abort as abort:  # what click makes of a KeyboardInterrupt
        _leave(abort.__cause__ or abort)
    except click.exceptions.Exit as end:
        sys.exit(end.exit_code)
    except click.ClickException as error:
        error.show()
        sys.exit(2)
    except (EmnetError, OSError) as error:
        click.echo(f"Error: {error}", err=True)
        sys.exit(2)
    except KeyboardInterrupt as interrupt:
        _leave(interrupt)


def _leave(interrupt: BaseException) -> NoReturn:
    click.echo(f"Interrupted. {getattr(interrupt, 'advice', '')}".strip(), err=True)
    sys.exit(exit_code(interrupt))
