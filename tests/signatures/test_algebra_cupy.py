"""Functions made of array functions, for arrays on a device that is not the current one."""

from __future__ import annotations

import numpy as np
import pytest

import pysig

WORDS = [(0, 1), (1,), (0, 1)]
# name, arguments: one or more arrays, then numbers and options
CALLS = [
    ("signature_inverse", ["tensor"], [2, 3], {}),
    ("tensor_inverse", ["tensor"], [2, 3], {}),
    ("signature_scale", ["tensor", "vector"], [3], {}),
    ("signature_join", ["tensor", "vector"], [3], {}),
    ("signature_join", ["tensor", "vector"], [3], {"front": True}),
    ("shuffle_product", ["tensor", "tensor"], [2, 3], {}),
    ("extract_signature_term", ["tensor"], [2, 3, 2], {}),
    ("extract_signature_term", ["tensor"], [2, 3, WORDS], {}),
    ("rotation_invariants_2d", ["tensor"], [3], {}),
    ("invert_signature", ["tensor"], [2, 3], {}),
    ("time_augment", ["path"], [], {}),
    ("time_augment", ["path", "times"], [], {}),
    ("lead_lag", ["path"], [], {}),
    ("basepoint_augment", ["path", "vector"], [], {}),
    ("invisibility_reset_augment", ["path"], [], {"lengths": [1, 3, 5]}),
    ("cumulative_sum", ["path"], [], {}),
    ("signature_words", ["path"], [WORDS], {"lengths": [1, 3, 5]}),
]


@pytest.mark.parametrize(("name", "arrays", "numbers", "options"), CALLS)
def test_device_of_the_arrays(cupy, rng, name, arrays, numbers, options):
    if cupy.cuda.runtime.getDeviceCount() < 2:
        pytest.skip("there is one device")
    shapes = {"tensor": (3, 14), "vector": (3, 2), "path": (3, 5, 2), "times": (3, 5)}
    inputs = [rng.standard_normal(shapes[array]) for array in arrays]
    expected, residuals = getattr(pysig, f"{name}_forward")(*inputs, *numbers, **options)
    grad = rng.standard_normal(expected.shape)
    gradients = getattr(pysig, f"{name}_backward")(residuals, grad)
    with cupy.cuda.Device(1):
        moved, moved_grad = [cupy.asarray(x) for x in inputs], cupy.asarray(grad)
    actual, residuals = getattr(pysig, f"{name}_forward")(*moved, *numbers, **options)
    actual_gradients = getattr(pysig, f"{name}_backward")(residuals, moved_grad)
    pairs = [(actual, expected)]
    if isinstance(gradients, tuple):
        pairs += zip(actual_gradients, gradients, strict=True)
    else:
        pairs.append((actual_gradients, gradients))
    for there, here in pairs:
        if here is None:
            assert there is None
            continue
        assert there.device.id == 1
        with cupy.cuda.Device(1):
            np.testing.assert_allclose(cupy.asnumpy(there), here, rtol=1e-12, atol=1e-12)


def test_libraries_do_not_mix(cupy, rng):
    tensor, vector = rng.standard_normal((3, 14)), rng.standard_normal((3, 2))
    there = cupy.asarray(tensor)
    for call in (
        lambda: pysig.signature_scale(there, vector, 3),
        lambda: pysig.signature_join(tensor, cupy.asarray(vector), 3),
        lambda: pysig.shuffle_product(there, tensor, 2, 3),
        lambda: pysig.time_augment(cupy.asarray(vector), [0.0, 1.0, 2.0]),
        lambda: pysig.basepoint_augment(cupy.asarray(vector), [0.0, 1.0]),
        lambda: pysig.invert_signature(there, 2, 3, initial_position=vector),
        lambda: pysig.signature_words(cupy.asarray(vector), [(0,)], basepoint=[0.0, 1.0]),
    ):
        with pytest.raises(TypeError, match="all arrays must be of one library"):
            call()
