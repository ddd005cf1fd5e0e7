"""Early stopping on held-out evidence."""

from __future__ import annotations

import math

from emnet.algorithms.base import Iteration, evaluate
from emnet.batch import Data
from emnet.inference.base import EStep
from emnet.models.base import LatentModel


class EarlyStopping:
    """Ends a run when the evidence of held-out rows has not risen for `patience` iterations; keeps the best it saw."""

    kept = ("best", "coordinates", "waited")

    def __init__(self, model: LatentModel, held_out: Data, inference: EStep, patience: int):
        self.model, self.held_out, self.inference, self.patience = model, held_out, inference, patience
        self.best, self.coordinates, self.waited = -math.inf, model.coordinates(), 0

    def __call__(self, model: LatentModel, iteration: Iteration) -> bool:
        reached = evaluate(model, self.held_out, self.inference).log_evidence
        if reached > self.best:
            self.best, self.coordinates, self.waited = reached, model.coordinates(), 0
        else:
            self.waited += 1
        return self.waited >= self.patience

    def restore(self) -> None:
        self.model.set_coordinates(self.coordinates)
