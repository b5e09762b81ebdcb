/* SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef SG_GATES_H
#define SG_GATES_H

#include <stddef.h>
#include <stdint.h>

#include "backend/backend.h"
#include "core/status.h"
#include "objective/objective.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Gates of whole batches, in single precision, at the speed of memory. The formulas are those of
 * objective/gate.h, compiled once more with branch-free maths; all threads are used; results depend
 * neither on their number nor on the instruction set. Any gate but dppo-tv, which needs each
 * token's old log-probability.
 *
 * Backend: AUTO is the CPU. CUDA runs the same maths, so single tokens come out as the same bits (vespo, which
 * needs the gamma function, to its bound below); sums of weights and of log-ratios are in double precision in
 * another fixed order. Arrays are the host's and are copied; backend/cuda/gates.h works on arrays that
 * are on the device already. Besides what is said below: SG_EUNSUPPORTED when there is no device, SG_ENOMEM,
 * SG_ETOOL when it failed.
 *
 * Error against the double-precision gate at the same ratio: 6e-7 of the greater of 1 and the
 * result (vespo 3e-6), for results below 1e30; a ratio within one part in 10^6 of a clip's edge may
 * fall on its other side. NaN ratios and advantages give NaN. tests/check_gates.c holds every gate
 * to this. */

/* Token level: value[i] = f(ratio[i]) * advantage[i] and slope[i] = c(ratio[i]) * advantage[i], the
 * objective and its derivative by log pi. Either output may be NULL. Outputs must not overlap
 * inputs. By hand: sapo, tau 1, ratio 2, advantage 1: value 2.924234, slope 1.572895. */
sg_status sg_gates_apply(sg_backend_kind backend, const sg_objective *objective, size_t n,
                         const float *ratio, const float *advantage, float *value, float *slope,
                         sg_error *error);

/* Sequence level (GSPO): sequence i holds tokens start[i] .. start[i+1]-1 and one advantage. s =
 * exp(mean log_ratio), value[i] = f(s) * advantage[i], slope of each of its T tokens = c(s) *
 * advantage[i] / T. An empty sequence has s = 1. That slope is one number for the whole row:
 * row_slope[i] takes it once (0 for an empty sequence), slope writes it to every token, which costs
 * as much memory traffic as reading them; each may be NULL. Sums of log-ratios are in double
 * precision. Level sequence-token gives the same, as the advantage is the sequence's. Level product (vespo, topr): W =
 * exp(sum log_ratio) in the place of s, and no division by T. Not gmpo, which clips single tokens. By hand: gspo, eps
 * 3e-4 and 4e-4, two tokens of log-ratio 1e-4 and 3e-4, advantage 1: s = value = 1.000200, slopes 0.500100. */
sg_status sg_gates_apply_sequences(sg_backend_kind backend, const sg_objective *objective,
                                   size_t sequences, const size_t *start, const float *log_ratio,
                                   const float *advantage, float *value, float *row_slope,
                                   float *slope, sg_error *error);

enum { SG_GATE_BINS = 20 };

/* What a gate does to a batch, without writing tokens. */
typedef struct sg_gate_statistics {
    size_t tokens, positive, negative;         /* all; with A > 0; with A < 0 */
    double effective_update_ratio;             /* EUR: mean weight */
    size_t clipped_positive, clipped_negative; /* coefficient 0 in fp32, by the sign of A */
    /* Weights w: bin k holds k/20 <= w < (k+1)/20; the last one also w = 1; beyond [0, 1] and NaN:
     * outside. */
    uint64_t histogram[SG_GATE_BINS];
    uint64_t outside;
} sg_gate_statistics;

/* statistics[k] of each of `count` objectives, for example many temperatures, in one pass over the tokens. */
sg_status sg_gates_statistics(sg_backend_kind backend, size_t count, const sg_objective *objective,
                              size_t n, const float *ratio, const float *advantage,
                              sg_gate_statistics *statistics, sg_error *error);

#ifdef __cplusplus
}
#endif

#endif
