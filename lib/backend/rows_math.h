/* SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef SG_ROWS_MATH_H
#define SG_ROWS_MATH_H

#include "backend/backend.h"
#include "core/host_device.h"
#include "core/vec_math.h"

/* What the backends of rows share: layout of a row, the numbers that describe an update, and every
 * formula of a row as a whole, in double precision. The formulas of one token are in rows_real.h.
 * Sums are taken in one order everywhere, so that all backends give the same bits: within a tile in
 * 16 lanes (token i in lane i % 16), lanes in a tree, tiles in the tree of sg_tree_split. */

enum {
    SG_TILE = 1024, /* tokens of a tile */
    SG_LANES = 16,  /* rows are padded with q = 0 to a multiple of this */
};

#define SG_LN2 0x1.62e42fefa39efp-1

/* fp32 rows keep moments multiplied by 2^40, so that the square of a gradient of 1e-15 does not
 * underflow; gradients must stay below 1e7. Exact, because it is a power of two. */
#define SG_MOMENT_SCALE_FP32 0x1p40

/* Up to this change of a logit one power of two is enough to apply it. */
#define SG_NEAR 32.0

typedef struct sg_row_head {
    double total;     /* Z = sum q, added in a fixed tree over the tiles */
    int64_t exponent; /* offset = exponent * ln 2 */
    double bound;     /* momentum, coupled-adam: upper bound of the stored mean */
    double second;    /* coupled-adam: v */
} sg_row_head;

/* What is known before the pass over a row. The gradient of an unsampled token is `gradient` * q.
 */
typedef struct sg_row_job {
    sg_optimizer_kind
        kind;        /* sgd, momentum or adam: the others are one of them with other numbers */
    double reach;    /* upper bound of every |delta| */
    bool near;       /* every |delta| <= SG_NEAR: one power of two is enough and shift is 0 */
    bool sparse;     /* only sampled tokens move (SGD with W = 0) */
    double push;     /* W, the sum of the pushes; 0 when it is only rounding */
    double size;     /* the sum of the pushes' sizes, which no gradient exceeds */
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

SG_HD static inline void sg_row_sums_add(sg_row_sums *a, const sg_row_sums *b)
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

SG_HD static inline void sg_row_look_add(sg_row_look *a, const sg_row_look *b)
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
 * length. Equally: neighbours are added, then neighbouring pairs, and so on, and what has no
 * neighbour waits. */
static inline size_t sg_tree_split(size_t first, size_t end)
{
    size_t half = 1;
    while (2 * half < end - first)
        half *= 2;
    return first + half;
}

/* log(q / total), also where the quotient leaves the normal range. */
SG_HD static inline double sg_row_log_prob(double q, double total)
{
    double p = q / total;
    return p >= 0x1p-1000 || q == 0 ? sg_log(p) : sg_log(q) - sg_log(total);
}

/* exp(d) - 1 - d, of relative accuracy 1e-15 at any d. */
SG_HD static inline double sg_exp_excess(double d)
{
    double c = d > 1417.0 ? 1417.0 : d;
    c = c < -1417.0 ? -1417.0 : c;
    uint64_t n;
    double r, p = sg_exp_polynomial(c, &r, &n);
    uint64_t half = (n + 2048) >> 1;
    double e = (1.0 + (r + r * r * p)) * sg_double_of_bits((half - 1) << 52) *
               sg_double_of_bits((n - half + 2047) << 52);
    double far = (e - 1.0) - d;
    return fabs(d) < 0.34 ? r * r * p : far;
}

SG_HD static inline double sg_log1p_excess(double x)
{
    return x > -0.29 && x < 0.41 ? sg_log_excess(x) : sg_log(1 + x) - x;
}

SG_HD static inline double sg_integer_power(double x, uint64_t n)
{
    double result = 1;
    for (; n; n >>= 1, x *= x)
        if (n & 1)
            result *= x;
    return result;
}

/* ---- Before the pass ---- */

/* The gradient of a row, from the samples and the normaliser. */
SG_HD static inline void sg_row_job_init(sg_row_job *job, const sg_rows_config *config,
                                         double total, size_t n, const int32_t *tokens,
                                         const double *pushes, bool projected)
{
    double push = 0, size = 0;
    for (size_t j = 0; j < n; j++) {
        push += pushes[j];
        size += fabs(pushes[j]);
    }
    /* What rounding leaves of centred pushes is not a push: Adam would blow it up to full steps. */
    if (projected || fabs(push) <= 0x1p-44 * size)
        push = 0;
    bool scaled = config->precision == SG_FP32 && config->optimizer != SG_SGD;
    memset(job, 0, sizeof *job); /* kind: sgd */
    job->push = push;
    job->size = size;
    job->gradient = -push / total;
    job->scale = scaled ? SG_MOMENT_SCALE_FP32 : 1.0;
    job->inverse_total = 1 / total;
    job->n = n;
    job->tokens = tokens;
    job->pushes = pushes;
}

/* |mhat| / sqrt(vhat) <= this at step `time`, by Cauchy and Schwarz on the two weighted sums of
 * past gradients. */
SG_HD static inline double sg_row_adam_bound(const sg_optimizer *o, uint64_t time)
{
    double rho = o->beta1 * o->beta1 / o->beta2;
    double terms = rho == 1 ? (double)time : (1 - sg_integer_power(rho, time)) / (1 - rho);
    double bound = (1 - o->beta1) / (1 - sg_integer_power(o->beta1, time)) *
                   sqrt((1 - sg_integer_power(o->beta2, time)) / (1 - o->beta2) * terms);
    return bound != bound ? (double)INFINITY : bound;
}

/* Coupled Adam is momentum with a rate of the row's own: v is one number, which follows the mean
 * of the squared gradient over the row. */
SG_HD static inline void sg_row_couple(sg_row_job *job, sg_row_head *head, const sg_optimizer *o,
                                       uint64_t time, double mean_square)
{
    head->second = o->beta2 * head->second + (1 - o->beta2) * mean_square;
    double root = sqrt(head->second / (1 - sg_integer_power(o->beta2, time)));
    job->step =
        o->lr / (1 - sg_integer_power(o->beta1, time)) / fmax(root + o->eps, 0x1p-500) / job->scale;
    job->fresh = 1 - o->beta1;
}

/* What the optimiser makes of the gradient, and how far that can go. mean_square: of the gradient,
 * for coupled-adam only. */
SG_HD static inline void sg_row_job_rule(sg_row_job *job, sg_row_head *head,
                                         const sg_rows_config *config, const sg_optimizer *o,
                                         uint64_t time, double mean_square)
{
    bool fp32 = config->precision == SG_FP32;
    job->beta1 = o->beta1;
    job->beta2 = o->beta2;
    job->kind = o->kind;
    job->step = o->lr / job->scale;
    job->fresh = 1;
    job->reach = o->lr * job->size;
    if (o->kind == SG_COUPLED_ADAM)
        sg_row_couple(job, head, o, time, mean_square);
    if (o->kind == SG_MOMENTUM || o->kind == SG_COUPLED_ADAM) {
        job->kind = SG_MOMENTUM;
        head->bound = o->beta1 * head->bound + job->fresh * job->size;
        job->reach = job->step * job->scale * head->bound;
    } else if (o->kind == SG_ADAM || o->kind == SG_ADAMW) {
        double root = sqrt(1 - sg_integer_power(o->beta2, time));
        job->kind = SG_ADAM;
        job->step = o->lr / (1 - sg_integer_power(o->beta1, time)) * root;
        job->eps = fmax(o->eps * job->scale * root, fp32 ? 0x1p-60 : 0x1p-500);
        job->reach = o->lr * sg_row_adam_bound(o, time);
    }
    if (o->kind == SG_ADAMW) { /* no |log q| of a q > 0 exceeds `farthest` */
        double farthest = fp32 ? 105 : 746;
        job->decay = o->lr * o->weight_decay;
        job->offset = (double)head->exponent * SG_LN2;
        job->reach += job->decay * (fabs(job->offset) + farthest);
    }
    job->near = job->reach <= SG_NEAR;
    job->sparse = o->kind == SG_SGD && job->push == 0 && job->near;
}

/* Large steps move the offset to the greatest new log q, `peak`. */
SG_HD static inline void sg_row_job_move(sg_row_job *job, sg_row_head *head,
                                         const sg_rows_config *config, double peak)
{
    if (!(fabs(peak) < (double)INFINITY))
        return;
    double steps = floor(peak / SG_LN2);
    job->shift = steps * SG_LN2;
    if (config->precision == SG_FP32)
        job->shift = (double)(float)job->shift;
    head->exponent += (int64_t)steps;
}

/* Upper bound of |x| over the tokens without a sample of a tile. No q of a tile exceeds its mass.
 */
SG_HD static inline double sg_row_reach(const sg_row_job *job, double tile_mass)
{
    double reach = job->reach;
    if (job->kind == SG_SGD)
        reach = fmin(reach, fabs(job->gradient * job->step) * tile_mass);
    return job->shift == 0 ? reach : (double)INFINITY;
}

/* ---- Sampled tokens ---- */

/* The change of the logit of a sampled token; its moments move on. */
SG_HD static inline double sg_row_touched_change(const sg_row_job *job, double push, double q,
                                                 double *m, double *v)
{
    double x, g = (push + job->gradient * q) * job->scale;
    if (job->kind == SG_SGD) {
        x = job->step * g;
    } else if (job->kind == SG_MOMENTUM) {
        *m = job->beta1 * *m + job->fresh * g;
        x = job->step * *m;
    } else {
        *m = job->beta1 * *m + (1 - job->beta1) * g;
        *v = job->beta2 * *v + (1 - job->beta2) * (g * g);
        x = job->step * *m / (sqrt(*v) + job->eps);
    }
    return job->decay > 0 && q > 0 ? x - job->decay * (sg_log(q) + job->offset) : x;
}

/* What it adds to the sums: q before the change, x the change. */
SG_HD static inline void sg_row_sums_touched(sg_row_sums *sums, const sg_row_job *job, double push,
                                             double q, double x)
{
    double g = push + job->gradient * q, p = q * job->inverse_total;
    double y = x - job->shift, e = sg_exp_excess(y);
    sums->touched_norm2 += g * g;
    sums->norm2 += x * x;
    sums->first += p * y;
    sums->excess += p * e;
    sums->reverse += p * (y * (e + y) - e);
}

/* ---- After the pass ---- */

/* The sums of a tile when no |x| exceeds 2^-6: from the moments m[k] = sum p x^k, as
 * exp(x) - 1 - x = x^2/2! + x^3/3! + ... and x exp(x) - exp(x) + 1 = x^2/2! + 2 x^3/3! + 3 x^4/4! + ... */
SG_HD static inline void sg_row_sums_of_moments(sg_row_sums *sums, const double m[8])
{
    sums->first = m[1];
    sums->excess = m[2] / 2 + (m[3] / 6 + (m[4] / 24 + (m[5] / 120 + (m[6] / 720 + m[7] / 5040))));
    sums->reverse = m[2] / 2 + (m[3] / 3 + (m[4] / 8 + (m[5] / 30 + (m[6] / 144 + m[7] / 840))));
}

/* The power of two by which q is divided so that the greatest tile mass is in [2^-20, 2^20]; 0: it
 * is there already. */
SG_HD static inline int sg_row_rebase_exponent(double greatest_mass)
{
    bool usable = greatest_mass > 0 && greatest_mass < (double)INFINITY;
    return !usable || (greatest_mass >= 0x1p-20 && greatest_mass <= 0x1p20) ? 0
                                                                            : ilogb(greatest_mass);
}

/* KL(old || new) and KL(new || old) from sums of p d, of p (exp(d) - 1 - d) and of p (d exp(d) - exp(d)
 * + 1). sum p exp(d) = 1 + x, so that KL(old || new) = log(1 + x) - sum p d, and so on: every term below
 * is of second order in d, none is a difference of first-order ones. */
SG_HD static inline void sg_row_divergences(double first, double excess, double reverse,
                                            double kl[2])
{
    double x = first + excess, log_excess = sg_log1p_excess(x);
    double forward = log_excess + excess;
    double backward = reverse / (1 + x) - log_excess - x * x / (1 + x);
    kl[0] = forward < 0 ? 0 : forward;
    kl[1] = backward < 0 ? 0 : backward;
}

SG_HD static inline sg_row_change sg_row_change_of(const sg_row_job *job, const sg_row_sums *s)
{
    double kl[2];
    sg_row_divergences(s->first, s->excess, s->reverse, kl);
    sg_row_change change;
    change.kl_old_new = kl[0];
    change.kl_new_old = kl[1];
    change.grad_norm2 = job->push * job->push * s->free_collision + s->touched_norm2;
    change.delta_norm2 = s->norm2;
    change.diffuse_push = job->push;
    change.upward_push = job->push < 0 ? -job->push * s->free_mass : 0;
    change.max_unsampled_push = s->max_free;
    return change;
}

SG_HD static inline sg_row_observation sg_row_observation_of(const sg_row_look *look,
                                                             size_t vocabulary)
{
    double total = look->mass, log_total = sg_log(total);
    double entropy = log_total - look->mass_log / total;
    double tail_part = (look->tail_mass * log_total - look->tail_mass_log) / total;
    sg_row_observation o;
    o.entropy = entropy < 0 ? 0 : entropy;
    o.head_entropy = sg_log(look->head_mass) - look->head_mass_log / look->head_mass;
    o.tail_mass = look->tail_mass / total;
    o.tail_entropy_share = entropy > 0 ? fmin(fmax(tail_part / entropy, 0.0), 1.0) : 0;
    o.collision = look->square / (total * total);
    o.max_prob = look->max / total;
    o.logit_range = sg_log(look->max / look->min);
    o.underflowed = vocabulary - look->positive;
    return o;
}

#endif
