"""The command line: ``python -m pysig`` and a command."""

import argparse
import math
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn

import numpy as np

import pysig
from pysig._core.array_files import (
    INPUT_SUFFIXES,
    OUTPUT_SUFFIXES,
    check_suffix,
    open_array,
    output_writer,
)
from pysig._core.progress import Progress
from pysig._core.signature_blocks import Options, signature_blocks
from pysig._core.window_blocks import WindowOptions, window_blocks

EXAMPLES = """\
examples:
  python -m pysig demo
  python -m pysig signature paths.npy --depth 4
  python -m pysig signature walk.csv --depth 3 --columns x,y --stream --output walk.signatures.csv
  python -m pysig logsignature paths.npy --depth 4 --mode brackets
  python -m pysig windows walk.csv --depth 3 --length 100 --stride 10
  python -m pysig train-sde-gan ornstein-uhlenbeck --output trained
"""


def main(arguments: list[str] | None = None) -> int:
    """Run the command line and return the exit code: 0, or 2 after an error."""
    parsed = _parser().parse_args(arguments)
    try:
        parsed.run(parsed)
    except (FloatingPointError, ImportError, MemoryError, OSError, ValueError) as error:
        print(f"pysig: error: {_message(error)}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("pysig: interrupted", file=sys.stderr)
        return 130
    return 0


def _message(error: Exception) -> str:
    if isinstance(error, OSError) and error.filename is not None:
        return f"{error.filename}: {error.strerror}"
    return str(error) or type(error).__name__


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        self.exit(2, f"pysig: error: {message}\nTry '{self.prog} --help'.\n")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="python -m pysig",
        description="Path signatures of arrays in files, and SDE-GANs.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"pysig {pysig.__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    _add_demo(commands)
    _add_signature(commands)
    _add_logsignature(commands)
    _add_windows(commands)
    _add_train_sde_gan(commands)
    return parser


def _add_demo(commands: Any) -> None:
    description = "Classify real, ragged time series by their signatures and report the speed."
    parser = commands.add_parser("demo", help=description, description=description)
    picture = parser.add_mutually_exclusive_group()
    picture.add_argument(
        "--plot",
        metavar="FILE",
        type=Path,
        help="save the picture here (default: pysig_demo.png, if matplotlib is installed)",
    )
    picture.add_argument("--no-plot", action="store_true", help="save no picture")
    parser.set_defaults(run=_run_demo)


def _add_signature(commands: Any) -> None:
    parser = _add_command(commands, "signature", "signatures")
    _add_path_options(parser)
    _add_scalar_term(parser)
    parser.set_defaults(run=_run_signature, mode=None)


def _add_logsignature(commands: Any) -> None:
    parser = _add_command(commands, "logsignature", "logsignatures")
    parser.add_argument(
        "--mode",
        choices=["words", "brackets", "expand"],
        default="words",
        help="coefficients of Lyndon words, in the basis of their brackets, or of all words "
        "(default: %(default)s)",
    )
    _add_path_options(parser)
    parser.set_defaults(run=_run_signature, scalar_term=False)


def _add_windows(commands: Any) -> None:
    parser = _add_command(commands, "windows", "signatures of sliding windows")
    parser.add_argument(
        "--length", type=_positive, required=True, metavar="N", help="points of a window"
    )
    parser.add_argument(
        "--stride",
        type=_positive,
        default=1,
        metavar="N",
        help="points from one window's beginning to the next one's (default: %(default)s)",
    )
    _add_scalar_term(parser)
    parser.set_defaults(run=_run_windows)


def _add_train_sde_gan(commands: Any) -> None:
    description = (
        "Train a neural SDE to generate paths like those of a data set, and compare its paths with "
        "real ones that it has not seen."
    )
    parser = commands.add_parser("train-sde-gan", help=description, description=description)
    parser.add_argument(
        "data",
        metavar="DATA",
        help="ornstein-uhlenbeck, japanese-vowels, or an .npy file (samples, points, channels) of "
        "paths on common, equally spaced times",
    )
    parser.add_argument(
        "--output",
        type=Path,
        required=True,
        metavar="FOLDER",
        help="where checkpoint, generated paths and picture go",
    )
    for name, default, text in (
        ("steps", 6000, "steps of the training"),
        ("batch", 256, "generated and real paths in a step"),
        ("hidden", 16, "channels of the states"),
        ("width", 16, "channels of the hidden layers"),
        ("noise", 3, "channels of the noise"),
        ("checkpoint-every", 500, "steps between checkpoints"),
    ):
        parser.add_argument(
            f"--{name}",
            type=_positive,
            default=default,
            metavar="N",
            help=f"{text} (default: %(default)s)",
        )
    parser.add_argument(
        "--seed", type=_not_negative, default=0, metavar="N", help="of all random numbers"
    )
    for name, default in (("generator", 0.02), ("discriminator", 0.2)):
        parser.add_argument(
            f"--{name}-rate",
            type=_positive_number,
            default=default,
            metavar="R",
            help=f"learning rate of the {name} at the beginning (default: %(default)s)",
        )
    parser.add_argument(
        "--resume",
        action="store_true",
        help="go on from the checkpoint in the folder; all other options must be as before",
    )
    picture = parser.add_mutually_exclusive_group()
    picture.add_argument(
        "--plot", action="store_true", default=None, help="a picture must be drawn"
    )
    picture.add_argument("--no-plot", dest="plot", action="store_false", help="draw no picture")
    parser.set_defaults(run=_run_train_sde_gan)


def _add_command(commands: Any, name: str, what: str) -> argparse.ArgumentParser:
    """Add a command that reads paths from a file, with the options that all of them have."""
    parser = commands.add_parser(
        name,
        help=f"Compute the {what} of the paths in a file.",
        description=f"Compute the {what} of the paths in a file, in blocks: "
        "input and output may be larger than memory.",
    )
    parser.add_argument(
        "input",
        metavar="INPUT",
        type=Path,
        help="an array (..., length, channels) in .npy or .npz, or one path in .csv or .parquet, "
        "whose rows are points and whose columns are channels",
    )
    parser.add_argument("--depth", type=_positive, required=True, metavar="N", help="at least 1")
    parser.add_argument(
        "--output",
        type=Path,
        metavar="FILE",
        help=f".npy, or .csv with one result a row (default: INPUT with .{name}.npy for its "
        "suffix)",
    )
    parser.add_argument(
        "--dtype",
        choices=["float32", "float64"],
        help="compute in this type (default: that of the input; float64 for integers)",
    )
    parser.add_argument("--key", metavar="NAME", help="which array of an .npz file")
    parser.add_argument(
        "--columns", metavar="A,B,...", help="which columns of a table, by name or position from 0"
    )
    parser.add_argument(
        "--memory",
        type=_mebibytes,
        default="256",
        metavar="MIB",
        help="what a block of input and output may take, in MiB (default: %(default)s)",
    )
    return parser


def _add_path_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--stream", action="store_true", help="the results of all prefixes")
    parser.add_argument("--basepoint", action="store_true", help="start every path from zero")
    parser.add_argument("--inverse", action="store_true", help="those of the inverse elements")
    parser.add_argument(
        "--lengths", type=Path, metavar="FILE", help="the length of every path (a file like INPUT)"
    )


def _add_scalar_term(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--scalar-term", action="store_true", help="prepend the constant 1")


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not an integer of at least 1")
    return int(text)


def _not_negative(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r} is not an integer of at least 0")
    return int(text)


def _positive_number(text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = 0.0
    if not 0 < number < float("inf"):
        raise argparse.ArgumentTypeError(f"{text!r} is not a positive number")
    return number


def _mebibytes(text: str) -> int:
    return int(_positive_number(text) * (1 << 20))


def _run_demo(parsed: argparse.Namespace) -> None:
    from pysig import demo

    if parsed.no_plot:
        demo.run(None)
    elif parsed.plot is not None:
        demo.run(parsed.plot, plot_is_required=True)
    else:
        demo.run()


def _run_train_sde_gan(parsed: argparse.Namespace) -> None:
    from pysig import train_sde_gan

    names = train_sde_gan.Settings._fields
    settings = train_sde_gan.Settings(**{name: getattr(parsed, name) for name in names})
    train_sde_gan.run(
        settings,
        parsed.output,
        resume=parsed.resume,
        checkpoint_every=parsed.checkpoint_every,
        plot=parsed.plot,
    )


def _run_signature(parsed: argparse.Namespace) -> None:
    options = Options(
        parsed.depth,
        parsed.stream,
        parsed.basepoint,
        parsed.inverse,
        parsed.scalar_term,
        parsed.mode,
    )

    def shape(path: np.ndarray) -> tuple[int, ...]:
        *leading, length, channels = path.shape
        steps = (length - 1 + options.basepoint,) if options.stream else ()
        return (*leading, *steps, options.coefficients(channels))

    def blocks(path: np.ndarray, dtype: np.dtype, lengths: Any, report: Any) -> Any:
        return signature_blocks(path, dtype, options, lengths, parsed.memory, report)

    _compute(parsed, shape, blocks, parsed.lengths)


def _run_windows(parsed: argparse.Namespace) -> None:
    options = WindowOptions(parsed.depth, parsed.length, parsed.stride, parsed.scalar_term)

    def shape(path: np.ndarray) -> tuple[int, ...]:
        if parsed.length > path.shape[-2]:
            raise ValueError(
                f"--length {parsed.length}: {parsed.input} has paths of {path.shape[-2]} points"
            )
        *leading, length, channels = path.shape
        coefficients = pysig.signature_channels(channels, options.depth, options.scalar_term)
        return (*leading, options.windows(length), coefficients)

    def blocks(path: np.ndarray, dtype: np.dtype, lengths: Any, report: Any) -> Any:
        return window_blocks(path, dtype, options, parsed.memory, report)

    _compute(parsed, shape, blocks, None)


def _compute(
    parsed: argparse.Namespace,
    output_shape: Callable[[np.ndarray], tuple[int, ...]],
    blocks: Callable[..., Iterator[np.ndarray]],
    lengths_file: Path | None,
) -> None:
    """Read the input, write what ``blocks`` yields, and say what has been written."""
    check_suffix(parsed.input, INPUT_SUFFIXES, "input")
    output = parsed.output or parsed.input.with_suffix(f".{parsed.command}.npy")
    _check_output(output, [parsed.input, lengths_file])
    not_finite = 0
    with _scratch_folder(output) as scratch:
        path = open_array(parsed.input, scratch / "path", key=parsed.key, columns=parsed.columns)
        dtype = _checked_dtype(path, parsed.input, parsed.dtype)
        lengths = _read_lengths(lengths_file, scratch / "lengths", path)
        shape = output_shape(path)
        _check_output_fits(shape, dtype, output)
        work = path.size // path.shape[-1]
        with (
            output_writer(scratch / "output", shape, dtype, output.suffix) as write,
            Progress("signatures", "points", work) as report,
        ):
            for block in blocks(path, dtype, lengths, report):
                write(block)
                not_finite += np.count_nonzero(~np.isfinite(block).all(-1))
        os.replace(scratch / "output", output)
    print(f"{output}: {dtype} {shape}")
    if not_finite:
        print(
            f"pysig: warning: {not_finite} of the signatures are not finite: "
            "the input has NaN or infinite values, or a coefficient overflows",
            file=sys.stderr,
        )


def _check_output(output: Path, inputs: list[Path | None]) -> None:
    check_suffix(output, OUTPUT_SUFFIXES, "output")
    if output.is_dir() or not output.parent.is_dir():
        raise ValueError(f"output {output}: not a file in an existing folder")
    for file in inputs:
        if file is not None and file.exists() and output.exists() and output.samefile(file):
            raise ValueError(f"output {output}: would overwrite the input")


@contextmanager
def _scratch_folder(output: Path) -> Iterator[Path]:
    """Yield a temporary folder beside the output: a finished file need only be renamed."""
    try:
        folder = tempfile.TemporaryDirectory(prefix=".pysig-", dir=output.parent)
    except OSError as error:
        raise ValueError(f"output {output}: {error.strerror}") from None
    with folder as name:
        yield Path(name)


def _checked_dtype(path: np.ndarray, file: Path, wanted: str | None) -> np.dtype:
    """Check what ``file`` holds, and return the type that its signatures are computed in."""
    if path.ndim < 2 or 0 in path.shape[-2:]:
        raise ValueError(
            f"{file} has shape {path.shape}: a path is (..., length, channels), "
            "with at least one point and one channel"
        )
    is_float = path.dtype.kind == "f"
    is_allowed = path.dtype.kind in "biu" or (
        is_float and (wanted or path.dtype.itemsize in (4, 8))
    )
    if not is_allowed:
        raise ValueError(
            f"{file} has type {path.dtype}: allowed are float32, float64, integers and booleans, "
            "and other floats with --dtype"
        )
    if wanted is not None:
        return np.dtype(wanted)
    return path.dtype.newbyteorder("=") if is_float else np.dtype(np.float64)


def _read_lengths(file: Path | None, scratch: Path, path: np.ndarray) -> np.ndarray | None:
    """Read one length per path; in a table they stand in one row or one column."""
    if file is None:
        return None
    lengths = np.array(open_array(file, scratch))
    if file.suffix.lower() in (".csv", ".parquet") and 1 in lengths.shape:
        lengths = lengths.reshape(-1) if path.ndim > 2 else lengths.squeeze()
    if lengths.dtype.kind not in "iuf" or not np.array_equal(lengths, np.rint(lengths)):
        raise ValueError(f"lengths {file}: every length must be an integer")
    if lengths.size and not (lengths.min() >= 1 and lengths.max() <= path.shape[-2]):
        raise ValueError(
            f"lengths {file}: must lie in 1 to {path.shape[-2]}, the number of points stored, "
            f"but go from {lengths.min():g} to {lengths.max():g}"
        )
    try:
        return np.broadcast_to(lengths.astype(np.intp), path.shape[:-2])
    except ValueError:
        raise ValueError(
            f"lengths {file}: shape {lengths.shape} does not fit the paths' {path.shape[:-2]}"
        ) from None


def _check_output_fits(shape: tuple[int, ...], dtype: np.dtype, output: Path) -> None:
    """Refuse before any work what the format or the disk has no room for."""
    if output.suffix.lower() == ".csv" and len(shape) > 2:
        raise ValueError(f"output {output}: a .csv file cannot hold the shape {shape}; write .npy")
    needed = math.prod(shape) * dtype.itemsize
    free = shutil.disk_usage(output.parent).free
    if needed > free:
        raise ValueError(
            f"output {output}: the shape {shape} takes {needed / 2**30:.3g} GiB, "
            f"and {free / 2**30:.3g} GiB are free"
        )
