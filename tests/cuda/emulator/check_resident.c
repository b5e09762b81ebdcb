/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Which inner updates keep their rows on the chip: one launch where they do, the plain sequence elsewhere. */
#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "backend/backend.h"
#include "backend/cuda/device.h"
#include "emulator.h"

enum { SAMPLES = 4, UPDATES = 4, STATES = 2 };

/* Launches of so many inner updates of all states; the rows afterwards in *bytes, to be freed. */
static size_t launches(sg_rows_config config, uint64_t updates, size_t samples, char **bytes)
{
    sg_rows *rows;
    sg_objective objective;
    sg_optimizer optimizer = {config.optimizer, 0.01, 0.9, 0.999, 1e-8, 0};
    size_t cells = config.states * samples;
    int32_t *tokens = calloc(cells, sizeof *tokens);
    double *old = calloc(cells, sizeof *old), *advantage = calloc(cells, sizeof *advantage);
    ck_assert_int_eq(sg_objective_parse(&objective, "sapo", NULL), SG_OK);
    ck_assert_int_eq(sg_rows_alloc(&rows, SG_BACKEND_CUDA, &config, NULL), SG_OK);
    for (size_t j = 0; j < cells; j++) {
        tokens[j] = (int32_t)(j * 37 % config.vocabulary);
        advantage[j] = j % 3 == 0 ? 1 : -0.5;
    }
    sg_rows_log_prob(rows, 0, config.states, samples, tokens, old);
    size_t before = sg_emulator_launches();
    sg_rows_inner_updates(rows, &optimizer, 1, updates, &objective, 0.25, 0, config.states, samples,
                          tokens, old, advantage, NULL);
    size_t after = sg_emulator_launches();
    ck_assert_int_eq(sg_rows_status(rows, NULL), SG_OK);
    if (bytes) {
        *bytes = malloc(sg_rows_save(rows, NULL));
        ck_assert_uint_gt(sg_rows_save(rows, *bytes), 0);
    }
    sg_rows_free(rows);
    free(tokens);
    free(old);
    free(advantage);
    return after - before;
}

START_TEST(resident_rows_need_one_launch)
{
    sg_cuda_kernels before = sg_cuda_kernels_chosen();
    sg_rows_config small = {STATES, 3000, 1, SG_FP32, SG_ADAM};
    sg_rows_config large = {STATES, 20000, 1, SG_FP32, SG_COUPLED_ADAM};
    sg_rows_config largest = {1, 150000, 1, SG_FP64, SG_ADAM};
    sg_cuda_kernels_choose(SG_CUDA_FAST);
    ck_assert_uint_eq(launches(small, UPDATES, SAMPLES, NULL), 1);
    ck_assert_uint_eq(launches(small, 1, SAMPLES, NULL), 1);
    ck_assert_uint_eq(launches(large, UPDATES, SAMPLES, NULL), 1);
    ck_assert_uint_eq(launches(small, 0, SAMPLES, NULL), 0);
    /* Rows of 3.6 MB, or samples that leave no room for rows: gates, rule, pass, normaliser. */
    ck_assert_uint_eq(launches(largest, 2, SAMPLES, NULL), 8);
    ck_assert_uint_eq(launches(small, 2, 3000, NULL), 8);
    /* More rows than run at once, and one update: nothing to keep. */
    small.states = 5;
    ck_assert_uint_eq(launches(small, 1, SAMPLES, NULL), 4);
    ck_assert_uint_eq(launches(small, 2, SAMPLES, NULL), 1);
    sg_cuda_kernels_choose(SG_CUDA_PLAIN);
    ck_assert_uint_eq(launches(small, 2, SAMPLES, NULL), 8);
    sg_cuda_kernels_choose(before);
}
END_TEST

START_TEST(a_device_without_clusters_takes_the_long_way)
{
    sg_cuda_kernels before = sg_cuda_kernels_chosen();
    sg_rows_config config = {STATES, 18000, 1, SG_FP32, SG_ADAM};
    char *bytes[2];
    sg_cuda_kernels_choose(SG_CUDA_FAST);
    ck_assert_uint_eq(launches(config, UPDATES, SAMPLES, &bytes[0]), 1);
    sg_emulator_set_architecture(8);
    ck_assert_uint_eq(launches(config, UPDATES, SAMPLES, &bytes[1]), 4 * UPDATES);
    sg_emulator_set_architecture(9);
    sg_cuda_kernels_choose(before);
    ck_assert(memcmp(bytes[0], bytes[1], STATES * 18000 * 3 * sizeof(float)) == 0);
    free(bytes[0]);
    free(bytes[1]);
    ck_assert_str_eq(sg_emulator_complaint(), "");
}
END_TEST

Suite *resident_suite(void);
Suite *resident_suite(void)
{
    Suite *suite = suite_create("resident");
    TCase *tests = tcase_create("resident");
    tcase_set_timeout(tests, 60);
    tcase_add_test(tests, resident_rows_need_one_launch);
    tcase_add_test(tests, a_device_without_clusters_takes_the_long_way);
    suite_add_tcase(suite, tests);
    return suite;
}
