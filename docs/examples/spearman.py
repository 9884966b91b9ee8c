"""Rank abalones by age: a linear model with the best Spearman correlation, against least squares.

``python docs/examples/spearman.py`` prints the correlations and, with matplotlib installed
(``pip install "pysig[plot]"``), draws ``docs/images/spearman.png``. It needs SciPy.

The rings of an abalone's shell tell its age, but to count them the shell has to be cut. Who wants
to know only which of the animals are older needs a model that orders them well. Least squares aims
at the number of rings instead, which is skewed, and spends its effort on the oldest ones.
"""

import importlib.util
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import scipy.optimize
import scipy.stats

import pysig
from pysig.data import abalone

TRAINING = 3133  # the customary split of this data set
STRENGTH = 1e-3
SPLITS = 20
PICTURE = Path(__file__).parents[1] / "images" / "spearman.png"


class Part(NamedTuple):
    """Abalones to train on, or to test with."""

    features: np.ndarray
    rings: np.ndarray


class Fit(NamedTuple):
    """Weights, and those before each step of the optimiser."""

    weights: np.ndarray
    path: list[np.ndarray]


def load(order: np.ndarray | None = None) -> tuple[Part, Part]:
    """Return the abalones of training and test, features standardised by the former."""
    data = abalone()
    features = np.column_stack([data.measurements, data.sex == "F", data.sex == "I"])
    if order is not None:
        features, data = features[order], data._replace(rings=data.rings[order])
    train = features[:TRAINING]
    features = (features - train.mean(0)) / train.std(0)
    rings = data.rings.astype(float)
    return Part(features[:TRAINING], rings[:TRAINING]), Part(features[TRAINING:], rings[TRAINING:])


def least_squares(train: Part, target: np.ndarray) -> np.ndarray:
    """Return the weights of the linear model with the least squared error, scaled to spread 1.

    The intercept is left out, as it changes no order.
    """
    weights, *_ = np.linalg.lstsq(train.features, target - target.mean())
    return weights / np.std(train.features @ weights)


def loss_and_gradient(weights: np.ndarray, train: Part) -> tuple[float, np.ndarray]:
    """Return 1 - the soft Spearman correlation, and its gradient by the weights."""
    predictions = train.features @ weights
    loss, residuals = pysig.spearman_loss_forward(
        predictions, train.rings, regularization_strength=STRENGTH
    )
    return float(loss), train.features.T @ pysig.spearman_loss_backward(residuals, 1.0)


def spearman_fit(train: Part, start: np.ndarray) -> Fit:
    """Return the weights with the largest soft Spearman correlation near those of the start."""
    path = [start]
    found = scipy.optimize.minimize(
        loss_and_gradient,
        start,
        args=(train,),
        jac=True,
        method="BFGS",
        callback=lambda weights: path.append(weights.copy()),
    )
    return Fit(found.x, path)


def correlation(part: Part, weights: np.ndarray) -> float:
    """Return the Spearman correlation itself, with hard ranks."""
    result: Any = scipy.stats.spearmanr(part.features @ weights, part.rings)
    return float(result.statistic)


def compared(order: np.ndarray | None = None) -> tuple[float, float]:
    """Return the correlations on the test part: of least squares, and of the Spearman fit."""
    train, test = load(order)
    start = least_squares(train, train.rings)
    return correlation(test, start), correlation(test, spearman_fit(train, start).weights)


def main() -> None:
    train, test = load()
    start = least_squares(train, train.rings)
    of_ranks = least_squares(train, scipy.stats.rankdata(train.rings))
    fit = spearman_fit(train, start)
    rng = np.random.default_rng(0)
    splits = [compared(rng.permutation(len(train.rings) + len(test.rings))) for _ in range(SPLITS)]
    before, after = np.mean(splits, axis=0)

    print(f"Spearman correlation: {len(train.rings)} abalones to train, {len(test.rings)} to test")
    print("                            train    test")
    for name, weights in (
        ("least squares, rings", start),
        ("least squares, ranks", of_ranks),
        ("Spearman, soft ranks", fit.weights),
    ):
        print(f"  {name}    {correlation(train, weights):.4f}  {correlation(test, weights):.4f}")
    better = sum(after > before for before, after in splits)
    print(f"test, mean of {SPLITS} random splits")
    print(f"  least squares           {before:.4f}")
    print(f"  Spearman                {after:.4f}, ahead in {better} of {SPLITS}")

    if importlib.util.find_spec("matplotlib") is None:
        print("no picture: it needs matplotlib (pip install 'pysig[plot]')")
    else:
        save_picture(PICTURE, train, test, fit, splits)
        print(f"picture: {PICTURE}")


def save_picture(
    file: Path, train: Part, test: Part, fit: Fit, splits: list[tuple[float, float]]
) -> None:
    """Draw the way of the optimiser, the order of the test part, and the random splits."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(12, 4), layout="constrained")
    FigureCanvasAgg(figure)
    path_axes, order_axes, splits_axes = figure.subplots(1, 3)
    draw_path(path_axes, train, test, fit)
    draw_order(order_axes, test, fit)
    draw_splits(splits_axes, splits)
    figure.savefig(file, dpi=100)


def draw_path(axes: Any, train: Part, test: Part, fit: Fit) -> None:
    for name, part, colour in (("training", train, "C0"), ("test", test, "C1")):
        values = [correlation(part, weights) for weights in fit.path]
        axes.plot(values, color=colour, label=f"{name} part")
        axes.axhline(values[0], color=colour, linewidth=0.8, linestyle="--")
    axes.legend(loc="center right")
    axes.set(
        title="From least squares (dashed) to Spearman",
        xlabel="step of the optimiser (BFGS)",
        ylabel="Spearman correlation, hard ranks",
    )


def draw_order(axes: Any, test: Part, fit: Fit) -> None:
    places = scipy.stats.rankdata(test.features @ fit.weights)
    jitter = np.random.default_rng(0).uniform(-0.4, 0.4, len(places))
    axes.plot(places, test.rings + jitter, ".", markersize=3, alpha=0.6)
    axes.set(
        title=f"Test part in order: correlation {correlation(test, fit.weights):.3f}",
        xlabel="rank by the Spearman fit, youngest first",
        ylabel="rings",
    )


def draw_splits(axes: Any, splits: list[tuple[float, float]]) -> None:
    before, after = np.transpose(splits)
    ends = [min(before.min(), after.min()) - 0.002, max(before.max(), after.max()) + 0.002]
    axes.plot(ends, ends, color="black", linewidth=0.8)
    axes.plot(before, after, "o", color="C2")
    axes.set_aspect("equal")
    axes.set(
        title=f"Test correlation, {len(splits)} random splits",
        xlabel="least squares",
        ylabel="Spearman fit",
    )


if __name__ == "__main__":
    main()
