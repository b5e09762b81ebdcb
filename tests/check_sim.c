/* SPDX-License-Identifier: GPL-3.0-or-later */
#include <check.h>
#include <gsl/gsl_cdf.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/rng.h"
#include "experiment.h"
#include "sim/simulate.h"
#include "sim/task.h"
#include "sim_twin.h"

static double meta(const sg_table *table, const char *key)
{
    const char *text = sg_table_meta(table, key);
    double value = NAN;
    ck_assert_msg(text != NULL && sg_parse_real(text, &value), "no number %s", key);
    return value;
}

/* ---- the whole loop against the twin ---- */

/* spec, kind, its parameters; optimiser, lr; V, K, prompts, length, G, minibatches, epochs, steps;
 * advantage, token-sum, fraction. Learning rates are large, so that ratios leave 1 and the gates
 * differ. */
static const twin_case cases[] = {
    {"sapo:tau_pos=1,tau_neg=1.05", TWIN_SAPO, 1, 1.05, TWIN_SGD, 4, 300, 12, 2, 1, 16, 4, 1, 16, 0,
     0, 0},
    {"sapo:tau_pos=3,tau_neg=5", TWIN_SAPO, 3, 5, TWIN_ADAM, 0.1, 2000, 20, 1, 2, 8, 2, 2, 16, 0, 0,
     0},
    {"sapo:tau_pos=2,tau_neg=3,level=sequence", TWIN_SAPO_SEQUENCE, 2, 3, TWIN_ADAM, 0.1, 100, 10,
     2, 3, 8, 4, 1, 12, 0, 0, 1},
    {"grpo:eps_low=0.2,eps_high=0.27", TWIN_GRPO, 0.2, 0.27, TWIN_ADAM, 0.15, 500, 20, 3, 1, 12, 4,
     1, 16, 0, 0, 0},
    {"grpo:eps_low=0.1,eps_high=0.1", TWIN_GRPO, 0.1, 0.1, TWIN_MOMENTUM, 2, 50, 5, 2, 2, 8, 2, 2,
     16, 1, 0, 1},
    {"gspo:eps_low=0.02,eps_high=0.03", TWIN_GSPO, 0.02, 0.03, TWIN_ADAM, 0.08, 300, 15, 2, 3, 16,
     4, 1, 16, 0, 0, 1},
    {"gspo:eps_low=3e-4,eps_high=4e-4", TWIN_GSPO, 3e-4, 4e-4, TWIN_SGD, 3, 200, 15, 4, 3, 8, 2, 2,
     12, 0, 0, 1},
    {"cispo:low=0.8,high=1.3", TWIN_CISPO, 0.8, 1.3, TWIN_ADAM, 0.12, 400, 20, 2, 2, 8, 4, 2, 16, 1,
     0, 1},
    {"gmpo:eps_low=0.05,eps_high=0.1", TWIN_GMPO, 0.05, 0.1, TWIN_ADAM, 0.08, 300, 15, 2, 3, 8, 2,
     1, 12, 0, 0, 1},
    {"reinforce", TWIN_REINFORCE, 0, 0, TWIN_SGD, 0.2, 1000, 20, 2, 1, 16, 1, 2, 12, 1, 1, 0},
    {"sapo:tau_pos=1,tau_neg=1.05", TWIN_SAPO, 1, 1.05, TWIN_ADAMW, 0.1, 300, 20, 2, 2, 8, 4, 1, 16,
     0, 0, 1},
    {"grpo:eps_low=0.2,eps_high=0.2", TWIN_GRPO, 0.2, 0.2, TWIN_COUPLED_ADAM, 0.02, 300, 20, 2, 2,
     8, 4, 1, 16, 0, 0, 1},
};
static const size_t case_count = sizeof cases / sizeof *cases;
static const uint64_t twin_seed = 20240917;

static void configure(sg_config *config, const twin_case *c, const char *precision)
{
    static const char *const optimizers[] = {"sgd", "momentum", "adam", "adamw", "coupled-adam"};
    sg_config_init(config);
    set(config, "optimizer.weight_decay=0.05");
    set(config, "policy.vocabulary=%d", c->vocabulary);
    set(config, "policy.head=%d", c->head);
    set(config, "policy.head_ratio=%.17g", twin_head_ratio);
    set(config, "policy.tail_mass=%.17g", twin_tail_mass);
    set(config, "policy.precision=%s", precision);
    set(config, "task.prompts=%d", c->prompts);
    set(config, "task.length=%d", c->length);
    set(config, "task.correct_mass=%.17g", twin_correct_mass);
    set(config, "task.reward=%s", c->fraction ? "fraction" : "all");
    set(config, "rollout.group=%d", c->group);
    set(config, "update.objectives=[%s]", c->spec);
    set(config, "update.advantage=%s", c->advantage == TWIN_GROUP_STD ? "grpo" : "rloo");
    set(config, "update.aggregate=%s", c->token_sum ? "token-sum" : "natural");
    set(config, "update.minibatches=%d", c->minibatches);
    set(config, "update.epochs=%d", c->epochs);
    set(config, "optimizer.kind=%s", optimizers[c->optimizer]);
    set(config, "optimizer.lr=%.17g", c->lr);
    set(config, "run.seed=%llu", (unsigned long long)twin_seed);
    set(config, "run.steps=%d", c->steps);
    set(config, "run.threads=1");
    set(config, "run.detail=yes");
}

/* Largest difference of any column from the twin, relative to 1 + its size; NaN only where the twin
 * has it. */
static double compare_rows(const sg_table *table, const twin_row *rows, size_t count)
{
    double worst = 0;
    ck_assert_uint_eq(sg_table_rows(table), count);
    for (size_t i = 0; i < count; i++) {
#define COMPARE(name)                                                                              \
    {                                                                                              \
        double mine = cell(table, #name, i), theirs = rows[i].name;                                \
        ck_assert_msg(isnan(mine) == isnan(theirs), #name " at %zu: %g, twin %g", i, mine,         \
                      theirs);                                                                     \
        if (!isnan(mine))                                                                          \
            worst = fmax(worst, fabs(mine - theirs) / (1 + fabs(theirs)));                         \
        if (worst > 1e-2)                                                                          \
            ck_abort_msg(#name " in step %zu: %.17g, twin %.17g", i + 1, mine, theirs);            \
    }
        TWIN_LIST(COMPARE)
#undef COMPARE
    }
    return worst;
}

static double against_twin(size_t i, const char *precision)
{
    static sg_config config;
    twin_row *rows = malloc((size_t)cases[i].steps * sizeof *rows);
    twin_train(&cases[i], twin_seed, rows);
    configure(&config, &cases[i], precision);
    sg_table *table = simulate(&config);
    double worst = compare_rows(table, rows, (size_t)cases[i].steps);
    /* The case must exercise what it claims: ratios away from 1, and both signs. */
    double spread = 0, both = 0;
    for (int k = 0; k < cases[i].steps; k++) {
        spread = fmax(spread, rows[k].ratio_max - rows[k].ratio_min);
        both += rows[k].gate_mass_pos > 0 && rows[k].gate_mass_neg > 0;
    }
    ck_assert_double_gt(spread, 0.05);
    ck_assert_double_ge(both, 2);
    sg_table_free(table);
    free(rows);
    return worst;
}

START_TEST(fp64_training_equals_the_twin)
{
    double worst = against_twin((size_t)_i, "fp64");
    ck_assert_msg(worst <= 1e-10, "%s: %g", cases[_i].spec, worst);
}
END_TEST

/* fp32 rows: relative rounding of 6e-8 a step in q = exp(z), which the ratios of a few dozen steps
 * add up. */
START_TEST(fp32_training_stays_within_its_bound)
{
    double worst = against_twin((size_t)_i, "fp32");
    ck_assert_msg(worst <= 2e-5, "%s: %g", cases[_i].spec, worst);
    ck_assert_double_gt(worst, 0); /* or the precision had no effect */
}
END_TEST

/* ---- identities ---- */

static void small(sg_config *config)
{
    sg_config_init(config);
    set(config, "policy.vocabulary=600");
    set(config, "task.prompts=3");
    set(config, "task.length=2");
    set(config, "task.correct_mass=0.3");
    set(config, "task.reward=fraction");
    set(config, "rollout.group=12");
    set(config, "optimizer.lr=0.05");
    set(config, "run.steps=24");
}

START_TEST(on_policy_all_ratio_objectives_coincide)
{
    static sg_config config;
    small(&config);
    set(&config, "update.objectives=[sapo,grpo,gspo,gspo-token,cispo,gmpo,vespo,topr,aspo,ce-gppo,"
                 "gate-erf,gipo,spo,dppo-tv,dppo-kl,bapo,reinforce,unclipped,sapo:level=sequence]");
    set(&config, "update.aggregate=token-mean");
    set(&config, "update.minibatches=1");
    sg_table *table = simulate(&config);
    size_t steps = (size_t)config.run.steps;
    ck_assert_uint_eq(sg_table_rows(table), steps * config.update.objective_count);
    for (size_t i = 0; i < sg_table_rows(table); i++) {
        ck_assert_double_eq(cell(table, "ratio_min", i), 1);
        ck_assert_double_eq(cell(table, "ratio_max", i), 1);
        ck_assert_double_eq(cell(table, "kl_rollout", i), 0);
        ck_assert_double_eq(cell(table, "grad_norm", i), cell(table, "grad_norm", i % steps));
        ck_assert_double_eq(cell(table, "J", i), cell(table, "J", i % steps));
        ck_assert_double_eq(cell(table, "entropy", i), cell(table, "entropy", i % steps));
    }
    ck_assert_double_gt(cell(table, "J", steps - 1), cell(table, "J", 0));
    sg_table_free(table);
}
END_TEST

/* I6: centred advantages of equal weight leave the unsampled logits exactly where they are, also
 * for a group size that is no power of two and with an optimiser that amplifies any rest. */
START_TEST(equal_weights_leave_no_diffuse_push)
{
    static const char *const advantages[] = {"grpo", "dr-grpo", "rloo", "grpo-batch"};
    static sg_config config;
    small(&config);
    set(&config, "update.minibatches=1");
    set(&config, "update.advantage=%s", advantages[_i % 4]);
    set(&config, "policy.precision=%s", _i < 4 ? "fp64" : "fp32");
    set(&config, "optimizer.eps=1e-15");
    sg_table *table = simulate(&config);
    for (size_t i = 0; i < sg_table_rows(table); i++) {
        ck_assert_double_eq(cell(table, "diffuse_push", i), 0);
        ck_assert_double_eq(cell(table, "diffuse_push_sum", i), 0);
        ck_assert_double_eq(cell(table, "diffuse_push_position", i), 0);
        ck_assert_double_eq(cell(table, "upward_push", i), 0);
        ck_assert_double_gt(cell(table, "grad_norm", i), 0);
    }
    sg_table_free(table);
}
END_TEST

START_TEST(unequal_weights_push_the_unsampled_logits)
{
    static sg_config config;
    small(&config);
    set(&config, "update.minibatches=1");
    set(&config, "update.epochs=3"); /* ratio weights from the second epoch on */
    set(&config, "update.objectives=[unclipped]");
    sg_table *table = simulate(&config);
    ck_assert_double_eq(cell(table, "diffuse_push", 0), 0);
    for (size_t i = 1; i < 3; i++) /* the winners' ratios have grown: unsampled tokens go down */
        ck_assert_double_gt(cell(table, "diffuse_push", i), 1e-4);
    sg_table_free(table);
}
END_TEST

/* ---- reproducibility ---- */

static void assert_equal_tables(const sg_table *a, const sg_table *b)
{
    ck_assert_uint_eq(sg_table_rows(a), sg_table_rows(b));
    ck_assert_uint_eq(sg_table_columns(a), sg_table_columns(b));
    for (size_t c = 0; c < sg_table_columns(a); c++) {
        for (size_t i = 0; i < sg_table_rows(a); i++) {
            if (sg_table_column_type(a, c) == SG_COLUMN_TEXT) {
                ck_assert_str_eq(sg_table_get_text(a, c, i), sg_table_get_text(b, c, i));
                continue;
            }
            double x = sg_table_get_number(a, c, i), y = sg_table_get_number(b, c, i);
            ck_assert_msg(memcmp(&x, &y, sizeof x) == 0, "%s in row %zu: %.17g and %.17g",
                          sg_table_column_name(a, c), i, x, y);
        }
    }
    const char *key, *value;
    for (size_t i = 0; sg_table_meta_at(a, i, &key, &value); i++)
        ck_assert_str_eq(sg_table_meta(b, key), value);
}

START_TEST(threads_do_not_change_a_bit)
{
    static sg_config config;
    small(&config);
    set(&config, "policy.vocabulary=5000");
    set(&config, "update.objectives=[sapo,gspo]");
    set(&config, "run.seeds=%d", _i == 0 ? 3 : 1); /* runs in parallel, or rows inside a run */
    set(&config, "run.threads=1");
    sg_table *one = simulate(&config), *again = simulate(&config);
    set(&config, "run.threads=%d", _i == 0 ? 2 : 5);
    sg_table *many = simulate(&config);
    assert_equal_tables(one, again);
    assert_equal_tables(one, many);
    sg_table_free(one);
    sg_table_free(again);
    sg_table_free(many);
}
END_TEST

START_TEST(a_seed_gives_the_same_run_in_any_company)
{
    static sg_config config;
    small(&config);
    set(&config, "update.objectives=[grpo,sapo]");
    set(&config, "run.seed=5");
    set(&config, "run.seeds=3");
    sg_table *all = simulate(&config);
    set(&config, "update.objectives=[sapo]");
    set(&config, "run.seed=6");
    set(&config, "run.seeds=1");
    set(&config, "run.observe_every=5");
    sg_table *one = simulate(&config);
    ck_assert_uint_eq(sg_table_rows(one), 6); /* steps 1, 6, 11, 16, 21 and the last, 24 */
    for (size_t i = 0; i < 6; i++) {
        size_t step = (size_t)cell(one, "step", i), row = 24 * 4 + step - 1;
        ck_assert_str_eq(sg_table_get_text(all, 0, row), "sapo");
        for (size_t c = 2; c < sg_table_columns(one); c++) {
            double x = sg_table_get_number(one, c, i), y = sg_table_get_number(all, c, row);
            ck_assert(memcmp(&x, &y, sizeof x) == 0);
        }
    }
    ck_assert_double_eq(cell(one, "step", 5), 24);
    sg_table_free(all);
    sg_table_free(one);
}
END_TEST

/* ---- sampling ---- */

static sg_rows *prior_rows(size_t vocabulary, sg_precision precision)
{
    sg_prior prior = {.vocabulary = vocabulary,
                      .head = 20,
                      .head_shape = SG_HEAD_GEOMETRIC,
                      .head_ratio = 0.6,
                      .tail_mass = 0.1,
                      .tail_shape = SG_TAIL_UNIFORM};
    sg_rows_config shape = {1, vocabulary, 20, precision, SG_SGD};
    sg_rows *rows;
    double *logits = malloc(vocabulary * sizeof *logits);
    sg_prior_logits(&prior, logits);
    ck_assert_int_eq(sg_rows_alloc(&rows, SG_BACKEND_CPU, &shape, NULL), SG_OK);
    ck_assert_int_eq(sg_rows_set_logits(rows, 0, logits, NULL), SG_OK);
    free(logits);
    return rows;
}

/* Pearson's test on 20 head tokens (those expected at least 5 times) and 10 parts of the tail. The
 * seeds are fixed; a correct sampler would have failed a fresh seed with probability 1e-6. */
START_TEST(draws_follow_the_distribution)
{
    enum { DRAWS = 40000, BINS = 30 };
    size_t vocabulary = _i % 2 == 0 ? 5000 : 100000;
    sg_rows *rows = prior_rows(vocabulary, _i < 2 ? SG_FP32 : SG_FP64);
    double *uniform = malloc(DRAWS * sizeof *uniform), count[BINS] = {0}, expected[BINS] = {0};
    int32_t *token = malloc(DRAWS * sizeof *token);
    for (uint32_t i = 0; i < DRAWS; i++)
        uniform[i] = sg_rng_uniform((sg_address){
            .seed = 3, .stream = SG_STREAM_ROLLOUT, .sample = i, .prompt = (uint32_t)_i});
    sg_rows_draw(rows, 0, 1, DRAWS, uniform, token, NULL);
    double head = 0;
    for (int k = 0; k < 20; k++)
        head += pow(0.6, k);
    for (int k = 0; k < BINS; k++)
        expected[k] = k < 20 ? 0.9 * pow(0.6, k) / head : 0;
    size_t tail = vocabulary - 20;
    for (size_t v = 0; v < tail; v++)
        expected[20 + v * 10 / tail] += 0.1 / (double)tail;
    for (int i = 0; i < DRAWS; i++) {
        ck_assert(token[i] >= 0 && (size_t)token[i] < vocabulary);
        count[token[i] < 20 ? (size_t)token[i] : 20 + ((size_t)token[i] - 20) * 10 / tail]++;
    }
    double chi2 = 0, freedom = -1;
    for (int k = 0; k < BINS; k++) {
        double e = DRAWS * expected[k];
        if (e < 5)
            continue;
        chi2 += (count[k] - e) * (count[k] - e) / e;
        freedom++;
    }
    ck_assert_double_ge(freedom, 20);
    ck_assert_msg(chi2 < gsl_cdf_chisq_Qinv(1e-6, freedom), "chi2 %g", chi2);
    ck_assert_msg(chi2 > gsl_cdf_chisq_Pinv(1e-6, freedom), "chi2 %g", chi2); /* not too good */
    sg_rows_free(rows);
    free(uniform);
    free(token);
}
END_TEST

START_TEST(a_uniform_draws_the_same_head_token_at_every_vocabulary)
{
    enum { DRAWS = 5000 };
    double uniform[DRAWS];
    int32_t token[3][DRAWS];
    const size_t vocabulary[] = {1000, 30000, 300000};
    for (uint32_t i = 0; i < DRAWS; i++)
        uniform[i] =
            sg_rng_uniform((sg_address){.seed = 8, .stream = SG_STREAM_ROLLOUT, .sample = i});
    for (int k = 0; k < 3; k++) {
        sg_rows *rows = prior_rows(vocabulary[k], SG_FP64);
        sg_rows_draw(rows, 0, 1, DRAWS, uniform, token[k], NULL);
        sg_rows_free(rows);
    }
    int tail = 0;
    for (int i = 0; i < DRAWS; i++) {
        for (int k = 1; k < 3; k++) {
            ck_assert_int_eq(token[k][i] < 20, token[0][i] < 20);
            if (token[0][i] < 20)
                ck_assert_int_eq(token[k][i], token[0][i]);
        }
        tail += token[0][i] >= 20;
    }
    ck_assert_int_gt(tail, 400); /* a tenth of the draws */
    ck_assert_int_lt(tail, 600);
}
END_TEST

/* ---- task ---- */

START_TEST(correct_sets_come_nearest_to_their_target)
{
    static sg_config config;
    sg_config_init(&config);
    double logits[1000];
    sg_task task;
    set(&config, "policy.vocabulary=1000");
    sg_prior prior = sg_config_prior(&config);
    sg_prior_logits(&prior, logits);
    ck_assert_int_eq(sg_task_init(&task, &config, logits, NULL), SG_OK);
    ck_assert_int_eq(task.correct[0], 3); /* .0855 is nearer to .1 than .143 */
    sg_task_clear(&task);
    set(&config, "task.prompts=3");
    set(&config, "task.correct_size=2");
    set(&config, "task.difficulty_spread=4"); /* targets .025, .1, .4 */
    ck_assert_int_eq(sg_task_init(&task, &config, logits, NULL), SG_OK);
    const int32_t expected[] = {6, 7, 4, 5, 1, 2}; /* .0296, .0821, .3803 */
    for (int i = 0; i < 6; i++)
        ck_assert_int_eq(task.correct[i], expected[i]);
    ck_assert(sg_task_is_right(&task, 1, 5));
    ck_assert(!sg_task_is_right(&task, 1, 6));
    ck_assert(!sg_task_is_right(&task, 2, 0));
    sg_task_clear(&task);
}
END_TEST

/* The verifier's errors: rewards of the first rollout against p (1 - fn) + (1 - p) fp, within 5
 * standard deviations (false alarms 6e-7); J does not see them. */
START_TEST(verifier_noise_has_its_rates)
{
    static sg_config config;
    sg_config_init(&config);
    set(&config, "policy.vocabulary=100");
    set(&config, "rollout.group=20000");
    set(&config, "task.false_positive=0.3");
    set(&config, "task.false_negative=0.2");
    set(&config, "task.reward=%s", _i == 0 ? "all" : "fraction");
    set(&config, "task.length=%d", _i == 0 ? 1 : 2);
    set(&config, "run.steps=1");
    sg_table *table = simulate(&config);
    double p = 0.99 * 0.4 * pow(0.6, 3) / (1 - pow(0.6, 20)); /* token 3 */
    double reward = p * 0.8 + (1 - p) * 0.3;
    ck_assert_double_eq_tol(cell(table, "J", 0), p, 1e-6);
    ck_assert_double_eq_tol(cell(table, "reward", 0), reward,
                            5 * sqrt(reward * (1 - reward) / 20000 / (double)config.task.length));
    sg_table_free(table);
}
END_TEST

/* ---- ends ---- */

START_TEST(a_run_that_stops_being_finite_ends_with_its_step)
{
    static sg_config config;
    small(&config);
    set(&config, "optimizer.kind=sgd");
    set(&config, "optimizer.lr=1e300");
    set(&config, "run.seeds=2");
    if (_i > 0) { /* its reward has states */
        set(&config, "task.kind=mixed");
        set(&config, "task.prompts=4");
        set(&config, "task.reward=all");
    }
    if (_i == 2)
        set(&config, "run.observe_every=5");
    sg_table *table = simulate(&config);
    double early = meta(table, "ended_early");
    ck_assert_double_eq(early, 2);
    size_t rows = sg_table_rows(table), last = 0;
    ck_assert_uint_lt(rows, 48);
    for (size_t i = 0; i < rows; i++) {
        bool ends = i + 1 == rows || cell(table, "seed", i + 1) != cell(table, "seed", i);
        ck_assert_int_eq(isnan(cell(table, "J", i)), ends);
        last += ends;
    }
    ck_assert_uint_eq(last, 2);
    sg_table_free(table);
}
END_TEST

struct watcher {
    double last;
    int calls;
    volatile sig_atomic_t cancel;
    double cancel_at;
};

static void watch(void *context, double fraction)
{
    struct watcher *w = context;
    ck_assert_double_ge(fraction, w->last);
    ck_assert_double_le(fraction, 1 + 1e-12);
    w->last = fraction;
    w->calls++;
    if (fraction >= w->cancel_at)
        w->cancel = 1;
}

START_TEST(progress_reaches_one_and_cancel_keeps_finished_runs)
{
    static sg_config config;
    sg_error error = {0};
    small(&config);
    set(&config, "run.seeds=6");
    set(&config, "run.threads=1");
    struct watcher w = {.cancel_at = 2};
    sg_simulate_callbacks callbacks = {watch, &w, &w.cancel};
    sg_table *all, *some;
    ck_assert_int_eq(sg_simulate(&config, &callbacks, &all, &error), SG_OK);
    ck_assert_double_eq_tol(w.last, 1, 1e-12);
    ck_assert_int_gt(w.calls, 6);
    w = (struct watcher){.cancel_at = 0.55};
    ck_assert_int_eq(sg_simulate(&config, &callbacks, &some, &error), SG_EINTERRUPTED);
    ck_assert_str_eq(error.message, "the simulation was interrupted");
    ck_assert_uint_eq(sg_table_rows(some), 3 * 24);
    ck_assert_double_eq(meta(some, "runs"), 3);
    for (size_t i = 0; i < sg_table_rows(some); i++)
        ck_assert_double_eq(cell(some, "J", i), cell(all, "J", i));
    w = (struct watcher){.cancel = 1, .cancel_at = 2};
    sg_table *none;
    ck_assert_int_eq(sg_simulate(&config, &callbacks, &none, &error), SG_EINTERRUPTED);
    ck_assert_uint_eq(sg_table_rows(none), 0);
    sg_table_free(all);
    sg_table_free(some);
    sg_table_free(none);
}
END_TEST

START_TEST(every_column_is_described_and_present)
{
    static sg_config config;
    small(&config);
    set(&config, "run.steps=1");
    sg_table *table = simulate(&config);
    size_t count = 0;
    for (const sg_column_info *c; (c = sg_simulate_column(count)) != NULL; count++) {
        ck_assert_int_eq(sg_table_find(table, c->name), (ptrdiff_t)count);
        ck_assert_int_eq(sg_table_column_type(table, count), c->type);
        ck_assert_uint_ge(strlen(c->meaning), 10);
    }
    ck_assert_uint_eq(sg_table_columns(table), count);
    ck_assert_str_eq(sg_table_meta(table, "policy.vocabulary"), "600");
    ck_assert_ptr_null(sg_table_meta(table, "run.threads"));
    ck_assert_double_eq_tol(meta(table, "prior.tail_mass"), 0.01, 1e-12);
    sg_table_free(table);
}
END_TEST

START_TEST(a_configuration_that_does_not_fit_is_refused)
{
    static sg_config config;
    sg_error error = {0};
    sg_table *table = (sg_table *)&config;
    small(&config);
    set(&config, "task.prompts=16000000");
    set(&config, "policy.vocabulary=1000000");
    ck_assert_int_eq(sg_simulate(&config, NULL, &table, &error), SG_ENOMEM);
    ck_assert_ptr_null(table);
    ck_assert_ptr_nonnull(strstr(error.message, "GiB"));
}
END_TEST

Suite *sim_suite(void);
Suite *sim_suite(void)
{
    Suite *suite = suite_create("sim");
    TCase *twin = tcase_create("against the twin");
    tcase_set_timeout(twin, 60);
    tcase_add_loop_test(twin, fp64_training_equals_the_twin, 0, (int)case_count);
    tcase_add_loop_test(twin, fp32_training_stays_within_its_bound, 0, (int)case_count);
    suite_add_tcase(suite, twin);
    TCase *laws = tcase_create("laws");
    tcase_set_timeout(laws, 60);
    tcase_add_test(laws, on_policy_all_ratio_objectives_coincide);
    tcase_add_loop_test(laws, equal_weights_leave_no_diffuse_push, 0, 8);
    tcase_add_test(laws, unequal_weights_push_the_unsampled_logits);
    tcase_add_loop_test(laws, threads_do_not_change_a_bit, 0, 2);
    tcase_add_test(laws, a_seed_gives_the_same_run_in_any_company);
    tcase_add_loop_test(laws, draws_follow_the_distribution, 0, 4);
    tcase_add_test(laws, a_uniform_draws_the_same_head_token_at_every_vocabulary);
    tcase_add_test(laws, correct_sets_come_nearest_to_their_target);
    tcase_add_loop_test(laws, verifier_noise_has_its_rates, 0, 2);
    suite_add_tcase(suite, laws);
    TCase *ends = tcase_create("ends");
    tcase_set_timeout(ends, 60);
    tcase_add_loop_test(ends, a_run_that_stops_being_finite_ends_with_its_step, 0, 3);
    tcase_add_test(ends, progress_reaches_one_and_cancel_keeps_finished_runs);
    tcase_add_test(ends, every_column_is_described_and_present);
    tcase_add_test(ends, a_configuration_that_does_not_fit_is_refused);
    suite_add_tcase(suite, ends);
    return suite;
}
