/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Steps of the optimisers on flat arrays of the device. */
#include "backend/cuda/launch.h"

#include "backend/cuda/block.h"
#include "backend/cuda/flat_parts.h"

namespace
{

enum { THREADS = SG_BLOCK_MOST };

unsigned blocks_for(size_t n)
{
    return (unsigned)((n + THREADS - 1) / THREADS);
}

/* One tensor on the device. */
struct arrays {
    void *g, *m, *v;
    const void *theta;
    double *tiles, *sums; /* of coupled columns, and their roots: */
    void *roots;
};

#define SG_REAL float
#define SG_NAME(name) name##_f32
#include "backend/cuda/flat_step_real.h"
#undef SG_REAL
#undef SG_NAME

#define SG_REAL double
#define SG_NAME(name) name##_f64
#include "backend/cuda/flat_step_real.h"

void *moment_at(const sg_cuda_flat *flat, size_t offset)
{
    return flat ? sg_cuda_flat_at(flat, offset) : nullptr;
}

/* v and roots of the columns. */
sg_status couple(const sg_cuda_flat *gradient, const sg_cuda_step *s, const arrays &a,
                 sg_error *error)
{
    sg_status status =
        sg_cuda_flat_sum_columns(gradient, gradient->precision, a.g, s->rows, s->columns,
                                 s->numbers.scale, true, a.tiles, a.sums, error);
    if (status != SG_OK)
        return status;
    return sg_cuda_check(
        gradient->precision == SG_FP32
            ? SG_LAUNCH(couple_columns_f32, blocks_for(s->columns), THREADS, 0, gradient->stream,
                        s->rows, s->columns, s->numbers, a.sums, (float *)a.v, (float *)a.roots)
            : SG_LAUNCH(couple_columns_f64, blocks_for(s->columns), THREADS, 0, gradient->stream,
                        s->rows, s->columns, s->numbers, a.sums, (double *)a.v, (double *)a.roots),
        "taking a step", error);
}

} // namespace

extern "C" sg_status sg_cuda_flat_step(sg_cuda_flat *gradient, const sg_cuda_step *s,
                                       sg_error *error)
{
    bool coupled = s->rule == SG_CUDA_RULE_COUPLED;
    size_t tiles = coupled ? sg_cuda_column_tiles(s->rows) * s->columns : 0,
           columns = coupled ? s->columns : 0;
    sg_status status =
        sg_cuda_flat_reserve(gradient, (tiles + 2 * columns) * sizeof(double), error);
    if (status != SG_OK)
        return status;
    sg_cuda_flat_uses uses = {gradient->stream, {gradient, s->first, s->second, s->parameters}};
    status = uses.enter(error);
    double *room = (double *)gradient->room;
    arrays a = {sg_cuda_flat_at(gradient, s->offset),
                moment_at(s->first, s->offset),
                moment_at(s->second, s->second_offset),
                moment_at(s->parameters, s->offset),
                room,
                room + tiles,
                room + tiles + columns};
    if (coupled && status == SG_OK)
        status = couple(gradient, s, a, error);
    if (status == SG_OK)
        status = sg_cuda_check(gradient->precision == SG_FP32 ? launch_f32(gradient->stream, s, a)
                                                              : launch_f64(gradient->stream, s, a),
                               "taking a step", error);
    return uses.leave(status, error);
}

extern "C" sg_status sg_cuda_flat_add(sg_cuda_flat *delta, double scale, sg_cuda_flat *parameters,
                                      sg_error *error)
{
    sg_cuda_flat_uses uses = {delta->stream, {delta, parameters}};
    sg_status status = uses.enter(error);
    if (status == SG_OK)
        status = sg_cuda_check(delta->precision == SG_FP32
                                   ? SG_LAUNCH(add_f32, blocks_for(delta->size), THREADS, 0,
                                               delta->stream, delta->size, (float)scale,
                                               (const float *)delta->at, (float *)parameters->at)
                                   : SG_LAUNCH(add_f64, blocks_for(delta->size), THREADS, 0,
                                               delta->stream, delta->size, scale,
                                               (const double *)delta->at, (double *)parameters->at),
                               "moving parameters", error);
    return uses.leave(status, error);
}
