"""Updates of the states of a solver on the CPU: threads for the ranges of updates.h.

What an update is made of is said by two classes, which are those of updates_cuda.py, too:
`Combination`, what values of the diffusion are multiplied by, and `Sum`, an update with weights.
`Updates` does them for arrays of given shapes. The arrays have the right type; their sizes are
checked here, since noise and fields come from outside.
"""

from cpython.buffer cimport PyBUF_SIMPLE, PyBuffer_Release, PyObject_GetBuffer
from cython.parallel cimport prange
from libc.stddef cimport size_t

from pysig._core.threads cimport num_threads

import math

import numpy as np

from pysig._core.signatures.signature import SIMD_LEVELS, simd_level


cdef extern from "sde/updates.h" nogil:
    ctypedef struct update_sizes:
        Py_ssize_t rows, channels, m

    ctypedef struct update_product:
        const void *array
        const void *other
        const void *w
        const void *area
        update_polynomial of_noise

    ctypedef struct update_terms:
        int arrays, products
        double weight[16]
        const void *array[16]
        update_product product[16]

    int UPDATES_MOST
    update_polynomial update_polynomial_of(const update_combination *, double) noexcept
    ctypedef void (*update_function)(int, int, const update_sizes *, const update_terms *,
                                     Py_ssize_t, Py_ssize_t, void *) noexcept
    void updates_sum(int, int, const update_sizes *, const update_terms *, Py_ssize_t, Py_ssize_t,
                     void *) noexcept
    void updates_outer(int, int, const update_sizes *, const update_terms *, Py_ssize_t,
                       Py_ssize_t, void *) noexcept
    void updates_inner(int, int, const update_sizes *, const update_terms *, Py_ssize_t,
                       Py_ssize_t, void *) noexcept


cdef int LEVEL = SIMD_LEVELS[simd_level()], AVX2 = SIMD_LEVELS["avx2"]
cdef Py_ssize_t ALONE = 4096  # numbers read with the GIL, at most
# Numbers that a thread reads at least, some 1 ms: fields, and so matrix products, come before and
# after, and the threads of NumPy's BLAS wait for the next product actively, on the CPUs of others.
cdef Py_ssize_t TASK = 1 << 21
cdef object empty = np.empty


cdef class Combination:
    """What the value of a diffusion is multiplied by: weights as in update_noise.h."""

    def __init__(self, double W=0, double area=0, double square=0, double cube=0, double root=0):
        self.weights = update_combination(W, area, square, cube, root)

    @property
    def needs_area(self):
        """Whether H is needed."""
        return self.weights.area != 0

    def polynomial(self, double h):
        """The coefficients of 1, W, W^2, W^3 and H."""
        cdef update_polynomial p = update_polynomial_of(&self.weights, h)
        return p.power[0], p.power[1], p.power[2], p.power[3], p.area


cdef void slope(update_polynomial *p, bint of_area) noexcept:
    """Replace a polynomial by its derivative with respect to W, or H."""
    p.power[0] = p.area if of_area else p.power[1]
    p.power[1] = 0 if of_area else 2 * p.power[2]
    p.power[2] = 0 if of_area else 3 * p.power[3]
    p.power[3] = 0
    p.area = 0


cdef class Sum:
    """
    An update: weights of states, weights of h f, and combinations that g is multiplied by.

    The second and the third say which of several f and g they are for, by number.
    """

    cdef readonly tuple states, drift, noise
    cdef double state_weights[4]
    cdef double drift_weights[4]
    cdef Py_ssize_t drift_numbers[4]
    cdef Py_ssize_t noise_numbers[8]

    def __init__(self, states=(), drift=None, noise=None):
        """Drift and noise are dicts by number."""
        self.states = tuple(states)
        self.drift = tuple((drift or {}).items())
        self.noise = tuple((noise or {}).items())
        if len(self.states) > 4 or len(self.drift) > 4 or len(self.noise) > 8:
            raise ValueError("an update has at most 4 states, 4 drifts and 8 products")
        for i, weight in enumerate(self.states):
            self.state_weights[i] = weight
        for i, (number, weight) in enumerate(self.drift):
            self.drift_numbers[i] = number
            self.drift_weights[i] = weight
        for i, (number, _) in enumerate(self.noise):
            self.noise_numbers[i] = number


cdef class Updates:
    """Updates of states of one shape and type, with noise of one kind."""

    cdef update_sizes sizes
    cdef bint is_double
    cdef int level
    cdef Py_ssize_t item
    cdef object y_shape, g_shape, w_shape, dtype

    def __init__(self, y_shape, g_shape, w_shape, dtype):
        """The shapes of states, values of the diffusion, and noise, () if there is none."""
        self.y_shape = y_shape
        self.g_shape = g_shape
        self.w_shape = w_shape
        self.dtype = dtype
        self.item = dtype.itemsize
        self.is_double = self.item == 8
        cdef Py_ssize_t axes = len(y_shape)
        self.sizes.m = g_shape[axes] if len(g_shape) > axes else 1
        self.sizes.channels = y_shape[axes - 1]
        if w_shape in (y_shape, ()) and len(g_shape) == axes:
            self.sizes.channels = 1
        # Rows shorter than a vector of AVX-512 do better with half of it.
        self.level = AVX2 if LEVEL > AVX2 and 1 < self.sizes.m < 64 // self.item else LEVEL
        self.sizes.rows = math.prod(y_shape) // max(self.sizes.channels, 1)

    def sum(self, Sum update, double h, noise, tuple states, fs, gs):
        """Return the sum in a new array; fields that are None count as zero."""
        cdef update_terms terms
        cdef Py_ssize_t i
        cdef list kept = []
        terms.arrays = terms.products = 0
        for i in range(len(update.states)):
            self.add_array(&terms, update.state_weights[i], states[i], kept)
        for i in range(len(update.drift)):
            self.add_array(&terms, update.drift_weights[i] * h, fs[update.drift_numbers[i]], kept)
        for i in range(len(update.noise)):
            array = gs[update.noise_numbers[i]]
            if array is not None:
                self.add_product(&terms, h, noise, update.noise[i][1], array, self.sizes.m, None,
                                 kept)
        return self.run(updates_sum, &terms, self.y_shape, self.sizes.m)

    def combine(self, *pairs):
        """Return the sum of weights times arrays, given in pairs; None if all arrays are None."""
        cdef update_terms terms
        cdef list kept = []
        terms.arrays = terms.products = 0
        for weight, array in pairs:
            self.add_array(&terms, weight, array, kept)
        if not terms.arrays:
            return None
        return self.run(updates_sum, &terms, self.y_shape, 1)

    def outer(self, *parts):
        """
        Return the gradient with respect to g of a sum of products.

        Each has a step, its noise, the combination, and the gradient with respect to its result.
        """
        cdef update_terms terms
        cdef list kept = []
        terms.arrays = terms.products = 0
        for h, noise, combination, u in parts:
            self.add_product(&terms, h, noise, combination, u, 1, None, kept)
        return self.run(updates_outer, &terms, self.g_shape, self.sizes.m)

    def inner(self, double h, noise, parts, bint of_area=False):
        """
        Return the gradient with respect to W, or H, of a sum of products.

        Each has the combination, g, and the gradient with respect to its result.
        """
        cdef update_terms terms
        cdef list kept = []
        terms.arrays = terms.products = 0
        for combination, g, u in parts:
            if g is None or u is None:
                continue
            self.add_product(&terms, h, noise, combination, g, self.sizes.m, u, kept)
            slope(&terms.product[terms.products - 1].of_noise, of_area)
        return self.run(updates_inner, &terms, self.w_shape, self.sizes.m)

    cdef int add_array(self, update_terms *terms, double weight, array, list kept) except -1:
        """Append an array, unless it is None."""
        if array is None:
            return 0
        if terms.arrays == UPDATES_MOST:
            raise ValueError("too many arrays")
        terms.weight[terms.arrays] = weight
        terms.array[terms.arrays] = self.numbers(array, 1, kept)
        terms.arrays += 1
        return 1

    cdef int add_product(self, update_terms *terms, double h, noise, Combination combination, array,
                         Py_ssize_t m, other, list kept) except -1:
        """Append a product with an array that is not None."""
        cdef update_product *product = &terms.product[terms.products]
        if terms.products == UPDATES_MOST:
            raise ValueError("too many products")
        product.array = self.numbers(array, m, kept)
        product.other = NULL
        if other is not None:
            product.other = self.numbers(other, 1, kept)
        product.area = NULL
        if isinstance(noise, tuple):
            product.w = self.noise_numbers(noise[0], kept)
            product.area = self.noise_numbers(noise[1], kept)
        else:
            product.w = self.noise_numbers(noise, kept)
        if product.area == NULL and combination.weights.area != 0:
            raise ValueError("the noise must come with its space-time area")
        product.of_noise = update_polynomial_of(&combination.weights, h)
        terms.products += 1
        return 1

    cdef const void *numbers(self, array, Py_ssize_t m, list kept) except? NULL:
        return self.address(array, self.sizes.rows * self.sizes.channels * m, kept)

    cdef const void *noise_numbers(self, array, list kept) except? NULL:
        return self.address(array, self.sizes.rows * self.sizes.m, kept)

    cdef const void *address(self, array, Py_ssize_t count, list kept) except? NULL:
        """Where the numbers of an array are, or of a copy that is in order, which is kept."""
        cdef Py_buffer view
        try:
            PyObject_GetBuffer(array, &view, PyBUF_SIMPLE)
            PyBuffer_Release(&view)
        except (BufferError, ValueError):  # not in C order
            view.buf = NULL
        if view.buf == NULL or <size_t>view.buf % self.item:
            array = np.array(array, order="C")
            kept.append(array)
            PyObject_GetBuffer(array, &view, PyBUF_SIMPLE)
            PyBuffer_Release(&view)
        if view.len != count * self.item:
            raise ValueError(
                f"an array of noise or of a field has the shape {array.shape}, unlike the first one"
            )
        return view.buf

    cdef object run(self, update_function function, const update_terms *terms, shape, Py_ssize_t m):
        """Return the result of an update in a new array."""
        cdef update_sizes sizes = self.sizes
        cdef Py_ssize_t rows = sizes.rows, i
        cdef Py_ssize_t work = rows * sizes.channels * (terms.arrays + terms.products * m)
        cdef Py_ssize_t tasks = min(<Py_ssize_t>num_threads(), work // TASK, rows)
        cdef bint is_double = self.is_double
        cdef int level = self.level
        cdef Py_buffer view
        cdef void *out
        result = empty(shape, self.dtype)
        PyObject_GetBuffer(result, &view, PyBUF_SIMPLE)
        PyBuffer_Release(&view)
        out = view.buf
        if not view.len:
            return result
        if work < ALONE:
            function(is_double, level, &sizes, terms, 0, rows, out)
            return result
        if tasks <= 1:
            with nogil:
                function(is_double, level, &sizes, terms, 0, rows, out)
            return result
        for i in prange(tasks, num_threads=tasks, nogil=True):
            function(is_double, level, &sizes, terms, rows * i // tasks, rows * (i + 1) // tasks,
                     out)
        return result
