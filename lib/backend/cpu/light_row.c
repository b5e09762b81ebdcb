/* SPDX-License-Identifier: GPL-3.0-or-later */
/* One row on the CPU: its memory, and the passes over all tokens. */
#include "backend/cpu/light.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "core/vec_math.h"

enum { BLOCK = SG_LIGHT_FAN };

static double *aligned_doubles(size_t n)
{
    void *block = NULL;
    return posix_memalign(&block, 64, n * sizeof(double)) == 0 ? block : NULL;
}

bool sg_light_row_reserve(sg_light_row *row, size_t needed)
{
    if (needed <= row->capacity)
        return true;
    size_t capacity = 2 * row->capacity > needed ? 2 * row->capacity : needed;
    capacity = (capacity + BLOCK - 1) / BLOCK * BLOCK;
    size_t cells = sg_light_cells(capacity);
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
    memset(slots, 0xff, cells * sizeof *slots);
    for (size_t e = 0; e < row->count; e++)
        sg_light_slots_put(row, (int32_t)e);
    return true;
}

bool sg_light_row_restart(sg_light_row *row, size_t explicit_limit)
{
    const sg_light_prior *prior = sg_light_prior_of(row->base);
    row->count = 0;
    if (!sg_light_row_reserve(row, sg_light_row_needs(row, prior->heavy_count + explicit_limit)))
        return false;
    sg_light_row_keep(row, 0, row->capacity);
    row->max_explicit = 0;
    for (size_t e = 0; e < prior->heavy_count; e++) {
        double q = prior->heavy_q[e];
        sg_light_row_append(row, prior->heavy[e], q);
        row->max_explicit = q > row->max_explicit ? q : row->max_explicit;
    }
    sg_light_row_start(row, explicit_limit);
    return true;
}

bool sg_light_row_init(sg_light_row *row, size_t explicit_limit, sg_light_prior *prior)
{
    if (row->base != &prior->base) {
        if (row->base)
            sg_light_prior_free(sg_light_prior_of(row->base));
        sg_light_prior_retain(prior);
    }
    sg_light_row_reset(row, &prior->base, prior->offset);
    return sg_light_row_restart(row, explicit_limit);
}

void sg_light_row_clear(sg_light_row *row)
{
    if (row->base)
        sg_light_prior_free(sg_light_prior_of(row->base));
    free(row->token);
    free(row->slots);
    free(row->q);
    memset(row, 0, sizeof *row);
}

void sg_light_row_carry(const sg_light_row *row, const sg_light_kernels *kernels,
                        double light_factor, double explicit_factor, double *q)
{
    const sg_light_base *base = row->base;
    kernels->carry(base->vocabulary, base->q, 1 / base->scale, row->s, light_factor, q);
    for (size_t e = 0; e < row->count; e++)
        q[row->token[e]] = row->q[e] * explicit_factor;
}

/* x / y(x) grows with x while the series is used, so the order of q0 is that of q. */
void sg_light_row_find_extremes(sg_light_row *row)
{
    const sg_light_base *base = row->base;
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
