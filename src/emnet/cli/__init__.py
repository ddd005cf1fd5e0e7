"""The command line: one file a verb. Heavy imports wait until a command runs."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Mapping
from typing import Any, NoReturn

import click

from emnet import __version__
from emnet.cli.cluster import cluster
from emnet.cli.compare import compare
from emnet.cli.completion import completion
from emnet.cli.datasets import datasets
from emnet.cli.detect import detect
from emnet.cli.explain import explain
from emnet.cli.fit import fit
from emnet.cli.impute import impute
from emnet.cli.info import info
from emnet.cli.predict import predict
from emnet.cli.sample import sample
from emnet.cli.schema import schema
from emnet.cli.score import score
from emnet.exceptions import (
    DegenerateFitError,
    EmnetError,
    FitInterrupted,
    MissingDependencyError,
    ProcessLostError,
)
from emnet.interruption import exit_code, terminating_as_interrupts

SECTIONS: Mapping[str, tuple[click.Command, ...]] = {
    "A table and a question": (impute, detect, cluster),
    "A model of your own": (fit, predict, score, sample, info),
    "Learn and compare": (explain, compare, datasets, schema, completion),
}
_WORK_FAILED = (DegenerateFitError, MissingDependencyError, ProcessLostError)


class Failure(click.ClickException):
    """An error in one sentence: exit code 1 where the work failed, 2 where the input or the words were wrong."""

    exit_code: int  # type: ignore[misc]  # of the instance

    def __init__(self, message: str, exit_code: int):
        super().__init__(message)
        self.exit_code = exit_code  # type: ignore[misc]


class Commands(click.Group):
    """The verbs, in sections."""

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        for title, commands in SECTIONS.items():
            with formatter.section(title):
                formatter.write_dl([(str(c.name), c.get_short_help_str(limit=90)) for c in commands], col_max=14)

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except (EmnetError, OSError) as error:
            raise Failure(f"{_who(error)}{_said(error)}", 1 if isinstance(error, _WORK_FAILED) else 2) from error
        except FitInterrupted as stop:
            raise click.exceptions.Abort from stop


def _who(error: BaseException) -> str:
    """Of many processes the one that failed."""
    alone = _processes() == 1 or isinstance(error, ProcessLostError)
    return "" if alone else f"process {os.environ['RANK']} of {_processes()}: "


def _said(error: BaseException) -> str:
    """Of what the system says the file and the sentence, as of our own errors, without its number."""
    if isinstance(error, OSError) and error.filename is not None and error.strerror:
        return f"{error.filename}: {error.strerror[0].lower()}{error.strerror[1:]}."
    return str(error)


def _processes() -> int:
    """How many torchrun has started."""
    return int(os.environ["WORLD_SIZE"]) if "RANK" in os.environ else 1


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="emnet")
@click.pass_context
def cli(context: click.Context) -> None:
    """Models with hidden parts, fitted by EM: fill what is missing, find what is odd, group what is alike.

    \b
    Start with a table:   emnet impute data.csv --out filled.csv
    or without one:       emnet cluster iris --drop target
    """
    if _processes() > 1 and context.invoked_subcommand != "fit":
        raise click.UsageError("Of the commands `emnet fit` alone is for many processes; start this one by itself.")


for _commands in SECTIONS.values():
    for _command in _commands:
        cli.add_command(_command)


def main() -> None:
    """Run the command line; bad input ends in exit code 2, failed work in 1, Ctrl-C in 130, SIGTERM in 143."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # an arrow that the terminal cannot show is no reason to fail
    try:
        with terminating_as_interrupts():
            cli.main(prog_name="emnet", standalone_mode=False)
    except click.exceptions.Abort as abort:  # what click makes of a KeyboardInterrupt
        _leave(abort.__cause__ or abort)
    except click.exceptions.Exit as end:
        sys.exit(end.exit_code)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except BrokenPipeError:
        sys.stderr.close()  # of a reader that has seen enough, nothing more is to be said
        sys.exit(0)
    except KeyboardInterrupt as interrupt:
        _leave(interrupt)


def _leave(interrupt: BaseException) -> NoReturn:
    advice = getattr(interrupt, "advice", "") or "To be able to go on after it give emnet fit --checkpoint FILE."
    click.echo(f"Interrupted. {advice}", err=True)
    sys.exit(exit_code(interrupt))
