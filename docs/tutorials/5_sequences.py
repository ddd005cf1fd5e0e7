"""
Sequences: states, holes and what comes next
============================================

A machine idles, works and cools down; its log has two noisy numbers a minute, and gaps. Which state was it in, what
stood in the gaps, and what comes next? A hidden Markov model sums over all paths of states, exactly.
"""

import matplotlib.pyplot as plt
import numpy as np

from emnet import GaussianHMM

rng = np.random.RandomState(0)
MEANS = np.array([[1.0, 0.2], [4.0, 2.5], [2.4, 3.6]])
lasts = np.array([25, 40, 12])  # minutes that a state lasts, about
states = np.concatenate([np.full(rng.poisson(lasts[k % 3]), k % 3) for k in range(18)])
truth = MEANS[states] + 0.6 * rng.randn(len(states), 2)
X = truth.copy()
X[rng.rand(*X.shape) < 0.1] = np.nan  # single cells
X[200:215] = np.nan  # and a quarter of an hour in which nobody wrote

# %%
# How many states?
# ----------------
# BIC says; three starts of each.

selection = GaussianHMM(covariance_type="full", n_iter=30, n_init=3, random_state=0).select(X, n_components=range(1, 5))
for row in selection.table:
    print({name: row[name] for name in ("n_components", "bic")})

# %%
# States that last
# ----------------
# In a plain chain the shortest stay is always the likeliest. With `max_duration` each state has its own table of
# durations; forward–backward then sums over all segmentations, and is exact as well.

model = GaussianHMM(3, "full", max_duration=70, duration_prior=1.05, n_iter=30, n_init=3, random_state=0).fit(X)
order = np.argsort(model.means_[:, 0])
print("a state lasts, minutes:", model.expected_durations_[order].round(1), "(25, 12 and 40 were meant)")
number = np.argsort(order)  # states by their first mean
names = np.array([0, 2, 1])  # of the truth, in the same order
agree = np.mean(number[model.predict(X)] == np.argsort(names)[states])
print(f"states found: {agree:.1%}")

# %%
# Gaps and the future
# -------------------
# `impute` fills a hole given the whole sequence, what comes later included. `forecast` goes on from its end.

filled = model.impute(X)
ahead = model.forecast(X, 40, quantiles=(0.1, 0.9), random_state=0)
t, later = np.arange(len(X)), len(X) + np.arange(40)

figure, axes = plt.subplots(2, 1, figsize=(9, 4.6), sharex=True, layout="constrained", height_ratios=(2, 1))
axes[0].plot(t, truth[:, 0], color="0.8", linewidth=1, label="truth")
axes[0].plot(t, X[:, 0], ".", markersize=3, label="seen")
gap = np.isnan(X[:, 0])
axes[0].plot(t[gap], filled[gap, 0], ".", markersize=5, label="filled in")
axes[0].plot(later, ahead.mean[:, 0], color="C3", label="forecast, 80 %")
axes[0].fill_between(later, *ahead.quantiles[:, :, 0].T, color="C3", alpha=0.2, linewidth=0)
axes[0].set_ylabel("first number")
axes[0].legend(fontsize=8, ncols=4, loc="upper left")
axes[0].set_ylim(top=8)
shares = np.concatenate((model.predict_proba(X), ahead.state_probabilities))[:, order]
axes[1].stackplot(np.arange(len(shares)), shares.T, labels=["idle", "cooling down", "at work"], alpha=0.8)
axes[1].set(xlabel="minute", ylabel="p(state)", ylim=(0, 1), xlim=(0, len(shares) - 1))
axes[1].legend(fontsize=8, loc="lower left")
plt.show()
