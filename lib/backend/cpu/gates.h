/* SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef SG_CPU_GATES_H
#define SG_CPU_GATES_H

#include "backend/gates.h"

/* Sums of one run of tokens. */
typedef struct sg_gate_sums {
    double weight;
    uint64_t positive, negative, clipped_positive, clipped_negative;
    uint64_t bins[SG_GATE_BINS + 1]; /* the last one: outside */
} sg_gate_sums;

enum { SG_GATE_BLOCK = 2048 }; /* tokens of one block; sums are taken block by block */

/* Kernels of one instruction set. */
typedef struct sg_gate_kernels {
    void (*apply)(sg_gate_kind kind, const sg_gate_parameters *parameter, size_t n,
                  const float *ratio, const float *advantage, float *value, float *slope);
    void (*sums)(sg_gate_kind kind, const sg_gate_parameters *parameter, size_t n,
                 const float *ratio, const float *advantage, sg_gate_sums *sums);
    double (*total)(size_t n, const float *x);
    void (*fill)(size_t n, float *x, float value);
} sg_gate_kernels;

extern const sg_gate_kernels sg_gate_kernels_portable;
#ifdef __x86_64__
extern const sg_gate_kernels sg_gate_kernels_avx2, sg_gate_kernels_avx512;
#endif

/* As in backend/gates.h, for what was checked there; at least one sequence. */
void sg_cpu_gates_apply(const sg_objective *objective, size_t n, const float *ratio,
                        const float *advantage, float *value, float *slope);
void sg_cpu_gates_apply_sequences(const sg_objective *objective, size_t sequences,
                                  const size_t *start, const float *log_ratio,
                                  const float *advantage, float *value, float *row_slope,
                                  float *slope);
sg_status sg_cpu_gates_statistics(size_t count, const sg_objective *objective, size_t n,
                                  const float *ratio, const float *advantage,
                                  sg_gate_statistics *statistics, sg_error *error);

#endif
