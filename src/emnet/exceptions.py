"""Everything emnet raises or warns with.

::

    EmnetError
    ├── InvalidInputError (ValueError)          the data or a parameter cannot be used; says which and what to do
    │   ├── ImpossibleRowError                  parameters under which a row or sequence has probability 0, or none
    │   └── TooFewRowsError                     a mixture has more components than there are rows
    ├── InsufficientMemoryError (MemoryError)   what is asked for does not fit; gives the bytes and the alternatives
    ├── DegenerateFitError (ArithmeticError)    parameters or evidence became NaN; the last finite ones are kept
    │   └── CollapsedComponentError (ValueError) a component of a mixture has no positive definite covariance
    ├── ModelFileError (ValueError)             a model file or checkpoint is truncated, altered, foreign or too new
    ├── CheckpointError (OSError)               a checkpoint could not be written, and the fit was asked to stop then
    ├── ProcessLostError (RuntimeError)         one of many processes died or did not answer; names it
    └── MissingDependencyError (ImportError)    an optional package is needed; gives the pip command
    FitInterrupted (KeyboardInterrupt)          Ctrl-C during a fit; the best parameters are kept
    └── FitTerminated (SystemExit)              SIGTERM during a fit; if nobody catches it the exit code is 143
    EmnetWarning (UserWarning)
    ├── CheckpointWarning                       a checkpoint could not be written or read, or was made elsewhere
    ├── CollapsedComponentWarning               a component of a mixture has shrunk onto few rows or none, or is flat
    ├── EvidenceDecreasedWarning                an update lowered the evidence; the best parameters are kept
    ├── HeywoodCaseWarning                      a factor model has left a column hardly any noise of its own
    ├── RegularizationWarning                   what is added to variances is not small beside those of a column
    ├── SampleCollapseWarning                   of a sampled E-step's draws a single one has nearly all the weight
    └── SeparationWarning                       classes are separable and no prior holds the weights finite

DegenerateFitError, CheckpointError and FitInterrupted are an UnfinishedFit too: `fit` is the record of the run.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any


class EmnetError(Exception):
    """Base of every error that emnet raises on purpose."""


class UnfinishedFit(BaseException):
    """A run that did not come to its end; `fit` is its record, None where there was none."""

    fit: Any


class InvalidInputError(EmnetError, ValueError):
    """The data or a parameter cannot be used as given."""


class ImpossibleRowError(InvalidInputError):
    """No component of a mixture, or no path of states, allows a row; says which."""


class TooFewRowsError(InvalidInputError):
    """A mixture has more components than there are rows."""


class InsufficientMemoryError(EmnetError, MemoryError):
    """The computation would not fit into the memory that is there."""


class DegenerateFitError(EmnetError, ArithmeticError, UnfinishedFit):
    """A fit reached NaN; the model holds the last finite parameters, `fit` the history until then."""

    def __init__(self, message: str, fit: Any = None):
        super().__init__(message)
        self.fit = fit


class CollapsedComponentError(DegenerateFitError, ValueError):
    """A covariance is not positive definite; `components` are the states that have it.

    `factor` is the name of the model's factor whose M-step found it, None if none did. `remedy` is what to do, in the
    words of whoever was asked to fit.
    """

    def __init__(self, message: str, fit: Any = None, components: Sequence[int] = (), remedy: str = ""):
        super().__init__(message, fit)
        self.components, self.remedy = tuple(components), remedy
        self.factor: str | None = None

    def __str__(self) -> str:
        return f"{super().__str__()} {self.remedy}".rstrip()


class CheckpointError(EmnetError, OSError, UnfinishedFit):
    """A checkpoint could not be written; the one before it is whole, and the model holds the best parameters."""

    def __init__(self, message: str, fit: Any = None):
        super().__init__(message)
        self.fit = fit


class FitInterrupted(UnfinishedFit, KeyboardInterrupt):
    """The user stopped a run. `fit` is its record; the model holds its best parameters."""

    code = 130  # what the command line exits with

    def __init__(self, fit: Any, advice: str = ""):
        super().__init__(fit, advice)
        self.fit, self.advice = fit, advice

    def __str__(self) -> str:
        kept = "there were none to keep yet" if self.fit is None else "the best parameters so far are kept"
        return f"Interrupted; {kept}.{' ' if self.advice else ''}{self.advice}"

    def __reduce__(self) -> Any:
        """A process hands it on with its advice."""
        return type(self), (self.fit, self.advice)


class FitTerminated(FitInterrupted, SystemExit):
    """The system stopped a run by SIGTERM."""

    code = 143  # what any program exits with that does not catch it


class ModelFileError(EmnetError, ValueError):
    """A model file cannot be trusted or read."""


class ProcessLostError(EmnetError, RuntimeError):
    """Of the processes of a fit, one died, failed or did not answer in time."""


class MissingDependencyError(EmnetError, ImportError):
    """An optional dependency is not installed."""


class EmnetWarning(UserWarning):
    """Base of every warning that emnet gives."""


class CheckpointWarning(EmnetWarning):
    """A checkpoint could not be written or read, or it was written under other circumstances."""


class CollapsedComponentWarning(EmnetWarning):
    """A component of a mixture has shrunk onto few rows, has none, or is flat where the data are not."""


class EvidenceDecreasedWarning(EmnetWarning):
    """An update lowered the evidence beyond rounding."""


class HeywoodCaseWarning(EmnetWarning):
    """A factor model has left a column hardly any noise of its own."""


class RegularizationWarning(EmnetWarning):
    """What is added to variances is not small beside the variance of a column."""


class SampleCollapseWarning(EmnetWarning):
    """The weights of a sampled E-step have collapsed onto a single draw."""


class SeparationWarning(EmnetWarning):
    """The maximum of a regression's likelihood lies at infinite weights."""
