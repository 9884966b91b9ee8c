// Activations with bias on a GPU: what activations.h does on the CPU, one number for each thread.

#define DEVICE __device__ __forceinline__
typedef long long integer;

#include "sde/activation_functions.h"

template <typename real> struct Activation;

template <> struct Activation<float> {
    DEVICE static float of(int kind, float x, float *derivative) {
        return activation_float(kind, x, derivative);
    }
};

template <> struct Activation<double> {
    DEVICE static double of(int kind, double x, double *derivative) {
        return activation_double(kind, x, derivative);
    }
};

// value = activation(x + bias), value may be x; derivative: its derivatives, or null.
// x: [count / columns][columns], bias: [columns].
template <typename real, int KIND>
__global__ void activations_forward(real *value, real *derivative, const real *x, const real *bias,
                                    integer count, integer columns) {
    const integer i = (integer)blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= count) return;
    real slope;
    value[i] = Activation<real>::of(KIND, x[i] + bias[i % columns], &slope);
    if (derivative) derivative[i] = slope;
}
