/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Bulk gates against the double-precision gate of one token, on dense grids. */
#include <check.h>
#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#ifdef _OPENMP
#include <omp.h>
#endif

#include "backend/cuda/device.h"
#include "backend/gates.h"
#include "core/rng.h"
#include "run_suites.h"

static const char *const token_level[] = {
    "sapo",
    "sapo:tau_pos=10,tau_neg=12",
    "grpo",
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
    "aspo",
    "topr:level=token",
    "vespo:level=token",
};
enum { OBJECTIVES = sizeof token_level / sizeof *token_level, GRID = 20001 };

static bool parse(const char *spec, sg_objective *objective)
{
    sg_error error;
    if (sg_objective_parse(objective, spec, &error) == SG_OK)
        return objective->level == SG_LEVEL_TOKEN;
    /* Some gates have no token level of their own; the formula is tested all the same. */
    char name[64];
    snprintf(name, sizeof name, "%.*s", (int)strcspn(spec, ":"), spec);
    ck_assert_msg(sg_objective_parse(objective, name, &error) == SG_OK, "%s", error.message);
    objective->level = SG_LEVEL_TOKEN;
    return true;
}

/* Ratios over e^-5..e^5, evenly in the logarithm, and the awkward ones; both signs of advantage,
 * and 0. */
static void make_grid(float *ratio, float *advantage)
{
    static const float awkward[] = {1.0f, 0.8f, 1.2f, 0.0f, INFINITY, 1e-30f, 1e30f, 5.0f};
    for (size_t i = 0; i < GRID; i++) {
        ratio[i] = i < 24 ? awkward[i / 3] : (float)exp(10.0 * (double)i / GRID - 5);
        advantage[i] = i % 3 == 0 ? 1.5f : i % 3 == 1 ? -0.5f : 0.0f;
    }
}

static sg_gate_value gate_at(const sg_objective *objective, double ratio, float advantage)
{
    return sg_objective_eval(objective, log(ratio), (double)advantage, 0);
}

/* A ratio at the edge of a clip belongs to either side: fp32 and fp64 edges differ in the last
 * digit. */
static bool at_an_edge(const sg_objective *objective, float ratio, float advantage)
{
    sg_gate_value below = gate_at(objective, (double)ratio * (1 - 1e-6), advantage);
    sg_gate_value above = gate_at(objective, (double)ratio * (1 + 1e-6), advantage);
    return fabs(below.coefficient - above.coefficient) > 1e-3 * (1 + fabs(above.coefficient));
}

static double error_of(float mine, double theirs)
{
    return fabs((double)mine - theirs) / fmax(1, fabs(theirs));
}

START_TEST(bulk_gates_are_the_gates)
{
    sg_objective objective;
    ck_assert(parse(token_level[_i], &objective));
    float *ratio = malloc(4 * GRID * sizeof *ratio), *advantage = ratio + GRID;
    float *value = advantage + GRID, *slope = value + GRID;
    make_grid(ratio, advantage);
    ck_assert_int_eq(sg_gates_apply(backend_under_test(), &objective, GRID, ratio, advantage, value,
                                    slope, NULL),
                     SG_OK);
    double worst = 0, bound = objective.gate == SG_GATE_VESPO ? 3e-6 : 6e-7;
    for (size_t i = 0; i < GRID; i++) {
        double a = (double)advantage[i];
        sg_gate_value gate = gate_at(&objective, (double)ratio[i], advantage[i]);
        /* Beyond the range of single precision there is nothing to compare; infinity times 0 is NaN
         * in both. */
        if (at_an_edge(&objective, ratio[i], advantage[i]))
            continue;
        if (fabs(gate.surrogate) < 1e30)
            worst = fmax(worst, error_of(value[i], gate.surrogate * a));
        if (fabs(gate.coefficient) < 1e30)
            worst = fmax(worst, error_of(slope[i], gate.coefficient * a));
        ck_assert_msg(worst <= bound, "%s: error %g at ratio %.9g, advantage %g: %.9g and %.9g",
                      token_level[_i], worst, (double)ratio[i], a, (double)value[i],
                      (double)slope[i]);
    }
    if (getenv("SOFTGATE_REPORT"))
        printf("%s: %.2g\n", token_level[_i], worst);
    free(ratio);
}
END_TEST

/* Where e^x overflows, gates that close are exactly closed. */
START_TEST(limits_are_exact)
{
    float ratio[] = {INFINITY, INFINITY, 0, 0}, advantage[] = {1, -1, 1, -1}, value[4], slope[4];
    sg_objective objective;
    parse("sapo", &objective);
    sg_gates_apply(backend_under_test(), &objective, 4, ratio, advantage, value, slope, NULL);
    ck_assert_float_eq(value[0], 4);
    ck_assert_float_eq_tol(value[1], -4 / 1.05f, 1e-6f);
    for (size_t i = 0; i < 4; i++)
        ck_assert_float_eq(slope[i], 0);
    parse("grpo", &objective);
    sg_gates_apply(backend_under_test(), &objective, 4, ratio, advantage, value, slope, NULL);
    ck_assert_float_eq(value[0], 1.2f);
    ck_assert_float_eq(value[3], -0.8f);
    ck_assert_float_eq(slope[0], 0);
    ck_assert(isinf(slope[1]) && slope[1] < 0);
}
END_TEST

START_TEST(value_by_hand)
{
    sg_objective objective;
    parse("sapo:tau_pos=1", &objective);
    float ratio = 2, advantage = 1, value, slope;
    ck_assert_int_eq(sg_gates_apply(backend_under_test(), &objective, 1, &ratio, &advantage, &value,
                                    &slope, NULL),
                     SG_OK);
    ck_assert_float_eq_tol(value, 2.924234f, 1e-6f);
    ck_assert_float_eq_tol(slope, 1.572895f, 1e-6f);
}
END_TEST

START_TEST(nan_stays_nan)
{
    sg_objective objective;
    parse(token_level[_i], &objective);
    float ratio[] = {NAN, 1.1f, NAN}, advantage[] = {1, NAN, -1}, value[3], slope[3];
    ck_assert_int_eq(
        sg_gates_apply(backend_under_test(), &objective, 3, ratio, advantage, value, slope, NULL),
        SG_OK);
    for (size_t i = 0; i < 3; i++) {
        ck_assert_float_nan(value[i]);
        ck_assert_float_nan(slope[i]);
    }
}
END_TEST

static void set_threads(int threads)
{
#ifdef _OPENMP
    omp_set_num_threads(threads);
#else
    (void)threads;
#endif
}

/* Either output alone, any number of threads and any instruction set: the same bytes. */
START_TEST(results_do_not_depend_on_how_they_are_made)
{
    sg_objective objective;
    parse(token_level[_i], &objective);
    float *ratio = malloc(6 * GRID * sizeof *ratio), *advantage = ratio + GRID;
    float *value = advantage + GRID, *slope = value + GRID, *v = slope + GRID, *s = v + GRID;
    make_grid(ratio, advantage);
    sg_gate_statistics first, other;
    set_threads(1);
    sg_gates_apply(backend_under_test(), &objective, GRID, ratio, advantage, value, slope, NULL);
    sg_gates_statistics(backend_under_test(), 1, &objective, GRID - 24, ratio + 24, advantage + 24,
                        &first, NULL);
    const char *const isas[] = {"portable", "avx2", "avx512"};
    for (size_t k = 0; k < 3; k++) {
        set_threads((int)k + 1);
        setenv("SOFTGATE_ISA", isas[k], 1);
        sg_gates_apply(backend_under_test(), &objective, GRID, ratio, advantage, v, NULL, NULL);
        sg_gates_apply(backend_under_test(), &objective, GRID, ratio, advantage, NULL, s, NULL);
        sg_gates_statistics(backend_under_test(), 1, &objective, GRID - 24, ratio + 24,
                            advantage + 24, &other, NULL);
        unsetenv("SOFTGATE_ISA");
        for (size_t i = 0; i < GRID; i++) {
            ck_assert(isnan(v[i]) ? isnan(value[i]) : v[i] == value[i]);
            ck_assert(isnan(s[i]) ? isnan(slope[i]) : s[i] == slope[i]);
        }
        ck_assert_mem_eq(&first, &other, sizeof first);
    }
    set_threads(1);
    free(ratio);
}
END_TEST

START_TEST(statistics_count_what_the_gate_does)
{
    sg_objective objective;
    parse(token_level[_i], &objective);
    float *ratio = malloc(2 * GRID * sizeof *ratio), *advantage = ratio + GRID;
    make_grid(ratio, advantage);
    sg_gate_statistics mine;
    size_t n = GRID - 24, positive = 0, negative = 0, clipped = 0, binned = 0, inside = 0;
    double weight = 0;
    ck_assert_int_eq(sg_gates_statistics(backend_under_test(), 1, &objective, n, ratio + 24,
                                         advantage + 24, &mine, NULL),
                     SG_OK);
    for (size_t i = 24; i < GRID; i++) {
        double a = (double)advantage[i];
        sg_gate_value gate = sg_objective_eval(&objective, log((double)ratio[i]), a, 0);
        weight += gate.weight;
        positive += a > 0;
        negative += a < 0;
        clipped += a != 0 && fabs(gate.coefficient) < 1e-37;
        inside += gate.weight >= 0 && gate.weight <= 1;
    }
    for (size_t k = 0; k < SG_GATE_BINS; k++)
        binned += mine.histogram[k];
    ck_assert_uint_eq(mine.tokens, n);
    ck_assert_uint_eq(mine.positive, positive);
    ck_assert_uint_eq(mine.negative, negative);
    /* Tokens on an edge, and those whose coefficient of 1e-37 or so vanishes in one precision only. */
    ck_assert_double_le(
        fabs((double)(mine.clipped_positive + mine.clipped_negative) - (double)clipped), 80);
    ck_assert_double_le(fabs((double)binned - (double)inside), 2);
    ck_assert_uint_eq(binned + mine.outside, n);
    double mean = weight / (double)n;
    ck_assert_double_eq_tol(mine.effective_update_ratio / mean, 1, 1e-5);
    free(ratio);
}
END_TEST

START_TEST(sequences_share_one_ratio)
{
    enum { SEQUENCES = 700, MOST = 40 };
    sg_objective objective;
    sg_error error;
    ck_assert_int_eq(sg_objective_parse(&objective, "gspo", &error), SG_OK);
    size_t start[SEQUENCES + 1] = {0};
    for (size_t i = 0; i < SEQUENCES; i++)
        start[i + 1] = start[i] + i % MOST;
    size_t n = start[SEQUENCES];
    float *d = malloc(2 * n * sizeof *d), *slope = d + n, advantage[SEQUENCES], value[SEQUENCES];
    float row_slope[SEQUENCES];
    for (size_t i = 0; i < n; i++)
        d[i] = 2e-3f *
               (float)(sg_rng_uniform((sg_address){2, SG_STREAM_SYNTHETIC, 0, 0, 0, (uint32_t)i}) -
                       0.5);
    for (size_t i = 0; i < SEQUENCES; i++)
        advantage[i] = i % 2 ? 1.25f : -0.75f;
    ck_assert_int_eq(sg_gates_apply_sequences(backend_under_test(), &objective, SEQUENCES, start, d,
                                              advantage, value, row_slope, slope, &error),
                     SG_OK);
    size_t clipped = 0;
    for (size_t i = 0; i < SEQUENCES; i++) {
        double sum = 0, length = (double)(start[i + 1] - start[i]), a = (double)advantage[i];
        for (size_t t = start[i]; t < start[i + 1]; t++)
            sum += (double)d[t];
        double s = length > 0 ? exp(sum / length) : 1;
        double low = 1 - 3e-4, high = 1 + 4e-4;
        bool live = a > 0 ? s <= high : s >= low;
        clipped += !live;
        double bounded = fmin(fmax(s, low), high);
        ck_assert_double_eq_tol((double)value[i], fmin(s * a, bounded * a), 1e-7);
        if (length == 0)
            ck_assert_float_eq(row_slope[i], 0);
        for (size_t t = start[i]; t < start[i + 1]; t++) {
            ck_assert_double_eq_tol((double)slope[t], live ? s * a / length : 0, 1e-7);
            ck_assert_float_eq(slope[t], row_slope[i]);
        }
    }
    ck_assert_uint_gt(clipped, 10);
    free(d);
}
END_TEST

static const char *const of_rows[] = {"gspo",
                                      "gspo-token",
                                      "luspo",
                                      "sapo:level=sequence-token",
                                      "vespo",
                                      "topr",
                                      "unclipped:level=sequence"};

/* The ratio of a row is made of the mean or of the sum of its log-ratios, and so is the share of a token in it. */
START_TEST(rows_of_every_level)
{
    enum { SEQUENCES = 60, MOST = 45 };
    sg_objective objective;
    sg_error error;
    ck_assert_int_eq(sg_objective_parse(&objective, of_rows[_i], &error), SG_OK);
    bool product = objective.level == SG_LEVEL_PRODUCT;
    size_t start[SEQUENCES + 1] = {3};
    for (size_t i = 0; i < SEQUENCES; i++)
        start[i + 1] = start[i] + i % MOST;
    static float d[3 + SEQUENCES * MOST], slope[3 + SEQUENCES * MOST];
    float advantage[SEQUENCES], value[SEQUENCES], row_slope[SEQUENCES];
    for (size_t i = 0; i < start[SEQUENCES]; i++)
        d[i] = 2e-2f *
               (float)(sg_rng_uniform((sg_address){3, SG_STREAM_SYNTHETIC, 0, 0, 0, (uint32_t)i}) -
                       0.4);
    for (size_t i = 0; i < SEQUENCES; i++)
        advantage[i] = i % 3 == 0 ? 1.25f : i % 3 == 1 ? -0.75f : 0.0f;
    ck_assert_int_eq(sg_gates_apply_sequences(backend_under_test(), &objective, SEQUENCES, start, d,
                                              advantage, value, row_slope, slope, &error),
                     SG_OK);
    for (size_t i = 0; i < SEQUENCES; i++) {
        double sum = 0, length = (double)(start[i + 1] - start[i]), a = (double)advantage[i];
        for (size_t t = start[i]; t < start[i + 1]; t++)
            sum += (double)d[t];
        double share = product || length == 0 ? 1 : length;
        sg_gate_value gate = sg_objective_eval(&objective, sum / share, a, 0);
        ck_assert_double_le(error_of(value[i], gate.surrogate * a), 2e-7);
        double want = length > 0 ? gate.coefficient * a / share : 0;
        ck_assert_double_le(error_of(row_slope[i], want), 2e-7);
        if (length > 0)
            ck_assert_float_eq(slope[start[i + 1] - 1], row_slope[i]);
    }
}
END_TEST

START_TEST(what_cannot_be_done_is_refused)
{
    sg_objective objective;
    sg_error error;
    float x = 1, y;
    ck_assert_int_eq(sg_objective_parse(&objective, "dppo-tv", &error), SG_OK);
    ck_assert_int_eq(sg_gates_apply(backend_under_test(), &objective, 1, &x, &x, &y, NULL, &error),
                     SG_EUNSUPPORTED);
    ck_assert_int_eq(sg_objective_parse(&objective, "dppo-kl", &error), SG_OK);
    ck_assert_int_eq(sg_gates_apply(backend_under_test(), &objective, 1, &x, &x, &y, NULL, &error),
                     SG_EUNSUPPORTED);
    ck_assert_int_eq(sg_objective_parse(&objective, "gspo", &error), SG_OK);
    ck_assert_int_eq(sg_gates_apply(backend_under_test(), &objective, 1, &x, &x, &y, NULL, &error),
                     SG_EARGUMENT);
    size_t start[] = {0, 1};
    ck_assert_int_eq(sg_objective_parse(&objective, "gmpo", &error), SG_OK);
    ck_assert_int_eq(sg_gates_apply_sequences(backend_under_test(), &objective, 1, start, &x, &x,
                                              &y, NULL, NULL, &error),
                     SG_EUNSUPPORTED);
    sg_gate_statistics statistics;
    ck_assert_int_eq(sg_objective_parse(&objective, "sapo", &error), SG_OK);
    ck_assert_int_eq(sg_gates_apply_sequences(backend_under_test(), &objective, 1, start, &x, &x,
                                              &y, NULL, NULL, &error),
                     SG_EARGUMENT);
    if (!sg_cuda_built()) {
        ck_assert_int_eq(sg_gates_apply(SG_BACKEND_CUDA, &objective, 1, &x, &x, &y, NULL, &error),
                         SG_EUNSUPPORTED);
        ck_assert_ptr_nonnull(strstr(error.message, "was built without CUDA"));
    }
    ck_assert_int_eq(sg_gates_statistics(backend_under_test(), 1, &objective, 0, NULL, NULL,
                                         &statistics, &error),
                     SG_OK);
    ck_assert_double_nan(statistics.effective_update_ratio);
    ck_assert_int_eq(
        sg_gates_apply(backend_under_test(), &objective, 0, NULL, NULL, NULL, NULL, &error), SG_OK);
}
END_TEST

Suite *gates_suite(void);
Suite *gates_suite(void)
{
    Suite *suite = suite_create("gates");
    TCase *tests = tcase_create("bulk gates");
    tcase_set_timeout(tests, 30);
    tcase_add_test(tests, value_by_hand);
    tcase_add_loop_test(tests, bulk_gates_are_the_gates, 0, OBJECTIVES);
    tcase_add_test(tests, limits_are_exact);
    tcase_add_loop_test(tests, nan_stays_nan, 0, OBJECTIVES);
    tcase_add_loop_test(tests, results_do_not_depend_on_how_they_are_made, 0, OBJECTIVES);
    tcase_add_loop_test(tests, statistics_count_what_the_gate_does, 0, OBJECTIVES);
    tcase_add_loop_test(tests, rows_of_every_level, 0, sizeof of_rows / sizeof *of_rows);
    tcase_add_test(tests, sequences_share_one_ratio);
    tcase_add_test(tests, what_cannot_be_done_is_refused);
    suite_add_tcase(suite, tests);
    return suite;
}
