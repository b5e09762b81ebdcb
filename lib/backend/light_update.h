/* SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef SG_LIGHT_UPDATE_H
#define SG_LIGHT_UPDATE_H

#include "backend/light_look.h"

/* One SGD update of a light row, as all backends make it. The team calls sg_light_update_go until it
 * needs nothing more; what it asks for in between is what backends do in their own ways: memory, the
 * pass over the explicit tokens, and what costs O(V). */

typedef enum sg_light_need {
    SG_LIGHT_NOTHING, /* the update is done */
    SG_LIGHT_ROOM,    /* room for update->wanted explicit tokens */
    SG_LIGHT_OWN,     /* a base of the row's own; sg_light_update_own follows */
    SG_LIGHT_EXTREMES,
    SG_LIGHT_STEP,   /* row->q *= exp(row->move - update->kappa row->q), and what depends on it */
    SG_LIGHT_REBASE, /* the base's q from the row's present ones, with update's factors and threshold;
                        sg_light_update_rebased comes first, sg_light_row_start last */
} sg_light_need;

typedef enum sg_light_stage {
    SG_LIGHT_BEGIN,
    SG_LIGHT_AGAIN, /* the series are new */
    SG_LIGHT_FOLD,
    SG_LIGHT_TOUCH,
    SG_LIGHT_MOVE,
    SG_LIGHT_MOVED,
    SG_LIGHT_END,
} sg_light_stage;

typedef struct sg_light_update {
    /* Set by the caller: what is to be done, with stage = SG_LIGHT_BEGIN. */
    double lr, tolerance;
    size_t explicit_limit, n;
    bool projected;
    const int32_t *tokens; /* [n] */
    const double *pushes;  /* [n] */
    int32_t *slots;        /* [n], to work with */
    sg_row_change *change; /* may be NULL */
    /* How far it is. */
    sg_light_stage stage;
    double push, size, rate, alpha, defect, next[SG_LIGHT_ORDER];
    double kappa, threshold, light_factor, explicit_factor;
    size_t wanted; /* explicit tokens */
} sg_light_update;

/* S after a step a = alpha x: y exp(a / y) to fourth order. */
SG_TEAM_CODE void sg_light_advance(const double *s, double alpha, double *next)
{
    double a2 = alpha * alpha, a3 = a2 * alpha;
    double c1 = -s[0], c2 = s[0] * s[0] - s[1]; /* 1/y = 1 + c1 x + c2 x^2 + ... */
    next[0] = s[0] + alpha;
    next[1] = s[1] + a2 / 2;
    next[2] = s[2] + (a3 / 6 + a2 * c1 / 2);
    next[3] = s[3] + (a3 * alpha / 24 + a3 * c1 / 3 + a2 * c2 / 2);
}

/* What S misses of one step, in the logit: the formula of light_rows.h. */
SG_TEAM_CODE double sg_light_defect(const double *s, double alpha)
{
    double a = fabs(alpha), high = fabs(s[2]) + fabs(s[3]), rest = fabs(s[1]) + high;
    double m = fabs(s[0]) + rest, y = 1 - m;
    double second = high + 2 * m * rest + m * m * m / y;
    double third = m * m * (3 + 2 * m) / (y * y) + 2 * rest;
    double fourth = 1 / (y * y * y) - 1;
    return a * a * (second / 2 + a * (third / 6 + a * (fourth / 24 + a / (100 * y * y * y * y)))) /
           y;
}

SG_TEAM_CODE double sg_light_unit_factor(double total)
{
    return total > 0 && total < (double)INFINITY ? ldexp(1.0, -ilogb(total)) : 1.0;
}

/* x with x / y(x) = value; Newton's method from the solution for S1 alone. */
SG_TEAM_CODE double sg_light_start_of(const double *s, double value)
{
    double x = value / (1 - value * s[0]);
    for (int i = 0; i < 3; i++) {
        double slope = s[0] + x * (2 * s[1] + x * (3 * s[2] + x * 4 * s[3]));
        x -= (x - value * sg_light_y(s, x)) / (1 - value * slope);
    }
    return x;
}

/* How much an update expands the difference of two rows: the greatest absolute row sum of
 * 1 - rate (diag(pi) - pi pi^T), and pi (1 - pi) is greatest for the most probable token. */
SG_TEAM_CODE double sg_light_growth(const sg_light_row *row, double rate)
{
    double most = row->max_explicit > row->base->scale ? row->max_explicit : row->base->scale;
    double p = fmin(most / row->total, 1.0), spread = rate * p * (1 - p);
    if (rate < 0)
        return 1 - 2 * spread;
    return spread > 1 ? 2 * spread - 1 : 1;
}

/* ---- Rebase ---- */

SG_TEAM_CODE void sg_light_ask_rebase(sg_light_update *update, double threshold,
                                      double light_factor, double explicit_factor)
{
    update->threshold = threshold;
    update->light_factor = light_factor;
    update->explicit_factor = explicit_factor;
}

/* The leader, at each rebase: q0 = q and S = 0, light tokens at their present values, heavy ones
 * chosen anew. The factors are powers of two; explicit tokens may have theirs already. */
SG_TEAM_CODE void sg_light_update_rebased(sg_light_row *row, const sg_light_update *update)
{
    row->exponent -= ilogb(update->light_factor);
    row->rebases++;
    row->bound += SG_LIGHT_STEP_ROUNDING;
}

/* The series are spent. Where that happens often, more tokens are made heavy. */
SG_TEAM_CODE void sg_light_renew(sg_light_row *row, sg_light_update *update)
{
    uint64_t interval = row->updates - row->last_rebase;
    double rate = fabs(update->rate);
    if (interval < 256 && row->threshold > 0x1p-14)
        row->threshold /= 4;
    else if (interval > 4096 && row->threshold < SG_LIGHT_THRESHOLD)
        row->threshold *= 4;
    double threshold = row->threshold, factor = sg_light_unit_factor(row->total);
    if (rate * threshold > 0x1p-6)
        threshold = 0x1p-6 / rate;
    sg_light_ask_rebase(update, threshold, factor, factor);
}

/* ---- Explicit tokens ---- */

/* The team, when the row got a copy of its base: explicit tokens have no part in it. */
SG_TEAM_CODE void sg_light_update_own(sg_light_row *row, sg_light_base *own)
{
    for (size_t e = 0; e < row->count; e++) {
        size_t token = (size_t)row->token[e];
        sg_light_base_put(own, token, row->base->q[token], 0);
    }
    SG_TEAM_WAIT();
    if (SG_TEAM_LEADS) {
        row->base = own;
        row->owned = true;
    }
    SG_TEAM_WAIT();
}

/* A token that has become light may be the greatest or the least of them. */
SG_TEAM_CODE void sg_light_note_extreme(sg_light_row *row, int32_t token, double q, double q0)
{
    const sg_light_base *base = row->base;
    if (row->top == -1 || (row->top >= 0 && q0 > base->q[row->top]))
        row->top = token;
    if (q > 0 && (row->bottom == -1 || (row->bottom >= 0 && q0 < base->q[row->bottom])))
        row->bottom = token;
}

/* Explicit tokens that are light and below the scale become light tokens. */
SG_TEAM_CODE void sg_light_fold(sg_light_row *row, size_t explicit_limit)
{
    const double stays = 2;
    sg_light_base *base = row->base;
    size_t kept = 0, before = row->count;
    for (size_t e = SG_TEAM_LANE; e < before; e += SG_TEAM_LANES) {
        double q = row->q[e], value = q / base->scale;
        double x = value < 1.25 ? sg_light_start_of(row->s, value) : stays;
        row->move[e] = q < row->threshold / 2 * row->total && x <= 1 ? x : stays;
    }
    SG_TEAM_WAIT();
    for (size_t e = 0; e < before; e++) {
        int32_t token = row->token[e];
        double x = row->move[e];
        if (e + 16 < before) {
            SG_TEAM_PREFETCH(base->q + row->token[e + 16]);
            SG_TEAM_PREFETCH(base->sum[0] + row->token[e + 16] / SG_LIGHT_FAN);
        }
        if (x == stays)
            continue;
        sg_light_row_count(row, token, x, 1);
        sg_light_base_put(base, (size_t)token, 0, x * base->scale);
        if (SG_TEAM_LEADS)
            sg_light_note_extreme(row, token, row->q[e], x * base->scale);
    }
    SG_TEAM_WAIT();
    for (size_t e = 0; e < before; e++) { /* every lane counts, the leader moves */
        bool stay = row->move[e] == stays;
        if (stay && SG_TEAM_LEADS) {
            row->token[kept] = row->token[e];
            row->q[kept] = row->q[e];
        }
        kept += stay;
    }
    SG_TEAM_WAIT();
    for (size_t e = SG_TEAM_LANE; e < before; e += SG_TEAM_LANES)
        row->move[e] = 0;
    sg_light_row_keep(row, kept, before);
    if (SG_TEAM_LEADS) {
        row->limit = kept + explicit_limit;
        row->folds++;
        row->bound += SG_LIGHT_STEP_ROUNDING;
        sg_light_row_total(row);
    }
    SG_TEAM_WAIT();
}

/* The team makes a token explicit. */
SG_TEAM_CODE void sg_light_become_explicit(sg_light_row *row, int32_t token)
{
    double q0 = row->base->q[token], q = sg_light_row_q(row, token);
    SG_TEAM_WAIT();
    sg_light_row_count(row, token, q0 / row->base->scale, -1);
    if (row->owned)
        sg_light_base_put(row->base, (size_t)token, q0, 0);
    if (SG_TEAM_LEADS) {
        if (token == row->top || token == row->bottom)
            row->top = row->bottom = -2;
        row->max_explicit = q > row->max_explicit ? q : row->max_explicit;
        sg_light_row_append(row, token, q);
    }
    SG_TEAM_WAIT();
}

SG_TEAM_CODE void sg_light_touch(sg_light_row *row, const sg_light_update *update)
{
    for (size_t j = 0; j < update->n; j++) {
        int32_t slot = sg_light_row_slot(row, update->tokens[j]);
        if (slot < 0) {
            sg_light_become_explicit(row, update->tokens[j]);
            slot = (int32_t)row->count - 1;
        }
        if (SG_TEAM_LEADS) {
            update->slots[j] = slot;
            row->move[slot] += update->lr * update->pushes[j];
        }
    }
    SG_TEAM_WAIT();
}

/* Steps that may multiply a q by more than exp(32): in logarithms, with a new common factor. */
SG_TEAM_CODE void sg_light_far_step(sg_light_row *row, sg_light_update *update)
{
    double kappa = update->kappa;
    for (size_t e = SG_TEAM_LANE; e < row->count; e += SG_TEAM_LANES)
        row->move[e] = sg_log(row->q[e]) + (row->move[e] - kappa * row->q[e]);
    SG_TEAM_WAIT();
    double peak = sg_log(row->total);
    for (size_t e = 0; e < row->count; e++)
        peak = row->move[e] > peak ? row->move[e] : peak;
    int steps = 0;
    if (fabs(peak) < (double)INFINITY)
        steps = (int)fmin(floor(peak / SG_LIGHT_LN2), 1e6);
    SG_TEAM_WAIT();
    for (size_t e = SG_TEAM_LANE; e < row->count; e += SG_TEAM_LANES) {
        row->q[e] = sg_exp(row->move[e] - (double)steps * SG_LIGHT_LN2);
        row->move[e] = 0;
    }
    if (SG_TEAM_LEADS)
        sg_light_ask_rebase(update, row->threshold, ldexp(1.0, -steps), 1);
    SG_TEAM_WAIT();
}

/* ---- The update ---- */

SG_TEAM_CODE void sg_light_measure_step(const sg_light_row *row, sg_light_update *update)
{
    update->alpha = update->rate * row->base->scale / row->total;
    update->defect = sg_light_defect(row->s, update->alpha);
    sg_light_advance(row->s, update->alpha, update->next);
}

SG_TEAM_CODE void sg_light_measure(const sg_light_row *row, sg_light_update *update)
{
    double push = 0, size = 0;
    for (size_t j = 0; j < update->n; j++) {
        push += update->pushes[j];
        size += fabs(update->pushes[j]);
    }
    /* What rounding leaves of centred pushes is not a push. */
    if (update->projected || fabs(push) <= 0x1p-44 * size)
        push = 0;
    update->push = push;
    update->size = size;
    update->rate = update->lr * push;
    sg_light_measure_step(row, update);
}

SG_TEAM_CODE void sg_light_book(sg_light_row *row, sg_light_update *update)
{
    double rate = update->rate;
    row->bound = row->bound * sg_light_growth(row, rate) + update->defect +
                 fabs(rate) * (row->drift + SG_LIGHT_SERIES_REST) + SG_LIGHT_STEP_ROUNDING;
    row->defect += update->defect;
    row->updates++;
    for (size_t k = 0; k < SG_LIGHT_ORDER; k++)
        row->s[k] = update->next[k];
    sg_light_inverse(row->s, row->inverse);
    update->kappa = rate / row->total;
}

/* Goes on at `stage` when it is called again. */
SG_TEAM_CODE sg_light_need sg_light_pause(sg_light_update *update, sg_light_stage stage,
                                          sg_light_need need)
{
    SG_TEAM_WAIT(); /* nobody looks at the old stage any more */
    if (SG_TEAM_LEADS)
        update->stage = stage;
    SG_TEAM_WAIT();
    return need;
}

SG_TEAM_CODE sg_light_stage sg_light_begin(sg_light_row *row, sg_light_update *update)
{
    if (SG_TEAM_LEADS)
        sg_light_measure(row, update);
    SG_TEAM_WAIT();
    bool spent = !(sg_light_series_use(update->next) <= 1) ||
                 !(row->defect + update->defect <= update->tolerance);
    if (!spent)
        return row->count + update->n > row->limit ? SG_LIGHT_FOLD : SG_LIGHT_TOUCH;
    SG_TEAM_WAIT();
    if (SG_TEAM_LEADS)
        sg_light_renew(row, update);
    return SG_LIGHT_AGAIN;
}

/* All of the update but what it asks for. */
SG_TEAM_CODE sg_light_need sg_light_update_go(sg_light_row *row, sg_light_update *update,
                                              sg_light_room *room)
{
    sg_light_stage stage = update->stage;
    if (stage == SG_LIGHT_BEGIN) {
        stage = sg_light_begin(row, update);
        if (stage == SG_LIGHT_AGAIN)
            return sg_light_pause(update, SG_LIGHT_AGAIN, SG_LIGHT_REBASE);
    }
    if (stage == SG_LIGHT_FOLD) {
        if (!row->owned)
            return sg_light_pause(update, SG_LIGHT_FOLD, SG_LIGHT_OWN);
        sg_light_fold(row, update->explicit_limit);
        stage = SG_LIGHT_TOUCH;
    }
    if (stage == SG_LIGHT_AGAIN) {
        if (SG_TEAM_LEADS)
            sg_light_measure_step(row, update);
        SG_TEAM_WAIT();
        stage = SG_LIGHT_TOUCH;
    }
    if (stage == SG_LIGHT_TOUCH) {
        if (sg_light_row_needs(row, update->n) > row->capacity) {
            if (SG_TEAM_LEADS)
                update->wanted = sg_light_row_needs(row, update->n);
            return sg_light_pause(update, SG_LIGHT_TOUCH, SG_LIGHT_ROOM);
        }
        sg_light_touch(row, update);
        stage = SG_LIGHT_MOVE;
    }
    if (stage == SG_LIGHT_MOVE) {
        bool rising = update->change != NULL && update->rate / row->total < 0;
        if (rising && !sg_light_row_extremes_known(row))
            return sg_light_pause(update, SG_LIGHT_MOVE, SG_LIGHT_EXTREMES);
        if (update->change != NULL)
            sg_light_row_change(row, update->lr, update->push, update->n, update->slots, room,
                                update->change);
        SG_TEAM_WAIT();
        if (SG_TEAM_LEADS)
            sg_light_book(row, update);
        SG_TEAM_WAIT();
        if (update->lr * update->size <= 32)
            return sg_light_pause(update, SG_LIGHT_MOVED, SG_LIGHT_STEP);
        sg_light_far_step(row, update);
        return sg_light_pause(update, SG_LIGHT_END, SG_LIGHT_REBASE);
    }
    if (stage == SG_LIGHT_MOVED) {
        if (SG_TEAM_LEADS)
            sg_light_row_total(row);
        SG_TEAM_WAIT();
        double total = row->total, factor = sg_light_unit_factor(total);
        if (total < 0x1p-300 || total > 0x1p300) {
            if (SG_TEAM_LEADS)
                sg_light_ask_rebase(update, row->threshold, factor, factor);
            return sg_light_pause(update, SG_LIGHT_END, SG_LIGHT_REBASE);
        }
    }
    return SG_LIGHT_NOTHING;
}

#endif
