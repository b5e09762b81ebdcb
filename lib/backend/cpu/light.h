/* SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef SG_CPU_LIGHT_H
#define SG_CPU_LIGHT_H

#include <stdatomic.h>

#include "backend/light.h"
#include "backend/light_update.h"

/* Inside of light rows on the CPU: memory, loops over rows, and the passes in vector code. What one
 * row does is in backend/light_row.h and its neighbours. */

typedef struct sg_light_kernels {
    /* q *= exp(move - kappa q), move = 0; stores sums of blocks of 64, returns the greatest q. n is
     * a multiple of 64. */
    double (*step)(size_t n, double *q, double *move, double kappa, double *block);
    /* Adds the power sums of x = q / scale over n tokens. */
    void (*add_sums)(size_t n, const double *q, double inverse_scale, sg_light_sums *sums);
    /* to = factor q / y(q / scale); may be in place. */
    void (*carry)(size_t n, const double *q, double inverse_scale, const double *s, double factor,
                  double *to);
    /* sum[i] of n numbers in groups of 64. */
    void (*fold)(size_t n, const double *x, double *sum);
    /* coefficient[i] of a gate; ratio = exp(log_ratio). */
    void (*gate)(sg_gate_kind kind, const sg_gate_parameters *parameter, size_t n,
                 const double *log_ratio, const double *logp_old, const double *advantage,
                 double *coefficient);
} sg_light_kernels;

extern const sg_light_kernels sg_light_kernels_portable;
#ifdef __x86_64__
extern const sg_light_kernels sg_light_kernels_avx2, sg_light_kernels_avx512;
#endif

const sg_light_kernels *sg_light_kernels_select(const char **name);

typedef struct sg_cpu_light_rows {
    sg_light_rows base;
    const sg_light_kernels *kernels;
    sg_light_row *row;
} sg_cpu_light_rows;

static inline sg_cpu_light_rows *sg_cpu_light_of(const sg_light_rows *rows)
{
    union {
        const sg_light_rows *in;
        sg_cpu_light_rows *out; /* begins with it */
    } pointer = {rows};
    return pointer.out;
}

/* The prior that a row's base belongs to. */
static inline sg_light_prior *sg_light_prior_of(sg_light_base *base)
{
    union {
        sg_light_base *in;
        sg_light_prior *out;
    } pointer = {base};
    return pointer.out;
}

/* Priors. */
sg_light_prior *sg_light_prior_new(size_t vocabulary, size_t head); /* NULL without memory */
sg_light_prior *sg_light_prior_clone(const sg_light_prior *prior);  /* NULL without memory */
bool sg_light_prior_reserve_heavy(sg_light_prior *prior, size_t capacity);
/* prior->base.q holds every token's q: takes the heavy ones out and makes the sums. False without
 * memory. */
bool sg_light_prior_settle(sg_light_prior *prior, const sg_light_kernels *kernels,
                           double threshold);

/* Rows. */
bool sg_light_row_init(sg_light_row *row, size_t explicit_limit, sg_light_prior *prior);
void sg_light_row_clear(sg_light_row *row);
/* Makes room for so many explicit tokens. False without memory. */
bool sg_light_row_reserve(sg_light_row *row, size_t needed);
/* Starts again from the row's base: S = 0, the heavy tokens explicit. False without memory. */
bool sg_light_row_restart(sg_light_row *row, size_t explicit_limit);
/* Present q of every token, times a factor each for light and explicit ones; q may be base->q. */
void sg_light_row_carry(const sg_light_row *row, const sg_light_kernels *kernels,
                        double light_factor, double explicit_factor, double *q);
void sg_light_row_find_extremes(sg_light_row *row); /* when they are not known */
/* An update that is at its beginning. False without memory; the row is then as it was, or rebased. */
bool sg_light_row_update(sg_light_row *row, const sg_light_kernels *kernels,
                         sg_light_update *update);

size_t sg_cpu_light_save(const sg_light_rows *rows, void *to);
sg_status sg_cpu_light_load(sg_light_rows *rows, const void *from, size_t size, sg_error *error);

#endif
