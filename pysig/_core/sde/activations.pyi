import numpy as np

def forward(
    is_double: bool,
    kind: int,
    x: np.ndarray,
    bias: np.ndarray,
    value: np.ndarray,
    derivative: np.ndarray | None,
) -> None: ...
def backward(
    is_double: bool,
    grad: np.ndarray,
    derivative: np.ndarray,
    out: np.ndarray,
    sums: np.ndarray,
) -> None: ...
