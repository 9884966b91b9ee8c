from typing import Any

import numpy as np

from pysig._core.signatures.lyndon import LyndonTables, SparseRows

Array = np.ndarray[Any, Any]
Basis = tuple[bool, LyndonTables, SparseRows | None, SparseRows | None]

def takes_paths_whole(sizes: tuple[int, int, int, int, int], stream: bool, item: int) -> bool: ...
def forward(
    result: Array,
    path: Array,
    basepoint: Array | None,
    initial: Array | None,
    steps: Array | None,
    order: Array | None,
    sizes: tuple[int, int, int, int, int],
    options: tuple[bool, bool, bool],
    basis: Basis | None,
    logarithm: bool,
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
    basis: Basis | None,
    logarithm: bool,
) -> None: ...
