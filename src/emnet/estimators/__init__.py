"""Scikit-learn estimators: validate, build a model, run an algorithm, publish attributes."""
