/* SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef TEST_MADE_UP_RUNS_H
#define TEST_MADE_UP_RUNS_H

#include "core/table.h"

/* A table of runs whose every number is known, as if it were of sg_simulate: three arms, five seeds,
 * a hundred steps, evaluated at steps 1, 11, ... 91 and 100. Reward, J and the scores are
 *
 *   0.1 + 0.01 arm + 0.005 step + 0.02 seed    (greedy: 0.05 more; hard: half)
 *
 * but in arm 2 seeds 1 to 3 fall to 0 at step 60 for good, and the tail of seed 4 takes over at
 * step 80, which is a divergence. */
enum { MADE_UP_ARMS = 3, MADE_UP_SEEDS = 5, MADE_UP_STEPS = 100 };

double made_up_score(int arm, int seed, int step);

/* `arms`: objective and params of each. */
sg_table *made_up_runs(const char *const arms[MADE_UP_ARMS][2]);

/* SAPO 1/1.05, GSPO 3e-4/4e-4, GRPO 0.2/0.27 with replayed routes; and three temperatures. */
extern const char *const made_up_methods[MADE_UP_ARMS][2];
extern const char *const made_up_temperatures[MADE_UP_ARMS][2];

#endif
