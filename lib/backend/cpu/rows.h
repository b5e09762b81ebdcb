/* SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef SG_CPU_ROWS_H
#define SG_CPU_ROWS_H

#include "backend/backend.h"

/* Inside of the CPU backend: rows are cut into tiles, kernels work on runs of tiles of one row. */

enum {
    SG_TILE = 1024,  /* tokens of a tile */
    SG_LANES = 16,   /* rows are padded with q = 0 to a multiple of this */
    SG_SEGMENTS = 64 /* most pieces in which one row is given to threads */
};

/* fp32 rows keep moments multiplied by 2^40, so that the square of a gradient of 1e-15 does not
 * underflow; gradients must stay below 1e7. Exact, because it is a power of two. */
#define SG_MOMENT_SCALE_FP32 0x1p40

/* One row: arrays of the block's precision, `padded` long. m and v are NULL when the optimiser has
 * none. */
typedef struct sg_row_view {
    void *q, *m, *v;
    double *mass; /* sum of q per tile */
    size_t vocabulary, padded;
} sg_row_view;

/* What is known before the pass over a row. The gradient of an unsampled token is `gradient` * q.
 */
typedef struct sg_row_job {
    sg_optimizer_kind
        kind;        /* sgd, momentum or adam: the others are one of them with other numbers */
    double reach;    /* upper bound of every |delta| */
    bool near;       /* every |delta| <= SG_NEAR: one power of two is enough and shift is 0 */
    bool sparse;     /* only sampled tokens move (SGD with W = 0) */
    double push;     /* W, the sum of the pushes; 0 when it is only rounding */
    double gradient; /* -W / Z */
    double scale;    /* of the stored moments */
    double beta1, beta2;
    double fresh;         /* momentum: weight of the gradient in the stored mean */
    double step;          /* sgd, momentum: lr / scale; adam: lr with the bias corrections */
    double eps;           /* adam: added to sqrt(v) in the scale of the stored moments */
    double decay, offset; /* adam: x -= decay (log q + offset) */
    double shift;         /* subtracted from every new logit */
    double inverse_total; /* 1 / Z */
    size_t n;
    const int32_t *tokens;
    const double *pushes;
} sg_row_job;

#define SG_NEAR 32.0

/* Sums over tokens of one update, added in a fixed tree: d the change of a logit, p the old
 * probability. "Free" tokens are those without a sample. */
typedef struct sg_row_sums {
    double free_mass;      /* sum p, free */
    double free_collision; /* sum p^2, free */
    double touched_norm2;  /* sum of squared gradients, sampled */
    double first;          /* sum p d */
    double excess;         /* sum p (exp(d) - 1 - d) */
    double reverse;        /* sum p (d exp(d) - exp(d) + 1) */
    double norm2;          /* sum d^2 */
    double max_free;       /* greatest d, free; at least 0 */
} sg_row_sums;

typedef struct sg_row_look {
    double mass, mass_log;           /* sum q, sum q log q: all tokens */
    double head_mass, head_mass_log; /* the head */
    double tail_mass, tail_mass_log; /* the tail */
    double square;                   /* sum q^2 */
    double max, min;                 /* of the positive q */
    size_t positive;                 /* how many q > 0 */
} sg_row_look;

static inline void sg_row_sums_add(sg_row_sums *a, const sg_row_sums *b)
{
    a->free_mass += b->free_mass;
    a->free_collision += b->free_collision;
    a->touched_norm2 += b->touched_norm2;
    a->first += b->first;
    a->excess += b->excess;
    a->reverse += b->reverse;
    a->norm2 += b->norm2;
    a->max_free = b->max_free > a->max_free ? b->max_free : a->max_free;
}

static inline void sg_row_look_add(sg_row_look *a, const sg_row_look *b)
{
    a->mass += b->mass;
    a->mass_log += b->mass_log;
    a->head_mass += b->head_mass;
    a->head_mass_log += b->head_mass_log;
    a->tail_mass += b->tail_mass;
    a->tail_mass_log += b->tail_mass_log;
    a->square += b->square;
    a->max = b->max > a->max ? b->max : a->max;
    a->min = b->min < a->min ? b->min : a->min;
    a->positive += b->positive;
}

/* Where the fixed tree of sums over [first, end) splits: at the greatest power of two below its
 * length. */
static inline size_t sg_tree_split(size_t first, size_t end)
{
    size_t half = 1;
    while (2 * half < end - first)
        half *= 2;
    return first + half;
}

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

typedef struct sg_row_head {
    double total;     /* Z = sum q, added in a fixed tree over the tiles */
    double bound;     /* momentum, coupled-adam: upper bound of the stored mean */
    double second;    /* coupled-adam: v */
    int64_t exponent; /* offset = exponent * ln 2 */
} sg_row_head;

struct sg_rows {
    sg_rows_config config;
    const sg_row_kernels *kernels;
    const char *name;
    size_t padded, tiles, real_size;
    char *q, *m, *v; /* [states][padded] */
    double *mass;    /* [states][tiles] */
    sg_row_head *heads;
    void *block;
    size_t block_bytes;
};

sg_row_view sg_rows_view(const sg_rows *rows, size_t state);

/* log(q / total), also where the quotient leaves the normal range. */
double sg_row_log_prob(double q, double total);

/* Sum of x[0..n-1] in the tree that splits at the greatest power of two below n. */
double sg_tree_sum(const double *x, size_t n);

#endif
