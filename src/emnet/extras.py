"""Packages that emnet can do without until they are asked for."""

from __future__ import annotations

from importlib import import_module
from types import ModuleType

from emnet.exceptions import MissingDependencyError


def needed(module: str, extra: str, purpose: str) -> ModuleType:
    """A module of an optional package; `purpose` is the begin of a sentence, as in "Figures need".

    Raises MissingDependencyError with the command that installs it.
    """
    package = module.partition(".")[0]
    try:
        import_module(package)
        return import_module(module)
    except ImportError as error:
        raise MissingDependencyError(f"{purpose} {package}: pip install 'emnet[{extra}]'.") from error
