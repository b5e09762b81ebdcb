/* SPDX-License-Identifier: GPL-3.0-or-later */
/* One SGD update of a row, and the two ways in which tokens become light again. */
#include "backend/cpu/light_update.h"

#include <math.h>
#include <string.h>

#include "core/vec_math.h"

enum { BLOCK = SG_LIGHT_FAN };

static const double LN2 = 0x1.62e42fefa39efp-1;

/* Rounding of one update of a logit: two roundings of q, those of S, of the exponent. */
static const double STEP_ROUNDING = 1e-15;
static const double SERIES_REST = 5e-15;

/* S after a step a = alpha x: y exp(a / y) to fourth order. */
static void advance(const double *s, double alpha, double *next)
{
    double a2 = alpha * alpha, a3 = a2 * alpha;
    double c1 = -s[0], c2 = s[0] * s[0] - s[1]; /* 1/y = 1 + c1 x + c2 x^2 + ... */
    next[0] = s[0] + alpha;
    next[1] = s[1] + a2 / 2;
    next[2] = s[2] + (a3 / 6 + a2 * c1 / 2);
    next[3] = s[3] + (a3 * alpha / 24 + a3 * c1 / 3 + a2 * c2 / 2);
}

double sg_light_series_use(const double *s)
{
    double use = 0, factor = 1;
    for (size_t k = 0; k < SG_LIGHT_ORDER; k++) {
        factor /= SG_LIGHT_RATIO;
        use += fabs(s[k]) * factor;
    }
    return use;
}

/* What S misses of one step, in the logit: the formula of light_rows.h. */
static double defect_of(const double *s, double alpha)
{
    double a = fabs(alpha), high = fabs(s[2]) + fabs(s[3]), rest = fabs(s[1]) + high;
    double m = fabs(s[0]) + rest, y = 1 - m;
    double second = high + 2 * m * rest + m * m * m / y;
    double third = m * m * (3 + 2 * m) / (y * y) + 2 * rest;
    double fourth = 1 / (y * y * y) - 1;
    return a * a * (second / 2 + a * (third / 6 + a * (fourth / 24 + a / (100 * y * y * y * y)))) /
           y;
}

/* The row's own base, so that it may be written. */
static bool own(sg_light_row *row)
{
    if (row->owned)
        return true;
    sg_light_prior *mine = sg_light_prior_clone(row->base);
    if (!mine)
        return false;
    sg_light_prior_free(row->base);
    row->base = mine;
    row->owned = true;
    for (size_t e = 0; e < row->count; e++)
        sg_light_prior_put(mine, (size_t)row->token[e], 0);
    return true;
}

/* q0 = q and S = 0: light tokens are taken at their present values, heavy ones chosen anew. The
 * factors are powers of two; explicit tokens may have theirs already. */
static bool rebase(sg_light_row *row, const sg_light_rows *rows, double threshold,
                   double light_factor, double explicit_factor)
{
    sg_light_prior *to = row->base;
    if (!row->owned) {
        to = sg_light_prior_new(row->base->vocabulary, row->base->head);
        if (!to)
            return false;
    }
    sg_light_row_carry(row, rows->kernels, light_factor, explicit_factor, to->q);
    row->exponent -= ilogb(light_factor);
    if (!row->owned) {
        sg_light_prior_free(row->base);
        row->base = to;
        row->owned = true;
    }
    row->rebases++;
    row->bound += STEP_ROUNDING;
    return sg_light_prior_settle(to, rows->kernels, threshold) && sg_light_row_restart(row, rows);
}

static double unit_factor(double total)
{
    return total > 0 && isfinite(total) ? ldexp(1.0, -ilogb(total)) : 1.0;
}

/* The series are spent. Where that happens often, more tokens are made heavy. */
static bool rebase_for(sg_light_row *row, const sg_light_rows *rows, double rate)
{
    uint64_t interval = row->updates - row->last_rebase;
    if (interval < 256 && row->threshold > 0x1p-14)
        row->threshold /= 4;
    else if (interval > 4096 && row->threshold < 0x1p-10)
        row->threshold *= 4;
    double threshold = row->threshold;
    if (rate * threshold > 0x1p-6)
        threshold = 0x1p-6 / rate;
    double factor = unit_factor(row->total);
    return rebase(row, rows, threshold, factor, factor);
}

/* x with x / y(x) = value; Newton's method from the solution for S1 alone. */
static double start_of(const double *s, double value)
{
    double x = value / (1 - value * s[0]);
    for (int i = 0; i < 3; i++) {
        double slope = s[0] + x * (2 * s[1] + x * (3 * s[2] + x * 4 * s[3]));
        x -= (x - value * sg_light_y(s, x)) / (1 - value * slope);
    }
    return x;
}

/* Explicit tokens that are light and below the scale become light tokens. */
static bool fold(sg_light_row *row, const sg_light_rows *rows)
{
    if (!own(row))
        return false;
    sg_light_prior *base = row->base;
    size_t kept = 0, before = row->count;
    for (size_t e = 0; e < before; e++) {
        int32_t token = row->token[e];
        if (e + 16 < before)
            sg_light_prior_prefetch(base, (size_t)row->token[e + 16]);
        double q = row->q[e], value = q / base->scale;
        double x = value < 1.25 ? start_of(row->s, value) : 2;
        if (q < row->threshold / 2 * row->total && x <= 1) {
            sg_light_row_count(row, token, x, 1);
            sg_light_prior_put(base, (size_t)token, x * base->scale);
            if (row->top == -1 || (row->top >= 0 && base->q[token] > base->q[row->top]))
                row->top = token;
            if (q > 0 &&
                (row->bottom == -1 || (row->bottom >= 0 && base->q[token] < base->q[row->bottom])))
                row->bottom = token;
        } else {
            row->token[kept] = token;
            row->q[kept++] = q;
        }
    }
    sg_light_row_keep(row, kept, before);
    row->limit = kept + rows->config.explicit_limit;
    row->folds++;
    row->bound += STEP_ROUNDING;
    sg_light_row_total(row);
    return true;
}

/* Makes a token explicit and returns its slot. */
static int32_t touch(sg_light_row *row, int32_t token)
{
    int32_t slot = sg_light_row_slot(row, token);
    if (slot >= 0)
        return slot;
    double q = sg_light_row_q(row, token);
    sg_light_row_count(row, token, row->base->q[token] / row->base->scale, -1);
    if (row->owned)
        sg_light_prior_put(row->base, (size_t)token, 0);
    if (token == row->top || token == row->bottom)
        row->top = row->bottom = -2;
    row->max_explicit = q > row->max_explicit ? q : row->max_explicit;
    return sg_light_row_append(row, token, q);
}

/* Steps that may multiply a q by more than exp(32): in logarithms, with a new common factor. */
static bool far_step(sg_light_row *row, const sg_light_rows *rows, double kappa)
{
    double peak = sg_log(row->total);
    int steps = 0;
    for (size_t e = 0; e < row->count; e++) {
        row->move[e] = sg_log(row->q[e]) + (row->move[e] - kappa * row->q[e]);
        peak = row->move[e] > peak ? row->move[e] : peak;
    }
    if (isfinite(peak))
        steps = (int)fmin(floor(peak / LN2), 1e6);
    for (size_t e = 0; e < row->count; e++) {
        row->q[e] = sg_exp(row->move[e] - (double)steps * LN2);
        row->move[e] = 0;
    }
    return rebase(row, rows, row->threshold, ldexp(1.0, -steps), 1);
}

/* How much an update expands the difference of two rows: the greatest absolute row sum of
 * 1 - rate (diag(pi) - pi pi^T), and pi (1 - pi) is greatest for the most probable token. */
static double growth_of(const sg_light_row *row, double rate)
{
    double most = row->max_explicit > row->base->scale ? row->max_explicit : row->base->scale;
    double p = fmin(most / row->total, 1), spread = rate * p * (1 - p);
    if (rate < 0)
        return 1 - 2 * spread;
    return spread > 1 ? 2 * spread - 1 : 1;
}

bool sg_light_row_update(sg_light_row *row, const sg_light_rows *rows, double lr, bool projected,
                         size_t n, const int32_t *tokens, const double *pushes, int32_t *slots,
                         sg_row_change *change)
{
    double push = 0, size = 0;
    for (size_t j = 0; j < n; j++) {
        push += pushes[j];
        size += fabs(pushes[j]);
    }
    /* What rounding leaves of centred pushes is not a push. */
    if (projected || fabs(push) <= 0x1p-44 * size)
        push = 0;
    double rate = lr * push, alpha = rate * row->base->scale / row->total, next[SG_LIGHT_ORDER];
    double defect = defect_of(row->s, alpha);
    advance(row->s, alpha, next);
    if (!(sg_light_series_use(next) <= 1) || !(row->defect + defect <= rows->config.tolerance)) {
        if (!rebase_for(row, rows, fabs(rate)))
            return false;
        alpha = rate * row->base->scale / row->total;
        defect = defect_of(row->s, alpha);
        advance(row->s, alpha, next);
    } else if (row->count + n > row->limit && !fold(row, rows)) {
        return false;
    }
    if (!sg_light_row_reserve(row, n))
        return false;
    for (size_t j = 0; j < n; j++) {
        slots[j] = touch(row, tokens[j]);
        row->move[slots[j]] += lr * pushes[j];
    }
    if (change)
        *change = sg_light_row_change(row, lr, push, n, slots);
    row->bound = row->bound * growth_of(row, rate) + defect +
                 fabs(rate) * (row->drift + SERIES_REST) + STEP_ROUNDING;
    row->defect += defect;
    row->updates++;
    memcpy(row->s, next, sizeof next);
    sg_light_inverse(row->s, row->inverse);
    double kappa = rate / row->total;
    if (!(lr * size <= 32))
        return far_step(row, rows, kappa);
    size_t padded = (row->count + BLOCK - 1) / BLOCK * BLOCK;
    row->max_explicit = rows->kernels->step(padded, row->q, row->move, kappa, row->block);
    sg_light_row_total(row);
    if (row->total < 0x1p-300 || row->total > 0x1p300) {
        double factor = unit_factor(row->total);
        return rebase(row, rows, row->threshold, factor, factor);
    }
    return true;
}
