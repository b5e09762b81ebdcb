/* SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef SG_AGGREGATE_H
#define SG_AGGREGATE_H

#include <stdbool.h>
#include <stddef.h>

/* How token losses of a batch become one number. With S_i the sum of the live tokens' losses in row i, n_i
 * the number of live tokens, N = sum n_i and R the number of rows counted (see sg_empty_rows):
 *   token-mean              sum_i S_i / N                   a = 1/N
 *   token-sum               sum_i S_i                       a = 1
 *   seq-mean-token-mean     (1/R) sum_i S_i / n_i           a = 1/(R n_i)
 *   seq-mean-token-sum      sum_i S_i / R                   a = 1/R
 *   seq-mean-token-sum-norm sum_i S_i / (R L)               a = 1/(R L), L a constant length
 * a is the factor of a live token of row i in the loss and in its gradient.
 * By hand: rows (1, 3), (), (2, 4, 9) of token losses: token-mean 19/5 = 3.8; seq-mean-token-mean with the
 * empty row skipped (2 + 5)/2 = 3.5, counted 7/3. */
#define SG_AGGREGATE_LIST(X)                                                                 \
    X(SG_TOKEN_MEAN, "token-mean")                                                           \
    X(SG_TOKEN_SUM, "token-sum")                                                             \
    X(SG_SEQ_MEAN_TOKEN_MEAN, "seq-mean-token-mean")                                         \
    X(SG_SEQ_MEAN_TOKEN_SUM, "seq-mean-token-sum")                                           \
    X(SG_SEQ_MEAN_TOKEN_SUM_NORM, "seq-mean-token-sum-norm")

typedef enum sg_aggregate_mode {
#define SG_AGGREGATE_ENUM(id, name) id,
    SG_AGGREGATE_LIST(SG_AGGREGATE_ENUM)
#undef SG_AGGREGATE_ENUM
} sg_aggregate_mode;

/* Are rows without a live token in the denominator R? verl skips them, TRL and others count them. */
typedef enum sg_empty_rows { SG_EMPTY_SKIP, SG_EMPTY_COUNT } sg_empty_rows;

const char *sg_aggregate_name(sg_aggregate_mode mode);
bool sg_aggregate_from_name(const char *name, sg_aggregate_mode *mode);

/* What the factor needs to know of a batch. */
typedef struct sg_aggregate_counts {
    size_t tokens;     /* N, live tokens */
    size_t rows;       /* all rows */
    size_t live_rows;  /* rows with a live token */
    double norm_length; /* L; > 0 when the mode is seq-mean-token-sum-norm */
} sg_aggregate_counts;

/* The factor a of a live token in a row of row_tokens live tokens. 0 when there is nothing to average. */
double sg_aggregate_factor(sg_aggregate_mode mode, sg_empty_rows empty, sg_aggregate_counts counts,
                           size_t row_tokens);

#endif
