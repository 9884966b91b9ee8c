from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

class Combination:
    def __init__(
        self,
        W: float = 0,
        area: float = 0,
        square: float = 0,
        cube: float = 0,
        root: float = 0,
    ) -> None: ...
    @property
    def needs_area(self) -> bool: ...
    def polynomial(self, h: float) -> tuple[float, float, float, float, float]: ...

class Sum:
    states: tuple[float, ...]
    drift: tuple[tuple[int, float], ...]
    noise: tuple[tuple[int, Combination], ...]
    def __init__(
        self,
        states: Sequence[float] = (),
        drift: Mapping[int, float] | None = None,
        noise: Mapping[int, Combination] | None = None,
    ) -> None: ...

class Updates:
    def __init__(
        self,
        y_shape: tuple[int, ...],
        g_shape: tuple[int, ...],
        w_shape: tuple[int, ...],
        dtype: np.dtype,
    ) -> None: ...
    def sum(
        self,
        update: Sum,
        h: float,
        noise: Any,
        states: tuple[Any, ...],
        fs: Sequence[Any],
        gs: Sequence[Any],
    ) -> Any: ...
    def combine(self, *pairs: tuple[float, Any]) -> Any: ...
    def outer(self, *parts: tuple[float, Any, Combination, Any]) -> Any: ...
    def inner(
        self,
        h: float,
        noise: Any,
        parts: Sequence[tuple[Combination, Any, Any]],
        of_area: bool = False,
    ) -> Any: ...
