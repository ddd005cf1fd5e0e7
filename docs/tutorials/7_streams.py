"""
Streams and torchrun
====================

Statistics add. So rows that do not fit into memory are read in batches, rows that one process is too slow for are
shared by many, and either way the fit is that of all rows at once.
"""

import subprocess
import sys
import tempfile
import warnings
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from sklearn.exceptions import ConvergenceWarning

import emnet

folder = tempfile.TemporaryDirectory()
rng = np.random.RandomState(0)
centers = rng.randn(6, 4) * 3
X = centers[rng.randint(6, size=12_000)] + rng.randn(12_000, 4)
for k, part in enumerate(np.split(X, 6)):
    np.save(Path(folder.name, f"rows{k}.npy"), part)

# %%
# A stream in place of an array
# -----------------------------
# The same start, the same figures, and a few batches in memory at a time. The start is made from a sample of the
# stream; this one is small enough to be its own.

rows = emnet.stream(f"{folder.name}/rows*.npy", batch_rows=2_000)
streamed = emnet.GaussianMixture(6, random_state=0).fit(rows)
in_memory = emnet.GaussianMixture(6, random_state=0).fit(X)
print(f"largest difference of a mean: {abs(np.sort(streamed.means_, 0) - np.sort(in_memory.means_, 0)).max():.1e}")

# %%
# Many processes
# --------------
# Each reads its own share; blocks of statistics are added in the order of the blocks, so any number of processes gives
# the same bits. This is what torchrun is given, on one machine or on many:

script = Path(folder.name, "fit.py")
script.write_text(
    f"""
import emnet
with emnet.distributed.session(timeout=60) as group:
    rows = emnet.stream({f"{folder.name}/rows*.npy"!r}, batch_rows=2_000).shared(group)
    model = emnet.GaussianMixture(6, random_state=0).fit(rows)
    if group.is_first:
        model.save({f"{folder.name}/model.emnet"!r})
"""
)
command = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", str(script)]
subprocess.run([sys.executable, *command], check=True, capture_output=True)
shared = emnet.load(f"{folder.name}/model.emnet")
alone = emnet.distributed.run(emnet.GaussianMixture(6, random_state=0).fit, rows, threads=1)
print("two processes and one, bit for bit:", np.array_equal(shared.means_, alone.means_))

# %%
# An M-step after every batch
# ---------------------------
# Where passes are long, waiting for all rows before each M-step is a waste. Online EM forgets what is old, incremental
# EM takes a batch's old statistics away before it adds the new ones. All three begin at the same bad start here. Of
# those that move within a pass, the evidence of a pass is an estimate: the sum over batches, each at the parameters it
# met.

warnings.simplefilter("ignore", ConvergenceWarning)  # twelve passes are what is looked at
WAYS = {"em": "EM, a step a pass", "online": "online EM", "incremental": "incremental EM"}
figure, axis = plt.subplots(figsize=(6.5, 3.8), layout="constrained")
for algorithm, name in WAYS.items():
    model = emnet.GaussianMixture(
        6, algorithm=algorithm, means_init=X[:6] * 0.1, max_iter=12, tol=1e-9, random_state=0
    ).fit(rows)
    evidence = [line["log_evidence"] / len(X) for line in model.history_]
    axis.plot(1 + np.arange(len(evidence)), evidence, "o-", markersize=4, label=name)
axis.axhline(in_memory.score(X), color="0.6", linewidth=1, label="from k-means, converged")
best = in_memory.score(X)
axis.set(xlabel="pass over the rows", ylabel="log evidence a row, nats", ylim=(best - 1, best + 0.05))
axis.legend()
plt.show()
folder.cleanup()
