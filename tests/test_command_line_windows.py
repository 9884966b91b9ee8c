"""``python -m pysig windows``: what it writes, in every block size, and what it refuses."""

import numpy as np
import pytest

import pysig
from pysig._core import window_blocks
from pysig.command_line import main

# As MiB: a few bytes, so that one window makes a block; a few windows; a few paths; everything.
MEMORIES = ["0.000001", "0.002", "0.01", "256"]


@pytest.fixture
def paths():
    return np.random.default_rng(7).normal(size=(3, 2, 40, 2))


def run(*arguments):
    return main(["windows", *map(str, arguments)])


@pytest.mark.parametrize("memory", MEMORIES)
@pytest.mark.parametrize(("length", "stride"), [(1, 1), (7, 1), (7, 3), (3, 7), (40, 1), (5, 100)])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_windows(paths, tmp_path, memory, length, stride, dtype):
    paths = paths.astype(dtype)
    tolerance = 1e-12 if dtype == np.float64 else 1e-4
    sizes = ["--length", length, "--stride", stride, "--memory", memory]
    for array, flags in ((paths, []), (paths, ["--scalar-term"]), (paths[0, 0], [])):
        np.save(tmp_path / "in.npy", array)
        assert run(tmp_path / "in.npy", "--depth", 3, *sizes, *flags) == 0
        expected = pysig.signature_windows(
            array, 3, length=length, stride=stride, scalar_term=bool(flags)
        )
        result = np.load(tmp_path / "in.windows.npy")
        assert result.dtype == dtype
        np.testing.assert_allclose(result, expected, rtol=tolerance, atol=tolerance)


def test_stride_is_one_by_default(paths, tmp_path):
    np.save(tmp_path / "in.npy", paths)
    assert run(tmp_path / "in.npy", "--depth", 2, "--length", 10) == 0
    assert np.load(tmp_path / "in.windows.npy").shape == (3, 2, 31, 6)


def test_table(tmp_path, capsys):
    (tmp_path / "in.csv").write_text("x,y\n0,0\n2,0\n2,3\n")
    output = tmp_path / "out.csv"
    assert run(tmp_path / "in.csv", "--depth", 1, "--length", 2, "--output", output) == 0
    np.testing.assert_allclose(np.loadtxt(output, delimiter=","), [[2, 0], [0, 3]])
    assert capsys.readouterr().out == f"{output}: float64 (2, 2)\n"


@pytest.mark.parametrize("memory", MEMORIES)
@pytest.mark.parametrize(("length", "stride"), [(1, 1), (7, 3), (3, 7)])
def test_every_point_is_reported_once(paths, memory, length, stride):
    options = window_blocks.WindowOptions(2, length, stride, False)
    reported = []
    size = int(float(memory) * 2**20)
    for _ in window_blocks.window_blocks(paths, paths.dtype, options, size, reported.append):
        pass
    assert sum(reported) == 3 * 2 * 40


def test_blocks_stay_within_the_memory_given():
    for shape in [(1000, 50, 3), (2, 10**6, 3), (10**6, 20, 3), (5, 40, 50)]:
        for stride in (1, 5, 30):
            options = window_blocks.WindowOptions(3, 10, stride, False)
            coefficients = pysig.signature_channels(shape[-1], 3)
            for memory in (1 << 20, 1 << 28):
                paths, windows = window_blocks.choose_block_size(
                    shape, np.dtype(np.float64), options, memory
                )
                numbers = shape[-1] * options.points(windows) + coefficients * windows
                assert paths == windows == 1 or 8 * paths * numbers <= memory


@pytest.mark.parametrize(
    "arguments",
    [[], ["--length", "0"], ["--length", "x"], ["--length", "2", "--stride", "0"]],
)
def test_wrong_options(tmp_path, capsys, arguments):
    np.save(tmp_path / "in.npy", np.zeros((3, 2)))
    with pytest.raises(SystemExit) as exit_:
        run(tmp_path / "in.npy", "--depth", 2, *arguments)
    assert exit_.value.code == 2
    assert capsys.readouterr().err.startswith("pysig: error: ")


def test_windows_longer_than_the_paths(tmp_path, capsys):
    np.save(tmp_path / "in.npy", np.zeros((3, 2)))
    assert run(tmp_path / "in.npy", "--depth", 2, "--length", 4) == 2
    message = capsys.readouterr().err
    assert message == f"pysig: error: --length 4: {tmp_path / 'in.npy'} has paths of 3 points\n"
    assert not (tmp_path / "in.windows.npy").exists()
