/* SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef SG_LIGHT_ROW_H
#define SG_LIGHT_ROW_H

#include "backend/light_rows.h"
#include "backend/light_team.h"
#include "core/host_device.h"
#include "core/vec_math.h"

/* One light row as all backends keep it: its explicit tokens, and what it knows of the light ones.
 * backend/light_rows.h has the mathematics. Memory is the backends' business. */

enum {
    SG_LIGHT_TERMS = 16, /* of every power series, and power sums */
    SG_LIGHT_ORDER = 4,  /* numbers S */
    SG_LIGHT_FAN =
        64, /* children of a node in the tree of sums, tokens of a block of explicit ones */
    SG_LIGHT_LEVELS = 5,   /* 64^5 tokens are more than 2^29; the top level is scanned whole */
    SG_LIGHT_CHUNK = 4096, /* tokens whose powers are added up before they join the power sums */
};

/* The largest ratio of coefficients for which the series are used. */
#define SG_LIGHT_RATIO 0.125
#define SG_LIGHT_LN2 0x1.62e42fefa39efp-1
/* Rounding of one update of a logit: two roundings of q, those of S, of the exponent. */
#define SG_LIGHT_STEP_ROUNDING 1e-15
#define SG_LIGHT_SERIES_REST 5e-15
/* Of heavy tokens, in probability, when a row starts. */
#define SG_LIGHT_THRESHOLD 0x1p-10

/* sum x^(k+1) and sum x^(k+1) log x over light tokens, k = 0..15. */
typedef struct sg_light_sums {
    double power[SG_LIGHT_TERMS];
    double power_log[SG_LIGHT_TERMS];
} sg_light_sums;

/* The value of light tokens at the last rebase, with what is needed to draw from them. */
typedef struct sg_light_base {
    size_t vocabulary, head;
    double *q; /* [vocabulary]; 0 for tokens that were heavy when it was made */
    size_t levels, width[SG_LIGHT_LEVELS];
    double *sum[SG_LIGHT_LEVELS]; /* sums of 64 q, of 64 of those, ...; behind q without a gap */
    double total;                 /* sum q */
    double scale;                 /* x = q / scale is at most 1 */
    sg_light_sums sums[2];        /* head, tail */
    int32_t top, bottom; /* a light token of greatest, of least positive q; -1 when there is none */
    size_t positive;     /* light tokens with q > 0 */
} sg_light_base;

typedef struct sg_light_row {
    sg_light_base *base;
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

/* ---- Sizes ---- */

/* Fills the widths of the levels; how many doubles q and all sums are. */
SG_HD static inline size_t sg_light_base_layout(sg_light_base *base, size_t vocabulary, size_t head)
{
    size_t width = vocabulary, cells = vocabulary;
    base->vocabulary = vocabulary;
    base->head = head;
    base->levels = 0;
    do {
        width = (width + SG_LIGHT_FAN - 1) / SG_LIGHT_FAN;
        base->width[base->levels++] = width;
        cells += width;
    } while (width > SG_LIGHT_FAN && base->levels < SG_LIGHT_LEVELS);
    return cells;
}

SG_HD static inline void sg_light_base_place(sg_light_base *base, double *cells)
{
    base->q = cells;
    cells += base->vocabulary;
    for (size_t l = 0; l < base->levels; cells += base->width[l++])
        base->sum[l] = cells;
}

/* Cells of the hash table of so many explicit tokens. */
SG_HD static inline size_t sg_light_cells(size_t capacity)
{
    size_t cells = 16;
    while (cells < 4 * capacity)
        cells *= 2;
    return cells;
}

/* How many explicit tokens there must be room for, to take `more`: never more than all. */
SG_TEAM_CODE size_t sg_light_row_needs(const sg_light_row *row, size_t more)
{
    size_t all = row->base->vocabulary;
    return row->count + more < all ? row->count + more : all;
}

/* ---- Series in x ---- */

/* y(x) */
SG_TEAM_CODE double sg_light_y(const double *s, double x)
{
    return 1 + x * (s[0] + x * (s[1] + x * (s[2] + x * s[3])));
}

/* 1/y */
SG_TEAM_CODE void sg_light_inverse(const double *s, double *inverse)
{
    inverse[0] = 1;
    for (size_t k = 1; k < SG_LIGHT_TERMS; k++) {
        double sum = 0;
        for (size_t j = 1; j <= SG_LIGHT_ORDER && j <= k; j++)
            sum += s[j - 1] * inverse[k - j];
        inverse[k] = -sum;
    }
}

/* sum over k of a[k] power[k + shift], where there are such power sums. */
SG_TEAM_CODE double sg_light_contract(const double *a, const double *power, size_t shift)
{
    double sum = 0;
    for (size_t k = SG_LIGHT_TERMS - shift; k-- > 0;) /* small terms first */
        sum += a[k] * power[k + shift];
    return sum;
}

/* |S1|/r + |S2|/r^2 + |S3|/r^3 + |S4|/r^4: at most 1 while the series are used. */
SG_HD static inline double sg_light_series_use(const double *s)
{
    double use = 0, factor = 1;
    for (size_t k = 0; k < SG_LIGHT_ORDER; k++) {
        factor /= SG_LIGHT_RATIO;
        use += fabs(s[k]) * factor;
    }
    return use;
}

/* exp(d) - 1 from exp(d): the Taylor polynomial where the difference would cancel. */
SG_HD static inline double sg_light_excess(double d, double exponential)
{
    double near = 1 + d / 6;
    near = 1 + d / 5 * near;
    near = 1 + d / 4 * near;
    near = 1 + d / 3 * near;
    near = d * (1 + d / 2 * near);
    return fabs(d) < 0x1p-10 ? near : exponential - 1;
}

/* ---- Explicit tokens ---- */

SG_TEAM_CODE size_t sg_light_hash(int32_t token)
{
    return (uint32_t)token * UINT32_C(2654435769) >> 7;
}

SG_TEAM_CODE void sg_light_slots_put(sg_light_row *row, int32_t slot)
{
    size_t at = sg_light_hash(row->token[slot]) & row->slot_mask;
    while (!SG_TEAM_CLAIM(&row->slots[at], slot))
        at = (at + 1) & row->slot_mask;
}

/* -1 for a light token. */
SG_TEAM_CODE int32_t sg_light_row_slot(const sg_light_row *row, int32_t token)
{
    for (size_t at = sg_light_hash(token) & row->slot_mask;; at = (at + 1) & row->slot_mask) {
        int32_t slot = row->slots[at];
        if (slot < 0 || row->token[slot] == token)
            return slot;
    }
}

/* The leader alone; there is room. */
SG_TEAM_CODE int32_t sg_light_row_append(sg_light_row *row, int32_t token, double q)
{
    int32_t slot = (int32_t)row->count++;
    row->token[slot] = token;
    row->q[slot] = q;
    row->block[slot / SG_LIGHT_FAN] += q;
    sg_light_slots_put(row, slot);
    return slot;
}

/* The team, after explicit tokens 0..count-1 have been moved to the front of `before`: forgets the
 * others. */
SG_TEAM_CODE void sg_light_row_keep(sg_light_row *row, size_t count, size_t before)
{
    for (size_t e = count + SG_TEAM_LANE; e < before; e += SG_TEAM_LANES)
        row->q[e] = 0;
    for (size_t i = SG_TEAM_LANE; i <= row->slot_mask; i += SG_TEAM_LANES)
        row->slots[i] = -1;
    if (SG_TEAM_LEADS)
        row->count = count;
    SG_TEAM_WAIT();
    for (size_t b = SG_TEAM_LANE; b < row->capacity / SG_LIGHT_FAN; b += SG_TEAM_LANES) {
        double sum = 0;
        for (size_t e = b * SG_LIGHT_FAN; e < (b + 1) * SG_LIGHT_FAN && e < count; e++)
            sum += row->q[e];
        row->block[b] = sum;
    }
    for (size_t e = SG_TEAM_LANE; e < count; e += SG_TEAM_LANES)
        sg_light_slots_put(row, (int32_t)e);
    SG_TEAM_WAIT();
}

/* ---- Light tokens ---- */

SG_TEAM_CODE double sg_light_row_q(const sg_light_row *row, int32_t token)
{
    int32_t slot = sg_light_row_slot(row, token);
    if (slot >= 0)
        return row->q[slot];
    double q = row->base->q[token];
    return q / sg_light_y(row->s, q / row->base->scale);
}

SG_TEAM_CODE double sg_light_row_mass(const sg_light_row *row, size_t n, const int32_t *tokens)
{
    double sum = 0;
    for (size_t j = 0; j < n; j++)
        sum += sg_light_row_q(row, tokens[j]);
    return sum / row->total;
}

/* Present q of a token whose value in the base was q0, times a factor. */
SG_TEAM_CODE double sg_light_carried(const double *s, double q0, double inverse_scale,
                                     double factor)
{
    return q0 * factor / sg_light_y(s, q0 * inverse_scale);
}

/* The team writes one q and the sums above it; q0 is what was there, and no lane may need it again. */
SG_TEAM_CODE void sg_light_base_put(sg_light_base *base, size_t token, double q0, double q)
{
    /* What rounding leaves of a sum of removed tokens is as rare as it is small, and finds no token
     * of positive q: draws reject it. */
    double change = q - q0;
    if (SG_TEAM_LEADS) {
        base->q[token] = q;
        base->total += change;
    }
    for (size_t l = 0; l < base->levels; l++) {
        token /= SG_LIGHT_FAN;
        if ((l + 1) % SG_TEAM_LANES == SG_TEAM_LANE)
            base->sum[l][token] += change;
    }
}

/* The team lets a token with this x enter (sign 1) or leave (sign -1) the sums of light tokens. */
SG_TEAM_CODE void sg_light_row_count(sg_light_row *row, int32_t token, double x, double sign)
{
    if (x == 0)
        return;
    sg_light_sums *sums = &row->sums[(size_t)token >= row->base->head];
    double logarithm = sg_log(x), term[SG_LIGHT_TERMS];
    term[0] = sign * x;
    for (size_t k = 1; k < SG_LIGHT_TERMS; k++)
        term[k] = term[k - 1] * x;
    for (size_t k = SG_TEAM_LANE; k < SG_LIGHT_TERMS; k += SG_TEAM_LANES) {
        sums->power[k] += term[k];
        sums->power_log[k] += term[k] * logarithm;
    }
    if (SG_TEAM_LEADS) {
        row->positive += sign > 0 ? 1 : (size_t)-1;
        row->drift += 0x1p-52;
    }
}

/* ---- The row ---- */

/* The leader, from the blocks and the series. */
SG_TEAM_CODE void sg_light_row_total(sg_light_row *row)
{
    const sg_light_base *base = row->base;
    row->explicit_total = 0;
    for (size_t b = 0; b * SG_LIGHT_FAN < row->count; b++)
        row->explicit_total += row->block[b];
    double light = base->scale * (sg_light_contract(row->inverse, row->sums[0].power, 0) +
                                  sg_light_contract(row->inverse, row->sums[1].power, 0));
    row->light_total = light < 0 ? 0 : light; /* NaN stays */
    row->total = row->explicit_total + row->light_total;
}

/* The leader: S = 0 on the row's base, after its heavy tokens have become the explicit ones. */
SG_TEAM_CODE void sg_light_row_start(sg_light_row *row, size_t explicit_limit)
{
    const sg_light_base *base = row->base;
    row->limit = row->count + explicit_limit;
    for (size_t k = 0; k < SG_LIGHT_ORDER; k++)
        row->s[k] = 0;
    row->sums[0] = base->sums[0];
    row->sums[1] = base->sums[1];
    sg_light_inverse(row->s, row->inverse);
    row->top = base->top;
    row->bottom = base->bottom;
    row->positive = base->positive;
    row->defect = 0;
    /* Sums of n numbers in eight lanes, blocks of 4096 and a chain of blocks. */
    row->drift = (double)(1024 + base->vocabulary / SG_LIGHT_CHUNK) * 0x1p-53;
    row->last_rebase = row->updates;
    sg_light_row_total(row);
}

/* The leader: a row that nothing has happened to yet. */
SG_TEAM_CODE void sg_light_row_reset(sg_light_row *row, sg_light_base *base, double offset)
{
    row->base = base;
    row->owned = false;
    row->threshold = SG_LIGHT_THRESHOLD;
    row->offset = offset;
    row->exponent = 0;
    row->bound = 0;
    row->updates = row->rebases = row->folds = 0;
}

/* Greatest and least positive q of the light tokens, whose places are known; 0: there is none. */
SG_TEAM_CODE void sg_light_row_extremes(const sg_light_row *row, double *top, double *bottom)
{
    *top = row->top >= 0 ? sg_light_row_q(row, row->top) : 0;
    *bottom = row->bottom >= 0 ? sg_light_row_q(row, row->bottom) : 0;
}

SG_TEAM_CODE bool sg_light_row_extremes_known(const sg_light_row *row)
{
    return row->top != -2 && row->bottom != -2;
}

/* With the constant that the logits were set with, moved like all else. */
SG_TEAM_CODE double sg_light_row_offset(const sg_light_row *row)
{
    return row->offset + (double)row->exponent * SG_LIGHT_LN2;
}

#endif
