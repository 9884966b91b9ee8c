"""The error of a launch, as cupy.cuda.driver has it."""

__all__ = ["CUDADriverError"]


class CUDADriverError(RuntimeError):
    """A launch that is not possible, or has failed."""
