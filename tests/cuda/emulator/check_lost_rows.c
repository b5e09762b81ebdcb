/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Rows on a device that is too small, or lost in the middle: one sentence, no garbage. */
#include <check.h>
#include <math.h>
#include <stdlib.h>

#include "backend/backend.h"
#include "backend/light_rows.h"
#include "core/rng.h"
#include "lost_device.h"

START_TEST(a_table_that_does_not_fit_says_so)
{
    sg_rows_config config = {64, 20000, 20, SG_FP32, SG_ADAM};
    sg_rows *rows = NULL;
    sg_error error;
    size_t before = sg_emulator_bytes_in_use();
    leave_memory(10000000);
    ck_assert_int_eq(sg_rows_alloc(&rows, SG_BACKEND_CUDA, &config, &error), SG_ENOMEM);
    leave_much_memory();
    ck_assert_ptr_null(rows);
    assert_says(&error, "64 states of 20000 tokens");
    assert_says(&error, "--backend cpu");
    ck_assert_uint_eq(sg_emulator_bytes_in_use(), before);
}
END_TEST

START_TEST(rows_of_a_lost_device_say_so_and_answer_nothing)
{
    sg_rows_config config = {2, 3000, 20, SG_FP32, SG_SGD};
    sg_optimizer sgd = {.kind = SG_SGD, .lr = 0.1};
    sg_rows *rows, *other;
    sg_error error;
    int32_t tokens[] = {5, 6};
    double numbers[] = {1, -1}, u[] = {0.3, 0.6};
    char bytes[64];
    size_t before = sg_emulator_bytes_in_use();
    ck_assert_int_eq(sg_rows_alloc(&rows, SG_BACKEND_CUDA, &config, &error), SG_OK);
    ck_assert_int_eq(sg_rows_alloc(&other, SG_BACKEND_CUDA, &config, &error), SG_OK);
    ck_assert_int_eq(sg_rows_status(rows, &error), SG_OK);
    lose_device();
    sg_row_change change;
    sg_rows_update(rows, &sgd, 1, 0, 1, 2, tokens, numbers, &change);
    ck_assert(isnan(change.kl_old_new));
    ck_assert_int_eq(sg_rows_status(rows, &error), SG_ETOOL);
    assert_says(&error, "was lost while");
    bring_device_back();
    /* The device is back, but not what these rows were. */
    sg_rows_draw(rows, 0, 2, 1, u, tokens, numbers);
    ck_assert_int_eq(tokens[0], 0);
    ck_assert_int_eq(tokens[1], 0);
    ck_assert(isnan(numbers[0]) && isnan(numbers[1]));
    sg_rows_log_prob(rows, 0, 2, 1, tokens, numbers);
    ck_assert(isnan(numbers[0]) && isnan(numbers[1]));
    ck_assert(isnan(sg_rows_mass(rows, 0, tokens, 2)));
    ck_assert_uint_gt(sg_rows_save(rows, NULL), 0);
    ck_assert_uint_eq(sg_rows_save(rows, bytes), 0);
    sg_row_observation look;
    sg_rows_observe(rows, 0, 1, &look);
    ck_assert(isnan(look.entropy));
    sg_rows_copy(other, rows);
    ck_assert_int_eq(sg_rows_status(other, &error), SG_ETOOL);
    sg_rows_free(rows);
    sg_rows_free(other);
    ck_assert_uint_eq(sg_emulator_bytes_in_use(), before);
}
END_TEST

static sg_light_prior *flat_prior(size_t vocabulary)
{
    double *logits = calloc(vocabulary, sizeof *logits);
    sg_light_prior *prior;
    sg_error error;
    ck_assert_int_eq(sg_light_prior_alloc(&prior, vocabulary, 20, logits, &error), SG_OK);
    free(logits);
    return prior;
}

static sg_light_rows *light_rows(sg_backend_kind backend, sg_light_config config,
                                 sg_light_prior *prior)
{
    sg_light_rows *rows;
    sg_error error;
    ck_assert_msg(sg_light_rows_alloc(&rows, backend, &config, prior, &error) == SG_OK, "%s",
                  error.message);
    return rows;
}

/* Everything that they are, byte by byte. */
static void assert_same_light_rows(const sg_light_rows *a, const sg_light_rows *b)
{
    size_t size = sg_light_rows_save(a, NULL);
    char *bytes[] = {malloc(size), malloc(size)};
    ck_assert_uint_eq(sg_light_rows_save(b, NULL), size);
    ck_assert_uint_eq(sg_light_rows_save(a, bytes[0]), size);
    ck_assert_uint_eq(sg_light_rows_save(b, bytes[1]), size);
    ck_assert_int_eq(memcmp(bytes[0], bytes[1], size), 0);
    free(bytes[0]);
    free(bytes[1]);
}

/* Rows that want bases of their own get none: nobody answers until there is memory, and then nothing is lost. */
START_TEST(light_rows_that_do_not_fit_say_so)
{
    enum { STATES = 3, VOCABULARY = 200000, SAMPLES = 10 };
    sg_light_prior *prior = flat_prior(VOCABULARY);
    sg_light_config config = {STATES, 0, 16};
    sg_light_rows *rows, *twin = light_rows(SG_BACKEND_CPU, config, prior);
    sg_row_change change[STATES];
    sg_row_observation look;
    sg_error error;
    int32_t tokens[STATES * SAMPLES], others[STATES * SAMPLES], drawn = 5;
    double pushes[STATES * SAMPLES], log_prob[STATES], u = 0.5;
    bool asks = _i == 1;
    size_t before = sg_emulator_bytes_in_use();
    leave_memory(1000000);
    ck_assert_int_eq(sg_light_rows_alloc(&rows, SG_BACKEND_CUDA, &config, prior, &error),
                     SG_ENOMEM);
    ck_assert_ptr_null(rows);
    assert_says(&error, "MB of device memory");
    ck_assert_uint_eq(sg_emulator_bytes_in_use(), before);
    leave_much_memory();
    rows = light_rows(SG_BACKEND_CUDA, config, prior);
    for (int32_t j = 0; j < STATES * SAMPLES; j++) {
        tokens[j] = j < 2 * SAMPLES ? j : 7; /* the last row needs no more than it has */
        others[j] = tokens[j] + (j < 2 * SAMPLES ? 1000 : 0);
        pushes[j] = 0.1;
    }
    sg_light_rows *both[] = {rows, twin};
    for (int k = 0; k < 2; k++)
        ck_assert_int_eq(
            sg_light_rows_update(both[k], 1, 0, STATES, 8, tokens, pushes, NULL, &error), SG_OK);
    sg_light_rows_log_prob(rows, 0, STATES, 1, tokens, log_prob);
    leave_memory(1000000);
    /* Whoever asks for the change is told at once, others at the next question. */
    ck_assert_int_eq(sg_light_rows_update(rows, 1, 0, STATES, SAMPLES, others, pushes,
                                          asks ? change : NULL, &error),
                     asks ? SG_ENOMEM : SG_OK);
    if (asks) {
        assert_says(&error, "light rows, which need more than their prior");
        ck_assert(isnan(change[2].kl_old_new));
    } else {
        ck_assert_int_eq(sg_light_rows_status(rows, &error), SG_OK);
    }
    sg_light_rows_log_prob(rows, 0, STATES, 1, tokens, log_prob);
    ck_assert(isnan(log_prob[0]) && isnan(log_prob[1]) && isnan(log_prob[2]));
    ck_assert_int_eq(sg_light_rows_status(rows, &error), SG_ENOMEM);
    assert_says(&error, "2 of 3 light rows, which need more than their prior");
    sg_light_rows_draw(rows, 0, 1, 1, &u, &drawn, NULL);
    ck_assert_int_eq(drawn, 0);
    sg_light_rows_observe(rows, 0, 1, &look); /* and leaves no trace */
    ck_assert(isnan(look.entropy));
    ck_assert_int_eq(
        sg_light_rows_update(rows, 1, 0, STATES, SAMPLES, others, pushes, NULL, &error), SG_ENOMEM);
    ck_assert_uint_eq(sg_light_rows_save(rows, NULL), 0);
    leave_much_memory();
    sg_light_rows_log_prob(rows, 0, STATES, 1, tokens, log_prob);
    ck_assert(log_prob[0] < 0 && log_prob[1] < 0 && log_prob[2] < 0);
    ck_assert_int_eq(sg_light_rows_status(rows, &error), SG_OK);
    ck_assert_int_eq(
        sg_light_rows_update(twin, 1, 0, STATES, SAMPLES, others, pushes, NULL, &error), SG_OK);
    assert_same_light_rows(rows, twin);
    sg_light_rows_free(rows);
    sg_light_rows_free(twin);
    sg_light_prior_free(prior);
    ck_assert_uint_eq(sg_emulator_bytes_in_use(), before);
}
END_TEST

/* Folds, rebases and room for more, each of them without memory at first, half a rebase included. */
START_TEST(light_rows_wait_for_memory_wherever_they_stop)
{
    enum { STATES = 2, VOCABULARY = 4200, SAMPLES = 16, CELLS = STATES * SAMPLES, STEPS = 30 };
    sg_light_prior *prior = flat_prior(VOCABULARY);
    sg_light_config config = {STATES, 1e-14, 24};
    sg_light_rows *both[] = {light_rows(SG_BACKEND_CUDA, config, prior),
                             light_rows(SG_BACKEND_CPU, config, prior)};
    sg_objective objective;
    sg_error error;
    int32_t tokens[CELLS];
    double u[CELLS], old[2][CELLS], advantage[CELLS];
    size_t hungry = 0;
    ck_assert_int_eq(sg_objective_parse(&objective, "gipo", NULL), SG_OK);
    for (uint32_t step = 0; step < STEPS; step++) {
        for (uint32_t j = 0; j < CELLS; j++) {
            sg_address at = {3, SG_STREAM_SYNTHETIC, step, 0, j, 0};
            u[j] = sg_rng_uniform(at);
            advantage[j] = (j % 2 ? 1.0 : -1.0) - 0.3;
        }
        for (int k = 0; k < 2; k++) {
            sg_light_rows_draw(both[k], 0, STATES, SAMPLES, u, tokens, old[k]);
            if (k == 0 && step > 0)
                leave_memory(0);
            ck_assert_int_eq(sg_light_rows_inner_updates(both[k], 3, 2, &objective, 1.0 / SAMPLES,
                                                         0, STATES, SAMPLES, tokens, old[k],
                                                         advantage, NULL, &error),
                             SG_OK);
            if (k == 0) {
                sg_light_rows_log_prob(both[k], 0, STATES, SAMPLES, tokens, old[k]);
                hungry += isnan(old[k][0]);
                ck_assert_int_eq(sg_light_rows_status(both[k], NULL),
                                 isnan(old[k][0]) ? SG_ENOMEM : SG_OK);
                leave_much_memory();
            }
            sg_light_rows_log_prob(both[k], 0, STATES, SAMPLES, tokens, old[k]);
        }
        ck_assert_mem_eq(old[0], old[1], sizeof old[0]);
    }
    ck_assert_uint_ge(hungry, 3);
    ck_assert_uint_ge(sg_light_rows_report(both[1], 0).rebases, 2);
    assert_same_light_rows(both[0], both[1]);
    sg_light_rows_free(both[0]);
    sg_light_rows_free(both[1]);
    sg_light_prior_free(prior);
}
END_TEST

START_TEST(light_rows_of_a_lost_device_say_so_and_answer_nothing)
{
    sg_light_prior *prior = flat_prior(3000);
    sg_light_config config = {2, 0, 0};
    sg_light_rows *rows, *other;
    sg_error error;
    int32_t tokens[] = {5, 6};
    double numbers[] = {1, -1}, u[] = {0.3, 0.6}, logits[3000];
    char bytes[64];
    size_t before = sg_emulator_bytes_in_use();
    ck_assert_int_eq(sg_light_rows_alloc(&rows, SG_BACKEND_CUDA, &config, prior, &error), SG_OK);
    ck_assert_int_eq(sg_light_rows_clone(&other, rows, &error), SG_OK);
    lose_device();
    sg_row_change change;
    ck_assert_int_eq(sg_light_rows_update(rows, 1, 0, 1, 2, tokens, numbers, &change, &error),
                     SG_ETOOL);
    ck_assert(isnan(change.kl_old_new));
    assert_says(&error, "was lost while");
    bring_device_back();
    /* The device is back, but not what these rows were. */
    ck_assert_int_eq(sg_light_rows_status(rows, &error), SG_ETOOL);
    sg_light_rows_draw(rows, 0, 2, 1, u, tokens, numbers);
    ck_assert_int_eq(tokens[0], 0);
    ck_assert_int_eq(tokens[1], 0);
    ck_assert(isnan(numbers[0]) && isnan(numbers[1]));
    sg_light_rows_log_prob(rows, 0, 2, 1, tokens, numbers);
    ck_assert(isnan(numbers[0]) && isnan(numbers[1]));
    ck_assert(isnan(sg_light_rows_mass(rows, 0, tokens, 2)));
    sg_light_rows_get_logits(rows, 1, logits);
    ck_assert(isnan(logits[0]) && isnan(logits[2999]));
    ck_assert_uint_eq(sg_light_rows_save(rows, bytes), 0);
    ck_assert(isnan(sg_light_rows_report(rows, 0).bound));
    ck_assert_int_eq(sg_light_rows_copy(other, rows, &error), SG_ETOOL);
    ck_assert_int_eq(sg_light_rows_load(rows, bytes, sizeof bytes, &error), SG_ETOOL);
    sg_light_rows_free(rows);
    sg_light_rows_free(other);
    sg_light_prior_free(prior);
    ck_assert_uint_eq(sg_emulator_bytes_in_use(), before);
}
END_TEST

START_TEST(a_simulation_keeps_its_finished_runs)
{
    static const char *const settings[] = {"policy.vocabulary=300", "policy.head=6",
                                           "task.prompts=2",        "task.length=1",
                                           "rollout.group=4",       "run.steps=3",
                                           "run.seeds=4",           "optimizer.kind=sgd",
                                           "policy.rows=dense",     NULL};
    sg_config config;
    set_up(&config, settings);
    if (_i == 1)
        set(&config, "policy.rows=light");
    assert_keeps_finished_runs(&config);
}
END_TEST

Suite *lost_rows_suite(void);
Suite *lost_rows_suite(void)
{
    Suite *suite = suite_create("lost_rows");
    TCase *tests = tcase_create("failures");
    tcase_set_timeout(tests, 60);
    tcase_add_test(tests, a_table_that_does_not_fit_says_so);
    tcase_add_test(tests, rows_of_a_lost_device_say_so_and_answer_nothing);
    tcase_add_loop_test(tests, light_rows_that_do_not_fit_say_so, 0, 2);
    tcase_add_test(tests, light_rows_wait_for_memory_wherever_they_stop);
    tcase_add_test(tests, light_rows_of_a_lost_device_say_so_and_answer_nothing);
    tcase_add_loop_test(tests, a_simulation_keeps_its_finished_runs, 0, 2);
    suite_add_tcase(suite, tests);
    return suite;
}
