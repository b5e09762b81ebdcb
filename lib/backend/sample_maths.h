/* SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef SG_SAMPLE_MATHS_H
#define SG_SAMPLE_MATHS_H

#include "core/vec_math.h"

/* Before objective/gate_math.h: gates of light rows' samples, whose coefficients need the library's own
 * exp and log only and so have the same bits on every backend. Surrogates, which nobody asks for here,
 * may need the others. */
#define sample_exp sg_exp
#define sample_expm1 expm1
#define sample_log sg_log
#define sample_fabs fabs
#define sample_sqrt sqrt
#define sample_erf erf
#define sample_atan atan
#define sample_tgamma tgamma
#define SG_REAL double
#define SG_NAME(name) name##_sample
#define SG_MATH(function) sample_##function

#endif
