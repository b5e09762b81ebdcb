/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Formulas of one precision: included by net_math.h with SG_REAL and SG_NAME defined, hence no include
 * guard. */

/* The derivative of silu(x) = x sigmoid(x), s = sigmoid(x). By hand: 1/2 at 0. */
SG_HD static inline SG_REAL SG_NAME(sg_silu_slope)(SG_REAL x, SG_REAL s)
{
    return s * (1 + x * (1 - s));
}

/* What a gradient dy of y = gain x / rms(x) adds to that of x, unit = x / rms(x), mean: of dy y over the row. */
SG_HD static inline SG_REAL SG_NAME(sg_net_rms_slope)(SG_REAL inverse, SG_REAL dy, SG_REAL gain,
                                                      SG_REAL mean, SG_REAL unit)
{
    return inverse * (dy * gain - mean * unit);
}
