"""Two more M-steps of softmax regressions: the ways in which mixtures of experts have been fitted."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from emnet.factors.regression import LinearFactor, Rows
from emnet.kernels import logistic


@dataclass(frozen=True)
class Irls:
    """Iteratively reweighted least squares, each class by its own block of the Hessian (Jordan & Jacobs 1994), damped.

    Whole steps diverge on several classes (Chen, Xu & Chi 1999); these are half as long, and halved until Q rises.
    """

    max_steps: int = 2
    tol: float = 1e-10
    needs_rows = True
    needs_gram = True

    def __call__(self, factor: LinearFactor, statistics: Rows) -> Tensor:
        regression: logistic.Regression = factor.regression(statistics)
        if isinstance(regression, logistic.SoftmaxRegression):
            regression = regression.blockwise()
        return logistic.newton(regression, factor.weights64(), max_steps=self.max_steps, tol=self.tol)


@dataclass(frozen=True)
class ClassByClass:
    """Conditional maximization, a class at a time ("ecm"; Ng & McLachlan 2004): damped Newton on each in turn."""

    sweeps: int = 1
    tol: float = 1e-10
    needs_rows = True
    needs_gram = True

    def __call__(self, factor: LinearFactor, statistics: Rows) -> Tensor:
        regression, weights = factor.regression(statistics), factor.weights64()
        if isinstance(regression, logistic.SoftmaxRegression):
            return logistic.class_by_class(regression, weights, sweeps=self.sweeps, tol=self.tol)
        return logistic.newton(regression, weights, max_steps=self.sweeps, tol=self.tol)
