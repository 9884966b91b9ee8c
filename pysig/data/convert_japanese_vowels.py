"""Convert Japanese Vowels from the .ts files that the package aeon carries to japanese_vowels.npz.

``python convert_japanese_vowels.py FOLDER`` with the folder that has JapaneseVowels_TRAIN.ts and
JapaneseVowels_TEST.ts. Every value has at most six decimals, so millionths in int32 keep all of
them: dividing by 1e6 gives the very double that reading the text gives.
"""

import sys
from pathlib import Path

import numpy as np


def read(file: Path) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return points (all paths one after the other), lengths and speakers of one .ts file."""
    paths, speakers = [], []
    for line in file.read_text(encoding="utf-8").splitlines():
        if not line.strip() or line.startswith(("#", "@")):
            continue
        *channels, speaker = line.split(":")
        paths.append(np.array([[float(v) for v in channel.split(",")] for channel in channels]).T)
        speakers.append(int(speaker))
    lengths = np.array([len(path) for path in paths], np.uint8)
    return np.concatenate(paths), lengths, np.array(speakers, np.uint8)


def main(folder: Path) -> None:
    """Write japanese_vowels.npz beside this script, after checking that no digit was lost."""
    stored = {}
    for part in ("train", "test"):
        points, lengths, speakers = read(folder / f"JapaneseVowels_{part.upper()}.ts")
        millionths = np.rint(points * 1e6).astype(np.int32)
        if not np.array_equal(millionths / 1e6, points):
            raise ValueError(f"{part}: a value has more than six decimals")
        stored |= {
            f"{part}_millionths": millionths,
            f"{part}_lengths": lengths,
            f"{part}_speakers": speakers,
        }
    np.savez_compressed(Path(__file__).with_name("japanese_vowels.npz"), **stored)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
