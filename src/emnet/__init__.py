"""emnet: EM for neural networks."""

from importlib import import_module
from typing import Any

__version__ = "0.1.0"

_WHERE = {  # public name → module; imported when first used, so that `import emnet` stays as light as PyTorch
    "CollapsedComponentError": "emnet.exceptions",
    "CollapsedComponentWarning": "emnet.exceptions",
    "DegenerateFitError": "emnet.exceptions",
    "EMImputer": "emnet.estimators.em_imputer",
    "EMMLPClassifier": "emnet.estimators.em_mlp",
    "EMMLPRegressor": "emnet.estimators.em_mlp_regressor",
    "EmnetError": "emnet.exceptions",
    "EmnetWarning": "emnet.exceptions",
    "EvidenceDecreasedWarning": "emnet.exceptions",
    "FitInterrupted": "emnet.exceptions",
    "GaussianMixture": "emnet.estimators.gaussian_mixture",
    "InsufficientMemoryError": "emnet.exceptions",
    "InvalidInputError": "emnet.exceptions",
    "MissingDependencyError": "emnet.exceptions",
    "MixtureOfExpertsClassifier": "emnet.estimators.mixture_of_experts_classifier",
    "MixtureOfExpertsRegressor": "emnet.estimators.mixture_of_experts_regressor",
    "MixtureModel": "emnet.estimators.mixture_model",
    "ModelFileError": "emnet.exceptions",
    "NormalInverseWishart": "emnet.factors.gaussian_priors",
    "PooledEstimate": "emnet.applications.rubin",
    "SampleCollapseWarning": "emnet.exceptions",
    "SeparationWarning": "emnet.exceptions",
    "load": "emnet.serialization",
    "pool_estimates": "emnet.applications.rubin",
}

__all__ = sorted(_WHERE)


def __getattr__(name: str) -> Any:
    if name not in _WHERE:
        raise AttributeError(f"module 'emnet' has no attribute {name!r}")
    value = getattr(import_module(_WHERE[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
