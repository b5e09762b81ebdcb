/* SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef SG_CPU_BANDITS_H
#define SG_CPU_BANDITS_H

#include "backend/bandits.h"

/* Inside of sg_bandits. A row of arms is held as `depth` groups of 16 lanes: arm v is at
 * (v % depth) * 16 + v / depth, so that each lane holds neighbours, running sums over the groups
 * are running sums over arms, and a draw is the choice of a lane and then of a group. */

enum { SG_BANDIT_LANES = 16, SG_BANDIT_TOGETHER = 8 };

typedef struct sg_bandit_job {
    const sg_bandits *bandits;
    size_t depth;        /* groups */
    size_t tall;         /* the power of two from depth on */
    size_t padded;       /* samples, a multiple of 16 */
    const void *reward;  /* in the row's order and precision, 0 where there is no arm */
    const void *start;   /* q, same */
    const void *uniform; /* [replicate][step][padded] */
    size_t scratch;      /* bytes that a run needs, a multiple of 64 */
    double *value, *logits;
} sg_bandit_job;

/* Runs first..end-1, at most SG_BANDIT_TOGETHER. scratch: aligned to 64 bytes, for each. [precision] */
typedef void sg_bandit_kernel(const sg_bandit_job *job, size_t first, size_t end, void *scratch);
extern sg_bandit_kernel *const sg_bandit_kernels_portable[2];
#ifdef __x86_64__
extern sg_bandit_kernel *const sg_bandit_kernels_avx2[2], *const sg_bandit_kernels_avx512[2];
#endif

/* As in backend/bandits.h, for what was checked there. */
sg_status sg_cpu_bandits_run(const sg_bandits *bandits, double *value, double *logits,
                             sg_error *error);

#endif
