/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The gate maths, the vector maths and the random numbers are one source for CPU and GPU: here they run on the
 * device, so that a change which only a C compiler understands fails early. */
#include "backend/cuda/launch.h"

#include "backend/cuda/memory.h"
#include "core/vec_math.h"
#include "cuda/device_maths.h"

namespace
{

enum { THREADS = 128 };

__device__ size_t my_index()
{
    return (size_t)blockIdx.x * blockDim.x + threadIdx.x;
}

__global__ void every_gate(sg_gate_kind kind, sg_gate_parameters parameters, size_t n,
                           const double *log_ratio, const double *advantage, const double *logp_old,
                           sg_gate_value *value)
{
    size_t i = my_index();
    if (i < n)
        value[i] = sg_gate_at(kind, &parameters, sg_gate_point_from_log(log_ratio[i], logp_old[i]),
                              advantage[i]);
}

__global__ void every_gate_f32(sg_gate_kind kind, sg_gate_parameters parameters, size_t n,
                               const float *log_ratio, const float *advantage,
                               const float *logp_old, sg_gate_value_f32 *value)
{
    size_t i = my_index();
    if (i < n)
        value[i] = sg_gate_at_f32(
            kind, &parameters, sg_gate_point_from_log_f32(log_ratio[i], logp_old[i]), advantage[i]);
}

__global__ void uniforms(sg_address first, size_t n, double *u)
{
    size_t i = my_index();
    first.token = (uint32_t)i;
    if (i < n)
        u[i] = sg_rng_uniform(first);
}

__global__ void exp_log(size_t n, const float *x, const double *y, float *exp_x, float *log_x,
                        double *exp_y, double *log_y)
{
    size_t i = my_index();
    if (i >= n)
        return;
    exp_x[i] = sg_expf(x[i]);
    log_x[i] = sg_logf(x[i]);
    exp_y[i] = sg_exp(y[i]);
    log_y[i] = sg_log(y[i]);
}

unsigned blocks(size_t n)
{
    return (unsigned)((n + THREADS - 1) / THREADS);
}

/* Three inputs, one output. */
template <typename real, typename result> struct gate_arrays {
    sg_cuda_array<real> log_ratio, advantage, logp_old;
    sg_cuda_array<result> value;

    sg_status load(size_t n, const real *d, const real *a, const real *p, sg_error *error)
    {
        sg_status status = log_ratio.alloc(n, "a test", error);
        status = status ? status : advantage.alloc(n, "a test", error);
        status = status ? status : logp_old.alloc(n, "a test", error);
        status = status ? status : value.alloc(n, "a test", error);
        status = status ? status : log_ratio.from_host(n, d, nullptr, error);
        status = status ? status : advantage.from_host(n, a, nullptr, error);
        return status ? status : logp_old.from_host(n, p, nullptr, error);
    }
};

} // namespace

sg_status device_gates(sg_gate_kind kind, const sg_gate_parameters *parameter, size_t n,
                       const double *log_ratio, const double *advantage, const double *logp_old,
                       sg_gate_value *value, sg_error *error)
{
    gate_arrays<double, sg_gate_value> on;
    sg_status status = on.load(n, log_ratio, advantage, logp_old, error);
    if (status == SG_OK)
        status =
            sg_cuda_check(SG_LAUNCH(every_gate, blocks(n), THREADS, 0, nullptr, kind, *parameter, n,
                                    on.log_ratio.at, on.advantage.at, on.logp_old.at, on.value.at),
                          "testing gates", error);
    return status ? status : on.value.to_host(n, value, nullptr, error);
}

sg_status device_gates_f32(sg_gate_kind kind, const sg_gate_parameters *parameter, size_t n,
                           const float *log_ratio, const float *advantage, const float *logp_old,
                           sg_gate_value_f32 *value, sg_error *error)
{
    gate_arrays<float, sg_gate_value_f32> on;
    sg_status status = on.load(n, log_ratio, advantage, logp_old, error);
    if (status == SG_OK)
        status = sg_cuda_check(SG_LAUNCH(every_gate_f32, blocks(n), THREADS, 0, nullptr, kind,
                                         *parameter, n, on.log_ratio.at, on.advantage.at,
                                         on.logp_old.at, on.value.at),
                               "testing gates", error);
    return status ? status : on.value.to_host(n, value, nullptr, error);
}

sg_status device_uniforms(sg_address first, size_t n, double *u, sg_error *error)
{
    sg_cuda_array<double> on;
    sg_status status = on.alloc(n, "a test", error);
    if (status == SG_OK)
        status = sg_cuda_check(SG_LAUNCH(uniforms, blocks(n), THREADS, 0, nullptr, first, n, on.at),
                               "testing random numbers", error);
    return status ? status : on.to_host(n, u, nullptr, error);
}

sg_status device_exp_log(size_t n, const float *x, const double *y, float *exp_x, float *log_x,
                         double *exp_y, double *log_y, sg_error *error)
{
    sg_cuda_array<float> in, e, l;
    sg_cuda_array<double> wide_in, wide_e, wide_l;
    sg_status status = in.alloc(n, "a test", error);
    status = status ? status : e.alloc(n, "a test", error);
    status = status ? status : l.alloc(n, "a test", error);
    status = status ? status : wide_in.alloc(n, "a test", error);
    status = status ? status : wide_e.alloc(n, "a test", error);
    status = status ? status : wide_l.alloc(n, "a test", error);
    status = status ? status : in.from_host(n, x, nullptr, error);
    status = status ? status : wide_in.from_host(n, y, nullptr, error);
    if (status == SG_OK)
        status = sg_cuda_check(SG_LAUNCH(exp_log, blocks(n), THREADS, 0, nullptr, n, in.at,
                                         wide_in.at, e.at, l.at, wide_e.at, wide_l.at),
                               "testing exp and log", error);
    status = status ? status : e.to_host(n, exp_x, nullptr, error);
    status = status ? status : l.to_host(n, log_x, nullptr, error);
    status = status ? status : wide_e.to_host(n, exp_y, nullptr, error);
    return status ? status : wide_l.to_host(n, log_y, nullptr, error);
}
