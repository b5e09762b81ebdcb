/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The fast kernels of rows give the bits of the plain ones, and of the CPU where it has no exp of its own: the pass of an
 * update, and inner updates of rows that stay on the chip. */
#include <check.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "backend/backend.h"
#include "backend/cuda/device.h"
#include "core/rng.h"

enum { STATES = 3, SAMPLES = 9, CELLS = STATES * SAMPLES };

static const sg_optimizer optimizers[] = {
    {SG_SGD, 0.5, 0, 0, 0, 0},
    {SG_SGD, 300, 0, 0, 0, 0}, /* steps that move the offset */
    {SG_MOMENTUM, 0.2, 0.9, 0, 0, 0},
    {SG_ADAM, 1e-3, 0.9, 0.999, 1e-8, 0},
    {SG_ADAM, 12, 0.9, 0.999, 1e-8, 0}, /* masses leave their range, the offset does not move */
    {SG_ADAM, 40, 0.9, 0.95, 0, 0},
    {SG_ADAMW, 0.02, 0.9, 0.999, 1e-8, 0.1},
    {SG_COUPLED_ADAM, 1e-3, 0.9, 0.999, 1e-8, 0},
    {SG_COUPLED_ADAM, 0.5, 0.9, 0.999, 1e-8, 0},
};
enum { OPTIMIZERS = sizeof optimizers / sizeof *optimizers };

/* What rows were after updates with given pushes, and after inner updates. */
typedef struct record {
    double *logits; /* [STATES][vocabulary] */
    double pushes[2][CELLS];
    char *bytes;
    size_t size;
} record;

static double normal(uint32_t step, uint32_t sample)
{
    double pair[2];
    sg_rng_normal_pair((sg_address){31, SG_STREAM_SYNTHETIC, step, 0, sample, 0}, pair);
    return pair[0];
}

static double uniform(uint32_t step, uint32_t sample)
{
    return sg_rng_uniform((sg_address){32, SG_STREAM_SYNTHETIC, step, 0, sample, 0});
}

/* Tokens of all tiles, some of them twice. */
static void choose_tokens(uint32_t step, size_t vocabulary, int32_t tokens[CELLS])
{
    for (uint32_t j = 0; j < CELLS; j++)
        tokens[j] = (int32_t)(uniform(step, j) * (double)vocabulary);
    tokens[0] = tokens[4] = tokens[5];
    tokens[CELLS - 1] = (int32_t)vocabulary - 1;
}

/* Pushes with a sum, and pushes without one, which leave tokens that were not sampled alone. */
static void update(sg_rows *rows, const sg_optimizer *optimizer, uint32_t time, size_t vocabulary)
{
    int32_t tokens[CELLS];
    double pushes[CELLS];
    choose_tokens(time, vocabulary, tokens);
    for (uint32_t j = 0; j < CELLS; j++)
        pushes[j] = 0.3 * normal(time, j);
    pushes[3] = 0;
    (time == 2 ? sg_rows_update_projected : sg_rows_update)(rows, optimizer, time, 0, STATES,
                                                            SAMPLES, tokens, pushes, NULL);
}

static void inner_updates(sg_rows *rows, const sg_optimizer *optimizer, uint32_t time,
                          uint64_t updates, size_t first, double *pushes)
{
    int32_t tokens[CELLS];
    double u[CELLS], old[CELLS], advantage[CELLS];
    sg_objective objective;
    size_t count = STATES - first;
    ck_assert_int_eq(sg_objective_parse(&objective, "sapo", NULL), SG_OK);
    for (uint32_t j = 0; j < CELLS; j++)
        u[j] = uniform(time, j);
    u[2] = u[7] = u[8];
    sg_rows_draw(rows, first, count, SAMPLES, u, tokens, NULL);
    sg_rows_log_prob(rows, first, count, SAMPLES, tokens, old);
    for (uint32_t j = 0; j < CELLS; j++)
        advantage[j] = normal(100 + time, j);
    sg_rows_inner_updates(rows, optimizer, time, updates, &objective, 1.0 / SAMPLES, first, count,
                          SAMPLES, tokens, old, advantage, pushes);
}

static void set_logits(sg_rows *rows, size_t vocabulary)
{
    double *z = malloc(vocabulary * sizeof *z);
    for (uint32_t s = 0; s < STATES; s++) {
        for (size_t i = 0; i < vocabulary; i++)
            z[i] = i % 97 == 96 ? -INFINITY : 2 * normal(200 + s, (uint32_t)i);
        ck_assert_int_eq(sg_rows_set_logits(rows, s, z, NULL), SG_OK);
    }
    free(z);
}

static record run_rows(sg_backend_kind backend, sg_cuda_kernels kernels,
                       const sg_optimizer *optimizer, sg_precision precision, size_t vocabulary)
{
    record seen = {.logits = malloc(STATES * vocabulary * sizeof(double))};
    sg_rows_config config = {STATES, vocabulary, 1, precision, optimizer->kind};
    sg_rows *rows;
    sg_error error;
    sg_cuda_kernels before = sg_cuda_kernels_chosen();
    sg_cuda_kernels_choose(kernels);
    ck_assert_msg(sg_rows_alloc(&rows, backend, &config, &error) == SG_OK, "%s", error.message);
    set_logits(rows, vocabulary);
    for (uint32_t time = 1; time <= 3; time++)
        update(rows, optimizer, time, vocabulary);
    for (size_t s = 0; s < STATES; s++)
        sg_rows_get_logits(rows, s, seen.logits + s * vocabulary);
    inner_updates(rows, optimizer, 4, 3, 0, seen.pushes[0]);
    inner_updates(rows, optimizer, 7, 1, 1, backend == SG_BACKEND_CPU ? seen.pushes[1] : NULL);
    inner_updates(rows, optimizer, 8, 2, 1, seen.pushes[1]);
    seen.size = sg_rows_save(rows, NULL);
    seen.bytes = malloc(seen.size);
    ck_assert_uint_eq(sg_rows_save(rows, seen.bytes), seen.size);
    ck_assert_msg(sg_rows_status(rows, &error) == SG_OK, "%s", error.message);
    sg_rows_free(rows);
    sg_cuda_kernels_choose(before);
    return seen;
}

static void forget(record *seen)
{
    free(seen->logits);
    free(seen->bytes);
}

/* Runs of the fast kernels against one of the plain ones. */
static void compare(const sg_optimizer *optimizer, sg_precision precision, size_t vocabulary,
                    int runs)
{
    record plain = run_rows(SG_BACKEND_CUDA, SG_CUDA_PLAIN, optimizer, precision, vocabulary);
    for (int run = 0; run < runs; run++) {
        record fast = run_rows(SG_BACKEND_CUDA, SG_CUDA_FAST, optimizer, precision, vocabulary);
        ck_assert(memcmp(fast.logits, plain.logits, STATES * vocabulary * sizeof *fast.logits) ==
                  0);
        for (size_t j = 0; j < CELLS; j++)
            ck_assert_msg(fast.pushes[0][j] == plain.pushes[0][j], "push %zu: %.17g, %.17g", j,
                          fast.pushes[0][j], plain.pushes[0][j]);
        ck_assert(
            memcmp(fast.pushes[1], plain.pushes[1], (STATES - 1) * SAMPLES * sizeof(double)) == 0);
        ck_assert_uint_eq(fast.size, plain.size);
        size_t same = 0;
        while (same < fast.size && fast.bytes[same] == plain.bytes[same])
            same++;
        ck_assert_msg(same == fast.size, "V %zu, precision %d: byte %zu of %zu differs", vocabulary,
                      precision, same, fast.size);
        forget(&fast);
    }
    forget(&plain);
}

START_TEST(fast_kernels_give_the_bits_of_plain_ones)
{
    static const size_t vocabularies[] = {2, 17, 1025, 3000};
    for (int precision = SG_FP32; precision <= SG_FP64; precision++)
        for (size_t v = 0; v < sizeof vocabularies / sizeof *vocabularies; v++)
            compare(&optimizers[_i], (sg_precision)precision, vocabularies[v], 1);
}
END_TEST

/* 18 tiles in two blocks; 130 in eight, the last of which has fewer. Twice, to the same bits. */
START_TEST(rows_in_several_blocks_have_the_same_bits)
{
    compare(&optimizers[_i], SG_FP32, 17 * 1024 + 5, 2);
    if (_i == 0)
        compare(&optimizers[_i], SG_FP32, 132500, 1);
}
END_TEST

/* 16 blocks of 6 tiles, which only some devices run; and a row that no cluster holds. */
START_TEST(rows_that_hardly_fit_have_the_same_bits)
{
    static const sg_optimizer adam = {SG_ADAM, 1e-3, 0.9, 0.999, 1e-8, 0};
    compare(&adam, SG_FP64, _i == 0 ? 90000 : 150000, 1);
}
END_TEST

START_TEST(updates_have_the_bits_of_the_cpu)
{
    const sg_optimizer *optimizer = &optimizers[_i];
    for (int precision = SG_FP32; precision <= SG_FP64; precision++) {
        enum { V = 5003 };
        record cpu = run_rows(SG_BACKEND_CPU, SG_CUDA_PLAIN, optimizer, precision, V);
        record fast = run_rows(SG_BACKEND_CUDA, SG_CUDA_FAST, optimizer, precision, V);
        for (size_t i = 0; i < (size_t)STATES * V; i++)
            ck_assert_msg(isnan(cpu.logits[i])
                              ? isnan(fast.logits[i])
                              : memcmp(&cpu.logits[i], &fast.logits[i], sizeof(double)) == 0,
                          "logit %zu, precision %d: %.17g, %.17g", i, precision, cpu.logits[i],
                          fast.logits[i]);
        for (size_t j = 0; j < CELLS; j++)
            ck_assert_double_eq_tol(cpu.pushes[0][j], fast.pushes[0][j], 1e-9);
        forget(&cpu);
        forget(&fast);
    }
}
END_TEST

Suite *cuda_fast_rows_suite(void);
Suite *cuda_fast_rows_suite(void)
{
    Suite *suite = suite_create("cuda_fast_rows");
    TCase *tests = tcase_create("bits");
    tcase_set_timeout(tests, 120);
    tcase_add_loop_test(tests, fast_kernels_give_the_bits_of_plain_ones, 0, OPTIMIZERS);
    tcase_add_loop_test(tests, rows_in_several_blocks_have_the_same_bits, 0, OPTIMIZERS);
    tcase_add_loop_test(tests, rows_that_hardly_fit_have_the_same_bits, 0, 2);
    tcase_add_loop_test(tests, updates_have_the_bits_of_the_cpu, 0, OPTIMIZERS);
    suite_add_tcase(suite, tests);
    return suite;
}
