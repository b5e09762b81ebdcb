/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Matrix kernels, compiled once per instruction set; net_matrix_kernels.h is the source for both
 * precisions. */
#include <string.h>

#include "policy/net_matrix.h"

#define SG_PASTE(a, b) a##b
#define SG_EXPAND(a, b) SG_PASTE(a, b)

/* Registers: ROWS x 2 accumulators, 2 vectors of B, a broadcast and a product. */
#if defined __AVX512F__
enum { VECTOR = 64, ROWS = 12 };
#elif defined __AVX2__
enum { VECTOR = 32, ROWS = 6 };
#else
enum { VECTOR = 16, ROWS = 6 };
#endif
enum { PANEL_BYTES = 128 };

#define SG_REAL float
#define SG_NAME(name) name##_f32
#include "policy/net_matrix_kernels.h"
#undef SG_REAL
#undef SG_NAME

#define SG_REAL double
#define SG_NAME(name) name##_f64
#include "policy/net_matrix_kernels.h"

extern const sg_matrix_kernels SG_EXPAND(sg_matrix_kernels_, SG_ISA)[2];
const sg_matrix_kernels SG_EXPAND(sg_matrix_kernels_, SG_ISA)[2] = {
    [SG_FP32] = {PANEL_BYTES / sizeof(float), pack_f32, multiply_f32},
    [SG_FP64] = {PANEL_BYTES / sizeof(double), pack_f64, multiply_f64},
};
