from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]
Pairs = tuple[Array, Array] | None

STATIC_KERNELS: dict[str, int]

def forward(
    value: Array,
    x: Array,
    y: Array,
    pairs: Pairs,
    symmetric: bool,
    static_kernel: tuple[str, float],
    orders: tuple[int, int],
) -> None: ...
def backward(
    grad: Array,
    x: Array,
    y: Array,
    pairs: Pairs,
    symmetric: bool,
    static_kernel: tuple[str, float],
    orders: tuple[int, int],
) -> tuple[Array, Array | None]: ...
