/* SPDX-License-Identifier: GPL-3.0-or-later */
/* How often a training step of a tree waits for the device: once for each answer, however long responses are. */
#include <check.h>
#include <stdlib.h>

#include "emulator.h"
#include "policy/tree.h"

enum { COUNT = 6, ROOM = 9, V = 40 };

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

static const sg_reward reward = {.states = 1, .next = next_any, .value = value_one};

static size_t waits_since(size_t *before)
{
    size_t now = sg_emulator_waits(), since = now - *before;
    *before = now;
    return since;
}

static void assert_waits(sg_policy *tree, sg_optimizer_kind kind, double clip_norm)
{
    const sg_policy_methods *m = tree->methods;
    uint32_t prompt[COUNT], sample[COUNT], length[COUNT];
    int32_t tokens[COUNT * ROOM];
    double log_prob[COUNT * ROOM], pushes[COUNT * ROOM], expected[2];
    sg_responses r = {COUNT, ROOM, prompt, sample, length, tokens};
    sg_policy_step step = {
        .optimizer = {kind, 0.1, 0.9, 0.99, 1e-8, 0.1}, .time = 1, .clip_norm = clip_norm};
    sg_policy_draw how = {1, SG_STREAM_ROLLOUT, 1, SG_SAMPLER_PLAIN};
    sg_policy_draw distorted = {1, SG_STREAM_ROLLOUT, 2, {.temperature = 0.5, .top_p = 1}};
    sg_policy_change change;
    sg_policy_observation look;
    for (uint32_t i = 0; i < COUNT; i++) {
        prompt[i] = i % 2;
        sample[i] = i;
    }
    for (size_t j = 0; j < COUNT * ROOM; j++)
        pushes[j] = (double)(j % 5) - 2;
    ck_assert_int_eq(m->draw(tree, &how, &r, log_prob, NULL),
                     SG_OK); /* waits for the filling, too */
    size_t at = sg_emulator_waits();
    ck_assert_int_eq(m->draw(tree, &how, &r, log_prob, NULL), SG_OK);
    ck_assert_uint_eq(waits_since(&at), 1);
    ck_assert_int_eq(m->draw(tree, &distorted, &r, log_prob, NULL), SG_OK);
    ck_assert_uint_eq(waits_since(&at), 1);
    ck_assert_int_eq(m->log_prob(tree, &r, log_prob, NULL), SG_OK);
    ck_assert_uint_eq(waits_since(&at), 1);
    ck_assert_int_eq(m->update(tree, &step, &r, pushes, &change, NULL), SG_OK);
    ck_assert_uint_eq(waits_since(&at), 1);
    ck_assert_int_eq(m->expected_reward(tree, &reward, expected, NULL), SG_OK);
    ck_assert_uint_eq(waits_since(&at), 1);
    ck_assert_int_eq(m->observe(tree, &reward, &look, NULL), SG_OK);
    ck_assert_uint_eq(waits_since(&at), 1);
    step.time = 2;
    ck_assert_int_eq(m->update(tree, &step, &r, pushes, NULL, NULL), SG_OK);
    ck_assert_uint_eq(waits_since(&at), 0);
}

START_TEST(every_answer_is_one_wait_at_any_length)
{
    static const size_t lengths[] = {1, 2, 5, ROOM};
    double logits[V] = {0};
    for (int k = 0; k < 16; k++) {
        sg_tree_shape shape = {.prompts = 2,
                               .length = lengths[k / 4],
                               .vocabulary = V,
                               .head = 3,
                               .merge = 2,
                               .shared_bias = k & 1,
                               .may_end = k & 2,
                               .end_token = 1,
                               .branching = lengths[k / 4],
                               .precision = SG_FP32,
                               .optimizer = (sg_optimizer_kind)_i,
                               .backend = SG_BACKEND_CUDA};
        sg_policy *tree;
        ck_assert_int_eq(sg_tree_alloc(&tree, &shape, logits, NULL), SG_OK);
        assert_waits(tree, shape.optimizer, k % 3 == 0 ? 0.5 : 0);
        sg_policy_free(tree);
    }
}
END_TEST

Suite *tree_waits_suite(void);
Suite *tree_waits_suite(void)
{
    Suite *suite = suite_create("tree_waits");
    TCase *tests = tcase_create("waits");
    tcase_set_timeout(tests, 60);
    tcase_add_loop_test(tests, every_answer_is_one_wait_at_any_length, SG_SGD, SG_COUPLED_ADAM + 1);
    suite_add_tcase(suite, tests);
    return suite;
}
