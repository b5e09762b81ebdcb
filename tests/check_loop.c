/* SPDX-License-Identifier: GPL-3.0-or-later */
/* What the training loop adds to its twin in check_sim.c: older samplers, distorted samplers, a KL,
 * clipping, schedules, warm starts, evaluation, and another policy. */
#include <check.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "experiment.h"
#include "policy/net_policy.h"
#include "policy/tabular.h"
#include "whole_run.h"

static void small(sg_config *config)
{
    sg_config_init(config);
    set(config, "policy.vocabulary=300");
    set(config, "policy.head=6");
    set(config, "task.prompts=3");
    set(config, "task.length=2");
    set(config, "task.correct_mass=0.3");
    set(config, "optimizer.lr=0.05");
    set(config, "rollout.group=12");
    set(config, "run.steps=24");
}

/* The sampler has the parameters that the policy had `lag` rollouts ago. */
START_TEST(the_sampler_lags_by_whole_rollouts)
{
    enum { ROLLOUTS = 8 };
    static sg_config config;
    size_t lag = (size_t)_i;
    small(&config);
    set(&config, "rollout.lag=%d", _i);
    set(&config, "run.steps=%d", 4 * ROLLOUTS);
    whole_run w;
    open_run(&w, &config);
    sg_run *run = &w.run;
    const sg_policy_methods *methods = run->policy->methods;
    sg_policy *past[ROLLOUTS];
    size_t tokens = run->rollout.count * run->length, moved = 0;
    double *logp = malloc(tokens * sizeof *logp);
    for (size_t n = 0; n < ROLLOUTS; n++) {
        bool alive = true;
        ck_assert_int_eq(methods->clone(run->policy, &past[n], NULL), SG_OK);
        ck_assert_int_eq(sg_run_rollout(run, n, NULL), SG_OK);
        methods->log_prob(past[n < lag ? 0 : n - lag], &run->rollout, logp, NULL);
        ck_assert_mem_eq(logp, run->logp_rollout, tokens * sizeof *logp);
        methods->log_prob(past[n], &run->rollout, logp, NULL);
        ck_assert_mem_eq(logp, run->logp_old, tokens * sizeof *logp);
        moved += memcmp(logp, run->logp_rollout, tokens * sizeof *logp) != 0;
        sg_run_shuffle(run, n, 0);
        for (size_t k = 0; k < 4; k++)
            ck_assert_int_eq(sg_run_step(run, n, 4 * n + k + 1, k, &alive, NULL), SG_OK);
    }
    ck_assert(lag > 0 ? moved >= ROLLOUTS / 2 : moved == 0);
    for (size_t n = 0; n < ROLLOUTS; n++)
        sg_policy_free(past[n]);
    free(logp);
    close_run(&w);
}
END_TEST

/* With one token in a response a tree is a table. */
START_TEST(a_tree_of_one_token_is_a_table)
{
    static const char *const optimizers[] = {"sgd", "momentum", "adam", "adamw", "coupled-adam"};
    static const char *const rates[] = {"2", "2", "0.1", "0.1", "0.02"};
    static sg_config config;
    small(&config);
    set(&config, "task.length=1");
    set(&config, "policy.precision=fp64");
    set(&config, "optimizer.kind=%s", optimizers[_i]);
    set(&config, "optimizer.lr=%s", rates[_i]);
    set(&config, "optimizer.clip_norm=0.05");
    set(&config, "optimizer.schedule=cosine");
    set(&config, "update.objectives=[sapo,gspo]");
    set(&config, "run.evaluate_every=5");
    sg_table *table = simulate(&config);
    set(&config, "policy.kind=tree");
    sg_table *tree = simulate(&config);
    double clipped = 0;
    ck_assert_uint_eq(sg_table_rows(table), sg_table_rows(tree));
    for (size_t i = 0; i < sg_table_rows(table); i++) {
        clipped += cell(table, "clip_factor", i) < 1;
        for (size_t c = 2; c < sg_table_columns(table); c++) {
            const char *name = sg_table_column_name(table, c);
            double a = sg_table_get_number(table, c, i), b = sg_table_get_number(tree, c, i);
            if (strncmp(name, "tail_mass_", 10) == 0 || strncmp(name, "losers", 6) == 0)
                continue; /* a table does not know prefixes */
            ck_assert_msg(isnan(a) ? isnan(b) : fabs(a - b) <= 1e-9 * (1 + fabs(a)),
                          "%s in row %zu: table %.17g, tree %.17g", name, i, a, b);
        }
    }
    ck_assert_double_gt(clipped, 5);
    sg_table_free(table);
    sg_table_free(tree);
}
END_TEST

/* On the first minibatch all ratios are 1, also in a tree, also with a lag. */
START_TEST(on_policy_objectives_coincide_in_a_tree)
{
    static sg_config config;
    small(&config);
    set(&config, "policy.kind=tree");
    set(&config, "policy.shared_bias=%s", _i == 0 ? "no" : "yes");
    set(&config, "task.kind=path");
    set(&config, "task.length=3");
    set(&config, "rollout.lag=%d", _i);
    set(&config, "update.objectives=[sapo,grpo,gspo,cispo,reinforce]");
    set(&config, "update.aggregate=token-mean");
    set(&config, "update.minibatches=1");
    sg_table *table = simulate(&config);
    for (size_t i = 0; i < sg_table_rows(table); i++) {
        ck_assert_double_eq(cell(table, "ratio_min", i), 1);
        ck_assert_double_eq(cell(table, "ratio_max", i), 1);
        ck_assert_double_eq(cell(table, "J", i), cell(table, "J", i % 24));
        ck_assert_double_gt(cell(table, "losers_share", i), 0);
    }
    ck_assert_double_gt(cell(table, "J", 23), cell(table, "J", 0));
    sg_table_free(table);
}
END_TEST

START_TEST(coarser_formats_disagree_more)
{
    static const char *const formats[] = {"same", "fp32", "fp16", "bf16"};
    static sg_config config;
    double gap[4];
    for (int k = 0; k < 4; k++) {
        small(&config);
        set(&config, "policy.precision=fp64");
        set(&config, "policy.kind=%s", _i == 0 ? "tabular" : "tree");
        set(&config, "rollout.precision=%s", formats[k]);
        sg_table *table = simulate(&config);
        gap[k] = cell(table, "mismatch_max", 0);
        double ess = cell(table, "mismatch_ess", 0);
        ck_assert(k == 0 ? ess == 1 : ess < 1);
        ck_assert_double_eq(cell(table, "mismatch_weight", 0), 1); /* off */
        sg_table_free(table);
    }
    ck_assert_double_eq(gap[0], 0);
    ck_assert_double_gt(gap[1], 0);
    ck_assert_double_lt(gap[1], 1e-5);
    ck_assert_double_gt(gap[2], 10 * gap[1]);
    ck_assert_double_gt(gap[3], 2 * gap[2]);
    ck_assert_double_lt(gap[3], 0.1);
}
END_TEST

/* Token weights: with a plain sampler they are 1 and change nothing; with a cold one their mean
 * over many samples of the sampler is sum of min(pi, cap mu), here exactly 1 minus what the cap
 * takes. */
START_TEST(mismatch_weights_correct_the_sampler)
{
    static sg_config config;
    small(&config);
    set(&config, "policy.precision=fp64");
    sg_table *plain = simulate(&config);
    set(&config, "update.mismatch_cap=5");
    sg_table *weighted = simulate(&config);
    for (size_t i = 0; i < 24; i++) {
        ck_assert_double_eq(cell(weighted, "mismatch_weight", i), 1);
        ck_assert_double_eq_tol(cell(weighted, "J", i), cell(plain, "J", i), 1e-9);
    }
    sg_table_free(plain);
    sg_table_free(weighted);
    set(&config, "rollout.temperature=1.5");
    set(&config, "rollout.group=20000");
    set(&config, "update.minibatches=1");
    set(&config, "task.length=1");
    set(&config, "task.prompts=1");
    set(&config, "run.steps=1");
    sg_table *hot = simulate(&config);
    double mean = cell(hot, "mismatch_weight", 0), ess = cell(hot, "mismatch_ess", 0);
    ck_assert_double_eq_tol(mean, 1, 0.02);
    ck_assert_double_eq_tol(cell(hot, "mismatch_chi2", 0), mean * mean / ess - 2 * mean + 1, 1e-12);
    ck_assert_double_gt(cell(hot, "mismatch_chi2", 0), 0.1);
    set(&config, "update.mismatch_cap=0.5");
    sg_table *capped = simulate(&config);
    ck_assert_double_le(cell(capped, "mismatch_weight", 0), 0.5);
    sg_table_free(hot);
    sg_table_free(capped);
}
END_TEST

START_TEST(a_kl_term_holds_the_policy_back)
{
    static const char *const betas[] = {"1e-9", "0.1", "1"};
    static sg_config config;
    double distance[3];
    for (int k = 0; k < 3; k++) {
        small(&config);
        set(&config, "update.kl_beta=%s", betas[k]);
        set(&config, "optimizer.kind=sgd");
        set(&config, "optimizer.lr=1");
        set(&config, "run.steps=80");
        sg_table *table = simulate(&config);
        ck_assert_double_eq(cell(table, "kl_ref", 0), 0);
        distance[k] = cell(table, "kl_ref", 79);
        sg_table_free(table);
    }
    ck_assert_double_gt(distance[0], 1.2 * distance[1]);
    ck_assert_double_gt(distance[1], 1.2 * distance[2]);
}
END_TEST

START_TEST(the_clip_bounds_the_step)
{
    static sg_config config;
    small(&config);
    set(&config, "policy.kind=%s", _i == 0 ? "tabular" : "tree");
    set(&config, "policy.shared_bias=%s", _i == 2 ? "yes" : "no");
    set(&config, "optimizer.kind=sgd");
    set(&config, "optimizer.lr=0.5");
    set(&config, "optimizer.clip_norm=0.05");
    sg_table *table = simulate(&config);
    int clipped = 0;
    for (size_t i = 0; i < 24; i++) {
        double norm = cell(table, "grad_norm", i), factor = cell(table, "clip_factor", i);
        ck_assert_double_eq_tol(factor, fmin(1, 0.05 / norm), 1e-6);
        ck_assert_double_eq_tol(cell(table, "delta_norm", i), 0.5 * factor * norm, 1e-6);
        clipped += factor < 1;
    }
    ck_assert_int_gt(clipped, 4);
    sg_table_free(table);
}
END_TEST

START_TEST(learning_rates_by_hand)
{
    static sg_config config;
    sg_config_init(&config);
    set(&config, "optimizer.lr=0.8");
    set(&config, "run.steps=20");
    ck_assert_double_eq(sg_learning_rate(&config, 1), 0.8);
    ck_assert_double_eq(sg_learning_rate(&config, 20), 0.8);
    set(&config, "optimizer.warmup=4");
    ck_assert_double_eq_tol(sg_learning_rate(&config, 1), 0.2, 1e-15);
    ck_assert_double_eq(sg_learning_rate(&config, 4), 0.8);
    ck_assert_double_eq(sg_learning_rate(&config, 5), 0.8);
    set(&config, "optimizer.final_rate=0.25");
    set(&config, "optimizer.schedule=linear");
    ck_assert_double_eq_tol(sg_learning_rate(&config, 12), 0.5, 1e-15);
    ck_assert_double_eq_tol(sg_learning_rate(&config, 20), 0.2, 1e-15);
    set(&config, "optimizer.schedule=cosine");
    ck_assert_double_eq_tol(sg_learning_rate(&config, 12), 0.5, 1e-15);
    ck_assert_double_eq_tol(sg_learning_rate(&config, 8), 0.2 + 0.6 * (1 + sqrt(0.5)) / 2, 1e-15);
    ck_assert_double_eq_tol(sg_learning_rate(&config, 20), 0.2, 1e-15);
    set(&config, "optimizer.warmup=20");
    ck_assert_double_eq(sg_learning_rate(&config, 20), 0.8);
}
END_TEST

/* ---- starts and scores ---- */

START_TEST(a_warm_start_reaches_its_success_rate)
{
    static sg_config config;
    small(&config);
    set(&config, "policy.kind=%s", _i == 0 ? "tabular" : "tree");
    set(&config, "task.kind=%s", _i == 0 ? "reverse" : "copy");
    set(&config, "task.length=3");
    set(&config, "start.success=0.6");
    set(&config, "start.lr=0.02");
    set(&config, "update.kl_beta=0.01");
    set(&config, "update.objectives=[sapo,grpo]");
    sg_table *table = simulate(&config);
    double J = cell(table, "J", 0), taken;
    ck_assert_double_ge(J, 0.6);
    ck_assert_double_lt(J, 0.7);
    ck_assert_double_eq(cell(table, "J", 24), J);     /* every arm starts from the same policy */
    ck_assert_double_eq(cell(table, "kl_ref", 0), 0); /* measured from where training starts */
    ck_assert(sg_parse_real(sg_table_meta(table, "start_steps_max"), &taken));
    ck_assert_double_gt(taken, 3);
    sg_table_free(table);
    sg_error error = {0};
    set(&config, "start.steps=2");
    ck_assert_int_eq(sg_simulate(&config, NULL, &table, &error), SG_EARGUMENT);
    ck_assert_ptr_nonnull(strstr(error.message, "in 2 steps, not to start.success 0.6"));
    ck_assert_ptr_nonnull(strstr(error.message, "raise start.steps"));
}
END_TEST

START_TEST(scores_agree_with_the_exact_reward)
{
    static sg_config config;
    small(&config);
    set(&config, "policy.kind=tree");
    set(&config, "task.prompts=400");
    set(&config, "task.kind=path");
    set(&config, "task.difficulty_spread=2");
    set(&config, "optimizer.lr=0.05");
    set(&config, "run.evaluate_every=8");
    whole_run w;
    open_run(&w, &config);
    sg_observables o;
    double exact, hard = 0, easiest = 0;
    ck_assert_int_eq(sg_run_expected_reward(&w.run, &exact, NULL), SG_OK);
    ck_assert_int_eq(sg_run_evaluate(&w.run, 1, &o, NULL), SG_OK);
    ck_assert_uint_eq(w.run.evaluation.hard_count, 100);
    for (size_t k = 0; k < 100; k++) {
        hard += w.run.expected[w.run.evaluation.hard[k]] / 100;
        easiest = fmax(easiest, w.run.expected[w.run.evaluation.hard[k]]);
    }
    size_t below = 0;
    for (size_t p = 0; p < 400; p++)
        below += w.run.expected[p] < easiest;
    ck_assert_uint_le(below, 100);
    ck_assert_double_lt(hard, exact);
    ck_assert_double_eq_tol(o.mean16, exact, 5 * sqrt(0.25 / 6400)); /* 5 standard deviations */
    ck_assert_double_eq_tol(o.hard, hard, 5 * sqrt(0.25 / 1600));
    double greedy = 0; /* token 0 is the likeliest */
    for (size_t p = 0; p < 400; p++)
        greedy += sg_task_is_right(&w.task, p, 0) / 400.0;
    ck_assert_double_eq_tol(o.greedy, greedy, 1e-12);
    close_run(&w);
    set(&config, "task.prompts=5");
    sg_table *table = simulate(&config);
    for (size_t i = 0; i < 24; i++)
        ck_assert_int_eq(!isnan(cell(table, "greedy", i)), i % 8 == 0 || i == 23);
    sg_table_free(table);
}
END_TEST

/* A policy whose reward only sampling can tell: an estimate of fixed random numbers. */
START_TEST(where_sums_are_impossible_samples_take_their_place)
{
    static sg_config config;
    small(&config);
    set(&config, "task.difficulty_spread=2");
    set(&config, "run.observe_every=5");
    whole_run w;
    double exact, sampled, again;
    bool alive = true;
    open_run(&w, &config);
    sg_run_expected_reward(&w.run, &exact, NULL);
    double each[3] = {w.run.expected[0], w.run.expected[1], w.run.expected[2]};
    w.run.policy->exact_reward = false;
    sg_evaluation_clear(&w.run.evaluation);
    ck_assert_int_eq(sg_evaluation_init(&w.run, NULL), SG_OK);
    ck_assert_int_eq(sg_run_expected_reward(&w.run, &sampled, NULL), SG_OK);
    ck_assert_int_eq(sg_run_expected_reward(&w.run, &again, NULL), SG_OK);
    ck_assert_double_eq(sampled, again);
    ck_assert_double_ne(sampled, exact);
    ck_assert_double_eq_tol(sampled, exact, 5 * sqrt(exact / 4095));
    for (int p = 0; p < 3; p++)
        ck_assert_double_eq_tol(w.run.expected[p], each[p], 5 * sqrt(each[p] / 1365));
    ck_assert_int_eq(sg_run_rollout(&w.run, 0, NULL), SG_OK);
    sg_run_shuffle(&w.run, 0, 0);
    for (size_t k = 0; k < 4; k++)
        ck_assert_int_eq(sg_run_step(&w.run, 0, k + 1, k, &alive, NULL), SG_OK);
    ck_assert(alive);
    ck_assert_uint_eq(w.run.record_count, 1);
    ck_assert_double_eq(w.run.records[0].value.J, sampled);
    double nowhere[300];
    for (int v = 0; v < 300; v++)
        nowhere[v] = v == 299 ? 0 : -INFINITY;
    sg_rows *rows = sg_tabular_rows(w.run.policy);
    for (size_t state = 0; state < 6; state++)
        ck_assert_int_eq(sg_rows_set_logits(rows, state, nowhere, NULL), SG_OK);
    ck_assert_int_eq(sg_run_expected_reward(&w.run, &sampled, NULL), SG_OK);
    ck_assert_double_eq(sampled, 0);
    close_run(&w);
}
END_TEST

/* A network whose responses end after token 1: shorter rows have larger token weights, and what
 * stands behind an end counts nowhere. */
START_TEST(responses_may_end_early)
{
    static sg_config config;
    small(&config);
    set(&config, "task.kind=%s", _i == 0 ? "modular-sum" : "copy");
    set(&config, "task.length=3");
    set(&config, "update.objectives=[grpo]");
    whole_run w;
    sg_error error = {0};
    bool alive = true;
    open_run(&w, &config);
    sg_net_policy_shape shape = {
        .net = {.prior = sg_config_prior(&config),
                .width = 8,
                .length = 3,
                .prompt_length = 1,
                .prompt_symbols = 3,
                .window = 2,
                .blocks = 1,
                .hidden = 9,
                .bias = SG_NET_BIAS_TRAINED,
                .temperature = 1,
                .precision = SG_FP64},
        .rule = {.rule = SG_RULE_ADAM, .lr = 1, .beta1 = 0.9, .beta2 = 0.999, .eps = 1e-8},
        .prompts = 3,
        .end_token = 1,
        .observe_samples = 20,
        .seed = 3};
    sg_policy_free(w.run.policy);
    ck_assert_msg(sg_net_policy_alloc(&w.run.policy, &shape, &error) == SG_OK, "%s", error.message);
    sg_evaluation_clear(&w.run.evaluation);
    ck_assert_int_eq(sg_evaluation_init(&w.run, NULL), SG_OK);
    sg_run *run = &w.run;
    size_t early = 0;
    for (size_t step = 0; step < 8; step++) {
        if (step % 4 == 0) {
            ck_assert_int_eq(sg_run_rollout(run, step / 4, NULL), SG_OK);
            sg_run_shuffle(run, step / 4, 0);
        }
        ck_assert_int_eq(sg_run_step(run, step / 4, step + 1, step % 4, &alive, NULL), SG_OK);
        ck_assert(alive);
        double live = 0, sum = 0;
        for (size_t i = 0; i < run->minibatch.count; i++) {
            const int32_t *tokens = run->part_tokens + 3 * i;
            size_t length = run->part_lengths[i];
            for (size_t t = 0; t < 3; t++) {
                ck_assert_int_eq(run->batch->mask[3 * i + t], t < length);
                ck_assert_int_eq(tokens[t] == -1, t >= length);
                ck_assert(t + 1 >= length || tokens[t] != 1);
            }
            live += (double)length;
            early += length < 3;
            sum += length < 3 && sg_task_clean_score(&w.task, run->part_prompt[i], tokens) > 0;
        }
        ck_assert_double_eq(sum, 0);
        const sg_observables *o = &run->records[step].value;
        ck_assert(isfinite(o->J) && isfinite(o->ratio_mean) && isfinite(o->grad_norm));
        ck_assert_double_eq_tol(live / (double)run->minibatch.count, o->length, 1);
        if (step % 4 == 0)
            ck_assert_double_eq(o->ratio_max, 1);
    }
    ck_assert_uint_gt(early, 5);
    close_run(&w);
}
END_TEST

/* Nothing of this depends on threads. */
START_TEST(threads_do_not_change_a_tree)
{
    static sg_config config;
    small(&config);
    set(&config, "policy.kind=tree");
    set(&config, "policy.shared_bias=yes");
    set(&config, "policy.vocabulary=4000");
    set(&config, "rollout.top_p=0.95");
    set(&config, "rollout.noise=0.1");
    set(&config, "rollout.lag=2");
    set(&config, "update.mismatch_cap=2");
    set(&config, "run.evaluate_every=6");
    set(&config, "run.threads=1");
    sg_table *one = simulate(&config);
    set(&config, "run.threads=4");
    sg_table *four = simulate(&config);
    for (size_t c = 2; c < sg_table_columns(one); c++) {
        for (size_t i = 0; i < 24; i++) {
            double a = sg_table_get_number(one, c, i), b = sg_table_get_number(four, c, i);
            ck_assert_msg(memcmp(&a, &b, sizeof a) == 0, "%s", sg_table_column_name(one, c));
        }
    }
    sg_table_free(one);
    sg_table_free(four);
}
END_TEST

/* Scores need not wait for a step that would be observed anyhow. */
START_TEST(every_evaluation_has_a_row)
{
    static const struct {
        int step;
        bool scored;
    } rows[] = {{1, true}, {5, true}, {6, false}, {9, true}, {11, false}, {12, true}};
    static sg_config config;
    small(&config);
    set(&config, "run.steps=12");
    set(&config, "run.observe_every=5");
    set(&config, "run.evaluate_every=4");
    sg_table *table = simulate(&config);
    ck_assert_uint_ge(sg_table_rows(table), 6);
    for (size_t i = 0; i < 6; i++) {
        ck_assert_double_eq(cell(table, "step", i), rows[i].step);
        ck_assert(isnan(cell(table, "mean16", i)) == !rows[i].scored);
    }
    sg_table_free(table);
}
END_TEST

START_TEST(a_tree_that_stops_being_finite_ends_its_run)
{
    static sg_config config;
    small(&config);
    set(&config, "policy.kind=tree");
    set(&config, "optimizer.kind=sgd");
    set(&config, "optimizer.lr=1e300");
    sg_table *table = simulate(&config);
    size_t rows = sg_table_rows(table);
    ck_assert_uint_lt(rows, 24);
    ck_assert(isnan(cell(table, "J", rows - 1)));
    ck_assert_str_eq(sg_table_meta(table, "ended_early"), "1");
    sg_table_free(table);
}
END_TEST

Suite *loop_suite(void);
Suite *loop_suite(void)
{
    Suite *suite = suite_create("loop");
    TCase *tests = tcase_create("loop");
    tcase_set_timeout(tests, 60);
    tcase_add_loop_test(tests, the_sampler_lags_by_whole_rollouts, 0, 4);
    tcase_add_loop_test(tests, a_tree_of_one_token_is_a_table, 0, 5);
    tcase_add_loop_test(tests, on_policy_objectives_coincide_in_a_tree, 0, 2);
    tcase_add_loop_test(tests, coarser_formats_disagree_more, 0, 2);
    tcase_add_test(tests, mismatch_weights_correct_the_sampler);
    tcase_add_test(tests, a_kl_term_holds_the_policy_back);
    tcase_add_loop_test(tests, the_clip_bounds_the_step, 0, 3);
    tcase_add_test(tests, learning_rates_by_hand);
    tcase_add_loop_test(tests, a_warm_start_reaches_its_success_rate, 0, 2);
    tcase_add_test(tests, scores_agree_with_the_exact_reward);
    tcase_add_test(tests, where_sums_are_impossible_samples_take_their_place);
    tcase_add_loop_test(tests, responses_may_end_early, 0, 2);
    tcase_add_test(tests, threads_do_not_change_a_tree);
    tcase_add_test(tests, every_evaluation_has_a_row);
    tcase_add_test(tests, a_tree_that_stops_being_finite_ends_its_run);
    suite_add_tcase(suite, tests);
    return suite;
}
