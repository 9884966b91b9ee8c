"""Whole steps of a solver on the CPU: memory and threads for trajectory.h."""

from cython.parallel cimport prange
from libc.stdlib cimport calloc, free

from pysig._core.memory cimport Memory, address
from pysig._core.sde.updates cimport Combination, update_combination
from pysig._core.threads cimport num_threads

import numpy as np

from pysig._core.signatures.signature import SIMD_LEVELS, simd_level


cdef extern from "sde/trajectory.h" nogil:
    ctypedef struct layer:
        int kind
        Py_ssize_t rows, inputs, outputs, stride
        double t
        const void *weight
        const void *bias

    ctypedef struct field_operation:
        int kind
        Py_ssize_t inputs, outputs
        const void *numbers
        Py_ssize_t size
        layer one

    ctypedef struct field_program:
        int count
        field_operation *operation

    ctypedef struct instruction:
        int kind, out, point
        double time
        int arrays, products
        int array[8]
        int product[8]
        double weight[8]
        double weight_of_h[8]
        update_combination combination[8]

    ctypedef struct trajectory:
        Py_ssize_t rows, channels, diffusion, noise, m
        int is_diagonal
        field_program drift, value
        int instructions, slots, states
        instruction *step
        int *after
        Py_ssize_t widest

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
    int TRAJECTORY_UPDATE, TRAJECTORY_DRIFT, TRAJECTORY_DIFFUSION
    int TRAJECTORY_MOST, TRAJECTORY_SLOTS
    void trajectory_run(int, int, const trajectory *, const trajectory_call *, Py_ssize_t,
                        Py_ssize_t, void *) noexcept


MOST, SLOTS = TRAJECTORY_MOST, TRAJECTORY_SLOTS  # terms of an update, and arrays of a step, at most
cdef int LEVEL = SIMD_LEVELS[simd_level()]
cdef Py_ssize_t BLOCK = 512  # numbers of a slot, where rows are short
cdef Py_ssize_t TASK = 65536  # numbers that are computed in a task, at least, some 30 us


cdef class Trajectory:
    """Steps of one method, for states of one shape and fields of operations."""

    cdef trajectory t
    cdef bint is_double
    cdef object kept  # arrays that the operations refer to
    cdef Py_ssize_t numbers[4]  # of a row of each part of the state

    def __cinit__(self, bint is_double, Py_ssize_t rows, Py_ssize_t channels, Py_ssize_t diffusion,
                  Py_ssize_t noise, drift, value, instructions, int slots, numbers, after):
        """
        drift, value: operations of both fields, lists of (kind, inputs, outputs, ...);
        instructions: those of a step; numbers: of a row of each part of the state; after: their
        slots after a step.
        """
        self.is_double = is_double
        self.t.rows = rows
        self.t.channels = channels
        self.t.diffusion = diffusion
        self.t.noise = noise
        self.t.m = max(diffusion // channels, 1)
        self.t.is_diagonal = self.t.m == 1 and noise in (0, channels)
        self.t.slots = slots
        self.t.states = len(after)
        self.t.widest = max(channels, diffusion)
        self.kept = (drift, value)
        self.set_field(&self.t.drift, drift)
        self.set_field(&self.t.value, value)
        self.t.instructions = len(instructions)
        self.t.step = <instruction *>calloc(max(len(instructions), 1), sizeof(instruction))
        self.t.after = <int *>calloc(max(len(after), 1), sizeof(int))
        if self.t.step == NULL or self.t.after == NULL:
            raise MemoryError("cannot allocate the instructions of a step")
        for i, slot in enumerate(after):
            self.t.after[i] = slot
            self.numbers[i] = numbers[i]
        for i, (name, out, first, second) in enumerate(instructions):
            self.set_instruction(&self.t.step[i], name, out, first, second)

    def __dealloc__(self):
        free(self.t.drift.operation)
        free(self.t.value.operation)
        free(self.t.step)
        free(self.t.after)

    cdef int set_field(self, field_program *field, operations) except -1:
        cdef field_operation *operation
        field.operation = <field_operation *>calloc(max(len(operations), 1),
                                                    sizeof(field_operation))
        if field.operation == NULL:
            raise MemoryError("cannot allocate the operations of a field")
        for name, inputs, outputs, *rest in operations:
            operation = &field.operation[field.count]
            field.count += 1
            operation.inputs = inputs
            operation.outputs = outputs
            self.t.widest = max(self.t.widest, max(inputs, outputs))
            if name == "scale" or name == "constant":
                operation.kind = FIELD_SCALE if name == "scale" else FIELD_CONSTANT
                operation.numbers = address(rest[0])
                operation.size = rest[0].size
            elif name == "activation":
                operation.kind = FIELD_ACTIVATION
                operation.one.kind = rest[0]
            else:
                operation.kind = FIELD_LAYER
                operation.one.kind, weight, bias = rest
                operation.one.inputs = inputs
                operation.one.outputs = outputs
                operation.one.stride = weight.shape[1]
                operation.one.weight = address(weight)
                operation.one.bias = address(bias)
        return 0

    cdef int set_instruction(self, instruction *step, name, out, first, second) except -1:
        """
        An update has arrays (slot, weight, weight of h), and products (slot, combination); an
        evaluation has the slot of the point, and the time.
        """
        step.out = out
        if name != "update":
            step.kind = TRAJECTORY_DRIFT if name == "drift" else TRAJECTORY_DIFFUSION
            step.point = first
            step.time = second
            return 0
        step.kind = TRAJECTORY_UPDATE
        for slot, weight, weight_of_h in first:
            step.array[step.arrays] = slot
            step.weight[step.arrays] = weight
            step.weight_of_h[step.arrays] = weight_of_h
            step.arrays += 1
        for slot, combination in second:
            step.product[step.products] = slot
            step.combination[step.products] = (<Combination?>combination).weights
            step.products += 1
        return 0

    def run(self, const double[::1] times, noise, states, const Py_ssize_t[::1] outputs, ys):
        """
        Go through the steps between times.

        noise: None, or W or (W, H), each (steps, ...); states: arrays that are written to; outputs:
        the steps, counted from 1, after which the first of them is written to the next of ys.
        """
        cdef trajectory_call call
        cdef Py_ssize_t i, item = 8 if self.is_double else 4
        cdef Py_ssize_t group = max(BLOCK // self.t.widest, 1)
        cdef Py_ssize_t blocks = (self.t.rows + group - 1) // group, rows = self.t.rows
        cdef Py_ssize_t each = (self.t.slots + 2) * min(group, rows) * self.t.widest * item
        cdef Py_ssize_t work = rows * self.t.widest * (times.shape[0] - 1) * self.t.instructions
        cdef Py_ssize_t tasks = max(min(min(<Py_ssize_t>num_threads(), work // TASK), blocks), 1)
        cdef int is_double = self.is_double, level = LEVEL
        cdef char *state[4]
        cdef char *memory
        cdef const trajectory *t = &self.t
        if not rows or times.shape[0] < 2:
            return
        for i, array in enumerate(states):
            state[i] = <char *>address(array)
        call.state = state
        call.numbers = self.numbers
        call.steps = times.shape[0] - 1
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
                run_blocks(is_double, level, t, &call, 0, blocks, group, memory)
            return
        for i in prange(tasks, num_threads=tasks, nogil=True):
            run_blocks(is_double, level, t, &call, blocks * i // tasks, blocks * (i + 1) // tasks,
                       group, memory + i * each)


cdef void run_blocks(int is_double, int level, const trajectory *t, const trajectory_call *call,
                     Py_ssize_t first, Py_ssize_t last, Py_ssize_t group,
                     char *memory) noexcept nogil:
    """Do some blocks of rows."""
    cdef Py_ssize_t i
    for i in range(first, last):
        trajectory_run(is_double, level, t, call, i * group, min((i + 1) * group, t.rows), memory)
