/* SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef SG_NET_MATH_H
#define SG_NET_MATH_H

#include <math.h>
#include <stdint.h>

#include "core/host_device.h"
#include "core/vec_math.h"

/* Formulas of the neural policy below its output layer (policy/net.h) that the CPU and a CUDA device
 * share. The order of sums is the same too, so all results have the same bits:
 *   along a row of numbers: in double precision, in SG_NET_LANES lanes, element k in lane k % 32; then
 *     the upper half of the lanes is added to the lower one until one is left;
 *   over rows, or over terms, that share a parameter: SG_NET_TILE of them in rising order, tile after tile;
 *   over the experts of a row: in rising order;
 *   elements of products of matrices: plain sums in rising order (policy/net_matrix.h). */
enum { SG_NET_LANES = 32, SG_NET_TILE = 64, SG_ROUTE_EXPERTS = 64 };

/* 1 / rms of `width` numbers, from the sum of their squares. By hand: 3 and 4 give 1 / sqrt(12.5). */
SG_HD static inline double sg_net_inverse_rms(double squares, double width)
{
    return 1 / sqrt(squares / width + 1e-6);
}

/* ---- routes: policy/routing.h says what they are */

/* The set of the k greatest scores; of equal ones the lower number wins. 1 <= k <= experts.
 * By hand: scores (0.1, 0.7, 0.7, 0.2), k = 2 give the set {1, 2}, bits 0110 = 6. */
SG_HD static inline uint64_t sg_route_choose(const double *scores, unsigned experts, unsigned k)
{
    uint64_t set = 0;
    for (unsigned n = 0; n < k; n++) {
        unsigned best = experts;
        for (unsigned e = 0; e < experts; e++)
            if (!(set >> e & 1) && (best == experts || scores[e] > scores[best]))
                best = e;
        set |= (uint64_t)1 << best;
    }
    return set;
}

/* Gates of the experts in the set, in rising order of their number; their sum is 1. Returns how
 * many. */
SG_HD static inline unsigned sg_route_gates(const double *scores, uint64_t set, double *gates)
{
    double max = -INFINITY, sum = 0;
    unsigned n = 0;
    for (unsigned e = 0; e < SG_ROUTE_EXPERTS; e++)
        if (set >> e & 1)
            max = scores[e] > max ? scores[e] : max;
    for (unsigned e = 0; e < SG_ROUTE_EXPERTS; e++)
        if (set >> e & 1) {
            gates[n] = sg_exp(scores[e] - max);
            sum += gates[n++];
        }
    for (unsigned i = 0; i < n; i++)
        gates[i] /= sum;
    return n;
}

/* Entropy of n gates, nats. By hand: log 2 of two halves. */
SG_HD static inline double sg_route_entropy(const double *gates, unsigned n)
{
    double entropy = 0;
    for (unsigned i = 0; i < n; i++)
        entropy -= gates[i] > 0 ? gates[i] * sg_log(gates[i]) : 0;
    return entropy;
}

#define SG_REAL float
#define SG_NAME(name) name##_f32
#include "backend/net_math_real.h"
#undef SG_REAL
#undef SG_NAME

#define SG_REAL double
#define SG_NAME(name) name##_f64
#include "backend/net_math_real.h"
#undef SG_REAL
#undef SG_NAME

#endif
