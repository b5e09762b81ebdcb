/* SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef SG_RUN_H
#define SG_RUN_H

#include "objective/batch.h"
#include "objective/replay.h"
#include "sim/simulate.h"
#include "sim/task.h"

/* Inside lib/sim only: one run, that is one objective with one seed. Everything it needs is
 * allocated once.
 *
 * State p*length + t holds position t of prompt p; arrays [states][group] have sample i of that
 * state at (p*length + t)*group + i. A minibatch takes `part` samples of every group. */

/* The real columns of a row, in their order. */
typedef struct sg_observables {
#define SG_NO_COLUMN(name, unit, meaning)
#define SG_COLUMN_FIELD(name, unit, meaning) double name;
    SG_SIMULATE_COLUMNS(SG_NO_COLUMN, SG_NO_COLUMN, SG_COLUMN_FIELD)
#undef SG_COLUMN_FIELD
#undef SG_NO_COLUMN
} sg_observables;

typedef struct sg_record {
    int64_t rollout, step; /* both from 1 */
    sg_observables value;
} sg_record;

typedef struct sg_run {
    const sg_config *config;
    const sg_task *task;
    sg_objective objective;
    uint64_t seed;
    sg_rows *rows;
    size_t prompts, length, states, group, part;

    /* The rollout. */
    double *uniforms;  /* [states][group] */
    int32_t *tokens;   /* [states][group] */
    double *logp_old;  /* [states][group] */
    double *reward;    /* [prompts][group] */
    double *advantage; /* [prompts][group] */
    double *centred;   /* [prompts][group]: the integer group * score - sum of scores */
    double *unit;      /* [prompts]: advantage = centred * unit, or 0 where the estimator is no such
                          multiple */
    uint32_t *order;   /* [prompts][group]: shuffled samples */
    int64_t *prompt_of; /* [prompts][group] */
    double *lengths;    /* [prompts][group] */
    double mean_reward, zero_std_groups;

    /* The minibatch. */
    int32_t *part_tokens; /* [states][part] */
    double *part_logp;    /* [states][part] */
    double *pushes;       /* [states][part] */
    sg_batch *batch;      /* token (p*part + j)*length + t */
    sg_replay_token *replay;
    double *sorted; /* ratios in order */

    sg_row_observation *observation; /* [states] */
    sg_row_change *change;           /* [states] */

    sg_record *records;
    size_t record_count, record_capacity;
    bool ended_early; /* its numbers stopped being finite */
} sg_run;

/* SG_ENOMEM, or what the backend says. */
sg_status sg_run_init(sg_run *run, const sg_config *config, const sg_task *task,
                      const double *prior_logits, size_t arm, uint64_t seed, sg_error *error);
void sg_run_clear(sg_run *run);

/* Rollout number `rollout` (from 0): draw, score, turn rewards into advantages. */
sg_status sg_run_rollout(sg_run *run, size_t rollout, sg_error *error);
/* Put the samples of every group into the order of this epoch. */
void sg_run_shuffle(sg_run *run, size_t rollout, size_t epoch);
/* Gradient step number `step` (from 1) on minibatch k. *alive turns false when the policy is not
 * finite any more; the step is then recorded but not taken. */
sg_status sg_run_step(sg_run *run, size_t rollout, size_t step, size_t k, bool *alive,
                      sg_error *error);

/* Threads that a simulation of this configuration uses. */
size_t sg_simulate_threads(const sg_config *config);

/* Memory of one run in bytes, its table rows included; as a double, since it may exceed any size_t.
 */
double sg_run_bytes(const sg_config *config);

#endif
