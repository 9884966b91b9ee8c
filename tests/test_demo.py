"""The demo: what it finds, how it chooses, and the data it runs on."""

import sys

import numpy as np
import pytest

import pysig
from pysig import demo
from pysig.command_line import main
from pysig.data import japanese_vowels


@pytest.fixture(scope="module")
def features():
    rng = np.random.default_rng(3)
    features = rng.normal(size=(20, 50)) * np.linspace(0.1, 3, 50)
    return features, features[:, :3] + 0.1 * rng.normal(size=(20, 3))


class TestData:
    def test_split_and_shapes(self):
        train, test = japanese_vowels()
        assert train.paths.shape == (270, 26, 12)
        assert test.paths.shape == (370, 29, 12)
        np.testing.assert_array_equal(np.bincount(train.labels)[1:], [30] * 9)
        np.testing.assert_array_equal(
            np.bincount(test.labels)[1:], [31, 35, 88, 44, 29, 24, 40, 50, 29]
        )

    @pytest.mark.parametrize("part", [0, 1])
    def test_nan_exactly_beyond_the_lengths(self, part):
        data = japanese_vowels()[part]
        inside = np.arange(data.paths.shape[1]) < data.lengths[:, None]
        np.testing.assert_array_equal(np.isfinite(data.paths), np.repeat(inside[..., None], 12, -1))
        assert data.lengths.min() == 7
        assert data.lengths.max() == data.paths.shape[1]

    def test_values_of_the_source(self):
        train, test = japanese_vowels()
        np.testing.assert_array_equal(train.paths[0, 0, :3], [1.860936, -0.207383, 0.261557])
        assert train.paths[269, train.lengths[269] - 1, 0] == 0.966744
        assert test.paths[369, test.lengths[369] - 1, 11] == 0.224688


class TestPreparation:
    def test_is_fitted_on_the_training_part_only(self):
        train, test = japanese_vowels()
        other = test._replace(paths=100 * test.paths)
        expected = demo.prepared(test, train).paths[..., 1:]
        points = np.concatenate([p[:n] for p, n in zip(train.paths, train.lengths, strict=True)])
        np.testing.assert_allclose(expected, (test.paths - points.mean(0)) / points.std(0))
        scaled = demo.prepared(other, train).paths[..., 1:]
        np.testing.assert_allclose(
            scaled, (100 * test.paths - points.mean(0)) / points.std(0), rtol=1e-12
        )

    def test_time_runs_from_0_to_1(self):
        train, _ = japanese_vowels()
        clock = demo.prepared(train, train).paths[..., 0]
        last = clock[np.arange(270), train.lengths - 1]
        np.testing.assert_array_equal(clock[:, 0], np.zeros(270))
        np.testing.assert_array_equal(last, np.ones(270))


class TestClassifier:
    def test_leave_one_out_is_what_it_says(self, features):
        features, targets = features
        for penalty, predicted in demo.leave_one_out(features, targets, (1e-6, 1e-2, 1.0)):
            centred = features - features.mean(0)
            absolute = penalty * np.linalg.norm(centred, 2) ** 2
            for row in range(len(features)):
                rest = np.delete(np.arange(len(features)), row)
                # The intercept is a column of its own, which no penalty falls on.
                columns = np.column_stack([np.ones(len(rest)), centred[rest]])
                penalties = np.diag([0.0] + [absolute] * centred.shape[1])
                weights = np.linalg.solve(
                    columns.T @ columns + penalties, columns.T @ targets[rest]
                )
                expected = np.concatenate([[1.0], centred[row]]) @ weights
                np.testing.assert_allclose(predicted[row], expected, rtol=1e-6, atol=1e-8)

    def test_ridge_solves_the_penalised_problem(self, features):
        features, targets = features
        centred = features - features.mean(0)
        absolute = 0.01 * np.linalg.norm(centred, 2) ** 2
        weights = np.linalg.solve(
            centred.T @ centred + absolute * np.eye(50), centred.T @ (targets - targets.mean(0))
        )
        new = features[:4] + 1.0
        expected = (new - features.mean(0)) @ weights + targets.mean(0)
        np.testing.assert_allclose(demo.ridge(features, targets, new, 0.01), expected)

    def test_level_weights_are_the_scaling_of_the_path(self):
        path = np.random.default_rng(0).normal(size=(6, 3))
        weights = demo.level_weights(0.3, 3, 4)
        np.testing.assert_allclose(
            weights * pysig.signature(path, 4), pysig.signature(0.3 * path, 4), atol=1e-14
        )

    def test_labels_of_the_test_part_are_not_used(self):
        rng = np.random.default_rng(5)
        train = rng.normal(size=(30, 3 + 9 + 27))
        labels = np.arange(30) % 3 + 1
        train[:, :3] += np.eye(3)[labels - 1] * 5
        together = demo.classify(train, labels, train[:10], 3)
        alone = demo.classify(train, labels, train[:1], 3)
        assert together.choice == alone.choice
        np.testing.assert_allclose(together.scores[:1], alone.scores)
        np.testing.assert_array_equal(together.labels, labels[:10])


class TestDemo:
    def test_accuracy_and_report(self, capsys, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        assert main(["demo", "--no-plot"]) == 0
        text = capsys.readouterr().out
        accuracy = float(text.split("test accuracy")[1].split()[0])
        assert accuracy >= 0.98
        assert "270 paths of 7 to 26 points" in text
        assert text.count("paths/s") == 2
        assert list(tmp_path.iterdir()) == []

    def test_picture(self, capsys, tmp_path, monkeypatch):
        pytest.importorskip("matplotlib")
        monkeypatch.chdir(tmp_path)
        assert main(["demo"]) == 0
        assert "picture        pysig_demo.png" in capsys.readouterr().out
        content = (tmp_path / "pysig_demo.png").read_bytes()
        assert content.startswith(b"\x89PNG")
        assert len(content) > 10_000

    def test_picture_that_cannot_be_written(self, capsys, tmp_path):
        pytest.importorskip("matplotlib")
        file = tmp_path / "missing" / "picture.png"
        assert main(["demo", "--plot", str(file)]) == 2
        assert capsys.readouterr().err == f"pysig: error: {file}: No such file or directory\n"

    def test_without_matplotlib_it_names_the_extra(self, capsys, tmp_path, monkeypatch):
        monkeypatch.setitem(sys.modules, "matplotlib", None)
        monkeypatch.chdir(tmp_path)
        assert main(["demo"]) == 0
        assert "pip install 'pysig[plot]'" in capsys.readouterr().out
        assert list(tmp_path.iterdir()) == []

    def test_without_matplotlib_a_wanted_picture_is_an_error(self, capsys, monkeypatch):
        monkeypatch.setitem(sys.modules, "matplotlib", None)
        assert main(["demo", "--plot", "picture.png"]) == 2
        captured = capsys.readouterr()
        assert (
            captured.err == "pysig: error: a picture needs matplotlib: pip install 'pysig[plot]'\n"
        )
        assert captured.out == ""
