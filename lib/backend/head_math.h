/* SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef SG_HEAD_MATH_H
#define SG_HEAD_MATH_H

#include <math.h>
#include <stddef.h>
#include <stdint.h>

#include "core/host_device.h"
#include "core/vec_math.h"

/* Formulas of the linear output layer (policy/head.h) that the CPU and a CUDA device share. */

/* Masses are summed tile by tile, inside a tile in SG_HEAD_PAD lanes. */
enum { SG_HEAD_TILE = 256, SG_HEAD_PAD = 32 };

/* factor * exp(x) for x <= 64, 0 where exp(x) would fall below the normal numbers. NaN stays. */
SG_HD static inline float sg_decay_f32(float factor, float x)
{
    uint32_t n;
    float s = sg_exp_reducef(x < -87.0f ? -87.0f : x, &n);
    float y = (factor + factor * s) * sg_float_of_bits((n + 127) << 23);
    return x < -87.0f ? 0.0f : y;
}

SG_HD static inline double sg_decay_f64(double factor, double x)
{
    uint64_t n;
    double s = sg_exp_reduce(x < -708.0 ? -708.0 : x, &n);
    double y = (factor + factor * s) * sg_double_of_bits((n + 1023) << 52);
    return x < -708.0 ? 0.0 : y;
}

/* p log(p/q) - p + q >= 0, a term of KL(p || q) for probabilities that sum to 1, from p, q and
 * x = log(q/p); without cancellation where they are close. */
SG_HD static inline double sg_kl_term(double p, double q, double x)
{
    double reduced;
    uint64_t n;
    double series = sg_exp_polynomial(fabs(x) < 0.34 ? x : 0.0, &reduced, &n);
    double near = p * (reduced * reduced * series), far = (q - p) - p * x;
    return fabs(x) < 0.34 ? near : far;
}

/* log sum exp of a row from those of its tiles, log_mass[tiles][rows]. */
SG_HD static inline double sg_head_log_sum_exp(const double *log_mass, size_t tiles, size_t rows,
                                               size_t row)
{
    double max = -INFINITY, sum = 0;
    for (size_t t = 0; t < tiles; t++) {
        double x = log_mass[t * rows + row];
        if (x != x)
            return x;
        max = x > max ? x : max;
    }
    if (!isfinite(max))
        return max;
    for (size_t t = 0; t < tiles; t++)
        sum += sg_exp(log_mass[t * rows + row] - max);
    return max + sg_log(sum);
}

/* The tile where the cumulated probability of a row exceeds u, and u's share of that tile. */
SG_HD static inline size_t sg_head_find_tile(const double *log_mass, size_t tiles, size_t rows,
                                             size_t row, double log_norm, double u, double *share)
{
    double before = 0, mass = 0;
    size_t last = 0;
    double total = 0, last_mass = 0, last_before = 0;
    for (size_t t = 0; t < tiles; t++)
        total += sg_exp(log_mass[t * rows + row] - log_norm);
    for (size_t t = 0; t < tiles; t++, before += mass) {
        mass = sg_exp(log_mass[t * rows + row] - log_norm);
        if (!(mass > 0))
            continue;
        last = t;
        last_mass = mass;
        last_before = before;
        if (u * total < before + mass)
            break;
    }
    *share = (u * total - last_before) / last_mass;
    return last;
}

/* First of n weights whose cumulated sum exceeds `share` of all; none of weight 0. */
SG_HD static inline size_t sg_head_find(size_t n, const double *weight, double share)
{
    double sum = 0, before = 0;
    size_t last = 0;
    for (size_t i = 0; i < n; i++) {
        sum += weight[i];
        last = weight[i] > 0 ? i : last;
    }
    for (size_t i = 0; i < last; i++) {
        before += weight[i];
        if (share * sum < before)
            return i;
    }
    return last;
}

#endif
