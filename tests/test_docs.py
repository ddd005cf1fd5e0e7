"""The worked examples of the documents run."""

import doctest
from pathlib import Path

import pytest

DOCS = Path(__file__).parent.parent / "docs"


@pytest.mark.parametrize("page", ["autoencoders.md", "factor_analysis.md", "neural_chains.md"])
def test_the_examples_run(page):
    found = doctest.testfile(str(DOCS / page), module_relative=False)
    assert found.attempted > 0
    assert found.failed == 0
