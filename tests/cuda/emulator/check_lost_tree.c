/* SPDX-License-Identifier: GPL-3.0-or-later */
/* A tree on a device that is too small, or lost in the middle: one sentence, no garbage. */
#include <check.h>
#include <math.h>
#include <stdlib.h>

#include "lost_device.h"
#include "policy/tree.h"

static const sg_tree_shape shape = {.prompts = 1,
                                    .length = 2,
                                    .vocabulary = 2000,
                                    .head = 3,
                                    .precision = SG_FP32,
                                    .optimizer = SG_ADAM,
                                    .backend = SG_BACKEND_CUDA};

START_TEST(a_tree_that_does_not_fit_says_so)
{
    sg_policy *tree = NULL;
    sg_error error;
    double logits[2000] = {0};
    size_t before = sg_emulator_bytes_in_use();
    leave_memory(100000);
    ck_assert_int_eq(sg_tree_alloc(&tree, &shape, logits, &error), SG_ENOMEM);
    leave_much_memory();
    ck_assert_ptr_null(tree);
    assert_says(&error, "a tree of 5 states of 2000 tokens needs 0.2 MB");
    assert_says(&error, "--backend cpu");
    ck_assert_uint_eq(sg_emulator_bytes_in_use(), before);
}
END_TEST

static int32_t next_any(const void *context, size_t prompt, size_t t, int32_t state, int32_t token)
{
    (void)context, (void)prompt, (void)t, (void)token;
    return state;
}

static double value_one(const void *context, size_t prompt, int32_t state)
{
    (void)context, (void)prompt, (void)state;
    return 1;
}

START_TEST(a_tree_of_a_lost_device_says_so_and_answers_nothing)
{
    sg_policy *tree, *other, *third = NULL;
    sg_error error;
    double logits[2000] = {0}, log_prob[2], pushes[] = {1, -1}, expected;
    uint32_t prompt[] = {0}, sample[] = {0}, length[] = {2};
    int32_t tokens[] = {1, 5};
    sg_responses r = {1, 2, prompt, sample, length, tokens};
    sg_policy_step step = {.optimizer = {SG_ADAM, 0.1, 0.9, 0.99, 1e-8, 0}, .time = 1};
    sg_policy_draw how = {1, SG_STREAM_ROLLOUT, 1, SG_SAMPLER_PLAIN};
    sg_reward reward = {.states = 1, .next = next_any, .value = value_one};
    sg_policy_change change;
    sg_policy_observation look;
    size_t before = sg_emulator_bytes_in_use();
    ck_assert_int_eq(sg_tree_alloc(&tree, &shape, logits, &error), SG_OK);
    const sg_policy_methods *m = tree->methods;
    ck_assert_int_eq(m->clone(tree, &other, &error), SG_OK);
    ck_assert_int_eq(m->update(tree, &step, &r, pushes, &change, &error), SG_OK);
    lose_device();
    ck_assert_int_eq(m->update(tree, &step, &r, pushes, &change, &error), SG_ETOOL);
    assert_says(&error, "was lost while");
    ck_assert(isnan(change.kl_old_new));
    bring_device_back();
    /* The device is back, but not what this tree was. */
    ck_assert_int_eq(m->update(tree, &step, &r, pushes, NULL, &error), SG_ETOOL);
    ck_assert_int_eq(m->draw(tree, &how, &r, log_prob, &error), SG_ETOOL);
    ck_assert_int_eq(tokens[0], 0);
    ck_assert_int_eq(m->log_prob(tree, &r, log_prob, &error), SG_ETOOL);
    ck_assert(isnan(log_prob[0]) && isnan(log_prob[1]));
    ck_assert_int_eq(m->observe(tree, &reward, &look, &error), SG_ETOOL);
    ck_assert(isnan(look.entropy));
    ck_assert_int_eq(m->expected_reward(tree, &reward, &expected, &error), SG_ETOOL);
    ck_assert(isnan(expected));
    m->row(tree, 0, logits, NULL);
    ck_assert(isnan(logits[0]));
    size_t size = m->save(tree, NULL);
    char *bytes = malloc(size);
    ck_assert_uint_gt(size, 0);
    ck_assert_uint_eq(m->save(tree, bytes), 0);
    free(bytes);
    ck_assert_int_eq(m->copy(other, tree, &error), SG_ETOOL);
    assert_says(&error, "was lost while");
    ck_assert_int_eq(m->clone(tree, &third, &error), SG_ETOOL);
    sg_policy_free(third);
    sg_policy_free(tree);
    sg_policy_free(other);
    ck_assert_uint_eq(sg_emulator_bytes_in_use(), before);
}
END_TEST

START_TEST(a_simulation_keeps_its_finished_runs)
{
    static const char *const settings[] = {
        "policy.kind=tree", "policy.vocabulary=100", "policy.head=3",
        "task.prompts=2",   "task.length=2",         "rollout.group=4",
        "run.steps=2",      "run.seeds=4",           NULL};
    sg_config config;
    set_up(&config, settings);
    assert_keeps_finished_runs(&config);
}
END_TEST

Suite *lost_tree_suite(void);
Suite *lost_tree_suite(void)
{
    Suite *suite = suite_create("lost_tree");
    TCase *tests = tcase_create("failures");
    tcase_set_timeout(tests, 60);
    tcase_add_test(tests, a_tree_that_does_not_fit_says_so);
    tcase_add_test(tests, a_tree_of_a_lost_device_says_so_and_answers_nothing);
    tcase_add_test(tests, a_simulation_keeps_its_finished_runs);
    suite_add_tcase(suite, tests);
    return suite;
}
