"""emnet: EM for neural networks."""

from importlib import import_module
from typing import Any

__version__ = "0.1.0"

_WHERE = {  # public name → module; imported when first used, so that `import emnet` stays as light as PyTorch
    "CategoricalHMM": "emnet.estimators.categorical_hmm",
    "CheckpointError": "emnet.exceptions",
    "checkpointing": "emnet.estimators.checkpoints",
    "CheckpointWarning": "emnet.exceptions",
    "CollapsedComponentError": "emnet.exceptions",
    "CollapsedComponentWarning": "emnet.exceptions",
    "ConvergenceMonitor": "emnet.estimators.monitor",
    "DegenerateFitError": "emnet.exceptions",
    "EMClusterer": "emnet.estimators.em_clusterer",
    "distributed": "emnet.distributed",
    "EMImputer": "emnet.estimators.em_imputer",
    "EMMLPClassifier": "emnet.estimators.em_mlp",
    "EMMLPRegressor": "emnet.estimators.em_mlp_regressor",
    "EMOutlierDetector": "emnet.estimators.em_outlier_detector",
    "EmnetError": "emnet.exceptions",
    "EmnetWarning": "emnet.exceptions",
    "EvidenceDecreasedWarning": "emnet.exceptions",
    "FactorAnalysis": "emnet.estimators.factor_analysis",
    "FitInterrupted": "emnet.exceptions",
    "FitTerminated": "emnet.exceptions",
    "GaussianHMM": "emnet.estimators.gaussian_hmm",
    "GaussianMixture": "emnet.estimators.gaussian_mixture",
    "GMMHMM": "emnet.estimators.gmm_hmm",
    "HeywoodCaseWarning": "emnet.exceptions",
    "InsufficientMemoryError": "emnet.exceptions",
    "ImpossibleRowError": "emnet.exceptions",
    "InputOutputHMM": "emnet.estimators.input_output_hmm",
    "InvalidInputError": "emnet.exceptions",
    "load": "emnet.serialization",
    "MissingDependencyError": "emnet.exceptions",
    "MixtureModel": "emnet.estimators.mixture_model",
    "MixtureOfExpertsClassifier": "emnet.estimators.mixture_of_experts_classifier",
    "MixtureOfExpertsRegressor": "emnet.estimators.mixture_of_experts_regressor",
    "MLflowLogger": "emnet.estimators.loggers",
    "ModelFileError": "emnet.exceptions",
    "MultinomialHMM": "emnet.estimators.multinomial_hmm",
    "NeuralHMM": "emnet.estimators.neural_hmm",
    "NeuralMixture": "emnet.estimators.neural_mixture",
    "NormalInverseWishart": "emnet.factors.gaussian_priors",
    "PoissonHMM": "emnet.estimators.poisson_hmm",
    "pool_estimates": "emnet.applications.rubin",
    "PooledEstimate": "emnet.applications.rubin",
    "ProbabilisticPCA": "emnet.estimators.probabilistic_pca",
    "report": "emnet.report",
    "RegularizationWarning": "emnet.exceptions",
    "SampleCollapseWarning": "emnet.exceptions",
    "ProcessLostError": "emnet.exceptions",
    "SequenceClassifier": "emnet.estimators.sequence_classifier",
    "SeparationWarning": "emnet.exceptions",
    "TensorBoardLogger": "emnet.estimators.loggers",
    "TooFewRowsError": "emnet.exceptions",
    "VariationalAutoencoder": "emnet.estimators.variational_autoencoder",
    "stream": "emnet.data.stream",
}

__all__ = sorted(_WHERE)


def __getattr__(name: str) -> Any:
    if name not in _WHERE:
        raise AttributeError(f"module 'emnet' has no attribute {name!r}")
    module = import_module(_WHERE[name])
    value = getattr(module, name, module)  # `emnet.distributed` is itself a module
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
