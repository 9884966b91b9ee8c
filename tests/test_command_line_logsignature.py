"""``python -m pysig logsignature``: what it writes, in every block size."""

from typing import Any

import numpy as np
import pytest

import pysig
from pysig.command_line import main

# As MiB: a few bytes, so that one point makes a block; a few points; a few paths; everything.
MEMORIES = ["0.000001", "0.0005", "0.01", "256"]
FLAGS = [[], ["--stream"], ["--basepoint", "--inverse"], ["--stream", "--basepoint"]]


@pytest.fixture
def paths():
    return np.random.default_rng(7).normal(size=(3, 4, 9, 2))


def run(*arguments):
    return main(["logsignature", *map(str, arguments)])


@pytest.mark.parametrize("memory", MEMORIES)
@pytest.mark.parametrize("flags", FLAGS)
@pytest.mark.parametrize("mode", ["words", "brackets", "expand"])
def test_options(paths, tmp_path, memory, flags, mode):
    np.save(tmp_path / "in.npy", paths)
    assert run(tmp_path / "in.npy", "--depth", 4, "--memory", memory, "--mode", mode, *flags) == 0
    options: dict[str, Any] = {flag.removeprefix("--"): True for flag in flags}
    expected = pysig.logsignature(paths, 4, mode=mode, **options)
    result = np.load(tmp_path / "in.logsignature.npy")
    assert result.dtype == np.float64
    np.testing.assert_allclose(result, expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("memory", MEMORIES)
@pytest.mark.parametrize("flags", FLAGS)
def test_lengths(paths, tmp_path, memory, flags):
    lengths = np.arange(12).reshape(3, 4) % 9 + 1
    ragged = np.where(np.arange(9)[:, None] < lengths[..., None, None], paths, np.nan)
    np.save(tmp_path / "in.npy", ragged.astype(np.float32))
    np.save(tmp_path / "lengths.npy", lengths)
    arguments = ["--depth", 3, "--memory", memory, "--lengths", tmp_path / "lengths.npy", *flags]
    assert run(tmp_path / "in.npy", *arguments) == 0
    options: dict[str, Any] = {flag.removeprefix("--"): True for flag in flags}
    expected = pysig.logsignature(paths.astype(np.float32), 3, lengths=lengths, **options)
    result = np.load(tmp_path / "in.logsignature.npy")
    assert result.dtype == np.float32
    np.testing.assert_allclose(result, expected, rtol=1e-4, atol=1e-4)


def test_table_with_output_and_message(tmp_path, capsys):
    (tmp_path / "in.csv").write_text("x,y\n0,0\n2,0\n2,3\n")
    output = tmp_path / "out.csv"
    assert run(tmp_path / "in.csv", "--depth", 2, "--output", output) == 0
    np.testing.assert_allclose(np.loadtxt(output, delimiter=","), [2, 3, 3])
    assert capsys.readouterr().out == f"{output}: float64 (3,)\n"


@pytest.mark.parametrize("arguments", [["--mode", "hall"], ["--scalar-term"], ["--depth", "0"]])
def test_wrong_options(tmp_path, capsys, arguments):
    np.save(tmp_path / "in.npy", np.zeros((3, 2)))
    with pytest.raises(SystemExit) as exit_:
        run(tmp_path / "in.npy", "--depth", 2, *arguments)
    assert exit_.value.code == 2
    assert capsys.readouterr().err.startswith("pysig: error: ")
