/* SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef SG_ROWS_H
#define SG_ROWS_H

#include "backend/backend.h"
#include "backend/cuda/device.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Inside of the backends: rows begin with an sg_rows, their methods stand in one table. What they do
 * is written in backend.h. */

/* One step of the optimiser, as all states make it. */
typedef struct sg_rows_step {
    sg_optimizer optimizer;
    uint64_t time;
    bool projected;
} sg_rows_step;

typedef struct sg_rows_methods {
    void (*free)(sg_rows *rows);
    sg_status (*status)(const sg_rows *rows, sg_error *error);
    /* Of valid logits; `exponent` is floor(greatest / ln 2). */
    void (*set_logits)(sg_rows *rows, size_t state, const double *logits, int64_t exponent);
    void (*get_logits)(const sg_rows *rows, size_t state, double *logits);
    void (*get_mean_square)(const sg_rows *rows, size_t state, double *mean_square);
    void (*copy)(sg_rows *rows, const sg_rows *source);
    void (*adopt)(sg_rows *rows, const sg_rows *source);
    void (*forget)(sg_rows *rows);
    size_t (*save)(const sg_rows *rows, void *to);
    void (*load)(sg_rows *rows, const void *from);
    void (*draw)(const sg_rows *rows, size_t first, size_t count, size_t n, const double *uniforms,
                 int32_t *tokens, double *log_prob);
    void (*log_prob)(const sg_rows *rows, size_t first, size_t count, size_t n,
                     const int32_t *tokens, double *log_prob);
    void (*update)(sg_rows *rows, const sg_rows_step *step, size_t first, size_t count, size_t n,
                   const int32_t *tokens, const double *pushes, sg_row_change *change);
    void (*inner_updates)(sg_rows *rows, const sg_rows_step *step, uint64_t updates,
                          const sg_objective *objective, double factor, size_t first, size_t count,
                          size_t n, const int32_t *tokens, const double *old_log_prob,
                          const double *advantage, double *pushes);
    void (*observe)(const sg_rows *rows, size_t first, size_t count,
                    sg_row_observation *observation);
    void (*collision)(const sg_rows *rows, size_t first, size_t count, double *collision);
    void (*masses)(const sg_rows *rows, size_t sets, const size_t *state, const size_t *start,
                   const int32_t *tokens, double *mass);
} sg_rows_methods;

struct sg_rows {
    const sg_rows_methods *methods;
    sg_rows_config config;
    const char *name;
};

/* Rows of a checked configuration. */
sg_status sg_cpu_rows_alloc(sg_rows **rows, const sg_rows_config *config, sg_error *error);
sg_status sg_cuda_rows_alloc(sg_rows **rows, const sg_rows_config *config, sg_error *error);

/* The stream of rows on a device, to measure its time. */
sg_cuda_stream *sg_cuda_rows_stream(const sg_rows *rows);

#ifdef __cplusplus
}
#endif

#endif
