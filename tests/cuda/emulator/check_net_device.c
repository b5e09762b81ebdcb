/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The neural policy on a device: what travels, and a device that is too small, or lost in the middle. */
#include <check.h>
#include <math.h>
#include <stdlib.h>

#include "answers.h"
#include "lost_device.h"
#include "policy/net_policy.h"

enum { V = 6000, WIDTH = 24, PROMPTS = 2, COUNT = 8, LENGTH = 2, MUCH = 1 << 30 };

static sg_net_policy_shape shape_of(bool tied)
{
    return (sg_net_policy_shape){
        .net = {.prior = {.vocabulary = V,
                          .head = 40,
                          .head_shape = SG_HEAD_GEOMETRIC,
                          .head_ratio = 0.95,
                          .tail_mass = 0.5},
                .width = WIDTH,
                .length = LENGTH,
                .prompt_length = 1,
                .prompt_symbols = PROMPTS,
                .window = 1,
                .blocks = 1,
                .hidden = 5,
                .tied = tied,
                .bias = SG_NET_BIAS_TRAINED,
                .head_std = 0.5,
                .tail_std = 0.5,
                .temperature = 1},
        .rule = {.rule = SG_RULE_ADAM, .lr = 1, .beta1 = 0.9, .beta2 = 0.99, .eps = 1e-8},
        .prompts = PROMPTS,
        .end_token = -1,
        .observe_samples = 4,
        .backend = SG_BACKEND_CUDA,
        .seed = 3};
}

static void set_out(answers *a)
{
    answers_init(a, COUNT, LENGTH, PROMPTS);
    for (uint32_t i = 0; i < COUNT; i++)
        for (uint32_t t = 0; t < LENGTH; t++)
            a->push[i * LENGTH + t] = (double)(i % 3) - 0.5;
}

static sg_status learn(sg_policy *policy, answers *a, uint32_t time, sg_policy_change *change,
                       sg_error *error)
{
    sg_policy_draw how = {5, SG_STREAM_ROLLOUT, time, SG_SAMPLER_PLAIN};
    sg_policy_step step = {.optimizer = {.lr = 0.01}, .time = time, .clip_norm = 0.1};
    sg_status status = policy->methods->draw(policy, &how, &a->responses, a->log_prob, error);
    return status ? status
                  : policy->methods->update(policy, &step, &a->responses, a->push, change, error);
}

/* Nothing of the size of the weights, nor of a row of logits for each context: steps, observations, older policies. */
START_TEST(parameters_stay_where_they_are)
{
    sg_net_policy_shape shape = shape_of(_i % 2);
    shape.matmul = _i < 2 ? SG_MATMUL_SAME : SG_MATMUL_BF16;
    sg_policy *policy, *old;
    sg_policy_change change;
    sg_policy_observation seen;
    answers a;
    const size_t weights = V * WIDTH * sizeof(float);
    set_out(&a);
    ck_assert(!sg_net_policy_alloc(&policy, &shape, NULL));
    size_t start = sg_emulator_traffic();
    ck_assert(!policy->methods->clone(policy, &old, NULL));
    ck_assert_uint_eq(sg_emulator_traffic(), start);
    for (uint32_t t = 1; t < 4; t++) {
        start = sg_emulator_traffic();
        ck_assert(!learn(policy, &a, t, t == 1 ? NULL : &change, NULL));
        size_t moved = sg_emulator_traffic() - start;
        ck_assert_msg(moved < weights / 8, "step %u: %zu bytes travelled, the weights have %zu", t,
                      moved, weights);
        ck_assert_uint_gt(moved, COUNT * LENGTH * sizeof(double));
    }
    start = sg_emulator_traffic();
    ck_assert(!policy->methods->observe(policy, NULL, &seen, NULL));
    ck_assert_uint_lt(sg_emulator_traffic() - start, weights / 8);
    start = sg_emulator_traffic();
    ck_assert(!old->methods->copy(old, policy, NULL));
    ck_assert(!old->methods->adopt(old, policy, NULL));
    old->methods->forget(old);
    ck_assert(!sg_net_emulate(sg_net_policy_net(old), sg_net_policy_net(policy), SG_SAMPLER_BF16,
                              0.01, 1, 2, NULL));
    ck_assert_uint_eq(sg_emulator_traffic(), start);
    /* A look at the parameters is what travels. */
    ck_assert(!sg_net_fetch(sg_net_policy_net(policy), NULL));
    ck_assert_uint_ge(sg_emulator_traffic() - start, weights);
    sg_policy_free(policy);
    sg_policy_free(old);
}
END_TEST

/* The host waits for what it brings back alone; the device keeps the order of what uses an array. */
START_TEST(calls_that_bring_nothing_back_do_not_wait)
{
    enum { ROWS = 40, WIDE = 7, SIZE = ROWS * WIDE };
    const sg_cuda_noise rounding = {.format = {8, -126, 0x1.fep127}};
    float numbers[SIZE], back[SIZE], expected;
    sg_cuda_flat *a, *b;
    for (size_t i = 0; i < SIZE; i++)
        numbers[i] = (float)i + 0.25f;
    size_t before = sg_emulator_waits();
    ck_assert(!sg_cuda_flat_alloc(&a, SG_FP32, SIZE, "a test", NULL));
    ck_assert(!sg_cuda_flat_alloc(&b, SG_FP32, SIZE, "a test", NULL));
    ck_assert(!sg_cuda_flat_put(a, 0, SIZE, numbers, NULL));
    ck_assert(!sg_cuda_flat_copy(b, a, NULL));
    ck_assert(!sg_cuda_flat_zero(a, 0, WIDE, NULL));
    ck_assert(!sg_cuda_flat_put(b, 3 * WIDE, WIDE, numbers, NULL));
    ck_assert(!sg_cuda_flat_put(b, 39 * WIDE, WIDE, numbers + WIDE, NULL));
    ck_assert(!sg_cuda_flat_emulate(a, b, &rounding, NULL));
    ck_assert_uint_eq(sg_emulator_waits(), before);
    ck_assert(!sg_cuda_flat_get(a, 0, SIZE, back, NULL));
    ck_assert_uint_eq(sg_emulator_waits(), before + 1);
    for (size_t i = 0; i < SIZE; i++) {
        size_t row = i / WIDE, place = row == 39 ? WIDE + i % WIDE : i % WIDE;
        expected = row == 3 || row == 39 ? numbers[place] : numbers[i];
        ck_assert_float_eq_tol(back[i], expected, expected * 0x1p-8f);
    }
    sg_cuda_flat_free(a);
    sg_cuda_flat_free(b);
}
END_TEST

/* Tokens and their log-probabilities, once a position; log-probabilities and normalisers, once an update. */
START_TEST(an_update_waits_for_what_it_brings_back)
{
    sg_net_policy_shape shape = shape_of(false);
    sg_policy_step step = {.optimizer = {.lr = 0.01}, .clip_norm = 0.1};
    if (_i) {
        shape.net.frozen_features = true;
        shape.net.blocks = 0;
        shape.net.hidden = 0;
    }
    sg_policy *policy;
    answers a;
    set_out(&a);
    ck_assert(!sg_net_policy_alloc(&policy, &shape, NULL));
    for (uint32_t t = 1; t < 4; t++) {
        sg_policy_draw how = {5, SG_STREAM_ROLLOUT, t, SG_SAMPLER_PLAIN};
        size_t before = sg_emulator_waits();
        ck_assert(!policy->methods->draw(policy, &how, &a.responses, a.log_prob, NULL));
        size_t waits = sg_emulator_waits() - before;
        ck_assert_msg(t == 1 || waits <= LENGTH, "draws of step %u waited %zu times", t, waits);
        before = sg_emulator_waits();
        step.time = t;
        ck_assert(!policy->methods->update(policy, &step, &a.responses, a.push, NULL, NULL));
        waits = sg_emulator_waits() - before;
        /* Room that grows in the first update waits for what is queued. */
        ck_assert_msg(t == 1 || waits <= 1, "update %u waited %zu times", t, waits);
    }
    sg_policy_free(policy);
}
END_TEST

/* Contexts, tokens and pushes go up, log-probabilities come back: as many bytes at every width, hidden width and vocabulary. */
static size_t travelled(const sg_net_config *c, size_t count, const int32_t *position,
                        const int32_t *context, const int32_t *token, const double *push)
{
    sg_net *net, *gradient;
    sg_net_pass *pass = sg_net_pass_alloc_on(SG_BACKEND_CUDA);
    double *log_prob = malloc(count * sizeof *log_prob);
    sg_net_batch batch = {count, position, context, token, NULL};
    size_t bytes = 0;
    ck_assert(!sg_net_alloc_on(&net, c, SG_BACKEND_CUDA, NULL));
    ck_assert(!sg_net_alloc_on(&gradient, c, SG_BACKEND_CUDA, NULL));
    ck_assert(!sg_net_init(net, 7, NULL));
    for (int again = 0; again < 2; again++) {
        size_t start = sg_emulator_traffic(), waits = sg_emulator_waits();
        ck_assert(!sg_net_forward(pass, net, &batch, log_prob, NULL));
        ck_assert(!sg_net_backward(pass, net, push, SG_DIFFUSE_KEEP, gradient, NULL));
        bytes = sg_emulator_traffic() - start;
        if (again) /* for the log-probabilities, and nothing else */
            ck_assert_uint_eq(sg_emulator_waits() - waits, 1);
    }
    free(log_prob);
    sg_net_pass_free(pass);
    sg_net_free(net);
    sg_net_free(gradient);
    return bytes;
}

START_TEST(features_and_embeddings_do_not_travel)
{
    enum { N = 90 };
    int32_t position[N], context[2 * N], token[N];
    double push[N];
    sg_net_config c = shape_of(_i % 2).net;
    c.prior.vocabulary = 200;
    c.experts = _i / 2 ? 4 : 0;
    c.top_k = _i / 2 ? 2 : 0;
    for (int i = 0; i < N; i++) {
        position[i] = i % 2;
        context[2 * i] = i % PROMPTS;
        context[2 * i + 1] = i % 5 ? i : -1;
        token[i] = i * 2;
        push[i] = i % 3 - 0.5;
    }
    c.width = 8;
    size_t narrow = travelled(&c, N, position, context, token, push);
    c.width = 80;
    c.hidden = 40;
    c.prior.vocabulary = 700;
    ck_assert_uint_eq(travelled(&c, N, position, context, token, push), narrow);
    /* A list entry and a handful of numbers for each slot of each row. */
    ck_assert_uint_lt(narrow, N * 4 * 80);
    ck_assert_uint_gt(narrow, N * 4 * 8);
}
END_TEST

START_TEST(a_net_that_does_not_fit_says_so)
{
    sg_net_policy_shape shape = shape_of(false);
    sg_policy *policy;
    sg_policy_change change;
    sg_error error;
    answers a;
    set_out(&a);
    size_t before = sg_emulator_bytes_in_use();
    size_t array = sg_net_bytes(&shape.net);
    for (size_t arrays = 0; arrays < 4; arrays++) { /* parameters, gradient, two moments */
        leave_memory(arrays * array + array / 2);
        ck_assert_int_eq(sg_net_policy_alloc(&policy, &shape, &error), SG_ENOMEM);
        ck_assert_ptr_null(policy);
        assert_says(&error, "MB of device memory");
        assert_says(&error, "--backend cpu");
        ck_assert_uint_eq(sg_emulator_bytes_in_use(), before);
    }
    /* Later: what they were before a step. */
    sg_emulator_set_memory(MUCH);
    ck_assert(!sg_net_policy_alloc(&policy, &shape, NULL));
    ck_assert(!learn(policy, &a, 1, NULL, NULL));
    leave_memory(array / 2);
    ck_assert_int_eq(learn(policy, &a, 2, &change, &error), SG_ENOMEM);
    assert_says(&error, "MB of device memory");
    leave_much_memory();
    ck_assert(!learn(policy, &a, 2, &change, NULL));
    sg_policy_free(policy);
    ck_assert_uint_eq(sg_emulator_bytes_in_use(), before);
}
END_TEST

START_TEST(a_net_of_a_lost_device_says_so)
{
    sg_net_policy_shape shape = shape_of(_i);
    sg_policy *policy, *other;
    sg_error error;
    answers a;
    set_out(&a);
    size_t before = sg_emulator_bytes_in_use();
    ck_assert(!sg_net_policy_alloc(&policy, &shape, NULL));
    ck_assert(!sg_net_policy_alloc(&other, &shape, NULL));
    ck_assert(!learn(policy, &a, 1, NULL, NULL));
    size_t size;
    char *bytes = saved(policy, &size);
    lose_device();
    ck_assert_int_eq(learn(policy, &a, 2, NULL, &error), SG_ETOOL);
    assert_says(&error, "was lost while");
    ck_assert_int_eq(other->methods->copy(other, policy, &error), SG_ETOOL);
    ck_assert_int_eq(other->methods->adopt(other, policy, &error), SG_ETOOL);
    ck_assert_int_eq(other->methods->load(other, bytes, size, &error), SG_ETOOL);
    ck_assert_uint_eq(policy->methods->save(policy, bytes), 0);
    other->methods->forget(other);
    bring_device_back();
    free(bytes);
    sg_policy_free(policy);
    sg_policy_free(other);
    ck_assert_uint_eq(sg_emulator_bytes_in_use(), before);
}
END_TEST

START_TEST(a_simulation_of_nets_keeps_its_finished_runs)
{
    static const char *const settings[] = {"policy.kind=net",
                                           "policy.vocabulary=300",
                                           "policy.head=6",
                                           "policy.width=4",
                                           "policy.hidden=4",
                                           "task.prompts=2",
                                           "task.length=1",
                                           "rollout.group=4",
                                           "run.steps=3",
                                           "run.seeds=4",
                                           NULL};
    sg_config config;
    set_up(&config, settings);
    assert_keeps_finished_runs(&config);
}
END_TEST

Suite *net_device_suite(void);
Suite *net_device_suite(void)
{
    Suite *suite = suite_create("net_device");
    TCase *tests = tcase_create("traffic and failures");
    tcase_set_timeout(tests, 60);
    tcase_add_loop_test(tests, parameters_stay_where_they_are, 0, 3);
    tcase_add_test(tests, calls_that_bring_nothing_back_do_not_wait);
    tcase_add_loop_test(tests, an_update_waits_for_what_it_brings_back, 0, 2);
    tcase_add_loop_test(tests, features_and_embeddings_do_not_travel, 0, 4);
    tcase_add_test(tests, a_net_that_does_not_fit_says_so);
    tcase_add_loop_test(tests, a_net_of_a_lost_device_says_so, 0, 2);
    tcase_add_test(tests, a_simulation_of_nets_keeps_its_finished_runs);
    suite_add_tcase(suite, tests);
    return suite;
}
