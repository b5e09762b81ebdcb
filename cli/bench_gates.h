/* SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef SG_CLI_BENCH_GATES_H
#define SG_CLI_BENCH_GATES_H

#include "backend/gates.h"
#include "cli/bench_case.h"

/* Inside of W1: what is computed, on the CPU and on a device. */
enum { BENCH_SEQUENCE = 1000, BENCH_TAUS = 64 };

typedef enum bench_gates_kind { BENCH_TOKENS, BENCH_STATISTICS, BENCH_SEQUENCES } bench_gates_kind;

typedef struct bench_gates_data {
    bench_gates_kind kind;
    bool by_row;                        /* W1s.row: one slope a sequence, none for its tokens */
    sg_objective objective[BENCH_TAUS]; /* the first, or temperatures 0.5 .. 3 */
    size_t objectives, n, sequences;
    size_t *start;
    float *log_ratio, *ratio, *advantage, *value, *slope, *sequence_advantage;
    sg_gate_statistics statistics[BENCH_TAUS];
} bench_gates_data;

/* The inputs of a workload, made. On failure too free *data with bench_gates_free. */
sg_status bench_gates_make(const char *name, size_t cut, bench_gates_data **data, sg_error *error);
void bench_gates_free(void *data);

/* Shape, bytes, traffic and, from the results in `data`, the error against double precision. */
void bench_gates_describe(const bench_gates_data *data, bench_case *made);

#endif
