# What signature.pyx and logsignature.pyx have in common: a loop over the tasks of signature.h, with
# threads. Each has a compilation of signature.h of its own.

from cpython.buffer cimport PyBUF_SIMPLE, PyBUF_WRITABLE
from cython.parallel cimport prange, threadid

from pysig._core.signatures.lyndon cimport (
    lyndon_basis,
    set_basis,
    tensor_make_shape,
    tensor_shape,
)
from pysig._core.memory cimport Memory, address, round_up
from pysig._core.threads cimport num_threads

import os


cdef extern from "signatures/signature.h" nogil:
    ctypedef struct signature_problem:
        Py_ssize_t batch, length, channels, depth
        const void *path
        const void *basepoint
        Py_ssize_t basepoint_stride
        const void *initial
        Py_ssize_t initial_stride
        const Py_ssize_t *steps
        const Py_ssize_t *order
        Py_ssize_t longest
        int stream, inverse
        const lyndon_basis *lyndon
        const tensor_shape *logarithm
        void *signature
        Py_ssize_t row_stride, path_stride, rows
        void *path_gradient
        void *basepoint_gradient
        void *initial_gradient

    ctypedef struct signature_plan:
        int level, depth_two
        Py_ssize_t prefix, pieces, splits, tasks, state_words, partial_words
        void *partial
        void *start
        void *end
        void *checkpoints
        void *step_gradient

    int SIMD_BASELINE, SIMD_AVX2, SIMD_AVX512
    int simd_detected_level() noexcept
    Py_ssize_t signature_words(Py_ssize_t, Py_ssize_t, Py_ssize_t) noexcept
    double signature_step_cost(const signature_problem *, Py_ssize_t, Py_ssize_t) noexcept
    Py_ssize_t signature_result_words(const signature_problem *) noexcept
    void signature_make_plan(const signature_problem *, signature_plan *, int, Py_ssize_t) noexcept
    size_t signature_checkpoint_bytes(const signature_problem *, const signature_plan *) noexcept
    size_t signature_partial_bytes(const signature_problem *, const signature_plan *,
                                   size_t) noexcept
    size_t signature_kept_bytes(const signature_problem *, const signature_plan *, size_t) noexcept
    size_t signature_workspace(const signature_problem *, const signature_plan *, int, int) noexcept
    void signature_tasks(int, const signature_problem *, const signature_plan *, int, Py_ssize_t,
                         Py_ssize_t, void *) noexcept
    int SIGNATURE_FORWARD, SIGNATURE_JOIN, SIGNATURE_CHAIN, SIGNATURE_BACKWARD, SIGNATURE_POINTS


SIMD_LEVELS = {"baseline": SIMD_BASELINE, "avx2": SIMD_AVX2, "avx512": SIMD_AVX512}


cdef int choose_simd_level() except -1:
    """The widest instruction set of the processor, or that of PYSIG_SIMD if it is narrower."""
    widest = os.environ.get("PYSIG_SIMD", "avx512")
    if widest not in SIMD_LEVELS:
        raise ValueError(f"PYSIG_SIMD must be one of {', '.join(SIMD_LEVELS)}, not {widest!r}")
    return min(SIMD_LEVELS[widest], simd_detected_level())


cdef int LEVEL = choose_simd_level()


cdef class Tables:
    """What the logsignature adds to a problem, for as long as the object lives."""

    cdef lyndon_basis basis
    cdef tensor_shape shape
    cdef const lyndon_basis *lyndon
    cdef const tensor_shape *logarithm

    def __cinit__(self, sizes, source, bint logarithm):
        self.lyndon = NULL
        self.logarithm = NULL
        if source is not None:
            set_basis(&self.basis, source)
            self.lyndon = &self.basis
        if logarithm:
            self.shape = tensor_make_shape(sizes[2], sizes[3], True)
            self.logarithm = &self.shape


cdef int set_problem(
    signature_problem *problem, Tables tables, signature, path, basepoint, initial, steps, order,
    sizes, options, int flags,
) except -1:
    """Fills in all but the gradients. signature: rows of words; flags: of its buffer."""
    cdef Py_ssize_t words
    cdef bint scalar_term
    problem.batch, problem.length, problem.channels, problem.depth, problem.longest = sizes
    problem.stream, problem.inverse, scalar_term = options
    words = signature_words(problem.channels, 1, problem.depth)
    problem.path = address(path)
    problem.basepoint = address(basepoint)
    problem.basepoint_stride = 0 if basepoint is None or basepoint.ndim == 1 else problem.channels
    problem.initial = address(initial)
    problem.initial_stride = 0 if initial is None or initial.ndim == 1 else words
    problem.steps = <const Py_ssize_t *>address(steps)
    problem.order = <const Py_ssize_t *>address(order)
    problem.signature = <char *>address(signature, flags)
    if scalar_term:
        problem.signature = <char *>problem.signature + <Py_ssize_t>path.itemsize
    problem.rows = problem.length - (basepoint is None) if problem.stream else 1
    problem.lyndon = tables.lyndon
    problem.logarithm = tables.logarithm
    problem.row_stride = signature_result_words(problem) + scalar_term
    problem.path_stride = problem.row_stride * problem.rows
    problem.path_gradient = problem.basepoint_gradient = problem.initial_gradient = NULL
    return 0


cdef int choose_threads(const signature_problem *problem, Py_ssize_t tasks) noexcept nogil:
    """One thread for calls that take less than some thirty microseconds."""
    cdef double work = signature_step_cost(problem, 0, problem.depth) * problem.batch
    if work * problem.longest < 300_000:
        return 1
    return <int>min(<Py_ssize_t>num_threads(), max(tasks, problem.batch))


cdef void run(
    int kind, const signature_problem *problem, const signature_plan *plan, bint is_double,
    Py_ssize_t tasks, int threads, char *memory, size_t bytes,
) noexcept nogil:
    """All tasks of one kind. memory: `bytes` for each thread."""
    cdef Py_ssize_t i, runs = min(tasks, <Py_ssize_t>threads * 8)
    if threads == 1:
        signature_tasks(kind, problem, plan, is_double, 0, tasks, memory)
        return
    for i in prange(runs, num_threads=threads, schedule="dynamic"):
        signature_tasks(kind, problem, plan, is_double, tasks * i // runs,
                        tasks * (i + 1) // runs, memory + threadid() * bytes)


cdef Py_ssize_t count_kept(const signature_problem *problem, const signature_plan *plan,
                           size_t item) noexcept nogil:
    """Numbers of what is kept for the gradient, with the instruction set behind it; 0: nothing."""
    cdef size_t bytes = signature_kept_bytes(problem, plan, item)
    return <Py_ssize_t>(bytes // item + 1) if bytes else 0


cdef bint fits_plan(
    const signature_problem *problem, const signature_plan *plan, size_t item, kept,
):
    """Whether what is kept has the plan's layout: another processor may have computed it."""
    return (
        kept.itemsize == item
        and kept.size == count_kept(problem, plan, item)
        and kept[kept.size - 1] == LEVEL
    )


cdef int use_kept(
    const signature_problem *problem, signature_plan *plan, size_t item, kept, int flags,
) except -1:
    """Lets the plan have what is kept for the gradient."""
    cdef char *memory = <char *>address(kept, flags)
    plan.checkpoints = memory
    if plan.pieces > 1:
        plan.partial = memory + signature_checkpoint_bytes(problem, plan)
    return 0


cdef write_signatures(
    Tables tables, signature, path, basepoint, initial, steps, order, sizes, options, kept,
):
    cdef signature_problem problem
    cdef signature_plan plan
    cdef size_t item = path.itemsize
    cdef bint is_double = item == 8
    set_problem(&problem, tables, signature, path, basepoint, initial, steps, order, sizes, options,
                PyBUF_WRITABLE)
    if problem.batch == 0:
        return
    signature_make_plan(&problem, &plan, LEVEL, item)
    cdef size_t bytes = round_up(signature_workspace(&problem, &plan, is_double, 0))
    cdef int threads = choose_threads(&problem, plan.tasks)
    cdef Memory memory = Memory(bytes * threads)
    cdef Memory partial
    if kept is not None:
        use_kept(&problem, &plan, item, kept, PyBUF_WRITABLE)
        kept[kept.size - 1] = LEVEL
    elif plan.pieces > 1:
        partial = Memory(signature_partial_bytes(&problem, &plan, item))
        plan.partial = partial.data
    with nogil:
        run(SIGNATURE_FORWARD, &problem, &plan, is_double, plan.tasks, threads, memory.data, bytes)
        if plan.pieces > 1:
            run(SIGNATURE_JOIN, &problem, &plan, is_double, problem.batch, threads, memory.data,
                bytes)


cdef write_gradients(
    Tables tables, grad, path_gradient, basepoint_gradient, initial_gradient, path, basepoint,
    initial, steps, order, sizes, options, kept,
):
    cdef signature_problem problem
    cdef signature_plan plan
    cdef size_t item = path.itemsize
    cdef bint is_double = item == 8
    set_problem(&problem, tables, grad, path, basepoint, initial, steps, order, sizes, options,
                PyBUF_SIMPLE)
    problem.path_gradient = address(path_gradient, PyBUF_WRITABLE)
    problem.basepoint_gradient = address(basepoint_gradient, PyBUF_WRITABLE)
    problem.initial_gradient = address(initial_gradient, PyBUF_WRITABLE)
    if problem.batch == 0:
        return
    signature_make_plan(&problem, &plan, LEVEL, item)
    if kept is not None and fits_plan(&problem, &plan, item, kept):
        use_kept(&problem, &plan, item, kept, PyBUF_SIMPLE)
    cdef size_t bytes = round_up(signature_workspace(&problem, &plan, is_double, 1))
    cdef int threads = choose_threads(&problem, plan.tasks)
    cdef Memory memory = Memory(bytes * threads)
    if plan.depth_two:
        between = None
    elif plan.pieces > 1:
        between = prepare_pieces(&problem, &plan, is_double, threads, memory, bytes)
    elif plan.splits > 1:
        between = prepare_splits(&problem, &plan, item)
    with nogil:
        run(SIGNATURE_BACKWARD, &problem, &plan, is_double, plan.tasks, threads, memory.data, bytes)
        if plan.pieces * plan.splits > 1 and not plan.depth_two:
            run(SIGNATURE_POINTS, &problem, &plan, is_double, problem.batch, threads, memory.data,
                bytes)


cdef prepare_pieces(
    const signature_problem *problem, signature_plan *plan, bint is_double, int threads,
    Memory memory, size_t bytes,
):
    """The state before and the adjoint after each piece; returns what owns them."""
    cdef size_t rows = (8 if is_double else 4) * problem.batch * plan.pieces
    cdef Py_ssize_t words = signature_words(problem.channels, 1, problem.depth)
    cdef Memory start = Memory(rows * plan.state_words)
    cdef Memory end = Memory(rows * words)
    plan.start = start.data
    plan.end = end.data
    between = None
    if plan.partial == NULL:
        between = compute_pieces(problem, plan, is_double, threads, memory, bytes)
    with nogil:
        run(SIGNATURE_CHAIN, problem, plan, is_double, problem.batch, threads, memory.data, bytes)
    return start, end, between


cdef compute_pieces(
    const signature_problem *problem, signature_plan *plan, bint is_double, int threads,
    Memory memory, size_t bytes,
):
    """The signatures of the pieces, without the longest words, and states between if they are few;
    returns what owns them."""
    cdef signature_problem shorter = problem[0]
    cdef size_t checkpoint_bytes = signature_checkpoint_bytes(problem, plan)
    cdef Memory checkpoints = Memory(checkpoint_bytes)
    plan.partial_words = plan.state_words
    cdef Memory partial = Memory(signature_partial_bytes(problem, plan, 8 if is_double else 4))
    shorter.depth -= 1
    shorter.initial = NULL
    shorter.lyndon = NULL
    plan.partial = partial.data
    if checkpoint_bytes:
        plan.checkpoints = checkpoints.data
    with nogil:
        run(SIGNATURE_FORWARD, &shorter, plan, is_double, plan.tasks, threads, memory.data, bytes)
    return partial, checkpoints


cdef prepare_splits(const signature_problem *problem, signature_plan *plan, size_t item):
    """Room for what the tasks of one path add up; returns what owns it."""
    cdef Memory steps = Memory(item * plan.tasks * problem.longest * problem.channels)
    cdef Memory end = Memory(item * plan.tasks * signature_words(problem.channels, 1, plan.prefix))
    plan.step_gradient = steps.data
    plan.end = end.data
    return steps, end
