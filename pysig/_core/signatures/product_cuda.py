"""Products of signatures, and their adjoint, on a GPU: working memory, and launches of product.cu.

The functions take the arguments of those in product.pyx, as CuPy arrays on the current device;
indices and uses are NumPy arrays on the host. A null pointer is 0.
"""

import functools
from typing import Any

import cupy  # pyright: ignore[reportMissingImports]

from pysig._core import cuda

STEM = "signatures/product"


@functools.cache
def kernels(real) -> dict[str, Any]:
    """Return the kernels for a type, by name."""
    names = ("multiply", "contract_left", "contract_right", "sum")
    compiled = cuda.kernels(STEM, *(f"product_{name}<{real}>" for name in names))
    return dict(zip(names, compiled, strict=True))


def forward(product, factors, indices, sizes):
    """Write the products of rows into `product`."""
    index = on_device(indices)
    left, left_index = factors[0], index[0]
    if len(factors) == 1:
        multiply(product, left, left_index, left, units(product), sizes)
        return
    for place in range(1, len(factors)):
        last = place == len(factors) - 1
        result = product if last else empty(product, sizes)
        multiply(result, left, left_index, factors[place], index[place], sizes)
        left, left_index = result, 0


def backward(gradient, grad, factors, indices, sizes, uses, add=False):
    """Write the gradient of one table for `grad`, the gradient of what `forward` writes."""
    index = on_device(indices)
    words = sizes[2]
    positions = [uses] if isinstance(uses, int) else range(len(factors))
    parts = cupy.empty((len(positions), *grad.shape[:2], words), grad.dtype)
    heads = products_before(grad, factors, index, sizes, max(positions))
    after = grad  # with the factors after a position contracted
    for place in range(len(factors) - 1, min(positions) - 1, -1):
        if place in positions:
            part = parts[positions.index(place)]
            contract("left", part, after, *heads[place], sizes)
        if place > min(positions):
            result = empty(grad, sizes)
            contract("right", result, after, factors[place], index[place], sizes)
            after = result
    begins, products, position = (0, 0, 0) if isinstance(uses, int) else on_device(uses)
    kernels(cuda.REAL[grad.dtype.name])["sum"](
        gradient.shape[0] * gradient.shape[1] * words,
        numbers(gradient, words),
        parts,
        begins,
        products,
        position,
        *gradient.shape[:2],
        grad.shape[1],
        words,
        gradient.shape[2],
        int(add),
    )


def on_device(arrays):
    """Return arrays of integers on the device, 0 for None."""
    return [0 if array is None else cupy.asarray(array, "int64") for array in arrays]


def units(product):
    """Return indices that stand for factors 1."""
    return cupy.full(product.shape[1], -1, "int64")


def empty(like, sizes):
    """Return room for products without scalar terms."""
    return cupy.empty((*like.shape[:2], sizes[2]), like.dtype)


def numbers(table, words):
    """Return the numbers of a table from the first row's first word on."""
    return table.ravel()[table.shape[2] - words :]


def products_before(grad, factors, index, sizes, last):
    """Return the product of all factors before each one, up to factor `last`, with its indices."""
    heads = [(factors[0], units(grad))]
    if last > 0:
        heads.append((factors[0], index[0]))
    for place in range(1, last):
        result = empty(grad, sizes)
        multiply(result, *heads[-1], factors[place], index[place], sizes)
        heads.append((result, 0))
    return heads


def multiply(product, left, left_index, right, right_index, sizes):
    """Launch product_multiply."""
    channels, _, words = sizes
    kernels(cuda.REAL[product.dtype.name])["multiply"](
        product.shape[0] * product.shape[1] * words,
        numbers(product, words),
        numbers(left, words),
        left_index,
        numbers(right, words),
        right_index,
        *product.shape[:2],
        words,
        channels,
        product.shape[2],
        *left.shape[1:],
        *right.shape[1:],
    )


def contract(side, result, grad, factor, index, sizes):
    """Launch product_contract_left or product_contract_right."""
    channels, depth, words = sizes
    kernels(cuda.REAL[grad.dtype.name])[f"contract_{side}"](
        result.size,
        result,
        numbers(grad, words),
        numbers(factor, words),
        index,
        *grad.shape[:2],
        words,
        channels,
        depth,
        grad.shape[2],
        *factor.shape[1:],
    )
