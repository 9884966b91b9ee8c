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
def layer_forward(
    is_double: bool,
    kind: int,
    rows: int,
    t: float,
    x: np.ndarray,
    weight: np.ndarray,
    bias: np.ndarray,
    value: np.ndarray,
    derivative: np.ndarray | None,
) -> None: ...
def layer_backward(
    is_double: bool,
    rows: int,
    t: float,
    x: np.ndarray,
    weight: np.ndarray,
    bias: np.ndarray,
    derivative: np.ndarray | None,
    grad: np.ndarray,
    scratch: np.ndarray | None,
    grad_weight: np.ndarray,
    grad_bias: np.ndarray,
    grad_x: np.ndarray,
) -> None: ...
