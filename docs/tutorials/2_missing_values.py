"""
Missing values
==============

A third of a table is lost. A mean in every hole is a poor guess, and says nothing of how poor. A mixture of the whole
table, fitted by exact EM to what is there, says what it expects in each hole, and how sure it is.
"""

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_iris

from emnet import EMImputer, pool_estimates

X, names = load_iris().data, load_iris().feature_names
holes = np.random.RandomState(0).rand(*X.shape) < 1 / 3
seen = np.where(holes, np.nan, X)

# %%
# Fill
# ----
# `EMImputer` compares mixtures by BIC; no cell is filled before it is predicted from.

imputer = EMImputer(n_components=(1, 2, 3), random_state=0).fit(seen)
filled, deviation = imputer.transform(seen), imputer.conditional_std(seen)
mean = np.where(holes, np.nanmean(seen, axis=0), X)
print("chosen:", imputer.model_.n_components, imputer.model_.covariance_type)
for name, table in (("column means", mean), ("EMImputer", filled)):
    print(f"{name:13s} root mean squared error {np.sqrt(((table - X)[holes] ** 2).mean()):.3f} cm")

# %%
# How sure is it?
# ---------------
# The errors, over the standard deviations that were announced, should look like draws of a standard normal.

ratio = (filled - X)[holes] / deviation[holes]
for times, expected in ((1, 68), (2, 95)):
    print(f"within {times} announced deviations: {(abs(ratio) < times).mean():.0%} ({expected}% expected)")

# %%
# A mean, and its honest standard error
# -------------------------------------
# A filled table looks as if nothing had been lost. Several tables with draws in the holes, an analysis of each, and
# Rubin's rules give the error that the loss has cost. Every table is drawn by a model refitted to a bootstrap of the
# rows: what is not known of the parameters counts too.

tables = imputer.impute_many(seen)
pooled = pool_estimates(tables[:, :, 2].mean(axis=1), tables[:, :, 2].var(axis=1, ddof=1) / len(X))
print(f"petal length {pooled.estimate:.3f} ± {pooled.standard_error:.3f}; ", end="")
print(f"share of the information that was lost: {pooled.missing_information:.0%}")

# %%
# Truth against guess
# -------------------

figure, axes = plt.subplots(1, 4, figsize=(10, 3), layout="constrained")
for j, axis in enumerate(axes):
    rows = holes[:, j]
    low, high = X[:, j].min(), X[:, j].max()
    axis.plot([low, high], [low, high], color="0.6", linewidth=1)
    axis.errorbar(
        X[rows, j], filled[rows, j], deviation[rows, j], fmt="o", markersize=3, linewidth=0.8, label="EM ± sd"
    )
    axis.plot(X[rows, j], mean[rows, j], "_", color="C1", label="column mean")
    axis.set(title=names[j], xlabel="truth")
axes[0].set_ylabel("filled in")
axes[0].legend(fontsize=8)
plt.show()
