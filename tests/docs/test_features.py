"""docs/features.md: each row of pysig's names what there is, and links to a test that there is."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import pysig

FILE = Path(__file__).parents[2] / "docs" / "features.md"
ROWS = [
    line.split(" | ")
    for line in FILE.read_text(encoding="utf-8").splitlines()
    if line.startswith("| ") and not line.startswith("| |")
]


def test_the_table_is_found():
    assert len(ROWS) > 30
    assert all(len(row) == 6 for row in ROWS)


@pytest.mark.parametrize("row", ROWS, ids=[row[0].removeprefix("| ") for row in ROWS])
def test_links_and_names(row):
    cell = row[1]
    links = re.findall(r"\]\(([^)]+)\)", cell)
    assert links or cell == "\N{EN DASH}"
    for link in links:
        assert (FILE.parent / link).is_file()
    for text in re.findall(r"`([^`]+)`", cell):
        name = re.match(r"\w+", text)
        assert name is not None
        options = {"stream", "basepoint", "initial", "inverse", "lengths", "mode"}
        commands = {"signature", "logsignature", "windows"}
        assert name[0] in options | commands or hasattr(pysig, name[0])
