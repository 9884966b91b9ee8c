from collections.abc import Sequence
from typing import Any

import numpy as np

MOST: int
SLOTS: int

class Trajectory:
    def __init__(
        self,
        is_double: bool,
        rows: int,
        channels: int,
        diffusion: int,
        noise: int,
        drift: Sequence[tuple[Any, ...]],
        value: Sequence[tuple[Any, ...]],
        instructions: Sequence[tuple[Any, ...]],
        slots: int,
        numbers: Sequence[int],
        after: Sequence[int],
    ) -> None: ...
    def run(
        self,
        times: np.ndarray,
        noise: Any,
        states: Sequence[np.ndarray],
        outputs: np.ndarray,
        ys: np.ndarray,
    ) -> None: ...
