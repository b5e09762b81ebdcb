/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Small runs on the device beside those of the CPU: the same draws, sums in another order. */
#include <check.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "backend/bandits.h"
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

Suite *cuda_bandits_suite(void);
Suite *cuda_bandits_suite(void)
{
    Suite *suite = suite_create("cuda_bandits");
    TCase *tests = tcase_create("beside the CPU");
    tcase_set_timeout(tests, 120);
    tcase_add_loop_test(tests, doubles_follow_the_cpu, 0, sizeof trials / sizeof *trials);
    tcase_add_loop_test(tests, most_singles_follow_the_cpu, 0, sizeof trials / sizeof *trials);
    suite_add_tcase(suite, tests);
    return suite;
}
