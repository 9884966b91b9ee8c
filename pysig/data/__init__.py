"""The real data that comes with pysig; README.md in this folder states source and licence."""

from pathlib import Path
from typing import NamedTuple

import numpy as np

__all__ = ["Abalone", "LabelledPaths", "abalone", "japanese_vowels"]


class LabelledPaths(NamedTuple):
    """A ragged batch of paths with one label each."""

    paths: np.ndarray
    lengths: np.ndarray
    labels: np.ndarray


class Abalone(NamedTuple):
    """Measurements of abalone shells, and what tells the age of the animals."""

    measurements: np.ndarray
    sex: np.ndarray
    rings: np.ndarray


def abalone() -> Abalone:
    """Return the UCI data set Abalone.

    4177 abalones from Tasmania. The age of one is known from the rings of its shell, which are
    counted under a microscope; the rest is easy to measure. It is customary to train on the first
    3133 and to test on the other 1044.

    Returns
    -------
    Abalone
        ``measurements`` of shape (4177, 7), float64: length, diameter, height (mm), whole weight,
        weight of the meat, weight of the gut, weight of the dried shell (g), all divided by 200.
        ``sex``, "M", "F", or "I" for infants, and ``rings``, integers, of shape (4177,).

    Examples
    --------
    >>> from pysig.data import abalone
    >>> data = abalone()
    >>> data.measurements.shape
    (4177, 7)
    >>> int(data.rings.min()), int(data.rings.max())
    (1, 29)
    """
    with np.load(Path(__file__).with_name("abalone.npz")) as stored:
        return Abalone(
            stored["measurements_two_thousandths"] / 2000,
            stored["sex"],
            stored["rings"].astype(np.intp),
        )


def japanese_vowels() -> tuple[LabelledPaths, LabelledPaths]:
    """Return the training and the test part of the UCI data set Japanese Vowels.

    Nine speakers say the vowels /ae/; every utterance is a path of 7 to 29 points in 12 channels
    (LPC cepstrum coefficients), and its label, 1 to 9, is the speaker.

    Returns
    -------
    train, test : LabelledPaths
        ``paths`` of shape (270, 26, 12) and (370, 29, 12), float64, filled up with NaN beyond
        ``lengths``; ``lengths`` and ``labels`` are integers of shape (270,) and (370,).

    Examples
    --------
    >>> from pysig.data import japanese_vowels
    >>> train, test = japanese_vowels()
    >>> train.paths.shape, test.paths.shape
    ((270, 26, 12), (370, 29, 12))
    >>> int(test.lengths.min()), int(test.lengths.max())
    (7, 29)
    """
    with np.load(Path(__file__).with_name("japanese_vowels.npz")) as stored:
        train, test = (
            LabelledPaths(
                _padded(stored[f"{part}_millionths"] / 1e6, stored[f"{part}_lengths"]),
                stored[f"{part}_lengths"].astype(np.intp),
                stored[f"{part}_speakers"].astype(np.intp),
            )
            for part in ("train", "test")
        )
    return train, test


def _padded(points: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """Lay paths stored one after the other side by side, with NaN beyond the end of each."""
    paths = np.full((len(lengths), lengths.max(), points.shape[-1]), np.nan)
    paths[np.arange(lengths.max()) < lengths[:, None]] = points
    return paths
