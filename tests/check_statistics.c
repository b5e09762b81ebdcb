/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Row statistics of runs: bins that grow, the table, and the way back into figure R2. */
#include <check.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "core/rng.h"
#include "experiment.h"
#include "plots/drawing.h"
#include "plots/recipes.h"
#include "sim/dispersion.h"

enum { RESPONSES = 60, TOKENS = 7 };

/* Log-ratios whose size grows a thousandfold from the first response to the last. */
static void response(size_t i, double *d)
{
    for (uint32_t t = 0; t < TOKENS; t++) {
        double pair[2];
        sg_address at = {
            .seed = 9, .stream = SG_STREAM_SYNTHETIC, .sample = (uint32_t)i, .token = t};
        sg_rng_normal_pair(at, pair);
        d[t] = pair[0] * 1e-3 * pow(1000, (double)i / RESPONSES);
    }
}

static sg_dispersion growing(void)
{
    sg_dispersion d;
    sg_dispersion_options options = sg_dispersion_growing(RESPONSES, 1000);
    ck_assert_int_eq(sg_dispersion_init(&d, &options, NULL), SG_OK);
    return d;
}

static void add(sg_dispersion *d, size_t i)
{
    double log_ratio[TOKENS];
    response(i, log_ratio);
    sg_dispersion_add(d, i, log_ratio, TOKENS);
}

static void assert_equal_counts(const sg_dispersion *a, const sg_dispersion *b)
{
    ck_assert_double_eq(a->options.ratio.low, b->options.ratio.low);
    ck_assert_double_eq(a->options.ratio.high, b->options.ratio.high);
    ck_assert_double_eq(a->options.variance.high, b->options.variance.high);
    size_t bytes = a->options.ratio.count * sizeof(uint64_t);
    ck_assert_int_eq(memcmp(a->ratio_count, b->ratio_count, bytes), 0);
    ck_assert_int_eq(memcmp(a->variance_count, b->variance_count, bytes), 0);
    ck_assert_int_eq(memcmp(a->rows, b->rows, a->kept * sizeof *a->rows), 0);
    ck_assert_uint_eq(a->above_true, b->above_true);
}

START_TEST(bins_that_grow_do_not_depend_on_the_order)
{
    sg_dispersion up = growing(), down = growing(), parts[3] = {growing(), growing(), growing()};
    for (size_t i = 0; i < RESPONSES; i++) {
        add(&up, i);
        add(&down, RESPONSES - 1 - i);
        add(&parts[i / 20], i);
    }
    assert_equal_counts(&up, &down);
    sg_dispersion_merge(&parts[0], &parts[2]); /* wide into narrow, */
    sg_dispersion_merge(&parts[0], &parts[1]); /* narrow into wide */
    assert_equal_counts(&up, &parts[0]);
    /* Each bin by counting again, at the width that was reached. */
    sg_bins bins = up.options.ratio;
    double width = (bins.high - bins.low) / (double)bins.count;
    ck_assert_double_gt(width, 0x1p-20);
    ck_assert_double_eq((bins.low + bins.high) / 2, 1);
    uint64_t *counts = calloc(bins.count, sizeof *counts), total = 0;
    double log_ratio[TOKENS], least = 1, most = 1;
    for (size_t i = 0; i < RESPONSES; i++) {
        response(i, log_ratio);
        for (size_t t = 0; t < TOKENS; t++) {
            double r = exp(log_ratio[t]);
            counts[(size_t)floor((r - bins.low) / width)]++;
            least = fmin(least, r);
            most = fmax(most, r);
        }
    }
    for (size_t b = 0; b < bins.count; b++) {
        ck_assert_uint_eq(counts[b], up.ratio_count[b]);
        total += counts[b];
    }
    ck_assert_uint_eq(total, RESPONSES * TOKENS);
    /* No wider than they must be. */
    ck_assert(fmax(1 - least, most - 1) > (bins.high - bins.low) / 4);
    free(counts);
    for (int k = 0; k < 3; k++)
        sg_dispersion_free(&parts[k]);
    sg_dispersion_free(&up);
    sg_dispersion_free(&down);
}
END_TEST

START_TEST(what_lies_far_outside_does_not_widen)
{
    sg_dispersion d = growing();
    double high = d.options.ratio.high;
    const double far[] = {log(2000), 800, 800, 800};
    sg_dispersion_add(&d, 0, far, 4);
    ck_assert_uint_eq(d.ratio_outside, 4);
    ck_assert_double_eq(d.options.ratio.high, high);
    ck_assert_uint_eq(d.variance_outside, 1);
    const double near[] = {log(1000), log(1000)};
    sg_dispersion_add(&d, 1, near, 2);
    ck_assert_uint_eq(d.ratio_outside, 4);
    ck_assert_double_eq(d.options.ratio.high, 1025);
    sg_dispersion_free(&d);
}
END_TEST

/* ---- of runs */

static void small(sg_config *config)
{
    static const char *const keys[] = {"policy.vocabulary=200",
                                       "task.prompts=2",
                                       "task.length=4",
                                       "task.correct_mass=0.3",
                                       "task.reward=fraction",
                                       "rollout.group=16",
                                       "update.minibatches=4",
                                       "optimizer.lr=0.05",
                                       "run.steps=20",
                                       "run.seeds=3",
                                       "update.objectives=[sapo:tau_pos=1,tau_neg=2,grpo]"};
    sg_config_init(config);
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++)
        set(config, "%s", keys[i]);
}

static void measure(const sg_config *config, sg_table **runs, sg_table **statistics)
{
    sg_error error = {0};
    ck_assert_msg(sg_simulate_measured(config, NULL, NULL, runs, statistics, &error) == SG_OK, "%s",
                  error.message);
}

/* The rows of an arm about a quantity: sums and extremes. */
typedef struct told {
    double count, variance, deviation, largest, lowest, highest;
} told;

static told tell(const sg_table *table, const char *objective, const char *quantity)
{
    told t = {.lowest = INFINITY, .highest = -INFINITY};
    for (size_t row = 0; row < sg_table_rows(table); row++) {
        if (strcmp(sg_table_get_text(table, 0, row), objective) != 0 ||
            strcmp(sg_table_get_text(table, 2, row), quantity) != 0)
            continue;
        t.count += cell(table, "count", row);
        t.variance += cell(table, "variance", row);
        t.deviation += cell(table, "deviation_true", row);
        t.largest = fmax(t.largest, cell(table, "deviation", row));
        t.lowest = fmin(t.lowest, cell(table, "low", row));
        t.highest = fmax(t.highest, cell(table, "high", row));
    }
    return t;
}

/* Against the columns of the table of runs, which see the same minibatches one by one. */
START_TEST(statistics_are_those_of_the_minibatches)
{
    static sg_config config;
    sg_table *runs, *statistics;
    small(&config);
    measure(&config, &runs, &statistics);
    static const char *const arms[] = {"sapo", "grpo"};
    for (size_t arm = 0; arm < 2; arm++) {
        double variance = 0, deviation = 0, above = 0, largest = 0, least = 1, most = 1;
        for (size_t row = arm * 60; row < arm * 60 + 60; row++) { /* 3 seeds, 20 steps */
            ck_assert_str_eq(sg_table_get_text(runs, 0, row), arms[arm]);
            variance += 8 * cell(runs, "sequence_variance", row); /* 2 prompts, 4 responses */
            deviation += 8 * cell(runs, "sequence_deviation_true", row);
            above += 8 * cell(runs, "sequence_above_bound", row);
            largest = fmax(largest, cell(runs, "sequence_deviation_max", row));
            least = fmin(least, cell(runs, "ratio_min", row));
            most = fmax(most, cell(runs, "ratio_max", row));
        }
        told rows = tell(statistics, arms[arm], "response");
        told ratio = tell(statistics, arms[arm], "ratio");
        ck_assert_double_eq(rows.count, 480);
        ck_assert_double_eq(ratio.count, 480 * 4);
        ck_assert_double_eq(tell(statistics, arms[arm], "variance").count, 480);
        ck_assert_double_eq_tol(rows.variance, variance, 1e-12 * variance);
        ck_assert_double_eq_tol(rows.deviation, deviation, 1e-12 * deviation);
        ck_assert_double_eq(rows.largest, largest);
        ck_assert_double_eq_tol(tell(statistics, arms[arm], "above_bound_real_gate").count, above,
                                1e-9);
        ck_assert_double_eq(tell(statistics, arms[arm], "above_bound").count, 0);
        ck_assert(ratio.lowest <= least && ratio.highest > most);
        ck_assert_double_gt(most, 1.05);
    }
    ck_assert_str_eq(sg_table_meta(statistics, "table"), "statistics");
    ck_assert_str_eq(sg_table_meta(statistics, "run.seeds"), "3");
    sg_table_free(runs);
    sg_table_free(statistics);
}
END_TEST

START_TEST(statistics_do_not_depend_on_threads_and_change_nothing)
{
    static sg_config config;
    sg_table *runs[2], *statistics[2], *plain;
    small(&config);
    for (int k = 0; k < 2; k++) {
        set(&config, "run.threads=%d", k == 0 ? 1 : 4);
        measure(&config, &runs[k], &statistics[k]);
    }
    ck_assert_int_eq(sg_simulate(&config, NULL, &plain, NULL), SG_OK);
    ck_assert_uint_eq(sg_table_rows(statistics[0]), sg_table_rows(statistics[1]));
    for (size_t row = 0; row < sg_table_rows(statistics[0]); row++)
        for (size_t c = 3; c < sg_table_columns(statistics[0]); c++) {
            double a = sg_table_get_number(statistics[0], c, row);
            double b = sg_table_get_number(statistics[1], c, row);
            ck_assert_int_eq(memcmp(&a, &b, sizeof a), 0);
        }
    for (size_t row = 0; row < sg_table_rows(plain); row++)
        ck_assert_double_eq(cell(plain, "J", row), cell(runs[0], "J", row));
    sg_table_free(plain);
    for (int k = 0; k < 2; k++) {
        sg_table_free(runs[k]);
        sg_table_free(statistics[k]);
    }
}
END_TEST

START_TEST(a_table_becomes_a_figure)
{
    static sg_config config;
    sg_table *runs, *statistics;
    sg_error error = {0};
    sg_dispersion d;
    char label[SG_DISPERSION_LABEL];
    small(&config);
    measure(&config, &runs, &statistics);
    ck_assert_msg(sg_dispersion_read(&d, statistics, 50, label, &error) == SG_OK, "%s",
                  error.message);
    ck_assert_str_eq(label, "sapo tau_pos=1,tau_neg=2");
    ck_assert_double_eq_tol(d.options.tau, 2, 1e-12);
    ck_assert_uint_eq(d.tokens, 480 * 4);
    ck_assert_uint_eq(d.responses, 480);
    ck_assert_uint_eq(d.kept, 480);
    ck_assert_uint_le(d.options.ratio.count, 50);
    ck_assert_uint_gt(d.options.ratio.count, 20);
    uint64_t inside = 0;
    for (size_t b = 0; b < d.options.ratio.count; b++)
        inside += d.ratio_count[b];
    ck_assert_uint_eq(inside + d.ratio_outside, d.tokens);
    ck_assert_uint_le(d.ratio_outside, d.tokens / 400);
    for (size_t k = 0; k < d.kept; k++)
        ck_assert_double_le(d.rows[k].deviation, d.rows[k].bound + 1e-12);
    sg_dispersion_free(&d);
    sg_figure_options options = {.runs = statistics};
    sg_drawing drawing = {.options = &options};
    ck_assert_int_eq(sg_recipe_find("R2", &error)->build(&drawing, &error), SG_OK);
    ck_assert_ptr_nonnull(strstr(drawing.remark, "1920 tokens in 480 responses of sapo"));
    ck_assert_str_eq(sg_table_meta(drawing.tables[0], "tokens"), "1920");
    sg_figure_free(drawing.figure);
    for (size_t i = 0; i < drawing.table_count; i++)
        sg_table_free(drawing.tables[i]);
    ck_assert_int_eq(sg_dispersion_read(&d, runs, 50, label, &error), SG_EDATA);
    ck_assert_ptr_nonnull(strstr(error.message, "--statistics"));
    sg_table *empty = sg_table_alloc();
    sg_dispersion none = growing();
    ck_assert_int_eq(sg_dispersion_append(&none, "sapo", "", empty, &error), SG_OK);
    ck_assert_int_eq(sg_dispersion_read(&d, empty, 50, label, &error), SG_EDATA);
    sg_dispersion_free(&none);
    sg_table_free(empty);
    sg_table_free(runs);
    sg_table_free(statistics);
}
END_TEST

Suite *statistics_suite(void);
Suite *statistics_suite(void)
{
    Suite *suite = suite_create("statistics");
    TCase *tests = tcase_create("rows of runs");
    tcase_set_timeout(tests, 30);
    tcase_add_test(tests, bins_that_grow_do_not_depend_on_the_order);
    tcase_add_test(tests, what_lies_far_outside_does_not_widen);
    tcase_add_test(tests, statistics_are_those_of_the_minibatches);
    tcase_add_test(tests, statistics_do_not_depend_on_threads_and_change_nothing);
    tcase_add_test(tests, a_table_becomes_a_figure);
    suite_add_tcase(suite, tests);
    return suite;
}
