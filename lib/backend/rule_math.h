/* SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef SG_RULE_MATH_H
#define SG_RULE_MATH_H

#include <math.h>

#include "core/host_device.h"

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
