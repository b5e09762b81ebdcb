/* SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef SG_CPU_ROWS_H
#define SG_CPU_ROWS_H

#include "backend/rows.h"
#include "backend/rows_math.h"

/* Inside of the CPU backend: rows are cut into tiles, kernels work on runs of tiles of one row. */

enum { SG_SEGMENTS = 64 /* most pieces in which one row is given to threads */ };

/* One row: arrays of the block's precision, `padded` long. m and v are NULL when the optimiser has
 * none. */
typedef struct sg_row_view {
    void *q, *m, *v;
    double *mass; /* sum of q per tile */
    size_t vocabulary, padded;
} sg_row_view;

/* Kernels of one precision and one instruction set. Tiles are [first, end). */
typedef struct sg_row_kernels {
    void (*set)(const sg_row_view *row, const double *logits, double offset);
    void (*get)(const sg_row_view *row, double *logits, double offset);
    void (*fill)(const sg_row_view *row, double q); /* tokens, not the padding; moments 0 */
    void (*rescale)(const sg_row_view *row, double power);
    /* sums may be NULL. Stores the new masses of the tiles. */
    void (*update)(const sg_row_view *row, const sg_row_job *job, size_t first, size_t end,
                   sg_row_sums *sums);
    /* Squared 2-norm of the gradient. */
    double (*norm2)(const sg_row_view *row, const sg_row_job *job, size_t first, size_t end);
    /* Greatest new log q that the job would give without a shift. */
    double (*peak)(const sg_row_view *row, const sg_row_job *job, size_t first, size_t end);
    void (*look)(const sg_row_view *row, size_t head, size_t first, size_t end, sg_row_look *look);
    size_t (*find)(const sg_row_view *row, double target); /* inverse CDF, target in (0, sum q) */
    double (*at)(const sg_row_view *row, size_t token);
} sg_row_kernels;

/* [precision]; one table per instruction set. */
extern const sg_row_kernels sg_row_kernels_portable[2];
#ifdef __x86_64__
extern const sg_row_kernels sg_row_kernels_avx2[2];
extern const sg_row_kernels sg_row_kernels_avx512[2];
#endif

typedef struct sg_cpu_rows {
    sg_rows base;
    const sg_row_kernels *kernels;
    size_t padded, tiles, real_size;
    char *q, *m, *v; /* [states][padded] */
    double *mass;    /* [states][tiles] */
    sg_row_head *heads;
    void *block;
    size_t block_bytes;
} sg_cpu_rows;

static inline sg_cpu_rows *sg_cpu_rows_of(const sg_rows *rows)
{
    return (sg_cpu_rows *)(uintptr_t)rows;
}

sg_row_view sg_cpu_rows_view(const sg_cpu_rows *rows, size_t state);

/* Sum of x[0..n-1] in the tree that splits at the greatest power of two below n. */
double sg_tree_sum(const double *x, size_t n);

/* The methods that stand in other files than the table of them. */
void sg_cpu_rows_draw(const sg_rows *base, size_t first, size_t count, size_t n,
                      const double *uniforms, int32_t *tokens, double *log_prob);
void sg_cpu_rows_log_prob(const sg_rows *base, size_t first, size_t count, size_t n,
                          const int32_t *tokens, double *log_prob);
void sg_cpu_rows_update(sg_rows *base, const sg_rows_step *step, size_t first, size_t count,
                        size_t n, const int32_t *tokens, const double *pushes,
                        sg_row_change *change);
void sg_cpu_rows_inner_updates(sg_rows *base, const sg_rows_step *step, uint64_t updates,
                               const sg_objective *objective, double factor, size_t first,
                               size_t count, size_t n, const int32_t *tokens,
                               const double *old_log_prob, const double *advantage, double *pushes);
void sg_cpu_rows_observe(const sg_rows *base, size_t first, size_t count,
                         sg_row_observation *observation);
void sg_cpu_rows_collision(const sg_rows *base, size_t first, size_t count, double *collision);
size_t sg_cpu_rows_save(const sg_rows *base, void *to);
void sg_cpu_rows_load(sg_rows *base, const void *from);
void sg_cpu_rows_adopt(sg_rows *base, const sg_rows *source_base);
void sg_cpu_rows_forget(sg_rows *base);

#endif
