"""What the signature accepts, what it refuses and how it says so; threads; pickling."""

from __future__ import annotations

import pickle
import re
import threading
import types
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from numpy.lib.stride_tricks import as_strided
from reference import signature_cases as cases
from reference.signature_cases import COMBINATIONS, FEW_COMBINATIONS

import pysig

DTYPES = (np.float32, np.float64)


def forward_and_backward(path: Any, depth: int, **options: Any) -> list[np.ndarray]:
    """Return the value and all gradients of the sum of its squares."""
    value, residuals = pysig.signature_forward(path, depth, **options)
    gradients = pysig.signature_backward(residuals, 2 * value)
    return [
        value,
        pysig.signature(path, depth, **options),
        *(x for x in gradients if x is not None),
    ]


def assert_same(results: list[np.ndarray], expected: list[np.ndarray]) -> None:
    """Assert that two lists of arrays agree in type and in every bit."""
    assert len(results) == len(expected)
    for result, other in zip(results, expected, strict=True):
        assert result.dtype == other.dtype
        assert result.shape == other.shape
        assert result.tobytes() == other.tobytes()


# --- what is accepted ----------------------------------------------------------------------------


def strided(array: np.ndarray) -> np.ndarray:
    """Return the array as every second entry of a larger one, along all axes."""
    larger = np.full([2 * size for size in array.shape], -77, array.dtype)
    view = larger[tuple(slice(None, None, 2) for _ in array.shape)]
    view[...] = array
    return view


def backwards(array: np.ndarray) -> np.ndarray:
    """Return the array with negative strides along all axes."""
    flip = tuple(slice(None, None, -1) for _ in array.shape)
    return array[flip].copy()[flip]


def read_only(array: np.ndarray) -> np.ndarray:
    array = array.copy()
    array.setflags(write=False)
    return array


def unaligned(array: np.ndarray) -> np.ndarray:
    """Return the array at an address that is not a multiple of the size of its numbers."""
    memory = bytearray(array.nbytes + 1)
    view = np.frombuffer(memory, array.dtype, array.size, offset=1).reshape(array.shape)
    view[...] = array
    return view


def byte_swapped(array: np.ndarray) -> np.ndarray:
    return array.astype(array.dtype.newbyteorder("S"))


def with_metadata(array: np.ndarray) -> np.ndarray:
    """Return the array with a type that is equal to its own but not the same object."""
    return array.astype(np.dtype(array.dtype, metadata={"unit": "metre"}))


def unpickled(array: np.ndarray) -> np.ndarray:
    return pickle.loads(pickle.dumps(array))


class Subclass(np.ndarray):
    """An array type that adds nothing."""


def subclass(array: np.ndarray) -> np.ndarray:
    return array.view(Subclass)


LAYOUTS = [
    np.asfortranarray,
    strided,
    backwards,
    read_only,
    unaligned,
    byte_swapped,
    with_metadata,
    unpickled,
    subclass,
]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("combination", FEW_COMBINATIONS, ids=str)
def test_layout_of_the_inputs_does_not_matter(rng, combination, layout, dtype):
    case = cases.make_case(rng, (3, 2), 7, 3, 3, combination)
    path, depth, options = case.cast(dtype)
    value, residuals = pysig.signature_forward(path, depth, **options)
    grad = cases.random_grad(rng, case).astype(dtype)
    gradients = [x for x in pysig.signature_backward(residuals, grad) if x is not None]
    laid_out = {name: layout(x) if isinstance(x, np.ndarray) else x for name, x in options.items()}
    result, residuals = pysig.signature_forward(layout(path), depth, **laid_out)
    assert_same([result, pysig.signature(layout(path), depth, **laid_out)], [value, value])
    result = pysig.signature_backward(residuals, layout(grad))
    assert_same([x for x in result if x is not None], gradients)
    for name in ("basepoint", "initial"):  # and in every mixture
        if isinstance(options[name], np.ndarray):
            mixed = options | {name: layout(options[name])}
            assert_same([pysig.signature(path, depth, **mixed)], [value])
            mixed = laid_out | {name: options[name]}
            assert_same([pysig.signature(layout(path), depth, **mixed)], [value])


def test_one_point_repeated_by_a_zero_stride():
    path = np.broadcast_to(np.array([1.0, 2.0]), (3, 4, 2))
    results = forward_and_backward(path, 3, basepoint=True)
    assert_same(results, forward_and_backward(path.copy(), 3, basepoint=True))
    windows = as_strided(np.arange(10.0) ** 2, (5, 6, 1), (8, 8, 8))
    assert_same(forward_and_backward(windows, 3), forward_and_backward(windows.copy(), 3))


@pytest.mark.parametrize(
    "dtype", [bool, np.int8, np.uint8, np.int16, np.int32, np.int64, np.uint64, ">i4"]
)
def test_integers_become_float64(dtype):
    path = (np.arange(24).reshape(2, 4, 3) ** 2 % 7 > 2).astype(dtype)
    expected = forward_and_backward(path.astype(np.float64), 3, basepoint=True)
    assert expected[0].dtype == np.float64
    assert_same(forward_and_backward(path, 3, basepoint=True), expected)


def test_differences_of_unsigned_integers_do_not_wrap():
    path = np.array([[200], [10]], np.uint8)
    assert pysig.signature(path, 1)[0] == -190


def test_lists_are_arrays():
    path, basepoint, initial = [[0, 1], [2, 5], [3, 3]], [1, 2], [1, 2, 3, 4, 5, 6]
    arrays = [np.array(x, np.float64) for x in (path, basepoint, initial)]
    expected = forward_and_backward(arrays[0], 2, basepoint=arrays[1], initial=arrays[2])
    assert_same(forward_and_backward(path, 2, basepoint=basepoint, initial=initial), expected)
    tuples = tuple(tuple(point) for point in path)
    assert_same(forward_and_backward(tuples, 2, basepoint=basepoint, initial=initial), expected)


def test_lists_and_integers_follow_the_type_of_the_path(rng):
    path = rng.standard_normal((4, 2)).astype(np.float32)
    expected = forward_and_backward(
        path, 2, basepoint=np.ones(2, np.float32), initial=np.arange(6, dtype=np.float32)
    )
    assert expected[0].dtype == np.float32
    for basepoint, initial in (
        ([1, 1], [0, 1, 2, 3, 4, 5]),
        ([1.0, 1.0], [0.0, 1.0, 2.0, 3.0, 4.0, 5.0]),
        (np.ones(2, int), np.arange(6)),
    ):
        results = forward_and_backward(path, 2, basepoint=basepoint, initial=initial)
        assert_same(results, expected)
    _, residuals = pysig.signature_forward(path, 1)
    for grad in ([1, 2], [1.0, 2.0], np.array([1, 2])):
        assert pysig.signature_backward(residuals, grad).path.dtype == np.float32


@pytest.mark.parametrize("depth", [np.int64(3), np.uint8(3), np.array(3)])
def test_any_integer_is_a_depth(rng, depth):
    path = rng.standard_normal((4, 2))
    assert_same([pysig.signature(path, depth)], [pysig.signature(path, 3)])


def test_basepoint_false_is_no_basepoint(rng):
    path = rng.standard_normal((4, 2))
    expected = forward_and_backward(path, 3)
    assert_same(forward_and_backward(path, 3, basepoint=False), expected)


def test_basepoint_true_is_the_origin(rng):
    path = rng.standard_normal((4, 2))
    value = pysig.signature(path, 3, basepoint=True)
    assert_same([value], [pysig.signature(path, 3, basepoint=np.zeros(2))])


@pytest.mark.parametrize("combination", COMBINATIONS, ids=str)
def test_inputs_are_never_modified(rng, combination):
    path, depth, options = cases.make_case(rng, (3,), 5, 2, 3, combination).cast(np.float64)
    inputs = [path, *(x for x in options.values() if isinstance(x, np.ndarray))]
    before = [x.copy() for x in inputs]
    value, residuals = pysig.signature_forward(path, depth, **options)
    grad = rng.standard_normal(value.shape)
    grad_before = grad.copy()
    gradients = pysig.signature_backward(residuals, grad)
    results = [value, *(x for x in gradients if x is not None)]
    for result in results:
        assert result.flags.c_contiguous
        assert result.flags.writeable
        assert not any(np.shares_memory(result, x) for x in [*inputs, grad])
        result[...] = 7
    assert_same([*inputs, grad], [*before, grad_before])


def test_initial_is_not_returned_where_there_is_no_step():
    initial = np.arange(6.0)
    result = pysig.signature(np.ones((1, 2)), 2, initial=initial)
    assert not np.shares_memory(result, initial)


# --- what is refused -----------------------------------------------------------------------------

PATH = np.arange(24.0).reshape(2, 4, 3)


class NeverAnArray:
    """Like a CuPy array: refuses to be turned into a NumPy array silently."""

    __cuda_array_interface__ = types.MappingProxyType({"version": 3})
    dtype = np.dtype(np.float64)
    shape = (4, 3)
    ndim = 2

    def __array__(self, *_args: Any, **_options: Any) -> Any:
        raise TypeError("Implicit conversion to a NumPy array is not allowed.")


BAD_ARGUMENTS = [
    # argument, value, error, what the message has to say beside the argument's name
    ("path", 3.0, ValueError, r"\(\)"),
    ("path", np.zeros(5), ValueError, r"\(5,\)"),
    ("path", [], ValueError, r"\(0,\)"),
    ("path", np.zeros((2, 0, 3)), ValueError, r"\(2, 0, 3\)"),
    ("path", np.zeros((2, 4, 0)), ValueError, r"\(2, 4, 0\)"),
    ("path", np.zeros((0, 0)), ValueError, r"\(0, 0\)"),
    ("path", [[1.0, 2.0], [3.0]], ValueError, ""),
    ("path", PATH.astype(np.float16), TypeError, "float16"),
    ("path", PATH.astype(complex), TypeError, "complex128"),
    ("path", PATH.astype(object), TypeError, "object"),
    ("path", PATH.astype(str), TypeError, "U"),
    ("path", PATH.astype("datetime64[s]"), TypeError, "datetime64"),
    ("path", "a path", TypeError, "U"),
    ("path", None, TypeError, "object"),
    ("depth", 0, ValueError, "0"),
    ("depth", -1, ValueError, "-1"),
    ("depth", 2.0, TypeError, "float"),
    ("depth", True, TypeError, "bool"),
    ("depth", np.True_, TypeError, "bool"),
    ("depth", None, TypeError, "None"),
    ("depth", "2", TypeError, "str"),
    ("depth", 40, ValueError, "40"),
    ("depth", 10**30, ValueError, ""),
    ("stream", 1, TypeError, "1"),
    ("stream", None, TypeError, "None"),
    ("inverse", "yes", TypeError, "yes"),
    ("scalar_term", 0, TypeError, "0"),
    ("basepoint", 1.0, ValueError, r"\(\)"),
    ("basepoint", np.zeros(2), ValueError, r"\(2,\)"),
    ("basepoint", np.zeros((3, 3)), ValueError, r"\(3, 3\)"),
    ("basepoint", np.zeros((1, 2, 3)), ValueError, r"\(1, 2, 3\)"),
    ("basepoint", np.zeros(3, np.float32), TypeError, "float32"),
    ("basepoint", np.zeros(3, complex), TypeError, "complex128"),
    ("basepoint", "origin", TypeError, "U"),
    ("initial", True, ValueError, r"\(\)"),
    ("initial", np.zeros(11), ValueError, r"\(11,\)"),
    ("initial", np.zeros(13), ValueError, r"\(13,\)"),
    ("initial", np.zeros((3, 12)), ValueError, r"\(3, 12\)"),
    ("initial", np.zeros((1, 2, 12)), ValueError, r"\(1, 2, 12\)"),
    ("initial", np.zeros(12, np.float32), TypeError, "float32"),
    ("initial", np.zeros(12, complex), TypeError, "complex128"),
    ("initial", "unit", TypeError, "U"),
    ("lengths", [4, 0], ValueError, "0"),
    ("lengths", [-1, 4], ValueError, "-1"),
    ("lengths", [5, 4], ValueError, "5"),
    ("lengths", 2**63, ValueError, ""),
    ("lengths", [4, 4, 4], ValueError, r"\(3,\)"),
    ("lengths", [[4, 4]], ValueError, r"\(1, 2\)"),
    ("lengths", [4.0, 4.0], TypeError, "float64"),
    ("lengths", [True, True], TypeError, "bool"),
    ("lengths", "44", TypeError, "U"),
    ("lengths", [[4], [4, 4]], ValueError, "cannot be made a NumPy array"),
    ("lengths", np.ma.array([4, 4], mask=[False, True]), TypeError, "masked"),
    ("path", NeverAnArray(), TypeError, ""),
    ("basepoint", NeverAnArray(), TypeError, ""),
    ("initial", NeverAnArray(), TypeError, ""),
]
if np.finfo(np.longdouble).nmant > np.finfo(np.float64).nmant:
    BAD_ARGUMENTS += [
        ("path", PATH.astype(np.longdouble), TypeError, "float|longdouble"),
        ("basepoint", np.zeros(3, np.longdouble), TypeError, "float|longdouble"),
    ]


@pytest.mark.parametrize("function", [pysig.signature, pysig.signature_forward])
@pytest.mark.parametrize(("argument", "value", "error", "text"), BAD_ARGUMENTS)
def test_bad_arguments_are_named(function, argument, value, error, text):
    arguments: dict[str, Any] = {"path": PATH, "depth": 2, argument: value}
    with pytest.raises(error, match=rf"^{argument}\b") as caught:
        function(**arguments)
    assert re.search(text, str(caught.value))


def test_options_have_names():
    with pytest.raises(TypeError):
        pysig.signature(PATH, 2, True)  # type: ignore[misc]
    with pytest.raises(TypeError):
        pysig.signature(PATH, 2, base_point=True)  # type: ignore[call-arg]


@pytest.mark.parametrize(
    ("shape", "depth"),
    [((2, 2), 62), ((2, 10**6), 4), ((2, 2), 64), ((10**6, 2, 2), 50)],
)
@pytest.mark.parametrize("stream", [False, True])
def test_signatures_larger_than_any_memory_are_refused(shape, depth, stream):
    path = np.broadcast_to(np.float32(0), shape)
    with pytest.raises(ValueError, match=r"depth|signature"):
        pysig.signature(path, depth, stream=stream)


@pytest.mark.parametrize(
    ("grad", "error", "text"),
    [
        (np.zeros(12), ValueError, r"\(12,\)"),
        (np.zeros((2, 11)), ValueError, r"\(2, 11\)"),
        (np.zeros((1, 12)), ValueError, r"\(1, 12\)"),
        (np.zeros((2, 3, 12)), ValueError, r"\(2, 3, 12\)"),
        (1.0, ValueError, r"\(\)"),
        (np.zeros((2, 12), np.float32), TypeError, "float32"),
        (np.zeros((2, 12), complex), TypeError, "complex128"),
        (np.zeros((2, 12), object), TypeError, "object"),
        ("grad", TypeError, "U"),
        (None, TypeError, "object"),
        (NeverAnArray(), TypeError, ""),
    ],
)
def test_bad_gradients_are_named(grad, error, text):
    _, residuals = pysig.signature_forward(PATH, 2)
    with pytest.raises(error, match=r"^grad\b") as caught:
        pysig.signature_backward(residuals, grad)
    assert re.search(text, str(caught.value))


@pytest.mark.parametrize("residuals", [None, PATH, (PATH, 2), "residuals"])
def test_bad_residuals_are_named(residuals):
    with pytest.raises(TypeError, match=r"^residuals\b"):
        pysig.signature_backward(residuals, np.zeros((2, 12)))


def test_masked_arrays_are_refused():
    masked = np.ma.masked_greater(PATH, 5)
    with pytest.raises(TypeError, match=r"^path"):
        pysig.signature(masked, 2)


# --- residuals -----------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("combination", FEW_COMBINATIONS, ids=str)
def test_residuals_survive_pickling(rng, combination, dtype):
    case = cases.make_case(rng, (3,), 6, 2, 3, combination)
    path, depth, options = case.cast(dtype)
    grad = cases.random_grad(rng, case).astype(dtype)
    _, residuals = pysig.signature_forward(path, depth, **options)
    expected = [x for x in pysig.signature_backward(residuals, grad) if x is not None]
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        copy = pickle.loads(pickle.dumps(residuals, protocol))
        assert type(copy) is pysig.SignatureResiduals
        for other in (grad, pickle.loads(pickle.dumps(grad, protocol))):
            result = [x for x in pysig.signature_backward(copy, other) if x is not None]
            assert_same(result, expected)
    rebuilt = pysig.SignatureResiduals(*residuals)
    result = [x for x in pysig.signature_backward(rebuilt, grad) if x is not None]
    assert_same(result, expected)


@pytest.mark.parametrize("combination", FEW_COMBINATIONS, ids=str)
def test_residuals_hold_arrays_first_and_then_options(rng, combination):
    path, depth, options = cases.make_case(rng, (3,), 6, 2, 3, combination).cast(np.float64)
    _, residuals = pysig.signature_forward(path, depth, **options)
    positions = [i for i, field in enumerate(residuals) if isinstance(field, np.ndarray)]
    plain = [i for i, field in enumerate(residuals) if type(field) in (int, bool, str)]
    fields = residuals._fields
    static = {"depth", "stream", "inverse", "scalar_term"}
    assert static <= {fields[i] for i in plain}
    assert max(positions) < min(i for i in plain if fields[i] in static)
    assert all(field is None or i in positions or i in plain for i, field in enumerate(residuals))


# --- threads -------------------------------------------------------------------------------------

THREAD_SIZES = [
    ((), 5000, 3, 4),
    ((), 70, 7, 5),
    ((3,), 400, 5, 4),
    ((64,), 50, 4, 4),
    ((200,), 20, 3, 3),
    ((2,), 40, 100, 2),
    ((33,), 90, 1, 6),
]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("combination", FEW_COMBINATIONS, ids=str)
@pytest.mark.parametrize("size", THREAD_SIZES, ids=str)
@pytest.mark.usefixtures("keep_num_threads")
def test_number_of_threads_does_not_change_a_bit(rng, size, combination, dtype):
    path, depth, options = cases.make_large_case(rng, size, combination).cast(dtype)
    pysig.set_num_threads(1)
    expected = forward_and_backward(path, depth, **options)
    for count in (2, 3):
        pysig.set_num_threads(count)
        assert_same(forward_and_backward(path, depth, **options), expected)


def test_repeated_calls_give_the_same_bits(rng):
    path, depth, options = cases.make_large_case(rng, ((), 5000, 3, 4), FEW_COMBINATIONS[0])
    expected = forward_and_backward(path, depth, **options)
    for _ in range(5):
        assert_same(forward_and_backward(path, depth, **options), expected)


@pytest.mark.usefixtures("keep_num_threads")
def test_many_python_threads_at_once(rng):
    """Eight threads, each with its own mixture of problems, all released at the same moment."""
    problems = [
        cases.make_large_case(rng, size, combination).cast(dtype)
        for size in (((), 2000, 3, 3), ((64,), 30, 3, 3), ((), 40, 6, 4), ((5,), 10, 2, 2))
        for combination in FEW_COMBINATIONS
        for dtype in DTYPES
    ]
    expected = [forward_and_backward(path, depth, **options) for path, depth, options in problems]
    count = 8
    barrier = threading.Barrier(count)

    def work(seed: int) -> None:
        barrier.wait()
        for i in np.random.default_rng(seed).permutation(len(problems)):
            path, depth, options = problems[i]
            assert_same(forward_and_backward(path, depth, **options), expected[i])

    for threads in (1, 2):
        pysig.set_num_threads(threads)
        with ThreadPoolExecutor(count) as pool:
            list(pool.map(work, range(count)))


def test_no_lengths_for_no_paths():
    assert pysig.signature(np.zeros((0, 5, 3)), 2, lengths=[]).shape == (0, 12)
