/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Rows on the device give the bits of the rows on the CPU: draws, probabilities, changes, observations,
 * logits, and a whole simulation. tests/check_rows.c holds both against the textbook. */
#include <check.h>
#include <math.h>
#include <stdlib.h>

#include "backend/backend.h"
#include "both_backends.h"
#include "record.h"

enum { STATES = 3, SAMPLES = 16, CELLS = STATES * SAMPLES, STEPS = 3, HEAD = 20 };

static const sg_optimizer optimizers[] = {
    {SG_SGD, 0.5, 0, 0, 0, 0},
    {SG_SGD, 2e-4, 0, 0, 0, 0},
    {SG_SGD, 300, 0, 0, 0, 0}, /* steps that move the offset */
    {SG_MOMENTUM, 0.2, 0.9, 0, 0, 0},
    {SG_ADAM, 0.02, 0.9, 0.999, 1e-8, 0},
    {SG_ADAM, 40, 0.9, 0.95, 0, 0},
    {SG_ADAMW, 0.02, 0.9, 0.999, 1e-8, 0.1},
    {SG_COUPLED_ADAM, 1e-3, 0.9, 0.999, 1e-8, 0},
};
enum { OPTIMIZERS = sizeof optimizers / sizeof *optimizers };

static sg_rows *rows_new(sg_backend_kind backend, const sg_rows_config *config)
{
    sg_rows *rows;
    sg_error error;
    ck_assert_msg(sg_rows_alloc(&rows, backend, config, &error) == SG_OK, "%s", error.message);
    return rows;
}

static void see_rows(record *seen, const sg_rows *rows, size_t vocabulary)
{
    sg_row_observation look[STATES];
    double collision[STATES], *numbers = malloc(vocabulary * sizeof *numbers);
    int32_t some[] = {1, 0, 1};
    size_t state[] = {2, 0, 2, 1}, start[] = {0, 2, 2, 3, 3};
    double masses[4];
    sg_rows_masses(rows, 4, state, start, some, masses); /* two sets are empty */
    see_doubles(seen, masses, sizeof masses);
    sg_rows_observe(rows, 0, STATES, look);
    see_doubles(seen, look, sizeof look);
    sg_rows_collision(rows, 0, STATES, collision);
    see_doubles(seen, collision, sizeof collision);
    for (size_t s = 0; s < STATES; s++) {
        double mass = sg_rows_mass(rows, s, some, 2);
        see_doubles(seen, &mass, sizeof mass);
        sg_rows_get_logits(rows, s, numbers);
        see_doubles(seen, numbers, vocabulary * sizeof *numbers);
        sg_rows_get_mean_square(rows, s, numbers);
        see_doubles(seen, numbers, isnan(numbers[0]) ? 0 : vocabulary * sizeof *numbers);
    }
    free(numbers);
}

/* One step of a policy: draws, their probabilities, an update of some kind. */
static void take_step(record *seen, sg_rows *rows, const sg_optimizer *optimizer, uint32_t step)
{
    double numbers[CELLS], of_draws[CELLS];
    int32_t tokens[CELLS];
    sg_row_change change[STATES];
    for (uint32_t j = 0; j < CELLS; j++)
        numbers[j] = uniform(step, j);
    sg_rows_draw(rows, 0, STATES, SAMPLES, numbers, tokens, step == 2 ? NULL : of_draws);
    see(seen, tokens, sizeof tokens);
    sg_rows_log_prob(rows, 0, STATES, SAMPLES, tokens, numbers);
    see_doubles(seen, numbers, sizeof numbers);
    if (step != 2)
        ck_assert_mem_eq(of_draws, numbers, sizeof numbers);
    for (uint32_t j = 0; j < CELLS; j++)
        numbers[j] = normal(step, j) * 0.2;
    tokens[3] = tokens[2];
    numbers[5] = 0;
    (step == 2 ? sg_rows_update_projected : sg_rows_update)(
        rows, optimizer, step, 0, STATES, SAMPLES, tokens, numbers, step == 3 ? NULL : change);
    if (step != 3)
        see_doubles(seen, change, sizeof change);
}

static record run_rows(sg_backend_kind backend, sg_precision precision, size_t vocabulary,
                       const sg_optimizer *optimizer)
{
    record seen = {0};
    sg_rows_config config = {STATES, vocabulary, vocabulary < HEAD ? 1 : HEAD, precision,
                             optimizer->kind};
    sg_rows *rows = rows_new(backend, &config), *other = rows_new(backend, &config);
    double *z = malloc(vocabulary * sizeof *z);
    for (uint32_t s = 0; s < STATES; s++) {
        for (size_t i = 0; i < vocabulary; i++)
            z[i] = i % 97 == 96 ? -INFINITY : 2 * normal(100 + s, (uint32_t)i);
        ck_assert_int_eq(sg_rows_set_logits(rows, s, z, NULL), SG_OK);
    }
    for (uint32_t step = 1; step <= STEPS; step++) {
        take_step(&seen, rows, optimizer, step);
        see_rows(&seen, rows, vocabulary);
    }
    /* Two ways to the same rows; then logits alone, and a fresh optimiser. */
    char *bytes = malloc(sg_rows_save(rows, NULL));
    ck_assert_uint_gt(sg_rows_save(rows, bytes), 0);
    take_step(&seen, rows, optimizer, 4);
    sg_rows_copy(other, rows);
    sg_rows_load(rows, bytes);
    take_step(&seen, rows, optimizer, 4);
    sg_rows_forget(rows);
    sg_rows_adopt(rows, other);
    take_step(&seen, rows, optimizer, 1);
    see_rows(&seen, rows, vocabulary);
    see_rows(&seen, other, vocabulary);
    ck_assert_int_eq(sg_rows_status(rows, NULL), SG_OK);
    free(bytes);
    free(z);
    sg_rows_free(rows);
    sg_rows_free(other);
    return seen;
}

START_TEST(the_device_gives_the_bits_of_the_cpu)
{
    static const size_t vocabularies[] = {2, 17, 1025, 3000};
    for (int precision = SG_FP32; precision <= SG_FP64; precision++)
        for (size_t v = 0; v < sizeof vocabularies / sizeof *vocabularies; v++) {
            size_t n = vocabularies[v];
            record cpu = run_rows(SG_BACKEND_CPU, precision, n, &optimizers[_i]);
            record device = run_rows(SG_BACKEND_CUDA, precision, n, &optimizers[_i]);
            assert_same_records(&cpu, &device, precision == SG_FP32 ? "fp32, V" : "fp64, V",
                                (int)n);
        }
}
END_TEST

/* The host goes on before the device has seen the samples: they must be what they were at the call. */
START_TEST(updates_that_nobody_waits_for_keep_their_samples)
{
    enum { V = 1500, UPDATES = 7 };
    sg_rows_config config = {STATES, V, HEAD, SG_FP32, SG_MOMENTUM};
    sg_optimizer momentum = {SG_MOMENTUM, 0.2, 0.9, 0, 0, 0};
    sg_rows *rows[] = {rows_new(SG_BACKEND_CPU, &config), rows_new(SG_BACKEND_CUDA, &config)};
    double pushes[CELLS], z[2][V];
    int32_t tokens[CELLS];
    for (uint32_t step = 1; step <= UPDATES; step++)
        for (int k = 0; k < 2; k++) {
            for (uint32_t j = 0; j < CELLS; j++) {
                tokens[j] = (int32_t)(uniform(step, j) * V);
                pushes[j] = normal(step, j);
            }
            sg_rows_update(rows[k], &momentum, step, 0, STATES, SAMPLES, tokens, pushes, NULL);
        }
    for (size_t s = 0; s < STATES; s++) {
        sg_rows_get_logits(rows[0], s, z[0]);
        sg_rows_get_logits(rows[1], s, z[1]);
        ck_assert_mem_eq(z[0], z[1], sizeof z[0]);
    }
    sg_rows_free(rows[0]);
    sg_rows_free(rows[1]);
}
END_TEST

/* With equal uniforms a token may differ only where a uniform falls within rounding of a boundary; with
 * equal bits, nowhere. */
START_TEST(equal_uniforms_draw_equal_tokens)
{
    enum { V = 20000, N = 512 };
    sg_rows_config config = {1, V, HEAD, SG_FP32, SG_SGD};
    sg_rows *rows[] = {rows_new(SG_BACKEND_CPU, &config), rows_new(SG_BACKEND_CUDA, &config)};
    double *z = malloc(V * sizeof *z), u[N];
    int32_t tokens[2][N];
    size_t different = 0;
    for (uint32_t i = 0; i < V; i++)
        z[i] = 3 * normal(7, i);
    for (uint32_t j = 0; j < N; j++)
        u[j] = uniform(8, j);
    for (int k = 0; k < 2; k++) {
        ck_assert_int_eq(sg_rows_set_logits(rows[k], 0, z, NULL), SG_OK);
        sg_rows_draw(rows[k], 0, 1, N, u, tokens[k], NULL);
        sg_rows_free(rows[k]);
    }
    for (size_t j = 0; j < N; j++)
        different += tokens[0][j] != tokens[1][j];
    ck_assert_msg(different == 0, "%zu of %d tokens differ", different, N);
    free(z);
}
END_TEST

/* Gates call exp, of which a device has its own: near, not equal. */
START_TEST(inner_updates_are_those_of_the_cpu)
{
    enum { V = 3000, UPDATES = 4 };
    sg_objective objective;
    ck_assert_int_eq(sg_objective_parse(&objective, "sapo", NULL), SG_OK);
    for (int kind = SG_SGD; kind <= SG_COUPLED_ADAM; kind++) {
        sg_rows_config config = {STATES, V, HEAD, SG_FP64, (sg_optimizer_kind)kind};
        sg_optimizer optimizer = {config.optimizer, 1e-3, 0.9, 0.999, 1e-8, 0};
        sg_rows *rows[] = {rows_new(SG_BACKEND_CPU, &config), rows_new(SG_BACKEND_CUDA, &config)};
        double u[CELLS], old[CELLS], advantage[CELLS], pushes[2][CELLS], z[2][V];
        int32_t tokens[CELLS];
        for (uint32_t j = 0; j < CELLS; j++) {
            u[j] = uniform(1, j);
            advantage[j] = normal(2, j);
        }
        for (int k = 0; k < 2; k++) {
            sg_rows_draw(rows[k], 0, STATES, SAMPLES, u, tokens, NULL);
            sg_rows_log_prob(rows[k], 0, STATES, SAMPLES, tokens, old);
            sg_rows_inner_updates(rows[k], &optimizer, 1, UPDATES, &objective, 1.0 / SAMPLES, 0,
                                  STATES, SAMPLES, tokens, old, advantage, pushes[k]);
        }
        for (size_t j = 0; j < CELLS; j++)
            ck_assert_double_eq_tol(pushes[0][j], pushes[1][j], 1e-12 * fabs(pushes[0][j]));
        for (int k = 0; k < 2; k++) /* a device does without room for the pushes */
            sg_rows_inner_updates(rows[k], &optimizer, 1 + UPDATES, 1, &objective, 1.0 / SAMPLES, 1,
                                  2, SAMPLES, tokens + SAMPLES, old + SAMPLES, advantage + SAMPLES,
                                  k ? NULL : pushes[k]);
        for (size_t s = 0; s < STATES; s++) {
            for (int k = 0; k < 2; k++)
                sg_rows_get_logits(rows[k], s, z[k]);
            for (size_t i = 0; i < V; i++)
                ck_assert_double_eq_tol(z[0][i], z[1][i], 1e-12);
        }
        sg_rows_free(rows[0]);
        sg_rows_free(rows[1]);
    }
}
END_TEST

START_TEST(a_simulation_is_that_of_the_cpu)
{
    static const char *const settings[][13] = {
        {"policy.vocabulary=1500", "policy.head=6", "task.prompts=2", "task.length=2",
         "rollout.group=8", "run.steps=6", "run.seeds=2", "optimizer.lr=0.1", NULL},
        {"policy.vocabulary=1500", "policy.head=6", "policy.precision=fp64", "task.prompts=2",
         "task.length=2", "rollout.group=8", "rollout.lag=1", "optimizer.kind=adam",
         "optimizer.lr=0.01", "optimizer.clip_norm=0.5", "run.steps=6", NULL},
    };
    for (size_t k = 0; k < sizeof settings / sizeof *settings; k++) {
        sg_config config;
        set_up(&config, settings[k]);
        assert_same_on_both(&config, "cuda/sm_", 0);
    }
}
END_TEST

Suite *cuda_rows_suite(void);
Suite *cuda_rows_suite(void)
{
    Suite *suite = suite_create("cuda_rows");
    TCase *tests = tcase_create("bits");
    tcase_set_timeout(tests, 120);
    tcase_add_loop_test(tests, the_device_gives_the_bits_of_the_cpu, 0, OPTIMIZERS);
    tcase_add_test(tests, updates_that_nobody_waits_for_keep_their_samples);
    tcase_add_test(tests, equal_uniforms_draw_equal_tokens);
    tcase_add_test(tests, inner_updates_are_those_of_the_cpu);
    tcase_add_test(tests, a_simulation_is_that_of_the_cpu);
    suite_add_tcase(suite, tests);
    return suite;
}
