/* SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef SG_CLI_BENCH_H
#define SG_CLI_BENCH_H

#include <stdbool.h>
#include <stddef.h>

#include "backend/backend.h"
#include "core/status.h"
#include "core/table.h"

/* Benchmarks: each workload is first checked against double precision, then timed beside what this
 * machine's memory does in the same process, with the threads that OpenMP would use.
 * tests/bench/peer_torch.py is the executable definition of the same workloads in another program.
 *
 *   W1          SAPO value and slope of 10^7 ratios
 *   W1g         the same for the hard clip of GRPO
 *   W1s         GSPO: 10^4 sequences of 1000 tokens, the slope written to every token
 *   W1s.row     the same with one slope a sequence, which says as much
 *   W1.stats    mean weight, clip shares, histogram of W1
 *   W1.taus     the same for 64 temperatures in one pass
 *   W2.update   one SGD update of 64 states of 131072 tokens from 16 samples each (log-probabilities,
 *               SAPO, gradient)
 *   W2.step     16 draws a state, old log-probabilities, entropy, then 4 such updates, row by row
 *   W2.draw     16 draws a state from known tile masses
 *   W2.observe  entropy and the other sums of a row
 *   W2.light    W2.step on light rows, a mean over 32 steps; .1e5 and .1e6: 8 states of so many tokens.
 *               error_vs_fp64 is that of the logits after 64 steps, shape names the bound
 *   W2a         W2.update with Adam instead of SGD
 *   W3.forward  log-probabilities and SAPO loss of a linear output layer: 512 samples, width 256, 131072
 *               tokens
 *   W3.fwdbwd   the same with the gradients of weights and features
 *   W3.grouped  the same where 16 samples share a state; W3.large: 2048 samples
 *   W3.step     a step of Adam of its weights, the gradient clipped to norm 1; error_vs_fp64 is that of a parameter over the
 *               learning rate after 3 steps
 *   .tf32 and .bf16 behind W3.forward, W3.fwdbwd and W3.large: on tensor cores, with CUDA only
 *   W4          4096 bandits of 256 arms, 20 steps of 16 draws and 2 updates; error_vs_fp64 is the 99th
 *               percentile of |J - J in double precision|
 *
 * The table has one row per workload: workload, backend, threads, shape, median_s, best_s, cpu_s,
 * repetitions, bytes, gb_per_s, machine_gb_per_s, fraction, error_vs_fp64, flop, gflops,
 * machine_gflops.
 * cpu_s is the least processor time of one repetition, all threads together. bytes is what the
 * workload must read and write once; machine_gb_per_s is a copy, an update in place or a read of
 * arrays beyond the caches, whichever the workload resembles, in the same count. The two rates and
 * their quotient `fraction` come from best times: other programs only make them smaller.
 * On a CUDA device times are those of its own clock around launches in a row (one would be too short to time), arrays
 * stay on the device, threads is 0, cpu_s NaN, and machine_gb_per_s is what plain kernels do there. W1 takes several sets
 * of arrays by turns, as one would stay in the L2 cache. Tables of W2 are what they are: those that fit into that cache (34 MB
 * for sgd) are read from there, and their `fraction` of the memory's rate may exceed 1. What W2.draw,
 * W2.observe, W2.step and W2.light bring back to the host, and the waiting for it, counts.
 * There the rest of W3 is the layer alone: copies to the host and gates are left out, and machine_gflops is what a kernel does that
 * multiplies and adds single-precision numbers in registers, without tensor cores; for .tf32 and .bf16, what cuBLASLt's
 * product of 8192 x 8192 x 8192 does in that arithmetic, and the rounding of weights and features counts.
 * Where arithmetic is the limit (W3 but for W3.step), flop counts it, machine_gflops is what the library's own
 * product of small matrices does within the caches, and `fraction` is the quotient of these rates;
 * elsewhere the three are empty. */
typedef struct bench_options {
    bool small;              /* sizes divided by 16 */
    int repetitions;         /* at least 7; 0 means 15 */
    sg_backend_kind backend; /* CUDA: the workloads that it has */
} bench_options;

/* Names may be prefixes up to a dot: "W2" means all of W2.*. count 0: all. Where there is no cuBLASLt, what needs it is left out
 * unless it is named in full, and the metadata `not_run` says why. Appends nothing on
 * failure. SG_EARGUMENT for an unknown name, SG_ENOMEM. */
sg_status bench_run(const char *const *workloads, size_t count, const bench_options *options,
                    sg_table **table, sg_error *error);

/* Names of all workloads, NULL at the end. */
extern const char *const bench_names[];

#endif
