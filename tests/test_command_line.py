"""The command line: what it writes, in every format and block size, and what it refuses."""

import io
import os
import re
import subprocess
import sys
import tracemalloc
import zipfile
from pathlib import Path

import numpy as np
import pytest

import pysig
from pysig._core import array_files, progress, signature_blocks
from pysig.command_line import main

ALL_OPTIONS = {
    "--stream": "stream",
    "--basepoint": "basepoint",
    "--inverse": "inverse",
    "--scalar-term": "scalar_term",
}
# As MiB: a few bytes, so that one point makes a block; a few points; a few paths; everything.
MEMORIES = ["0.000001", "0.0005", "0.01", "256"]


@pytest.fixture
def paths():
    return np.random.default_rng(7).normal(size=(3, 4, 9, 2))


def run(*arguments):
    return main(["signature", *map(str, arguments)])


def fails(capsys, *arguments):
    """Run a command that must end with exit code 2, and return what it says."""
    try:
        code = run(*arguments)
    except SystemExit as exit_:
        code = exit_.code
    assert code == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("pysig: error: ")
    return captured.err.removeprefix("pysig: error: ")


def assert_same(actual, expected):
    assert actual.dtype == expected.dtype
    assert actual.shape == expected.shape
    tolerance = 1e-12 if expected.dtype == np.float64 else 2e-5
    np.testing.assert_allclose(actual, expected, rtol=tolerance, atol=tolerance)


class TestBlocks:
    @pytest.mark.parametrize("memory", MEMORIES)
    @pytest.mark.parametrize("flags", range(16))
    def test_every_combination_of_options(self, paths, tmp_path, memory, flags):
        chosen = [flag for bit, flag in enumerate(ALL_OPTIONS) if flags >> bit & 1]
        np.save(tmp_path / "in.npy", paths)
        assert run(tmp_path / "in.npy", "--depth", 3, "--memory", memory, *chosen) == 0
        options = {ALL_OPTIONS[flag]: True for flag in chosen}
        result = np.load(tmp_path / "in.signature.npy")
        assert_same(result, pysig.signature(paths, 3, **options))

    @pytest.mark.parametrize("memory", MEMORIES)
    @pytest.mark.parametrize("flags", [[], ["--stream"], ["--stream", "--basepoint", "--inverse"]])
    def test_lengths(self, paths, tmp_path, memory, flags):
        lengths = np.arange(12).reshape(3, 4) % 9 + 1
        ragged = np.where(np.arange(9)[:, None] < lengths[..., None, None], paths, np.nan)
        np.save(tmp_path / "in.npy", ragged)
        np.save(tmp_path / "lengths.npy", lengths)
        arguments = ["--depth", 3, "--memory", memory, "--lengths", tmp_path / "lengths.npy"]
        assert run(tmp_path / "in.npy", *arguments, *flags) == 0
        options = {ALL_OPTIONS[flag]: True for flag in flags}
        result = np.load(tmp_path / "in.signature.npy")
        assert_same(result, pysig.signature(paths, 3, lengths=lengths, **options))

    @pytest.mark.parametrize("memory", MEMORIES)
    def test_one_path(self, paths, tmp_path, memory):
        np.save(tmp_path / "in.npy", paths[0, 0])
        assert run(tmp_path / "in.npy", "--depth", 4, "--memory", memory) == 0
        assert_same(np.load(tmp_path / "in.signature.npy"), pysig.signature(paths[0, 0], 4))

    @pytest.mark.parametrize("memory", MEMORIES)
    def test_a_single_point(self, paths, tmp_path, memory):
        np.save(tmp_path / "in.npy", paths[..., :1, :])
        assert run(tmp_path / "in.npy", "--depth", 2, "--memory", memory, "--stream") == 0
        assert np.load(tmp_path / "in.signature.npy").shape == (3, 4, 0, 6)

    @pytest.mark.parametrize("memory", MEMORIES)
    def test_empty_batch(self, tmp_path, memory):
        np.save(tmp_path / "in.npy", np.zeros((0, 5, 2)))
        assert run(tmp_path / "in.npy", "--depth", 2, "--memory", memory) == 0
        assert np.load(tmp_path / "in.signature.npy").shape == (0, 6)

    def test_blocks_stay_within_the_memory_given(self):
        options = signature_blocks.Options(4, True, False, False, False)
        for shape in [(1000, 50, 3), (2, 10**6, 3), (10**6, 3, 3), (5, 4, 50)]:
            for memory in (1 << 20, 1 << 28):
                size = signature_blocks.choose_block_size(
                    shape, np.dtype(np.float64), options, memory
                )
                per_point = 8 * (shape[-1] + pysig.signature_channels(shape[-1], 4))
                is_least = size.paths == size.points == 1
                assert is_least or size.paths * size.points * per_point <= memory

    @pytest.mark.parametrize("shape", [(1 << 22, 2), (1 << 12, 1 << 10, 2)])
    def test_memory_does_not_grow_with_the_input(self, tmp_path, shape):
        np.lib.format.open_memmap(tmp_path / "in.npy", "w+", np.float64, shape)[-1] = 1.0
        tracemalloc.start()
        try:
            assert run(tmp_path / "in.npy", "--depth", 2, "--memory", 2) == 0
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
        assert peak < 12 << 20  # against the 64 MiB of the input
        last = np.load(tmp_path / "in.signature.npy").reshape(-1, 6)[-1]
        np.testing.assert_allclose(
            last, pysig.signature(np.load(tmp_path / "in.npy"), 2).reshape(-1, 6)[-1]
        )


class TestInputs:
    @pytest.mark.parametrize("dtype", ["<f4", ">f4", "<f8", ">f8", "i2", "u8", "?"])
    @pytest.mark.parametrize("order", ["C", "F"])
    def test_npy_types_and_orders(self, paths, tmp_path, dtype, order):
        array = np.asarray(3 * paths, order=order).astype(dtype, order="K")
        np.save(tmp_path / "in.npy", array)
        assert run(tmp_path / "in.npy", "--depth", 2, "--memory", 0.001) == 0
        assert_same(
            np.load(tmp_path / "in.signature.npy"),
            pysig.signature(array.astype(array.dtype.newbyteorder("=")), 2),
        )

    @pytest.mark.parametrize("dtype", ["float32", "float64"])
    @pytest.mark.parametrize("source", [np.float16, np.float32, np.int32])
    def test_dtype_option(self, paths, tmp_path, source, dtype):
        np.save(tmp_path / "in.npy", (3 * paths).astype(source))
        assert run(tmp_path / "in.npy", "--depth", 2, "--dtype", dtype) == 0
        expected = pysig.signature((3 * paths).astype(source).astype(dtype), 2)
        assert_same(np.load(tmp_path / "in.signature.npy"), expected)

    @pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
    def test_npz(self, paths, tmp_path, save):
        save(tmp_path / "in.npz", x=paths, y=-paths)
        assert run(tmp_path / "in.npz", "--depth", 2, "--key", "y", "--memory", 0.001) == 0
        assert_same(np.load(tmp_path / "in.signature.npy"), pysig.signature(-paths, 2))

    def test_npz_of_one_array_needs_no_key(self, paths, tmp_path):
        np.savez(tmp_path / "in.npz", paths)
        assert run(tmp_path / "in.npz", "--depth", 2) == 0
        assert_same(np.load(tmp_path / "in.signature.npy"), pysig.signature(paths, 2))

    @pytest.mark.parametrize(
        "text",
        [
            "1,2\n3,5.5\n-4e1,6\n",
            "x,y\n1,2\n3,5.5\n-4e1,6",
            "# x,y\r\n1,2\r\n3,5.5\r\n-4e1,6\r\n",
            '\ufeff"x","y"\n"1", 2\n\n3,5.5\n-4e1,6\n\n',
            "\ufeff1,2\n3,5.5\n-4e1,6\n",
        ],
        ids=["plain", "header", "crlf", "quotes", "mark"],
    )
    def test_csv(self, tmp_path, text):
        (tmp_path / "in.csv").write_bytes(text.encode())
        assert run(tmp_path / "in.csv", "--depth", 3) == 0
        path = [[1, 2], [3, 5.5], [-40, 6]]
        assert_same(np.load(tmp_path / "in.signature.npy"), pysig.signature(path, 3))

    @pytest.mark.parametrize("columns", ["x,y", "2,1", "y , 1", "x"])
    def test_columns_of_a_csv(self, tmp_path, columns):
        (tmp_path / "in.csv").write_text('when,y,x\n"Monday, noon",1,2\nTuesday,3,5\n')
        assert run(tmp_path / "in.csv", "--depth", 2, "--columns", columns) == 0
        values = {"x": [2, 5], "y": [1, 3], "1": [1, 3], "2": [2, 5]}
        path = np.array([values[column.strip()] for column in columns.split(",")]).T
        assert_same(np.load(tmp_path / "in.signature.npy"), pysig.signature(path, 2))

    def test_csv_longer_than_a_reading_block(self, paths, tmp_path, monkeypatch):
        monkeypatch.setattr(array_files, "READ_BYTES", 100)
        np.savetxt(tmp_path / "in.csv", paths.reshape(-1, 2), delimiter=",", header="x,y")
        assert run(tmp_path / "in.csv", "--depth", 3, "--memory", 0.001) == 0
        expected = pysig.signature(paths.reshape(-1, 2), 3)
        assert_same(np.load(tmp_path / "in.signature.npy"), expected)

    @pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int16, bool])
    def test_parquet(self, tmp_path, dtype):
        parquet = pytest.importorskip("pyarrow.parquet")
        arrow = pytest.importorskip("pyarrow")
        path = np.random.default_rng(1).normal(size=(1000, 2)).astype(dtype)
        columns = {"when": ["now"] * 1000, "y": path[:, 1], "x": path[:, 0]}
        parquet.write_table(arrow.table(columns), tmp_path / "in.parquet", row_group_size=300)
        assert run(tmp_path / "in.parquet", "--depth", 3, "--columns", "x,y") == 0
        assert_same(np.load(tmp_path / "in.signature.npy"), pysig.signature(path, 3))

    def test_lengths_in_a_csv(self, paths, tmp_path):
        np.save(tmp_path / "in.npy", paths[0])
        for text in ("2,9,1,4\n", "2\n9\n1\n4\n", "length\n2\n9\n1\n4\n"):
            (tmp_path / "lengths.csv").write_text(text)
            arguments = ["--depth", 2, "--lengths", tmp_path / "lengths.csv"]
            assert run(tmp_path / "in.npy", *arguments) == 0
            expected = pysig.signature(paths[0], 2, lengths=[2, 9, 1, 4])
            assert_same(np.load(tmp_path / "in.signature.npy"), expected)

    def test_length_of_one_path(self, paths, tmp_path):
        np.save(tmp_path / "in.npy", paths[0, 0])
        (tmp_path / "lengths.csv").write_text("5\n")
        assert run(tmp_path / "in.npy", "--depth", 2, "--lengths", tmp_path / "lengths.csv") == 0
        assert_same(np.load(tmp_path / "in.signature.npy"), pysig.signature(paths[0, 0, :5], 2))

    def test_input_is_left_alone(self, paths, tmp_path):
        np.save(tmp_path / "in.npy", paths)
        before = (tmp_path / "in.npy").read_bytes()
        assert run(tmp_path / "in.npy", "--depth", 2) == 0
        assert (tmp_path / "in.npy").read_bytes() == before


class TestOutputs:
    @pytest.mark.parametrize("dtype", [np.float32, np.float64])
    def test_csv_reads_back_the_same(self, paths, tmp_path, dtype):
        np.save(tmp_path / "in.npy", paths[0].astype(dtype))
        output = tmp_path / "out.csv"
        assert run(tmp_path / "in.npy", "--depth", 3, "--output", output, "--memory", 0.001) == 0
        result = np.loadtxt(output, delimiter=",", ndmin=2).astype(dtype)
        assert run(tmp_path / "in.npy", "--depth", 3, "--memory", 0.001) == 0
        np.testing.assert_array_equal(result, np.load(tmp_path / "in.signature.npy"))

    def test_csv_of_one_signature_and_of_a_stream(self, paths, tmp_path):
        np.save(tmp_path / "in.npy", paths[0, 0])
        for flags, rows in ([], 1), (["--stream"], 8):
            arguments = ["--depth", 2, "--output", tmp_path / "out.csv", *flags]
            assert run(tmp_path / "in.npy", *arguments) == 0
            assert np.loadtxt(tmp_path / "out.csv", delimiter=",", ndmin=2).shape == (rows, 6)

    def test_says_what_it_wrote(self, paths, tmp_path, capsys):
        np.save(tmp_path / "in.npy", paths)
        run(tmp_path / "in.npy", "--depth", 2)
        captured = capsys.readouterr()
        assert captured.out == f"{tmp_path / 'in.signature.npy'}: float64 (3, 4, 6)\n"
        assert captured.err == ""

    def test_an_older_output_is_replaced(self, paths, tmp_path):
        np.save(tmp_path / "in.npy", paths)
        (tmp_path / "out.npy").write_text("old")
        assert run(tmp_path / "in.npy", "--depth", 2, "--output", tmp_path / "out.npy") == 0
        assert_same(np.load(tmp_path / "out.npy"), pysig.signature(paths, 2))

    def test_warns_of_signatures_that_are_not_finite(self, paths, tmp_path, capsys):
        paths[1, 2, 3, 0] = np.nan
        np.save(tmp_path / "in.npy", paths)
        assert run(tmp_path / "in.npy", "--depth", 2) == 0
        assert "warning: 1 of the signatures" in capsys.readouterr().err
        result = np.load(tmp_path / "in.signature.npy")
        assert np.isnan(result).any(-1).sum() == 1

    @pytest.mark.parametrize(
        "failure", [OSError(28, "No space left on device"), KeyboardInterrupt()]
    )
    def test_a_failure_leaves_nothing_behind(self, paths, tmp_path, monkeypatch, capsys, failure):
        np.savez(tmp_path / "in.npz", paths)
        (tmp_path / "in.signature.npy").write_text("old")
        signature, calls = pysig.signature, []

        def fail_later(*arguments, **options):
            calls.append(1)
            if len(calls) == 3:
                raise failure
            return signature(*arguments, **options)

        monkeypatch.setattr(pysig, "signature", fail_later)
        code = run(tmp_path / "in.npz", "--depth", 2, "--memory", 0.001)
        assert code == (2 if isinstance(failure, OSError) else 130)
        assert capsys.readouterr().err.startswith("pysig: ")
        assert sorted(file.name for file in tmp_path.iterdir()) == ["in.npz", "in.signature.npy"]
        assert (tmp_path / "in.signature.npy").read_text() == "old"


class TestErrors:
    @pytest.mark.parametrize("depth", ["0", "-1", "2.5", "two", ""])
    def test_depth(self, paths, tmp_path, capsys, depth):
        np.save(tmp_path / "in.npy", paths)
        assert "--depth" in fails(capsys, tmp_path / "in.npy", f"--depth={depth}")

    @pytest.mark.parametrize("memory", ["0", "-1", "inf", "nan", "much"])
    def test_memory(self, paths, tmp_path, capsys, memory):
        np.save(tmp_path / "in.npy", paths)
        message = fails(capsys, tmp_path / "in.npy", "--depth=2", f"--memory={memory}")
        assert "--memory" in message

    @pytest.mark.parametrize("name", ["in.npy", "in.npz", "in.csv"])
    def test_missing_file(self, tmp_path, capsys, name):
        message = fails(capsys, tmp_path / name, "--depth", 2)
        assert message == f"{tmp_path / name}: No such file or directory\n"

    @pytest.mark.parametrize("name", ["in.txt", "in", "in.npy.gz"])
    def test_suffix_of_the_input(self, tmp_path, capsys, name):
        (tmp_path / name).write_text("1,2\n")
        assert ".npy, .npz, .csv, .parquet" in fails(capsys, tmp_path / name, "--depth", 2)

    @pytest.mark.parametrize("name", ["out.txt", "out.npz", "out"])
    def test_suffix_of_the_output(self, paths, tmp_path, capsys, name):
        np.save(tmp_path / "in.npy", paths)
        message = fails(capsys, tmp_path / "in.npy", "--depth", 2, "--output", tmp_path / name)
        assert "must end in .npy, .csv" in message

    @pytest.mark.parametrize(
        "array",
        [np.float64(1.0), np.zeros(5), np.zeros((5, 0)), np.zeros((2, 0, 3))],
        ids=["0-d", "1-d", "no channels", "no points"],
    )
    def test_shape(self, tmp_path, capsys, array):
        np.save(tmp_path / "in.npy", array)
        message = fails(capsys, tmp_path / "in.npy", "--depth", 2)
        assert f"has shape {np.shape(array)}" in message

    @pytest.mark.parametrize(
        "dtype", ["complex128", "float16", "longdouble", "U3", "M8[s]", "i4,i4"]
    )
    def test_type(self, tmp_path, capsys, dtype):
        np.save(tmp_path / "in.npy", np.zeros((4, 2), dtype))
        message = fails(capsys, tmp_path / "in.npy", "--depth", 2)
        assert f"has type {np.dtype(dtype)}" in message

    @pytest.mark.parametrize("name", ["in.npy", "in.npz", "in.parquet"])
    def test_other_content_than_the_suffix_says(self, tmp_path, capsys, name):
        if name == "in.parquet":
            pytest.importorskip("pyarrow")
        (tmp_path / name).write_text("1,2\n3,4\n")
        assert str(tmp_path / name) in fails(capsys, tmp_path / name, "--depth", 2)

    def test_pickled_objects_are_not_loaded(self, tmp_path, capsys):
        np.save(tmp_path / "in.npy", np.array([[None, 1]]), allow_pickle=True)
        assert "object" in fails(capsys, tmp_path / "in.npy", "--depth", 2)

    def test_truncated_npy(self, paths, tmp_path, capsys):
        np.save(tmp_path / "in.npy", paths)
        content = (tmp_path / "in.npy").read_bytes()
        (tmp_path / "in.npy").write_bytes(content[:-100])
        assert str(tmp_path / "in.npy") in fails(capsys, tmp_path / "in.npy", "--depth", 2)

    @pytest.mark.parametrize("compression", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
    def test_damaged_npz(self, paths, tmp_path, capsys, compression):
        member = io.BytesIO()
        np.save(member, paths)
        with zipfile.ZipFile(tmp_path / "in.npz", "w", compression) as archive:
            archive.writestr("x.npy", member.getvalue())
        content = bytearray((tmp_path / "in.npz").read_bytes())
        content[300:320] = bytes(20)
        (tmp_path / "in.npz").write_bytes(content)
        assert "not a sound .npz" in fails(capsys, tmp_path / "in.npz", "--depth", 2)

    def test_key(self, paths, tmp_path, capsys):
        np.savez(tmp_path / "in.npz", x=paths, y=paths)
        assert "(x, y)" in fails(capsys, tmp_path / "in.npz", "--depth", 2)
        message = fails(capsys, tmp_path / "in.npz", "--depth", 2, "--key", "z")
        assert "no array 'z', only x, y" in message
        np.save(tmp_path / "in.npy", paths)
        assert ".npz" in fails(capsys, tmp_path / "in.npy", "--depth", 2, "--key", "x")

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ("", "has no rows"),
            ("\n\n", "has no rows"),
            ("x,y\n", "has no rows"),
            ("1,2\n3,4,5\n", "line 2: 3 columns instead of 2"),
            ("x,y\n1,2\n\n3\n", "line 4: 1 columns instead of 2"),
            ("1,2\n\n3,four\n", "line 3, column '1': 'four' is not a number"),
            ("x,y\n1,\n", "line 2, column 'y': '' is not a number"),
            ("name,city\nAda,London\n", "line 2, column 'name': 'Ada' is not a number"),
            ("x,y\n1_0,2\n", "could not convert string '1_0'"),
            ("x;y\n1;2\n", "'1;2' is not a number"),
        ],
    )
    def test_csv(self, tmp_path, capsys, text, message):
        (tmp_path / "in.csv").write_text(text)
        assert message in fails(capsys, tmp_path / "in.csv", "--depth", 2)

    def test_line_numbers_beyond_a_reading_block(self, tmp_path, capsys, monkeypatch):
        monkeypatch.setattr(array_files, "READ_BYTES", 100)
        (tmp_path / "in.csv").write_text("1,2\n" * 300 + "1,x\n")
        assert "line 301, column '1'" in fails(capsys, tmp_path / "in.csv", "--depth", 2)

    def test_csv_that_is_not_text(self, tmp_path, capsys):
        (tmp_path / "in.csv").write_bytes(b"1,2\n\xff\xfe,3\n")
        assert "not text in UTF-8" in fails(capsys, tmp_path / "in.csv", "--depth", 2)

    def test_columns(self, paths, tmp_path, capsys):
        (tmp_path / "in.csv").write_text("x,y\n1,2\n")
        for columns in ("z", "x,2", "", "-1"):
            message = fails(capsys, tmp_path / "in.csv", "--depth=2", f"--columns={columns}")
            assert "only x, y" in message
        np.save(tmp_path / "in.npy", paths)
        message = fails(capsys, tmp_path / "in.npy", "--depth", 2, "--columns", "x")
        assert ".csv or .parquet" in message

    def test_parquet(self, tmp_path, capsys):
        arrow = pytest.importorskip("pyarrow")
        parquet = pytest.importorskip("pyarrow.parquet")
        table = {"name": ["a", "b"], "x": [1.0, None], "y": [1, 2]}
        parquet.write_table(arrow.table(table), tmp_path / "in.parquet")
        file = tmp_path / "in.parquet"
        assert "column 'name': string is not" in fails(capsys, file, "--depth", 2)
        message = fails(capsys, file, "--depth", 2, "--columns", "x,y")
        assert "column 'x': 1 or more values missing" in message
        assert "no column 'z'" in fails(capsys, file, "--depth", 2, "--columns", "z")

    def test_parquet_without_pyarrow(self, tmp_path, capsys, monkeypatch):
        monkeypatch.setitem(sys.modules, "pyarrow", None)
        (tmp_path / "in.parquet").write_bytes(b"PAR1")
        assert "pip install 'pysig[parquet]'" in fails(
            capsys, tmp_path / "in.parquet", "--depth", 2
        )

    @pytest.mark.parametrize(
        ("lengths", "message"),
        [
            ([1, 2, 3, 0], "must lie in 1 to 9"),
            ([1, 2, 3, 10], "must lie in 1 to 9"),
            ([1, 2.5, 3, 4], "must be an integer"),
            ([1, np.nan, 3, 4], "must be an integer"),
            ([True, True, True, True], "must be an integer"),
            ([1, 2, 3], "does not fit"),
            ([[1, 2, 3, 4]] * 2, "does not fit"),
        ],
    )
    def test_lengths(self, paths, tmp_path, capsys, lengths, message):
        np.save(tmp_path / "in.npy", paths[0])
        np.save(tmp_path / "lengths.npy", lengths)
        arguments = ["--depth", 2, "--lengths", tmp_path / "lengths.npy"]
        assert message in fails(capsys, tmp_path / "in.npy", *arguments)

    def test_inputs_are_not_overwritten(self, paths, tmp_path, capsys):
        np.save(tmp_path / "in.npy", paths)
        np.save(tmp_path / "lengths.npy", np.full((3, 4), 9))
        os.link(tmp_path / "in.npy", tmp_path / "link.npy")
        for output in ("in.npy", "link.npy", "lengths.npy"):
            arguments = ["--lengths", tmp_path / "lengths.npy", "--output", tmp_path / output]
            message = fails(capsys, tmp_path / "in.npy", "--depth", 2, *arguments)
            assert "overwrite" in message
        assert_same(np.load(tmp_path / "in.npy"), paths)

    def test_output_that_cannot_be(self, paths, tmp_path, capsys):
        np.save(tmp_path / "in.npy", paths)
        (tmp_path / "folder.npy").mkdir()
        for output in ("missing/out.npy", "folder.npy", "in.npy/out.npy"):
            arguments = ["--depth", 2, "--output", tmp_path / output]
            assert "existing folder" in fails(capsys, tmp_path / "in.npy", *arguments)
        arguments = ["--depth", 2, "--output", tmp_path / "out.csv"]
        assert "cannot hold the shape (3, 4, 6)" in fails(capsys, tmp_path / "in.npy", *arguments)

    @pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write")
    def test_output_without_permission(self, paths, tmp_path, capsys):
        np.save(tmp_path / "in.npy", paths)
        (tmp_path / "closed").mkdir(mode=0o500)
        arguments = ["--depth", 2, "--output", tmp_path / "closed" / "out.npy"]
        assert "Permission denied" in fails(capsys, tmp_path / "in.npy", *arguments)

    @pytest.mark.parametrize("depth", [12, 20, 10**9])
    def test_more_output_than_the_disk_holds(self, tmp_path, capsys, depth):
        np.save(tmp_path / "in.npy", np.zeros((4, 10)))
        message = fails(capsys, tmp_path / "in.npy", "--depth", depth)
        assert len(message) < 500
        assert ("GiB are free" if depth == 12 else "depth") in message

    @pytest.mark.parametrize("arguments", [[], ["nothing"], ["signature"], ["signature", "in.npy"]])
    def test_wrong_commands(self, capsys, arguments):
        with pytest.raises(SystemExit) as exit_:
            main(arguments)
        assert exit_.value.code == 2
        assert re.match(r"pysig: error: .*\nTry '.*--help'", capsys.readouterr().err)


class Terminal(io.StringIO):
    def isatty(self):
        return True


class TestProgress:
    def drawn(self, monkeypatch, stream, done, **options):
        """Return what a bar of 200 points has written to the stream."""
        monkeypatch.setattr(sys, "stderr", stream)
        with progress.Progress("work", "points", 200, **options) as report:
            report(done)
        return stream.getvalue()

    def test_is_drawn_on_a_terminal_and_wiped(self, monkeypatch):
        text = self.drawn(monkeypatch, Terminal(), 50, delay=0.0)
        assert text.startswith("\rwork [#####               ]  25%")
        assert text.endswith(" \r")

    def test_is_not_drawn_for_short_work(self, monkeypatch):
        assert self.drawn(monkeypatch, Terminal(), 200) == ""

    def test_is_not_drawn_elsewhere(self, monkeypatch):
        assert self.drawn(monkeypatch, io.StringIO(), 200, delay=0.0) == ""

    @pytest.mark.parametrize("memory", MEMORIES)
    @pytest.mark.parametrize("flags", [[], ["--stream"]])
    def test_counts_every_point_once(self, paths, memory, flags):
        options = signature_blocks.Options(2, bool(flags), False, False, False)
        reported = []
        lengths = np.full((3, 4), 5)
        size = int(float(memory) * 2**20)
        for _ in signature_blocks.signature_blocks(
            paths, paths.dtype, options, lengths, size, reported.append
        ):
            pass
        assert sum(reported) == 3 * 4 * 9


class TestProcess:
    """As a user starts it, in any folder, with the package that is under test here."""

    @pytest.fixture
    def python(self, tmp_path):
        environment = os.environ | {"PYTHONPATH": str(Path(pysig.__file__).parents[1])}

        def run_python(*arguments):
            return subprocess.run(
                [sys.executable, *arguments],
                capture_output=True,
                text=True,
                check=False,
                cwd=tmp_path,
                env=environment,
            )

        return run_python

    def test_version(self, python):
        done = python("-m", "pysig", "--version")
        assert done.returncode == 0
        assert done.stdout == f"pysig {pysig.__version__}\n"

    @pytest.mark.parametrize("command", [[], ["demo"], ["signature"]])
    def test_help(self, python, command):
        done = python("-m", "pysig", *command, "--help")
        assert done.returncode == 0
        assert done.stdout.startswith("usage: python -m pysig")

    def test_exit_codes(self, python, paths, tmp_path):
        np.save(tmp_path / "in.npy", paths)
        assert python("-m", "pysig", "signature", "in.npy", "--depth", "2").returncode == 0
        assert_same(np.load(tmp_path / "in.signature.npy"), pysig.signature(paths, 2))
        done = python("-m", "pysig", "signature", "no.npy", "--depth", "2")
        assert done.returncode == 2
        assert done.stderr == "pysig: error: no.npy: No such file or directory\n"

    def test_starts_without_what_it_may_not_need(self, python):
        done = python(
            "-c",
            "import sys, pysig.command_line\n"
            "names = {'matplotlib', 'pyarrow', 'scipy', 'pysig.demo', 'pysig.data', 'cupy'}\n"
            "sys.exit(', '.join(names & set(sys.modules)))",
        )
        assert done.stderr.strip() == ""
