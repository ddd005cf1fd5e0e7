"""The arguments of `fit` that keep it in a file and take it up again, the same for every estimator."""

from __future__ import annotations

import functools
import inspect
import os
from collections.abc import Callable
from typing import Any, TypeVar

from emnet.data.stream import Stream
from emnet.distributed import ALONE
from emnet.estimators.checkpoints import checkpointing
from emnet.exceptions import InvalidInputError

F = TypeVar("F", bound=Callable)


def resumable(fit: F) -> F:
    """Give `fit` what `checkpointing` takes: `checkpoint`, `checkpoint_every`, `resume` and `checkpoint_errors`."""

    @functools.wraps(fit)
    def keeping(
        self: Any,
        *args: Any,
        checkpoint: str | os.PathLike | None = None,
        checkpoint_every: float | None = None,
        resume: bool = False,
        checkpoint_errors: str = "warn",
        **options: Any,
    ) -> Any:
        if checkpoint is None:
            if resume:
                raise InvalidInputError("resume=True needs checkpoint=, the file to go on from.")
            return fit(self, *args, **options)
        group = next((each.group for each in (*args, *options.values()) if isinstance(each, Stream)), ALONE)
        kept = checkpointing(
            checkpoint, checkpoint_every, resume=resume, errors=checkpoint_errors, estimator=self, group=group
        )
        with kept:
            return fit(self, *args, **options)

    own = inspect.signature(fit).parameters
    added = inspect.signature(keeping, follow_wrapped=False).parameters
    named = [each for each in added.values() if each.kind is inspect.Parameter.KEYWORD_ONLY]
    keeping.__signature__ = inspect.Signature([*own.values(), *named])  # type: ignore[attr-defined]
    return keeping  # type: ignore[return-value]
