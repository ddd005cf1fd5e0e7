"""L-BFGS on the evidence, whose gradient the E-step gives."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from emnet.algorithms.base import Progress, e_step, evaluate
from emnet.algorithms.em import EM
from emnet.batch import Data
from emnet.models.base import LatentModel


@dataclass
class LBFGS:
    """Quasi-Newton ascent of the penalised log evidence in float64, with strong-Wolfe line search.

    ∇ log evidence = ∇Q at θ (Fisher's identity), so an evaluation is an E-step. One `step` is one quasi-Newton
    iteration; where its line search finds nothing better, an EM step is taken in its place and the curvature
    forgotten, so a run never ends where plain EM would still rise.
    """

    em: EM
    memory: int = 20

    def __post_init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        self._optimizer: torch.optim.LBFGS | None = None

    def step(self, model: LatentModel, data: Data) -> Progress:
        start = model.coordinates()
        if self._optimizer is None:
            self._optimizer = torch.optim.LBFGS(
                [torch.nn.Parameter(start.clone())],
                max_iter=1,
                max_eval=20,
                history_size=self.memory,
                tolerance_grad=0.0,
                tolerance_change=0.0,
                line_search_fn="strong_wolfe",
            )
        (vector,) = self._optimizer.param_groups[0]["params"]
        seen: list[Progress] = []

        def negative_objective() -> Tensor:
            model.set_coordinates(vector.detach())
            progress, statistics = e_step(model, data, self.em.inference)
            seen.append(progress)
            scale = self._scale(data)
            vector.grad = -model.gradient(statistics) / scale
            return vector.new_tensor(-progress.objective / scale)

        self._optimizer.step(negative_objective)
        model.set_coordinates(vector.detach())
        if not evaluate(model, data, self.em.inference).objective > seen[0].objective:
            model.set_coordinates(start)
            self.reset()
            return self.em.step(model, data)
        return seen[0]

    @staticmethod
    def _scale(data: Data) -> float:
        return max(1.0, sum(batch.total_weight for batch in data))
