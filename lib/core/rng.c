/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "core/rng.h"

uint64_t sg_rng_categorical(const double *weights, uint64_t n, double u)
{
    double total = 0;
    for (uint64_t i = 0; i < n; i++) {
        if (!(weights[i] >= 0))
            return n;
        total += weights[i];
    }
    if (!(total > 0) || isinf(total))
        return n;
    double target = u * total, sum = 0;
    uint64_t last = n; /* the last index of positive weight takes what rounding leaves over */
    for (uint64_t i = 0; i < n; i++) {
        if (weights[i] > 0) {
            last = i;
            sum += weights[i];
            if (target < sum)
                break;
        }
    }
    return last;
}
