/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Optimiser kernels, compiled once per instruction set; optimizer_real.h is the source for both
 * precisions. */
#include "backend/backend.h"
#include "policy/optimizer_kernels.h"

#define SG_PASTE(a, b) a##b
#define SG_EXPAND(a, b) SG_PASTE(a, b)

#define SG_REAL float
#define SG_NAME(name) name##_f32
#include "policy/optimizer_real.h"
#undef SG_REAL
#undef SG_NAME

#define SG_REAL double
#define SG_NAME(name) name##_f64
#include "policy/optimizer_real.h"

extern const sg_rule_kernels SG_EXPAND(sg_rule_kernels_, SG_ISA)[2];
const sg_rule_kernels SG_EXPAND(sg_rule_kernels_, SG_ISA)[2] = {
    [SG_FP32] = {sgd_f32, momentum_f32, adam_f32, coupled_f32, add_f32, norm2_f32, columns_f32},
    [SG_FP64] = {sgd_f64, momentum_f64, adam_f64, coupled_f64, add_f64, norm2_f64, columns_f64},
};
