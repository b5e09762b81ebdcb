/* SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef SG_LIGHT_DRAW_H
#define SG_LIGHT_DRAW_H

#include "backend/light_row.h"
#include "core/rng.h"

/* Draws from a light row. They only read, and one thread makes each. */

/* First of x[0..n-1] at which the running sum passes *target, which becomes what is left of it; the
 * last positive one when rounding leaves the sum short. */
SG_TEAM_CODE size_t sg_light_scan(const double *x, size_t n, double *target)
{
    size_t found = 0;
    double sum = 0, before = 0;
    for (size_t i = 0; i < n; i++) {
        if (!(x[i] > 0))
            continue;
        found = i;
        before = sum;
        sum += x[i];
        if (*target < sum)
            break;
    }
    *target -= before;
    return found;
}

/* Light tokens at n targets in (0, total) of the inverse CDF of the base; rest in [0, 1): the place
 * inside each. */
SG_TEAM_CODE void sg_light_base_find(const sg_light_base *base, size_t n, const double *target,
                                     size_t *token, double *rest)
{
    /* Level by level, so that the draws wait for memory together. */
    for (size_t j = 0; j < n; j++) {
        token[j] = 0;
        rest[j] = target[j];
    }
    for (size_t l = base->levels + 1; l-- > 0;) {
        const double *x = l > 0 ? base->sum[l - 1] : base->q;
        const double *below = l > 1 ? base->sum[l - 2] : base->q;
        size_t width = l > 0 ? base->width[l - 1] : base->vocabulary;
        size_t fan = l == base->levels ? width : (size_t)SG_LIGHT_FAN;
        for (size_t j = 0; j < n; j++) {
            size_t first = token[j] * fan, count = width - first < fan ? width - first : fan;
            token[j] = first + sg_light_scan(x + first, count, &rest[j]);
            for (size_t i = 0; i < SG_LIGHT_FAN && l > 0; i += 8)
                SG_TEAM_PREFETCH(below + token[j] * SG_LIGHT_FAN + i);
        }
    }
    for (size_t j = 0; j < n; j++) {
        double q = base->q[token[j]];
        rest[j] = q > 0 ? fmin(fmax(rest[j] / q, 0.0), 0x1.fffffffffffffp-1) : 0;
    }
}

/* Slot of the explicit token at `target` of their inverse CDF; the last positive one at the end. */
SG_TEAM_CODE size_t sg_light_find_explicit(const sg_light_row *row, double target)
{
    size_t found = 0, block = 0, blocks = (row->count + SG_LIGHT_FAN - 1) / SG_LIGHT_FAN;
    double sum = 0, before = 0;
    for (size_t b = 0; b < blocks; b++) {
        if (!(row->block[b] > 0))
            continue;
        block = b;
        before = sum;
        sum += row->block[b];
        if (target < sum)
            break;
    }
    sum = before;
    found = block * SG_LIGHT_FAN;
    for (size_t e = found; e < row->count && e < (block + 1) * SG_LIGHT_FAN; e++) {
        if (!(row->q[e] > 0))
            continue;
        found = e;
        sum += row->q[e];
        if (target < sum)
            break;
    }
    return found;
}

/* When rejection does not end: the inverse CDF of the light part itself, O(V). */
SG_TEAM_CODE int32_t sg_light_find_light(const sg_light_row *row, double part)
{
    const sg_light_base *base = row->base;
    double target = part * row->light_total, sum = 0;
    int32_t found = 0;
    for (size_t v = 0; v < base->vocabulary; v++) {
        double q = base->q[v];
        if (!(q > 0) || (!row->owned && sg_light_row_slot(row, (int32_t)v) >= 0))
            continue;
        found = (int32_t)v;
        sum += q / sg_light_y(row->s, q / base->scale);
        if (target < sum)
            break;
    }
    return found;
}

/* Proposals are made from q0 and become draws from q = q0 / y by rejection: y is at least this for
 * every light token. */
SG_TEAM_CODE double sg_light_floor(const double *s)
{
    double floor = 1;
    for (size_t k = 0; k < SG_LIGHT_ORDER; k++)
        floor += s[k] < 0 ? s[k] : 0;
    return floor;
}

SG_TEAM_CODE bool sg_light_accepts(const sg_light_row *row, size_t token, double rest, double floor)
{
    double q = row->base->q[token];
    return q > 0 && rest * sg_light_y(row->s, q / row->base->scale) < floor &&
           (row->owned || sg_light_row_slot(row, (int32_t)token) < 0);
}

/* After a rejected first proposal: more of them, with numbers that the bits of the uniform name. */
SG_TEAM_CODE int32_t sg_light_draw_again(const sg_light_row *row, double floor, double uniform,
                                         double first)
{
    sg_address at = {sg_bits_of_double(uniform), SG_STREAM_ROLLOUT, 0, 0, 0, 0};
    for (; at.token < 1000; at.token++) {
        double rest, target = sg_rng_uniform(at) * row->base->total;
        size_t token;
        sg_light_base_find(row->base, 1, &target, &token, &rest);
        if (sg_light_accepts(row, token, rest, floor))
            return (int32_t)token;
    }
    return sg_light_find_light(row, first);
}

/* n is at most SG_TEAM_TOGETHER. */
SG_TEAM_CODE void sg_light_draw(const sg_light_row *row, size_t n, const double *uniforms,
                                int32_t *drawn)
{
    double part[SG_TEAM_TOGETHER], target[SG_TEAM_TOGETHER], rest[SG_TEAM_TOGETHER];
    double floor = sg_light_floor(row->s);
    size_t light = 0, which[SG_TEAM_TOGETHER], token[SG_TEAM_TOGETHER];
    for (size_t j = 0; j < n; j++) {
        double at = uniforms[j] * row->total;
        if (at < row->explicit_total || !(row->light_total > 0) || row->positive == 0) {
            drawn[j] = row->count ? row->token[sg_light_find_explicit(row, at)] : 0;
            continue;
        }
        part[light] = fmin((at - row->explicit_total) / row->light_total, 0x1.fffffffffffffp-1);
        target[light] = part[light] * row->base->total;
        which[light++] = j;
    }
    sg_light_base_find(row->base, light, target, token, rest);
    for (size_t i = 0; i < light; i++)
        drawn[which[i]] = sg_light_accepts(row, token[i], rest[i], floor)
                              ? (int32_t)token[i]
                              : sg_light_draw_again(row, floor, uniforms[which[i]], part[i]);
}

#endif
