"""Path signatures, soft sorting and neural SDE numerics for NumPy, with exact gradients."""

from pysig._core.threads import get_num_threads, set_num_threads
from pysig.signatures.signature import (
    SignatureGradients,
    SignatureResiduals,
    signature,
    signature_backward,
    signature_channels,
    signature_forward,
)

__version__ = "0.1.0"

__all__ = [
    "SignatureGradients",
    "SignatureResiduals",
    "__version__",
    "get_num_threads",
    "set_num_threads",
    "signature",
    "signature_backward",
    "signature_channels",
    "signature_forward",
]
