"""The command train-sde-gan: data, discrepancies, checkpoints, refusals."""

from __future__ import annotations

import contextlib
import sys

import numpy as np
import pytest
import scipy.stats
from numpy.testing import assert_allclose, assert_array_equal

from pysig import train_sde_gan
from pysig.command_line import main

SHORT = ["--steps", "4", "--batch", "8", "--hidden", "4", "--width", "4", "--no-plot"]


class TestData:
    def test_ornstein_uhlenbeck(self):
        paths = train_sde_gan.ornstein_uhlenbeck(20000, 5).paths[..., 0]
        assert paths.shape == (20000, 5)
        assert np.abs(paths[:, 0]).max() <= 1
        factor, level = np.exp(-0.1), 0.2
        steps = paths[:, 1:] - level - factor * (paths[:, :-1] - level)
        variance = 0.16 * (1 - factor**2) / 0.2
        assert_allclose(steps.mean(0), 0, atol=4 * np.sqrt(variance / 20000))
        assert_allclose(steps.var(0), variance, rtol=4 * np.sqrt(2 / 20000))
        correlation = np.corrcoef(np.column_stack([paths[:, 0], steps]), rowvar=False)
        assert_allclose(correlation, np.eye(5), atol=5 / np.sqrt(20000))

    def test_vowels(self):
        data = train_sde_gan.load("japanese-vowels")
        assert data.paths.shape == (559, 12, 2)
        assert_array_equal(data.paths[0, 0], [1.860936, -0.207383])
        assert np.isfinite(data.paths).all()

    def test_halves(self, rng):
        paths = rng.normal(3, 2, size=(101, 4, 2))
        parts = train_sde_gan.halves(paths)
        assert len(parts.train) == 50
        assert len(parts.test) == 51
        assert_allclose(parts.train.mean((0, 1)), 0, atol=1e-6)
        assert_allclose(parts.train.std((0, 1)), 1, rtol=1e-6)
        together = np.concatenate([parts.train, parts.test]) * parts.scale + parts.mean
        assert_allclose(np.sort(together, axis=0), np.sort(paths, axis=0), rtol=1e-5, atol=1e-5)


class TestDiscrepancies:
    @pytest.mark.parametrize("decimals", [0, 1, 8])
    def test_kolmogorov_smirnov(self, decimals, rng):
        """The same as SciPy's, ties included."""
        x = rng.normal(size=(40, 3, 2)).round(decimals)
        y = rng.normal(0.3, size=(60, 3, 2)).round(decimals)
        found = train_sde_gan.kolmogorov_smirnov(x, y)
        for index in np.ndindex(3, 2):
            columns = x[:, *index], y[:, *index]
            expected = scipy.stats.ks_2samp(*columns).statistic  # pyright: ignore
            assert_allclose(found[index], expected, atol=1e-14)

    def test_equal_and_different_laws(self, rng):
        x, y, drift = (rng.normal(size=(1000, 6, 1)).cumsum(axis=1) for _ in range(3))
        equal = train_sde_gan.discrepancies(x, y)
        different = train_sde_gan.discrepancies(x, drift + np.arange(6.0)[:, None])
        for one, other in zip(equal, different, strict=True):
            assert other > 5 * abs(one)
        assert train_sde_gan.discrepancies(x, x)[:2] == (0, 0)


class TestCommand:
    @pytest.mark.parametrize(
        ("data", "shape", "said"),
        [
            ("japanese-vowels", (280, 12, 2), "559 paths of 12 points, 2 channels"),
            ("ornstein-uhlenbeck", (4096, 32, 1), "16384 paths of 32 points, 1 channels"),
        ],
    )
    def test_report_and_files(self, data, shape, said, tmp_path, capsys):
        folder = tmp_path / "trained"
        assert main(["train-sde-gan", data, "--output", str(folder), *SHORT]) == 0
        text = capsys.readouterr().out
        assert f"{said}; 0 of 4 steps made" in text
        assert text.count("generated ") == 2
        assert sorted(file.name for file in folder.iterdir()) == [
            "checkpoint.npz", "generated.npy", "settings.json"
        ]  # fmt: skip
        generated = np.load(folder / "generated.npy")
        assert generated.shape == shape
        assert np.isfinite(generated).all()

    def test_resuming(self, tmp_path, capsys, monkeypatch):
        """An interrupted training goes on from its checkpoint to the same paths."""
        file = tmp_path / "paths.npy"
        np.save(file, np.random.default_rng(0).normal(size=(20, 5, 1)).cumsum(axis=1))
        straight, folder = tmp_path / "straight", tmp_path / "resumed"
        command = ["train-sde-gan", str(file), *SHORT, "--checkpoint-every", "1", "--output"]
        assert main([*command, str(straight)]) == 0
        step, calls = train_sde_gan.GanTraining.step, []

        def interrupted(training):
            calls.append(training)
            if len(calls) == 3:
                raise KeyboardInterrupt
            return step(training)

        monkeypatch.setattr(train_sde_gan.GanTraining, "step", interrupted)
        assert main([*command, str(folder)]) == 130
        monkeypatch.undo()
        assert main([*command, str(folder)]) == 2
        assert "exists: go on with --resume" in capsys.readouterr().err
        assert main([*command, str(folder), "--resume", "--batch", "9"]) == 2
        assert "has batch = 8, not 9" in capsys.readouterr().err
        assert main([*command, str(folder), "--resume"]) == 0
        assert "2 of 4 steps made" in capsys.readouterr().out
        assert_array_equal(*(np.load(f / "generated.npy") for f in (straight, folder)))

    def test_picture(self, tmp_path):
        pytest.importorskip("matplotlib")
        command = ["train-sde-gan", "japanese-vowels", "--output", str(tmp_path), *SHORT[:-1]]
        assert main([*command, "--plot"]) == 0
        assert (tmp_path / "paths.png").read_bytes().startswith(b"\x89PNG")

    def test_without_matplotlib(self, tmp_path, capsys, monkeypatch):
        monkeypatch.setitem(sys.modules, "matplotlib", None)
        command = ["train-sde-gan", "japanese-vowels", "--output", str(tmp_path), *SHORT[:-1]]
        assert main([*command, "--plot"]) == 2
        assert "pip install 'pysig[plot]'" in capsys.readouterr().err
        assert list(tmp_path.iterdir()) == []

    @pytest.mark.parametrize(
        ("array", "text"),
        [
            (np.zeros((20, 5)), "has shape (20, 5)"),
            (np.zeros((3, 5, 1)), "has shape (3, 5, 1)"),
            (np.zeros((20, 1, 1)), "has shape (20, 1, 1)"),
            (np.zeros((20, 5, 1), complex), "complex128"),
            (np.full((20, 5, 1), np.nan), "has NaN"),
        ],
    )
    def test_bad_files(self, array, text, tmp_path, capsys):
        file = tmp_path / "paths.npy"
        np.save(file, array)
        assert main(["train-sde-gan", str(file), "--output", str(tmp_path / "out"), *SHORT]) == 2
        assert text in capsys.readouterr().err
        assert not (tmp_path / "out").exists()

    @pytest.mark.parametrize(
        ("options", "text"),
        [
            (["weather", "--output", "x"], "DATA must be ornstein-uhlenbeck, japanese-vowels"),
            (["missing.npy", "--output", "x"], "missing.npy: No such file"),
            (["japanese-vowels", "--output", "x", "--resume"], "nothing to go on from"),
            (["japanese-vowels"], "--output"),
            (["japanese-vowels", "--output", "x", "--steps", "0"], "not an integer of at least 1"),
            (["japanese-vowels", "--output", "x", "--generator-rate", "-1"], "positive number"),
        ],
    )
    def test_bad_options(self, options, text, tmp_path, capsys, monkeypatch):
        monkeypatch.chdir(tmp_path)
        with contextlib.suppress(SystemExit):  # which the parser of options raises
            assert main(["train-sde-gan", *options]) == 2
        assert text in capsys.readouterr().err
        assert list(tmp_path.iterdir()) == []
