/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Bulk gates, compiled once per instruction set. The gate maths is included a third time with maths
 * functions that compilers turn into vector code; a loop per gate is all that is written here. */
#include "backend/cpu/gates.h"
#include "backend/gates_math.h"
#include "core/vec_math.h"

#define SG_PASTE(a, b) a##b
#define SG_EXPAND(a, b) SG_PASTE(a, b)
#define INLINE static inline __attribute__((always_inline))

/* One gate of gate_math.h. */
typedef sg_gate_value_bulk gate_function(const sg_gate_parameters *p, sg_gate_point_bulk at,
                                         bool positive);

INLINE sg_gate_value_bulk evaluate(sg_gate_kind kind, gate_function *gate,
                                   const sg_gate_parameters *p, float ratio, float log_ratio,
                                   float advantage)
{
    sg_gate_point_bulk at = {log_ratio, ratio, ratio - 1, 0};
    sg_gate_value_bulk v = gate(p, at, sg_gate_positive_bulk(kind, advantage));
    return sg_gate_keep_nan_bulk(v, ratio);
}

/* `kind` and `gate` are constants wherever these two are called, so that each loop holds one gate, inlined. Logarithms
 * are made by a loop of their own: compilers give up on the branches of both together. */
INLINE void apply(sg_gate_kind kind, gate_function *gate, const sg_gate_parameters *parameter,
                  size_t n, const float *restrict ratio, const float *restrict log_ratio,
                  const float *restrict advantage, float *restrict value, float *restrict slope)
{
    const sg_gate_parameters p = *parameter;
    const bool logs = sg_gate_reads_log(kind);
    if (value && slope) {
        for (size_t i = 0; i < n; i++) {
            float d = logs ? log_ratio[i] : 0;
            sg_gate_value_bulk v = evaluate(kind, gate, &p, ratio[i], d, advantage[i]);
            value[i] = v.surrogate * advantage[i];
            slope[i] = v.coefficient * advantage[i];
        }
    } else if (value) {
        for (size_t i = 0; i < n; i++) {
            float d = logs ? log_ratio[i] : 0;
            value[i] = evaluate(kind, gate, &p, ratio[i], d, advantage[i]).surrogate * advantage[i];
        }
    } else if (slope) {
        for (size_t i = 0; i < n; i++) {
            float d = logs ? log_ratio[i] : 0;
            slope[i] =
                evaluate(kind, gate, &p, ratio[i], d, advantage[i]).coefficient * advantage[i];
        }
    }
}

INLINE void weigh(sg_gate_kind kind, gate_function *gate, const sg_gate_parameters *parameter,
                  size_t n, const float *restrict ratio, const float *restrict log_ratio,
                  const float *restrict advantage, float *restrict weight,
                  float *restrict coefficient)
{
    const sg_gate_parameters p = *parameter;
    const bool logs = sg_gate_reads_log(kind);
    for (size_t i = 0; i < n; i++) {
        float d = logs ? log_ratio[i] : 0;
        sg_gate_value_bulk v = evaluate(kind, gate, &p, ratio[i], d, advantage[i]);
        weight[i] = v.weight;
        coefficient[i] = v.coefficient;
    }
}

static void logarithms(size_t n, const float *restrict x, float *restrict y)
{
    for (size_t i = 0; i < n; i++)
        y[i] = sg_logf(x[i]);
}

static void gates_apply(sg_gate_kind kind, const sg_gate_parameters *parameter, size_t n,
                        const float *ratio, const float *advantage, float *value, float *slope)
{
    _Alignas(64) float log_ratio[SG_GATE_BLOCK];
    for (size_t first = 0; first < n; first += SG_GATE_BLOCK) {
        size_t m = n - first < SG_GATE_BLOCK ? n - first : SG_GATE_BLOCK;
        if (sg_gate_reads_log(kind))
            logarithms(m, ratio + first, log_ratio);
        switch (kind) {
#define SG_CASE(id, suffix)                                                                        \
    case id:                                                                                       \
        apply(id, sg_gate_##suffix##_bulk, parameter, m, ratio + first, log_ratio,                 \
              advantage + first, value ? value + first : NULL, slope ? slope + first : NULL);      \
        break;
            SG_GATE_LIST(SG_CASE)
#undef SG_CASE
        }
    }
}

/* Sum in 16 double lanes, in a fixed order. */
static double gates_total(size_t n, const float *x)
{
    double lane[16] = {0};
    size_t i = 0;
    for (; i + 16 <= n; i += 16)
        for (size_t k = 0; k < 16; k++)
            lane[k] += (double)x[i + k];
    for (size_t k = 0; i < n; i++, k++)
        lane[k] += (double)x[i];
    for (size_t half = 8; half; half /= 2)
        for (size_t k = 0; k < half; k++)
            lane[k] += lane[k + half];
    return lane[0];
}

/* What is counted of a token: the bin of its weight in the low bits, then flags. */
enum { CLIPPED = 32, POSITIVE = 64, NEGATIVE = 128 };

static void encode(size_t n, const float *restrict weight, const float *restrict coefficient,
                   const float *restrict advantage, int32_t *restrict code)
{
    for (size_t i = 0; i < n; i++) {
        float w = weight[i], a = advantage[i];
        code[i] = sg_gate_bin(w) | (coefficient[i] == 0 ? CLIPPED : 0) | (a > 0 ? POSITIVE : 0) |
                  (a < 0 ? NEGATIVE : 0);
    }
}

static void count(size_t n, const int32_t *code, sg_gate_sums *sums)
{
    /* Four counters a code, so that equal neighbours do not wait for each other. */
    uint32_t table[4][256] = {{0}};
    size_t i = 0;
    for (; i + 4 <= n; i += 4)
        for (size_t k = 0; k < 4; k++)
            table[k][code[i + k]]++;
    for (; i < n; i++)
        table[0][code[i]]++;
    for (size_t c = 0; c < 256; c++) {
        uint64_t found = (uint64_t)table[0][c] + table[1][c] + table[2][c] + table[3][c];
        if (found == 0)
            continue;
        sums->bins[c & 31] += found;
        sums->positive += c & POSITIVE ? found : 0;
        sums->negative += c & NEGATIVE ? found : 0;
        sums->clipped_positive += (c & POSITIVE) && (c & CLIPPED) ? found : 0;
        sums->clipped_negative += (c & NEGATIVE) && (c & CLIPPED) ? found : 0;
    }
}

static void gates_sums(sg_gate_kind kind, const sg_gate_parameters *parameter, size_t n,
                       const float *ratio, const float *advantage, sg_gate_sums *sums)
{
    _Alignas(64) float weight[SG_GATE_BLOCK], coefficient[SG_GATE_BLOCK], log_ratio[SG_GATE_BLOCK];
    _Alignas(64) int32_t code[SG_GATE_BLOCK];
    for (size_t first = 0; first < n; first += SG_GATE_BLOCK) {
        size_t m = n - first < SG_GATE_BLOCK ? n - first : SG_GATE_BLOCK;
        if (sg_gate_reads_log(kind))
            logarithms(m, ratio + first, log_ratio);
        switch (kind) {
#define SG_CASE(id, suffix)                                                                        \
    case id:                                                                                       \
        weigh(id, sg_gate_##suffix##_bulk, parameter, m, ratio + first, log_ratio,                 \
              advantage + first, weight, coefficient);                                             \
        break;
            SG_GATE_LIST(SG_CASE)
#undef SG_CASE
        }
        encode(m, weight, coefficient, advantage + first, code);
        sums->weight += gates_total(m, weight);
        count(m, code, sums);
    }
}

static void gates_fill(size_t n, float *x, float value)
{
    for (size_t i = 0; i < n; i++)
        x[i] = value;
}

const sg_gate_kernels SG_EXPAND(sg_gate_kernels_, SG_ISA) = {gates_apply, gates_sums, gates_total,
                                                             gates_fill};
