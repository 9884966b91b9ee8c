from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]
Tree = tuple[Array, Array, Array, Array]

def forward(coefficients: Array, increments: Array, tree: Tree, stream: bool) -> None: ...
def backward(grad: Array, gradient: Array, increments: Array, tree: Tree, stream: bool) -> None: ...
