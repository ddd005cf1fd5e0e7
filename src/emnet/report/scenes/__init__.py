"""How models are drawn: one kind a file, and the table that says which kind a model is."""

from __future__ import annotations

from collections.abc import Callable

from emnet.report.scenes import chains, codes, components, experts, networks, shares
from emnet.report.scenes.scene import Scene
from emnet.report.subject import Subject

SCENES: tuple[tuple[tuple[str, ...], Callable[[Subject], Scene | None]], ...] = (  # the first that fits draws the model
    (("transmat_", "predict_proba"), chains.scene),
    (("smooth", "predict_states"), chains.of_targets),
    (("gate_proba", "responsibilities"), experts.scene),
    (("hidden_posterior",), networks.scene),
    (("transform", "score_samples"), codes.scene),
    (("weights_", "predict_proba", "score_samples"), components.scene),
    (("predict_proba",), shares.scene),
)


def scene_for(subject: Subject) -> Scene | None:
    """The drawing of the first row of the table whose attributes the estimator has; None where there is none."""
    for needs, make in SCENES:
        if subject.can(*needs):
            return make(subject)
    return None
