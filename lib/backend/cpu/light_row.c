/* SPDX-License-Identifier: GPL-3.0-or-later */
/* One row: its explicit tokens, and what it knows of the light ones. */
#include "backend/cpu/light.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "core/vec_math.h"

enum { BLOCK = SG_LIGHT_FAN };

static size_t hash(int32_t token)
{
    return (uint32_t)token * UINT32_C(2654435769) >> 7;
}

static void slots_clear(sg_light_row *row)
{
    memset(row->slots, 0xff, (row->slot_mask + 1) * sizeof *row->slots);
}

static void slots_put(sg_light_row *row, int32_t slot)
{
    size_t at = hash(row->token[slot]) & row->slot_mask;
    while (row->slots[at] >= 0)
        at = (at + 1) & row->slot_mask;
    row->slots[at] = slot;
}

int32_t sg_light_row_slot(const sg_light_row *row, int32_t token)
{
    for (size_t at = hash(token) & row->slot_mask;; at = (at + 1) & row->slot_mask) {
        int32_t slot = row->slots[at];
        if (slot < 0 || row->token[slot] == token)
            return slot;
    }
}

static double *aligned_doubles(size_t n)
{
    void *block = NULL;
    return posix_memalign(&block, 64, n * sizeof(double)) == 0 ? block : NULL;
}

bool sg_light_row_reserve(sg_light_row *row, size_t more)
{
    size_t needed = row->count + more;
    if (needed <= row->capacity)
        return true;
    size_t capacity = 2 * row->capacity > needed ? 2 * row->capacity : needed;
    capacity = (capacity + BLOCK - 1) / BLOCK * BLOCK;
    size_t cells = 16;
    while (cells < 4 * capacity)
        cells *= 2;
    int32_t *token = malloc(capacity * sizeof *token), *slots = malloc(cells * sizeof *slots);
    double *q = aligned_doubles(2 * capacity + capacity / BLOCK);
    if (!token || !slots || !q) {
        free(token);
        free(slots);
        free(q);
        return false;
    }
    memset(q, 0, (2 * capacity + capacity / BLOCK) * sizeof *q);
    if (row->count) {
        memcpy(token, row->token, row->count * sizeof *token);
        memcpy(q, row->q, row->count * sizeof *q);
        memcpy(q + 2 * capacity, row->block, row->capacity / BLOCK * sizeof *q);
    }
    free(row->token);
    free(row->slots);
    free(row->q);
    row->token = token;
    row->slots = slots;
    row->q = q;
    row->move = q + capacity;
    row->block = q + 2 * capacity;
    row->capacity = capacity;
    row->slot_mask = cells - 1;
    slots_clear(row);
    for (size_t e = 0; e < row->count; e++)
        slots_put(row, (int32_t)e);
    return true;
}

int32_t sg_light_row_append(sg_light_row *row, int32_t token, double q)
{
    int32_t slot = (int32_t)row->count++;
    row->token[slot] = token;
    row->q[slot] = q;
    row->block[slot / BLOCK] += q;
    slots_put(row, slot);
    return slot;
}

void sg_light_row_keep(sg_light_row *row, size_t count, size_t before)
{
    row->count = count;
    memset(row->q + count, 0, (before - count) * sizeof *row->q);
    slots_clear(row);
    memset(row->block, 0, row->capacity / BLOCK * sizeof *row->block);
    for (size_t e = 0; e < count; e++) {
        slots_put(row, (int32_t)e);
        row->block[e / BLOCK] += row->q[e];
    }
}

void sg_light_row_count(sg_light_row *row, int32_t token, double x, double sign)
{
    if (x == 0)
        return;
    sg_light_sums *sums = &row->sums[(size_t)token >= row->base->head];
    double logarithm = sg_log(x), term = sign * x;
    for (size_t k = 0; k < SG_LIGHT_TERMS; k++) {
        sums->power[k] += term;
        sums->power_log[k] += term * logarithm;
        term *= x;
    }
    row->positive += sign > 0 ? 1 : (size_t)-1;
    row->drift += 0x1p-52;
}

double sg_light_row_q(const sg_light_row *row, int32_t token)
{
    int32_t slot = sg_light_row_slot(row, token);
    if (slot >= 0)
        return row->q[slot];
    double q = row->base->q[token];
    return q / sg_light_y(row->s, q / row->base->scale);
}

void sg_light_row_total(sg_light_row *row)
{
    const sg_light_prior *base = row->base;
    row->explicit_total = 0;
    for (size_t b = 0; b * BLOCK < row->count; b++)
        row->explicit_total += row->block[b];
    double light = base->scale * (sg_light_contract(row->inverse, row->sums[0].power, 0) +
                                  sg_light_contract(row->inverse, row->sums[1].power, 0));
    row->light_total = light < 0 ? 0 : light; /* NaN stays */
    row->total = row->explicit_total + row->light_total;
}

bool sg_light_row_restart(sg_light_row *row, const sg_light_rows *rows)
{
    const sg_light_prior *base = row->base;
    row->count = 0;
    size_t limit = rows->config.explicit_limit;
    if (!sg_light_row_reserve(row, base->heavy_count + limit))
        return false;
    sg_light_row_keep(row, 0, row->capacity);
    row->max_explicit = 0;
    for (size_t e = 0; e < base->heavy_count; e++) {
        double q = base->heavy_q[e];
        sg_light_row_append(row, base->heavy[e], q);
        row->max_explicit = q > row->max_explicit ? q : row->max_explicit;
    }
    row->limit = base->heavy_count + limit;
    memset(row->s, 0, sizeof row->s);
    memcpy(row->sums, base->sums, sizeof row->sums);
    sg_light_inverse(row->s, row->inverse);
    row->top = base->top;
    row->bottom = base->bottom;
    row->positive = base->positive;
    row->defect = 0;
    /* Sums of n numbers in eight lanes, blocks of 4096 and a chain of blocks. */
    row->drift = (double)(1024 + base->vocabulary / 4096) * 0x1p-53;
    row->last_rebase = row->updates;
    sg_light_row_total(row);
    return true;
}

bool sg_light_row_init(sg_light_row *row, const sg_light_rows *rows, sg_light_prior *prior)
{
    if (row->base != prior) {
        sg_light_prior_free(row->base);
        row->base = sg_light_prior_retain(prior);
    }
    row->owned = false;
    row->threshold = 0x1p-10;
    row->offset = prior->offset;
    row->exponent = 0;
    row->bound = 0;
    row->updates = row->rebases = row->folds = 0;
    return sg_light_row_restart(row, rows);
}

void sg_light_row_clear(sg_light_row *row)
{
    sg_light_prior_free(row->base);
    free(row->token);
    free(row->slots);
    free(row->q);
    memset(row, 0, sizeof *row);
}

void sg_light_row_carry(const sg_light_row *row, const sg_light_kernels *kernels,
                        double light_factor, double explicit_factor, double *q)
{
    const sg_light_prior *base = row->base;
    kernels->carry(base->vocabulary, base->q, 1 / base->scale, row->s, light_factor, q);
    for (size_t e = 0; e < row->count; e++)
        q[row->token[e]] = row->q[e] * explicit_factor;
}

/* x / y(x) grows with x while the series is used, so the order of q0 is that of q. */
static void find_extremes(sg_light_row *row)
{
    const sg_light_prior *base = row->base;
    double most = 0, least = INFINITY;
    row->top = row->bottom = -1;
    for (size_t v = 0; v < base->vocabulary; v++) {
        double q = base->q[v];
        if (!(q > 0) || (q <= most && q >= least))
            continue;
        if (!row->owned && sg_light_row_slot(row, (int32_t)v) >= 0)
            continue;
        if (q > most) {
            most = q;
            row->top = (int32_t)v;
        }
        if (q < least) {
            least = q;
            row->bottom = (int32_t)v;
        }
    }
}

void sg_light_row_extremes(sg_light_row *row, double *top, double *bottom)
{
    if (row->top == -2 || row->bottom == -2)
        find_extremes(row);
    *top = row->top >= 0 ? sg_light_row_q(row, row->top) : 0;
    *bottom = row->bottom >= 0 ? sg_light_row_q(row, row->bottom) : 0;
}
