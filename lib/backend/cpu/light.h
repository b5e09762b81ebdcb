/* SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef SG_CPU_LIGHT_H
#define SG_CPU_LIGHT_H

#include <stdatomic.h>

#include "backend/light_rows.h"

/* Inside of sg_light_rows: see backend/light_rows.h for the mathematics. */

enum {
    SG_LIGHT_TERMS = 16, /* of every power series, and power sums */
    SG_LIGHT_ORDER = 4,  /* numbers S */
    SG_LIGHT_FAN =
        64, /* children of a node in the tree of sums, tokens of a block of explicit ones */
    SG_LIGHT_LEVELS = 5 /* 64^5 tokens are more than 2^29; the top level is scanned whole */
};

/* The largest ratio of coefficients for which the series are used. */
#define SG_LIGHT_RATIO 0.125

/* sum x^(k+1) and sum x^(k+1) log x over light tokens, k = 0..15. */
typedef struct sg_light_sums {
    double power[SG_LIGHT_TERMS];
    double power_log[SG_LIGHT_TERMS];
} sg_light_sums;

/* The value of light tokens at the last rebase, with what is needed to draw from them. A prior is
 * one that nobody writes any more. */
struct sg_light_prior {
    atomic_size_t owners;
    size_t vocabulary, head;
    double *q; /* [vocabulary]; 0 for tokens that were heavy when it was made */
    size_t levels, width[SG_LIGHT_LEVELS];
    double *sum[SG_LIGHT_LEVELS]; /* sums of 64 q, of 64 of those, ... */
    double total;                 /* sum q */
    double scale;                 /* x = q / scale is at most 1 */
    double offset;                /* of the logits that it was made from: z = log q + offset */
    sg_light_sums sums[2];        /* head, tail */
    int32_t *heavy;               /* heavy tokens in increasing order, and their q */
    double *heavy_q;
    size_t heavy_count, heavy_capacity;
    int32_t top, bottom; /* a light token of greatest, of least positive q; -1 when there is none */
    size_t positive;     /* light tokens with q > 0 */
};

typedef struct sg_light_row {
    sg_light_prior *base;
    bool owned;               /* base is this row's alone: explicit tokens have q = 0 there */
    double s[SG_LIGHT_ORDER]; /* S1..S4 */
    double offset;            /* z = log q + offset + exponent log 2 */
    int64_t exponent;
    sg_light_sums sums[2];          /* of the tokens that are light now */
    double inverse[SG_LIGHT_TERMS]; /* coefficients of 1/y */
    double explicit_total, light_total, total;
    double max_explicit; /* greatest explicit q */
    /* Explicit tokens: heavy ones in order, then sampled ones as they came. Padded to the block. */
    size_t count, capacity, limit;
    int32_t *token;
    double *q, *move, *block; /* move: logit changes of the update at hand, 0 between updates */
    int32_t *slots;           /* hash table: slot of a token, -1 when free; slot_mask + 1 cells */
    size_t slot_mask;
    int32_t top, bottom; /* as in the base, of the present light tokens; -2 when not known */
    size_t positive;     /* light tokens with q > 0 */
    double threshold;    /* of heavy tokens, in probability */
    double defect;       /* since the last rebase */
    double drift;        /* bound on the relative rounding of the sums */
    double bound;
    uint64_t updates, rebases, folds, last_rebase;
} sg_light_row;

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

struct sg_light_rows {
    sg_light_config config;
    size_t vocabulary, head;
    sg_light_prior *prior; /* that the rows started from */
    const sg_light_kernels *kernels;
    const char *name;
    sg_light_row *row;
};

const sg_light_kernels *sg_light_kernels_select(const char **name);

/* Priors. */
sg_light_prior *sg_light_prior_new(size_t vocabulary, size_t head); /* NULL without memory */
sg_light_prior *sg_light_prior_retain(sg_light_prior *prior);
sg_light_prior *sg_light_prior_clone(const sg_light_prior *prior); /* NULL without memory */
bool sg_light_prior_reserve_heavy(sg_light_prior *prior, size_t capacity);
/* prior->q holds every token's q: takes the heavy ones out and makes the sums. False without
 * memory. */
bool sg_light_prior_settle(sg_light_prior *prior, const sg_light_kernels *kernels,
                           double threshold);
void sg_light_prior_tree(sg_light_prior *prior, const sg_light_kernels *kernels);
/* Light tokens at n targets in (0, total) of the inverse CDF; rest in [0, 1): the place inside
 * each. */
void sg_light_prior_find(const sg_light_prior *prior, size_t n, const double *target, size_t *token,
                         double *rest);
void sg_light_prior_prefetch(const sg_light_prior *prior, size_t token); /* before a put */
/* Writes one q and the sums above it. */
void sg_light_prior_put(sg_light_prior *prior, size_t token, double q);

/* Power series in x, SG_LIGHT_TERMS coefficients. */
void sg_light_multiply(const double *a, const double *b, double *product);
void sg_light_inverse(const double *s, double *inverse);                      /* 1/y */
void sg_light_log(const double *s, const double *inverse, double *logarithm); /* log y */
/* sum over k of a[k] power[k + shift], where there are such power sums. */
double sg_light_contract(const double *a, const double *power, size_t shift);
/* y(x) */
static inline double sg_light_y(const double *s, double x)
{
    return 1 + x * (s[0] + x * (s[1] + x * (s[2] + x * s[3])));
}

/* Rows. */
bool sg_light_row_init(sg_light_row *row, const sg_light_rows *rows, sg_light_prior *prior);
void sg_light_row_clear(sg_light_row *row);
int32_t sg_light_row_slot(const sg_light_row *row, int32_t token); /* -1 for a light token */
double sg_light_row_q(const sg_light_row *row, int32_t token);
/* Present q of every token, times a factor each for light and explicit ones; q may be base->q. */
void sg_light_row_carry(const sg_light_row *row, const sg_light_kernels *kernels,
                        double light_factor, double explicit_factor, double *q);
/* Starts again from the row's base: S = 0, the heavy tokens explicit. False without memory. */
bool sg_light_row_restart(sg_light_row *row, const sg_light_rows *rows);
void sg_light_row_total(sg_light_row *row); /* from the blocks and the series */
void sg_light_row_extremes(sg_light_row *row, double *top, double *bottom); /* light q; 0: none */
/* Makes room for `more` explicit tokens. False without memory. */
bool sg_light_row_reserve(sg_light_row *row, size_t more);
/* After explicit tokens 0..count-1 have been moved to the front of `before`: forgets the others. */
void sg_light_row_keep(sg_light_row *row, size_t count, size_t before);
int32_t sg_light_row_append(sg_light_row *row, int32_t token, double q);
/* Lets a token with this x enter (sign 1) or leave (sign -1) the sums of light tokens. */
void sg_light_row_count(sg_light_row *row, int32_t token, double x, double sign);
sg_row_observation sg_light_row_observe(sg_light_row *row);
double sg_light_row_collision(const sg_light_row *row); /* sum pi^2 */
/* What the update in row->move is about to do. */
sg_row_change sg_light_row_change(sg_light_row *row, double lr, double push, size_t n,
                                  const int32_t *slots);

#endif
