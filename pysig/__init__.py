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
from pysig.sorting.isotonic import (
    IsotonicGradients,
    IsotonicResiduals,
    PermutahedronGradients,
    PermutahedronResiduals,
    isotonic_regression,
    isotonic_regression_backward,
    isotonic_regression_forward,
    project_permutahedron,
    project_permutahedron_backward,
    project_permutahedron_forward,
)
from pysig.sorting.soft import (
    SoftRankGradients,
    SoftRankResiduals,
    SoftSortGradients,
    SoftSortResiduals,
    soft_rank,
    soft_rank_backward,
    soft_rank_forward,
    soft_sort,
    soft_sort_backward,
    soft_sort_forward,
)

__version__ = "0.1.0"

__all__ = [
    "IsotonicGradients",
    "IsotonicResiduals",
    "PermutahedronGradients",
    "PermutahedronResiduals",
    "SignatureGradients",
    "SignatureResiduals",
    "SoftRankGradients",
    "SoftRankResiduals",
    "SoftSortGradients",
    "SoftSortResiduals",
    "__version__",
    "get_num_threads",
    "isotonic_regression",
    "isotonic_regression_backward",
    "isotonic_regression_forward",
    "project_permutahedron",
    "project_permutahedron_backward",
    "project_permutahedron_forward",
    "set_num_threads",
    "signature",
    "signature_backward",
    "signature_channels",
    "signature_forward",
    "soft_rank",
    "soft_rank_backward",
    "soft_rank_forward",
    "soft_sort",
    "soft_sort_backward",
    "soft_sort_forward",
]
