/* SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef SG_CUDA_ROWS_HOST_H
#define SG_CUDA_ROWS_HOST_H

/* The host's side of rows on the device. */
#include "backend/cuda/desk.h"

#include "backend/cuda/rows_resident.h"

struct sg_cuda_rows {
    sg_rows base;
    char name[32];
    sg_cuda_table table;
    sg_cuda_desk desk;
    /* One block: what sg_rows_adopt copies, then what sg_rows_forget clears. */
    char *block;
    size_t state_bytes, block_bytes;
    char *work; /* the table's values and parts */
    /* How fast kernels keep rows on the chip; for this many samples, -1: not known yet. */
    sg_cuda_resident resident;
    int64_t resident_samples;
};

static inline sg_cuda_rows *of(const sg_rows *rows)
{
    return (sg_cuda_rows *)(uintptr_t)rows;
}

struct sg_cuda_rows_call : sg_cuda_call {
    sg_cuda_rows *rows;

    explicit sg_cuda_rows_call(const sg_rows *base) : sg_cuda_call(&of(base)->desk), rows(of(base))
    {
    }
};

/* The methods that ask or move rows, in rows_calls.cu. */
void sg_cuda_rows_set_logits(sg_rows *base, size_t state, const double *logits, int64_t exponent);
void sg_cuda_rows_get_logits(const sg_rows *base, size_t state, double *logits);
void sg_cuda_rows_get_mean_square(const sg_rows *base, size_t state, double *mean_square);
void sg_cuda_rows_draw(const sg_rows *base, size_t first, size_t count, size_t n,
                       const double *uniforms, int32_t *tokens, double *log_prob);
void sg_cuda_rows_log_prob(const sg_rows *base, size_t first, size_t count, size_t n,
                           const int32_t *tokens, double *log_prob);
void sg_cuda_rows_update(sg_rows *base, const sg_rows_step *step, size_t first, size_t count,
                         size_t n, const int32_t *tokens, const double *pushes,
                         sg_row_change *change);
void sg_cuda_rows_inner_updates(sg_rows *base, const sg_rows_step *step, uint64_t updates,
                                const sg_objective *objective, double factor, size_t first,
                                size_t count, size_t n, const int32_t *tokens,
                                const double *old_log_prob, const double *advantage,
                                double *pushes);
void sg_cuda_rows_observe(const sg_rows *base, size_t first, size_t count,
                          sg_row_observation *observation);
void sg_cuda_rows_collision(const sg_rows *base, size_t first, size_t count, double *collision);
void sg_cuda_rows_masses(const sg_rows *base, size_t sets, const size_t *state, const size_t *start,
                         const int32_t *tokens, double *mass);

#endif
