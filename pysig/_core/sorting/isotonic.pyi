from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]

def isotonic(
    value: Array,
    starts: Array | None,
    y: Array,
    weights: Array | None,
    is_kl: bool,
    is_decreasing: bool,
) -> None: ...
def isotonic_backward(
    y_gradient: Array,
    weights_gradient: Array | None,
    grad: Array,
    value: Array,
    starts: Array,
    y: Array,
    weights: Array | None,
    is_kl: bool,
) -> None: ...
def project(
    value: Array,
    starts: Array | None,
    z_share: Array | None,
    w_share: Array | None,
    z: Array,
    w: Array,
    is_kl: bool,
) -> None: ...
def project_backward(
    z_gradient: Array,
    w_gradient: Array,
    grad: Array,
    starts: Array,
    z_share: Array | None,
    w_share: Array | None,
) -> None: ...
