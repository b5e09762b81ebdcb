/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The neural policy whose parameters live on the device, beside the CPU's: the same bits. With a vocabulary of one
 * tile, which has one part of the features' gradient on both sides, this holds for whole nets. */
#include <check.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "answers.h"
#include "both_backends.h"
#include "policy/net_matrix.h"
#include "policy/net_policy.h"

/* ---- optimisers and sums on tensors */

typedef struct arrangement {
    size_t count, size;
    sg_tensor tensors[4];
} arrangement;

static const arrangement arrangements[] = {
    /* As a net has them: one tensor is not trained. */
    {3,
     48144 + 48 + 512,
     {{"weights", 0, 1301, 37, true, true},
      {"bias", 48144, 40, 1, true, false},
      {"inner", 48192, 500, 1, false, true}}},
    /* At addresses that no wide load has. */
    {4,
     16000,
     {{"weights", 3, 301, 27, true, true},
      {"one", 8131, 1, 1, false, true},
      {"bias", 8133, 1000, 1, true, false},
      {"inner", 9135, 6001, 1, false, true}}},
    /* At others; the last chunk of each is odd. */
    {3,
     12800,
     {{"weights", 0, 2048, 2, true, true},
      {"inner", 4096, 4099, 1, false, true},
      {"outer", 8208, 1300, 3, false, true}}},
};
enum { ARRANGEMENTS = sizeof arrangements / sizeof *arrangements };

static const sg_rule_config rules[] = {
    {SG_RULE_SGD, 0.3, 0, 0, 0, 0, 0, {SG_SCHEDULE_CONSTANT, 0, 0, 0}},
    {SG_RULE_MOMENTUM, 0.2, 0.9, 0, 0, 0, 3, {SG_SCHEDULE_CONSTANT, 0, 0, 0}},
    {SG_RULE_ADAM, 0.02, 0.9, 0.999, 0, 0, 0, {SG_SCHEDULE_LINEAR, 2, 9, 0.1}},
    {SG_RULE_ADAMW, 0.02, 0.9, 0.95, 1e-8, 0.1, 2, {SG_SCHEDULE_CONSTANT, 3, 0, 0}},
    {SG_RULE_COUPLED_ADAM, 0.02, 0.9, 0.95, 1e-6, 0, 1.5, {SG_SCHEDULE_CONSTANT, 0, 0, 0}},
};
enum { RULES = sizeof rules / sizeof *rules };

static void put(sg_precision precision, void *array, size_t i, double x)
{
    if (precision == SG_FP32)
        ((float *)array)[i] = (float)x;
    else
        ((double *)array)[i] = x;
}

static void fill(const arrangement *all, sg_precision precision, uint32_t what, void *array)
{
    memset(array, 0, all->size * sg_real_size(precision));
    for (size_t t = 0; t < all->count; t++)
        for (size_t i = 0; i < all->tensors[t].rows * all->tensors[t].columns; i++) {
            uint32_t bits = ((uint32_t)i + 77777 * what + 7 * (uint32_t)t) * 2654435761u;
            double x = (double)(bits >> 8) * 0x1p-24 - 0.5;
            put(precision, array, all->tensors[t].offset + i, bits % 11 == 0 ? -0.0 : x);
        }
}

static sg_flat flat_new(const arrangement *all, sg_precision precision, sg_backend_kind backend)
{
    sg_flat flat = {precision, all->size, calloc(all->size, sg_real_size(precision)), NULL};
    if (backend == SG_BACKEND_CUDA)
        ck_assert(!sg_cuda_flat_alloc(&flat.device, precision, all->size, "a test", NULL));
    return flat;
}

static void flat_put(const arrangement *all, sg_flat *flat, uint32_t what)
{
    fill(all, flat->precision, what, flat->host);
    if (flat->device)
        ck_assert(!sg_cuda_flat_put(flat->device, 0, all->size, flat->host, NULL));
}

static void flat_fetch(sg_flat *flat)
{
    if (flat->device)
        ck_assert(!sg_cuda_flat_get(flat->device, 0, flat->size, flat->host, NULL));
}

static void flat_free(sg_flat *flat)
{
    free(flat->host);
    sg_cuda_flat_free(flat->device);
}

/* Everything that an optimiser leaves behind. */
typedef struct trace {
    sg_step_report report[3];
    double norm2[4], columns[37], lengths[2], second;
    char *theta, *delta, *state; /* delta: where it is described */
    size_t size;
} trace;

static void trace_free(trace *t)
{
    free(t->theta);
    free(t->delta);
    free(t->state);
}

static trace follow(const arrangement *all, const sg_rule_config *rule, sg_precision precision,
                    sg_backend_kind backend, bool described)
{
    trace t;
    sg_tensor_optimizer *o, *other;
    sg_flat theta = flat_new(all, precision, backend), g = flat_new(all, precision, backend);
    const sg_tensor *first = &all->tensors[0];
    memset(&t, 0, sizeof t);
    ck_assert(!sg_tensor_optimizer_alloc_on(&o, rule, precision, all->tensors, all->count,
                                            all->size, backend, NULL));
    ck_assert(!sg_tensor_optimizer_alloc_on(&other, rule, precision, all->tensors, all->count,
                                            all->size, backend, NULL));
    flat_put(all, &theta, 0);
    for (uint32_t step = 0; step < 3; step++) {
        flat_put(all, &g, step + 1);
        ck_assert(
            !sg_tensor_optimizer_move(o, &theta, &g, described ? &t.report[step] : NULL, NULL));
    }
    if (described) {
        for (size_t k = 0; k < all->count; k++)
            ck_assert(!sg_flat_norm2(&g, &all->tensors[k], &t.norm2[k], NULL));
        ck_assert(!sg_flat_columns(&g, first, t.columns, NULL));
        flat_fetch(&g);
        t.delta = g.host;
        g.host = NULL;
    }
    ck_assert(!sg_flat_lengths(&theta, first, 0, 300, &t.lengths[0], NULL));
    ck_assert(!sg_flat_lengths(&theta, first, 300, first->rows, &t.lengths[1], NULL));
    t.second = sg_tensor_optimizer_second(o, 0, 5, 1);
    ck_assert(!sg_tensor_optimizer_copy(other, o, NULL));
    flat_fetch(&theta);
    t.theta = theta.host;
    theta.host = NULL;
    t.size = sg_tensor_optimizer_bytes(other);
    t.state = malloc(t.size);
    ck_assert(!sg_tensor_optimizer_write(other, t.state, NULL));
    sg_tensor_optimizer_free(o);
    sg_tensor_optimizer_free(other);
    flat_free(&theta);
    flat_free(&g);
    return t;
}

static void assert_same_trace(const trace *x, const trace *y, size_t bytes)
{
    ck_assert_uint_eq(x->size, y->size);
    ck_assert_mem_eq(x->report, y->report, sizeof x->report);
    ck_assert_mem_eq(x->norm2, y->norm2, sizeof x->norm2);
    ck_assert_mem_eq(x->columns, y->columns, sizeof x->columns);
    ck_assert_mem_eq(x->lengths, y->lengths, sizeof x->lengths);
    ck_assert_double_eq(x->second, y->second);
    ck_assert_mem_eq(x->theta, y->theta, bytes);
    ck_assert_mem_eq(x->state, y->state, y->size);
    if (x->delta && y->delta)
        ck_assert_mem_eq(x->delta, y->delta, bytes);
}

/* Plain and fast kernels, with and without a clip, wherever tensors begin and end. */
START_TEST(steps_and_sums_have_the_bits_of_the_processor)
{
    sg_cuda_kernels chosen = sg_cuda_kernels_chosen();
    sg_precision precision = (sg_precision)(_i % 2);
    for (size_t k = 0; k < 2 * ARRANGEMENTS; k++) {
        const arrangement *all = &arrangements[k / 2];
        sg_rule_config rule = rules[_i / 2];
        size_t bytes = all->size * sg_real_size(precision);
        rule.clip_norm = k % 2 ? 1.5 : 0;
        trace cpu = follow(all, &rule, precision, SG_BACKEND_CPU, true);
        ck_assert_double_gt(cpu.report[2].delta_norm, 0);
        ck_assert((cpu.report[2].clip_factor < 1) == (k % 2));
        for (int kernels = 0; kernels < 2; kernels++) {
            sg_cuda_kernels_choose((sg_cuda_kernels)kernels);
            trace cuda = follow(all, &rule, precision, SG_BACKEND_CUDA, true);
            assert_same_trace(&cuda, &cpu, bytes);
            trace_free(&cuda);
        }
        sg_cuda_kernels_choose(chosen);
        trace_free(&cpu);
    }
}
END_TEST

/* A step that nobody describes is the same step. */
START_TEST(steps_that_are_not_described_are_the_same)
{
    sg_cuda_kernels chosen = sg_cuda_kernels_chosen();
    sg_precision precision = (sg_precision)(_i % 2);
    for (size_t k = 0; k < ARRANGEMENTS; k++) {
        const arrangement *all = &arrangements[k];
        size_t bytes = all->size * sg_real_size(precision);
        sg_rule_config rule = rules[_i / 2];
        trace said = follow(all, &rule, precision, SG_BACKEND_CPU, true);
        memset(said.report, 0, sizeof said.report);
        memset(said.norm2, 0, sizeof said.norm2);
        memset(said.columns, 0, sizeof said.columns);
        for (int way = 0; way < 3; way++) {
            sg_cuda_kernels_choose(way == 2 ? SG_CUDA_FAST : SG_CUDA_PLAIN);
            trace silent =
                follow(all, &rule, precision, way ? SG_BACKEND_CUDA : SG_BACKEND_CPU, false);
            assert_same_trace(&silent, &said, bytes);
            trace_free(&silent);
        }
        sg_cuda_kernels_choose(chosen);
        trace_free(&said);
    }
}
END_TEST

/* More chunks than a group has, in more than one tensor; and what adds up to the same in any order but this. */
START_TEST(norms_are_added_in_the_order_of_the_processor)
{
    enum { N = 1500 * 1000, M = 1100 * 1000 };
    const sg_tensor tensors[] = {{"a", 0, N, 1, true, true}, {"b", N, M, 1, true, true}};
    const sg_cuda_slice slices[] = {{0, N, 1, 0, false}, {N, M, 1, 0, false}};
    sg_flat flat = {SG_FP32, N + M, malloc((N + M) * sizeof(float)), NULL};
    double cpu[2], cuda[2], both, naive = 0;
    float *x = flat.host;
    for (size_t i = 0; i < N + M; i++)
        x[i] = (float)((uint32_t)(i * 2654435761u) >> 8) * 0x1p-24f;
    for (size_t i = 0; i < N; i++)
        naive += (double)x[i] * (double)x[i];
    ck_assert(!sg_cuda_flat_alloc(&flat.device, SG_FP32, N + M, "a test", NULL));
    ck_assert(!sg_cuda_flat_put(flat.device, 0, N + M, x, NULL));
    for (int k = 0; k < 2; k++) {
        cpu[k] = sg_tensor_norm2(SG_FP32, &tensors[k], x);
        ck_assert(!sg_flat_norm2(&flat, &tensors[k], &cuda[k], NULL));
        ck_assert_double_eq(cuda[k], cpu[k]);
    }
    ck_assert(!sg_cuda_flat_norm2(flat.device, 2, slices, &both, NULL));
    ck_assert_double_eq(both, cpu[0] + cpu[1]);
    ck_assert_double_eq_tol(cpu[0], naive, 1e-12 * naive);
    ck_assert_double_ne(cpu[0], naive);
    flat_free(&flat);
}
END_TEST

/* ---- policies */

enum { V = 150, PROMPTS = 3, LENGTH = 3, COUNT = 9 };

static answers *answers_new(void)
{
    answers *a = malloc(sizeof *a);
    answers_init(a, COUNT, LENGTH, PROMPTS);
    answers_push(a);
    return a;
}

static sg_net_policy_shape shape_of(sg_backend_kind backend)
{
    return (sg_net_policy_shape){.net = {.prior = {.vocabulary = V,
                                                   .head = 40,
                                                   .head_shape = SG_HEAD_GEOMETRIC,
                                                   .head_ratio = 0.95,
                                                   .tail_mass = 0.5},
                                         .width = 6,
                                         .length = LENGTH,
                                         .prompt_length = 1,
                                         .prompt_symbols = PROMPTS,
                                         .window = 2,
                                         .blocks = 1,
                                         .hidden = 5,
                                         .bias = SG_NET_BIAS_TRAINED,
                                         .head_std = 0.5,
                                         .tail_std = 0.5,
                                         .temperature = 0.9},
                                 .rule = {.rule = SG_RULE_SGD, .lr = 1},
                                 .prompts = PROMPTS,
                                 .end_token = -1,
                                 .observe_samples = 5,
                                 .backend = backend,
                                 .seed = 3};
}

static sg_policy *policy_new(const sg_net_policy_shape *shape)
{
    sg_policy *policy;
    sg_error error;
    ck_assert_msg(!sg_net_policy_alloc(&policy, shape, &error), "%s", error.message);
    return policy;
}

/* One rollout and its step. */
static void learn(sg_policy *policy, answers *a, uint32_t time, sg_policy_change *change)
{
    sg_policy_step step = {
        .optimizer = {.lr = 0.05}, .time = time, .clip_norm = time % 2 ? 0.02 : 0};
    sg_error error;
    answers_draw(a, policy, 5, time);
    ck_assert_msg(!policy->methods->update(policy, &step, &a->responses, a->push, change, &error),
                  "%s", error.message);
}

static void assert_same(sg_policy *a, sg_policy *b)
{
    size_t size, other;
    char *x = saved(a, &size), *y = saved(b, &other);
    ck_assert_uint_eq(size, other);
    ck_assert_mem_eq(x, y, size);
    free(x);
    free(y);
}

/* Sums whose order is the CPU's; the divergences' is not. */
static void assert_same_change(const sg_policy_change *x, const sg_policy_change *y)
{
    ck_assert_double_eq(x->grad_norm, y->grad_norm);
    ck_assert_double_eq(x->clip_factor, y->clip_factor);
    ck_assert_double_eq(x->delta_norm, y->delta_norm);
    ck_assert_double_eq(x->output_share, y->output_share);
    ck_assert_double_eq(x->mean_row_drift, y->mean_row_drift);
    ck_assert_double_eq(x->diffuse_features, y->diffuse_features);
    ck_assert_double_eq(x->max_unsampled_push, y->max_unsampled_push);
    ck_assert_double_eq_tol(x->kl_old_new, y->kl_old_new, 1e-12 * x->kl_old_new);
    ck_assert_double_gt(x->kl_old_new, 0);
    ck_assert_double_gt(x->delta_norm, 0);
}

/* Two steps, one of them clipped and watched. */
static void compare(sg_net_policy_shape shape)
{
    sg_policy *cpu, *cuda;
    answers *a = answers_new(), *b = answers_new();
    sg_policy_change x, y;
    shape.backend = SG_BACKEND_CPU;
    cpu = policy_new(&shape);
    shape.backend = SG_BACKEND_CUDA;
    cuda = policy_new(&shape);
    assert_same(cpu, cuda);
    for (uint32_t t = 1; t < 3; t++) {
        learn(cpu, a, t, t == 1 ? &x : NULL);
        learn(cuda, b, t, t == 1 ? &y : NULL);
        ck_assert_mem_eq(a->tokens, b->tokens, sizeof a->tokens);
        ck_assert_mem_eq(a->log_prob, b->log_prob, sizeof a->log_prob);
    }
    assert_same_change(&x, &y);
    ck_assert_double_lt(x.clip_factor, 1);
    assert_same(cpu, cuda);
    sg_policy_free(cpu);
    sg_policy_free(cuda);
    free(a);
    free(b);
}

/* Every way to build a net, in turn with every rule in both precisions. */
START_TEST(nets_on_the_device_have_the_bytes_of_the_processor)
{
    for (int which = 0; which < 12; which++) {
        sg_net_policy_shape shape = shape_of(SG_BACKEND_CPU);
        shape.rule = rules[(which + _i) % RULES];
        shape.rule.schedule = (sg_schedule){SG_SCHEDULE_CONSTANT, 0, 0, 0};
        shape.net.precision = (sg_precision)((which / RULES + _i) % 2);
        shape.net.tied = which % 2;
        shape.net.bias = (sg_net_bias)(which / 2 % 3);
        shape.net.experts = which / 6 ? 4 : 0;
        shape.net.top_k = which / 6 ? 2 : 0;
        compare(shape);
    }
}
END_TEST

/* Several chunks of sums, several tiles of columns, several parts of the vocabulary. */
START_TEST(frozen_features_have_them_at_every_vocabulary)
{
    sg_net_policy_shape shape = shape_of(SG_BACKEND_CPU);
    shape.rule = rules[_i];
    shape.rule.schedule = (sg_schedule){SG_SCHEDULE_CONSTANT, 0, 0, 0};
    shape.net.prior.vocabulary = 1500;
    shape.net.frozen_features = true;
    shape.net.blocks = 0;
    shape.net.hidden = 0;
    compare(shape);
}
END_TEST

/* A vocabulary of several parts: rounding apart, as the features' gradient is summed in another order. */
START_TEST(larger_nets_differ_by_rounding_only)
{
    sg_net_policy_shape shape = shape_of(SG_BACKEND_CPU);
    sg_policy *policy[2];
    answers *a = answers_new();
    shape.net.prior.vocabulary = 1500;
    shape.net.precision = SG_FP64;
    shape.net.tied = _i;
    for (int k = 0; k < 2; k++) {
        shape.backend = k ? SG_BACKEND_CUDA : SG_BACKEND_CPU;
        policy[k] = policy_new(&shape);
        for (uint32_t t = 1; t < 3; t++)
            learn(policy[k], a, t, NULL);
        ck_assert(!sg_net_fetch(sg_net_policy_net(policy[k]), NULL));
    }
    const sg_net *cpu = sg_net_policy_net(policy[0]), *cuda = sg_net_policy_net(policy[1]);
    const double *x = cpu->values, *y = cuda->values;
    for (size_t i = 0; i < cpu->size; i++)
        ck_assert_double_eq_tol(x[i], y[i], 1e-14 * (1 + fabs(x[i])));
    sg_policy_free(policy[0]);
    sg_policy_free(policy[1]);
    free(a);
}
END_TEST

/* What was stored on the device continues there and on the CPU, and the other way round. */
START_TEST(checkpoints_pass_between_device_and_processor)
{
    sg_net_policy_shape shape = shape_of(SG_BACKEND_CUDA);
    answers *a = answers_new();
    size_t size;
    shape.rule = rules[_i];
    shape.rule.schedule = (sg_schedule){SG_SCHEDULE_CONSTANT, 0, 0, 0};
    sg_policy *whole = policy_new(&shape), *resumed, *elsewhere, *cloned;
    learn(whole, a, 1, NULL);
    char *bytes = saved(whole, &size);
    shape.seed = 4;
    resumed = policy_new(&shape);
    shape.backend = SG_BACKEND_CPU;
    elsewhere = policy_new(&shape);
    sg_policy *others[] = {resumed, elsewhere};
    for (int k = 0; k < 2; k++)
        ck_assert(!others[k]->methods->load(others[k], bytes, size, NULL));
    ck_assert(!whole->methods->clone(whole, &cloned, NULL));
    bytes[size - 20] ^= 1;
    sg_error error;
    ck_assert_int_eq(resumed->methods->load(resumed, bytes, size, &error), SG_EDATA);
    free(bytes);
    bytes = saved(elsewhere, &size);
    ck_assert(!resumed->methods->load(resumed, bytes, size, NULL));
    free(bytes);
    learn(whole, a, 2, NULL);
    learn(resumed, a, 2, NULL);
    learn(elsewhere, a, 2, NULL);
    learn(cloned, a, 2, NULL);
    assert_same(whole, resumed);
    assert_same(whole, elsewhere);
    assert_same(whole, cloned);
    /* Parameters alone, then the optimiser's start. */
    learn(whole, a, 3, NULL);
    ck_assert(!resumed->methods->adopt(resumed, whole, NULL));
    whole->methods->forget(whole);
    resumed->methods->forget(resumed);
    assert_same(whole, resumed);
    sg_policy_free(whole);
    sg_policy_free(resumed);
    sg_policy_free(elsewhere);
    sg_policy_free(cloned);
    free(a);
}
END_TEST

/* Rounded parameters; normals are the device's own. */
START_TEST(engines_round_like_the_processor)
{
    sg_net_policy_shape shape = shape_of(SG_BACKEND_CPU);
    sg_net *net[2], *engine[2];
    shape.net.precision = (sg_precision)(_i % 2);
    sg_sampler_format format = (sg_sampler_format)(_i / 2);
    size_t real = sg_real_size(shape.net.precision);
    for (int noisy = 0; noisy < 2; noisy++) {
        for (int k = 0; k < 2; k++) {
            sg_backend_kind backend = k ? SG_BACKEND_CUDA : SG_BACKEND_CPU;
            ck_assert(!sg_net_alloc_on(&net[k], &shape.net, backend, NULL));
            ck_assert(!sg_net_alloc_on(&engine[k], &shape.net, backend, NULL));
            ck_assert(!sg_net_init(net[k], 7, NULL));
            ck_assert(!sg_net_emulate(engine[k], net[k], format, 0.01 * noisy, 3, 4, NULL));
            ck_assert(!sg_net_fetch(engine[k], NULL));
        }
        const double *x = engine[0]->values, *y = engine[1]->values;
        if (!noisy)
            ck_assert_mem_eq(engine[1]->values, engine[0]->values, net[0]->size * real);
        for (size_t i = 0; real == 8 && format == SG_SAMPLER_EXACT && i < net[0]->size; i++)
            ck_assert_double_le(fabs(x[i] - y[i]), 1e-15 * fabs(x[i]));
        ck_assert((memcmp(x, net[0]->values, net[0]->size * real) == 0) ==
                  (!noisy && (format == SG_SAMPLER_EXACT ||
                              (format == SG_SAMPLER_FP32 && real == sizeof(float)))));
        for (int k = 0; k < 2; k++) {
            sg_net_free(net[k]);
            sg_net_free(engine[k]);
        }
    }
}
END_TEST

/* ---- a simulation */

/* A lag copies policies, an inference engine rounds them, a distorted sampler takes whole rows of logits. */
START_TEST(simulations_have_the_numbers_of_the_processor)
{
    static const char *const variants[][6] = {
        {"policy.tied=yes", "optimizer.kind=adamw", "optimizer.lr=0.01", NULL},
        {"policy.experts=4", "optimizer.kind=coupled-adam", "optimizer.lr=0.01", "rollout.lag=2",
         NULL},
        {"rollout.precision=bf16", "rollout.weight_noise=0.01", "rollout.top_p=0.9",
         "optimizer.clip_norm=0.1", NULL},
    };
    static const char *const all[] = {
        "policy.kind=net", "policy.vocabulary=300", "policy.head=6",   "policy.precision=fp64",
        "policy.width=6",  "policy.hidden=5",       "policy.window=2", "task.prompts=4",
        "task.length=2",   "rollout.group=8",       "run.steps=3",     NULL};
    sg_config config;
    set_up(&config, all);
    for (const char *const *more = variants[_i]; *more != NULL; more++)
        set(&config, "%s", *more);
    assert_same_on_both(&config, "cuda/sm_", 1e-11);
}
END_TEST

Suite *cuda_net_suite(void);
Suite *cuda_net_suite(void)
{
    Suite *suite = suite_create("cuda_net");
    TCase *tests = tcase_create("neural policy on the device");
    tcase_set_timeout(tests, 120);
    tcase_add_loop_test(tests, steps_and_sums_have_the_bits_of_the_processor, 0, 2 * RULES);
    tcase_add_loop_test(tests, steps_that_are_not_described_are_the_same, 0, 2 * RULES);
    tcase_add_test(tests, norms_are_added_in_the_order_of_the_processor);
    tcase_add_loop_test(tests, nets_on_the_device_have_the_bytes_of_the_processor, 0, 2);
    tcase_add_loop_test(tests, frozen_features_have_them_at_every_vocabulary, 0, RULES);
    tcase_add_loop_test(tests, larger_nets_differ_by_rounding_only, 0, 2);
    tcase_add_loop_test(tests, checkpoints_pass_between_device_and_processor, 0, RULES);
    tcase_add_loop_test(tests, engines_round_like_the_processor, 0, 8);
    tcase_add_loop_test(tests, simulations_have_the_numbers_of_the_processor, 0, 3);
    suite_add_tcase(suite, tests);
    return suite;
}
