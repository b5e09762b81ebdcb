/* SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef SG_TREE_ROWS_H
#define SG_TREE_ROWS_H

#include "backend/backend.h"
#include "backend/rule_math.h"
#include "backend/tree_walk.h"

#ifdef __cplusplus
extern "C" {
#endif

/* The logits of a tree (policy/tree.h), on the backend that was asked for: a row for each state, and one
 * more that all states may have in common, the bias b:
 *
 *     z_s = theta_s + b,   pi_s = softmax(z_s)
 *
 * Rows are kept as logits, so that -inf and a bias that moves under every state at once are as easy
 * as anything else; logits and moments are in single or double precision, all arithmetic is in double.
 * What a state is, who visits it and how far the optimiser goes is not known here: only what needs
 * every token of a state is. The backends share their formulas and the order of sums
 * (tree_rows_math.h), so results have the same bits on all of them.
 *
 * As with sg_rows, a device may fail in any call: the first failure is kept, sg_tree_rows_status tells
 * it, and from then on calls answer with NaN, and with token 0. Rows belong to one thread at a time;
 * a call uses all threads that are free. */
typedef struct sg_tree_rows_config {
    size_t states, vocabulary, head; /* head: the tokens 0 .. head - 1 */
    bool shared_bias;
    sg_precision precision;
    sg_optimizer_kind optimizer;
} sg_tree_rows_config;

/* The gradient of an update. Each state that moves is listed once, in ascending order; its gradient is
 * sum_j push_j 1[v = token_j] - diffuse pi_v, or nothing when it has no samples. */
typedef struct sg_tree_samples {
    size_t count;
    const size_t *state;   /* [count] */
    const double *diffuse; /* [count] */
    const size_t *start;   /* [count + 1]: where a state's samples are in the arrays below */
    const int32_t *tokens; /* ascending within a state, each once */
    const double *pushes;
} sg_tree_samples;

/* What the optimiser makes of it. Where its step depends on the norm of the gradient, of states and bias
 * together, or on those of rows, that is found out on the way. */
typedef struct sg_tree_step {
    sg_rule_numbers
        rule; /* its scale without the clip's factor; coupled-adam: step of a row whose root of v is 1 */
    double clip_norm; /* the gradient is shortened to this norm; 0: as it is */
} sg_tree_step;

/* Sums over the tokens of a state: p before the step, d the change of z, the bias's included. Without
 * samples only norm2 counts, for the bias only the norms. */
typedef struct sg_tree_sums {
    double gradient2; /* squared norm of the gradient */
    double first;     /* sum p d */
    double excess;    /* sum p (exp(d) - 1 - d) */
    double reverse;   /* sum p (d exp(d) - exp(d) + 1) */
    double norm2;     /* sum of squares of the change of theta */
    double free_mass; /* sum p of tokens without a sample */
    double max_free;  /* their greatest d; at least 0 */
} sg_tree_sums;

/* What an update did. */
typedef struct sg_tree_change {
    double factor;      /* of the clip */
    sg_tree_sums *sums; /* [count + 1], the last is the bias's */
} sg_tree_change;

/* What a state looks like: sums over the head and over the other tokens. */
typedef struct sg_tree_look {
    double head_mass, head_plogp, tail_mass, tail_plogp, squares;
    double highest, lowest; /* log pi */
    double underflowed;     /* tokens whose pi is 0 */
} sg_tree_look;

typedef enum sg_tree_part { SG_TREE_THETA, SG_TREE_MEAN, SG_TREE_MEAN_SQUARE } sg_tree_part;

typedef struct sg_tree_rows sg_tree_rows;

/* SG_ENOMEM, SG_EUNSUPPORTED as sg_rows_alloc. Logits and moments start at 0. */
sg_status sg_tree_rows_alloc(sg_tree_rows **rows, sg_backend_kind backend,
                             const sg_tree_rows_config *config, sg_error *error);
sg_status sg_cpu_tree_rows_alloc(sg_tree_rows **rows, const sg_tree_rows_config *config,
                                 sg_error *error);
sg_status sg_cuda_tree_rows_alloc(sg_tree_rows **rows, const sg_tree_rows_config *config,
                                  sg_error *error);
void sg_tree_rows_free(sg_tree_rows *rows); /* NULL is fine */
sg_status sg_tree_rows_status(const sg_tree_rows *rows, sg_error *error);

/* Bytes of one row: logits, moments, and room to add up in. There are states + 1 of them. */
double sg_tree_row_bytes(const sg_tree_rows_config *config);

typedef struct sg_tree_rows_methods {
    void (*free)(sg_tree_rows *rows);
    sg_status (*status)(const sg_tree_rows *rows, sg_error *error); /* NULL: never fails */
    /* Every state at these logits, the bias at 0; normalised. */
    void (*fill)(sg_tree_rows *rows, const double *logits);
    /* A row of one part, [vocabulary]; row `states` is the bias. Coupled-adam has one mean square for all tokens
     * of a row. What is written is normalised. */
    void (*read)(const sg_tree_rows *rows, sg_tree_part part, size_t row, double *numbers);
    void (*write)(sg_tree_rows *rows, size_t row, const double *theta);
    /* z of a state, [vocabulary]. */
    void (*logits)(const sg_tree_rows *rows, size_t state, double *z);
    /* From rows of the same configuration and backend; the moments too, if wanted. */
    void (*copy)(sg_tree_rows *rows, const sg_tree_rows *source, bool moments);
    void (*forget)(sg_tree_rows *rows); /* the moments */
    /* Logits and moments, the same bytes on every backend; `to` NULL: only their number. 0: failed. */
    size_t (*save)(const sg_tree_rows *rows, void *to);
    void (*load)(sg_tree_rows *rows, const void *from);

    /* Draws responses by inverse CDF; no token of probability 0. distorts: also through a sampler. */
    bool distorts;
    sg_status (*walk)(const sg_tree_rows *rows, const sg_tree_walk *walk, sg_error *error);
    void (*log_prob)(const sg_tree_rows *rows, size_t n, const size_t *state, const int32_t *tokens,
                     double *log_prob);
    /* Of states first .. first + count - 1: log pi of the head's tokens, [count][head], log sum exp z, [count], and
     * what they look like, [count] or NULL. */
    void (*observe)(const sg_tree_rows *rows, size_t first, size_t count, double *log_prob,
                    double *log_norm, sg_tree_look *look);

    /* Everything listed moves, and the bias. change: NULL, or with room for the sums. */
    void (*update)(sg_tree_rows *rows, const sg_tree_samples *samples, const sg_tree_step *step,
                   sg_tree_change *change);
} sg_tree_rows_methods;

struct sg_tree_rows {
    const sg_tree_rows_methods *methods;
    sg_tree_rows_config config;
    const char *name; /* "cpu/avx2", "cuda/sm_90" */
};

#ifdef __cplusplus
}
#endif

#endif
