/* SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef SG_CLI_BENCH_W3_H
#define SG_CLI_BENCH_W3_H

#include <stdint.h>

#include "cli/bench_case.h"

/* W3: the linear output layer of 131072 tokens on features of width 256. */
sg_status bench_w3_prepare(const char *name, size_t cut, sg_backend_kind backend, bench_case *made,
                           sg_error *error);

/* W3.step: a step of Adam of its weights, with a clip. */
sg_status bench_step_prepare(size_t cut, sg_backend_kind backend, bench_case *made,
                             sg_error *error);

/* scale times normal numbers of stream `what`. */
void bench_w3_fill(float *x, size_t n, uint32_t what, double scale);

/* The arithmetic of a workload: that of its suffix .tf32 or .bf16. */
sg_matmul bench_w3_matmul(const char *name);

/* GFLOP/s of the library's own product of matrices that a core's own caches hold, on all threads;
 * best of a few. NaN when out of memory. */
double bench_w3_machine(void);

#endif
