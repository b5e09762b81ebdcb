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

/* Weights are counted in vectors: a lane has a counter of 3 bits for each bin in one word, and adds 1 << 3 bin. Before one can
 * overflow, counters move on: to 6 bits, those of even and odd bins apart, and from there to the sums. What is outside goes to
 * bit 63, which nobody reads. */
enum { LANES = 8, GROUP = 7, GROUPS = 9 };
typedef uint64_t words __attribute__((vector_size(8 * LANES)));
typedef int32_t shifts __attribute__((vector_size(4 * LANES), aligned(4)));
static const uint64_t EVEN = UINT64_C(0x1c71c71c71c71c7); /* the low 3 of each 6 bits */
_Static_assert(SG_GATE_BINS == 20, "counters of 6 bits for 10 even and 10 odd bins");

static void encode(size_t n, const float *restrict weight, const float *restrict coefficient,
                   const float *restrict advantage, int32_t *restrict shift, sg_gate_sums *sums)
{
    int32_t positive = 0, negative = 0, clipped_positive = 0, clipped_negative = 0;
    for (size_t i = 0; i < n; i++) {
        int32_t above = advantage[i] > 0, below = advantage[i] < 0, clipped = coefficient[i] == 0;
        int32_t bin = sg_gate_bin(weight[i]);
        shift[i] = bin < SG_GATE_BINS ? 3 * bin : 63;
        positive += above;
        negative += below;
        clipped_positive += above & clipped;
        clipped_negative += below & clipped;
    }
    sums->positive += (uint64_t)positive;
    sums->negative += (uint64_t)negative;
    sums->clipped_positive += (uint64_t)clipped_positive;
    sums->clipped_negative += (uint64_t)clipped_negative;
}

static void unload(const words *even, const words *odd, uint64_t *bins)
{
    for (size_t pair = 0; pair < SG_GATE_BINS / 2; pair++) {
        words of_even = *even >> 6 * pair & 63, of_odd = *odd >> 6 * pair & 63;
        for (size_t k = 0; k < LANES; k++) {
            bins[2 * pair] += of_even[k];
            bins[2 * pair + 1] += of_odd[k];
        }
    }
}

static void count(size_t n, const int32_t *shift, sg_gate_sums *sums)
{
    const words one = (words){0} + 1;
    uint64_t bins[SG_GATE_BINS + 1] = {0}, inside = 0;
    size_t i = 0;
    while (i + LANES <= n) {
        words even = {0}, odd = {0};
        for (size_t group = 0; group < GROUPS && i + LANES <= n; group++) {
            words counter = {0};
            for (size_t k = 0; k < GROUP && i + LANES <= n; k++, i += LANES)
                counter += one << __builtin_convertvector(*(const shifts *)(shift + i), words);
            even += counter & EVEN;
            odd += counter >> 3 & EVEN;
        }
        unload(&even, &odd, bins);
    }
    for (; i < n; i++)
        bins[shift[i] / 3 < SG_GATE_BINS ? shift[i] / 3 : SG_GATE_BINS]++;
    for (size_t bin = 0; bin < SG_GATE_BINS; bin++) {
        sums->bins[bin] += bins[bin];
        inside += bins[bin];
    }
    sums->bins[SG_GATE_BINS] += n - inside;
}

static void gates_sums(sg_gate_kind kind, const sg_gate_parameters *parameter, size_t n,
                       const float *ratio, const float *advantage, sg_gate_sums *sums)
{
    _Alignas(64) float weight[SG_GATE_BLOCK], coefficient[SG_GATE_BLOCK], log_ratio[SG_GATE_BLOCK];
    _Alignas(64) int32_t shift[SG_GATE_BLOCK];
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
        encode(m, weight, coefficient, advantage + first, shift, sums);
        sums->weight += gates_total(m, weight);
        count(m, shift, sums);
    }
}

static void gates_fill(size_t n, float *x, float value)
{
    for (size_t i = 0; i < n; i++)
        x[i] = value;
}

const sg_gate_kernels SG_EXPAND(sg_gate_kernels_, SG_ISA) = {gates_apply, gates_sums, gates_total,
                                                             gates_fill};
