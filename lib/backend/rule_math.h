/* SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef SG_RULE_MATH_H
#define SG_RULE_MATH_H

#include <math.h>

#include "core/host_device.h"

/* The order of sums over tensors: squares of SG_RULE_CHUNK numbers in SG_RULE_LANES lanes, SG_RULE_GROUP chunks one after the
 * other, group after group; columns in tiles of SG_RULE_ROWS rows, tile after tile. */
enum { SG_RULE_CHUNK = 4096, SG_RULE_LANES = 16, SG_RULE_GROUP = 256, SG_RULE_ROWS = 256 };

/* Optimisers, one number at a time, for arrays of parameters on any backend: what they make of a
 * gradient. Functions end in _f32 and _f64. Rows of logits that are kept as q have their own,
 * in rows_real.h. */
typedef struct sg_rule_numbers {
    double scale; /* clip factor, multiplies g */
    double step;  /* lr, with the bias correction of the first moment */
    double beta1, beta2, eps;
    double correction2; /* 1 / (1 - beta2^t) */
    double decay;       /* lr weight_decay */
} sg_rule_numbers;

/* What a gradient of this 2-norm is multiplied by, so that it is `most` long at most; most 0: never. */
SG_HD static inline double sg_rule_clip(double norm, double most)
{
    return most > 0 && norm > most ? most / norm : 1;
}

/* Of a column that shares its second moment: v moves on with the mean of g^2 over the rows; and
 * sqrt(vhat) + eps. */
SG_HD static inline double sg_rule_couple(sg_rule_numbers p, double v, double squares, double rows)
{
    return p.beta2 * v + (1 - p.beta2) * squares / rows;
}

SG_HD static inline double sg_rule_coupled_root(sg_rule_numbers p, double v)
{
    return sqrt(v * p.correction2) + p.eps;
}

#define SG_REAL float
#define SG_NAME(name) name##_f32
#define SG_SQRT sqrtf
#include "backend/rule_real.h"
#undef SG_REAL
#undef SG_NAME
#undef SG_SQRT

#define SG_REAL double
#define SG_NAME(name) name##_f64
#define SG_SQRT sqrt
#include "backend/rule_real.h"
#undef SG_REAL
#undef SG_NAME
#undef SG_SQRT

#endif
