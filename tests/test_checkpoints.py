"""Checkpoints: a fit that ended anywhere goes on as if it never had."""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import warnings
from contextlib import suppress
from itertools import islice
from pathlib import Path

import numpy as np
import pytest

import emnet
from emnet import CheckpointError, CheckpointWarning, FitInterrupted, GaussianMixture, InvalidInputError, ModelFileError
from emnet import envelope as envelope_module
from emnet.envelope import previous
from emnet.estimators.checkpoints import checkpointing
from tests.cases.altered import accidents, places, replaced
from tests.cases.fits import FITS, X, digest

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
ROOT = Path(emnet.__file__).parent.parent.parent


def mixture(**options):
    return GaussianMixture(**{"n_components": 3, "random_state": 0, "init_params": "random", "tol": 1e-4, **options})


@pytest.fixture(autouse=True)
def _heeds_signals():
    """Ctrl-C as in a foreground process: what a shell starts in the background ignores it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture
def written(monkeypatch):
    """The content of every checkpoint, as it was written."""
    contents, write = [], envelope_module.write

    def keep(path, *arguments, **options):
        write(path, *arguments, **options)
        contents.append(path.read_bytes())

    monkeypatch.setattr(envelope_module, "write", keep)
    return contents


@pytest.mark.parametrize("case", FITS, ids=lambda case: case.name)
@pytest.mark.filterwarnings("ignore::emnet.EmnetWarning")
def test_a_fit_goes_on_bit_for_bit_from_every_kind_of_line(case, written, tmp_path):
    path = tmp_path / "fit.ckpt"
    expected = digest(case.fit())
    assert digest(case.fit(checkpoint=path, checkpoint_every=0)) == expected
    assert len(written) > 2
    kept = list(written)
    for content in (kept[0], kept[len(kept) // 2], kept[-2]):  # the last is of the fit's end
        path.write_bytes(content)
        assert digest(case.fit(checkpoint=path, resume=True)) == expected


def test_a_fit_that_had_ended_does_nothing_again(tmp_path):
    path, seen = tmp_path / "fit.ckpt", []
    first = mixture().fit(X, checkpoint=path)
    content = path.read_bytes()
    again = mixture(callbacks=[lambda *line: seen.append(line)]).fit(X, checkpoint=path, resume=True)
    assert (digest(again), seen, path.read_bytes()) == (digest(first), [], content)
    mixture(max_iter=9).fit(X, checkpoint=path)  # and its file may be written over
    assert path.read_bytes() != content
    assert previous(path).read_bytes() == content


def test_random_states_go_on_too(written, tmp_path):
    path = tmp_path / "fit.ckpt"
    for make in (lambda: None, lambda: np.random.RandomState(7)):
        written.clear()
        path.unlink(missing_ok=True)
        model = mixture(n_init=3, random_state=make()).fit(X, checkpoint=path, checkpoint_every=0)
        path.write_bytes(written[2])
        other = mixture(n_init=3, random_state=make())
        assert digest(other.fit(X, checkpoint=path, resume=True)) == digest(model)
        assert (other.random_state is None) == (make() is None)


def test_without_a_file_resume_begins(tmp_path):
    assert digest(mixture().fit(X, checkpoint=tmp_path / "a.ckpt", resume=True)) == digest(mixture().fit(X))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda path: mixture(reg_covar=0.1).fit(X, checkpoint=path, resume=True),
            "reg_covar is 1e-06, here 0.1",
        ),
        (lambda path: mixture(n_components=2).fit(X, checkpoint=path, resume=True), "n_components"),
        (lambda path: mixture().fit(X[1:], checkpoint=path, resume=True), "other data"),
        (lambda path: emnet.MixtureModel().fit(X, checkpoint=path, resume=True), "class"),
        (lambda path: mixture().fit(X, checkpoint=path), "did not come to its end"),
        (lambda path: mixture().fit(X, resume=True), "needs checkpoint="),
        (lambda path: mixture().fit(X, checkpoint=path.parent), "is a folder"),
        (lambda path: mixture().fit(X, checkpoint=path.parent / "no" / "a.ckpt"), "is no folder"),
        (lambda path: mixture().fit(X, checkpoint=path, checkpoint_every=-1), "checkpoint_every"),
        (lambda path: mixture().fit(X, checkpoint=path, checkpoint_errors="ignore"), "checkpoint_errors"),
    ],
)
def test_what_does_not_belong_together_is_refused_and_the_file_stays(change, message, written, tmp_path):
    path = tmp_path / "fit.ckpt"
    mixture().fit(X, checkpoint=path, checkpoint_every=0)
    path.write_bytes(written[3])
    with pytest.raises(InvalidInputError, match=message):
        change(path)
    assert path.read_bytes() == written[3]


def test_a_damaged_file_gives_way_to_the_one_before_it(written, tmp_path):
    path = tmp_path / "fit.ckpt"
    expected = digest(mixture().fit(X, checkpoint=path, checkpoint_every=0))
    path.write_bytes(written[5][:1000])
    previous(path).write_bytes(written[4])
    with pytest.warns(CheckpointWarning, match="truncated.*one before it"):
        assert digest(mixture().fit(X, checkpoint=path, resume=True)) == expected
    path.write_bytes(b"")
    previous(path).write_bytes(b"")
    with pytest.raises(ModelFileError):
        mixture().fit(X, checkpoint=path, resume=True)


def test_an_altered_file_is_refused(written, tmp_path):
    path = tmp_path / "fit.ckpt"
    mixture().fit(X, checkpoint=path, checkpoint_every=0)
    previous(path).unlink()
    content = written[3]
    for _, other in islice(accidents(content), 0, None, 3):
        path.write_bytes(other)
        with pytest.raises(ModelFileError):
            mixture().fit(X, checkpoint=path, resume=True)
    path.write_bytes(content)
    name, (state, tensors) = envelope_module.read(path, {"Checkpoint"}, envelope_module.RUN_TYPES)
    for place in list(places(state))[::3]:  # with a checksum that fits: refused, or what may stand there
        envelope_module.write(path, name, replaced(state, place, ["odd"]), tensors)
        with suppress(InvalidInputError, ModelFileError), warnings.catch_warnings():
            warnings.simplefilter("ignore", CheckpointWarning)
            mixture().fit(X, checkpoint=path, resume=True)


def full(*_):
    raise OSError(28, "No space left on device")


def forbidden(*_, **__):
    raise PermissionError(13, "Permission denied")


FAULTS = {"No space left": (os, "fsync", full), "Permission denied": (tempfile, "mkstemp", forbidden)}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_disk_that_takes_no_file_is_told_and_the_old_file_stays(fault, monkeypatch, tmp_path):
    path, expected = tmp_path / "fit.ckpt", digest(mixture().fit(X))

    def fill(model, line):
        if line.number == 4:
            monkeypatch.setattr(*FAULTS[fault])

    with pytest.warns(CheckpointWarning, match=fault):
        mixture(callbacks=[fill]).fit(X, checkpoint=path, checkpoint_every=0)
    monkeypatch.undo()
    assert sorted(os.listdir(tmp_path)) == ["fit.ckpt", "fit.ckpt.previous"]
    assert digest(mixture().fit(X, checkpoint=path, resume=True)) == expected


@pytest.mark.parametrize("fault", FAULTS)
def test_a_disk_that_takes_no_file_stops_the_fit_when_asked_to(fault, monkeypatch, tmp_path):
    monkeypatch.setattr(*FAULTS[fault])
    model = mixture()
    with pytest.raises(CheckpointError, match=fault) as stopped:
        model.fit(X, checkpoint=tmp_path / "fit.ckpt", checkpoint_every=0, checkpoint_errors="raise")
    assert stopped.value.fit.n_iter == 0
    assert (model.converged_, model.reason_) == (False, "interrupted")
    assert np.isfinite(model.score(X))


def test_a_folder_that_vanished_is_told(tmp_path):
    folder = tmp_path / "runs"
    folder.mkdir()
    vanish = lambda model, line: shutil.rmtree(folder, ignore_errors=True)  # noqa: E731
    with pytest.warns(CheckpointWarning, match="no such folder"):
        model = mixture(callbacks=[vanish]).fit(X, checkpoint=folder / "fit.ckpt", checkpoint_every=0)
    assert digest(model) == digest(mixture().fit(X))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_finishes_the_iteration_and_says_how_to_go_on(number, tmp_path):
    path, expected = tmp_path / "fit.ckpt", digest(mixture(n_init=2).fit(X))

    def ask(model, line):
        if line.number == 3:
            signal.raise_signal(number)

    model = mixture(n_init=2, callbacks=[ask])
    with pytest.raises(FitInterrupted, match="fit with resume=True, goes on") as stopped:
        model.fit(X, checkpoint=path)
    assert stopped.value.code == {signal.SIGINT: 130, signal.SIGTERM: 143}[number]
    assert stopped.value.fit.n_iter == 3
    assert model.reason_ == "interrupted"
    assert np.isfinite(model.score(X))
    assert digest(mixture(n_init=2).fit(X, checkpoint=path, resume=True)) == expected
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_the_second_signal_drops_the_iteration(written, tmp_path):
    def ask(model, line):
        if line.number == 3:
            signal.raise_signal(signal.SIGINT)
            signal.raise_signal(signal.SIGINT)

    path = tmp_path / "fit.ckpt"
    with pytest.raises(FitInterrupted):
        mixture(callbacks=[ask]).fit(X, checkpoint=path, checkpoint_every=0)
    assert path.read_bytes() == written[2]  # of the line before
    assert digest(mixture().fit(X, checkpoint=path, resume=True)) == digest(mixture().fit(X))


def test_several_fits_in_one_file(written, tmp_path):
    def chosen(**options):
        with checkpointing(tmp_path / "fit.ckpt", 0, **options):
            return mixture(covariance_type="diag").select(X, n_components=(1, 2, 3)).best

    best = chosen()
    (tmp_path / "fit.ckpt").write_bytes(written[-4])
    assert digest(chosen(resume=True)) == digest(best)


_SCRIPT = """
import sys, warnings
from tests.cases.fits import FITS, digest
warnings.simplefilter("ignore")
case = next(case for case in FITS if case.name == sys.argv[1])
print(digest(case.fit(checkpoint=sys.argv[2], checkpoint_every=0, resume=True)), flush=True)
"""


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="no SIGKILL here")
def test_killed_at_a_random_moment(tmp_path):
    case = next(case for case in FITS if case.name == "GaussianMixture-split_merge")
    path, rng = tmp_path / "fit.ckpt", np.random.default_rng()
    for _ in range(2):
        command = [sys.executable, "-c", _SCRIPT, case.name, path]
        with subprocess.Popen(command, stdout=subprocess.DEVNULL, cwd=ROOT) as process:
            while not path.exists() and process.poll() is None:
                time.sleep(0.001)
            time.sleep(rng.uniform(0, 0.2))
            process.kill()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert digest(case.fit(checkpoint=path, resume=True)) == digest(case.fit())
    assert set(os.listdir(tmp_path)) >= {"fit.ckpt"}


class Odd:
    """A callback that keeps what no file can."""

    kept = ("own",)
    own = object()

    def __call__(self, model, line):
        return False


def test_a_fit_that_no_checkpoint_can_hold_goes_on_and_says_so(tmp_path):
    with pytest.warns(CheckpointWarning, match="no checkpoint can hold"):
        model = mixture(callbacks=[Odd()]).fit(X, checkpoint=tmp_path / "fit.ckpt", checkpoint_every=0)
    assert digest(model) == digest(mixture().fit(X))
