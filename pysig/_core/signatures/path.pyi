from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]

def find_rows(
    indices: Array, inside: Array, start: Array, end: Array, size: int, capacity: int
) -> int: ...
