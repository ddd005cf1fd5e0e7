"""Histories in TensorBoard and in MLflow, read back by those packages."""

import sys

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.datasets import load_iris

from emnet import EMMLPClassifier, GaussianMixture, MissingDependencyError, MLflowLogger, TensorBoardLogger

X, y = load_iris(return_X_y=True)
pytestmark = pytest.mark.filterwarnings("ignore")


def test_tensorboard_has_a_run_for_every_start(tmp_path):
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    logger = TensorBoardLogger(tmp_path)
    model = EMMLPClassifier(2, n_init=2, max_iter=3, random_state=0, callbacks=[logger]).fit(X, y)
    clone(model).set_params(n_init=1).fit(X, y).callbacks[0].close()
    logger.close()
    assert sorted(folder.name for folder in tmp_path.iterdir()) == ["run_1", "run_2", "run_3"]
    for number, fit in enumerate(model.fits_, start=1):
        events = accumulator.EventAccumulator(str(tmp_path / f"run_{number}")).Reload()
        found = events.Scalars("log_evidence")
        assert [event.step for event in found] == [line.number for line in fit.history]
        np.testing.assert_allclose(
            [event.value for event in found], [line.log_evidence for line in fit.history], rtol=1e-5
        )
        assert {"objective", "log_prior", "seconds"} <= set(events.Tags()["scalars"])


def test_mlflow_has_the_history(tmp_path, monkeypatch):
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    monkeypatch.setenv("MLFLOW_DISABLE_TELEMETRY", "true")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", (tmp_path / "runs").as_uri())
    mlflow = pytest.importorskip("mlflow")
    with mlflow.start_run() as run:
        model = GaussianMixture(2, max_iter=4, random_state=0, callbacks=[MLflowLogger(every=2)]).fit(X)
    history = mlflow.MlflowClient().get_metric_history(run.info.run_id, "start_1/log_evidence")
    wanted = {line["iteration"]: line["log_evidence"] for line in model.history_[::2]}
    assert {metric.step: metric.value for metric in history} == pytest.approx(wanted)


@pytest.mark.parametrize(
    ("make", "package"), [(lambda: TensorBoardLogger("x"), "tensorboard"), (MLflowLogger, "mlflow")]
)
def test_a_missing_package_is_named_with_the_command(make, package, monkeypatch):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(MissingDependencyError, match=rf"needs {package}: pip install 'emnet\[{package}\]'\."):
        make()
