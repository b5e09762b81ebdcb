/* SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef SG_RUN_H
#define SG_RUN_H

#include "objective/batch.h"
#include "objective/replay.h"
#include "policy/policy.h"
#include "sim/simulate.h"
#include "sim/task.h"

/* Inside lib/sim only: one run, that is one objective with one seed. Everything it needs is
 * allocated once.
 *
 * Response i of prompt p is number p*group + i of the rollout; a minibatch takes `part` responses
 * of every group, the j-th of prompt p being its number p*part + j. Arrays with a cell for every
 * token are [responses][length], as in sg_responses. */

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

/* Answers that are only scored; all NULL when nothing is evaluated. */
typedef struct sg_evaluation {
    sg_responses responses;
    uint32_t *prompt, *sample, *lengths;
    int32_t *tokens;
    double *log_prob;
    double *score; /* [prompts of the last answers]: their means */
    size_t *hard;  /* [hard_count]: prompts of the hard subset, as numbers into score */
    size_t hard_count;
} sg_evaluation;

/* Room for a close look at a step. */
typedef struct sg_detail sg_detail;

typedef struct sg_run {
    const sg_config *config;
    const sg_task *task;
    sg_objective objective;
    sg_arm_controls controls;
    uint64_t seed;
    sg_reward reward;
    sg_policy *policy;
    sg_policy *reference; /* the policy at the start; NULL without a KL term */
    sg_policy *shadow;    /* keeps the optimiser state of the matched reference; NULL without one */
    sg_policy *probe;     /* room to try a step; likewise */
    sg_policy *engine;    /* what the sampler makes of a net's parameters; NULL: the same */
    sg_policy **past;     /* [rollout.lag]: rollout n left its parameters in n % lag */
    size_t prompts, length, group, part;

    /* The rollout. */
    sg_responses rollout;
    uint32_t *prompt, *sample, *lengths; /* [prompts][group]: what rollout points to */
    int32_t *tokens;                     /* [prompts][group][length] */
    double *logp_rollout;                /* likewise: the sampler's */
    double *logp_old;                    /* likewise: the trainer's */
    size_t route_words;                  /* of a token: blocks with experts; 0 when none routes */
    uint64_t *routes;                    /* [prompts][group][length][route_words]: of logp_old */
    double sampler_flips;                /* share of the sampler's experts that are others */
    double *score;                       /* [prompts][group]: as the verifier gave it */
    double *advantage;                   /* [prompts][group] */
    double *centred; /* [prompts][group]: the integer group * score - sum of scores */
    double *unit;    /* [prompts]: advantage = centred * unit, or 0 where the estimator is no such
                        multiple */
    uint32_t *order; /* [prompts][group]: shuffled samples */
    int64_t *prompt_of;   /* [prompts][group] */
    double *token_counts; /* [prompts][group]: lengths as reals */
    double mean_reward, zero_std_groups, mean_length;
    double length_right, length_wrong; /* means of those that are right and the others; NaN: none */

    /* The minibatch. */
    sg_responses minibatch;
    uint32_t *part_prompt, *part_lengths; /* [prompts][part] */
    int32_t *part_tokens;                 /* [prompts][part][length] */
    double *part_rollout;                 /* likewise: logp_rollout */
    double *pushes;                       /* likewise */
    double *reference_pushes;             /* likewise: of control.reference */
    double match_factor, match_idle;      /* of this step; steps so far */
    sg_batch *batch;                      /* likewise */
    sg_replay_token *replay;
    double *sorted; /* ratios in order */

    sg_detail *detail;                /* NULL without run.detail */
    struct sg_dispersion *statistics; /* NULL unless asked for; see statistics.h */
    size_t statistics_first;          /* number of the run's first response in it */

    double *expected; /* [prompts] */
    sg_evaluation evaluation;
    size_t start_steps; /* that the warm start took */

    size_t step; /* gradient steps taken */
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
/* Puts -1, which is no right token, behind the ends of responses. */
void sg_run_blank(const sg_responses *responses);
/* Put the samples of every group into the order of this epoch. */
void sg_run_shuffle(sg_run *run, size_t rollout, size_t epoch);
/* Gradient step number `step` (from 1) on minibatch k. *alive turns false when the policy is not
 * finite any more; the step is then recorded but not taken. */
sg_status sg_run_step(sg_run *run, size_t rollout, size_t step, size_t k, bool *alive,
                      sg_error *error);

/* Response i of minibatch k as a response of the rollout. */
static inline size_t sg_run_source(const sg_run *run, size_t i, size_t k)
{
    size_t first = run->part_prompt[i] * run->group;
    return first + run->order[first + k * run->part + i % run->part];
}

/* The experts of the rollout's tokens into routes, and their replay where control.routing asks for
 * it; nothing where no policy routes. `sampler` drew the rollout. SG_ENOMEM. */
sg_status sg_run_record_routes(sg_run *run, sg_policy *sampler, sg_error *error);
/* Replay of what stands in routes, after they were loaded. SG_ENOMEM. */
sg_status sg_run_replay_routes(sg_run *run, sg_error *error);
/* The columns about experts in the step with minibatch k; NaN where no policy routes. */
sg_status sg_run_observe_routes(sg_run *run, size_t k, sg_observables *o, sg_error *error);

/* Everything that a run between two steps needs to go on, bit by bit, for a run of the same
 * configuration, arm and seed. `to` NULL: only the number of bytes. 0: a device failed, as the next
 * step will say. */
size_t sg_run_save(const sg_run *run, void *to);
/* SG_EDATA when these are not the bytes of such a run. */
sg_status sg_run_load(sg_run *run, const void *from, size_t size, sg_error *error);

/* Pushes of control.reference stand in reference_pushes, the arm's in pushes. match=mass: scales
 * those of negative advantages. */
void sg_run_match_mass(sg_run *run);
/* match=l2 or kl: what to multiply the learning rate of the step by, into match_factor. A step is
 * proportional to its rate, whatever the optimiser. */
sg_status sg_run_match_step(sg_run *run, const sg_policy_step *step, sg_error *error);

/* What a step shows of the minibatch before it is taken: ratios, pushes, responses, the sampler's
 * mismatch. */
void sg_run_observe(sg_run *run, const sg_replay_summary *summary, sg_observables *o);
void sg_run_observe_ratios(sg_run *run, const sg_replay_summary *summary, sg_observables *o);
/* And after it. */
sg_status sg_run_observe_after(sg_run *run, sg_observables *o, sg_error *error);
/* The finite log-ratios of response i of the minibatch into `d`; how many there are. */
size_t sg_run_log_ratios(const sg_run *run, size_t i, double *d);
/* That of the objective by the sign of the advantage; 1 when it has none. */
double sg_run_temperature(const sg_run *run, double advantage);
/* The columns of run.detail, NaN without it. _before copies the logits; _after says what the step
 * did to the rows of the visited states, when the clip left `factor` of the gradient. */
sg_status sg_detail_alloc(sg_run *run, sg_error *error);
void sg_detail_free(sg_detail *detail);
double sg_detail_bytes(const sg_config *config);
void sg_detail_unknown(sg_observables *o);
sg_status sg_detail_before(sg_run *run, sg_error *error);
void sg_detail_after(sg_run *run, const sg_policy_step *step, double factor, sg_observables *o);

/* Mean over the prompts of the expected reward; each prompt's is left in run->expected. Exact, or
 * where only sampling can tell of 4096 samples in all (at least one a prompt). */
sg_status sg_run_expected_reward(sg_run *run, double *expected, sg_error *error);

/* The columns greedy, mean16, hard and the scores; or NaN in all of them. */
void sg_run_leave_unevaluated(sg_observables *o);
sg_status sg_run_evaluate(sg_run *run, size_t step, sg_observables *o, sg_error *error);
double sg_evaluation_bytes(const sg_config *config);
sg_status sg_evaluation_init(sg_run *run, sg_error *error);
/* Chooses the hard prompts from the policy as it is now. */
sg_status sg_evaluation_start(sg_run *run, sg_error *error);
void sg_evaluation_clear(sg_evaluation *evaluation);

/* Maximum likelihood on right answers until the success rate is start.success, then a fresh
 * optimiser. SG_EARGUMENT when start.steps did not get there. */
sg_status sg_run_warm_start(sg_run *run, const double *prior_logits, sg_error *error);

/* Learning rate of gradient step `step`, from 1: lr * step / warmup up to step `warmup`, then from
 * lr to lr * final_rate at the last step, in a straight line or along half a cosine. */
double sg_learning_rate(const sg_config *config, size_t step);

/* The policy of the configuration at its start, for a run of this seed, and the memory that it
 * takes. `task` gives a net its prompts. */
sg_status sg_config_policy(const sg_config *config, const sg_task *task, const double *prior_logits,
                           uint64_t seed, sg_policy **policy, sg_error *error);
double sg_config_policy_bytes(const sg_config *config);
/* SG_EARGUMENT names what of a net's shape cannot be. */
sg_status sg_config_policy_check(const sg_config *config, sg_error *error);
/* Blocks of a policy that choose experts for each token. */
size_t sg_config_route_words(const sg_config *config);
/* Does the sampler hold other parameters than the policy that it was given? */
bool sg_config_distorts_parameters(const sg_config *config);

/* Threads that a simulation of this configuration uses. */
size_t sg_simulate_threads(const sg_config *config);

/* Most rows that a run leaves in the table. */
size_t sg_run_rows(const sg_config *config);

/* Memory of one run in bytes, its policies included; as a double, since it may exceed any size_t.
 */
double sg_run_bytes(const sg_config *config);

#endif
