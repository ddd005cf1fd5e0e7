"""`import emnet` against `import torch`, each in a process of its own."""

from __future__ import annotations

import subprocess
import sys

from benchmarks.results import markdown, write
from benchmarks.timing import alternate

_IMPORTS = ("import torch", "import emnet", "import emnet; emnet.EMMLPClassifier")


def main() -> None:
    tasks = {code: lambda c=code: subprocess.run([sys.executable, "-c", c], check=True) for code in _IMPORTS}
    seconds = alternate(tasks)
    rows = [[f"`{c}`", f"{seconds[c]:.2f}", f"{seconds[c] / seconds['import torch']:.2f} ×"] for c in _IMPORTS]
    body = markdown(["code", "s", "ratio"], rows) + "\n\nGoal: `import emnet` under 1.5 × `import torch`."
    write("start_up", "Start-up", body)
