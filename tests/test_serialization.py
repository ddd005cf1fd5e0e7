"""Model files: whole, checked, and running nothing."""

import json
import os
import struct
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import save as to_bytes
from sklearn.datasets import load_iris

import emnet
from emnet import EMMLPClassifier, InvalidInputError, ModelFileError
from emnet.factors.regression import FixedBound
from tests.cases.altered import accidents, foreign_classes, opened, purposes
from tests.cases.fits import FITS

MAY_STAND_THERE = (  # what is another model, but a model
    *("features = []", "fits = []", "flat = True", "library = None", "library = 'x'", "scale = 1e+308"),
    *("log_scale = -1", "log_scale = 1e+308", "rows_seen = 1e+308", "reference with a row more"),
)
X, Y = load_iris(return_X_y=True)
NAMES = np.array(["setosa", "versicolor", "virginica"])


@pytest.fixture(scope="module")
def model():
    return EMMLPClassifier(2, n_init=2, random_state=0, tol=1e-4).fit(X, NAMES[Y])


@pytest.fixture(scope="module")
def content(model, tmp_path_factory):
    path = tmp_path_factory.mktemp("models") / "m.emnet"
    model.save(path)
    return path.read_bytes()


def reload(tmp_path, content):
    path = tmp_path / "m.emnet"
    path.write_bytes(content)
    return emnet.load(path)


def test_the_round_trip_is_exact(model, content, tmp_path):
    other = reload(tmp_path, content)
    np.testing.assert_array_equal(other.predict_proba(X), model.predict_proba(X))
    assert other.history_ == model.history_
    assert other.get_params() == model.get_params()
    assert (other.log_evidence_, other.n_iter_, other.converged_) == (
        model.log_evidence_,
        model.n_iter_,
        model.converged_,
    )
    other.save(tmp_path / "again.emnet")
    assert (tmp_path / "again.emnet").read_bytes() == content


@pytest.mark.parametrize("labels", [Y, Y == 0, Y.astype(float), NAMES[Y].astype(object)])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_labels_types_and_options_survive(labels, dtype, tmp_path):
    model = EMMLPClassifier(2, n_init=1, random_state=0, tol=1e-3, dtype=dtype, m_step=FixedBound(), prior=(0.1, 0.2))
    model.fit(X, labels).save(tmp_path / "m.emnet")
    other = emnet.load(tmp_path / "m.emnet")
    np.testing.assert_array_equal(other.predict_proba(X), model.predict_proba(X))
    np.testing.assert_array_equal(other.predict(X), model.predict(X))
    assert other.m_step == FixedBound()
    assert other.prior == (0.1, 0.2)


@pytest.fixture(scope="module", params=["GaussianMixture-em", "EMMLPRegressor", "MixtureModel", "GaussianHMM"])
def saved(request, tmp_path_factory):
    path = tmp_path_factory.mktemp("saved") / "m.emnet"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        next(case for case in FITS if case.name == request.param).fit().save(path)
    return path


def loads(path):
    try:
        emnet.load(path)
    except ModelFileError:
        return False
    return True


def test_files_altered_by_accident(saved, tmp_path):
    path, passed = tmp_path / "m.emnet", []
    for what, content in accidents(saved.read_bytes()):
        path.write_bytes(content)
        passed += [what] * loads(path)
    assert passed == []


def test_files_altered_on_purpose(saved, tmp_path):
    path, passed = tmp_path / "m.emnet", []
    for what, put in (*purposes(opened(saved)), *foreign_classes(opened(saved))):
        if not what.endswith(MAY_STAND_THERE):
            put(path)
            passed += [what] * loads(path)
    assert passed == []


@settings(max_examples=100, deadline=None)
@given(share=st.floats(0, 1, exclude_max=True), bit=st.integers(0, 7))
def test_any_flipped_bit_is_found(content, tmp_path_factory, share, bit):
    position = int(share * len(content))
    altered = bytearray(content)
    altered[position] ^= 1 << bit
    with pytest.raises(ModelFileError):
        reload(tmp_path_factory.mktemp("flipped"), bytes(altered))


def header_of(content):
    (length,) = struct.unpack("<Q", content[:8])
    return json.loads(content[8 : 8 + length]), content[8 + length :]


def with_envelope(content, change):
    header, payload = header_of(content)
    envelope = json.loads(header["__metadata__"]["emnet"])
    change(envelope)
    header["__metadata__"]["emnet"] = json.dumps(envelope, sort_keys=True, separators=(",", ":"))
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + payload


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda e: e.update(format=99), "Upgrade emnet"),
        (lambda e: e.update({"class": "os.system"}), "not an emnet model"),
        (lambda e: e["state"].update(prior=[9.0, 9.0]), "checksum"),
        (lambda e: e["state"].update(prior=[float("inf"), 0.0]), "no finite number"),
        (lambda e: e.pop("sha256"), "not emnet's"),
    ],
)
def test_altered_envelopes(content, tmp_path, change, message):
    with pytest.raises(ModelFileError, match=message):
        reload(tmp_path, with_envelope(content, change))


def test_foreign_files(tmp_path):
    foreign = to_bytes({"weight": np.zeros(3)})
    for content in (b"PK\x03\x04 a zip file, not a model", b'{"json": 1}', foreign, os.urandom(4096)):
        with pytest.raises(ModelFileError):
            reload(tmp_path, content)
    lying = struct.pack("<Q", 2**62) + b"{" + b" " * 100
    with pytest.raises(ModelFileError):
        reload(tmp_path, lying)


def test_a_failed_save_leaves_the_old_file(model, content, tmp_path, monkeypatch):
    path = tmp_path / "m.emnet"
    path.write_bytes(content)

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        model.save(path)
    assert path.read_bytes() == content
    assert os.listdir(tmp_path) == ["m.emnet"]


def test_what_no_file_can_hold_is_refused(tmp_path):
    class Doubling(FixedBound):
        pass

    model = EMMLPClassifier(2, n_init=1, random_state=0, tol=1e-3, m_step=Doubling()).fit(X, Y)
    with pytest.raises(InvalidInputError, match="no model file can hold"):
        model.save(tmp_path / "m.emnet")


def test_parameters_of_numpy_types_and_weights_of_classes_survive(tmp_path):
    model = EMMLPClassifier(
        np.int64(2),
        n_init=1,
        random_state=np.int64(3),
        tol=np.float32(0.01),
        class_weight={0: 1.0, 1: 2, np.int64(2): 1.0},
    )
    model.fit(X, Y).save(tmp_path / "m.emnet")
    other = emnet.load(tmp_path / "m.emnet")
    assert other.class_weight == {0: 1.0, 1: 2, 2: 1.0}
    assert other.random_state == 3
    np.testing.assert_array_equal(other.fit(X, Y).predict_proba(X), model.predict_proba(X))


def test_a_link_is_followed_and_a_folder_refused(model, tmp_path):
    target, link = tmp_path / "target.emnet", tmp_path / "link.emnet"
    target.write_text("old")
    link.symlink_to(target)
    model.save(link)
    assert link.is_symlink()
    np.testing.assert_array_equal(emnet.load(target).predict_proba(X), model.predict_proba(X))
    with pytest.raises(IsADirectoryError, match="is a folder"):
        model.save(tmp_path)
    with pytest.raises(FileNotFoundError, match="no such folder"):
        model.save(tmp_path / "no" / "m.emnet")
