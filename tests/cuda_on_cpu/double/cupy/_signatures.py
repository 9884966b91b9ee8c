"""The parameters that CuPy's functions and methods have, where NumPy's may have more."""

from __future__ import annotations

import inspect
from typing import Any

REDUCTION = "axis=None, dtype=None, out=None, keepdims=False"
EXTREME = "axis=None, out=None, keepdims=False"
SCAN = "axis=None, dtype=None, out=None"


def parse(parameters: str) -> inspect.Signature:
    """Return the signature of a function with these parameters."""
    scope: dict[str, Any] = {}
    exec(f"def function({parameters}): pass", scope)
    return inspect.signature(scope["function"])


METHODS = {
    name: parse(parameters)
    for name, parameters in {
        "all": EXTREME,
        "any": EXTREME,
        "argmax": "axis=None, out=None, dtype=None, keepdims=False",
        "argmin": "axis=None, out=None, dtype=None, keepdims=False",
        "argsort": "axis=-1",
        "clip": "min=None, max=None, out=None",
        "cumprod": SCAN,
        "cumsum": SCAN,
        "diagonal": "offset=0, axis1=0, axis2=1",
        "dot": "b, out=None",
        "flatten": "order='C'",
        "max": EXTREME,
        "mean": REDUCTION,
        "min": EXTREME,
        "prod": "axis=None, dtype=None, out=None, keepdims=None",
        "ravel": "order='C'",
        "repeat": "repeats, axis=None",
        "squeeze": "axis=None",
        "std": "axis=None, dtype=None, out=None, ddof=0, keepdims=False",
        "sum": REDUCTION,
        "swapaxes": "axis1, axis2",
        "take": "indices, axis=None, out=None",
        "trace": "offset=0, axis1=0, axis2=1, dtype=None, out=None",
        "var": "axis=None, dtype=None, out=None, ddof=0, keepdims=False",
    }.items()
}

# Those that compute, move or combine; each forwards to NumPy's of the same name.
FUNCTIONS = {
    name: parse(parameters)
    for name, parameters in {
        "all": "a, " + EXTREME,
        "allclose": "a, b, rtol=1e-05, atol=1e-08, equal_nan=False",
        "any": "a, " + EXTREME,
        "argmax": "a, axis=None, dtype=None, out=None, keepdims=False",
        "argmin": "a, axis=None, dtype=None, out=None, keepdims=False",
        "argsort": "a, axis=-1, kind=None",
        "array_equal": "a1, a2, equal_nan=False",
        "atleast_1d": "*arys",
        "broadcast_arrays": "*args",
        "broadcast_to": "array, shape",
        "clip": "a, a_min, a_max, out=None",
        "concatenate": "tup, axis=0, out=None, *, dtype=None, casting='same_kind'",
        "count_nonzero": "a, axis=None",
        "cumprod": "a, " + SCAN,
        "cumsum": "a, " + SCAN,
        "diff": "a, n=1, axis=-1, prepend=None, append=None",
        "dot": "a, b, out=None",
        "einsum": "*operands, **kwargs",
        "expand_dims": "a, axis",
        "flip": "a, axis=None",
        "max": "a, " + EXTREME,
        "mean": "a, " + REDUCTION,
        "min": "a, " + EXTREME,
        "moveaxis": "a, source, destination",
        "nan_to_num": "x, copy=True, nan=0.0, posinf=None, neginf=None",
        "outer": "a, b, out=None",
        "pad": "array, pad_width, mode='constant', **kwargs",
        "prod": "a, " + REDUCTION,
        "ravel": "a, order='C'",
        "repeat": "a, repeats, axis=None",
        "reshape": "a, newshape, order='C'",
        "roll": "a, shift, axis=None",
        "searchsorted": "a, v, side='left', sorter=None",
        "sort": "a, axis=-1, kind=None",
        "split": "ary, indices_or_sections, axis=0",
        "squeeze": "a, axis=None",
        "stack": "tup, axis=0, out=None, *, dtype=None, casting='same_kind'",
        "std": "a, axis=None, dtype=None, out=None, ddof=0, keepdims=False",
        "sum": "a, " + REDUCTION,
        "swapaxes": "a, axis1, axis2",
        "take": "a, indices, axis=None, out=None",
        "take_along_axis": "a, indices, axis",
        "tensordot": "a, b, axes=2",
        "tile": "A, reps",
        "transpose": "a, axes=None",
        "tril": "m, k=0",
        "triu": "m, k=0",
        "var": "a, axis=None, dtype=None, out=None, ddof=0, keepdims=False",
        "where": "condition, x=None, y=None",
    }.items()
}
# Functions of each element: inputs, out=None, dtype=None.
ELEMENTWISE = (
    *("abs", "absolute", "ceil", "cos", "exp", "exp2", "expm1", "floor", "isfinite", "isinf"),
    *("isnan", "log", "log10", "log1p", "log2", "logical_not", "negative", "positive"),
    *("reciprocal", "rint", "sign", "signbit", "sin", "sqrt", "square", "tan", "tanh", "trunc"),
    *("arctan", "arctanh", "sinh", "cosh", "invert"),
    *("add", "subtract", "multiply", "divide", "true_divide", "floor_divide", "power", "mod"),
    *("remainder", "maximum", "minimum", "fmax", "fmin", "copysign", "hypot", "logaddexp"),
    *("equal", "not_equal", "less", "less_equal", "greater", "greater_equal"),
    *("logical_and", "logical_or", "logical_xor", "bitwise_and", "bitwise_or", "bitwise_xor"),
    *("left_shift", "right_shift", "arctan2", "nextafter", "ldexp"),
)


def bind(signature: inspect.Signature, name: str, args: Any, kwargs: Any) -> tuple[Any, Any]:
    """Return the arguments as NumPy takes them, or raise TypeError for one that CuPy has not.

    Those without a default go by position: their names differ from NumPy's.
    """
    try:
        bound = signature.bind(*args, **kwargs)
    except TypeError as error:
        raise TypeError(f"cupy.{name}: {error}") from None
    positional: list[Any] = []
    keywords: dict[str, Any] = {}
    for parameter in signature.parameters.values():
        if parameter.name not in bound.arguments:
            continue
        value = bound.arguments[parameter.name]
        if parameter.kind is parameter.VAR_POSITIONAL:
            positional += value
        elif parameter.kind is parameter.VAR_KEYWORD:
            keywords.update(value)
        elif parameter.default is parameter.empty:
            positional.append(value)
        else:
            keywords[parameter.name] = value
    return positional, keywords
