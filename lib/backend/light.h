/* SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef SG_LIGHT_H
#define SG_LIGHT_H

#include "backend/cuda/device.h"
#include "backend/light_row.h"

#ifdef __cplusplus
extern "C" {
#else
#include <stdatomic.h>
#endif

/* Inside of the backends: light rows begin with an sg_light_rows, their methods stand in one table.
 * What they do is written in light_rows.h. */

/* A base that rows start from. Nobody writes it any more when rows share it. */
struct sg_light_prior {
    sg_light_base base;
    double offset;  /* of the logits that it was made from: z = log q + offset */
    int32_t *heavy; /* heavy tokens in increasing order, and their q */
    double *heavy_q;
    size_t heavy_count, heavy_capacity;
#ifndef __cplusplus
    atomic_size_t owners; /* C counts them */
#endif
};

sg_light_prior *sg_light_prior_retain(sg_light_prior *prior);

typedef struct sg_light_methods {
    void (*free)(sg_light_rows *rows);
    sg_status (*status)(const sg_light_rows *rows, sg_error *error);
    /* Of a prior that fits. */
    sg_status (*set_prior)(sg_light_rows *rows, size_t state, sg_light_prior *prior,
                           sg_error *error);
    void (*get_logits)(const sg_light_rows *rows, size_t state, double *logits);
    sg_status (*copy)(sg_light_rows *rows, const sg_light_rows *source, sg_error *error);
    size_t (*save)(const sg_light_rows *rows, void *to);
    sg_status (*load)(sg_light_rows *rows, const void *from, size_t size, sg_error *error);
    void (*draw)(const sg_light_rows *rows, size_t first, size_t count, size_t n,
                 const double *uniforms, int32_t *tokens, double *log_prob);
    void (*log_prob)(const sg_light_rows *rows, size_t first, size_t count, size_t n,
                     const int32_t *tokens, double *log_prob);
    sg_status (*update)(sg_light_rows *rows, double lr, bool projected, size_t first, size_t count,
                        size_t n, const int32_t *tokens, const double *pushes,
                        sg_row_change *change, sg_error *error);
    sg_status (*inner_updates)(sg_light_rows *rows, double lr, uint64_t updates,
                               const sg_objective *objective, double factor, size_t first,
                               size_t count, size_t n, const int32_t *tokens,
                               const double *old_log_prob, const double *advantage, double *pushes,
                               sg_error *error);
    void (*observe)(const sg_light_rows *rows, size_t first, size_t count,
                    sg_row_observation *observation);
    void (*collision)(const sg_light_rows *rows, size_t first, size_t count, double *collision);
    void (*masses)(const sg_light_rows *rows, size_t sets, const size_t *state, const size_t *start,
                   const int32_t *tokens, double *mass);
    sg_light_report (*report)(const sg_light_rows *rows, size_t state);
} sg_light_methods;

struct sg_light_rows {
    const sg_light_methods *methods;
    sg_backend_kind backend;
    sg_light_config config; /* without zeros */
    size_t vocabulary, head;
    sg_light_prior *prior; /* that the rows started from; they hold a share */
    const char *name;
};

/* Rows of a checked configuration without zeros. They retain the prior. */
sg_status sg_cpu_light_alloc(sg_light_rows **rows, const sg_light_config *config,
                             sg_light_prior *prior, sg_error *error);
sg_status sg_cuda_light_alloc(sg_light_rows **rows, const sg_light_config *config,
                              sg_light_prior *prior, sg_error *error);

/* The stream of rows on a device, to measure its time. */
sg_cuda_stream *sg_cuda_light_stream(const sg_light_rows *rows);

/* For backends that keep their rows elsewhere: a row of rows on the CPU that will have these numbers
 * stands on `shared` from then on, or on a base of its own (NULL). The caller fills its explicit
 * tokens, their q and block sums, and the numbers and q of a base of its own; then it is sealed. NULL
 * without memory. */
sg_light_row *sg_cpu_light_open(sg_light_rows *rows, size_t state, const sg_light_row *numbers,
                                sg_light_prior *shared);
void sg_cpu_light_seal(sg_light_row *row);
/* A row of rows on the CPU, and the prior that it stands on; *prior is NULL for a base of its own. */
const sg_light_row *sg_cpu_light_look(const sg_light_rows *rows, size_t state,
                                      sg_light_prior **prior);

/* How a row is doing. */
static inline sg_light_report sg_light_report_of(const sg_light_row *row)
{
    sg_light_report report;
    report.bound = row->bound;
    report.updates = row->updates;
    report.rebases = row->rebases;
    report.folds = row->folds;
    report.explicit_tokens = row->count;
    report.series = sg_light_series_use(row->s);
    return report;
}

#ifdef __cplusplus
}
#endif

#endif
