"""Splits of a table into rows to train with and rows to be tested by, of which the training knows nothing."""

from __future__ import annotations

import numpy as np
from sklearn.model_selection import train_test_split

from emnet.cli.competitors import Split
from emnet.data.schema import Schema
from emnet.data.table import Table
from emnet.estimators.standardize import weighted_location_scale
from emnet.estimators.table_choice import filler_of, without_new
from emnet.estimators.table_model import filled_inputs
from emnet.estimators.table_tasks import design


def split_of(table: Table, test_size: float, seed: int) -> Split:
    """A stratified split; holes are filled, and inputs standardized, by what the training rows say."""
    X, X_test, y, y_test = train_test_split(table.X, table.y, test_size=test_size, random_state=seed, stratify=table.y)
    if table.schema is not None:
        X, X_test = _numbers(X, X_test, table.schema, seed)
    mean, scale = weighted_location_scale(X, np.ones(len(X)))
    return Split((X - mean) / scale, (X_test - mean) / scale, y, y_test)


def _numbers(X: np.ndarray, X_test: np.ndarray, schema: Schema, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Both without holes, words as indicators."""
    if np.isnan(X).any() or np.isnan(X_test).any():
        filler = filler_of(X, schema, seed)
        filled = filled_inputs(without_new(X_test, X, schema), filler, schema)
        X, X_test = filled_inputs(X, filler, schema), np.where(np.isnan(X_test), filled, X_test)
    return design(X, schema), design(X_test, schema)
