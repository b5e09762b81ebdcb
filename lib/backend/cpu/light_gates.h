/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Coefficients of a gate for the samples of one row, from gate_math.h with maths functions that
 * compilers turn into vector code. No include guard: *.simd.c files include this once per precision
 * with SG_REAL, SG_NAME and SG_MATH defined as gate_math.h wants them. */
#include "objective/gate_math.h"

/* `kind` is a constant wherever this is inlined: each loop holds one gate. */
static inline __attribute__((always_inline)) void
SG_NAME(sample_loop)(sg_gate_kind kind,
                     SG_NAME(sg_gate_value) (*gate)(const sg_gate_parameters *p,
                                                    SG_NAME(sg_gate_point) at, bool positive),
                     const sg_gate_parameters *parameter, size_t n, const SG_REAL *log_ratio,
                     const SG_REAL *ratio, const SG_REAL *excess, const SG_REAL *logp_old,
                     const SG_REAL *advantage, SG_REAL *coefficient)
{
    const sg_gate_parameters p = *parameter;
/* Some gates cannot become vector code, and clang would warn of that. */
#ifndef __clang__
#pragma omp simd
#endif
    for (size_t i = 0; i < n; i++) {
        SG_REAL a = advantage[i];
        SG_NAME(sg_gate_point)
        at = {log_ratio[i], ratio[i], excess[i], logp_old[i]};
        SG_REAL c = gate(&p, at, SG_NAME(sg_gate_positive)(kind, a)).coefficient;
        c = at.log_ratio == at.log_ratio ? c : at.log_ratio;
        coefficient[i] = a == a ? c : a;
    }
}

static inline __attribute__((always_inline)) void
SG_NAME(sample_gate)(sg_gate_kind kind, const sg_gate_parameters *parameter, size_t n,
                     const SG_REAL *log_ratio, const SG_REAL *ratio, const SG_REAL *excess,
                     const SG_REAL *logp_old, const SG_REAL *advantage, SG_REAL *coefficient)
{
    switch (kind) {
#define SG_SAMPLE_CASE(id, suffix)                                                                 \
    case id:                                                                                       \
        SG_NAME(sample_loop)                                                                       \
        (id, SG_NAME(sg_gate_##suffix), parameter, n, log_ratio, ratio, excess, logp_old,          \
         advantage, coefficient);                                                                  \
        break;
        SG_GATE_LIST(SG_SAMPLE_CASE)
#undef SG_SAMPLE_CASE
    }
}
