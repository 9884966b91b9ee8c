"""Whole steps of a solver on the CPU: memory and threads for trajectory.h."""

from cython.parallel cimport prange
from libc.stdlib cimport calloc, free

from pysig._core.memory cimport Memory, address
from pysig._core.sde.updates cimport Combination, update_combination
from pysig._core.threads cimport num_threads

import numpy as np

from pysig._core.signatures.signature import SIMD_LEVELS, simd_level


cdef extern from "sde/trajectory.h" nogil:
    int LAYERS_NO_ACTIVATION
    ctypedef struct layer:
        int kind
        Py_ssize_t inputs, outputs
        int has_time
        double t
        const void *packed
        const void *packed_back

    Py_ssize_t layers_padded(Py_ssize_t) noexcept
    Py_ssize_t layers_packed_size(const layer *) noexcept
    Py_ssize_t layers_packed_back_size(const layer *) noexcept
    Py_ssize_t layers_sums_size(const layer *) noexcept

    ctypedef struct field_operation:
        int kind
        Py_ssize_t inputs, outputs
        const void *numbers
        Py_ssize_t size
        layer one
        Py_ssize_t kept, parameter

    ctypedef struct field_program:
        int count
        field_operation *operation
        Py_ssize_t kept

    ctypedef struct instruction:
        int kind, out, field, point, residuals
        double time
        int arrays, products
        int array[8]
        int product[8]
        int is_later[8]
        double weight[8][3]
        update_combination combination[8]

    ctypedef struct trajectory:
        Py_ssize_t rows, channels, noise, m
        int is_diagonal
        field_program field[2]
        int instructions, slots, states
        instruction *step
        int *after
        Py_ssize_t widest, parameters

    ctypedef struct trajectory_call:
        Py_ssize_t steps
        const double *times
        const char *w
        const char *area
        char **state
        const Py_ssize_t *numbers
        const Py_ssize_t *outputs
        Py_ssize_t output_count
        char *ys

    int FIELD_SCALE, FIELD_CONSTANT, FIELD_ACTIVATION, FIELD_LAYER
    int TRAJECTORY_UPDATE, TRAJECTORY_OUTER, TRAJECTORY_EVALUATE, TRAJECTORY_PULL_BACK
    int TRAJECTORY_MOST, TRAJECTORY_SLOTS
    void trajectory_pack(int, int, const layer *, const void *, const void *, void *,
                         void *) noexcept
    Py_ssize_t trajectory_memory(const trajectory *, Py_ssize_t) noexcept
    void trajectory_run_back(int, int, const trajectory *, const trajectory_call *, Py_ssize_t,
                             Py_ssize_t, void *, void *) noexcept
    void trajectory_run(int, int, const trajectory *, const trajectory_call *, Py_ssize_t,
                        Py_ssize_t, void *) noexcept


MOST, SLOTS = TRAJECTORY_MOST, TRAJECTORY_SLOTS  # terms of an update, and arrays of a step, at most
cdef int LEVEL = SIMD_LEVELS[simd_level()]
cdef Py_ssize_t SHARES = 16  # blocks of rows for as many threads, ...
cdef Py_ssize_t LEAST_NUMBERS = 512  # ... but with so many in the widest array, at least ...
cdef Py_ssize_t MOST_NUMBERS = 2048  # ... and at most, for the cache
cdef Py_ssize_t LEAST_ROWS = 8  # for layers, which load their weights for each block
cdef Py_ssize_t MOST_ROWS = 64
cdef Py_ssize_t PARTS = 32  # that have sums of gradients of their own, at most
cdef Py_ssize_t TASK = 65536  # numbers that are computed in a task, at least, some 30 us
cdef Py_ssize_t PRODUCTS = 32  # which a layer computes in the time of one other number
cdef dict KINDS = {
    "update": TRAJECTORY_UPDATE,
    "outer": TRAJECTORY_OUTER,
    "evaluate": TRAJECTORY_EVALUATE,
    "pull_back": TRAJECTORY_PULL_BACK,
}


cdef class Trajectory:
    """Steps of one method, for states of one shape and fields of operations."""

    cdef trajectory t
    cdef bint is_double
    cdef list kept  # memory that the operations refer to
    cdef Py_ssize_t products  # of numbers, for one row, in all layers
    cdef Py_ssize_t numbers[8]  # of a row of each part of the state

    def __cinit__(self, bint is_double, Py_ssize_t rows, Py_ssize_t channels, Py_ssize_t diffusion,
                  Py_ssize_t noise, fields, instructions, int slots, numbers, after):
        """
        diffusion, noise: numbers of a row of g and W; fields: lists of operations of both, each
        (kind, inputs, outputs, ...); instructions: those of a step; numbers: of a row of each part
        of the state; after: the slots of these after a step.
        """
        self.is_double = is_double
        self.t.rows = rows
        self.t.channels = channels
        self.t.noise = noise
        self.t.m = max(diffusion // channels, 1)
        self.t.is_diagonal = self.t.m == 1 and noise in (0, channels)
        self.t.slots = slots
        self.t.states = len(after)
        self.t.widest = max(channels, diffusion)
        self.t.instructions = len(instructions)
        self.kept = []
        self.t.step = <instruction *>calloc(max(len(instructions), 1), sizeof(instruction))
        self.t.after = <int *>calloc(max(len(after), 1), sizeof(int))
        if self.t.step == NULL or self.t.after == NULL:
            raise MemoryError("cannot allocate the instructions of a step")
        for i, operations in enumerate(fields):
            self.set_field(&self.t.field[i], operations)
        for i, slot in enumerate(after):
            self.t.after[i] = slot
            self.numbers[i] = numbers[i]
        for i, line in enumerate(instructions):
            self.set_instruction(&self.t.step[i], line)

    def __dealloc__(self):
        free(self.t.field[0].operation)
        free(self.t.field[1].operation)
        free(self.t.step)
        free(self.t.after)

    @property
    def sums_shape(self):
        """
        The shape of sums of gradients of parameters, of each of some parts of the rows.

        The parts depend on the sizes only, so that the sums do not depend on the threads.
        """
        return min(self.blocks(), PARTS), self.t.parameters

    cdef Py_ssize_t group(self) noexcept:
        """The rows of a block."""
        cdef Py_ssize_t least = max(LEAST_NUMBERS // self.t.widest, 1)
        cdef Py_ssize_t most = MOST_NUMBERS // self.t.widest
        if self.products:
            least = max(least, LEAST_ROWS)
            most = max(most, MOST_ROWS)
        return max(min(self.t.rows // SHARES, most), least)

    cdef Py_ssize_t blocks(self) noexcept:
        """Into how many blocks the rows are divided."""
        return (self.t.rows + self.group() - 1) // self.group()

    cdef int set_field(self, field_program *field, operations) except -1:
        cdef field_operation *operation
        cdef Py_ssize_t count
        field.operation = <field_operation *>calloc(max(len(operations), 1),
                                                    sizeof(field_operation))
        if field.operation == NULL:
            raise MemoryError("cannot allocate the operations of a field")
        for name, inputs, outputs, *rest in operations:
            operation = &field.operation[field.count]
            field.count += 1
            operation.inputs = inputs
            operation.outputs = outputs
            operation.kept = field.kept
            operation.parameter = self.t.parameters
            field.kept += inputs
            self.t.widest = max(self.t.widest, max(inputs, outputs))
            count = 0
            if name == "scale" or name == "constant":
                operation.kind = FIELD_SCALE if name == "scale" else FIELD_CONSTANT
                shapes = [(), (outputs,)] if name == "scale" else [rest[0].shape]
                operation.numbers = self.keep(rest[0], shapes)
                operation.size = count = rest[0].size
            elif name == "activation":
                operation.kind = FIELD_ACTIVATION
                operation.one.kind = rest[0]
                field.kept += outputs
            else:
                operation.kind = FIELD_LAYER
                kind, weight, bias = rest
                self.set_layer(&operation.one, inputs, outputs, kind, weight, bias)
                if operation.one.kind != LAYERS_NO_ACTIVATION:
                    field.kept += outputs
                count = layers_sums_size(&operation.one)
            self.t.parameters += count
        return 0

    cdef int set_layer(self, layer *one, Py_ssize_t inputs, Py_ssize_t outputs, int kind, weight,
                       bias) except -1:
        cdef Py_ssize_t item = 8 if self.is_double else 4
        cdef Memory packed, packed_back
        cdef const void *weights = self.keep(weight, [(outputs, inputs), (outputs, inputs + 1)])
        cdef const void *biases = NULL
        if bias is not None:
            biases = self.keep(bias, [(outputs,)])
        one.kind = kind
        one.inputs = inputs
        one.outputs = outputs
        one.has_time = weight.shape[1] - inputs
        packed = Memory(layers_packed_size(one) * item)
        packed_back = Memory(layers_packed_back_size(one) * item)
        trajectory_pack(self.is_double, LEVEL, one, weights, biases, packed.data, packed_back.data)
        one.packed = packed.data
        one.packed_back = packed_back.data
        self.kept += [packed, packed_back]
        self.products += inputs * outputs
        return 0

    cdef const void *keep(self, array, shapes) except? NULL:
        """Where the numbers of a parameter are, which must have one of the shapes."""
        array = np.require(array, np.float64 if self.is_double else np.float32, ["C", "A"])
        if array.shape not in shapes:
            raise ValueError(f"a parameter must have a shape of {shapes}, not {array.shape}")
        self.kept.append(array)
        return address(array)

    cdef int set_instruction(self, instruction *one, line) except -1:
        """
        An update has arrays (slot, three weights), and products (slot, combination, whether it is
        with the noise of the next step); an evaluation, or its gradient, the number of the field,
        the slot of the point, the residuals, and the time.
        """
        name, out, *rest = line
        one.kind = KINDS[name]
        one.out = out
        if one.kind == TRAJECTORY_EVALUATE or one.kind == TRAJECTORY_PULL_BACK:
            one.field, one.point, one.residuals, one.time = rest
            return 0
        for slot, weights in rest[0]:
            one.array[one.arrays] = slot
            for i, weight in enumerate(weights):
                one.weight[one.arrays][i] = weight
            one.arrays += 1
        for slot, combination, is_later in rest[1]:
            one.product[one.products] = slot
            one.is_later[one.products] = is_later
            one.combination[one.products] = (<Combination?>combination).weights
            one.products += 1
        return 0

    def run(self, const double[::1] times, noise, states, const Py_ssize_t[::1] outputs, ys,
            sums=None):
        """
        Go through the steps between times.

        noise: None, or W or (W, H), each (steps, ...); states: arrays that are written to, or None
        for those that are not kept; outputs: the steps, counted from 1, after which the first state
        is written to the next of ys.

        With sums, of sums_shape, the steps go back, ys are gradients with respect to these outputs,
        times and noise go one step further, and the gradients of the parameters are added to sums,
        as `add_parameters` of pysig/sde/trajectory.py reads them.
        """
        cdef trajectory_call call
        cdef Py_ssize_t i, item = 8 if self.is_double else 4, group = self.group()
        cdef Py_ssize_t rows = self.t.rows, blocks = self.blocks(), parts = blocks
        cdef Py_ssize_t each = trajectory_memory(&self.t, min(group, rows)) * item
        cdef Py_ssize_t work, tasks
        cdef int is_double = self.is_double
        cdef char *state[8]
        cdef char *memory
        cdef char *totals = <char *>address(sums)
        cdef const trajectory *t = &self.t
        if sums is not None:
            parts = self.sums_shape[0]
        call.steps = times.shape[0] - (1 if sums is None else 2)
        work = self.t.widest * self.t.instructions + self.products // PRODUCTS
        work *= rows * call.steps
        tasks = max(min(min(<Py_ssize_t>num_threads(), work // TASK), parts), 1)
        for i, array in enumerate(states):
            state[i] = <char *>address(array)
        call.state = state
        call.numbers = self.numbers
        call.times = &times[0]
        w, area = noise if isinstance(noise, tuple) else (noise, None)
        if w is not None:
            w = np.ascontiguousarray(w)
        if area is not None:
            area = np.ascontiguousarray(area)
        call.w = <const char *>address(w)
        call.area = <const char *>address(area)
        call.output_count = outputs.shape[0]
        call.outputs = &outputs[0] if outputs.shape[0] else NULL
        call.ys = <char *>address(ys)
        cdef Memory scratch = Memory(each * tasks)
        memory = scratch.data
        if tasks == 1:
            with nogil:
                run_parts(is_double, t, &call, 0, parts, parts, group, memory, totals)
            return
        for i in prange(tasks, num_threads=tasks, nogil=True):
            run_parts(is_double, t, &call, parts * i // tasks, parts * (i + 1) // tasks, parts,
                      group, memory + i * each, totals)


cdef void run_parts(int is_double, const trajectory *t, const trajectory_call *call,
                    Py_ssize_t first, Py_ssize_t last, Py_ssize_t parts, Py_ssize_t group,
                    char *memory, char *totals) noexcept nogil:
    """Do some of the parts, which are blocks of rows, or several of them."""
    cdef Py_ssize_t blocks = (t.rows + group - 1) // group, part, block, row, end
    cdef Py_ssize_t item = 8 if is_double else 4
    for part in range(first, last):
        for block in range(blocks * part // parts, blocks * (part + 1) // parts):
            row = block * group
            end = min(row + group, t.rows)
            if totals == NULL:
                trajectory_run(is_double, LEVEL, t, call, row, end, memory)
            else:
                trajectory_run_back(is_double, LEVEL, t, call, row, end, memory,
                                    totals + part * t.parameters * item)


def padded(Py_ssize_t channels):
    """Numbers of a row of the sums of gradients of weights: layers.h."""
    return layers_padded(channels)
