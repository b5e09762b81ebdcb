/* SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef SG_CUDA_ROWS_H
#define SG_CUDA_ROWS_H

#include "backend/cuda/device.h"
#include "backend/rows.h"
#include "backend/rows_math.h"

/* Rows of logits on the device, between the .cu files that make them up. The layout is that of the
 * CPU's rows, sums run in the same order and formulas are shared, so results have the CPU's bits (the
 * pushes of inner updates excepted: gates call the device's exp).
 *
 * Functions here queue kernels on the stream and return at once; pointers are to device memory.
 * They are for the states first .. first + count - 1, and [count] arrays start at the first of them. */

struct sg_cuda_norm {
    double total;     /* Z */
    int64_t exponent; /* of the offset */
};

struct sg_cuda_moment {
    double bound, second; /* as in sg_row_head */
};

/* What kernels see of the rows; real is float or double, by the precision. */
struct sg_cuda_table {
    sg_rows_config config;
    size_t padded, tiles;
    void *q, *m, *v;        /* real [states][padded]; m and v may be NULL */
    double *mass;           /* [states][tiles] */
    sg_cuda_norm *norm;     /* [states] */
    sg_cuda_moment *moment; /* [states] */
    double *values;         /* [states][tiles], to add up in */
    void *parts;            /* [states][tiles] sg_row_sums or sg_row_look, likewise */
};

struct sg_cuda_range {
    size_t first, count;
};

/* A sampled token of an update, each once in a state: all its pushes, what it was, how it moves. */
struct sg_cuda_touched {
    int32_t token; /* -1: an earlier sample is the same token and has its push */
    double push, q, m, v, x;
};

/* The samples of an update, and room for one job a state. */
struct sg_cuda_samples {
    size_t n;                 /* of a state */
    const int32_t *tokens;    /* [count][n] */
    const double *pushes;     /* [count][n] */
    sg_cuda_touched *touched; /* [count][n] */
    sg_row_job *jobs;         /* [count] */
};

/* Gates of the samples: pushes = factor * coefficient * advantage, at the rows as they are. */
struct sg_cuda_gates {
    sg_gate_kind kind;
    sg_gate_parameters parameter;
    double factor;
    const double *old_log_prob, *advantage; /* [count][n] */
    double *pushes;                         /* [count][n] */
};

cudaError_t sg_cuda_rows_queue_gates(const sg_cuda_table &rows, sg_cuda_range range, size_t n,
                                     const int32_t *tokens, const sg_cuda_gates &gates,
                                     sg_cuda_stream *stream);
/* change: [count], or NULL. */
cudaError_t sg_cuda_rows_queue_update(const sg_cuda_table &rows, sg_cuda_range range,
                                      const sg_rows_step &step, const sg_cuda_samples &samples,
                                      sg_row_change *change, sg_cuda_stream *stream);

/* The pass of an update alone, in the fast way: it begins with jobs and ends with masses, and with the sums of tiles unless
 * that is NULL. */
cudaError_t sg_cuda_rows_queue_fast_tiles(const sg_cuda_table &rows, sg_cuda_range range,
                                          const sg_cuda_samples &samples, sg_row_sums *sums,
                                          sg_cuda_stream *stream);

/* jobs: [count], room. */
cudaError_t sg_cuda_rows_queue_collision(const sg_cuda_table &rows, sg_cuda_range range,
                                         sg_row_job *jobs, double *collision,
                                         sg_cuda_stream *stream);

/* q = 1 for all tokens. */
cudaError_t sg_cuda_rows_queue_fill(const sg_cuda_table &rows, sg_cuda_stream *stream);
/* n logits of one state from token `at` on, which are `logits`; after the last, settle. */
cudaError_t sg_cuda_rows_queue_set(const sg_cuda_table &rows, size_t state, size_t at, size_t n,
                                   const double *logits, int64_t exponent, sg_cuda_stream *stream);
cudaError_t sg_cuda_rows_queue_settle(const sg_cuda_table &rows, size_t state, int64_t exponent,
                                      sg_cuda_stream *stream);
cudaError_t sg_cuda_rows_queue_get(const sg_cuda_table &rows, size_t state, size_t at, size_t n,
                                   double *logits, sg_cuda_stream *stream);
cudaError_t sg_cuda_rows_queue_mean_square(const sg_cuda_table &rows, size_t state, size_t at,
                                           size_t n, double *mean_square, sg_cuda_stream *stream);
/* log_prob: NULL, or of the drawn tokens. */
cudaError_t sg_cuda_rows_queue_draw(const sg_cuda_table &rows, sg_cuda_range range, size_t n,
                                    const double *uniforms, int32_t *tokens, double *log_prob,
                                    sg_cuda_stream *stream);
cudaError_t sg_cuda_rows_queue_log_prob(const sg_cuda_table &rows, sg_cuda_range range, size_t n,
                                        const int32_t *tokens, double *log_prob,
                                        sg_cuda_stream *stream);
cudaError_t sg_cuda_rows_queue_masses(const sg_cuda_table &rows, size_t sets, const size_t *state,
                                      const size_t *start, const int32_t *tokens, double *mass,
                                      sg_cuda_stream *stream);
cudaError_t sg_cuda_rows_queue_observe(const sg_cuda_table &rows, sg_cuda_range range,
                                       sg_row_observation *observation, sg_cuda_stream *stream);

#endif
