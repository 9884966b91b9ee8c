"""Arrays in files: how the command line opens its inputs and writes its output.

Every input becomes a memory-mapped array. What cannot be mapped (text, Parquet, a member of an .npz
archive) is first unpacked piece by piece into a scratch file, and outputs are written piece by
piece in C order, so every format may be larger than memory.
"""

import csv
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO

import numpy as np

from pysig._core.progress import Progress

INPUT_SUFFIXES = (".npy", ".npz", ".csv", ".parquet")
OUTPUT_SUFFIXES = (".npy", ".csv")
READ_BYTES = 1 << 22


def check_suffix(file: Path, allowed: tuple[str, ...], role: str) -> None:
    """Raise ValueError unless the name of ``file`` ends in one of the suffixes ``allowed``."""
    if file.suffix.lower() not in allowed:
        raise ValueError(f"{role} {file}: the name must end in {', '.join(allowed)}")


def open_array(
    file: Path, scratch: Path, *, key: str | None = None, columns: str | None = None
) -> np.ndarray:
    """Open the array in ``file``, memory-mapped and read-only.

    Parameters
    ----------
    file : Path
        An .npy, .npz, .csv or .parquet file. In the last two every row is a point, and the array
        has the shape (rows, columns).
    scratch : Path
        Where to unpack what cannot be mapped; the array is valid for as long as this file is.
    key : str, optional
        The name of the array in an .npz archive; needed if there are several.
    columns : str, optional
        Names or positions of the columns of a table, separated by commas; all by default.
    """
    check_suffix(file, INPUT_SUFFIXES, "input")
    suffix = file.suffix.lower()
    if key is not None and suffix != ".npz":
        raise ValueError(f"a key selects an array of an .npz file, and {file} is none")
    if columns is not None and suffix not in (".csv", ".parquet"):
        raise ValueError(f"columns are those of a .csv or .parquet file, and {file} is neither")
    if suffix == ".npy":
        return _map_npy(file, file)
    if suffix == ".npz":
        _unpack_npz(file, scratch, key)
        return _map_npy(scratch, file)
    unpack = _unpack_csv if suffix == ".csv" else _unpack_parquet
    dtype, channels = unpack(file, scratch, columns)
    if scratch.stat().st_size == 0:
        raise ValueError(f"{file} has no rows")
    return np.memmap(scratch, dtype, "r").reshape(-1, channels)


@contextmanager
def output_writer(
    file: Path, shape: tuple[int, ...], dtype: np.dtype, suffix: str
) -> Iterator[Callable[[np.ndarray], None]]:
    """Yield a function that appends the next piece, in C order, to an array of the given shape.

    Appending, unlike writing to a memory map, turns a full disk into an exception.
    """
    if suffix.lower() == ".npy":
        header = {
            "descr": np.lib.format.dtype_to_descr(dtype),
            "fortran_order": False,
            "shape": shape,
        }
        with open(file, "wb") as stream:
            np.lib.format.write_array_header_1_0(stream, header)
            yield lambda piece: piece.tofile(stream)
    else:
        digits = np.finfo(dtype).precision + 3  # enough to read the same number back
        with open(file, "w", encoding="ascii") as stream:
            yield lambda piece: np.savetxt(
                stream, piece.reshape(-1, shape[-1]), fmt=f"%.{digits}g", delimiter=","
            )


def _map_npy(file: Path, named: Path) -> np.ndarray:
    """Map an .npy file; errors speak of ``named``, the file that the user gave."""
    try:
        array = np.lib.format.open_memmap(file, mode="r")
    except ValueError as error:
        raise ValueError(f"{named}: {error}") from None
    return array


def _unpack_npz(file: Path, scratch: Path, key: str | None) -> None:
    """Copy one member of the archive; compressed or not, zip members cannot be mapped as such."""
    try:
        with zipfile.ZipFile(file) as archive:
            members = {name.removesuffix(".npy"): name for name in archive.namelist()}
            if key is None and len(members) != 1:
                raise ValueError(
                    f"{file} holds {len(members)} arrays ({', '.join(members)}): choose one by key"
                )
            if key is not None and key not in members:
                raise ValueError(f"{file} has no array {key!r}, only {', '.join(members)}")
            member = members[key] if key is not None else next(iter(members.values()))
            size = archive.getinfo(member).file_size
            with (
                archive.open(member) as source,
                open(scratch, "wb") as target,
                Progress(f"reading {file.name}", "bytes", size) as report,
            ):
                while piece := source.read(READ_BYTES):
                    target.write(piece)
                    report(len(piece))
    except (zipfile.BadZipFile, zlib.error) as error:
        raise ValueError(f"{file} is not a sound .npz file: {error}") from None


def _unpack_csv(file: Path, scratch: Path, columns: str | None) -> tuple[np.dtype, int]:
    """Write the chosen columns as raw float64 and return that type with their number."""
    with (
        open(file, encoding="utf-8-sig") as text,
        open(scratch, "wb") as target,
        Progress(f"reading {file.name}", "bytes", file.stat().st_size) as report,
    ):
        try:
            names, first_line = _csv_header(text, file)
            chosen = _chosen(names, columns, file)
            while lines := text.readlines(READ_BYTES):
                _csv_numbers(lines, names, chosen, file, first_line).tofile(target)
                first_line += len(lines)
                report(sum(map(len, lines)))
        except UnicodeDecodeError:
            raise ValueError(f"{file} is not text in UTF-8") from None
    return np.dtype(np.float64), len(chosen)


def _csv_header(text: TextIO, file: Path) -> tuple[list[str], int]:
    """Return the names of the columns and the number of the line that ``text`` is left at.

    Without a header, which has something in it that is no number, positions serve as names.
    """
    number, start = 1, text.tell()
    while line := text.readline():
        if line.strip():
            break
        number, start = number + 1, text.tell()
    fields = _fields(line)
    if not fields:
        raise ValueError(f"{file} has no rows")
    if all(_is_number(field) for field in fields):
        text.seek(start)
        return [str(position) for position in range(len(fields))], number
    return [field.lstrip("# ").strip() for field in fields], number + 1


def _csv_numbers(
    lines: list[str], names: list[str], chosen: list[int], file: Path, first_line: int
) -> np.ndarray:
    """Parse some lines with NumPy's reader; where it fails, a slow one finds what is wrong."""
    rows = [line for line in lines if line.strip()]
    if not rows:
        return np.empty((0, len(chosen)))
    if any(row.count(",") != len(names) - 1 for row in rows):
        _raise_where_wrong(lines, names, chosen, file, first_line)
    try:
        return np.loadtxt(
            rows, delimiter=",", comments=None, quotechar='"', usecols=chosen, ndmin=2
        )
    except ValueError as error:
        _raise_where_wrong(lines, names, chosen, file, first_line)
        raise ValueError(f"{file}: {error}") from None


def _raise_where_wrong(
    lines: list[str], names: list[str], chosen: list[int], file: Path, first_line: int
) -> None:
    for number, line in enumerate(lines, first_line):
        if not line.strip():
            continue
        fields = _fields(line)
        if len(fields) != len(names):
            raise ValueError(
                f"{file}, line {number}: {len(fields)} columns instead of {len(names)}"
            )
        for position in chosen:
            if not _is_number(fields[position]):
                raise ValueError(
                    f"{file}, line {number}, column {names[position]!r}: {fields[position]!r} "
                    "is not a number (--columns chooses the columns to read)"
                )


def _fields(line: str) -> list[str]:
    return next(csv.reader([line]), [])


def _is_number(field: str) -> bool:
    try:
        float(field)
    except ValueError:
        return False
    return True


def _unpack_parquet(file: Path, scratch: Path, columns: str | None) -> tuple[np.dtype, int]:
    """Write the chosen columns as raw floats and return their type with their number."""
    try:
        import pyarrow as arrow
        from pyarrow import parquet
    except ImportError:
        raise ImportError(f"reading {file} needs pyarrow: pip install 'pysig[parquet]'") from None
    try:
        with (
            parquet.ParquetFile(file) as table,
            open(scratch, "wb") as target,
            Progress(f"reading {file.name}", "rows", table.metadata.num_rows) as report,
        ):
            schema = table.schema_arrow
            names = [schema.names[position] for position in _chosen(schema.names, columns, file)]
            if not names:
                raise ValueError(f"{file} has no columns")
            dtype = _parquet_dtype(arrow, schema, names, file)
            for batch in table.iter_batches(columns=names):
                _parquet_numbers(batch, names, dtype, file).tofile(target)
                report(batch.num_rows)
    except arrow.ArrowInvalid as error:
        raise ValueError(f"{file} is not a sound .parquet file: {error}") from None
    return dtype, len(names)


def _parquet_dtype(arrow: Any, schema: Any, names: list[str], file: Path) -> np.dtype:
    """Return float32 if all columns are of that type, float64 for any other numbers."""
    types = [schema.field(name).type for name in names]
    for name, type_ in zip(names, types, strict=True):
        is_number = (
            arrow.types.is_floating(type_)
            or arrow.types.is_integer(type_)
            or arrow.types.is_boolean(type_)
        )
        if not is_number:
            raise ValueError(
                f"{file}, column {name!r}: {type_} is not a type of number "
                "(--columns chooses the columns to read)"
            )
    return np.dtype(np.float32 if set(types) == {arrow.float32()} else np.float64)


def _parquet_numbers(batch: Any, names: list[str], dtype: np.dtype, file: Path) -> np.ndarray:
    numbers = np.empty((batch.num_rows, len(names)), dtype)
    for position, name in enumerate(names):
        column = batch.column(name)
        if column.null_count:
            raise ValueError(f"{file}, column {name!r}: {column.null_count} or more values missing")
        numbers[:, position] = column.to_numpy(zero_copy_only=False)
    return numbers


def _chosen(names: list[str], columns: str | None, file: Path) -> list[int]:
    """Return the positions of the columns chosen by name or position."""
    if columns is None:
        return list(range(len(names)))
    chosen = []
    for column in (part.strip() for part in columns.split(",")):
        if column in names:
            chosen.append(names.index(column))
        elif column.isdecimal() and int(column) < len(names):
            chosen.append(int(column))
        else:
            raise ValueError(f"{file} has no column {column!r}, only {', '.join(names)}")
    return chosen
