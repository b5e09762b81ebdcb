/* SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef SG_CPU_TREE_ROWS_H
#define SG_CPU_TREE_ROWS_H

#include "backend/tree_rows_math.h"

/* Kernels of one instruction set for a tile of a tree's row: n <= SG_TREE_TILE tokens. */
typedef struct sg_tree_kernels {
    const char *name;
    /* Between an array of a precision and doubles. */
    void (*read[2])(size_t n, const void *from, double *x);
    void (*write[2])(size_t n, const double *x, void *to);
    /* x += y */
    void (*add)(size_t n, const double *y, double *x);
    /* The greatest z, and sum exp(z - sg_tree_base(peak)). */
    void (*weigh)(size_t n, const double *z, double *peak, double *sum);
    /* weight = exp(z - offset), and the sums of the pieces. */
    void (*weights)(size_t n, const double *z, double offset, double *weight, double *piece);
    /* p = exp(z - log_norm), where z stood, and g = -diffuse p. */
    void (*gradient)(size_t n, double log_norm, double diffuse, double *p, double *g);
    double (*norm2)(size_t n, const double *x);
    /* delta, where the gradient stood; m and v move on. */
    void (*optimise)(sg_optimizer_kind kind, const sg_rule_numbers *numbers, size_t n, double *g,
                     double *m, double *v, const double *theta);
    void (*compare)(size_t n, const double *p, const double *delta, const double *drift,
                    const double *mark, sg_tree_sums *sums);
    /* The first `head` tokens belong to the head. */
    void (*look)(size_t n, const double *z, double log_norm, size_t head, sg_tree_look *look);
} sg_tree_kernels;

extern const sg_tree_kernels sg_tree_kernels_portable;
#ifdef __x86_64__
extern const sg_tree_kernels sg_tree_kernels_avx2, sg_tree_kernels_avx512;
#endif

/* A tree's rows on the CPU. Work is cut into tiles, which all threads share; what a tile gives is added up
 * afterwards, so results do not depend on the threads. */
typedef struct sg_cpu_tree {
    sg_tree_rows base;
    const sg_tree_kernels *kernels;
    size_t real, tiles;
    char *part[3];                     /* [states + 1][vocabulary]: theta, m, v; NULL: not kept */
    double *mass, *peak;               /* [states][tiles]: sum exp(z - offset), greatest z */
    double *offset, *total, *log_norm; /* [states] */
    double *gradient, *drift;          /* [vocabulary], of the bias: its gradient, its change */
    double *norm2, *rate; /* [states + 1]: squared norms of gradients, coupled-adam's rates */
    double *second;       /* [states + 1]: coupled-adam's v; NULL: not kept */
    void *room;           /* [states + 1][tiles], to add up in */
} sg_cpu_tree;

static inline sg_cpu_tree *sg_cpu_tree_of(const sg_tree_rows *rows)
{
    return (sg_cpu_tree *)(uintptr_t)rows;
}

/* Tokens at .. at + n - 1 of a row. */
typedef struct sg_cpu_piece {
    size_t row, at, n;
} sg_cpu_piece;

static inline sg_cpu_piece sg_cpu_tree_tile(const sg_cpu_tree *tree, size_t row, size_t tile)
{
    size_t at = tile * SG_TREE_TILE, left = tree->base.config.vocabulary - at;
    return (sg_cpu_piece){row, at, left < SG_TREE_TILE ? left : SG_TREE_TILE};
}

static inline void *sg_cpu_tree_place(const sg_cpu_tree *tree, sg_tree_part part, sg_cpu_piece x)
{
    return tree->part[part] + (x.row * tree->base.config.vocabulary + x.at) * tree->real;
}

static inline void sg_cpu_tree_read(const sg_cpu_tree *tree, sg_tree_part part, sg_cpu_piece x,
                                    double *numbers)
{
    tree->kernels->read[tree->base.config.precision](x.n, sg_cpu_tree_place(tree, part, x),
                                                     numbers);
}

static inline void sg_cpu_tree_write(const sg_cpu_tree *tree, sg_tree_part part, sg_cpu_piece x,
                                     const double *numbers)
{
    tree->kernels->write[tree->base.config.precision](x.n, numbers,
                                                      sg_cpu_tree_place(tree, part, x));
}

static inline void sg_cpu_tree_logits(const sg_cpu_tree *tree, sg_cpu_piece x, double *z)
{
    double bias[SG_TREE_TILE];
    sg_cpu_tree_read(tree, SG_TREE_THETA, x, z);
    if (!tree->base.config.shared_bias)
        return;
    x.row = tree->base.config.states;
    sg_cpu_tree_read(tree, SG_TREE_THETA, x, bias);
    tree->kernels->add(x.n, bias, z);
}

/* Sum over the tiles of a row. */
double sg_cpu_tree_sum(const double *x, size_t n);
/* Of listed states, or with list NULL of those from `first` on. */
void sg_cpu_tree_normalise(sg_cpu_tree *tree, const size_t *list, size_t first, size_t count);

sg_status sg_cpu_tree_walk(const sg_tree_rows *rows, const sg_tree_walk *walk, sg_error *error);

void sg_cpu_tree_update(sg_tree_rows *rows, const sg_tree_samples *samples,
                        const sg_tree_step *step, sg_tree_change *change);

#endif
