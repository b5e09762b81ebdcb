/* SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef SG_ROUND_MATH_H
#define SG_ROUND_MATH_H

#include <math.h>

#include "core/host_device.h"

/* Formats of numbers, for the CPU and a CUDA device: significant bits, the exponent of the smallest normal number, the
 * greatest number. digits 0: numbers stay as they are. */
typedef struct sg_number_format {
    int digits, least;
    double most;
} sg_number_format;

/* The nearest number of the format, in a tie the even one; beyond the greatest that one. bf16 is {8, -126, 0x1.fep127}, and
 * -2.7182 becomes -2.71875. */
SG_HD static inline double sg_round_to(double x, sg_number_format format)
{
    if (format.digits == 0 || x == 0 || !isfinite(x))
        return x;
    int exponent = ilogb(x);
    if (exponent < format.least)
        exponent = format.least;
    int shift = exponent - format.digits + 1;
    double rounded = ldexp(rint(ldexp(x, -shift)), shift);
    return fmax(-format.most, fmin(format.most, rounded));
}

#endif
