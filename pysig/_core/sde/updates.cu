// Updates of the states of a solver on a GPU: what updates.h does on the CPU, one number of the
// result for each thread.
//
// A product has an array (g; u for outer), the noise it meets, and a polynomial of that: coefficients
// of 1, W, W^2, W^3 and H.  There are up to three arrays and four products in a launch, and those that
// are missing are null.

#define DEVICE __device__ __forceinline__
typedef long long integer;

#include "sde/update_noise.h"

template <typename real> struct Noise;

template <> struct Noise<float> {
    DEVICE static float of(const update_polynomial &p, float w, float area) {
        return update_noise_float(&p, w, area);
    }
};

template <> struct Noise<double> {
    DEVICE static double of(const update_polynomial &p, double w, double area) {
        return update_noise_double(&p, w, area);
    }
};

// Number i of the vector v of a product.
template <typename real>
DEVICE real vector(const update_polynomial &p, const real *w, const real *area, integer i) {
    return Noise<real>::of(p, w[i], area ? area[i] : (real)0);
}

#define POLYNOMIAL(k) double p##k##0, double p##k##1, double p##k##2, double p##k##3, double p##k##4
#define MADE(k) {{p##k##0, p##k##1, p##k##2, p##k##3}, p##k##4}

// out = sum of c x + sum of g v.
template <typename real>
__global__ void updates_sum(real *out, const real *x0, const real *x1, const real *x2,
                            const real *g0, const real *g1, const real *g2, const real *g3,
                            const real *w, const real *area, integer count, integer channels,
                            integer m, double c0, double c1, double c2, POLYNOMIAL(0),
                            POLYNOMIAL(1), POLYNOMIAL(2), POLYNOMIAL(3)) {
    const integer i = (integer)blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= count) return;
    const real *g[4] = {g0, g1, g2, g3};
    const update_polynomial p[4] = {MADE(0), MADE(1), MADE(2), MADE(3)};
    real sum = 0;
    if (x0) sum += (real)c0 * x0[i];
    if (x1) sum += (real)c1 * x1[i];
    if (x2) sum += (real)c2 * x2[i];
    const integer row = i / channels;
#pragma unroll
    for (int k = 0; k < 4; k++)
        if (g[k])
            for (integer j = 0; j < m; j++)
                sum += g[k][i * m + j] * vector<real>(p[k], w, area, row * m + j);
    out[i] = sum;
}

// out = sum of u v^T, plus what is in out if `add` is not 0.  Each product has noise of its own.
template <typename real>
__global__ void updates_outer(real *out, const real *u0, const real *u1, const real *w0,
                              const real *w1, const real *area0, const real *area1, integer count,
                              integer channels, integer m, integer add, POLYNOMIAL(0),
                              POLYNOMIAL(1)) {
    const integer i = (integer)blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= count) return;
    const update_polynomial p[2] = {MADE(0), MADE(1)};
    const integer from = i / m, of_noise = from / channels * m + i % m;
    real sum = add ? out[i] : (real)0;
    if (u0) sum += u0[from] * vector<real>(p[0], w0, area0, of_noise);
    if (u1) sum += u1[from] * vector<real>(p[1], w1, area1, of_noise);
    out[i] = sum;
}

// out = sum of v (g^T u), plus what is in out if `add` is not 0.
template <typename real>
__global__ void updates_inner(real *out, const real *g0, const real *g1, const real *u0,
                              const real *u1, const real *w, const real *area, integer count,
                              integer channels, integer m, integer add, POLYNOMIAL(0),
                              POLYNOMIAL(1)) {
    const integer i = (integer)blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= count) return;
    const real *g[2] = {g0, g1}, *u[2] = {u0, u1};
    const update_polynomial p[2] = {MADE(0), MADE(1)};
    const integer row = i / m;
    real total = add ? out[i] : (real)0;
#pragma unroll
    for (int k = 0; k < 2; k++) {
        if (!g[k]) continue;
        real sum = 0;
        for (integer j = row * channels; j < (row + 1) * channels; j++)
            sum += g[k][j * m + i % m] * u[k][j];
        total += sum * vector<real>(p[k], w, area, i);
    }
    out[i] = total;
}
