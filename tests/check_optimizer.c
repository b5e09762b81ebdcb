/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Optimisers on tensors against the textbook, one number at a time. */
#include <check.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#ifdef _OPENMP
#include <omp.h>
#endif

#include "core/rng.h"
#include "policy/optimizer.h"

/* A table over the vocabulary, a tensor that is not trained, and an ordinary one. */
enum { ROWS = 37, COLUMNS = 3, FIXED = 5, PLAIN = 20, SIZE = 112 + 16 + 32 };
static const sg_tensor tensors[] = {{"weights", 0, ROWS, COLUMNS, true, true},
                                    {"bias", 112, FIXED, 1, true, false},
                                    {"inner", 128, PLAIN, 1, false, true}};

static double normal(uint32_t step, uint32_t i)
{
    double pair[2];
    sg_rng_normal_pair((sg_address){5, SG_STREAM_SYNTHETIC, step, 0, 0, i}, pair);
    return pair[0];
}

static const sg_rule_config rules[] = {
    {SG_RULE_SGD, 0.3, 0, 0, 0, 0, 0, {SG_SCHEDULE_CONSTANT, 0, 0, 0}},
    {SG_RULE_MOMENTUM, 0.2, 0.9, 0, 0, 0, 3, {SG_SCHEDULE_CONSTANT, 0, 0, 0}},
    {SG_RULE_ADAM, 0.02, 0.9, 0.999, 1e-8, 0, 0, {SG_SCHEDULE_LINEAR, 2, 9, 0.1}},
    {SG_RULE_ADAM, 0.02, 0.9, 0.95, 0, 0, 2, {SG_SCHEDULE_COSINE, 3, 5, 0}},
    {SG_RULE_ADAMW, 0.02, 0.9, 0.95, 1e-8, 0.1, 0, {SG_SCHEDULE_CONSTANT, 3, 0, 0}},
    {SG_RULE_COUPLED_ADAM, 0.02, 0.9, 0.95, 1e-6, 0, 1.5, {SG_SCHEDULE_CONSTANT, 0, 0, 0}},
};
enum { RULES = sizeof rules / sizeof *rules, STEPS = 7 };

static bool lives(size_t i)
{
    return i < ROWS * COLUMNS || (i >= 128 && i < 128 + PLAIN);
}

static void gradient_at(uint32_t step, double *g)
{
    memset(g, 0, SIZE * sizeof *g);
    for (uint32_t i = 0; i < SIZE; i++)
        if (lives(i) || (i >= 112 && i < 112 + FIXED))
            g[i] = i % 7 == 3 ? 0 : normal(step, i) * exp(normal(99, i));
}

/* The factor of the schedules, worked out by hand for steps 1..7. */
static const double factors[RULES][STEPS] = {
    {1, 1, 1, 1, 1, 1, 1},
    {1, 1, 1, 1, 1, 1, 1},
    {0.5, 1, 1 - 0.9 / 7, 1 - 1.8 / 7, 1 - 2.7 / 7, 1 - 3.6 / 7, 1 - 4.5 / 7},
    {1. / 3, 2. / 3, 1, 0.5, 0, 0, 0},
    {1. / 3, 2. / 3, 1, 1, 1, 1, 1},
    {1, 1, 1, 1, 1, 1, 1},
};

typedef struct twin {
    double theta[SIZE], m[SIZE], v[SIZE];
} twin;

static void twin_step(twin *s, const sg_rule_config *c, double lr, int t, const double *given)
{
    double g[SIZE], norm = 0, mean[COLUMNS] = {0};
    for (size_t i = 0; i < SIZE; i++)
        norm += lives(i) ? given[i] * given[i] : 0;
    double scale = c->clip_norm > 0 ? fmin(1, c->clip_norm / sqrt(norm)) : 1;
    for (size_t i = 0; i < SIZE; i++) {
        g[i] = scale * given[i];
        s->m[i] = c->rule == SG_RULE_MOMENTUM ? c->beta1 * s->m[i] + g[i]
                                              : c->beta1 * s->m[i] + (1 - c->beta1) * g[i];
        s->v[i] = c->beta2 * s->v[i] + (1 - c->beta2) * g[i] * g[i];
        if (i < ROWS * COLUMNS)
            mean[i % COLUMNS] += s->v[i] / ROWS;
    }
    for (size_t i = 0; i < SIZE; i++) {
        if (!lives(i))
            continue;
        double v =
            c->rule == SG_RULE_COUPLED_ADAM && i < ROWS * COLUMNS ? mean[i % COLUMNS] : s->v[i];
        double mhat = s->m[i] / (1 - pow(c->beta1, t)), vhat = v / (1 - pow(c->beta2, t));
        double delta = c->rule == SG_RULE_SGD        ? lr * g[i]
                       : c->rule == SG_RULE_MOMENTUM ? lr * s->m[i]
                       : mhat == 0                   ? 0
                                                     : lr * mhat / (sqrt(vhat) + c->eps);
        if (c->rule == SG_RULE_ADAMW)
            delta -= lr * c->weight_decay * s->theta[i];
        s->theta[i] += delta;
    }
}

static sg_tensor_optimizer *optimizer_new(int rule, sg_precision precision)
{
    sg_tensor_optimizer *o;
    ck_assert(!sg_tensor_optimizer_alloc(&o, &rules[rule], precision, tensors, 3, SIZE, NULL));
    return o;
}

START_TEST(steps_are_those_of_the_textbook)
{
    const sg_rule_config *c = &rules[_i];
    sg_tensor_optimizer *wide = optimizer_new(_i, SG_FP64), *narrow = optimizer_new(_i, SG_FP32);
    twin s = {.theta = {0}};
    double theta[SIZE], g[SIZE];
    float theta32[SIZE], g32[SIZE];
    for (uint32_t i = 0; i < SIZE; i++)
        theta32[i] = (float)(theta[i] = s.theta[i] = normal(0, i));
    for (int t = 1; t <= STEPS; t++) {
        gradient_at((uint32_t)t, g);
        twin_step(&s, c, c->lr * factors[_i][t - 1], t, g);
        for (size_t i = 0; i < SIZE; i++)
            g32[i] = (float)g[i];
        sg_step_report report = sg_tensor_optimizer_delta(wide, theta, g);
        ck_assert_double_eq_tol(report.lr, c->lr * factors[_i][t - 1], 1e-15);
        if (c->clip_norm > 0)
            ck_assert_double_eq_tol(report.clip_factor, fmin(1, c->clip_norm / report.grad_norm),
                                    1e-15);
        double norm2 = 0;
        for (size_t i = 0; i < SIZE; i++)
            norm2 += g[i] * g[i];
        ck_assert_double_eq_tol(report.delta_norm, sqrt(norm2), 1e-14);
        sg_tensor_add(SG_FP64, SIZE, 1, g, theta);
        sg_tensor_optimizer_delta(narrow, theta32, g32);
        sg_tensor_add(SG_FP32, SIZE, 1, g32, theta32);
        for (size_t i = 0; i < SIZE; i++) {
            ck_assert_double_eq_tol(theta[i], s.theta[i], 1e-14 * (1 + fabs(s.theta[i])));
            ck_assert_double_eq_tol((double)theta32[i], s.theta[i], 3e-6 * (1 + fabs(s.theta[i])));
        }
    }
    sg_tensor_optimizer_free(wide);
    sg_tensor_optimizer_free(narrow);
}
END_TEST

START_TEST(coupling_keeps_the_sum_over_the_vocabulary)
{
    sg_tensor_optimizer *coupled = optimizer_new(5, SG_FP64), *plain = optimizer_new(2, SG_FP64);
    double theta[SIZE] = {0}, g[SIZE], h[SIZE];
    for (uint32_t t = 1; t < 4; t++) {
        gradient_at(t, g);
        for (size_t k = 0; k < COLUMNS; k++) {
            double mean = 0;
            for (size_t v = 0; v < ROWS; v++)
                mean += g[v * COLUMNS + k] / ROWS;
            for (size_t v = 0; v < ROWS; v++)
                g[v * COLUMNS + k] -= mean;
        }
        memcpy(h, g, sizeof h);
        sg_tensor_optimizer_delta(coupled, theta, g);
        sg_tensor_optimizer_delta(plain, theta, h);
        for (size_t k = 0; k < COLUMNS; k++) {
            double sum = 0, plain_sum = 0;
            for (size_t v = 0; v < ROWS; v++) {
                sum += g[v * COLUMNS + k];
                plain_sum += h[v * COLUMNS + k];
            }
            ck_assert_double_le(fabs(sum), 1e-14);
            ck_assert_double_ge(fabs(plain_sum), 1e-4);
        }
    }
    sg_tensor_optimizer_free(coupled);
    sg_tensor_optimizer_free(plain);
}
END_TEST

START_TEST(first_step_by_hand)
{
    double theta[SIZE] = {0}, g[SIZE] = {0};
    sg_rule_config c = {.rule = SG_RULE_ADAM, .lr = 0.1, .beta1 = 0.9, .beta2 = 0.999};
    sg_tensor_optimizer *o;
    ck_assert(!sg_tensor_optimizer_alloc(&o, &c, SG_FP64, tensors, 3, SIZE, NULL));
    g[0] = -3;
    g[1] = 0;
    g[112] = 4; /* not trained */
    ck_assert_double_eq(sg_tensor_optimizer_delta(o, theta, g).grad_norm, 3);
    ck_assert_double_eq_tol(g[0], -0.1, 1e-15);
    ck_assert_double_eq(g[1], 0);
    ck_assert_double_eq(g[112], 0);
    ck_assert_double_eq_tol(sg_tensor_optimizer_second(o, 0, 0, 0), 9, 1e-14);
    sg_tensor_optimizer_free(o);
}
END_TEST

/* Large enough to be cut into chunks and shared between threads. */
START_TEST(steps_do_not_depend_on_threads_or_instruction_set)
{
    enum { V = 3001, D = 100, N = V * D };
    static const sg_tensor table = {"weights", 0, V, D, true, true};
    const char *isas[] = {"avx512", "avx2", "portable"};
    float *first = NULL;
    for (int k = 0; k < 6; k++) {
        setenv("SOFTGATE_ISA", isas[k / 2], 1);
#ifdef _OPENMP
        omp_set_num_threads(k % 2 ? 3 : 1);
#endif
        sg_rule_config c = rules[_i];
        c.clip_norm = 1;
        float *theta = calloc(N, sizeof *theta), *g = malloc(N * sizeof *g);
        sg_tensor_optimizer *o;
        ck_assert(!sg_tensor_optimizer_alloc(&o, &c, SG_FP32, &table, 1, N, NULL));
        for (int t = 0; t < 2; t++) {
            for (uint32_t i = 0; i < N; i++)
                g[i] = (float)(((i + 7u * (uint32_t)t) * 2654435761u) >> 8) * 0x1p-24f - 0.5f;
            sg_tensor_optimizer_delta(o, theta, g);
            sg_tensor_add(SG_FP32, N, 1, g, theta);
        }
        sg_tensor_optimizer_free(o);
        free(g);
        if (first) {
            ck_assert_mem_eq(theta, first, N * sizeof *theta);
            free(theta);
        } else {
            first = theta;
        }
    }
    unsetenv("SOFTGATE_ISA");
    free(first);
}
END_TEST

START_TEST(stored_state_continues_bit_for_bit)
{
    for (int precision = 0; precision < 2; precision++) {
        size_t real = precision == SG_FP32 ? 4 : 8;
        sg_tensor_optimizer *a = optimizer_new(_i, (sg_precision)precision);
        sg_tensor_optimizer *b = optimizer_new(_i, (sg_precision)precision);
        double theta[SIZE] = {0}, g[SIZE], h[SIZE];
        for (uint32_t t = 1; t < 4; t++) {
            gradient_at(t, g);
            if (precision == SG_FP32)
                for (size_t i = 0; i < SIZE; i++)
                    ((float *)(void *)h)[i] = (float)g[i];
            else
                memcpy(h, g, sizeof h);
            memcpy(g, h, sizeof g);
            sg_tensor_optimizer_delta(a, theta, g);
            if (t == 2) {
                size_t size = sg_tensor_optimizer_bytes(a);
                char *bytes = malloc(size);
                sg_error error;
                ck_assert(!sg_tensor_optimizer_write(a, bytes, &error));
                ck_assert_int_eq(sg_tensor_optimizer_read(b, bytes, size - 1, &error), SG_EDATA);
                ck_assert(!sg_tensor_optimizer_read(b, bytes, size, &error));
                sg_tensor_optimizer *other = optimizer_new((_i + 1) % RULES, SG_FP32);
                if (rules[(_i + 1) % RULES].rule != rules[_i].rule)
                    ck_assert_int_eq(sg_tensor_optimizer_read(other, bytes, size, &error),
                                     SG_EDATA);
                sg_tensor_optimizer_free(other);
                if (size > 100) {
                    bytes[size - 20] ^= 1;
                    ck_assert_int_eq(sg_tensor_optimizer_read(b, bytes, size, &error), SG_EDATA);
                    ck_assert_ptr_nonnull(strstr(error.message, "corrupt"));
                }
                free(bytes);
            }
            if (t == 3) {
                sg_tensor_optimizer_delta(b, theta, h);
                ck_assert_mem_eq(g, h, SIZE * real);
            }
        }
        sg_tensor_optimizer_free(a);
        sg_tensor_optimizer_free(b);
    }
}
END_TEST

START_TEST(values_out_of_range_are_named)
{
    sg_error error;
    const struct {
        size_t offset;
        double value;
        const char *word;
    } wrong[] = {{offsetof(sg_rule_config, lr), 0, "learning rate"},
                 {offsetof(sg_rule_config, lr), NAN, "learning rate"},
                 {offsetof(sg_rule_config, beta1), 1, "beta1"},
                 {offsetof(sg_rule_config, beta2), -0.1, "beta2"},
                 {offsetof(sg_rule_config, eps), -1, "eps"},
                 {offsetof(sg_rule_config, weight_decay), NAN, "weight_decay"},
                 {offsetof(sg_rule_config, clip_norm), -1, "clip_norm"}};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        sg_rule_config c = rules[4];
        memcpy((char *)&c + wrong[i].offset, &wrong[i].value, sizeof(double));
        ck_assert_int_eq(sg_rule_check(&c, &error), SG_EARGUMENT);
        ck_assert_ptr_nonnull(strstr(error.message, wrong[i].word));
    }
    sg_rule_config c = rules[2];
    c.schedule.total = 2;
    ck_assert_int_eq(sg_rule_check(&c, &error), SG_EARGUMENT);
    ck_assert_ptr_nonnull(strstr(error.message, "warm-up"));
}
END_TEST

Suite *optimizer_suite(void);
Suite *optimizer_suite(void)
{
    Suite *suite = suite_create("optimizer");
    TCase *tests = tcase_create("optimizer");
    tcase_set_timeout(tests, 30);
    tcase_add_loop_test(tests, steps_are_those_of_the_textbook, 0, RULES);
    tcase_add_test(tests, coupling_keeps_the_sum_over_the_vocabulary);
    tcase_add_test(tests, first_step_by_hand);
    tcase_add_loop_test(tests, steps_do_not_depend_on_threads_or_instruction_set, 0, RULES);
    tcase_add_loop_test(tests, stored_state_continues_bit_for_bit, 0, RULES);
    tcase_add_test(tests, values_out_of_range_are_named);
    suite_add_tcase(suite, tests);
    return suite;
}
