/* SPDX-License-Identifier: GPL-3.0-or-later */
/* A table of light rows against one of dense rows in double precision: the policy, then whole
 * simulations. */
#include <check.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "core/rng.h"
#include "files.h"
#include "policy/tabular.h"
#include "sim/simulate.h"

enum { PROMPTS = 2, LENGTH = 2, V = 6000, K = 5, ANSWERS = 24 };

static double uniform(uint32_t step, uint32_t sample, uint32_t token)
{
    return sg_rng_uniform((sg_address){31, SG_STREAM_SYNTHETIC, step, 0, sample, token});
}

static sg_policy *policy_of(bool light)
{
    sg_tabular_shape shape = {.prompts = PROMPTS,
                              .length = LENGTH,
                              .vocabulary = V,
                              .head = K,
                              .precision = SG_FP64,
                              .light = light};
    static double logits[V];
    sg_policy *policy;
    sg_error error;
    for (size_t v = 0; v < V; v++)
        logits[v] = -1.1 * log((double)v + 1);
    ck_assert_msg(sg_tabular_alloc(&policy, &shape, logits, &error) == SG_OK, "%s", error.message);
    return policy;
}

typedef struct answers {
    sg_responses r;
    uint32_t prompt[ANSWERS], sample[ANSWERS], length[ANSWERS];
    int32_t tokens[ANSWERS * LENGTH];
    double pushes[ANSWERS * LENGTH], log_prob[2][ANSWERS * LENGTH];
} answers;

/* Tokens of the head and of the tail, pushes of both signs that do not cancel. */
static void make_answers(answers *a, uint32_t step)
{
    for (uint32_t i = 0; i < ANSWERS; i++) {
        a->prompt[i] = i % PROMPTS;
        a->sample[i] = i / PROMPTS;
        a->length[i] = LENGTH;
        for (uint32_t t = 0; t < LENGTH; t++) {
            size_t at = i * LENGTH + t;
            double u = uniform(step, i, t);
            a->tokens[at] = (int32_t)(i % 3 == 0 ? u * V : u * u * u * 60);
            a->pushes[at] = uniform(step, i, 10 + t) - 0.45;
        }
    }
    a->r = (sg_responses){ANSWERS, LENGTH, a->prompt, a->sample, a->length, a->tokens};
}

static void assert_near(double light, double dense, const char *what)
{
    ck_assert_msg(fabs(light - dense) <= 1e-9 * (1 + fabs(dense)), "%s: light %.17g, dense %.17g",
                  what, light, dense);
}

static int32_t parity(const void *context, size_t prompt, size_t position, int32_t state,
                      int32_t token)
{
    (void)context, (void)prompt, (void)position;
    return token >= K ? SG_REWARD_LOST : (state + token) % 3;
}

static double value(const void *context, size_t prompt, int32_t state)
{
    (void)context;
    return state == (int32_t)prompt;
}

#define SAME(what, field) assert_near(what[1].field, what[0].field, #field)

static void compare_looks(sg_policy *const policy[2])
{
    sg_policy_observation look[2];
    sg_reward reward = {.states = 3, .next = parity, .value = value};
    double expected[2][PROMPTS];
    for (int i = 0; i < 2; i++) {
        policy[i]->methods->observe(policy[i], &reward, &look[i], NULL);
        policy[i]->methods->expected_reward(policy[i], &reward, expected[i], NULL);
    }
    SAME(look, entropy);
    SAME(look, head_entropy);
    SAME(look, tail_mass);
    SAME(look, tail_mass_max);
    SAME(look, tail_entropy_share);
    SAME(look, collision);
    SAME(look, max_prob);
    SAME(look, logit_range);
    for (int p = 0; p < PROMPTS; p++)
        assert_near(expected[1][p], expected[0][p], "expected reward");
}

START_TEST(a_light_table_follows_a_dense_one)
{
    sg_policy *policy[2] = {policy_of(false), policy_of(true)};
    ck_assert_ptr_nonnull(sg_tabular_rows(policy[0]));
    ck_assert_ptr_null(sg_tabular_rows(policy[1]));
    ck_assert_int_eq(strncmp(policy[1]->methods->backend(policy[1]), "light/", 6), 0);
    for (uint32_t step = 1; step <= 120; step++) {
        answers a;
        sg_policy_change change[2];
        make_answers(&a, step);
        sg_policy_step how = {.optimizer = {.kind = SG_SGD, .lr = 0.3},
                              .time = step,
                              .clip_norm = step % 3 == 0 ? 0.8 : 0,
                              .projection = (sg_projection)_i};
        for (int i = 0; i < 2; i++) {
            const sg_policy_methods *methods = policy[i]->methods;
            methods->log_prob(policy[i], &a.r, a.log_prob[i], NULL);
            ck_assert_int_eq(methods->update(policy[i], &how, &a.r, a.pushes, &change[i], NULL),
                             SG_OK);
        }
        for (size_t j = 0; j < ANSWERS * LENGTH; j++)
            assert_near(a.log_prob[1][j], a.log_prob[0][j], "log_prob");
        SAME(change, kl_old_new);
        SAME(change, kl_new_old);
        SAME(change, grad_norm);
        SAME(change, clip_factor);
        SAME(change, delta_norm);
        SAME(change, diffuse_push);
        SAME(change, diffuse_share);
        SAME(change, upward_push);
        SAME(change, max_unsampled_push);
        ck_assert_double_gt(change[0].kl_old_new, 1e-6);
        if (step % 10 == 0)
            compare_looks(policy);
    }
    sg_policy_free(policy[0]);
    sg_policy_free(policy[1]);
}
END_TEST

/* The reward of a prompt whose numbers are lost is no number either; that of the other one still is. */
START_TEST(a_reward_knows_when_a_table_is_no_policy_any_more)
{
    sg_policy *policy = policy_of(_i);
    sg_reward reward = {.states = 3, .next = parity, .value = value};
    sg_policy_step how = {.optimizer = {.kind = SG_SGD, .lr = 0.3}, .time = 1};
    double expected[PROMPTS];
    answers a;
    make_answers(&a, 1);
    a.pushes[0] = NAN; /* at the first token of prompt 0 */
    ck_assert(!policy->methods->update(policy, &how, &a.r, a.pushes, NULL, NULL));
    ck_assert(!policy->methods->expected_reward(policy, &reward, expected, NULL));
    ck_assert(isnan(expected[0]));
    ck_assert(expected[1] > 0);
    sg_policy_free(policy);
}
END_TEST

/* Clones, copies and saved policies go on alike, to the bit. */
START_TEST(copies_of_a_light_table_continue_alike)
{
    sg_policy *policy = policy_of(true), *other = policy_of(true), *third;
    const sg_policy_methods *methods = policy->methods;
    sg_error error;
    answers a;
    char *bytes = NULL, *again;
    for (uint32_t step = 1; step <= 80; step++) {
        make_answers(&a, step);
        sg_policy_step how = {.optimizer = {.kind = SG_SGD, .lr = 0.3}, .time = step};
        methods->update(policy, &how, &a.r, a.pushes, NULL, NULL);
    }
    size_t size = methods->save(policy, NULL);
    bytes = malloc(size);
    methods->save(policy, bytes);
    ck_assert_int_eq(methods->clone(policy, &third, &error), SG_OK);
    if (_i == 0)
        ck_assert_int_eq(methods->load(other, bytes, size, &error), SG_OK);
    else if (_i == 1)
        ck_assert_int_eq(methods->copy(other, policy, &error), SG_OK);
    else
        ck_assert_int_eq(methods->adopt(other, policy, &error), SG_OK);
    ck_assert_int_eq(methods->load(third, bytes, size - 8, &error), SG_EDATA);
    sg_policy_free(third);
    for (uint32_t step = 81; step <= 120; step++) {
        sg_policy_step how = {.optimizer = {.kind = SG_SGD, .lr = 0.3}, .time = step};
        make_answers(&a, step);
        methods->update(policy, &how, &a.r, a.pushes, NULL, NULL);
        methods->update(other, &how, &a.r, a.pushes, NULL, NULL);
    }
    size = methods->save(policy, NULL);
    ck_assert_uint_eq(methods->save(other, NULL), size);
    bytes = realloc(bytes, size);
    again = malloc(size);
    methods->save(policy, bytes);
    methods->save(other, again);
    ck_assert_mem_eq(bytes, again, size);
    free(bytes);
    free(again);
    sg_policy_free(other);
    sg_policy_free(policy);
}
END_TEST

static void set(sg_config *config, const char *assignment)
{
    sg_error error = {0};
    ck_assert_msg(sg_config_set(config, assignment, &error) == SG_OK, "%s", error.message);
}

static void configure(sg_config *config)
{
    static const char *const common[] = {
        "optimizer.kind=sgd",   "optimizer.lr=2", "policy.head=6",        "policy.precision=fp64",
        "task.prompts=2",       "task.length=2",  "task.reward=fraction", "rollout.group=12",
        "update.minibatches=3", "run.steps=30"};
    sg_config_init(config);
    for (size_t i = 0; i < COUNT(common); i++)
        set(config, common[i]);
}

/* Where every token is heavy a light row is a dense one and draws in its order, so that whole
 * simulations must agree, whatever else they do. */
START_TEST(simulations_agree_while_every_token_is_heavy)
{
    static const char *const extras[][3] = {
        {"rollout.lag=2", "update.kl_beta=0.01", "optimizer.clip_norm=0.1"},
        {"control.match=kl", "run.steps=6", "control.projection=none"},
        {"control.match=l2", "control.projection=p1", "run.steps=12"},
        {"rollout.top_k=9", "rollout.noise=0.1", "rollout.precision=bf16"},
        {"start.success=0.3", "start.lr=5", "start.steps=200"},
    };
    static sg_config config;
    configure(&config);
    set(&config, "policy.vocabulary=200");
    set(&config, "policy.tail_mass=0.4"); /* 0.0021 a token */
    for (int i = 0; i < 3; i++)
        set(&config, extras[_i][i]);
    sg_error error = {0};
    sg_table *dense, *light;
    ck_assert_msg(sg_simulate(&config, NULL, &dense, &error) == SG_OK, "%s", error.message);
    set(&config, "policy.rows=light");
    ck_assert_msg(sg_simulate(&config, NULL, &light, &error) == SG_OK, "%s", error.message);
    ck_assert_uint_eq(sg_table_rows(dense), sg_table_rows(light));
    double moved = 0;
    for (size_t c = 2; c < sg_table_columns(dense); c++)
        for (size_t i = 0; i < sg_table_rows(dense); i++) {
            double a = sg_table_get_number(light, c, i), b = sg_table_get_number(dense, c, i);
            ck_assert_msg(isnan(a) ? isnan(b) : fabs(a - b) <= 1e-8 * (1 + fabs(b)),
                          "%s in row %zu: light %.17g, dense %.17g", sg_table_column_name(dense, c),
                          i, a, b);
            moved += a - b != 0;
        }
    ck_assert_double_gt(moved, 0); /* or the rows were not light */
    sg_table_free(dense);
    sg_table_free(light);
}
END_TEST

/* Light tokens are drawn in another order: then the learning curves agree in distribution. */
START_TEST(learning_is_the_same_in_the_mean)
{
    static sg_config config;
    double J[2] = {0}, spread[2] = {0};
    enum { SEEDS = 40 };
    configure(&config);
    set(&config, "policy.vocabulary=4000");
    set(&config, "policy.tail_mass=0.3");
    set(&config, "run.seeds=40");
    set(&config, "run.observe_every=1000");
    for (int k = 0; k < 2; k++) {
        sg_error error = {0};
        sg_table *table;
        set(&config, k == 0 ? "policy.rows=dense" : "policy.rows=light");
        ck_assert_msg(sg_simulate(&config, NULL, &table, &error) == SG_OK, "%s", error.message);
        size_t column = (size_t)sg_table_find(table, "J");
        ck_assert_uint_eq(sg_table_rows(table), 2 * SEEDS);
        for (size_t i = 1; i < 2 * SEEDS; i += 2) {
            double x = sg_table_get_number(table, column, i);
            J[k] += x / SEEDS;
            spread[k] += x * x / SEEDS;
        }
        spread[k] -= J[k] * J[k];
        sg_table_free(table);
    }
    double error = sqrt((spread[0] + spread[1]) / SEEDS);
    ck_assert_double_gt(J[0], 0.12);
    ck_assert_msg(fabs(J[0] - J[1]) < 4 * error, "%g and %g, give or take %g", J[0], J[1], error);
}
END_TEST

START_TEST(light_rows_are_refused_where_they_are_wrong)
{
    static const char *const wrong[][2] = {{"optimizer.kind=adam", "set optimizer.kind to sgd"},
                                           {"optimizer.kind=momentum", "set optimizer.kind to sgd"},
                                           {"policy.kind=tree", "belongs to tables"}};
    static sg_config config;
    sg_error error;
    for (size_t i = 0; i < COUNT(wrong); i++) {
        configure(&config);
        set(&config, "policy.rows=light");
        ck_assert_int_eq(sg_config_check(&config, &error), SG_OK);
        set(&config, wrong[i][0]);
        ck_assert_int_eq(sg_config_check(&config, &error), SG_EARGUMENT);
        ck_assert_msg(strstr(error.message, wrong[i][1]) != NULL, "%s", error.message);
    }
    sg_tabular_shape shape = {
        .prompts = 1, .length = 1, .vocabulary = 4, .head = 1, .optimizer = SG_ADAM, .light = true};
    double logits[4] = {0};
    sg_policy *policy;
    ck_assert_int_eq(sg_tabular_alloc(&policy, &shape, logits, &error), SG_EARGUMENT);
    ck_assert_ptr_null(policy);
}
END_TEST

Suite *light_policy_suite(void);
Suite *light_policy_suite(void)
{
    Suite *suite = suite_create("light_policy");
    TCase *tests = tcase_create("light_policy");
    tcase_set_timeout(tests, 30);
    tcase_add_loop_test(tests, a_light_table_follows_a_dense_one, 0, 3);
    tcase_add_loop_test(tests, a_reward_knows_when_a_table_is_no_policy_any_more, 0, 2);
    tcase_add_loop_test(tests, copies_of_a_light_table_continue_alike, 0, 3);
    tcase_add_loop_test(tests, simulations_agree_while_every_token_is_heavy, 0, 5);
    tcase_add_test(tests, learning_is_the_same_in_the_mean);
    tcase_add_test(tests, light_rows_are_refused_where_they_are_wrong);
    suite_add_tcase(suite, tests);
    return suite;
}
