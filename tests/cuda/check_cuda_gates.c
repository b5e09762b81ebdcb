/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Bulk gates on the device beside those of the CPU: the same maths without contraction, hence the same bits. */
#include <check.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "backend/cuda/gates.h"
#include "core/rng.h"

enum { N = 10007 };

static const char *const specs[] = {"sapo:tau_pos=1,tau_neg=3",
                                    "grpo:eps_low=0.2,eps_high=0.28,dual_clip=3",
                                    "gate-erf",
                                    "gate-arctan",
                                    "gate-softsign",
                                    "unclipped",
                                    "reinforce",
                                    "cispo",
                                    "gipo",
                                    "spo",
                                    "ce-gppo",
                                    "aspo"};
enum { SPECS = sizeof specs / sizeof *specs };

static sg_objective objective_of(const char *spec)
{
    sg_objective objective;
    sg_error error;
    ck_assert_msg(sg_objective_parse(&objective, spec, &error) == SG_OK, "%s", error.message);
    return objective;
}

/* Ratios around 1, a few awkward ones, and advantages of both signs. */
static void make_batch(size_t n, float *ratio, float *advantage)
{
    static const float awkward[] = {0.0f, INFINITY, NAN, 1e-40f, 1.0f, 0.8f, 1.28f, 1e30f};
    for (size_t i = 0; i < n; i++) {
        double pair[2];
        sg_rng_normal_pair((sg_address){3, SG_STREAM_SYNTHETIC, 0, 0, 0, (uint32_t)i}, pair);
        ratio[i] = i < 8 ? awkward[i] : expf((float)(0.4 * pair[0]));
        advantage[i] = i % 11 == 0 ? 0.0f : (float)pair[1];
    }
}

static bool same(float x, float y)
{
    return isnan(x) ? isnan(y) : x == y;
}

START_TEST(tokens_have_the_bits_of_the_cpu)
{
    sg_objective objective = objective_of(specs[_i]);
    float *x = malloc(6 * N * sizeof *x), *ratio = x, *advantage = x + N, *v = x + 2 * N,
          *s = x + 3 * N, *value = x + 4 * N, *slope = x + 5 * N;
    make_batch(N, ratio, advantage);
    ck_assert_int_eq(sg_gates_apply(SG_BACKEND_CPU, &objective, N, ratio, advantage, v, s, NULL),
                     SG_OK);
    ck_assert_int_eq(
        sg_gates_apply(SG_BACKEND_CUDA, &objective, N, ratio, advantage, value, slope, NULL),
        SG_OK);
    for (int i = 0; i < N; i++) {
        ck_assert_msg(same(v[i], value[i]), "value of %.9g", (double)ratio[i]);
        ck_assert_msg(same(s[i], slope[i]), "slope of %.9g", (double)ratio[i]);
    }
    free(x);
}
END_TEST

/* Device arrays that wide loads cannot take, and every number of tokens left over. */
START_TEST(any_alignment_and_length_will_do)
{
    enum { MOST = 1030 };
    sg_objective objective = objective_of("sapo");
    float ratio[MOST], advantage[MOST], v[MOST], s[MOST], value[MOST], slope[MOST];
    make_batch(MOST, ratio, advantage);
    sg_gates_apply(SG_BACKEND_CPU, &objective, MOST, ratio, advantage, v, s, NULL);
    void *block;
    sg_error error;
    ck_assert_int_eq(sg_cuda_alloc(&block, 4 * MOST * sizeof(float), "a test", &error), SG_OK);
    float *at = block;
    for (size_t from = 0; from < 5; from++)
        for (size_t n = MOST - 10; n <= MOST - 6; n++) {
            ck_assert_int_eq(sg_cuda_zero(block, 4 * MOST * sizeof(float), NULL, &error), SG_OK);
            sg_cuda_to_device(at, ratio, MOST * sizeof(float), NULL, &error);
            sg_cuda_to_device(at + MOST, advantage, MOST * sizeof(float), NULL, &error);
            ck_assert_int_eq(sg_cuda_gates_queue(&objective, n, at + from, at + MOST + from,
                                                 at + 2 * MOST + from, at + 3 * MOST + from, NULL,
                                                 &error),
                             SG_OK);
            sg_cuda_from_device(value, at + 2 * MOST, MOST * sizeof(float), NULL, &error);
            sg_cuda_from_device(slope, at + 3 * MOST, MOST * sizeof(float), NULL, &error);
            for (size_t i = 0; i < MOST; i++) {
                bool inside = i >= from && i < from + n;
                ck_assert(same(value[i], inside ? v[i] : 0));
                ck_assert(same(slope[i], inside ? s[i] : 0));
            }
        }
    sg_cuda_free(block);
}
END_TEST

/* More tokens than are on the device at a time. */
START_TEST(pieces_fit_together)
{
    enum { MANY = (1 << 22) + 5 };
    sg_objective objective = objective_of("grpo");
    float *x = malloc(4 * (size_t)MANY * sizeof *x), *ratio = x, *advantage = x + MANY,
          *v = x + 2 * (size_t)MANY, *value = x + 3 * (size_t)MANY;
    for (size_t i = 0; i < MANY; i++) {
        ratio[i] = (float)(i % 1000) * 2e-3f;
        advantage[i] = (float)(i % 7) - 3;
    }
    sg_gates_apply(SG_BACKEND_CPU, &objective, MANY, ratio, advantage, v, NULL, NULL);
    ck_assert_int_eq(
        sg_gates_apply(SG_BACKEND_CUDA, &objective, MANY, ratio, advantage, value, NULL, NULL),
        SG_OK);
    ck_assert_int_eq(memcmp(v, value, MANY * sizeof *v), 0);
    free(x);
}
END_TEST

/* Counts are exact; a sum of weights depends on its order by rounding only. */
START_TEST(statistics_are_those_of_the_cpu)
{
    sg_objective objective[SPECS];
    sg_gate_statistics cpu[SPECS], device[SPECS], again[SPECS];
    for (int k = 0; k < SPECS; k++)
        objective[k] = objective_of(specs[k]);
    float *ratio = malloc(2 * N * sizeof *ratio), *advantage = ratio + N;
    make_batch(N, ratio, advantage);
    size_t from = _i == 0 ? 0 : 8, n = N - from; /* with and without NaN */
    ratio += from, advantage += from;
    memset(device, 0, sizeof device); /* padding, as bytes are compared */
    memset(again, 0, sizeof again);
    ck_assert_int_eq(
        sg_gates_statistics(SG_BACKEND_CPU, SPECS, objective, n, ratio, advantage, cpu, NULL),
        SG_OK);
    ck_assert_int_eq(
        sg_gates_statistics(SG_BACKEND_CUDA, SPECS, objective, n, ratio, advantage, device, NULL),
        SG_OK);
    ck_assert_int_eq(
        sg_gates_statistics(SG_BACKEND_CUDA, SPECS, objective, n, ratio, advantage, again, NULL),
        SG_OK);
    ck_assert_mem_eq(device, again, sizeof device);
    for (int k = 0; k < SPECS; k++) {
        double mine = device[k].effective_update_ratio, want = cpu[k].effective_update_ratio;
        ck_assert(isnan(want) ? isnan(mine)
                              : fabs(mine - want) <= 1e-12 * fabs(want) || mine == want);
        device[k].effective_update_ratio = cpu[k].effective_update_ratio = 0;
        ck_assert_mem_eq(&device[k], &cpu[k], sizeof cpu[k]);
    }
    free(ratio - from);
}
END_TEST

/* The first sequence need not start at token 0; some are empty, some longer than a warp. */
START_TEST(sequences_are_those_of_the_cpu)
{
    enum { SEQUENCES = 301 };
    sg_objective objective = objective_of(_i ? "sapo:level=sequence" : "gspo");
    size_t start[SEQUENCES + 1] = {17};
    for (size_t i = 0; i < SEQUENCES; i++)
        start[i + 1] = start[i] + (i * i) % 97;
    size_t n = start[SEQUENCES];
    float *d = malloc(3 * n * sizeof *d), *s = d + n, *slope = d + 2 * n;
    float advantage[SEQUENCES], v[SEQUENCES], value[SEQUENCES], rows[SEQUENCES], row[SEQUENCES];
    for (size_t i = 0; i < n; i++) {
        double pair[2];
        sg_rng_normal_pair((sg_address){4, SG_STREAM_SYNTHETIC, 0, 0, 0, (uint32_t)i}, pair);
        d[i] = (float)(1e-3 * pair[0]);
        s[i] = slope[i] = 7;
    }
    for (size_t i = 0; i < SEQUENCES; i++)
        advantage[i] = i % 2 ? 0.5f : -1.5f;
    ck_assert_int_eq(sg_gates_apply_sequences(SG_BACKEND_CPU, &objective, SEQUENCES, start, d,
                                              advantage, v, rows, s, NULL),
                     SG_OK);
    ck_assert_int_eq(sg_gates_apply_sequences(SG_BACKEND_CUDA, &objective, SEQUENCES, start, d,
                                              advantage, value, row, slope, NULL),
                     SG_OK);
    for (size_t i = 0; i < SEQUENCES; i++) {
        ck_assert_float_eq_tol(value[i], v[i], 2e-7f);
        ck_assert_float_eq_tol(row[i], rows[i], 2e-7f);
    }
    for (size_t t = 0; t < n; t++)
        ck_assert_float_le(fabsf(slope[t] - s[t]), t < 17 ? 0.0f : 2e-7f);
    free(d);
}
END_TEST

Suite *cuda_gates_suite(void);
Suite *cuda_gates_suite(void)
{
    Suite *suite = suite_create("cuda_gates");
    TCase *tests = tcase_create("beside the CPU");
    tcase_set_timeout(tests, 120);
    tcase_add_loop_test(tests, tokens_have_the_bits_of_the_cpu, 0, SPECS);
    tcase_add_test(tests, any_alignment_and_length_will_do);
    tcase_add_test(tests, pieces_fit_together);
    tcase_add_loop_test(tests, statistics_are_those_of_the_cpu, 0, 2);
    tcase_add_loop_test(tests, sequences_are_those_of_the_cpu, 0, 2);
    suite_add_tcase(suite, tests);
    return suite;
}
