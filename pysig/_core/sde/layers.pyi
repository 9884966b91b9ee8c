import numpy as np

NO_ACTIVATION: int

def forward(
    is_double: bool,
    kind: int,
    t: float,
    x: np.ndarray,
    weight: np.ndarray,
    bias: np.ndarray | None,
    value: np.ndarray,
    derivative: np.ndarray | None,
) -> None: ...
def backward(
    is_double: bool,
    t: float,
    x: np.ndarray,
    weight: np.ndarray,
    derivative: np.ndarray | None,
    grad: np.ndarray,
    grad_weight: np.ndarray,
    grad_bias: np.ndarray,
    grad_x: np.ndarray,
) -> None: ...
