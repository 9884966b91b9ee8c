"""Convert Abalone from the comma-separated values that the package scikit-lego carries.

``python convert_abalone.py ARCHIVE`` with its sklego/data/abalone.zip. Every measurement is a
multiple of 0.0005, so halves of thousandths in int16 keep all of them: dividing by 2000 gives the
double nearest to the number in the text, which that package writes with rounding errors.
"""

import csv
import io
import sys
import zipfile
from pathlib import Path

import numpy as np

MEASUREMENTS = (
    "length",
    "diameter",
    "height",
    "whole_weight",
    "shucked_weight",
    "viscera_weight",
    "shell_weight",
)


def main(archive: Path) -> None:
    """Write abalone.npz beside this script, after checking that no digit was lost."""
    with zipfile.ZipFile(archive) as opened:
        text = opened.read(opened.namelist()[0]).decode("utf-8")
    table = list(csv.DictReader(io.StringIO(text)))
    values = np.array([[float(row[name]) for name in MEASUREMENTS] for row in table])
    halves = np.rint(values * 2000).astype(np.int16)
    if not np.allclose(halves / 2000, values, rtol=0, atol=1e-12):
        raise ValueError("a measurement is not a multiple of 0.0005")
    np.savez_compressed(
        Path(__file__).with_name("abalone.npz"),
        measurements_two_thousandths=halves,
        sex=np.array([row["sex"] for row in table], "U1"),
        rings=np.array([int(row["rings"]) for row in table], np.uint8),
    )


if __name__ == "__main__":
    main(Path(sys.argv[1]))
