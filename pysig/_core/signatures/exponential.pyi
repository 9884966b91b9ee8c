from typing import Any

import numpy as np

from pysig._core.signatures.lyndon import LyndonTables, SparseRows

Array = np.ndarray[Any, Any]
Basis = tuple[bool, LyndonTables, SparseRows | None, SparseRows | None]

def forward(
    result: Array,
    argument: Array,
    sizes: tuple[int, int, int],
    logarithm: bool,
    basis: Basis | None,
) -> None: ...
def backward(
    argument_gradient: Array,
    grad: Array,
    argument: Array,
    sizes: tuple[int, int, int],
    logarithm: bool,
    basis: Basis | None,
) -> None: ...
