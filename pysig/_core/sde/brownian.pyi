from collections.abc import Sequence
from typing import Any

import numpy as np

def area_key(key: Sequence[int], start: float, end: float) -> list[int]: ...
def random_words(key: Sequence[int], counters: np.ndarray, words: np.ndarray) -> None: ...

class BrownianTree:
    def __init__(
        self,
        t0: float,
        t1: float,
        cells: int,
        size: int,
        is_double: bool,
        components: int,
        key: Sequence[int],
        cache_size: int,
        root: Any,
        exact: bool = False,
    ) -> None: ...
    def cell(self, time: float, name: str) -> float: ...
    def grid(self, times: np.ndarray, name: str) -> np.ndarray: ...
    def cuts(self) -> list[float]: ...
    def increment(self, start: float, end: float, w: np.ndarray, h: np.ndarray | None) -> None: ...
    def interval(self, start: float, end: float, w: np.ndarray, h: np.ndarray | None) -> None: ...
    def area(
        self,
        start: float,
        end: float,
        length: float,
        foster: bool,
        w: np.ndarray,
        h: np.ndarray,
        area: np.ndarray,
    ) -> None: ...
    def increments(self, times: np.ndarray, w: np.ndarray, h: np.ndarray | None) -> None: ...
