/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Objectives that look at the whole batch, or charge a penalty: dro, kl-cov, clip-cov, bapo. Their gradients are held to finite
 * differences in check_replay.c and to a trainer's own in check_golden.c. */
#include <check.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "backend/bandits.h"
#include "backend/gates.h"
#include "core/rng.h"
#include "experiment.h"
#include "objective/replay.h"
#include "objective/rule.h"

enum { TOKENS = 200, RESPONSE = 10 };

static sg_objective parse(const char *spec)
{
    sg_objective objective;
    sg_error error;
    ck_assert_msg(sg_objective_parse(&objective, spec, &error) == SG_OK, "%s", error.message);
    return objective;
}

/* Every seventh token is masked and holds garbage; every fifth response has no advantage. */
static sg_batch *random_batch(void)
{
    sg_batch *batch;
    ck_assert_int_eq(sg_batch_alloc(&batch, TOKENS, NULL), SG_OK);
    for (uint32_t i = 0; i < TOKENS; i++) {
        double x[2], y[2];
        sg_rng_normal_pair((sg_address){3, SG_STREAM_SYNTHETIC, 0, 0, 0, i}, x);
        sg_rng_normal_pair((sg_address){3, SG_STREAM_SYNTHETIC, 0, 0, 1, i / RESPONSE}, y);
        batch->sequence[i] = i / RESPONSE;
        batch->position[i] = i % RESPONSE;
        batch->mask[i] = i % 7 != 3;
        batch->advantage[i] = i / RESPONSE % 5 == 0 ? 0 : 1.5 * y[0];
        batch->logp_old[i] = -0.1 - 2 * fabs(x[0]);
        batch->logp_new[i] = batch->logp_old[i] + 0.4 * x[1];
        if (!batch->mask[i])
            batch->advantage[i] = batch->logp_new[i] = NAN;
    }
    ck_assert_int_eq(sg_batch_group(batch, 0, NULL), SG_OK);
    return batch;
}

static sg_replay_summary replay(const sg_batch *batch, const char *spec, uint32_t step,
                                sg_replay_token *tokens)
{
    sg_objective objective = parse(spec);
    sg_replay_options options = {.aggregate = SG_TOKEN_MEAN, .choice_step = step};
    sg_replay_summary summary;
    ck_assert_int_eq(sg_replay(batch, &objective, &options, tokens, &summary, NULL), SG_OK);
    return summary;
}

/* (A - mean A)(logp - mean logp) of every live token; the others are -inf. */
static size_t covariances(const sg_batch *batch, double covariance[TOKENS])
{
    double advantage = 0, logp = 0;
    size_t n = 0;
    for (size_t i = 0; i < TOKENS; i++) {
        if (!batch->mask[i])
            continue;
        advantage += batch->advantage[i];
        logp += batch->logp_new[i];
        n++;
    }
    for (size_t i = 0; i < TOKENS; i++)
        covariance[i] = batch->mask[i] ? (batch->advantage[i] - advantage / (double)n) *
                                             (batch->logp_new[i] - logp / (double)n)
                                       : -INFINITY;
    return n;
}

START_TEST(kl_cov_charges_the_tokens_of_largest_covariance)
{
    sg_batch *batch = random_batch();
    double covariance[TOKENS];
    sg_replay_token tokens[TOKENS];
    size_t n = covariances(batch, covariance), count = 0;
    sg_replay_summary summary = replay(batch, "kl-cov:share=0.1,beta=0.5", 0, tokens);
    for (size_t i = 0; i < TOKENS; i++) {
        size_t above = 0;
        for (size_t j = 0; j < TOKENS; j++)
            above += covariance[j] > covariance[i];
        if (!batch->mask[i])
            continue;
        double d = batch->logp_new[i] - batch->logp_old[i], a = batch->advantage[i];
        bool pays = above < n / 10;
        double slope = a * exp(d) - (pays ? copysign(0.5, d) : 0);
        ck_assert_double_eq_tol(tokens[i].dloss_dlogp, -slope / (double)n, 1e-15);
        double loss = -a * exp(d) + (pays ? 0.5 * fabs(d) : 0);
        ck_assert_double_eq_tol(tokens[i].loss, loss / (double)n, 1e-15);
        if (a != 0)
            ck_assert_double_eq_tol(tokens[i].coefficient, slope / a, 1e-12 * fabs(slope / a));
        count += pays;
    }
    ck_assert_double_eq_tol(summary.chosen_share, (double)count / (double)n, 1e-15);
    summary = replay(batch, "kl-cov:share=1e-9", 0, NULL);
    ck_assert_double_eq_tol(summary.chosen_share, 1 / (double)n, 1e-15); /* at least one */
    sg_batch_free(batch);
}
END_TEST

START_TEST(clip_cov_drops_some_of_the_moderate_tokens)
{
    sg_batch *batch = random_batch();
    double covariance[TOKENS];
    sg_replay_token plain[TOKENS], tokens[TOKENS];
    enum { STEPS = 600 };
    size_t n = covariances(batch, covariance), eligible = 0, wanted = n / 20, often[TOKENS] = {0};
    replay(batch, "grpo", 0, plain);
    bool may[TOKENS];
    for (size_t i = 0; i < TOKENS; i++) {
        bool clipped = batch->advantage[i] != 0 && plain[i].coefficient == 0;
        may[i] = batch->mask[i] && !clipped && covariance[i] > 0.2 && covariance[i] < 3;
        eligible += may[i];
    }
    ck_assert_uint_gt(eligible, 2 * wanted);
    for (uint32_t step = 0; step < STEPS; step++) {
        size_t dropped = 0;
        sg_replay_summary summary =
            replay(batch, "clip-cov:share=0.05,cov_low=0.2,cov_high=3", step, tokens);
        ck_assert_double_eq_tol(summary.chosen_share, (double)wanted / (double)n, 1e-15);
        for (size_t i = 0; i < TOKENS; i++) {
            if (!batch->mask[i] || (tokens[i].dloss_dlogp == plain[i].dloss_dlogp &&
                                    tokens[i].weight == plain[i].weight))
                continue;
            ck_assert(may[i]);
            ck_assert_double_eq(tokens[i].dloss_dlogp, 0);
            ck_assert_double_eq(tokens[i].loss, 0);
            often[i]++;
            dropped++;
        }
        ck_assert_uint_eq(dropped, wanted);
    }
    double chance = (double)wanted / (double)eligible, sd = sqrt(chance * (1 - chance) / STEPS);
    for (size_t i = 0; i < TOKENS; i++)
        if (may[i])
            ck_assert_double_eq_tol((double)often[i] / STEPS, chance, 5 * sd);
    sg_batch_free(batch);
}
END_TEST

/* Two tokens, r A = 2 x 1 and 0.5 x -1: the example of rule.h. */
START_TEST(bapo_moves_its_bounds_as_by_hand)
{
    static const struct {
        const char *spec;
        double low, high;
    } cases[] = {
        {"bapo:target=0.6", 0.6, 1.2},
        {"bapo:target=0.7", 0.6, 1.4},
        {"bapo:target=0.9", 0.9, 3},
        {"bapo:target=0.9,high_max=1.29", 0.9, 1.25},
        {"bapo:target=0.9,low_max=0.6", 0.6, 1.2},
        {"bapo:target=0.9,low_step=0.07", 0.88, 3},
    };
    sg_batch *batch;
    ck_assert_int_eq(sg_batch_alloc(&batch, 2, NULL), SG_OK);
    for (int i = 0; i < 2; i++) {
        batch->sequence[i] = i;
        batch->mask[i] = 1;
        batch->advantage[i] = i == 0 ? 1 : -1;
        batch->logp_old[i] = -2;
        batch->logp_new[i] = -2 + log(i == 0 ? 2 : 0.5);
    }
    ck_assert_int_eq(sg_batch_group(batch, 0, NULL), SG_OK);
    for (size_t k = 0; k < sizeof cases / sizeof *cases; k++) {
        sg_replay_token tokens[2];
        sg_replay_summary summary = replay(batch, cases[k].spec, 0, tokens);
        ck_assert_double_eq_tol(summary.clip_low, cases[k].low, 1e-12);
        ck_assert_double_eq_tol(summary.clip_high, cases[k].high, 1e-12);
        ck_assert_double_eq(tokens[0].weight, cases[k].high >= 2);
        ck_assert_double_eq(tokens[1].weight, 0);
        double loss = -fmin(2, cases[k].high) + fmax(0.5, cases[k].low);
        ck_assert_double_eq_tol(summary.loss, loss / 2, 1e-12);
    }
    sg_batch_free(batch);
}
END_TEST

/* Without their rule they are their gates. */
START_TEST(a_rule_that_does_nothing_leaves_the_gate)
{
    static const char *const pairs[][2] = {
        {"dro:beta=0", "reinforce"},
        {"kl-cov:beta=0", "unclipped"},
        {"clip-cov:cov_low=1e6,cov_high=off", "grpo"},
        {"bapo:target=0", "grpo:eps_low=0.4,eps_high=0.2"},
    };
    sg_batch *batch = random_batch();
    sg_replay_token got[TOKENS], want[TOKENS];
    sg_replay_summary a = replay(batch, pairs[_i][0], 0, got);
    sg_replay_summary b = replay(batch, pairs[_i][1], 0, want);
    ck_assert_double_eq(a.loss, b.loss);
    for (size_t i = 0; i < TOKENS; i++) {
        if (!batch->mask[i])
            continue;
        ck_assert_double_eq(got[i].dloss_dlogp, want[i].dloss_dlogp);
        ck_assert_double_eq(got[i].weight, want[i].weight);
    }
    sg_batch_free(batch);
}
END_TEST

START_TEST(a_penalty_holds_a_simulated_policy_back)
{
    static sg_config config;
    sg_config_init(&config);
    set(&config, "policy.vocabulary=50");
    set(&config, "task.prompts=2");
    set(&config, "task.correct_mass=0.3");
    set(&config, "rollout.group=8");
    set(&config, "optimizer.lr=0.05");
    set(&config, "optimizer.kind=sgd");
    set(&config, "update.epochs=8");
    set(&config, "update.minibatches=1");
    set(&config, "run.steps=16");
    set(&config, "update.aggregate=token-sum");
    set(&config, "update.objectives=[reinforce,dro:beta=0,dro:beta=0.5,dro:beta=2,kl-cov,clip-cov,bapo]");
    sg_table *table = simulate(&config);
    double moved[7] = {0};
    for (size_t i = 0; i < sg_table_rows(table); i++) {
        ck_assert(isfinite(cell(table, "J", i)));
        if (i / 16 == 1)
            ck_assert_double_eq_tol(cell(table, "J", i), cell(table, "J", i - 16), 1e-9);
        if (i % 16 == 7) /* the last epoch of the first rollout */
            moved[i / 16] = cell(table, "ratio_max", i) - cell(table, "ratio_min", i);
    }
    ck_assert_double_gt(moved[0], 1.05 * moved[2]);
    ck_assert_double_gt(moved[2], 1.05 * moved[3]);
    sg_table_free(table);
}
END_TEST

START_TEST(what_gates_tokens_one_by_one_refuses_a_rule)
{
    static const char *const specs[] = {"dro", "kl-cov", "clip-cov", "bapo"};
    sg_objective objective = parse(specs[_i]);
    sg_error error;
    float x = 1, y;
    ck_assert_int_eq(sg_gates_apply(SG_BACKEND_CPU, &objective, 1, &x, &x, &y, NULL, &error),
                     SG_EUNSUPPORTED);
    ck_assert_ptr_nonnull(strstr(error.message, specs[_i]));
    sg_bandit run = {.objective = objective, .lr = 1};
    double reward[2] = {0, 1}, value[2];
    sg_bandits bandits = {.runs = 1,
                          .run = &run,
                          .arms = 2,
                          .reward = reward,
                          .samples = 4,
                          .steps = 1,
                          .updates = 1};
    ck_assert_int_eq(sg_bandits_run(&bandits, value, NULL, &error), SG_EUNSUPPORTED);
    ck_assert_ptr_nonnull(strstr(error.message, specs[_i]));
}
END_TEST

START_TEST(names_without_an_implementation_say_what_is_nearest)
{
    static const struct {
        const char *name, *nearest;
    } names[] = {
        {"dcpo", "dapo"}, {"asymre", "reinforce"}, {"gppo", "ce-gppo"}, {"Kimi", "not confirmed"}};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        sg_objective objective;
        sg_error error;
        ck_assert_int_eq(sg_objective_parse(&objective, names[i].name, &error), SG_EARGUMENT);
        ck_assert_msg(strstr(error.message, names[i].nearest) != NULL, "%s", error.message);
    }
    sg_objective objective;
    sg_error error;
    ck_assert_int_eq(sg_objective_parse(&objective, "clip-cov:cov_low=5,cov_high=1", &error),
                     SG_EARGUMENT);
    ck_assert_ptr_nonnull(strstr(error.message, "cov_low=5 must be below cov_high=1"));
}
END_TEST

Suite *rule_suite(void);
Suite *rule_suite(void)
{
    Suite *suite = suite_create("rule");
    TCase *tests = tcase_create("behaviour");
    tcase_add_test(tests, kl_cov_charges_the_tokens_of_largest_covariance);
    tcase_add_test(tests, clip_cov_drops_some_of_the_moderate_tokens);
    tcase_add_test(tests, bapo_moves_its_bounds_as_by_hand);
    tcase_add_loop_test(tests, a_rule_that_does_nothing_leaves_the_gate, 0, 4);
    tcase_add_test(tests, a_penalty_holds_a_simulated_policy_back);
    tcase_add_loop_test(tests, what_gates_tokens_one_by_one_refuses_a_rule, 0, 4);
    tcase_add_test(tests, names_without_an_implementation_say_what_is_nearest);
    suite_add_tcase(suite, tests);
    return suite;
}
