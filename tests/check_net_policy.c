/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The neural policy behind the simulator's interface. */
#include <check.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "answers.h"
#include "core/rng.h"
#include "policy/net_policy.h"
#include "run_suites.h"

enum { PROMPTS = 3, HEAD = 4, V = 300, LENGTH = 2, ROOM = 3, COUNT = 24 };

static sg_net_policy_shape shape_of(int which)
{
    sg_net_policy_shape s = {.net = {.prior = {.vocabulary = V,
                                               .head = HEAD,
                                               .head_shape = SG_HEAD_GEOMETRIC,
                                               .head_ratio = 0.7,
                                               .tail_mass = 0.2},
                                     .width = 8,
                                     .length = LENGTH,
                                     .prompt_length = 1,
                                     .prompt_symbols = PROMPTS,
                                     .window = 1,
                                     .blocks = 1,
                                     .hidden = 9,
                                     .bias = SG_NET_BIAS_TRAINED,
                                     .head_std = 0.5,
                                     .tail_std = 0.5,
                                     .temperature = 1,
                                     .precision = SG_FP64},
                             .rule = {.rule = SG_RULE_SGD, .lr = 1},
                             .prompts = PROMPTS,
                             .end_token = -1,
                             .observe_samples = 50,
                             .backend = backend_under_test(),
                             .seed = 3};
    if (which == 1) {
        s.net.experts = 8;
        s.net.top_k = 2;
        s.rule = (sg_rule_config){.rule = SG_RULE_ADAM, .lr = 1, .beta1 = 0.9, .beta2 = 0.99};
    }
    if (which == 2)
        s.net.length = 1;
    return s;
}

static sg_policy *policy_new(int which)
{
    sg_net_policy_shape shape = shape_of(which);
    sg_policy *policy;
    sg_error error;
    ck_assert_msg(!sg_net_policy_alloc(&policy, &shape, &error), "%s", error.message);
    return policy;
}

static answers *answers_new(void)
{
    answers *a = malloc(sizeof *a);
    answers_init(a, COUNT, ROOM, PROMPTS);
    answers_push(a);
    for (uint32_t i = 0; i < COUNT; i++) {
        a->prompt[i] = i / 8; /* sorted */
        a->sample[i] = i % 8;
    }
    return a;
}

static double weighted(sg_policy *policy, answers *a)
{
    double sum = 0;
    ck_assert(!policy->methods->log_prob(policy, &a->responses, a->log_prob, NULL));
    for (size_t i = 0; i < COUNT; i++)
        for (size_t t = 0; t < a->length[i]; t++)
            sum += a->push[i * ROOM + t] * a->log_prob[i * ROOM + t];
    return sum;
}

START_TEST(draws_have_the_log_probabilities_that_are_asked_for_later)
{
    sg_policy *policy = policy_new(_i);
    answers *a = answers_new();
    double drawn[COUNT * ROOM];
    answers_draw(a, policy, 5, 2);
    memcpy(drawn, a->log_prob, sizeof drawn);
    weighted(policy, a);
    ck_assert_mem_eq(drawn, a->log_prob, sizeof drawn);
    for (size_t i = 0; i < COUNT; i++)
        ck_assert_uint_eq(a->length[i], policy->length);
    sg_policy_free(policy);
    free(a);
}
END_TEST

/* A small step ascends by lr |g|^2. */
START_TEST(updates_follow_the_gradient)
{
    sg_policy *policy = policy_new(0);
    answers *a = answers_new();
    answers_draw(a, policy, 5, 2);
    double before = weighted(policy, a);
    sg_policy_step step = {.optimizer = {.kind = SG_SGD, .lr = 1e-6}, .time = 1};
    sg_policy_change change;
    ck_assert(!policy->methods->update(policy, &step, &a->responses, a->push, &change, NULL));
    double rise = weighted(policy, a) - before;
    ck_assert_double_eq_tol(rise, 1e-6 * change.grad_norm * change.grad_norm, 1e-4 * rise);
    ck_assert_double_eq_tol(change.delta_norm, 1e-6 * change.grad_norm, 1e-15);
    ck_assert_double_gt(change.kl_old_new, 0);
    ck_assert_double_eq_tol(change.kl_old_new, change.kl_new_old, 1e-4 * change.kl_old_new);
    /* Clipped to half its length. */
    sg_policy_step clipped = {.optimizer = {.kind = SG_SGD, .lr = 1e-6}, .time = 2};
    clipped.clip_norm = change.grad_norm / 2;
    double kl = change.kl_old_new;
    ck_assert(!policy->methods->update(policy, &clipped, &a->responses, a->push, &change, NULL));
    ck_assert_double_eq_tol(change.clip_factor, 0.5, 1e-4);
    ck_assert_double_eq_tol(change.kl_old_new, kl / 4, 1e-3 * kl);
    sg_policy_free(policy);
    free(a);
}
END_TEST

/* The reward of these tests: 1 for the prompt's number as the sum of tokens modulo 3. */
static int32_t next(const void *context, size_t prompt, size_t position, int32_t state,
                    int32_t token)
{
    (void)context, (void)prompt, (void)position;
    return token >= HEAD ? SG_REWARD_LOST : (state + token) % 3;
}

static double value(const void *context, size_t prompt, int32_t state)
{
    (void)context;
    return state == (int32_t)prompt ? 1 : 0;
}

static const sg_reward reward = {.states = 3, .next = next, .value = value};

START_TEST(expected_rewards_sum_over_all_responses)
{
    sg_policy *policy = policy_new(_i);
    answers *a = answers_new();
    double expected[PROMPTS];
    ck_assert(!policy->methods->expected_reward(policy, &reward, expected, NULL));
    for (uint32_t p = 0; p < PROMPTS; p++) {
        double sum = 0;
        for (int32_t first = 0; first < HEAD; first++)
            for (int32_t second = 0; second < (policy->length > 1 ? HEAD : 1); second++) {
                a->prompt[0] = p;
                a->length[0] = (uint32_t)policy->length;
                a->tokens[0] = first;
                a->tokens[1] = second;
                a->responses.count = 1;
                ck_assert(!policy->methods->log_prob(policy, &a->responses, a->log_prob, NULL));
                double both = a->log_prob[0] + (policy->length > 1 ? a->log_prob[1] : 0);
                sum += (first + second) % 3 == (int32_t)p ? exp(both) : 0;
            }
        ck_assert_double_eq_tol(expected[p], sum, 1e-13);
        ck_assert_double_gt(sum, 0.05);
    }
    sg_policy_free(policy);
    free(a);
}
END_TEST

START_TEST(observations_average_over_visits)
{
    sg_policy *policy = policy_new(2); /* one token: three states, exactly */
    answers *a = answers_new();
    sg_policy_observation seen;
    ck_assert(!policy->methods->observe(policy, &reward, &seen, NULL));
    double entropy = 0, tail = 0;
    a->responses.count = 1;
    a->length[0] = 1;
    for (uint32_t p = 0; p < PROMPTS; p++)
        for (int32_t v = 0; v < V; v++) {
            a->prompt[0] = p;
            a->tokens[0] = v;
            ck_assert(!policy->methods->log_prob(policy, &a->responses, a->log_prob, NULL));
            entropy -= exp(a->log_prob[0]) * a->log_prob[0] / PROMPTS;
            tail += v >= HEAD ? exp(a->log_prob[0]) / PROMPTS : 0;
        }
    ck_assert_double_eq_tol(seen.entropy, entropy, 1e-12);
    ck_assert_double_eq_tol(seen.tail_mass, tail, 1e-13);
    ck_assert_double_eq_tol(seen.tail_mass_root, tail, 1e-13);
    ck_assert_double_eq(seen.losers_share, 0);
    sg_policy_free(policy);
    /* Two tokens: the second one of a response whose first is in the tail has lost. */
    policy = policy_new(0);
    ck_assert(!policy->methods->observe(policy, &reward, &seen, NULL));
    ck_assert_double_eq_tol(seen.losers_share, seen.tail_mass_root / 2, 0.06);
    sg_policy_free(policy);
    free(a);
}
END_TEST

START_TEST(saved_policies_and_clones_continue_bit_for_bit)
{
    sg_policy *policy = policy_new(1), *loaded = policy_new(1), *cloned;
    answers *a = answers_new();
    sg_error error;
    answers_draw(a, policy, 5, 2);
    sg_policy_step step = {.optimizer = {.kind = SG_ADAM, .lr = 0.01}, .time = 1};
    ck_assert(!policy->methods->update(policy, &step, &a->responses, a->push, NULL, NULL));
    size_t size = policy->methods->save(policy, NULL);
    char *bytes = malloc(2 * size);
    ck_assert_uint_eq(policy->methods->save(policy, bytes), size);
    ck_assert_int_eq(loaded->methods->load(loaded, bytes, size - 1, &error), SG_EDATA);
    ck_assert(!loaded->methods->load(loaded, bytes, size, &error));
    ck_assert(!policy->methods->clone(policy, &cloned, &error));
    sg_policy *all[] = {policy, loaded, cloned};
    for (int k = 0; k < 3; k++) {
        step.time = 2;
        ck_assert(!all[k]->methods->update(all[k], &step, &a->responses, a->push, NULL, NULL));
        all[k]->methods->save(all[k], bytes + (k > 0 ? size : 0));
        ck_assert_mem_eq(bytes, bytes + (k > 0 ? size : 0), size);
    }
    free(bytes);
    for (int k = 0; k < 3; k++)
        sg_policy_free(all[k]);
    free(a);
}
END_TEST

/* Flips counted by hand: bit by bit, response by response. */
static size_t flipped(const answers *a, const uint64_t *x, const uint64_t *y)
{
    size_t n = 0;
    for (size_t i = 0; i < COUNT; i++)
        for (size_t t = 0; t < a->length[i]; t++)
            n += x[i * ROOM + t] != y[i * ROOM + t];
    return n;
}

START_TEST(replay_keeps_the_experts_of_the_rollout)
{
    sg_policy *policy = policy_new(1), *cloned;
    answers *a = answers_new();
    sg_error error;
    uint64_t routes[COUNT * ROOM], now[COUNT * ROOM];
    double gates;
    answers_draw(a, policy, 5, 2);
    double first = weighted(policy, a), drawn[COUNT * ROOM];
    memcpy(drawn, a->log_prob, sizeof drawn);
    ck_assert(!sg_net_policy_routes(policy, &a->responses, routes, &gates, &error));
    ck_assert(gates > 0 && gates < log(2)); /* two gates */
    ck_assert(!sg_net_policy_replay(policy, &a->responses, routes, &error));
    ck_assert_double_eq(weighted(policy, a), first);
    ck_assert_mem_eq(drawn, a->log_prob, sizeof drawn);
    sg_policy_step step = {.optimizer = {.kind = SG_ADAM, .lr = 0.2}, .time = 1};
    sg_policy_change change;
    ck_assert(!policy->methods->update(policy, &step, &a->responses, a->push, &change, NULL));
    /* What is chosen freely has changed; what is used has not. */
    ck_assert(!sg_net_policy_routes(policy, &a->responses, now, NULL, &error));
    ck_assert_uint_gt(flipped(a, routes, now), 0);
    double replayed = weighted(policy, a);
    /* Parameters come and go; what is replayed stays, and is not part of a clone. */
    ck_assert(!policy->methods->clone(policy, &cloned, &error));
    ck_assert_int_eq(policy->methods->copy(policy, cloned, NULL), SG_OK);
    ck_assert_int_eq(policy->methods->adopt(policy, cloned, NULL), SG_OK);
    ck_assert_double_eq(weighted(policy, a), replayed);
    double freely = weighted(cloned, a);
    ck_assert_double_ne(freely, replayed);
    ck_assert(!sg_net_policy_replay(policy, NULL, NULL, &error));
    ck_assert_double_eq(weighted(policy, a), freely);
    /* The routes of the new parameters are what is free. */
    ck_assert(!sg_net_policy_replay(policy, &a->responses, now, &error));
    ck_assert_double_eq(weighted(policy, a), freely);
    sg_policy_free(policy);
    sg_policy_free(cloned);
    free(a);
}
END_TEST

/* Draws, observations and expected rewards stay free. */
START_TEST(only_learning_replays)
{
    sg_policy *policy = policy_new(1);
    answers *a = answers_new();
    uint64_t routes[COUNT * ROOM];
    double expected[2][PROMPTS], replayed[PROMPTS];
    sg_policy_observation seen[2];
    answers_draw(a, policy, 5, 2);
    ck_assert(!sg_net_policy_routes(policy, &a->responses, routes, NULL, NULL));
    for (size_t i = 0; i < COUNT * ROOM; i++)
        routes[i] = (routes[i] << 1 | routes[i] >> 7) & 0xff; /* other experts */
    double freely = weighted(policy, a);
    for (int replay = 0; replay < 2; replay++) {
        ck_assert(!policy->methods->expected_reward(policy, &reward, expected[replay], NULL));
        ck_assert(!policy->methods->observe(policy, &reward, &seen[replay], NULL));
        ck_assert(!sg_net_policy_replay(policy, &a->responses, routes, NULL));
    }
    ck_assert_mem_eq(expected[0], expected[1], sizeof expected[0]);
    ck_assert_mem_eq(&seen[0], &seen[1], sizeof seen[0]);
    ck_assert(!sg_net_policy_replayed_reward(policy, &reward, replayed, NULL));
    for (size_t p = 0; p < PROMPTS; p++)
        ck_assert_double_gt(fabs(replayed[p] - expected[0][p]), 1e-4);
    ck_assert_double_ne(weighted(policy, a), freely);
    sg_policy_free(policy);
    free(a);
}
END_TEST

/* The bias of the last token, which no response says. */
START_TEST(projections_take_the_push_from_unsampled_tokens)
{
    answers *a = answers_new();
    double moved[3];
    for (int projection = 0; projection < 3; projection++) {
        sg_policy *policy = policy_new(0);
        sg_net *net = sg_net_policy_net(policy);
        const sg_tensor *bias = sg_net_tensor(net, "bias");
        sg_policy_step step = {.optimizer = {.kind = SG_SGD, .lr = 0.1}, .time = 1};
        step.projection = (sg_projection)projection;
        answers_draw(a, policy, 5, 2);
        for (size_t i = 0; i < COUNT * ROOM; i++)
            ck_assert_int_ne(a->tokens[i], V - 1);
        ck_assert(!sg_net_fetch(net, NULL));
        double before = sg_net_get(net, bias, V - 1, 0);
        ck_assert(!policy->methods->update(policy, &step, &a->responses, a->push, NULL, NULL));
        ck_assert(!sg_net_fetch(net, NULL));
        moved[projection] = fabs(sg_net_get(net, bias, V - 1, 0) - before);
        sg_policy_free(policy);
    }
    ck_assert_double_gt(moved[SG_PROJECTION_NONE], 1e-6);
    ck_assert_double_eq(moved[SG_PROJECTION_P1], 0);
    ck_assert_double_le(moved[SG_PROJECTION_P2], 1e-15);
    free(a);
}
END_TEST

/* Weights and bias move as under P1, everything below them as without a projection. */
START_TEST(the_head_alone_is_projected)
{
    enum { KINDS = 3 };
    static const sg_projection kinds[KINDS] = {SG_PROJECTION_NONE, SG_PROJECTION_P1,
                                               SG_PROJECTION_P_HEAD};
    sg_policy *policy[KINDS];
    sg_net *net[KINDS];
    answers *a = answers_new();
    size_t below = 0;
    for (int k = 0; k < KINDS; k++) {
        policy[k] = policy_new(0);
        net[k] = sg_net_policy_net(policy[k]);
        answers_draw(a, policy[k], 5, 2);
        sg_policy_step step = {.optimizer = {.kind = SG_SGD, .lr = 0.1}, .time = 1};
        step.projection = kinds[k];
        ck_assert(
            !policy[k]->methods->update(policy[k], &step, &a->responses, a->push, NULL, NULL));
        ck_assert(!sg_net_fetch(net[k], NULL));
    }
    for (size_t i = 0; i < net[0]->tensor_count; i++) {
        const sg_tensor *t = &net[0]->tensors[i];
        const double *numbers[KINDS];
        for (int k = 0; k < KINDS; k++)
            numbers[k] = (const double *)net[k]->values + t->offset;
        size_t size = t->rows * t->columns * sizeof(double);
        ck_assert_mem_eq(numbers[2], numbers[t->over_vocabulary && i < 2 ? 1 : 0], size);
        below += i >= 2 && memcmp(numbers[0], numbers[1], size) != 0;
    }
    ck_assert_uint_gt(below, 3);
    for (int k = 0; k < KINDS; k++)
        sg_policy_free(policy[k]);
    free(a);
}
END_TEST

static double row_norms(const sg_net *net, size_t first, size_t end)
{
    double sum = 0;
    for (size_t v = first; v < end; v++) {
        double norm2 = 0;
        for (size_t k = 0; k < net->config.width; k++)
            norm2 += pow(sg_net_get(net, sg_net_tensor(net, "weights"), v, k), 2);
        sum += sqrt(norm2) / (double)(end - first);
    }
    return sum;
}

/* From the parameters before and after a plain gradient step of rate 1. */
START_TEST(the_output_layer_is_watched)
{
    static const sg_rule rules[] = {SG_RULE_SGD, SG_RULE_COUPLED_ADAM, SG_RULE_ADAM};
    sg_net_policy_shape shape = shape_of(0);
    shape.rule =
        (sg_rule_config){.rule = rules[_i], .lr = 1, .beta1 = 0.9, .beta2 = 0.99, .eps = 1e-8};
    sg_policy *policy, *old;
    answers *a = answers_new();
    sg_error error;
    ck_assert(!sg_net_policy_alloc(&policy, &shape, &error));
    ck_assert(!policy->methods->clone(policy, &old, &error));
    answers_draw(a, policy, 5, 2);
    sg_policy_observation look;
    sg_policy_change change;
    ck_assert(!policy->methods->observe(policy, &reward, &look, &error));
    sg_policy_step step = {.optimizer = {.lr = rules[_i] == SG_RULE_SGD ? 1 : 0.01}, .time = 1};
    ck_assert(!policy->methods->update(policy, &step, &a->responses, a->push, &change, &error));
    const sg_net *before = sg_net_policy_net(old), *after = sg_net_policy_net(policy);
    ck_assert(!sg_net_fetch(before, &error) && !sg_net_fetch(after, &error));
    ck_assert_double_eq_tol(look.row_norm_head, row_norms(before, 0, HEAD), 1e-14);
    ck_assert_double_eq_tol(look.row_norm_tail, row_norms(before, HEAD, V), 1e-14);
    double norm2[2] = {0}, drift2 = 0;
    for (size_t i = 0; i < before->tensor_count; i++) {
        const sg_tensor *t = &before->tensors[i];
        bool output = strcmp(t->name, "weights") == 0 || strcmp(t->name, "bias") == 0;
        for (size_t k = 0; k < t->columns; k++) {
            double sum = 0;
            for (size_t r = 0; r < t->rows; r++) {
                double moved = sg_net_get(after, t, r, k) - sg_net_get(before, t, r, k);
                norm2[output] += moved * moved;
                sum += moved / (double)t->rows;
            }
            drift2 += strcmp(t->name, "weights") == 0 ? sum * sum : 0;
        }
    }
    ck_assert_double_eq_tol(change.mean_row_drift, sqrt(drift2), 1e-13);
    ck_assert(_i < 2 ? change.mean_row_drift < 1e-13 : change.mean_row_drift > 1e-4);
    if (_i == 0) /* the step is the gradient */
        ck_assert_double_eq_tol(change.output_share, norm2[1] / (norm2[0] + norm2[1]), 1e-12);
    ck_assert(change.output_share > 0.1 && change.output_share < 1);
    /* The sum of B h, response by response. */
    double along[8] = {0}, most = 0;
    sg_net_pass *pass = sg_net_pass_alloc_on(backend_under_test());
    for (size_t i = 0; i < COUNT; i++)
        for (int32_t t = 0; t < LENGTH; t++) {
            int32_t context[2] = {(int32_t)a->prompt[i], t > 0 ? a->tokens[i * ROOM] : -1};
            double h[8];
            sg_net_batch batch = {1, &t, context, NULL, NULL};
            ck_assert(!sg_net_forward(pass, before, &batch, NULL, NULL));
            ck_assert(!sg_net_features(pass, 0, h, NULL));
            for (int k = 0; k < 8; k++)
                along[k] += a->push[i * ROOM + (size_t)t] * h[k];
        }
    for (int k = 0; k < 8; k++)
        most += along[k] * along[k];
    ck_assert_double_eq_tol(change.diffuse_features, sqrt(most), 1e-12);
    sg_net_pass_free(pass);
    sg_policy_free(policy);
    sg_policy_free(old);
    free(a);
}
END_TEST

START_TEST(impossible_shapes_are_refused)
{
    sg_error error;
    sg_policy *policy;
    sg_net_policy_shape s = shape_of(0);
    s.net.prompt_symbols = 2;
    ck_assert_int_eq(sg_net_policy_alloc(&policy, &s, &error), SG_EARGUMENT);
    ck_assert_ptr_nonnull(strstr(error.message, "prompt_symbols"));
    const int32_t symbols[PROMPTS] = {0, 1, 0};
    s.prompt_symbols = symbols;
    ck_assert(!sg_net_policy_alloc(&policy, &s, &error));
    sg_policy_free(policy);
    s.net.prompt_symbols = 1;
    ck_assert_int_eq(sg_net_policy_alloc(&policy, &s, &error), SG_EARGUMENT);
    s = shape_of(0);
    s.rule.lr = 0;
    ck_assert_int_eq(sg_net_policy_alloc(&policy, &s, &error), SG_EARGUMENT);
    ck_assert_ptr_null(policy);
    s.backend = SG_BACKEND_CPU;
    ck_assert_double_gt(sg_net_policy_bytes(&s, 100), V * 8 * 8 * 3);
    ck_assert_double_eq(sg_net_policy_device_bytes(&s, 100), 0);
    /* On a device: weights, bias and embeddings, their gradient and what they were; the host has one. */
    s.backend = SG_BACKEND_CUDA;
    s.net.prior.vocabulary = 1 << 20;
    ck_assert_double_gt(sg_net_policy_device_bytes(&s, 0), 3 * 17.0 * 8 * (1 << 20));
    ck_assert_double_lt(sg_net_policy_bytes(&s, 0), 1.01 * 17 * 8 * (1 << 20));
}
END_TEST

Suite *net_policy_suite(void);
Suite *net_policy_suite(void)
{
    Suite *suite = suite_create("net_policy");
    TCase *tests = tcase_create("net_policy");
    tcase_set_timeout(tests, 30);
    tcase_add_loop_test(tests, draws_have_the_log_probabilities_that_are_asked_for_later, 0, 3);
    tcase_add_test(tests, updates_follow_the_gradient);
    tcase_add_loop_test(tests, expected_rewards_sum_over_all_responses, 0, 3);
    tcase_add_test(tests, observations_average_over_visits);
    tcase_add_test(tests, saved_policies_and_clones_continue_bit_for_bit);
    tcase_add_test(tests, replay_keeps_the_experts_of_the_rollout);
    tcase_add_test(tests, only_learning_replays);
    tcase_add_test(tests, the_head_alone_is_projected);
    tcase_add_test(tests, projections_take_the_push_from_unsampled_tokens);
    tcase_add_loop_test(tests, the_output_layer_is_watched, 0, 3);
    tcase_add_test(tests, impossible_shapes_are_refused);
    suite_add_tcase(suite, tests);
    return suite;
}
