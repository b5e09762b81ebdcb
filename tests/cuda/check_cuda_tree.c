/* SPDX-License-Identifier: GPL-3.0-or-later */
/* A tree on the device gives the bits of the tree on the CPU: draws, log-probabilities, what an update
 * changed, observations, expected rewards, every logit and moment, and a whole simulation.
 * tests/check_tree.c holds both against a naive tree. */
#include <check.h>
#include <math.h>
#include <stdlib.h>

#include "answers.h"
#include "both_backends.h"
#include "policy/tree.h"
#include "record.h"

enum { PROMPTS = 2, HEAD = 3, COUNT = 8, ROOM = 4 };

/* A response earns by the sum of its tokens modulo 3, and has lost after a first token 0. */
static int32_t next_sum(const void *context, size_t prompt, size_t t, int32_t state, int32_t token)
{
    (void)context, (void)prompt;
    return t == 0 && token == 0 ? SG_REWARD_LOST : (state + token) % 3;
}

static double value_sum(const void *context, size_t prompt, int32_t state)
{
    (void)context;
    return state == 1 ? 1 : 0.25 * (double)prompt;
}

static const sg_reward reward = {.states = 3, .next = next_sum, .value = value_sum};

static sg_policy *tree_new(const sg_tree_shape *shape, const double *logits)
{
    sg_policy *tree;
    sg_error error;
    ck_assert_msg(sg_tree_alloc(&tree, shape, logits, &error) == SG_OK, "%s", error.message);
    return tree;
}

/* Draws, plain in most steps, and what they were worth. */
static void take_draws(record *seen, sg_policy *tree, answers *a, uint32_t step)
{
    sg_policy_draw how = {
        .seed = 7, .stream = SG_STREAM_ROLLOUT, .step = step, .sampler = SG_SAMPLER_PLAIN};
    if (step == 3)
        how.sampler = (sg_sampler){.temperature = 0.7, .top_p = 0.9, .noise = 0.1};
    ck_assert_int_eq(tree->methods->draw(tree, &how, &a->responses, a->log_prob, NULL), SG_OK);
    see(seen, a->tokens, COUNT * ROOM * sizeof *a->tokens);
    see(seen, a->length, COUNT * sizeof *a->length);
    see_numbers(seen, a->log_prob, COUNT * ROOM);
    ck_assert_int_eq(tree->methods->log_prob(tree, &a->responses, a->log_prob, NULL), SG_OK);
    see_numbers(seen, a->log_prob, COUNT * ROOM);
}

static void take_step(record *seen, sg_policy *tree, sg_optimizer_kind kind, answers *a,
                      uint32_t step)
{
    static const sg_projection projections[] = {SG_PROJECTION_NONE, SG_PROJECTION_P1,
                                                SG_PROJECTION_P2, SG_PROJECTION_NONE};
    bool adam = kind == SG_ADAM || kind == SG_ADAMW;
    sg_policy_step how = {.optimizer = {kind, adam ? 0.05 : 0.3, 0.8, 0.95, 1e-8, 0.1},
                          .time = step,
                          .clip_norm = step == 2 ? 0.3 : 0,
                          .projection = projections[step % 4]};
    sg_policy_change change;
    for (uint32_t i = 0; i < COUNT * ROOM; i++)
        a->push[i] = i == 5 ? 0 : 0.2 * normal(step, i);
    sg_policy_change *wanted = step == 4 ? NULL : &change; /* then nobody asks for any sum */
    ck_assert_int_eq(tree->methods->update(tree, &how, &a->responses, a->push, wanted, NULL),
                     SG_OK);
    if (wanted != NULL)
        see_doubles(seen, &change, sizeof change);
}

static void look(record *seen, sg_policy *tree, size_t states)
{
    sg_policy_observation o;
    double expected[PROMPTS], *z = malloc(2 * tree->vocabulary * sizeof *z);
    ck_assert_int_eq(tree->methods->observe(tree, &reward, &o, NULL), SG_OK);
    ck_assert_int_eq(tree->methods->expected_reward(tree, &reward, expected, NULL), SG_OK);
    see_doubles(seen, &o, sizeof o);
    see_numbers(seen, expected, tree->prompts);
    for (size_t s = 0; s < states; s += 2) {
        tree->methods->row(tree, s, z, z + tree->vocabulary);
        see_numbers(seen, z, 2 * tree->vocabulary);
    }
    sg_tree_get(tree, SG_TREE_BIAS, z);
    see_numbers(seen, z, tree->vocabulary);
    size_t size;
    char *bytes = saved(tree, &size);
    see(seen, bytes, size);
    free(bytes);
    free(z);
}

static record run_tree(sg_tree_shape shape, sg_backend_kind backend)
{
    record seen = {0};
    answers a;
    size_t states = shape.prompts * (size_t)sg_tree_states(&shape), V = shape.vocabulary;
    double *logits = malloc(V * sizeof *logits);
    shape.backend = backend;
    for (uint32_t v = 0; v < V; v++)
        logits[v] = v % 11 == 10 ? -INFINITY : normal(100, v) - (v < HEAD ? 0 : log((double)V) - 1);
    sg_policy *tree = tree_new(&shape, logits), *other;
    for (uint32_t v = 0; v < V; v++)
        logits[v] = 0.2 * normal(101, v);
    if (shape.shared_bias)
        sg_tree_set(tree, SG_TREE_BIAS, logits);
    sg_tree_set(tree, 1, logits);
    answers_init(&a, COUNT, ROOM, shape.prompts);
    for (uint32_t step = 1; step <= 4; step++) {
        take_draws(&seen, tree, &a, step);
        take_step(&seen, tree, shape.optimizer, &a, step);
    }
    look(&seen, tree, states);
    /* A copy, parameters alone, and a fresh optimiser. */
    ck_assert_int_eq(tree->methods->clone(tree, &other, NULL), SG_OK);
    take_step(&seen, other, shape.optimizer, &a, 5);
    tree->methods->forget(tree);
    ck_assert_int_eq(tree->methods->adopt(tree, other, NULL), SG_OK);
    take_step(&seen, tree, shape.optimizer, &a, 1);
    ck_assert_int_eq(tree->methods->copy(other, tree, NULL), SG_OK);
    take_draws(&seen, other, &a, 6);
    look(&seen, other, states);
    sg_policy_free(tree);
    sg_policy_free(other);
    free(logits);
    return seen;
}

/* Every optimiser, precision, with and without a bias, merged or not, with an end or without. */
START_TEST(the_device_gives_the_bits_of_the_cpu)
{
    for (int k = 0; k < 16; k++) {
        sg_tree_shape shape = {.prompts = k % 4 == 1 ? PROMPTS : 1,
                               .length = k % 3 == 0 ? 3 : 2,
                               /* 3 tiles, 1 tile; rows that start at 16 bytes or anywhere */
                               .vocabulary = k % 9 == 3   ? 2100
                                             : k % 3 == 1 ? 40
                                                          : 37,
                               .head = HEAD,
                               .merge = k & 1 ? 2 : 0,
                               .shared_bias = k & 2,
                               .precision = k & 4 ? SG_FP64 : SG_FP32,
                               .optimizer = (sg_optimizer_kind)_i};
        shape.may_end = k & 8;
        shape.end_token = shape.may_end ? 1 : 0;
        shape.branching = shape.may_end ? 2 : 0;
        record cpu = run_tree(shape, SG_BACKEND_CPU), device = run_tree(shape, SG_BACKEND_CUDA);
        assert_same_records(&cpu, &device, "case", k);
    }
}
END_TEST

/* Responses of an untrained tree, drawn once, in arrays with places that are not theirs. */
static record draw_responses(sg_tree_shape shape, sg_sampler sampler, sg_backend_kind backend)
{
    enum { RESPONSES = 16, PLACES = 9 };
    record seen = {0};
    uint32_t prompt[RESPONSES], sample[RESPONSES], length[RESPONSES];
    int32_t tokens[RESPONSES * PLACES];
    double log_prob[RESPONSES * PLACES], *logits = malloc(shape.vocabulary * sizeof *logits);
    sg_responses r = {RESPONSES, PLACES, prompt, sample, length, tokens};
    sg_policy_draw how = {11, SG_STREAM_ROLLOUT, 3, sampler};
    shape.backend = backend;
    for (uint32_t v = 0; v < shape.vocabulary; v++)
        logits[v] = v % 5 == 4 ? -INFINITY : normal(200, v) + (v < shape.head ? 4 : 0);
    for (uint32_t i = 0; i < RESPONSES; i++) {
        prompt[i] = i * 7 % (uint32_t)shape.prompts;
        sample[i] = i * i;
        for (size_t t = 0; t < PLACES; t++) {
            tokens[i * PLACES + t] = -7;
            log_prob[i * PLACES + t] = -7;
        }
    }
    sg_policy *tree = tree_new(&shape, logits);
    for (size_t s = 0; s < 3; s++) {
        for (uint32_t v = 0; v < shape.vocabulary; v++)
            logits[v] = s == 0 ? floor(3 * normal(201, v)) / 2 : 2 * normal(201 + (uint32_t)s, v);
        if (s < 2 || shape.shared_bias)
            sg_tree_set(tree, s < 2 ? s : SG_TREE_BIAS, logits);
    }
    ck_assert_int_eq(tree->methods->draw(tree, &how, &r, log_prob, NULL), SG_OK);
    see(&seen, length, sizeof length);
    see(&seen, tokens, sizeof tokens);
    see_numbers(&seen, log_prob, RESPONSES * PLACES);
    sg_policy_free(tree);
    free(logits);
    return seen;
}

START_TEST(walks_are_those_of_the_cpu)
{
    static const size_t vocabularies[] = {3, 37, 128, 1024, 1025, 2100, 9000},
                        lengths[] = {1, 2, 6, 8};
    for (size_t k = 0; k < 28; k++) {
        sg_tree_shape shape = {.prompts = 1 + k % 3,
                               .length = lengths[k % 4],
                               .vocabulary = vocabularies[k % 7],
                               .head = HEAD,
                               .merge = k % 4 > 1 ? 4 : 0,
                               .shared_bias = k % 3 == 1,
                               .may_end = k % 5 > 1,
                               .end_token = 2,
                               .branching = 1 + k % lengths[k % 4],
                               .precision = k % 2 ? SG_FP64 : SG_FP32,
                               .optimizer = SG_SGD};
        record cpu = draw_responses(shape, SG_SAMPLER_PLAIN, SG_BACKEND_CPU);
        record device = draw_responses(shape, SG_SAMPLER_PLAIN, SG_BACKEND_CUDA);
        assert_same_records(&cpu, &device, "walk", (int)k);
    }
}
END_TEST

/* More tiles than fit into shared memory at once, with mass in the last of them. */
START_TEST(walks_through_huge_rows_are_those_of_the_cpu)
{
    static const sg_sampler samplers[] = {{.temperature = 1, .top_p = 1},
                                          {.temperature = 0.8, .top_p = 1}};
    sg_tree_shape shape = {.prompts = 1,
                           .length = 1,
                           .vocabulary = 1100000,
                           .head = 2,
                           .precision = SG_FP32,
                           .optimizer = SG_SGD};
    record seen[2] = {{0}};
    for (int b = 0; b < 2; b++) {
        double *logits = malloc(shape.vocabulary * sizeof *logits);
        uint32_t prompt[6] = {0}, sample[6] = {0, 1, 2, 3, 4, 5}, length[6];
        int32_t tokens[6];
        double log_prob[6];
        sg_responses r = {6, 1, prompt, sample, length, tokens};
        shape.backend = b == 0 ? SG_BACKEND_CPU : SG_BACKEND_CUDA;
        for (uint32_t v = 0; v < shape.vocabulary; v++)
            logits[v] = (v % 64) * 0.05 + (v > 1000000 ? 3 : 0);
        sg_policy *tree = tree_new(&shape, logits);
        for (size_t k = 0; k < 2; k++) {
            sg_policy_draw how = {13, SG_STREAM_ROLLOUT, 1, samplers[k]};
            ck_assert_int_eq(tree->methods->draw(tree, &how, &r, log_prob, NULL), SG_OK);
            see(&seen[b], tokens, sizeof tokens);
            see_numbers(&seen[b], log_prob, 6);
        }
        sg_policy_free(tree);
        free(logits);
    }
    assert_same_records(&seen[0], &seen[1], "huge rows", 0);
}
END_TEST

/* The root has many logits that are equal, so that the last tokens that are kept are told apart by their places. */
START_TEST(distorted_walks_are_those_of_the_cpu)
{
    static const sg_sampler samplers[] = {
        {.temperature = 0.7, .top_p = 1},
        {.temperature = 1.5, .top_p = 1, .raw = true},
        {.temperature = 0, .top_p = 1},
        {.temperature = 0, .top_p = 1, .raw = true, .format = SG_SAMPLER_FP16},
        {.temperature = 1, .top_p = 1, .format = SG_SAMPLER_BF16},
        {.temperature = 1, .top_p = 1, .top_k = 1},
        {.temperature = 0.9, .top_p = 1, .top_k = 20},
        {.temperature = 1, .top_p = 0.8},
        {.temperature = 1.2, .top_p = 0.5, .top_k = 30, .format = SG_SAMPLER_BF16, .raw = true},
        {.temperature = 0.01, .top_p = 0.999, .top_k = 4000},
        {.temperature = 1, .top_p = 0.9, .noise = 0.1}, /* the host's */
    };
    static const size_t vocabularies[] = {37, 1100, 2};
    for (size_t k = 0; k < 2 * sizeof samplers / sizeof *samplers; k++) {
        sg_tree_shape shape = {.prompts = 2,
                               .length = 2,
                               .vocabulary = vocabularies[k % 3],
                               .head = 2,
                               .shared_bias = k % 5 == 1,
                               .precision = k % 2 ? SG_FP64 : SG_FP32,
                               .optimizer = SG_SGD};
        sg_sampler sampler = samplers[k % (sizeof samplers / sizeof *samplers)];
        record cpu = draw_responses(shape, sampler, SG_BACKEND_CPU);
        record device = draw_responses(shape, sampler, SG_BACKEND_CUDA);
        assert_same_records(&cpu, &device, "distorted walk", (int)k);
    }
}
END_TEST

/* Updates of more states than a block takes at once, not all of them visited, and more samples than lanes. */
static record update_many(sg_tree_shape shape, sg_backend_kind backend)
{
    enum { MANY = 90 };
    record seen = {0};
    double *logits = malloc(shape.vocabulary * sizeof *logits), push[MANY * ROOM];
    shape.backend = backend;
    for (uint32_t v = 0; v < shape.vocabulary; v++)
        logits[v] = 0.5 * normal(300, v);
    sg_policy *tree = tree_new(&shape, logits);
    uint32_t prompt[MANY], sample[MANY], length[MANY];
    int32_t tokens[MANY * ROOM];
    double log_prob[MANY * ROOM];
    sg_responses r = {MANY, ROOM, prompt, sample, length, tokens};
    sg_policy_draw how = {5, SG_STREAM_ROLLOUT, 1, SG_SAMPLER_PLAIN};
    for (uint32_t i = 0; i < MANY; i++) {
        prompt[i] = i < MANY / 2 ? 0 : i % (uint32_t)shape.prompts;
        sample[i] = i;
    }
    for (uint32_t step = 1; step <= 2; step++) {
        sg_policy_step learn = {.optimizer = {shape.optimizer, 0.1, 0.8, 0.95, 1e-8, 0.1},
                                .time = step,
                                .clip_norm = step == 1 ? 0.1 : 0};
        sg_policy_change change;
        how.step = step;
        ck_assert_int_eq(tree->methods->draw(tree, &how, &r, log_prob, NULL), SG_OK);
        for (uint32_t i = 0; i < MANY * ROOM; i++)
            push[i] = 0.2 * normal(301 + step, i);
        ck_assert_int_eq(tree->methods->update(tree, &learn, &r, push, &change, NULL), SG_OK);
        see_numbers(&seen, (const double *)(const void *)&change, sizeof change / sizeof(double));
    }
    size_t size;
    char *bytes = saved(tree, &size);
    see(&seen, bytes, size);
    free(bytes);
    free(logits);
    sg_policy_free(tree);
    return seen;
}

START_TEST(updates_of_many_states_are_those_of_the_cpu)
{
    static const sg_optimizer_kind kinds[] = {SG_SGD, SG_ADAMW, SG_COUPLED_ADAM};
    for (int k = 0; k < 4; k++) {
        sg_tree_shape shape = {.prompts = 3,
                               .length = 3,
                               .vocabulary = k < 3 ? 100 : 1032,
                               .head = HEAD,
                               .shared_bias = true,
                               .precision = k & 1 ? SG_FP64 : SG_FP32,
                               .optimizer = kinds[k % 3]};
        record cpu = update_many(shape, SG_BACKEND_CPU);
        record device = update_many(shape, SG_BACKEND_CUDA);
        assert_same_records(&cpu, &device, "many states", k);
    }
}
END_TEST

/* What a tree on one backend has saved, one on the other goes on with. */
START_TEST(a_saved_tree_moves_between_backends)
{
    sg_tree_shape shape = {.prompts = PROMPTS,
                           .length = 3,
                           .vocabulary = 40,
                           .head = HEAD,
                           .shared_bias = true,
                           .precision = SG_FP32,
                           .optimizer = SG_ADAM};
    double logits[40] = {0};
    record seen[2] = {{0}};
    answers a;
    sg_policy *tree[2];
    answers_init(&a, COUNT, ROOM, shape.prompts);
    for (int k = 0; k < 2; k++) {
        shape.backend = k == 0 ? SG_BACKEND_CPU : SG_BACKEND_CUDA;
        tree[k] = tree_new(&shape, logits);
    }
    take_draws(&seen[0], tree[0], &a, 1);
    take_step(&seen[0], tree[0], shape.optimizer, &a, 1);
    size_t size;
    char *bytes = saved(tree[0], &size);
    sg_error error;
    ck_assert_int_eq(tree[1]->methods->load(tree[1], bytes, size - 1, &error), SG_EDATA);
    ck_assert_int_eq(tree[1]->methods->load(tree[1], bytes, size, &error), SG_OK);
    for (int k = 0; k < 2; k++) {
        seen[k].size = 0;
        take_draws(&seen[k], tree[k], &a, 2);
        take_step(&seen[k], tree[k], shape.optimizer, &a, 2);
        look(&seen[k], tree[k], PROMPTS * (size_t)sg_tree_states(&shape));
        sg_policy_free(tree[k]);
    }
    assert_same_records(&seen[0], &seen[1], "a saved tree", 0);
    free(bytes);
}
END_TEST

START_TEST(a_simulation_is_that_of_the_cpu)
{
    static const char *const settings[][14] = {
        {"policy.kind=tree", "policy.vocabulary=300", "policy.head=4", "policy.shared_bias=yes",
         "task.prompts=2", "task.length=2", "rollout.group=4", "run.steps=4", "optimizer.kind=adam",
         "optimizer.lr=0.05", "optimizer.clip_norm=0.5", "run.detail=yes", NULL},
        {"policy.kind=tree", "policy.vocabulary=1100", "policy.head=4", "policy.merge=3",
         "policy.precision=fp64", "task.prompts=2", "task.length=3", "task.overrun=1",
         "rollout.group=4", "rollout.lag=1", "run.steps=4", "run.seeds=2", "optimizer.lr=0.5",
         NULL},
    };
    for (size_t k = 0; k < sizeof settings / sizeof *settings; k++) {
        sg_config config;
        set_up(&config, settings[k]);
        assert_same_on_both(&config, "cuda/sm_", 0);
    }
}
END_TEST

Suite *cuda_tree_suite(void);
Suite *cuda_tree_suite(void)
{
    Suite *suite = suite_create("cuda_tree");
    TCase *tests = tcase_create("bits");
    tcase_set_timeout(tests, 120);
    tcase_add_loop_test(tests, the_device_gives_the_bits_of_the_cpu, SG_SGD, SG_COUPLED_ADAM + 1);
    tcase_add_test(tests, walks_are_those_of_the_cpu);
    tcase_add_test(tests, walks_through_huge_rows_are_those_of_the_cpu);
    tcase_add_test(tests, distorted_walks_are_those_of_the_cpu);
    tcase_add_test(tests, updates_of_many_states_are_those_of_the_cpu);
    tcase_add_test(tests, a_saved_tree_moves_between_backends);
    tcase_add_test(tests, a_simulation_is_that_of_the_cpu);
    suite_add_tcase(suite, tests);
    return suite;
}
