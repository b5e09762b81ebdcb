/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Row kernels, compiled once per instruction set; rows_kernels.h is the source for both precisions.
 */
#include <assert.h>

#ifdef __AVX512F__
#include <immintrin.h>
#endif

#include "backend/cpu/rows.h"
#include "backend/rows_token.h"
#include "core/vec_math.h"

#define SG_PASTE(a, b) a##b
#define SG_EXPAND(a, b) SG_PASTE(a, b)
#define SG_TABLE SG_EXPAND(sg_row_kernels_, SG_ISA)

/* Eight double lanes: one AVX-512 register, two of AVX2, four of SSE2. */
typedef double sg_lanes __attribute__((vector_size(64), may_alias));

/* Eight numbers as lanes; x aligned to their size. The intrinsic says in one instruction what gcc
 * 12 makes of the general conversion in six. */
static inline void widen_f32(const float *x, sg_lanes *lanes)
{
#ifdef __AVX512F__
    *lanes = (sg_lanes)_mm512_cvtps_pd(_mm256_load_ps(x));
#else
    typedef float eight __attribute__((vector_size(32), may_alias));
    *lanes = __builtin_convertvector(*(const eight *)(const void *)x, sg_lanes);
#endif
}

static inline void widen_f64(const double *x, sg_lanes *lanes)
{
    *lanes = *(const sg_lanes *)(const void *)x;
}

static double lanes_total(const sg_lanes *a, const sg_lanes *b)
{
    sg_lanes t = *a + *b;
    return ((t[0] + t[4]) + (t[2] + t[6])) + ((t[1] + t[5]) + (t[3] + t[7]));
}

/* Sum of n doubles, n a multiple of SG_LANES, x aligned to 64 bytes. */
static double sum_array(const double *x, size_t n)
{
    const sg_lanes *v = (const sg_lanes *)(const void *)x;
    sg_lanes a = {0}, b = {0};
    for (size_t i = 0; i < n / 8; i += 2) {
        a += v[i];
        b += v[i + 1];
    }
    return lanes_total(&a, &b);
}

static double sum_products(const double *x, const double *y, size_t n)
{
    const sg_lanes *v = (const sg_lanes *)(const void *)x, *w = (const sg_lanes *)(const void *)y;
    sg_lanes a = {0}, b = {0};
    for (size_t i = 0; i < n / 8; i += 2) {
        a += v[i] * w[i];
        b += v[i + 1] * w[i + 1];
    }
    return lanes_total(&a, &b);
}

/* Sampled tokens of one tile, each once, with what they were before the pass. */
typedef struct touched {
    size_t count;
    uint16_t slot[SG_TILE]; /* 1 + position in the lists below, 0 for a token without a sample */
    uint16_t index[SG_TILE];
    double push[SG_TILE], q[SG_TILE], m[SG_TILE], v[SG_TILE], x[SG_TILE];
} touched;

/* A bit per tile (modulo the size) that holds a sample: most tiles hold none, and one look tells.
 */
typedef struct tile_filter {
    uint64_t bits[16];
} tile_filter;

static void filter_init(tile_filter *filter, const sg_row_job *job)
{
    memset(filter, 0, sizeof *filter);
    for (size_t j = 0; j < job->n; j++) {
        uint32_t tile = (uint32_t)job->tokens[j] / SG_TILE;
        filter->bits[tile / 64 % 16] |= UINT64_C(1) << tile % 64;
    }
}

static bool filter_has(const tile_filter *filter, size_t tile)
{
    return filter->bits[tile / 64 % 16] >> tile % 64 & 1;
}

static void gather(touched *list, const sg_row_job *job, const tile_filter *filter, size_t tile)
{
    list->count = 0;
    if (!filter_has(filter, tile))
        return;
    memset(list->slot, 0, sizeof list->slot);
    for (size_t j = 0; j < job->n; j++) {
        size_t index = (size_t)job->tokens[j] - tile * SG_TILE;
        if (index >= SG_TILE)
            continue;
        if (list->slot[index] == 0) {
            list->index[list->count] = (uint16_t)index;
            list->push[list->count++] = 0;
            list->slot[index] = (uint16_t)list->count;
        }
        list->push[list->slot[index] - 1] += job->pushes[j];
    }
}

#define SG_REAL float
#define SG_NAME(name) name##_f32
#define SG_SCALE_EXP sg_scale_expf
#define SG_SCALE_EXP_NEAR sg_scale_exp_nearf
#define SG_EXPM1_SMALL SG_EXPM1_SMALL_F32
#define SG_SMALL SG_SMALL_F32
#define SG_ENTROPY_LOG sg_entropy_log_f32
#define SG_INT int32_t
#define SG_INT_MAX INT32_MAX
#define SG_UINT uint32_t
#define SG_BITS sg_bits_of_float
#define SG_REAL_OF_BITS sg_float_of_bits
#include "backend/cpu/rows_kernels.h"
#undef SG_REAL
#undef SG_NAME
#undef SG_SCALE_EXP
#undef SG_SCALE_EXP_NEAR
#undef SG_EXPM1_SMALL
#undef SG_SMALL
#undef SG_ENTROPY_LOG
#undef SG_INT
#undef SG_INT_MAX
#undef SG_UINT
#undef SG_BITS
#undef SG_REAL_OF_BITS

#define SG_REAL double
#define SG_NAME(name) name##_f64
#define SG_SCALE_EXP sg_scale_exp
#define SG_SCALE_EXP_NEAR sg_scale_exp_near
#define SG_EXPM1_SMALL SG_EXPM1_SMALL_F64
#define SG_SMALL SG_SMALL_F64
#define SG_ENTROPY_LOG sg_entropy_log_f64
#define SG_INT int64_t
#define SG_INT_MAX INT64_MAX
#define SG_UINT uint64_t
#define SG_BITS sg_bits_of_double
#define SG_REAL_OF_BITS sg_double_of_bits
#include "backend/cpu/rows_kernels.h"

const sg_row_kernels SG_TABLE[2] = {
    [SG_FP32] = {set_f32, get_f32, fill_f32, rescale_f32, update_f32, norm2_f32, peak_f32, look_f32,
                 find_f32, at_f32},
    [SG_FP64] = {set_f64, get_f64, fill_f64, rescale_f64, update_f64, norm2_f64, peak_f64, look_f64,
                 find_f64, at_f64},
};
