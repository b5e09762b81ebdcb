/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Head kernels, compiled once per instruction set; head_real.h is the source for both precisions.
 */
#include "backend/head_math.h"
#include "policy/head_kernels.h"

#define SG_PASTE(a, b) a##b
#define SG_EXPAND(a, b) SG_PASTE(a, b)

#define SG_REAL float
#define SG_NAME(name) name##_f32
#define SG_LEAST -87.0
#include "policy/head_real.h"
#undef SG_REAL
#undef SG_NAME
#undef SG_LEAST

#define SG_REAL double
#define SG_NAME(name) name##_f64
#define SG_LEAST -708.0
#include "policy/head_real.h"

extern const sg_head_kernels SG_EXPAND(sg_head_kernels_, SG_ISA)[2];
const sg_head_kernels SG_EXPAND(sg_head_kernels_, SG_ISA)[2] = {
    [SG_FP32] = {finish_f32, log_mass_f32, weigh_f32, add_f32, look_f32, compare_f32, find_f32},
    [SG_FP64] = {finish_f64, log_mass_f64, weigh_f64, add_f64, look_f64, compare_f64, find_f64},
};
