/* SPDX-License-Identifier: GPL-3.0-or-later */
#include <math.h>

#include "sim/run.h"

double sg_learning_rate(const sg_config *config, size_t step)
{
    double lr = config->optimizer.lr, warmup = (double)config->optimizer.warmup;
    double now = (double)step, total = (double)config->run.steps;
    double floor = config->optimizer.final_rate;
    if (now < warmup)
        return lr * now / warmup;
    double way = total > warmup ? (now - warmup) / (total - warmup) : 0;
    switch ((sg_rate_kind)config->optimizer.schedule) {
    case SG_RATE_LINEAR:
        return lr * (1 - (1 - floor) * way);
    case SG_RATE_COSINE:
        return lr * (floor + (1 - floor) * (1 + cos(3.141592653589793 * way)) / 2);
    default:
        return lr;
    }
}
