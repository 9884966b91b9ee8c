"""How many threads a call uses.

The number is the smaller of two: OpenMP's own maximum (``OMP_NUM_THREADS``, or what threadpoolctl
has set for the calling thread), and the limit kept here, which is the user's
(`set_num_threads`) or, without one, the number of CPUs this process may use. A kernel asks
`num_threads` once, and opens an OpenMP region only if the answer is at least 2.

OpenMP's pool of threads does not survive a fork: a region opened in the child waits for ever for
threads that are no longer there. Any library of the process may have started the pool before, so
the child of a fork keeps to one thread, whatever it asks for.
"""

import operator
import os

from libc.limits cimport INT_MAX

from pysig._core.cgroup import cpu_quota

cdef extern from *:
    """
    #include <stdatomic.h>

    #ifdef _OPENMP
        #include <omp.h>
        #define PYSIG_HAS_OPENMP 1
    #else
        #define PYSIG_HAS_OPENMP 0
        #define omp_get_max_threads() 1
        #define omp_get_num_procs() 1
        #define omp_get_thread_limit() 1
    #endif

    /* Read by kernels while other Python threads set it. */
    static atomic_int thread_limit = 1;

    static int get_thread_limit(void) {
        return atomic_load_explicit(&thread_limit, memory_order_relaxed);
    }

    static void set_thread_limit(int limit) {
        atomic_store_explicit(&thread_limit, limit, memory_order_relaxed);
    }
    """
    const bint PYSIG_HAS_OPENMP
    int omp_get_max_threads() noexcept nogil
    int omp_get_num_procs() noexcept nogil
    int omp_get_thread_limit() noexcept nogil
    int get_thread_limit() noexcept nogil
    void set_thread_limit(int limit) noexcept nogil


cdef bint forked = False

has_openmp = PYSIG_HAS_OPENMP


cdef int num_threads() noexcept nogil:
    """The number of threads a large call uses now: at least 1."""
    return max(1, min(get_thread_limit(), omp_get_max_threads(), omp_get_thread_limit()))


cdef int available_cpus():
    """The CPUs of the affinity mask, or fewer where a control group limits the CPU time."""
    quota = cpu_quota()
    cdef int cpus = omp_get_num_procs()
    return cpus if quota is None else min(cpus, quota)


def get_num_threads():
    """
    Return the number of threads that a large call would use now.

    Small calls use one thread in any case.

    Returns
    -------
    int
        The smallest of

        - the maximum given to `set_num_threads` or, where none was given, the number of CPUs this
          process may use: its CPU affinity and its control group's CPU quota (rounded up), as they
          were when pysig was imported;
        - OpenMP's maximum: the environment variable ``OMP_NUM_THREADS`` where it was set when
          pysig was imported (otherwise the CPU affinity of that time), or a limit of threadpoolctl
          on the calling thread;
        - 1 where pysig was built without OpenMP, and in the child of a fork.

    See Also
    --------
    set_num_threads

    Examples
    --------
    >>> import pysig
    >>> pysig.set_num_threads(1)
    >>> pysig.get_num_threads()
    1
    >>> pysig.set_num_threads(None)
    """
    return num_threads()


def set_num_threads(n):
    """
    Set the maximum number of threads of every later call, in all Python threads.

    The maximum replaces the number of CPUs as a limit, so it may be larger than that number, but it
    does not raise OpenMP's own maximum; see `get_num_threads`. On a machine with one CPU, two
    threads therefore take ``OMP_NUM_THREADS=2`` in the environment and ``set_num_threads(2)``.

    Parameters
    ----------
    n : int or None
        The maximum, at least 1. None restores the default, for which the CPU affinity and the
        control group's quota are read again.

    Raises
    ------
    TypeError
        If `n` is neither an integer nor None.
    ValueError
        If `n` is less than 1.

    See Also
    --------
    get_num_threads

    Notes
    -----
    In the child of a fork (``os.fork``, or multiprocessing with the start method "fork"), every
    call keeps to one thread and the maximum has no effect, because OpenMP's threads do not survive
    a fork and waiting for them would never end. Worker processes that need several threads should
    be started with "spawn" or "forkserver".

    Examples
    --------
    >>> import pysig
    >>> default = pysig.get_num_threads()
    >>> pysig.set_num_threads(1)
    >>> pysig.get_num_threads()
    1
    >>> pysig.set_num_threads(None)
    >>> pysig.get_num_threads() == default
    True
    """
    if n is None:
        limit = available_cpus()
    else:
        try:
            if isinstance(n, bool):
                raise TypeError
            limit = operator.index(n)
        except TypeError:
            message = f"n must be an integer or None, not {type(n).__name__}"
            raise TypeError(message) from None
        if limit < 1:
            raise ValueError(f"n must be at least 1, or None for the default, not {limit}")
    set_thread_limit(1 if forked else min(limit, INT_MAX))


def _keep_to_one_thread():
    global forked
    forked = True
    set_thread_limit(1)


set_thread_limit(available_cpus())
os.register_at_fork(after_in_child=_keep_to_one_thread)
