from collections.abc import Sequence
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]

def forward(
    product: Array,
    factors: Sequence[Array],
    indices: Sequence[Array | None],
    sizes: tuple[int, int, int],
) -> None: ...
def backward(
    gradient: Array,
    grad: Array,
    factors: Sequence[Array],
    indices: Sequence[Array | None],
    sizes: tuple[int, int, int],
    uses: int | tuple[Array, Array, Array],
    add: bool = ...,
) -> None: ...
