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
        fields: Sequence[Sequence[tuple[Any, ...]]],
        instructions: Sequence[tuple[Any, ...]],
        slots: int,
        numbers: Sequence[int],
        after: Sequence[int],
    ) -> None: ...
    @property
    def sums_shape(self) -> tuple[int, int]: ...
    def run(
        self,
        times: np.ndarray,
        noise: Any,
        states: Sequence[np.ndarray | None],
        outputs: np.ndarray,
        ys: np.ndarray,
        sums: np.ndarray | None = None,
    ) -> None: ...

def padded(channels: int) -> int: ...
