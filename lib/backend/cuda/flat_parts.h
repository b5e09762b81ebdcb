/* SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef SG_CUDA_FLAT_PARTS_H
#define SG_CUDA_FLAT_PARTS_H

#include "backend/cuda/flat.h"

/* What the .cu files of flat arrays share. */

struct sg_cuda_flat {
    sg_precision precision;
    size_t real, size;
    void *at;
    sg_cuda_stream *stream;
    cudaEvent_t used; /* recorded behind the last use, wherever it is queued */
    void *room;       /* grows; for the array's own stream */
    size_t room_bytes;
};

/* The arrays, some of which may be NULL, that a call uses on a stream. */
struct sg_cuda_flat_uses {
    sg_cuda_stream *stream;
    const sg_cuda_flat *flats[4];

    sg_status enter(sg_error *error) const
    {
        sg_status status = SG_OK;
        for (const sg_cuda_flat *flat : flats)
            if (status == SG_OK)
                status = sg_cuda_flat_enter(flat, stream, error);
        return status;
    }
    /* What the call came to; the order holds whatever that is. */
    sg_status leave(sg_status status, sg_error *error) const
    {
        for (const sg_cuda_flat *flat : flats) {
            sg_status left = sg_cuda_flat_leave(flat, stream, status == SG_OK ? error : nullptr);
            status = status == SG_OK ? left : status;
        }
        return status;
    }
};

/* Also enters the array. */
sg_status sg_cuda_flat_reserve(sg_cuda_flat *flat, size_t bytes, sg_error *error);

/* ---- slices on the device */

/* A slice, and which of all chunks and groups of chunks (backend/rule_math.h) are its own. */
struct sg_cuda_slice_there {
    size_t offset, n, second_offset, first_chunk, first_group;
    bool coupled;
};

/* A list of them with room for the sums of squares of all chunks and of all groups. */
struct sg_cuda_slices {
    const sg_cuda_slice_there *at;
    size_t count, chunks, groups;
    double *of_chunks, *of_groups;
};

/* Sends the list to the room of an array, with `more` bytes behind it, and enters the array. */
sg_status sg_cuda_flat_list(sg_cuda_flat *flat, size_t count, const sg_cuda_slice *slices,
                            size_t more, sg_cuda_slices *list, void **behind, sg_error *error);

/* Queue the sums of squares of all chunks, or of those of coupled slices; then norm2 of the device. */
sg_status sg_cuda_flat_square(const sg_cuda_flat *flat, const sg_cuda_slices *list,
                              bool only_coupled, sg_error *error);
sg_status sg_cuda_flat_total(const sg_cuda_flat *flat, const sg_cuda_slices *list, double *norm2,
                             sg_error *error);

/* Queue the sums of the columns of *factor x (NULL: x), or of its squares, [columns] of the device; room: tiles[][columns]. */
sg_status sg_cuda_flat_sum_columns(const sg_cuda_flat *flat, sg_precision precision,
                                   const void *values, size_t rows, size_t columns,
                                   const double *factor, bool squares, double *tiles, double *sums,
                                   sg_error *error);

static inline size_t sg_cuda_column_tiles(size_t rows)
{
    return (rows + SG_RULE_ROWS - 1) / SG_RULE_ROWS;
}

/* ---- in kernels */

/* The numbers of a chunk. */
struct sg_cuda_chunk_of_slice {
    const sg_cuda_slice_there *slice;
    size_t start, n; /* within the slice */
};

__device__ inline sg_cuda_chunk_of_slice sg_cuda_slice_chunk(const sg_cuda_slices &list,
                                                             size_t chunk)
{
    size_t low = 0, high = list.count; /* the last slice that starts at the chunk or before */
    while (high - low > 1) {
        size_t middle = (low + high) / 2;
        if (list.at[middle].first_chunk <= chunk)
            low = middle;
        else
            high = middle;
    }
    const sg_cuda_slice_there *slice = &list.at[low];
    size_t start = (chunk - slice->first_chunk) * SG_RULE_CHUNK, left = slice->n - start;
    return {slice, start, left < (size_t)SG_RULE_CHUNK ? left : (size_t)SG_RULE_CHUNK};
}

/* Half a warp adds up the squares of n numbers in lanes like the CPU's; each lane gets the sum. */
template <typename real> __device__ double sg_cuda_add_squares(const real *x, size_t n)
{
    double sum = 0, total = 0;
    for (size_t i = threadIdx.x % SG_RULE_LANES; i < n; i += SG_RULE_LANES)
        sum += (double)x[i] * (double)x[i];
    for (int l = 0; l < SG_RULE_LANES; l++)
        total += __shfl_sync(SG_EVERY_LANE, sum, l, SG_RULE_LANES);
    return total;
}

/* ---- steps */

/* What a step has found, on the device. */
struct sg_cuda_step_found {
    sg_cuda_step_norms norms;
    double scale;
    sg_rule_f32 narrow;
    sg_rule_f64 wide;
};

template <typename real> struct sg_cuda_rule_maths;
template <> struct sg_cuda_rule_maths<float> {
    typedef sg_rule_f32 rule;
    static __device__ __forceinline__ const rule &of(const sg_cuda_step_found *found)
    {
        return found->narrow;
    }
    static __device__ __forceinline__ float momentum(const rule &r, float g, float *m)
    {
        return sg_rule_momentum_f32(r, g, m);
    }
    static __device__ __forceinline__ float adam(const rule &r, float g, float *m, float *v,
                                                 float theta)
    {
        return sg_rule_adam_f32(r, g, m, v, theta);
    }
    static __device__ __forceinline__ float coupled(const rule &r, float g, float *m, float root)
    {
        return sg_rule_coupled_f32(r, g, m, root);
    }
};
template <> struct sg_cuda_rule_maths<double> {
    typedef sg_rule_f64 rule;
    static __device__ __forceinline__ const rule &of(const sg_cuda_step_found *found)
    {
        return found->wide;
    }
    static __device__ __forceinline__ double momentum(const rule &r, double g, double *m)
    {
        return sg_rule_momentum_f64(r, g, m);
    }
    static __device__ __forceinline__ double adam(const rule &r, double g, double *m, double *v,
                                                  double theta)
    {
        return sg_rule_adam_f64(r, g, m, v, theta);
    }
    static __device__ __forceinline__ double coupled(const rule &r, double g, double *m,
                                                     double root)
    {
        return sg_rule_coupled_f64(r, g, m, root);
    }
};

/* The delta of a number; its moments, as far as the rule has them, move on. */
template <int kind, typename real>
__device__ __forceinline__ real sg_cuda_delta(const typename sg_cuda_rule_maths<real>::rule &rule,
                                              real g, real *m, real *v, real theta)
{
    typedef sg_cuda_rule_maths<real> maths;
    return kind == SG_CUDA_RULE_SGD        ? rule.factor * g
           : kind == SG_CUDA_RULE_MOMENTUM ? maths::momentum(rule, g, m)
                                           : maths::adam(rule, g, m, v, theta);
}

/* The arrays of a step; moments that the rule does not have are NULL. */
template <typename real> struct sg_cuda_step_arrays {
    real *g, *m, *v, *theta;
};
template <typename real>
sg_cuda_step_arrays<real> sg_cuda_step_all(const sg_cuda_flat *gradient, const sg_cuda_step *step)
{
    return {(real *)gradient->at, step->first ? (real *)step->first->at : nullptr,
            step->second ? (real *)step->second->at : nullptr, (real *)step->parameters->at};
}
/* Those of a chunk. */
template <typename real>
__device__ __forceinline__ sg_cuda_step_arrays<real>
sg_cuda_step_part(const sg_cuda_step_arrays<real> &all, const sg_cuda_chunk_of_slice &chunk)
{
    size_t first = chunk.slice->offset + chunk.start;
    return {all.g + first, all.m ? all.m + first : nullptr,
            all.v ? all.v + chunk.slice->second_offset + chunk.start : nullptr, all.theta + first};
}

/* The fast kernels: squares, and a step of what is not coupled with its sum into the parameters; where it is
 * `described`, the gradient becomes the step, and its chunks' squares are left in the list. */
sg_status sg_cuda_flat_fast_square(const sg_cuda_flat *flat, const sg_cuda_slices *list,
                                   bool only_coupled, sg_error *error);
sg_status sg_cuda_flat_fast_step(const sg_cuda_flat *gradient, const sg_cuda_step *step,
                                 const sg_cuda_slices *list, const sg_cuda_step_found *found,
                                 bool described, sg_error *error);

#endif
