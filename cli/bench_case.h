/* SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef SG_CLI_BENCH_CASE_H
#define SG_CLI_BENCH_CASE_H

#include "backend/cuda/device.h"
#include "cli/bench.h"

/* Inside of the benchmarks: what a workload tells the harness. */
typedef enum bench_traffic { BENCH_COPY, BENCH_IN_PLACE, BENCH_READ } bench_traffic;

typedef struct bench_case {
    char shape[80];
    double bytes;
    bench_traffic traffic;
    double flop;      /* where arithmetic is the limit; otherwise 0 */
    sg_matmul matmul; /* that arithmetic, on a device */
    double error;     /* against fp64, found before timing */
    const char *backend;
    void (*run)(void *data); /* one repetition, on the CPU; on a device instead: */
    sg_status (*queue)(void *data, sg_error *error);
    sg_cuda_stream *stream;
    int per; /* times are divided by this: what one repetition does so often; 0: once */
    void *data;
    void (*free)(void *data); /* may be NULL */
} bench_case;

/* Prepare one workload by name: fills the case, checks results. */
sg_status bench_gates_prepare(const char *name, size_t cut, bench_case *made, sg_error *error);
sg_status bench_rows_prepare(const char *name, size_t cut, sg_backend_kind backend,
                             bench_case *made, sg_error *error);
sg_status bench_light_prepare(const char *name, size_t cut, sg_backend_kind backend,
                              bench_case *made, sg_error *error);
sg_status bench_w4_prepare(size_t cut, sg_backend_kind backend, bench_case *made, sg_error *error);
/* The same on a CUDA device. */
sg_status bench_gates_cuda_prepare(const char *name, size_t cut, bench_case *made, sg_error *error);

/* GB/s of plain loops over arrays that no cache holds, on all threads; best of a few. NaN when out
 * of memory. */
double bench_machine(bench_traffic traffic);

/* Array of whole huge pages, touched first by the threads that will use it. NULL when out of
 * memory. */
float *bench_floats(size_t n);

#endif
