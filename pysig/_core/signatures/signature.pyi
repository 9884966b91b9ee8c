from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]

SIMD_LEVELS: dict[str, int]

def simd_level() -> str: ...
def kept_size(
    sizes: tuple[int, int, int, int, int], options: tuple[bool, bool, bool], item: int
) -> int: ...
def forward(
    signature: Array,
    path: Array,
    basepoint: Array | None,
    initial: Array | None,
    steps: Array | None,
    order: Array | None,
    sizes: tuple[int, int, int, int, int],
    options: tuple[bool, bool, bool],
    kept: Array | None = None,
) -> None: ...
def backward(
    grad: Array,
    path_gradient: Array,
    basepoint_gradient: Array | None,
    initial_gradient: Array | None,
    path: Array,
    basepoint: Array | None,
    initial: Array | None,
    steps: Array | None,
    order: Array | None,
    sizes: tuple[int, int, int, int, int],
    options: tuple[bool, bool, bool],
    kept: Array | None = None,
) -> None: ...
