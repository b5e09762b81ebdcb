/* SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef SG_BANDITS_H
#define SG_BANDITS_H

#include <stddef.h>
#include <stdint.h>

#include "backend/backend.h"
#include "core/status.h"
#include "objective/advantage.h"
#include "objective/objective.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Thousands of small independent runs: each is one softmax policy over `arms` arms with a known
 * reward each, trained by plain SGD on a token-level objective. A run makes all its steps while its
 * row is in the first-level cache.
 *
 * One step of a run draws `samples` arms by inverse CDF, takes advantages within the group, and
 * makes `updates` full-batch updates z_v += lr / samples sum_j c_j A_j (1[v = a_j] - pi_v),   c_j
 * the gate's coefficient, in the form q *= exp(...) of backend.h. Runs share their random numbers:
 * sample j of step t uses the uniform at address (seed; ROLLOUT, step t, prompt = replicate, sample
 * j, token 0), for every run of that replicate. So two runs that differ in a parameter see the same
 * luck.
 *
 * fp32 keeps q, sums and gates in single precision: a run follows its double-precision twin to
 * about 1e-6 in J until a draw falls between the two and they part. fp64 is exact to 1e-13 in the
 * same sense. Results do not depend on threads or instruction set. A CUDA device draws the same
 * numbers and sums in another fixed order: to the same accuracy the results are those of the CPU
 * until a draw falls between the two.
 *
 * By hand: 2 arms, rewards 0 and 1, uniform start: J = 0.5 before the first step, and once both
 * arms have been drawn, 2 samples, dr-grpo, REINFORCE, lr 1, one update: A = +-1/2, logits move by
 * +-1/4 and J = 1 / (1 + exp(-1/2)) = 0.622459. */

typedef struct sg_bandit {
    sg_objective objective; /* of token level */
    double lr;              /* > 0 */
    uint32_t replicate;     /* which random numbers; below 2^24 */
} sg_bandit;

typedef struct sg_bandits {
    size_t runs;
    const sg_bandit *run;        /* [runs] */
    size_t arms;                 /* 2..65536 */
    const double *reward;        /* [arms], finite */
    const double *logits;        /* [arms] where every run starts; NULL: uniform */
    size_t samples;              /* 2..4096 */
    size_t steps, updates;       /* >= 1 */
    sg_advantage_kind advantage; /* grpo, dr-grpo or rloo */
    double eps;                  /* grpo: added to the standard deviation; >= 0 */
    uint64_t seed;
    sg_precision precision;
    sg_backend_kind backend; /* AUTO is the CPU */
} sg_bandits;

/* value[run][t], t = 0..steps: J = sum pi_v reward_v before the first step and after each. logits:
 * the final ones, [run][arm], up to a constant of the run and -inf where underflowed; or NULL. A
 * run that diverges has NaN from there on. Uses all threads. SG_EARGUMENT, SG_ENOMEM; CUDA:
 * SG_EUNSUPPORTED without a device, SG_ETOOL when it failed. */
sg_status sg_bandits_run(const sg_bandits *bandits, double *value, double *logits, sg_error *error);

#ifdef __cplusplus
}
#endif

#endif
