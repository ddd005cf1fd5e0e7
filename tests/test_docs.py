"""The worked examples of the documents run."""

import doctest
import shutil
from pathlib import Path

import pytest

from tests.shell_examples import blocks, masked, shown

DOCS = Path(__file__).parent.parent / "docs"


@pytest.mark.parametrize("page", ["autoencoders.md", "factor_analysis.md", "integrations.md", "neural_chains.md"])
def test_the_examples_run(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    monkeypatch.setenv("MLFLOW_DISABLE_TELEMETRY", "true")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", (tmp_path / "runs").as_uri())
    found = doctest.testfile(str(DOCS / page), module_relative=False)
    assert found.attempted > 0
    assert found.failed == 0


def test_the_commands_print_what_the_page_says(tmp_path, monkeypatch):
    text = (DOCS / "command_line.md").read_text(encoding="utf-8")
    shutil.copy(Path(__file__).parent / "data" / "patients.csv", tmp_path)
    monkeypatch.chdir(tmp_path)
    for found, commands in blocks(text):
        assert masked(shown(commands)) == masked(found[1])
