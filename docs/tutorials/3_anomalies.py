"""
Anomalies, and why
==================

A row is odd if a model of all rows finds it improbable. A score alone helps little: which of its columns made it so?
"""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from sklearn.datasets import load_wine

from emnet import EMOutlierDetector

wine = load_wine(as_frame=True).data
rng = np.random.RandomState(0)
wine = wine.mask(rng.rand(*wine.shape) < 0.05)  # some cells are missing, as they are

# %%
# Three wines that cannot be
# --------------------------
# Each has one or two values that do not go with the others of its row.

odd = pd.DataFrame([wine.loc[0], wine.loc[100], wine.loc[170]], index=["A", "B", "C"])
odd.loc["A", "color_intensity"], odd.loc["A", "hue"] = 9.5, 0.6
odd.loc["B", "proline"] = 1400.0
odd.loc["C", "flavanoids"], odd.loc["C", "total_phenols"] = 4.2, 1.4
table = pd.concat([wine, odd])

# %%
# Score and reasons
# -----------------
# The score is log p of what is there of the row, in nats. `explain` compares the evidence with and without each column:
# what is left over of a column is what the rest of its row did not lead to expect. Look at both: the score of wine C is
# not among the lowest, since all else about it is most ordinary, and yet one of its cells surprises by 16 nats.

detector = EMOutlierDetector(contamination=0.03, n_components=(1, 2, 3), random_state=0).fit(wine)
for name, reasons in zip(odd.index, detector.explain(odd), strict=True):
    score = float(detector.score_samples(odd.loc[[name]])[0])
    words = ", ".join(f"{reason.column} ({reason.surprise:.1f})" for reason in reasons)
    print(f"wine {name}: {score:6.1f} nats, {'outlier' if score < detector.offset_ else 'ordinary'}; {words}")

# %%
# All wines, and the columns of the three
# ---------------------------------------

scores, surprise = detector.score_samples(table), detector.surprise(odd)
figure, axes = plt.subplots(1, 2, figsize=(9.5, 3.8), layout="constrained", width_ratios=(1, 1.3))
axes[0].hist(scores[: len(wine)], bins=40, color="0.7")
axes[0].axvline(detector.offset_, color="C3", linewidth=1)
axes[0].text(detector.offset_, 22, "outliers ", color="C3", ha="right")
for k, (name, score) in enumerate(zip(odd.index, scores[len(wine) :], strict=True)):
    axes[0].plot(score, 1, "v", color=f"C{k}", markersize=9, label=f"wine {name}")
axes[0].set(xlabel="log p(row), nats", ylabel="wines")
axes[0].legend(fontsize=8, loc="center left")
for k, name in enumerate(odd.index):
    axes[1].barh(np.arange(wine.shape[1]) + 0.27 * (k - 1), surprise[k], 0.27, color=f"C{k}", label=f"wine {name}")
axes[1].set(yticks=np.arange(wine.shape[1]), yticklabels=wine.columns, xlabel="surprise beyond the usual, nats")
axes[1].tick_params(axis="y", labelsize=7)
axes[1].invert_yaxis()
plt.show()
