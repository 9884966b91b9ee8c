"""The code of docs/wrapping.md, run as it stands there and compared with pysig's own gradients."""

import contextlib
import importlib
import io
import os
import re
from pathlib import Path

import numpy as np
import pytest

import pysig

DOCUMENT = Path(__file__).parents[2] / "docs" / "wrapping.md"


def framework(name):
    """Import a framework; without it skip the test, or fail where frameworks are required."""
    if os.environ.get("PYSIG_REQUIRE_FRAMEWORKS"):
        return importlib.import_module(name)
    return pytest.importorskip(name)


def run_document(name):
    """Run the blocks marked as ``name``; return what they define, and the output with its claim.

    A comment after a print says what is printed.
    """
    text = DOCUMENT.read_text(encoding="utf-8")
    blocks = re.findall(rf"<!-- test: {name} -->\n```python\n(.*?)```", text, flags=re.DOTALL)
    assert blocks
    defined, output = {}, io.StringIO()
    with contextlib.redirect_stdout(output):
        for block in blocks:
            exec(compile(block, str(DOCUMENT), "exec"), defined)
    claims = re.findall(r"^print\(.*\)  # (.*)$", "".join(blocks), flags=re.MULTILINE)
    assert claims
    return defined, output.getvalue().splitlines(), claims


def test_every_block_of_code_is_run():
    text = DOCUMENT.read_text(encoding="utf-8")
    assert text.count("```python") == len(
        re.findall(r"<!-- test: (torch|jax)(-field|-sorting)? -->\n```python", text)
    )


@pytest.mark.parametrize("name", ["torch", "jax"])
def test_fields_print_what_they_say(name):
    framework(name)
    _, output, claims = run_document(f"{name}-field")
    assert output == claims


def expected_gradients(path, depth, grad, **options):
    _, residuals = pysig.signature_forward(path, depth, **options)
    return pysig.signature_backward(residuals, grad)


@pytest.fixture(scope="module")
def torch():
    return framework("torch")


@pytest.fixture(scope="module")
def torch_document(torch):
    return run_document("torch")


@pytest.fixture(scope="module")
def jax():
    return framework("jax")


@pytest.fixture(scope="module")
def jax_document(jax):
    return run_document("jax")


class TestTorch:
    @pytest.fixture
    def arguments(self, torch):
        """Return a path, a basepoint and an initial signature of depth 3."""
        torch.manual_seed(1)
        shapes = ((2, 5, 2), (2,), (2, 14))
        return [torch.randn(shape, dtype=torch.float64, requires_grad=True) for shape in shapes]

    def test_prints_what_it_says(self, torch_document):
        _, output, claims = torch_document
        assert output == claims

    @pytest.mark.parametrize(
        "options",
        [
            {},
            {"stream": True},
            {"inverse": True},
            {"stream": True, "inverse": True, "lengths": [3, 5]},
        ],
        ids=["plain", "stream", "inverse", "all"],
    )
    def test_gradcheck(self, torch, torch_document, arguments, options):
        signature = torch_document[0]["signature"]
        assert torch.autograd.gradcheck(
            lambda path, basepoint, initial: signature(path, 3, basepoint, initial, **options),
            arguments,
        )

    def test_gradcheck_of_the_path_alone(self, torch, torch_document, arguments):
        signature = torch_document[0]["signature"]
        assert torch.autograd.gradcheck(lambda path: signature(path, 4), arguments[:1])

    def test_value_and_gradients(self, torch, torch_document, arguments):
        path, basepoint, initial = arguments
        value = torch_document[0]["signature"](path, 3, basepoint, initial)
        grad = torch.randn_like(value)
        value.backward(grad)
        path_array, *given = (x.detach().numpy() for x in arguments)
        options = dict(zip(("basepoint", "initial"), given, strict=True))
        np.testing.assert_array_equal(
            value.detach().numpy(), pysig.signature(path_array, 3, **options)
        )
        expected = expected_gradients(path_array, 3, grad.numpy(), **options)
        for tensor, gradient in zip(arguments, expected, strict=True):
            np.testing.assert_array_equal(tensor.grad.numpy(), gradient)

    @pytest.mark.parametrize("regularization", ["l2", "kl"])
    def test_gradcheck_of_soft_ranks(self, torch, regularization):
        defined, output, claims = run_document("torch-sorting")
        assert output == claims
        torch.manual_seed(2)
        x = torch.randn(3, 7, dtype=torch.float64, requires_grad=True)
        options = {"regularization": regularization, "axis": 0}
        for strength in [0.3, 2.0]:
            options["regularization_strength"] = strength
            assert torch.autograd.gradcheck(lambda x: defined["soft_rank"](x, **options), x)

    def test_float32_stays(self, torch, torch_document):
        path = torch.randn(5, 2, requires_grad=True)
        torch_document[0]["signature"](path, 2).sum().backward()
        assert path.grad.dtype == torch.float32

    def test_a_change_in_place_is_noticed(self, torch, torch_document):
        path = torch.randn(5, 2, requires_grad=True)
        inner = 2 * path
        value = torch_document[0]["signature"](inner, 2).sum()
        inner += 1
        with pytest.raises(RuntimeError, match="modified by an inplace operation"):
            value.backward()

    def test_a_second_derivative_is_refused(self, torch, torch_document):
        path = torch.randn(5, 2, requires_grad=True)
        value = torch_document[0]["signature"](path, 2).square().sum()
        (gradient,) = torch.autograd.grad(value, path, create_graph=True)
        with pytest.raises(RuntimeError, match="once_differentiable"):
            gradient.sum().backward()


class TestJax:
    def test_prints_what_it_says(self, jax_document):
        _, output, claims = jax_document
        assert output == claims

    @pytest.mark.parametrize("dtype", [np.float32, np.float64])
    @pytest.mark.parametrize("transform", ["plain", "jit"])
    def test_gradient(self, jax, jax_document, dtype, transform):
        signature = jax_document[0]["signature"]
        rng = np.random.default_rng(4)
        path = rng.normal(size=(3, 6, 2)).astype(dtype)
        weights = rng.normal(size=(3, pysig.signature_channels(2, 4))).astype(dtype)
        with jax.enable_x64(dtype == np.float64):
            gradient = jax.grad(lambda path: (weights * signature(path, 4)).sum())
            gradient = jax.jit(gradient) if transform == "jit" else gradient
            actual, value = gradient(path), signature(path, 4)
        assert actual.dtype == dtype
        np.testing.assert_array_equal(value, pysig.signature(path, 4))
        expected = expected_gradients(path, 4, weights).path
        np.testing.assert_array_equal(actual, expected)

    @pytest.mark.parametrize("in_axes", [0, 1, 2])
    def test_vmap(self, jax, jax_document, in_axes):
        signature = jax_document[0]["signature"]
        paths = np.random.default_rng(4).normal(size=(4, 4, 4, 3)).astype(np.float32)
        loss = jax.grad(lambda path: (signature(path, 3) ** 2).sum())
        actual = jax.vmap(loss, in_axes)(paths)
        single = np.stack([loss(path) for path in np.moveaxis(paths, in_axes, 0)])
        np.testing.assert_allclose(actual, single, rtol=1e-5, atol=1e-5)

    def test_against_finite_differences(self, jax, jax_document):
        from jax.test_util import check_grads

        path = np.random.default_rng(4).normal(size=(5, 2))
        with jax.enable_x64(True):
            check_grads(lambda path: jax_document[0]["signature"](path, 3), (path,), 1, ["rev"])
