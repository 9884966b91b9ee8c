"""Runs the library's CUDA kernels on the CPU, so that they are tested on machines without a GPU.

Two things are here. The executor compiles an unchanged CUDA source with g++ and runs a kernel with
one fiber for each CUDA thread, in the order asked for. The double stands in for `cupy`: the library
calls it as it calls CuPy, its arrays are in the memory of the host, its kernels go to the executor.
Both refuse what a GPU would silently get wrong. ::

    import cuda_on_cpu

    cupy = cuda_on_cpu.activate()  # CuPy where there is a GPU, else the double
    if cuda_on_cpu.is_double(cupy):
        with cuda_on_cpu.launch_order("shuffled", seed=7):
            ...  # every kernel runs its blocks, warps and lanes in this order
        with cuda_on_cpu.no_synchronization():
            ...  # an error if anything waits for the GPU

`has_gpu()` tells which of the two `activate` gives, before it does; `unavailable()` why the double
cannot be used, where it cannot (there is no compiler).

What is where:
executor.py         checks arguments, launches
compiler.py         calls g++, keeps what is compiled
source.py           rewrites what C++ has no syntax for
cuda_language.h     what CUDA has and C++ has not
scheduler.*         runs the threads of a block; barriers, warps, order
fiber.h             their stacks
shared_memory.h     the shared memory of a block
double/cupy         the double
activation.py       puts CuPy or the double where `import cupy` finds it
observation.py      counts what waits for the GPU, and records launches

It finds wrong results, missing and divergent barriers, and accesses beyond an array (with guards
around each; under AddressSanitizer all of them) and data races (under ThreadSanitizer). It says
nothing about speed, and has no inline PTX, tensor cores, asynchronous copies, cooperative groups,
textures, or launches from within kernels.
"""

from cuda_on_cpu.activation import activate, has_gpu, is_double, unavailable
from cuda_on_cpu.executor import ORDERS, launch_order
from cuda_on_cpu.observation import (
    allocations,
    no_synchronization,
    record_launches,
    synchronizations,
)

__all__ = [
    "ORDERS",
    "activate",
    "allocations",
    "has_gpu",
    "is_double",
    "launch_order",
    "no_synchronization",
    "record_launches",
    "synchronizations",
    "unavailable",
]
