/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Small runs on the device beside those of the CPU: the same draws, sums in another order. */
#include <check.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "backend/bandits.h"
#include "backend/cuda/device.h"
#include "core/rng.h"

typedef struct trial {
    size_t runs, arms, samples, steps, updates;
} trial;

static const trial trials[] = {
    {40, 256, 16, 12, 2}, /* a warp a run */
    {3, 1025, 40, 6, 2},  /* more arms than a warp takes */
    {2, 9000, 16, 4, 2},  /* in doubles, more than shared memory takes */
};

/* J of all runs on both backends, [2][runs][steps + 1], and the logits behind the second. */
static double *both(const trial *t, sg_precision precision)
{
    double *reward = malloc(t->arms * sizeof *reward);
    sg_bandit *run = malloc(t->runs * sizeof *run);
    size_t cells = t->runs * (t->steps + 1);
    double *value = malloc((2 * cells + t->runs * t->arms) * sizeof *value);
    sg_error error;
    for (size_t v = 0; v < t->arms; v++)
        reward[v] = sg_rng_uniform((sg_address){6, SG_STREAM_SYNTHETIC, 0, 0, 0, (uint32_t)v});
    for (size_t r = 0; r < t->runs; r++) {
        run[r] = (sg_bandit){.lr = 0.5, .replicate = (uint32_t)r};
        ck_assert_int_eq(sg_objective_parse(&run[r].objective, r % 2 ? "grpo" : "sapo", &error),
                         SG_OK);
    }
    sg_bandits bandits = {.runs = t->runs,
                          .run = run,
                          .arms = t->arms,
                          .reward = reward,
                          .samples = t->samples,
                          .steps = t->steps,
                          .updates = t->updates,
                          .advantage = SG_ADVANTAGE_GRPO,
                          .eps = 1e-6,
                          .seed = 9,
                          .precision = precision};
    ck_assert_int_eq(sg_bandits_run(&bandits, value, NULL, &error), SG_OK);
    bandits.backend = SG_BACKEND_CUDA;
    ck_assert_msg(sg_bandits_run(&bandits, value + cells, value + 2 * cells, &error) == SG_OK, "%s",
                  error.message);
    free(reward);
    free(run);
    return value;
}

START_TEST(doubles_follow_the_cpu)
{
    const trial *t = &trials[_i];
    size_t cells = t->runs * (t->steps + 1);
    double *value = both(t, SG_FP64), *again = both(t, SG_FP64);
    for (size_t i = 0; i < cells; i++)
        ck_assert_double_le(fabs(value[i] - value[cells + i]), 1e-12);
    ck_assert_mem_eq(value, again, (2 * cells + t->runs * t->arms) * sizeof *value);
    free(value);
    free(again);
}
END_TEST

/* In single precision a draw may fall between the two: then a run parts from its twin for good. */
START_TEST(most_singles_follow_the_cpu)
{
    const trial *t = &trials[_i];
    size_t columns = t->steps + 1, cells = t->runs * columns, parted = 0;
    double *value = both(t, SG_FP32);
    for (size_t r = 0; r < t->runs; r++)
        parted +=
            fabs(value[r * columns + t->steps] - value[cells + r * columns + t->steps]) > 2e-5;
    ck_assert_uint_le(parted, t->runs / 20);
    free(value);
}
END_TEST

/* The fast kernel takes what fits into the registers of a warp and gives the bits of the plain one: row and samples
 * of every size at which lanes stand empty, the same arm drawn often, steps near and far, runs that end in NaN. */
typedef struct twin {
    size_t arms, samples;
    sg_advantage_kind advantage;
    double lr;
    bool sharp; /* start from logits far apart */
} twin;

static const twin twins[] = {
    {2, 2, SG_ADVANTAGE_GRPO, 0.5, false},      {3, 32, SG_ADVANTAGE_RLOO, 2, false},
    {31, 16, SG_ADVANTAGE_GRPO, 0.5, false},    {32, 31, SG_ADVANTAGE_DR_GRPO, 3, true},
    {33, 5, SG_ADVANTAGE_GRPO, 40, false},      {64, 16, SG_ADVANTAGE_GRPO, 500, true},
    {65, 32, SG_ADVANTAGE_GRPO, 1, true},       {256, 16, SG_ADVANTAGE_GRPO, 0.5, false},
    {257, 16, SG_ADVANTAGE_RLOO, 5, false},     {1000, 3, SG_ADVANTAGE_GRPO, 1e38, false},
    {1024, 32, SG_ADVANTAGE_DR_GRPO, 90, true}, {1025, 16, SG_ADVANTAGE_GRPO, 0.5, false},
    {40, 33, SG_ADVANTAGE_GRPO, 0.5, false}};

enum { TWIN_RUNS = 7, TWIN_STEPS = 5 };

static void run_twin(const twin *t, sg_precision precision, sg_cuda_kernels kernels, double *value,
                     double *logits)
{
    static const char *const specs[TWIN_RUNS] = {
        "sapo",      "grpo:eps_low=0.01,eps_high=0.01", "reinforce", "cispo",
        "unclipped", "sapo:tau_pos=9,tau_neg=12",       "gate-erf"};
    double reward[1025], start[1025];
    sg_bandit run[TWIN_RUNS];
    sg_error error;
    for (size_t v = 0; v < t->arms; v++) {
        reward[v] =
            v % 5 == 0 ? 1
                       : sg_rng_uniform((sg_address){6, SG_STREAM_SYNTHETIC, 0, 0, 0, (uint32_t)v});
        start[v] = v % 3 == 2 ? -INFINITY : 20 * reward[v] * (double)(v % 2);
    }
    for (size_t r = 0; r < TWIN_RUNS; r++) {
        run[r] = (sg_bandit){.lr = t->lr, .replicate = (uint32_t)r / 2};
        ck_assert_int_eq(sg_objective_parse(&run[r].objective, specs[r], &error), SG_OK);
    }
    sg_bandits bandits = {.runs = TWIN_RUNS,
                          .run = run,
                          .arms = t->arms,
                          .reward = reward,
                          .logits = t->sharp ? start : NULL,
                          .samples = t->samples,
                          .steps = TWIN_STEPS,
                          .updates = 3,
                          .advantage = t->advantage,
                          .eps = 1e-6,
                          .seed = 10,
                          .precision = precision,
                          .backend = SG_BACKEND_CUDA};
    sg_cuda_kernels before = sg_cuda_kernels_chosen();
    sg_cuda_kernels_choose(kernels);
    sg_status status = sg_bandits_run(&bandits, value, logits, &error);
    sg_cuda_kernels_choose(before);
    ck_assert_msg(status == SG_OK, "%s", error.message);
}

static size_t count_differing(size_t n, const double *x, const double *y)
{
    size_t count = 0;
    for (size_t i = 0; i < n; i++)
        count += isnan(x[i]) ? !isnan(y[i]) : memcmp(&x[i], &y[i], sizeof x[i]) != 0;
    return count;
}

START_TEST(fast_runs_have_the_bits_of_plain_ones)
{
    const twin *t = &twins[_i / 2];
    sg_precision precision = _i % 2 ? SG_FP64 : SG_FP32;
    static double plain[TWIN_RUNS * (TWIN_STEPS + 1)], fast[TWIN_RUNS * (TWIN_STEPS + 1)];
    static double plain_logits[TWIN_RUNS * 1025], fast_logits[TWIN_RUNS * 1025];
    run_twin(t, precision, SG_CUDA_PLAIN, plain, plain_logits);
    run_twin(t, precision, SG_CUDA_FAST, fast, fast_logits);
    ck_assert_uint_eq(count_differing(TWIN_RUNS * (TWIN_STEPS + 1), plain, fast), 0);
    ck_assert_uint_eq(count_differing(TWIN_RUNS * t->arms, plain_logits, fast_logits), 0);
}
END_TEST

Suite *cuda_bandits_suite(void);
Suite *cuda_bandits_suite(void)
{
    Suite *suite = suite_create("cuda_bandits");
    TCase *tests = tcase_create("beside the CPU");
    tcase_set_timeout(tests, 120);
    tcase_add_loop_test(tests, doubles_follow_the_cpu, 0, sizeof trials / sizeof *trials);
    tcase_add_loop_test(tests, most_singles_follow_the_cpu, 0, sizeof trials / sizeof *trials);
    tcase_add_loop_test(tests, fast_runs_have_the_bits_of_plain_ones, 0,
                        2 * sizeof twins / sizeof *twins);
    suite_add_tcase(suite, tests);
    return suite;
}
