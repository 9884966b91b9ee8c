"""The code of docs/sde.md prints what it says."""

import doctest
from pathlib import Path

DOCUMENT = Path(__file__).parents[2] / "docs" / "sde.md"


def test_document():
    failures, examples = doctest.testfile(str(DOCUMENT), module_relative=False)
    assert examples > 10
    assert failures == 0
