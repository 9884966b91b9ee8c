from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]

KINDS: dict[tuple[str, str], int]
FINITE: int
NAN: int
INFINITE: int

def forward(
    value: Array,
    order: Array | None,
    starts: Array | None,
    weights: Array | None,
    blocks: Array | None,
    x: Array,
    kind: tuple[str, str],
    sign: int,
    strength: float,
) -> int: ...
def sort(value: Array, order: Array, x: Array) -> int: ...
def backward(
    x_gradient: Array,
    strength_gradient: Array | None,
    grad: Array,
    value: Array | None,
    order: Array | None,
    starts: Array | None,
    weights: Array | None,
    blocks: Array | None,
    kind: tuple[str, str],
    sign: int,
    strength: float,
) -> None: ...
