"""What is wrong with a command is said before the work, not after it."""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import TYPE_CHECKING

import click
from click.core import ParameterSource

from emnet.exceptions import InvalidInputError
from emnet.extras import needed

if TYPE_CHECKING:
    from emnet.data.table import Table


def require_only(names: tuple[str, ...]) -> None:
    """Raise InvalidInputError for options that --classic, whose settings are fixed, would ignore."""
    context = click.get_current_context()
    given = [
        f"--{name.removesuffix('_file').replace('_', '-')}" if name != "data" else context.params["data"]
        for name in context.params
        if name not in ("classic", *names) and context.get_parameter_source(name) is ParameterSource.COMMANDLINE
    ]
    given = [name for name in given if name != "iris"]
    if given:
        raise InvalidInputError(f"--classic is the published experiment with its own settings; leave out {given[0]}.")


def require_e_step(model: str, e_step: str, widths: tuple[int, ...]) -> None:
    """Raise InvalidInputError for an E-step that the model does not take."""
    if model == "moe" and e_step != "auto":
        raise InvalidInputError("--e-step is for --model em-mlp; a mixture of experts is summed exactly. Leave it out.")
    if e_step == "mean_field" and len(widths) > 1:
        raise InvalidInputError(
            f"--e-step mean_field is for one hidden layer; --hidden has {len(widths)}. Take importance or gibbs."
        )


def require_used(model: str, widths: tuple[int, ...]) -> None:
    """Raise InvalidInputError for an option of a method that is not trained, which would be ignored."""
    from emnet.estimators.options import exact_is_cheap

    unused = {"experts": "--model moe"} if model == "em-mlp" else {}
    if model == "moe":
        unused |= dict.fromkeys(("eta", "iterations"), "the classic EM, which --model moe leaves out")
    elif not exact_is_cheap(widths):
        unused |= dict.fromkeys(("eta", "iterations"), "the classic EM, which is left out with so many hidden units")
    context = click.get_current_context()
    for name, method in unused.items():
        if context.get_parameter_source(name) is ParameterSource.COMMANDLINE:
            raise InvalidInputError(f"--{name} is for {method}. Leave it out.")


def require_exact(table: Table, widths: tuple[int, ...]) -> None:
    """Raise InsufficientMemoryError before the others are trained where the exact E-step would not fit."""
    import torch

    from emnet.kernels.bits import require_memory

    rows = len(table.X)
    for m in widths:
        require_memory(rows, m, len(table.class_names), torch.float64, "cpu")
        rows = len(table.class_names) * 2**m


def require_finite(**numbers: float | None) -> None:
    """Raise InvalidInputError for an option that is infinite or NaN."""
    for name, value in numbers.items():
        if value is not None and not math.isfinite(value):
            raise InvalidInputError(f"--{name.replace('_', '-')}: {value} is not a finite number.")


def require_writable(outputs: dict[str, str | None], inputs: str) -> None:
    """Raise InvalidInputError before the work, not after it, where a result could not be written."""
    taken = {Path(inputs).resolve(): "the data"}
    for option, name in outputs.items():
        if name is None:
            continue
        path = Path(name).resolve()
        if path in taken:
            raise InvalidInputError(f"{option} {name} would overwrite {taken[path]}; give another name.")
        taken[path] = option
        if not path.parent.is_dir():
            raise InvalidInputError(f"{option} {name}: no such folder to write to.")
        if not os.access(path if path.exists() else path.parent, os.W_OK):
            raise InvalidInputError(f"{option} {name}: no permission to write there.")


def require_figure(name: str | None) -> None:
    """Raise where matplotlib is missing or writes no files of that ending."""
    if name is None:
        return
    known = sorted(
        needed("matplotlib.backend_bases", "plot", "--plot needs").FigureCanvasBase.get_supported_filetypes()
    )
    if Path(name).suffix.removeprefix(".").lower() not in known:
        raise InvalidInputError(f"--plot {name}: the ending says the kind of figure, one of {', '.join(known)}.")
