"""scikit-learn's own callbacks (`sklearn.callback`, from 1.9), where the installed version has them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from emnet.algorithms.base import Callback, Iteration
from emnet.models.base import LatentModel

try:
    from sklearn.callback import CallbackSupportMixin, with_callbacks
except ImportError:  # scikit-learn < 1.9

    class CallbackSupportMixin:  # type: ignore[no-redef]
        """Stands in where scikit-learn has no callbacks."""

    def with_callbacks(method: Callable) -> Callable:  # type: ignore[no-redef]
        return method


class SklearnCallbacks:
    """The task tree that scikit-learn's callbacks see: fit → one task a restart → one task an iteration."""

    def __init__(self, estimator: Any, n_restarts: int, X: Any, y: Any, reconstruct: Callable[[Any], dict]):
        self.estimator, self.data, self.reconstruct = estimator, {"X": X, "y": y}, reconstruct
        begin = getattr(estimator, "_init_callback_context", None)
        self.root = begin(max_subtasks=n_restarts) if begin and getattr(estimator, "_skl_callbacks", None) else None
        if self.root is not None:
            self.root.call_on_fit_task_begin(estimator=estimator, **self.data)

    def restart(self) -> list[Callback]:
        """Open the task of the next restart; what `run` should call each iteration."""
        if self.root is None:
            return []
        self.task = self.root.subcontext(task_name="restart", max_subtasks=None)
        self.task.call_on_fit_task_begin(estimator=self.estimator, **self.data)
        return [self._iteration]

    def end_restart(self, model: LatentModel) -> None:
        self._end(getattr(self, "task", None), model)

    def end(self, model: LatentModel) -> None:
        self._end(self.root, model)

    def _iteration(self, model: LatentModel, iteration: Iteration) -> bool:
        task = self.task.subcontext(task_name="iteration")
        task.call_on_fit_task_begin(estimator=self.estimator, **self.data)
        return self._end(task, model)

    def _end(self, task: Any, model: LatentModel) -> bool:
        if task is None:
            return False
        attributes = lambda: self.reconstruct(model)  # noqa: E731  (built only for callbacks that ask)
        return bool(
            task.call_on_fit_task_end(estimator=self.estimator, reconstruction_attributes=attributes, **self.data)
        )
