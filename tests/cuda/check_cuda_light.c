/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Light rows on the device give the bytes of the light rows on the CPU: draws, probabilities, pushes,
 * changes, observations, and in the end everything that is saved. tests/check_light.c holds both against
 * dense rows and the textbook. */
#include <check.h>
#include <math.h>
#include <stdlib.h>

#include "backend/light_rows.h"
#include "both_backends.h"
#include "record.h"

enum { STATES = 3, SAMPLES = 16, CELLS = STATES * SAMPLES, UPDATES = 2, HEAD = 20 };

typedef enum prior_shape { ZIPF, GAUSSIAN, GEOMETRIC, UNIFORM } prior_shape;

static double *make_logits(prior_shape shape, size_t vocabulary)
{
    double *z = malloc(vocabulary * sizeof *z);
    for (size_t v = 0; v < vocabulary; v++)
        z[v] = shape == ZIPF        ? -1.1 * log((double)v + 1)
               : shape == GAUSSIAN  ? normal(0, (uint32_t)v)
               : shape == GEOMETRIC ? (v < HEAD ? (double)v * log(0.6) : -9)
                                    : 0;
    if (shape == GEOMETRIC)
        z[vocabulary - 1] = z[3] = -INFINITY;
    return z;
}

/* Kinds of runs, and what must have happened in them for the trial to be worth its time. */
typedef struct trial {
    prior_shape shape;
    size_t vocabulary;
    uint32_t steps;
    double lr;
    const char *objective;
    double shift; /* mean of the advantages: the sign of W */
    double tolerance;
    size_t explicit_limit;
    uint64_t least_rebases, least_folds;
    size_t least_explicit;
} trial;

static const trial trials[] = {
    {ZIPF, 300, 12, 0.5, "grpo", 0.1, 0, 40, 0, 0, 150},
    {ZIPF, 5000, 40, 0.5, "grpo", 0.2, 1e-14, 64, 1, 5, 0},
    {ZIPF, 9000, 30, 0.5, "sapo", -0.2, 1e-14, 48, 1, 5, 0},
    {GAUSSIAN, 5000, 40, 5, "gipo", -0.1, 0, 32, 0, 5, 0},
    {GAUSSIAN, 6000, 16, 20, "cispo", 0.3, 0, 0, 3, 0, 0},
    {GEOMETRIC, 5000, 30, 1, "reinforce", -0.3, 0, 24, 0, 1, 0},
    {UNIFORM, 5000, 60, 3, "sapo:tau_pos=1,tau_neg=1.05", 0.5, 1e-13, 32, 1, 3, 0},
    {UNIFORM, 4200, 60, 3, "gipo", -0.3, 1e-14, 24, 2, 5, 1000},
    {ZIPF, 20000, 6, 500, "sapo", 0.3, 0, 0, 3, 0, 0},
};
enum { TRIALS = sizeof trials / sizeof *trials };

static sg_light_rows *rows_of(sg_backend_kind backend, const trial *t, double shift)
{
    double *z = make_logits(t->shape, t->vocabulary);
    sg_light_config config = {STATES, t->tolerance, t->explicit_limit};
    sg_light_prior *prior;
    sg_light_rows *rows;
    sg_error error;
    for (size_t v = 0; v < t->vocabulary; v++)
        z[v] += shift;
    ck_assert_msg(sg_light_prior_alloc(&prior, t->vocabulary, HEAD, z, &error) == SG_OK, "%s",
                  error.message);
    ck_assert_msg(sg_light_rows_alloc(&rows, backend, &config, prior, &error) == SG_OK, "%s",
                  error.message);
    sg_light_prior_free(prior);
    free(z);
    return rows;
}

/* One step of a policy; every third also has updates with given pushes, of tokens from anywhere. */
static void take_step(record *seen, sg_light_rows *rows, const trial *t, uint32_t step)
{
    double numbers[CELLS], old[CELLS], advantage[CELLS], pushes[CELLS * UPDATES];
    int32_t tokens[CELLS];
    sg_row_change change[STATES];
    sg_objective objective;
    sg_error error;
    ck_assert_int_eq(sg_objective_parse(&objective, t->objective, &error), SG_OK);
    for (uint32_t j = 0; j < CELLS; j++) {
        numbers[j] = uniform(step, j);
        advantage[j] = normal(step, j) + t->shift;
    }
    sg_light_rows_draw(rows, 0, STATES, SAMPLES, numbers, tokens, step % 5 ? numbers : NULL);
    see(seen, tokens, sizeof tokens);
    sg_light_rows_log_prob(rows, 0, STATES, SAMPLES, tokens, old);
    see_doubles(seen, old, sizeof old);
    if (step % 5)
        ck_assert_mem_eq(numbers, old, sizeof old);
    ck_assert_msg(sg_light_rows_inner_updates(rows, t->lr, UPDATES, &objective, 1.0 / SAMPLES, 0,
                                              STATES, SAMPLES, tokens, old, advantage, pushes,
                                              &error) == SG_OK,
                  "%s", error.message);
    see_doubles(seen, pushes, sizeof pushes);
    if (step % 3 != 0)
        return;
    for (uint32_t j = 0; j < CELLS; j++)
        tokens[j] = (int32_t)(uniform(step, CELLS + j) * (double)t->vocabulary);
    tokens[3] = tokens[2];
    advantage[5] = 0;
    (step % 2 ? sg_light_rows_update_projected
              : sg_light_rows_update)(rows, 0.2 * t->lr, 1, STATES - 1, SAMPLES, tokens, advantage,
                                      step % 9 ? change : NULL, &error);
    if (step % 9)
        see_doubles(seen, change, (STATES - 1) * sizeof *change);
}

static void see_rows(record *seen, const sg_light_rows *rows, size_t vocabulary)
{
    sg_row_observation look[STATES];
    double collision[STATES], masses[4], *numbers = malloc(vocabulary * sizeof *numbers);
    int32_t some[] = {1, 0, 1, 250};
    size_t state[] = {2, 0, 2, 1}, start[] = {0, 2, 2, 3, 4}; /* one set is empty */
    sg_light_rows_masses(rows, 4, state, start, some, masses);
    see_doubles(seen, masses, sizeof masses);
    sg_light_rows_observe(rows, 0, STATES, look);
    see_doubles(seen, look, sizeof look);
    sg_light_rows_collision(rows, 0, STATES, collision);
    see_doubles(seen, collision, sizeof collision);
    for (size_t s = 0; s < STATES; s++) {
        double mass = sg_light_rows_mass(rows, s, some, 4);
        sg_light_report report = sg_light_rows_report(rows, s);
        see_doubles(seen, &mass, sizeof mass);
        see_doubles(seen, &report, sizeof report);
        sg_light_rows_get_logits(rows, s, numbers);
        see_doubles(seen, numbers, vocabulary * sizeof *numbers);
    }
    size_t size = sg_light_rows_save(rows, NULL);
    char *bytes = malloc(size);
    ck_assert_uint_eq(sg_light_rows_save(rows, bytes), size);
    see(seen, bytes, size);
    free(bytes);
    free(numbers);
}

static record run_trial(sg_backend_kind backend, const trial *t, sg_light_report *report)
{
    record seen = {0};
    sg_light_rows *rows = rows_of(backend, t, 0);
    for (uint32_t step = 1; step <= t->steps; step++) {
        take_step(&seen, rows, t, step);
        if (step % (t->steps / 3) == 0)
            see_rows(&seen, rows, t->vocabulary);
    }
    *report = sg_light_rows_report(rows, 1);
    sg_light_rows_free(rows);
    return seen;
}

START_TEST(the_device_gives_the_bytes_of_the_processor)
{
    const trial *t = &trials[_i];
    sg_light_report report[2];
    record mine = run_trial(SG_BACKEND_CUDA, t, &report[0]);
    record theirs = run_trial(SG_BACKEND_CPU, t, &report[1]);
    assert_same_records(&theirs, &mine, t->objective, _i);
    ck_assert_uint_ge(report[0].rebases, t->least_rebases);
    ck_assert_uint_ge(report[0].folds, t->least_folds);
    ck_assert_uint_ge(report[0].explicit_tokens, t->least_explicit);
}
END_TEST

/* Copies, other priors, and bytes that one backend saved and the other one loads. */
static record run_copies(sg_backend_kind backend, const char *bytes, size_t size)
{
    trial t = {ZIPF, 3000, 0, 2, "sapo", 0.1, 1e-13, 32, 0, 0, 0};
    record seen = {0};
    sg_light_rows *rows = rows_of(backend, &t, 0), *other = rows_of(backend, &t, 0), *third;
    sg_error error;
    for (uint32_t step = 1; step <= 8; step++)
        take_step(&seen, rows, &t, step);
    if (bytes != NULL)
        ck_assert_msg(sg_light_rows_load(rows, bytes, size, &error) == SG_OK, "%s", error.message);
    double *z = make_logits(UNIFORM, t.vocabulary);
    ck_assert_int_eq(sg_light_rows_set_logits(rows, 2, z, &error), SG_OK);
    ck_assert_int_eq(sg_light_rows_set_logits(rows, 2, z, &error), SG_OK);
    free(z);
    take_step(&seen, other, &t, 3);
    ck_assert_int_eq(sg_light_rows_copy(other, rows, &error), SG_OK);
    ck_assert_int_eq(sg_light_rows_clone(&third, other, &error), SG_OK);
    sg_light_rows_free(rows);
    for (uint32_t step = 20; step <= 24; step++) {
        take_step(&seen, other, &t, step);
        take_step(&seen, third, &t, step);
    }
    see_rows(&seen, other, t.vocabulary);
    see_rows(&seen, third, t.vocabulary);
    ck_assert_int_eq(sg_light_rows_load(third, seen.bytes, 1000, &error), SG_EDATA);
    sg_light_rows_free(other);
    sg_light_rows_free(third);
    return seen;
}

START_TEST(copies_and_saved_rows_go_on_alike)
{
    trial t = {ZIPF, 3000, 0, 2, "sapo", 0.1, 1e-13, 32, 0, 0, 0};
    char *bytes = NULL;
    size_t size = 0;
    if (_i > 0) { /* each backend's bytes, loaded by both */
        record seen = {0};
        sg_light_rows *rows = rows_of(_i == 1 ? SG_BACKEND_CUDA : SG_BACKEND_CPU, &t, 0);
        for (uint32_t step = 1; step <= 10; step++)
            take_step(&seen, rows, &t, step);
        size = sg_light_rows_save(rows, NULL);
        bytes = malloc(size);
        sg_light_rows_save(rows, bytes);
        sg_light_rows_free(rows);
        free(seen.bytes);
    }
    record mine = run_copies(SG_BACKEND_CUDA, bytes, size);
    record theirs = run_copies(SG_BACKEND_CPU, bytes, size);
    assert_same_records(&theirs, &mine, "copies", _i);
    free(bytes);
}
END_TEST

/* More samples than there is room for at first, some of them twice. */
static record run_many_samples(sg_backend_kind backend)
{
    enum { MANY = 400 };
    trial t = {GAUSSIAN, 3000, 0, 0.5, "sapo", 0, 0, 8, 0, 0, 0};
    record seen = {0};
    sg_light_rows *rows = rows_of(backend, &t, 1.5);
    int32_t tokens[STATES * MANY];
    double pushes[STATES * MANY];
    sg_row_change change[STATES];
    sg_error error;
    for (uint32_t step = 1; step <= 3; step++) {
        for (uint32_t j = 0; j < STATES * MANY; j++) {
            tokens[j] = (int32_t)(uniform(step, j) * 3000);
            pushes[j] = normal(step, j) * 0.1;
        }
        ck_assert_int_eq(
            sg_light_rows_update(rows, 1, 0, STATES, MANY, tokens, pushes, change, &error), SG_OK);
        see_doubles(&seen, change, sizeof change);
    }
    see_rows(&seen, rows, t.vocabulary);
    sg_light_rows_free(rows);
    return seen;
}

START_TEST(rows_get_room_for_many_samples)
{
    record mine = run_many_samples(SG_BACKEND_CUDA), theirs = run_many_samples(SG_BACKEND_CPU);
    assert_same_records(&theirs, &mine, "many samples", 0);
}
END_TEST

START_TEST(simulations_have_the_same_table)
{
    static const char *const settings[] = {"policy.rows=light",
                                           "optimizer.kind=sgd",
                                           "optimizer.lr=2",
                                           "policy.vocabulary=2500",
                                           "policy.head=6",
                                           "policy.precision=fp64",
                                           "task.prompts=2",
                                           "task.length=2",
                                           "task.reward=fraction",
                                           "rollout.group=8",
                                           "update.minibatches=2",
                                           "run.steps=6",
                                           "run.seeds=2",
                                           "rollout.lag=1",
                                           NULL};
    sg_config config;
    set_up(&config, settings);
    assert_same_on_both(&config, "light/cuda/sm_", 0);
}
END_TEST

Suite *cuda_light_suite(void);
Suite *cuda_light_suite(void)
{
    Suite *suite = suite_create("cuda_light");
    TCase *tests = tcase_create("conformance");
    tcase_set_timeout(tests, 120);
    tcase_add_loop_test(tests, the_device_gives_the_bytes_of_the_processor, 0, TRIALS);
    tcase_add_loop_test(tests, copies_and_saved_rows_go_on_alike, 0, 3);
    tcase_add_test(tests, rows_get_room_for_many_samples);
    tcase_add_test(tests, simulations_have_the_same_table);
    suite_add_tcase(suite, tests);
    return suite;
}
