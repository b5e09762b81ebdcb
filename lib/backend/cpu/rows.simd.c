/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Row kernels, compiled once per instruction set; rows_kernels.h is the source for both precisions.
 */
#include <assert.h>

#ifdef __AVX512F__
#include <immintrin.h>
#endif

#include "backend/cpu/rows.h"
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

/* log(x) for entropies of single-precision rows: relative error below 1.5e-7, or 6e-8 absolute near
 * x = 1; of 0 and subnormal numbers something finite, so that x log(x) is right or negligible. */
static inline float entropy_logf(float x)
{
    uint32_t bits = sg_bits_of_float(x) - 0x3f3504f3u;
    float k = (float)((int32_t)bits >> 23);
    float f = sg_float_of_bits((bits & 0x007fffffu) + 0x3f3504f3u) - 1.0f;
    float p = 0x1.645eb8p-4f;
    p = p * f - 0x1.2432bap-3f;
    p = p * f + 0x1.317456p-3f;
    p = p * f - 0x1.53824ap-3f;
    p = p * f + 0x1.98d7f2p-3f;
    p = p * f - 0x1.000382p-2f;
    p = p * f + 0x1.5556d8p-2f;
    p = p * f - 0.5f;
    return k * 0x1.62e43p-1f + (f + f * f * p);
}

static inline double entropy_log(double x)
{
    return sg_log_normal(x, 0);
}

/* exp(x) - 1 for |x| <= 2^-6 in single precision (x^4 / 24 < 2^-28 is left out) and for |x| <= 2^-8
 * in double (x^7 / 5040 < 2^-68). Expressions, because numbers and vectors of numbers both pass
 * through them. */
#define EXPM1_SMALL_F32(x) ((x) + (x) * (x) * (0.5f + (x)*0x1.555556p-3f))
#define EXPM1_SMALL_F64(x)                                                                         \
    ((x) + (x) * (x) *                                                                             \
               (0.5 + (x) * (0x1.5555555555555p-3 +                                                \
                             (x) * (0x1.5555555555555p-5 +                                         \
                                    (x) * (0x1.1111111111111p-7 + (x)*0x1.6c16c16c16c17p-10)))))

/* exp(d) - 1 - d, of relative accuracy 1e-15 at any d. */
static inline double exp_excess(double d)
{
    double c = d > 1417.0 ? 1417.0 : d;
    c = c < -1417.0 ? -1417.0 : c;
    uint64_t n;
    double r, p = sg_exp_polynomial(c, &r, &n);
    uint64_t half = (n + 2048) >> 1;
    double e = (1.0 + (r + r * r * p)) * sg_double_of_bits((half - 1) << 52) *
               sg_double_of_bits((n - half + 2047) << 52);
    double far = (e - 1.0) - d;
    return fabs(d) < 0.34 ? r * r * p : far;
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
#define SG_EXPM1_SMALL EXPM1_SMALL_F32
#define SG_SMALL 0x1p-6
#define SG_ENTROPY_LOG entropy_logf
#define SG_SQRT sqrtf
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
#undef SG_SQRT
#undef SG_INT
#undef SG_INT_MAX
#undef SG_UINT
#undef SG_BITS
#undef SG_REAL_OF_BITS

#define SG_REAL double
#define SG_NAME(name) name##_f64
#define SG_SCALE_EXP sg_scale_exp
#define SG_SCALE_EXP_NEAR sg_scale_exp_near
#define SG_EXPM1_SMALL EXPM1_SMALL_F64
#define SG_SMALL 0x1p-8
#define SG_ENTROPY_LOG entropy_log
#define SG_SQRT sqrt
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
