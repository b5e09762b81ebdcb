/* SPDX-License-Identifier: GPL-3.0-or-later */
#include <math.h>

#include "sim/run.h"

double sg_learning_rate(const sg_config *config, size_t step)
{
    double lr = config->optimizer.lr, warmup = (double)config->optimizer.warmup;
    double last = (double)config->run.steps, now = (double)step;
    if (now <= warmup)
        return lr * now / warmup;
    double way = last - 1 > warmup ? (now - 1 - warmup) / (last - 1 - warmup) : 0;
    double final = config->optimizer.final_rate;
    switch ((sg_schedule_kind)config->optimizer.schedule) {
    case SG_SCHEDULE_LINEAR:
        return lr * (1 - (1 - final) * way);
    case SG_SCHEDULE_COSINE:
        return lr * (final + (1 - final) * (1 + cos(3.141592653589793 * way)) / 2);
    default:
        return lr;
    }
}
