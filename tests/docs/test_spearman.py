"""The program docs/examples/spearman.py, and what docs/gallery.md says of it."""

import importlib.util
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose

DOCUMENTS = Path(__file__).parents[2] / "docs"
PROGRAM = DOCUMENTS / "examples" / "spearman.py"


@pytest.fixture
def program():
    """Return the program as a module, with fewer random splits."""
    spec = importlib.util.spec_from_file_location("spearman_example", PROGRAM)
    assert spec is not None
    assert spec.loader is not None
    module: Any = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    module.SPLITS = 4
    return module


@pytest.fixture
def gallery():
    text = (DOCUMENTS / "gallery.md").read_text(encoding="utf-8")
    return text[text.index("\n## In the right order") :]


def test_fit_has_the_correlations_of_the_gallery(program, gallery):
    train, test = program.load()
    start = program.least_squares(train, train.rings)
    fit = program.spearman_fit(train, start)
    claims = re.findall(
        r"^\| .* \| (0\.\d+) \| (0\.\d+) \| 0\.\d+ \|$", gallery, flags=re.MULTILINE
    )
    for weights, claim in zip((start, fit.weights), claims, strict=True):
        found = [program.correlation(part, weights) for part in (train, test)]
        # Another BLAS may take the optimiser another way in a landscape with many small kinks.
        assert_allclose(found, np.array(claim, float), atol=6e-5 if weights is start else 1e-3)
    assert program.correlation(train, fit.weights) > program.correlation(train, start) + 0.005
    assert len(fit.path) > 5


def test_spearman_fit_is_ahead_on_random_splits(program):
    rng = np.random.default_rng(1)
    splits = np.array([program.compared(rng.permutation(4177)) for _ in range(program.SPLITS)])
    assert np.mean(splits[:, 1] - splits[:, 0]) > 0.004


def test_features_are_standardised_by_the_training_part(program):
    train, test = program.load(np.random.default_rng(2).permutation(4177))
    assert train.features.shape == (3133, 9)
    assert test.features.shape == (1044, 9)
    assert_allclose(train.features.mean(0), 0, atol=1e-12)
    assert_allclose(train.features.std(0), 1, rtol=1e-12)
    assert abs(test.features.mean(0)).max() > 1e-3


def test_gradient_is_that_of_the_loss(program):
    train, _ = program.load()
    weights = program.least_squares(train, train.rings)
    _, gradient = program.loss_and_gradient(weights, train)
    direction = np.random.default_rng(3).standard_normal(len(weights))
    step = 1e-7  # there are many kinks
    after, before = (
        program.loss_and_gradient(weights + sign * step * direction, train)[0] for sign in (1, -1)
    )
    assert_allclose((after - before) / (2 * step), gradient @ direction, rtol=1e-3)


def test_program_prints_and_draws(program, tmp_path, monkeypatch, capsys):
    pytest.importorskip("matplotlib")
    monkeypatch.setattr(program, "PICTURE", tmp_path / "spearman.png")
    program.main()
    output = capsys.readouterr().out
    assert "least squares, rings    0.7655  0.7345" in output
    assert f"test, mean of {program.SPLITS} random splits" in output
    assert program.PICTURE.read_bytes().startswith(b"\x89PNG")


def test_program_without_matplotlib(program, monkeypatch, capsys):
    monkeypatch.setattr(program.importlib.util, "find_spec", lambda name: None)
    monkeypatch.setattr(program, "SPLITS", 1)
    program.main()
    assert "no picture" in capsys.readouterr().out


def test_code_in_the_gallery_is_that_of_the_program(gallery):
    (block,) = re.findall(r"```python\n(.*?)```", gallery, flags=re.DOTALL)
    assert block in PROGRAM.read_text(encoding="utf-8")
