cdef extern from "sde/update_noise.h" nogil:
    ctypedef struct update_combination:
        double w, area, square, cube, root

    ctypedef struct update_polynomial:
        double power[4]
        double area


cdef class Combination:
    cdef update_combination weights
