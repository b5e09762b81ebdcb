/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "policy/routing.h"

#include <stdbool.h>
#include <string.h>

#include "core/vec_math.h"

uint64_t sg_route_choose(const double *scores, size_t experts, size_t k)
{
    uint64_t set = 0;
    for (size_t n = 0; n < k; n++) {
        size_t best = experts;
        for (size_t e = 0; e < experts; e++)
            if (!(set >> e & 1) && (best == experts || scores[e] > scores[best]))
                best = e;
        set |= UINT64_C(1) << best;
    }
    return set;
}

size_t sg_route_gates(const double *scores, uint64_t set, double *gates)
{
    double max = -INFINITY, sum = 0;
    size_t n = 0;
    for (uint64_t left = set; left; left &= left - 1) {
        double s = scores[__builtin_ctzll(left)];
        max = s > max ? s : max;
    }
    for (uint64_t left = set; left; left &= left - 1) {
        gates[n] = sg_exp(scores[__builtin_ctzll(left)] - max);
        sum += gates[n++];
    }
    for (size_t i = 0; i < n; i++)
        gates[i] /= sum;
    return n;
}

size_t sg_route_compare(const uint64_t *first, const uint64_t *second, size_t count, size_t blocks,
                        sg_route_flips *by_block, uint8_t *flipped)
{
    size_t any = 0;
    memset(by_block, 0, blocks * sizeof *by_block);
    for (size_t i = 0; i < count; i++) {
        uint8_t differ = 0;
        for (size_t b = 0; b < blocks; b++) {
            uint64_t a = first[i * blocks + b], c = second[i * blocks + b];
            by_block[b].tokens += a != c;
            by_block[b].replaced += (size_t)__builtin_popcountll(a & ~c);
            differ += a != c;
        }
        any += differ > 0;
        if (flipped)
            flipped[i] = differ;
    }
    return any;
}
