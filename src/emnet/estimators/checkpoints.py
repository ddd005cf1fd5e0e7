"""Checkpoints: the runs of a fit in a file, from which it goes on bit for bit.

A fit is taken up again by doing it again: what it computes before, between and after its runs does not take long and
depends on nothing but data, parameters and random states. The runs themselves are not done again: one that had ended
gives back what it found, and the one that had not goes on from its last line.
"""

from __future__ import annotations

import os
import time
import warnings
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from numbers import Integral
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

import emnet
from emnet import envelope
from emnet.algorithms.base import Fit, Reason
from emnet.algorithms.recording import RECORDER
from emnet.algorithms.snapshot import Changing
from emnet.batch import Batch
from emnet.distributed import ALONE, Group
from emnet.estimators.history import fit_from_json, fit_to_json
from emnet.estimators.validation import require_not_negative, require_one_of
from emnet.exceptions import CheckpointError, CheckpointWarning, InvalidInputError, ModelFileError
from emnet.interruption import Requests, finishing_iterations
from emnet.warning import warn

EVERY = 60.0  # seconds
_CLASS = "Checkpoint"
_CHOICE = "the model chosen"
_SMALL_SHARE = 100  # a checkpoint is not written before so many times what the last one took, at the default interval
_PIECE = 2**16  # rows looked at together
_SAME_RESULT = ("verbose", "verbose_interval", "callbacks")  # parameters that a fit may go on with changed

Record = tuple[dict[str, Any], dict[str, np.ndarray]]


@contextmanager
def checkpointing(
    path: str | os.PathLike,
    every: float | None = None,
    *,
    resume: bool = False,
    errors: str = "warn",
    estimator: Any = None,
    group: Group = ALONE,
    choice: str | None = None,
) -> Iterator[None]:
    """Keep the runs of every fit in the block in the file `path`, and with `resume` go on from what it holds.

    Parameters
    ----------
    path : of the file; the one before it is kept beside it as `path`.previous.
    every : seconds between two checkpoints; 0: after every iteration. By default 60, and more where a checkpoint takes
        so long that it would cost more than a hundredth of the time.
    resume : go on where the checkpoint stands; without a file from the beginning. The data, the parameters and the
        order of the fits must be the same; the result is then the same to the last bit.
    errors : what to do when a checkpoint cannot be written: "warn" and go on, or "raise" CheckpointError.
    estimator : whose parameters are compared with those that the file was written with.
    group : the processes of the fit, of which the first one writes and reads the file for all.
    choice : how the estimator was come by, which `chosen_in` then gives back.

    Ctrl-C and SIGTERM end a run after its iteration, with a last checkpoint; the second at once.

    Raises
    ------
    InvalidInputError : the file is of another fit, or of an unfinished one that `resume` does not ask for.
    ModelFileError : neither the file nor the one before it is whole.
    """
    with finishing_iterations() as requests:
        journal = Journal(Path(path).resolve(), every, errors, requests, estimator, group)
        journal.told |= {} if choice is None else {_CHOICE: choice}
        journal.open(resume)
        before = RECORDER.set(journal)
        try:
            with _same_chance(estimator, journal):
                yield
        except BaseException:
            journal.leave()
            raise
        finally:
            RECORDER.reset(before)
        journal.close()


def chosen_in(path: str | os.PathLike) -> str | None:
    """How the estimator of the fit in a file was come by; None where no file says."""
    own = Path(path).resolve()
    if not own.is_file() and not envelope.previous(own).is_file():
        return None
    choice = _last_whole(own)[0]["told"].get(_CHOICE)
    return choice if isinstance(choice, str) else None


class Journal:
    """The runs of a fit in turn: a recorder, see `emnet.algorithms.recording`."""

    def __init__(
        self,
        path: Path,
        every: float | None,
        errors: str,
        requests: Requests,
        estimator: Any,
        group: Group = ALONE,
    ):
        require_one_of("checkpoint_errors", errors, ("warn", "raise"))
        if every is not None:
            require_not_negative("checkpoint_every", every)
        self.path, self.every, self.errors, self.requests, self.group = path, every, errors, requests, group
        self.told = {} if estimator is None else _told_of(estimator)
        self.chance: dict[str, Any] = {}
        self.complete = False
        self.records: list[Record | None] = []
        self.past: list[Record | None] = []
        self.advice = ""
        self._run: Any = None
        self._news = False  # whether a run has ended since the last checkpoint
        self._written, self._took = time.monotonic(), 0.0

    # -- the file ---------------------------------------------------------------------------------------------------

    def open(self, resume: bool) -> None:
        """Take up what the file holds; of many processes the first reads it for all."""
        if self.group.is_first:
            self._open(resume)
        self.chance, self.complete, self.past = self.group.gathered((self.chance, self.complete, self.past))[0]

    def _open(self, resume: bool) -> None:
        if not self.path.parent.is_dir():
            raise InvalidInputError(f"checkpoint: {self.path.parent} is no folder to write to.")
        if self.path.is_dir():
            raise InvalidInputError(f"checkpoint: {self.path} is a folder; give the name of a file.")
        if not self.path.exists() and not (resume and envelope.previous(self.path).exists()):
            return
        state, tensors = _last_whole(self.path)
        if not resume:
            if not state["complete"]:
                raise InvalidInputError(
                    f"{self.path} holds a fit that did not come to its end. Go on with resume=True, or remove the file."
                )
            return
        self._require_same(state["told"])
        self.chance, self.complete = state["chance"], state["complete"]
        self.past = [
            None if run is None else (run, _within(tensors, f"{number}.")) for number, run in enumerate(state["runs"])
        ]

    def close(self) -> None:
        """The fit has come to its end."""
        if self._news or not self.complete:
            self.complete = True
            self.write()
        self.requests.share(self.group.largest)

    def leave(self) -> None:
        """The fit has not; a run that failed stays where it stood in the last checkpoint."""
        if self._news and len(self.records) >= len(self.past):
            with warnings.catch_warnings():  # one error is enough
                warnings.simplefilter("ignore", CheckpointWarning)
                self.errors = "warn"
                self.write()

    def write(self, capture: Callable[[], None] = lambda: None) -> None:
        """Write the records, or say why they could not be written; of many processes the first does."""
        if not self.group.is_first:
            return
        began = time.monotonic()
        try:
            capture()
            runs, tensors = [], {}
            for number, record in enumerate(self.records):
                runs.append(None if record is None else record[0])
                tensors.update({} if record is None else {f"{number}.{key}": own for key, own in record[1].items()})
            state = {"told": self.told, "chance": self.chance, "complete": self.complete, "runs": runs}
            envelope.write(self.path, _CLASS, state, tensors, keep=True)
            self.advice, self._news = (
                f"{self.path} holds the run: the same command, or fit with resume=True, goes on.",
                False,
            )
        except (OSError, TypeError, ValueError) as error:
            self._say(error)
        self._written = time.monotonic()
        self._took = self._written - began

    def _say(self, error: Exception) -> None:
        message = f"No checkpoint could be written to {self.path}: {error}."
        if self.errors == "raise":
            raise CheckpointError(f"{message} The one before it is whole.") from error
        warn(f"{message} The fit goes on without; the one before it is whole.", CheckpointWarning)

    def _require_same(self, told: dict[str, str]) -> None:
        for name in sorted({*told, *self.told}):
            then, now = told.get(name), self.told.get(name)
            if then != now and name not in _SAME_RESULT:
                raise InvalidInputError(
                    f"{self.path} is the checkpoint of another fit: there {name} is {then}, here {now}. Give the same, "
                    "or remove the file."
                )

    # -- the runs ---------------------------------------------------------------------------------------------------

    def begin(self, run: Any, algorithm: Any, parts: Iterable[Any]) -> Fit | None:
        self._run, self._algorithm, self._changing = run, algorithm, Changing((algorithm, *parts))
        number = len(self.records)
        record = self.past[number] if number < len(self.past) else None
        self.records.append(record)
        self._of_data = [_checksum(batch) for batch in self._changing.batches]
        self._of_data += [part.checksum() for part in parts if hasattr(part, "checksum")]
        return None if record is None else self._restore(*record)

    def line(self) -> None:
        asked = self.requests.share(self.group.largest)
        if asked or time.monotonic() - self._written >= self._interval():
            self.write(self._capture)
        if asked:
            self.requests.obey()

    def end(self, fit: Fit) -> None:
        self._algorithm.reset()  # what it remembers is of no more use
        try:
            self._capture(fit)
        except TypeError as error:  # without a record the run is made anew
            self._say(error)
        self._run, self._news = None, True

    def _interval(self) -> float:
        return max(EVERY, _SMALL_SHARE * self._took) if self.every is None else self.every

    def _capture(self, fit: Fit | None = None) -> None:
        """Take down the run that is under way."""
        run = self._run
        kept, tensors = self._changing.state()
        highest = None if run.highest is None else run.highest[0].number
        state = {
            "model": type(run.model).__name__,
            "data": self._of_data,
            "circumstances": _circumstances(run.best),
            "kept": kept,
            "fit": fit_to_json(run.fit(Reason.STOPPED) if fit is None else fit),
            "ended": fit is not None,
            "highest": highest,
        }
        vectors = {"best": run.best} if highest is None else {"best": run.best, "highest": run.highest[1]}
        self.records[-1] = state, _arrays({"model": run.model.state_dict(), "kept": tensors, "run": vectors})

    def _restore(self, state: dict[str, Any], arrays: dict[str, np.ndarray]) -> Fit | None:
        """Put the run where it was."""
        try:
            self._require_same_run(state, f"run {len(self.records)}")
            return self._put(state, arrays)
        except InvalidInputError:
            raise
        except (ArithmeticError, AttributeError, LookupError, RuntimeError, TypeError, ValueError) as error:
            raise InvalidInputError(f"{self.path} is the checkpoint of another fit: {error}.") from error

    def _put(self, state: dict[str, Any], arrays: dict[str, np.ndarray]) -> Fit | None:
        run, fit = self._run, fit_from_json(state["fit"])
        model = _tensors(_within(arrays, "model."))
        _require_shapes(run.model.state_dict(), model)
        self._changing.restore(state["kept"], _tensors(_within(arrays, "kept.")))
        run.model.load_state_dict(model)
        if state["ended"]:
            self._run = None
            return fit
        vectors = {key: own.to(run.best.device) for key, own in _tensors(_within(arrays, "run.")).items()}
        highest = None if state["highest"] is None else (state["highest"], vectors["highest"])
        run.go_on(fit.history, vectors["best"], highest)
        return None

    def _require_same_run(self, state: dict[str, Any], which: str) -> None:
        model, data = type(self._run.model).__name__, self._of_data
        if state["model"] != model:
            raise InvalidInputError(f"{self.path}: {which} is of a {state['model']}, here of a {model}.")
        if state["data"] != data:
            raise InvalidInputError(
                f"{self.path}: {which} was made with other data; give the same, or remove the file."
            )
        then, now = state["circumstances"], _circumstances(self._run.best)
        other = [f"{name} {then[name]} → {now[name]}" for name in now if then[name] != now[name]]
        if other:
            warn(
                f"The checkpoint was written under other circumstances ({', '.join(other)}): the fit may differ from "
                "an uninterrupted one in the last digits.",
                CheckpointWarning,
            )


def _last_whole(path: Path) -> envelope.State:
    """The file, or if that is damaged the one before it."""
    last = envelope.previous(path)
    try:
        return _checked(path)
    except (ModelFileError, FileNotFoundError) as error:
        if not last.exists():
            raise
        found = _checked(last)
        warn(f"{error} The one before it, {last}, is taken.", CheckpointWarning)
        return found


@contextmanager
def _same_chance(estimator: Any, journal: Journal) -> Iterator[None]:
    """Let the estimator draw what it drew before; one without a seed is given one for the time of the fit."""
    given = getattr(estimator, "random_state", 0)
    if isinstance(given, np.random.RandomState):
        state = journal.chance.get("state")
        if state is not None:
            given.set_state((state[0], np.array(state[1], dtype=np.uint32), *state[2:]))
        name, keys, *rest = given.get_state(legacy=True)
        journal.chance = {"state": [name, np.asarray(keys).tolist(), *rest]}
    if given is not None:
        yield
        return
    drawn = {"seed": int(np.random.default_rng().integers(2**31))}
    journal.chance = journal.chance or journal.group.gathered(drawn)[0]
    estimator.random_state = journal.chance["seed"]
    try:
        yield
    finally:
        estimator.random_state = None


def _told_of(estimator: Any) -> dict[str, str]:
    """The class and the parameters in words; those that only say where they lie are left out."""
    parameters = estimator.get_params(deep=False)
    if not isinstance(parameters.get("random_state"), Integral):
        parameters.pop("random_state", None)
    words = {name: repr(own) for name, own in parameters.items()}
    return {"class": type(estimator).__name__, **{name: own for name, own in words.items() if " at 0x" not in own}}


def _circumstances(like: Tensor) -> dict[str, str]:
    """What the last digits depend on besides data, parameters and seed."""
    versions = {"emnet": emnet.__version__, "torch": torch.__version__}
    return {**versions, "threads": str(torch.get_num_threads()), "device": like.device.type}


def _checksum(batch: Batch) -> int:
    found = 0
    for _, tensor in batch._tensors():
        for piece in tensor.detach().split(_PIECE):  # of what is mapped into memory no copy is made
            found = zlib.crc32(np.ascontiguousarray(piece.cpu().numpy()).data, found)
    return found


def _checked(path: Path) -> envelope.State:
    """A checkpoint of which the outline is as it must be."""
    _, (state, tensors) = envelope.read(path, {_CLASS}, envelope.RUN_TYPES)
    names = {"told": dict, "chance": dict, "complete": bool, "runs": list}
    if set(state) != set(names) or any(not isinstance(state[name], kind) for name, kind in names.items()):
        raise ModelFileError(f"{path}: the contents are not those of a checkpoint.")
    return state, tensors


def _require_shapes(here: dict[str, Any], there: dict[str, Tensor]) -> None:
    if set(here) != set(there):
        raise ValueError(f"parameters {sorted(set(here) ^ set(there))} are not in both")
    for name, own in here.items():
        if own.shape != there[name].shape or own.dtype != there[name].dtype:
            raise ValueError(f"{name} is {tuple(there[name].shape)} there and {tuple(own.shape)} here")


def _arrays(groups: dict[str, dict[str, Tensor]]) -> dict[str, np.ndarray]:
    """Copies by "group.name"."""
    return {
        f"{group}.{name}": np.array(own.detach().cpu().numpy())
        for group, tensors in groups.items()
        for name, own in tensors.items()
        if isinstance(own, Tensor)
    }


def _tensors(arrays: dict[str, np.ndarray]) -> dict[str, Tensor]:
    return {name: torch.from_numpy(own) for name, own in arrays.items()}


def _within(named: dict[str, np.ndarray], prefix: str) -> dict[str, np.ndarray]:
    return {name.removeprefix(prefix): own for name, own in named.items() if name.startswith(prefix)}
