"""``python -m pysig train-sde-gan``: an SDE-GAN that learns to make paths like those of a data set.

Half of the paths are learned from; how well the generated ones match is judged by the other half,
which nothing else sees. The folder of the output has the checkpoint, the generated paths and a
picture.
"""

import json
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

import pysig
from pysig._core.progress import Progress
from pysig.data import japanese_vowels
from pysig.demo import matplotlib_is_installed
from pysig.sde.gan import Discriminator, Generator
from pysig.sde.gan_training import GanTraining
from pysig.sde.optimisers import Adadelta

LARGEST_SAMPLE = 4096  # of paths that are generated to be judged
LARGEST_GRAM = 512  # paths of each sample in a signature kernel


class Dataset(NamedTuple):
    """Paths on common times, in the units of their source."""

    name: str
    paths: np.ndarray


class Halves(NamedTuple):
    """Standardised paths to learn from and to judge by, and what undoes the standardisation."""

    train: np.ndarray
    test: np.ndarray
    mean: np.ndarray
    scale: np.ndarray


class Discrepancies(NamedTuple):
    """How much two samples of paths differ; zero is equal."""

    marginals: float
    increments: float
    signature: float


class Settings(NamedTuple):
    """What the result depends on."""

    data: str
    steps: int
    batch: int
    seed: int
    hidden: int
    width: int
    noise: int
    generator_rate: float
    discriminator_rate: float


def ornstein_uhlenbeck(samples: int = 16384, points: int = 32, seed: int = 0) -> Dataset:
    """Return paths of dY = (0.02 - 0.1 Y) dt + 0.4 dW at times 0, 1, ..., with their exact law.

    They begin uniformly between -1 and 1. This is the example of torchsde's SDE-GAN, but for a
    drift that does not depend on time.
    """
    rng = np.random.default_rng(seed)
    decay, level = np.exp(-0.1), 0.02 / 0.1
    spread = 0.4 * np.sqrt((1 - decay**2) / (2 * 0.1))
    paths = np.empty((samples, points, 1))
    paths[:, 0, 0] = rng.uniform(-1, 1, samples)
    for k in range(1, points):
        paths[:, k, 0] = level + decay * (paths[:, k - 1, 0] - level)
        paths[:, k, 0] += spread * rng.normal(size=samples)
    return Dataset("Ornstein-Uhlenbeck process", paths)


def vowels(points: int = 12, channels: int = 2) -> Dataset:
    """Return the beginnings of the utterances in Japanese Vowels, in the first channels."""
    parts = [part.paths[part.lengths >= points, :points, :channels] for part in japanese_vowels()]
    return Dataset("Japanese Vowels (UCI, CC BY 4.0)", np.concatenate(parts))


DATASETS = {"ornstein-uhlenbeck": ornstein_uhlenbeck, "japanese-vowels": vowels}


def load(data: str) -> Dataset:
    """Return a data set by its name, or the array (samples, points, channels) of an .npy file."""
    if data in DATASETS:
        return DATASETS[data]()
    if Path(data).suffix.lower() != ".npy":
        raise ValueError(f"{data}: DATA must be {', '.join(DATASETS)}, or an .npy file")
    paths = np.load(data, allow_pickle=False)
    if paths.ndim != 3 or len(paths) < 4 or paths.shape[1] < 2 or paths.dtype.kind not in "biuf":
        raise ValueError(
            f"{data} has shape {paths.shape} and {paths.dtype}: wanted are numbers of the shape "
            "(samples, points, channels), with 4 samples and 2 points or more"
        )
    if not np.isfinite(paths).all():
        raise ValueError(f"{data} has NaN or infinite values")
    return Dataset(Path(data).name, paths.astype(np.float64))


def halves(paths: np.ndarray) -> Halves:
    """Divide paths at random, and standardise each channel by the half to learn from."""
    order = np.random.default_rng(0).permutation(len(paths))
    train, test = paths[order[: len(paths) // 2]], paths[order[len(paths) // 2 :]]
    mean, scale = train.mean((0, 1)), train.std((0, 1))
    scale[scale == 0] = 1
    train, test = (((part - mean) / scale).astype(np.float32) for part in (train, test))
    return Halves(train, test, mean, scale)


def times(points: int) -> np.ndarray:
    """Return the times of points: whole time is of length 8, which suits nets of usual weights."""
    return np.linspace(0, 8, points)


def kolmogorov_smirnov(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Return the Kolmogorov-Smirnov statistics of two samples along the first axis."""
    both = np.concatenate([x, y])
    order = both.argsort(axis=0, kind="stable")
    difference = np.where(order < len(x), 1 / len(x), -1 / len(y)).cumsum(axis=0)
    ordered = np.take_along_axis(both, order, axis=0)
    is_last_of_equal = np.ones(both.shape, bool)
    is_last_of_equal[:-1] = ordered[1:] != ordered[:-1]
    return np.abs(difference, where=is_last_of_equal, out=np.zeros_like(difference)).max(axis=0)


def discrepancies(x: np.ndarray, y: np.ndarray) -> Discrepancies:
    """Compare two samples of paths (samples, points, channels).

    The first two numbers are means of two-sample Kolmogorov-Smirnov statistics: over the points,
    of their values; and over the steps, of the increments. The last one is the signature maximum
    mean discrepancy of the paths with time, with the kernel "rbf", as an unbiased estimate of its
    square.
    """
    marginals = kolmogorov_smirnov(x, y).mean()
    increments = kolmogorov_smirnov(np.diff(x, axis=1), np.diff(y, axis=1)).mean()
    parts = [
        np.ascontiguousarray(pysig.time_augment(part[:LARGEST_GRAM].astype(np.float64)))
        for part in (x, y)
    ]
    squared = pysig.signature_mmd(*parts, static_kernel="rbf", sigma=1.0)
    return Discrepancies(float(marginals), float(increments), float(squared))


def make_training(settings: Settings, parts: Halves) -> GanTraining:
    """Return the training before its first step."""
    channels = parts.train.shape[-1]
    sizes: Any = {"hidden": settings.hidden, "width": settings.width, "dtype": np.float32}
    return GanTraining(
        Generator.of_perceptrons(channels, noise=settings.noise, seed=(settings.seed, 0), **sizes),
        Discriminator.of_perceptrons(channels, seed=(settings.seed, 1), **sizes),
        times(parts.train.shape[1]),
        parts.train,
        batch=settings.batch,
        total_steps=settings.steps,
        generator_optimiser=Adadelta(learning_rate=settings.generator_rate),
        discriminator_optimiser=Adadelta(learning_rate=settings.discriminator_rate),
        seed=(settings.seed, 2),
    )


def run(
    settings: Settings,
    folder: Path,
    *,
    resume: bool = False,
    checkpoint_every: int = 500,
    plot: bool | None = None,
) -> tuple[Discrepancies, Discrepancies, Discrepancies]:
    """
    Train, say what comes out, and leave checkpoint.npz, generated.npy and paths.png in the folder.

    Returns the discrepancies from the half to judge by: of the other half of the real paths, and of
    paths generated before and after the training. ``plot``: None draws if matplotlib is there.
    """
    if plot and not matplotlib_is_installed():
        raise ImportError("a picture needs matplotlib: pip install 'pysig[plot]'")
    data = load(settings.data)
    parts = halves(data.paths)
    training = make_training(settings, parts)
    untrained = judged(training.generator, parts)
    begin(training, settings, folder, resume)
    print(f"{data.name}: {len(data.paths)} paths of {data.paths.shape[1]} points, ", end="")
    print(f"{data.paths.shape[2]} channels; {training.step_number} of {settings.steps} steps made")

    train(training, folder, checkpoint_every)
    generator = training.averaged_generator
    report = (
        discrepancies(parts.train[:LARGEST_SAMPLE], parts.test[:LARGEST_SAMPLE]),
        untrained,
        judged(generator, parts),
    )
    print_report(*report)
    paths = sample(generator, parts) * parts.scale + parts.mean
    np.save(folder / "generated.npy", paths)
    print(f"{folder / 'generated.npy'}: {paths.dtype} {paths.shape}")
    if plot or (plot is None and matplotlib_is_installed()):
        save_picture(folder / "paths.png", parts.test * parts.scale + parts.mean, paths)
        print(folder / "paths.png")
    return report


def begin(training: GanTraining, settings: Settings, folder: Path, resume: bool) -> None:
    """Make the folder, or go on from the checkpoint in it."""
    checkpoint, described = folder / "checkpoint.npz", folder / "settings.json"
    if not resume:
        if checkpoint.exists():
            raise ValueError(f"{checkpoint} exists: go on with --resume, or choose another folder")
        folder.mkdir(parents=True, exist_ok=True)
        described.write_text(json.dumps(settings._asdict(), indent=1) + "\n")
        return
    if not checkpoint.exists():
        raise ValueError(f"{checkpoint} does not exist: there is nothing to go on from")
    before = json.loads(described.read_text())
    for name, value in settings._asdict().items():
        if before.get(name) != value:
            raise ValueError(
                f"{described} has {name} = {before.get(name)!r}, not {value!r}: a training goes on "
                "with the options that it began with"
            )
    training.restore(checkpoint)


def train(training: GanTraining, folder: Path, checkpoint_every: int) -> None:
    """Make all steps that are left, with a checkpoint every so many, and at the end."""
    left = training.total_steps - training.step_number
    with Progress("train-sde-gan", "steps", left) as advance:
        for _ in range(left):
            training.step()
            advance(1)
            if training.step_number % checkpoint_every == 0:
                training.save(folder / "checkpoint.npz")
    training.save(folder / "checkpoint.npz")


def sample(generator: Generator, parts: Halves) -> np.ndarray:
    """Generate as many standardised paths as there are to judge by."""
    test = parts.test[:LARGEST_SAMPLE]
    return generator(times(test.shape[1]), len(test), seed=1)


def judged(generator: Generator, parts: Halves) -> Discrepancies:
    """Compare generated paths with those to judge by."""
    return discrepancies(sample(generator, parts), parts.test[:LARGEST_SAMPLE])


def print_report(real: Discrepancies, untrained: Discrepancies, trained: Discrepancies) -> None:
    """Print a table of the discrepancies from the half to judge by."""
    print("discrepancy from the half to judge by   marginals  increments  signature MMD²")
    rows = (
        ("the other half of the real paths", real),
        ("generated before the training", untrained),
        ("generated after the training", trained),
    )
    for name, row in rows:
        numbers = f"{row.marginals:9.4f}  {row.increments:10.4f}  {row.signature:14.5f}"
        print(f"  {name:<38}{numbers}")


def save_picture(file: Path, real: np.ndarray, generated: np.ndarray) -> None:
    """Draw some paths, the quantiles at all times and the increments; one row for each channel."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    channels = real.shape[-1]
    figure = Figure(figsize=(12, 3.2 * channels), layout="constrained")
    FigureCanvasAgg(figure)
    rows = figure.subplots(channels, 4, squeeze=False)
    for channel, axes in enumerate(rows):
        draw_channel(axes, channel, real[..., channel], generated[..., channel])
    figure.savefig(file, dpi=100)


def draw_channel(axes: Any, channel: int, real: np.ndarray, generated: np.ndarray) -> None:
    """Draw the four panels of a row."""
    for panel, paths, name, colour in zip(
        axes, (real, generated), ("real", "generated"), ("C0", "C1"), strict=False
    ):
        panel.plot(paths[:40].T, color=colour, linewidth=0.7, alpha=0.7)
        panel.set(title=f"{name} paths, channel {channel + 1}", xlabel="point")
    axes[1].sharey(axes[0])
    levels = (0.05, 0.25, 0.5, 0.75, 0.95)
    for level, of_real, of_generated in zip(
        levels,
        np.quantile(real, levels, axis=0),
        np.quantile(generated, levels, axis=0),
        strict=True,
    ):
        label = level == levels[0]
        axes[2].plot(of_real, color="C0", label="real" if label else None)
        axes[2].plot(of_generated, "--", color="C1", label="generated" if label else None)
    axes[2].set(title="quantiles 5, 25, 50, 75, 95 %", xlabel="point")
    axes[2].legend()
    steps = [np.diff(paths, axis=1).ravel() for paths in (real, generated)]
    low, high = np.quantile(np.concatenate(steps), (0.001, 0.999))
    edges = np.linspace(low, high, 60)
    for values, name, colour in zip(steps, ("real", "generated"), ("C0", "C1"), strict=True):
        axes[3].hist(
            values, edges, density=True, histtype="step", linewidth=1.5, color=colour, label=name
        )
    axes[3].set(title="increments", xlabel="one step")
    axes[3].legend()
