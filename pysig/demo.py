"""``python -m pysig demo``: who is speaking? Signatures of ragged time series and ridge regression.

Everything that is fitted or chosen, from the scaling of the channels to the depth, sees the
training part only; the test part is classified once, at the end.
"""

import importlib.util
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

import pysig
from pysig.data import LabelledPaths, japanese_vowels

LARGEST_DEPTH = 3
SCALES = (0.05, 0.1, 0.2, 0.5, 1.0)
PENALTIES = tuple(10.0 ** (k / 2) for k in range(-14, -1))
DEFAULT_PLOT = Path("pysig_demo.png")


class Choice(NamedTuple):
    """What is chosen on the training part, and the leave-one-out results it is chosen by."""

    depth: int
    scale: float
    penalty: float
    squared_error: float
    accuracy: float


class Classification(NamedTuple):
    """Scores of the test paths, one column per class, with the choice that led to them."""

    classes: np.ndarray
    scores: np.ndarray
    choice: Choice

    @property
    def labels(self) -> np.ndarray:
        """The class with the highest score, for each path."""
        return self.classes[self.scores.argmax(-1)]


def run(plot: Path | None = DEFAULT_PLOT, *, plot_is_required: bool = False) -> float:
    """Run the demo, print what it finds and return the accuracy on the test part."""
    if plot_is_required and not matplotlib_is_installed():
        raise ImportError("a picture needs matplotlib: pip install 'pysig[plot]'")
    start = time.perf_counter()
    train, test = japanese_vowels()
    print("Japanese Vowels (UCI, CC BY 4.0): 9 speakers say /ae/; who is it?")
    print(f"  train        {_description(train)}")
    print(f"  test         {_description(test)}")

    inputs = prepared(train, train), prepared(test, train)
    train_signatures, test_signatures = (_signatures(part) for part in inputs)
    channels = inputs[0].paths.shape[-1]
    _print_throughput(inputs, train_signatures.shape[-1])

    found = classify(train_signatures, train.labels, test_signatures, channels)
    correct = int(np.sum(found.labels == test.labels))
    accuracy = correct / len(test.labels)
    _print_choice(found.choice)
    print(f"test accuracy  {accuracy:.4f} ({correct} of {len(test.labels)})")
    print(f"time           {time.perf_counter() - start:.2f} s in all")
    if plot is not None:
        _save_or_say_why_not(plot, inputs[1], found, plot_is_required)
    return accuracy


def prepared(data: LabelledPaths, train: LabelledPaths) -> LabelledPaths:
    """Standardise the channels by the training points, and add time as channel 0, from 0 to 1."""
    points = train.paths[np.arange(train.paths.shape[1]) < train.lengths[:, None]]
    paths = (data.paths - points.mean(0)) / points.std(0)
    clock = np.arange(paths.shape[1]) / (data.lengths[:, None] - 1)
    return data._replace(paths=np.concatenate([clock[..., None], paths], axis=-1))


def classify(
    train: np.ndarray, train_labels: np.ndarray, test: np.ndarray, channels: int
) -> Classification:
    """Fit ridge regression onto one indicator per class; all choices by leave-one-out on ``train``.

    The signature is computed once, to the largest depth: a smaller depth is its beginning, and
    scaling a path by c scales level k by c^k.
    """
    classes = np.unique(train_labels)
    targets = np.where(train_labels[:, None] == classes, 1.0, -1.0)
    candidates = []
    for depth in range(1, LARGEST_DEPTH + 1):
        for scale in SCALES:
            weights = level_weights(scale, channels, depth)
            features = train[:, : len(weights)] * weights
            for penalty, predicted in leave_one_out(features, targets, PENALTIES):
                squared_error = float(np.mean((predicted - targets) ** 2))
                accuracy = float(np.mean(classes[predicted.argmax(-1)] == train_labels))
                candidates.append(Choice(depth, scale, penalty, squared_error, accuracy))
    choice = min(candidates, key=lambda candidate: candidate.squared_error)

    weights = level_weights(choice.scale, channels, choice.depth)
    train, test = (part[:, : len(weights)] * weights for part in (train, test))
    return Classification(classes, ridge(train, targets, test, choice.penalty), choice)


def level_weights(scale: float, channels: int, depth: int) -> np.ndarray:
    """Return scale^k for every coefficient of level k."""
    levels = np.arange(1, depth + 1)
    return np.repeat(scale**levels, channels**levels)


def leave_one_out(
    features: np.ndarray, targets: np.ndarray, penalties: tuple[float, ...]
) -> list[tuple[float, np.ndarray]]:
    """Predict every row by the ridge regression on all other rows, for every penalty.

    With hat matrix H, the residual without row i is the plain one divided by 1 - H[i, i], so one
    eigendecomposition of the Gram matrix serves all rows and penalties. Penalties are fractions of
    its largest eigenvalue; the intercept is not penalised.
    """
    features = features - features.mean(0)
    eigenvalues, vectors = np.linalg.eigh(features @ features.T)
    # Centring makes the constant vector an eigenvector to 0: the intercept's, fitted exactly.
    eigenvalues, vectors = eigenvalues[1:].clip(0), vectors[:, 1:]
    coefficients = vectors.T @ targets
    predictions = []
    for penalty in penalties:
        shrinkage = penalty * eigenvalues[-1] / (eigenvalues + penalty * eigenvalues[-1])
        residuals = vectors @ (shrinkage[:, None] * coefficients)
        residuals /= (vectors**2 @ shrinkage)[:, None]
        predictions.append((penalty, targets - residuals))
    return predictions


def ridge(
    features: np.ndarray, targets: np.ndarray, new_features: np.ndarray, penalty: float
) -> np.ndarray:
    """Predict the targets of ``new_features`` by ridge regression, in its dual form."""
    centre, intercept = features.mean(0), targets.mean(0)
    features = features - centre
    gram = features @ features.T
    ridge_term = penalty * np.linalg.eigvalsh(gram)[-1] * np.eye(len(gram))
    dual = np.linalg.solve(gram + ridge_term, targets - intercept)
    return (new_features - centre) @ (features.T @ dual) + intercept


def _signatures(data: LabelledPaths) -> np.ndarray:
    # The basepoint makes the signature see where a path starts, not only how it moves.
    return pysig.signature(data.paths, LARGEST_DEPTH, basepoint=True, lengths=data.lengths)


def _description(data: LabelledPaths) -> str:
    return (
        f"{len(data.lengths)} paths of {data.lengths.min()} to {data.lengths.max()} points "
        f"in {data.paths.shape[-1]} channels"
    )


def _print_throughput(parts: tuple[LabelledPaths, ...], coefficients: int) -> None:
    print(
        f"signatures     depth {LARGEST_DEPTH}, {coefficients} coefficients a path, "
        f"with time as a channel; {pysig.get_num_threads()} thread(s)"
    )
    kept = [
        pysig.signature_forward(part.paths, LARGEST_DEPTH, basepoint=True, lengths=part.lengths)
        for part in parts
    ]
    gradients = [(residuals, np.ones_like(signatures)) for signatures, residuals in kept]
    forward = _seconds(lambda: [_signatures(part) for part in parts])
    backward = _seconds(lambda: [pysig.signature_backward(*pair) for pair in gradients])
    paths = sum(len(part.lengths) for part in parts)
    points = sum(int(part.lengths.sum()) for part in parts)
    for name, seconds in (("forward", forward), ("backward", backward)):
        print(
            f"  {name:<12} {seconds * 1e3:.2f} ms: {paths / seconds:,.0f} paths/s, "
            f"{points / seconds:,.0f} points/s"
        )


def _seconds(work: Callable[[], Any], budget: float = 0.3) -> float:
    """Time one call: the best of those that fit into ``budget`` seconds, two at least."""
    best, end = np.inf, time.perf_counter() + budget
    for count in range(1000):
        start = time.perf_counter()
        if count >= 2 and start > end:
            break
        work()
        best = min(best, time.perf_counter() - start)
    return best


def _print_choice(choice: Choice) -> None:
    print("classifier     ridge regression on the signature, closed form")
    print(
        f"  chosen       depth {choice.depth}, path scale {choice.scale:g}, penalty "
        f"{choice.penalty:.1e}, by leave-one-out on the training part"
    )
    print(
        f"  leave-one-out accuracy {choice.accuracy:.4f}, "
        f"mean squared error {choice.squared_error:.4f}"
    )


def matplotlib_is_installed() -> bool:
    """Return whether pictures can be drawn."""
    return importlib.util.find_spec("matplotlib") is not None


def _save_or_say_why_not(
    file: Path, test: LabelledPaths, found: Classification, is_required: bool
) -> None:
    if not matplotlib_is_installed():
        print("picture        none: it needs matplotlib (pip install 'pysig[plot]')")
        return
    try:
        save_picture(file, test, found)
    except OSError as error:
        if is_required:
            raise
        print(f"picture        none: {error}")
    else:
        print(f"picture        {file}")


def save_picture(file: Path, test: LabelledPaths, found: Classification) -> None:
    """Draw some test paths, how clearly each of them is recognised, and the confusion matrix."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(12, 4), layout="constrained")
    FigureCanvasAgg(figure)
    paths_axes, margins_axes, confusion_axes = figure.subplots(1, 3)
    colours = [f"C{k}" for k in range(len(found.classes))]
    _draw_paths(paths_axes, test, found.classes, colours)
    _draw_margins(margins_axes, test, found, colours)
    _draw_confusion(confusion_axes, test, found)
    figure.savefig(file, dpi=100)


def _draw_paths(axes: Any, test: LabelledPaths, classes: np.ndarray, colours: list[str]) -> None:
    for label, colour in list(zip(classes, colours, strict=True))[:4]:
        for index in np.flatnonzero(test.labels == label)[:4]:
            _, x, y, *_ = test.paths[index, : test.lengths[index]].T
            axes.plot(x, y, color=colour, linewidth=1, alpha=0.8)
            axes.plot(x[0], y[0], "o", color=colour, markersize=4)
    axes.set(
        title="Some of the paths: 4 speakers, 4 times each",
        xlabel="channel 1, standardised",
        ylabel="channel 2, standardised",
    )


def _draw_margins(
    axes: Any, test: LabelledPaths, found: Classification, colours: list[str]
) -> None:
    is_own = test.labels[:, None] == found.classes
    own = found.scores[is_own]
    margins = own - np.where(is_own, -np.inf, found.scores).max(-1)
    for label, colour in zip(found.classes, colours, strict=True):
        own_margins = np.sort(margins[test.labels == label])
        positions = label - 0.35 + 0.7 * (np.arange(len(own_margins)) + 0.5) / len(own_margins)
        axes.plot(positions, own_margins, ".", color=colour)
    axes.axhline(0, color="black", linewidth=0.8)
    axes.set_xticks(found.classes)
    axes.set(
        title="Test paths: below zero is wrong",
        xlabel="speaker",
        ylabel="score of the speaker minus best other",
    )


def _draw_confusion(axes: Any, test: LabelledPaths, found: Classification) -> None:
    counts = (test.labels[:, None] == found.classes).T.astype(int) @ (
        found.labels[:, None] == found.classes
    )
    axes.imshow(counts / counts.sum(1, keepdims=True), cmap="Blues", vmin=0, vmax=1)
    for (row, column), count in np.ndenumerate(counts):
        if count:
            colour = "white" if 2 * count > counts[row].sum() else "black"
            axes.text(column, row, count, ha="center", va="center", color=colour, fontsize=8)
    ticks = range(len(found.classes))
    axes.set_xticks(ticks, found.classes)
    axes.set_yticks(ticks, found.classes)
    accuracy = np.mean(found.labels == test.labels)
    axes.set(
        title=f"Test accuracy {accuracy:.1%}", xlabel="predicted speaker", ylabel="true speaker"
    )
