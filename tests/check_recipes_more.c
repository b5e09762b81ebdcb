/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Figures of assumption checks and diagnostics: their numbers against independent
 * computation. */
#include <check.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "plot_folder.h"
#include "plots/gnuplot.h"
#include "sim/dispersion.h"
#include "sim/strip.h"

static const sg_dispersion_options usual = {.tau = 1,
                                            .ratio = {0.6, 1.6, 50, SG_BINS_FIXED},
                                            .variance = {0, 0.02, 40, SG_BINS_FIXED},
                                            .responses = 1,
                                            .sample = 37};

static sg_synthetic_config some_rows(size_t extremes)
{
    return (sg_synthetic_config){.seed = 5,
                                 .responses = 500,
                                 .tokens = 64,
                                 .variance_mode = 0.0033,
                                 .spread = 0.4,
                                 .outliers = 0.2,
                                 .extremes = extremes};
}

START_TEST(example_of_the_real_gate_is_above_the_bound)
{
    const double row[] = {log(1.02), log(1.01), log(0.99), log(2.5)};
    sg_dispersion d;
    sg_error error;
    ck_assert_int_eq(sg_dispersion_init(&d, &usual, &error), SG_OK);
    sg_dispersion_add(&d, 0, row, 4);
    ck_assert_uint_eq(d.above, 0);
    ck_assert_uint_eq(d.above_true, 1);
    ck_assert_uint_eq(d.ratio_outside, 1); /* 2.5 */
    ck_assert_uint_eq(d.variance_outside, 1);
    ck_assert_uint_eq(d.ratio_count[20] + d.ratio_count[21], 2); /* 1.02 is an edge */
    ck_assert_uint_eq(d.ratio_count[19], 1);
    ck_assert_double_eq_tol(d.rows[0].variance, 0.155290, 1e-6);
    ck_assert_double_eq_tol(d.rows[0].bound, 0.038822, 1e-6);
    ck_assert_double_eq_tol(d.rows[0].deviation, 0.032391, 1e-6);
    ck_assert_double_eq_tol(d.rows[0].deviation_true, 0.087326, 1e-6);
    sg_dispersion_free(&d);
}
END_TEST

/* Mean and variance of the tokens, and the two distances from cosh alone. */
static void by_hand(const double *d, size_t n, double out[4])
{
    double mean = 0, square = 0, log_form = 0, real = 0;
    for (size_t t = 0; t < n; t++)
        mean += d[t] / (double)n;
    for (size_t t = 0; t < n; t++) {
        square += (d[t] - mean) * (d[t] - mean) / (double)n;
        log_form += 1 / pow(cosh(d[t] / 2), 2) / (double)n;
        real += 1 / pow(cosh((exp(d[t]) - 1) / 2), 2) / (double)n;
    }
    double centre = 1 / pow(cosh(mean / 2), 2);
    const double values[] = {square, fabs(log_form - centre), fabs(real - centre), square / 4};
    memcpy(out, values, sizeof values);
}

START_TEST(streamed_rows_are_those_of_the_stored_batch)
{
    sg_synthetic_config config = some_rows(_i == 0 ? 0 : 2);
    sg_dispersion d;
    sg_batch *batch;
    sg_error error;
    ck_assert_int_eq(sg_dispersion_synthetic(&d, &usual, &config, 2, &error), SG_OK);
    ck_assert_int_eq(sg_synthetic_batch(&batch, &config, &error), SG_OK);
    uint64_t above = 0, inside = 0, narrow = 0, counted = 0, rows = 0;
    ck_assert_uint_eq(d.stride, 14);
    ck_assert_uint_eq(d.kept, 36);
    for (size_t i = 0; i < config.responses; i++) {
        double row[64], expected[4];
        for (size_t t = 0; t < 64; t++) {
            row[t] = batch->logp_new[i * 64 + t] - batch->logp_old[i * 64 + t];
            inside += exp(row[t]) >= 0.6 && exp(row[t]) < 1.6;
        }
        by_hand(row, 64, expected);
        ck_assert_double_le(expected[1], expected[3]);
        above += expected[2] > expected[3];
        narrow += expected[0] < 0.02;
        if (i % 14 != 0)
            continue;
        const sg_sequence_gate *kept = &d.rows[i / 14];
        ck_assert_double_eq_tol(kept->variance, expected[0], 1e-12);
        ck_assert_double_eq_tol(kept->deviation, expected[1], 1e-12);
        ck_assert_double_eq_tol(kept->deviation_true, expected[2], 1e-12);
        ck_assert_double_eq_tol(kept->bound, expected[3], 1e-12);
    }
    for (size_t b = 0; b < usual.ratio.count; b++)
        counted += d.ratio_count[b];
    for (size_t b = 0; b < usual.variance.count; b++)
        rows += d.variance_count[b];
    ck_assert_uint_eq(d.tokens, 500 * 64);
    ck_assert_uint_eq(counted, inside);
    ck_assert_uint_eq(counted + d.ratio_outside, d.tokens);
    ck_assert_uint_eq(rows, narrow);
    ck_assert_uint_eq(rows + d.variance_outside, 500);
    ck_assert_uint_eq(d.above, 0);
    ck_assert_uint_eq(d.above_true, above);
    if (_i == 1)
        ck_assert_uint_gt(above, 490); /* extreme tokens: nearly every row */
    sg_batch_free(batch);
    sg_dispersion_free(&d);
}
END_TEST

START_TEST(row_statistics_do_not_depend_on_threads)
{
    sg_synthetic_config config = some_rows(1);
    sg_dispersion one, many;
    sg_error error;
    ck_assert_int_eq(sg_dispersion_synthetic(&one, &usual, &config, 1, &error), SG_OK);
    ck_assert_int_eq(sg_dispersion_synthetic(&many, &usual, &config, 5, &error), SG_OK);
    ck_assert_mem_eq(one.ratio_count, many.ratio_count, usual.ratio.count * sizeof(uint64_t));
    ck_assert_mem_eq(one.variance_count, many.variance_count,
                     usual.variance.count * sizeof(uint64_t));
    ck_assert_mem_eq(one.rows, many.rows, one.kept * sizeof *one.rows);
    ck_assert_uint_eq(one.above_true, many.above_true);
    ck_assert_double_eq(one.largest_deviation_true, many.largest_deviation_true);
    sg_dispersion_free(&one);
    sg_dispersion_free(&many);
}
END_TEST

START_TEST(wrong_row_statistics_are_refused)
{
    sg_dispersion d;
    sg_error error;
    sg_synthetic_config config = some_rows(65);
    ck_assert_int_eq(sg_dispersion_synthetic(&d, &usual, &config, 1, &error), SG_EARGUMENT);
    ck_assert_ptr_nonnull(strstr(error.message, "65 extreme"));
    sg_dispersion_free(&d);
    sg_dispersion_options options = usual;
    options.ratio.high = options.ratio.low;
    ck_assert_int_eq(sg_dispersion_init(&d, &options, &error), SG_EARGUMENT);
    options = usual;
    options.tau = NAN;
    ck_assert_int_eq(sg_dispersion_init(&d, &options, &error), SG_EARGUMENT);
}
END_TEST

static double sum_of(const sg_table *table, const char *quantity)
{
    double sum = 0;
    for (size_t row = 0; row < sg_table_rows(table); row++)
        if (strcmp(sg_table_get_text(table, 0, row), quantity) == 0)
            sum += sg_table_get_number(table, 3, row);
    return sum;
}

START_TEST(dense_rows_have_the_published_shape)
{
    sg_drawing drawing = {0};
    sg_error error;
    ck_assert_int_eq(sg_recipe_find("R3", &error)->build(&drawing, &error), SG_OK);
    const sg_table *counts = drawing.tables[0], *rows = drawing.tables[1];
    ck_assert_double_eq(sum_of(counts, "ratio") + atof(sg_table_meta(counts, "ratio_outside")),
                        atof(sg_table_meta(counts, "tokens")));
    ck_assert_double_eq(
        sum_of(counts, "variance") + atof(sg_table_meta(counts, "variance_outside")), 100000);
    ck_assert_double_eq_tol(atof(sg_table_meta(counts, "variance_mode")), 0.0009, 0.0001);
    ck_assert_str_eq(sg_table_meta(counts, "rows_above_bound"), "0");
    ck_assert_uint_eq(sg_table_rows(rows), 10000);
    for (size_t row = 0; row < 10000; row++) {
        double variance = sg_table_get_real(rows, 0, row), bound = sg_table_get_real(rows, 3, row);
        ck_assert_double_eq_tol(bound, variance / 4, 1e-15);
        ck_assert_double_le(sg_table_get_real(rows, 1, row), bound + 1e-12);
    }
    ck_assert_ptr_nonnull(strstr(drawing.remark, "25600000 tokens"));
    free_drawing(&drawing);
}
END_TEST

/* ---- the diagnostics strip ---- */

static sg_table *made_up_log(void)
{
    static const double ess[] = {1, 0.4, 0.3, 1, NAN, 0.2};
    static const double reward[] = {0.1, 0.3, 0.5, 0.35, 0.25, 0.2};
    sg_table *log = sg_table_alloc();
    sg_table_add_column(log, "step", SG_COLUMN_INTEGER, NULL);
    sg_table_add_column(log, "ess", SG_COLUMN_REAL, NULL);
    sg_table_add_column(log, "reward", SG_COLUMN_REAL, NULL);
    sg_table_add_column(log, "gate_mass_pos", SG_COLUMN_REAL, NULL);
    sg_table_add_column(log, "gate_mass_neg", SG_COLUMN_REAL, NULL);
    sg_table_add_rows(log, 6, NULL);
    for (size_t row = 0; row < 6; row++) {
        sg_table_set_integer(log, 0, row, (int64_t)row + 1);
        sg_table_set_real(log, 1, row, ess[row]);
        sg_table_set_real(log, 2, row, reward[row]);
        sg_table_set_real(log, 3, row, 3);
        sg_table_set_real(log, 4, row, 1);
    }
    return log;
}

START_TEST(alarms_are_where_the_rules_hold)
{
    static const struct {
        const char *rule;
        double low, high;
    } expected[] = {{"reward lost half of its gain", 4.5, 6.5},
                    {"ESS below 0.5", 1.5, 3.5},
                    {"ESS below 0.5", 5.5, 6.5}};
    sg_table *log = made_up_log(), *series, *alarms;
    size_t first, count;
    sg_error error;
    ck_assert_int_eq(sg_strip_choose(log, &first, &count, &error), SG_OK);
    ck_assert_uint_eq(first, 0);
    ck_assert_uint_eq(count, 6);
    ck_assert_int_eq(sg_strip_series(log, first, count, &series, &error), SG_OK);
    ck_assert_int_eq(sg_strip_alarms(series, &alarms, &error), SG_OK);
    ck_assert_double_eq(
        sg_table_get_real(series, (size_t)sg_table_find(series, "negative_share"), 2), 0.25);
    ck_assert_double_nan(sg_table_get_real(series, (size_t)sg_table_find(series, "entropy"), 2));
    ck_assert_uint_eq(sg_table_rows(alarms), 3);
    for (size_t row = 0; row < 3; row++) {
        ck_assert_str_eq(sg_table_get_text(alarms, 1, row), expected[row].rule);
        ck_assert_double_eq(sg_table_get_real(alarms, 2, row), expected[row].low);
        ck_assert_double_eq(sg_table_get_real(alarms, 3, row), expected[row].high);
    }
    sg_table_free(log);
    sg_table_free(series);
    sg_table_free(alarms);
    sg_table *empty = sg_table_alloc();
    ck_assert_int_eq(sg_strip_choose(empty, &first, &count, &error), SG_EDATA);
    ck_assert_ptr_nonnull(strstr(error.message, "\"step\""));
    sg_table_free(empty);
}
END_TEST

START_TEST(strip_labels_what_a_log_lacks)
{
    sg_table *log = made_up_log();
    sg_figure_options options = {.runs = log};
    sg_drawing drawing = {.options = &options};
    sg_error error;
    const sg_recipe *recipe = sg_recipe_find("R12", &error);
    ck_assert_int_eq(recipe->build(&drawing, &error), SG_OK);
    ck_assert_ptr_nonnull(strstr(drawing.remark, "ESS below 0.5, from step 2"));
    int empty = 0;
    for (size_t p = 0; p < 9; p++) {
        const sg_panel *panel = &drawing.figure->panels[p];
        bool told = false;
        for (size_t i = 0; i < panel->note_count; i++)
            told = told || strcmp(panel->notes[i].text, "not in this table") == 0;
        ck_assert(told == (panel->layer_count == 0));
        empty += told;
    }
    ck_assert_int_eq(empty, 6); /* all but reward, the share of A < 0, and ESS */
    sg_text script = {0};
    sg_picture picture = {{0}, {0}, {0}};
    ck_assert_int_eq(sg_figure_script(drawing.figure, "R12", sg_paper_find("neurips"),
                                      SG_PICTURE_SVG, &script, &error),
                     SG_OK);
    ck_assert_int_eq(sg_gnuplot_run(script.data, "R12", SG_PICTURE_SVG, &picture, &error), SG_OK);
    ck_assert_str_eq(picture.messages.data, "");
    sg_picture_free(&picture);
    sg_text_free(&script);
    free_drawing(&drawing);
    sg_table_free(log);
}
END_TEST

START_TEST(strip_of_a_simulation_fills_every_panel)
{
    static sg_config config;
    static const char *const keys[] = {"policy.vocabulary=200", "task.length=2", "rollout.group=32",
                                       "optimizer.lr=0.1", "run.steps=24"};
    sg_error error;
    sg_table *runs;
    sg_config_init(&config);
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++)
        ck_assert_int_eq(sg_config_set(&config, keys[i], &error), SG_OK);
    ck_assert_int_eq(sg_simulate(&config, NULL, &runs, &error), SG_OK);
    sg_figure_options options = {.runs = runs};
    sg_drawing drawing = {.options = &options};
    const sg_recipe *recipe = sg_recipe_find("R12", &error);
    ck_assert_int_eq(recipe->build(&drawing, &error), SG_OK);
    for (size_t p = 0; p < 9; p++) {
        const sg_panel *panel = &drawing.figure->panels[p];
        ck_assert_uint_gt(panel->layer_count, 0);
        for (size_t i = 0; i < panel->note_count; i++)
            ck_assert_str_ne(panel->notes[i].text, "not in this table");
        for (size_t i = 0; i < panel->layer_count; i++) /* it is told by sign */
            ck_assert_str_ne(panel->layers[i].title, "mean ratio");
    }
    free_drawing(&drawing);
    sg_table_free(runs);
}
END_TEST

Suite *recipes_more_suite(void);
Suite *recipes_more_suite(void)
{
    Suite *suite = suite_create("recipes_more");
    TCase *rows = tcase_create("rows");
    tcase_set_timeout(rows, 60);
    tcase_add_test(rows, example_of_the_real_gate_is_above_the_bound);
    tcase_add_loop_test(rows, streamed_rows_are_those_of_the_stored_batch, 0, 2);
    tcase_add_test(rows, row_statistics_do_not_depend_on_threads);
    tcase_add_test(rows, wrong_row_statistics_are_refused);
    tcase_add_test(rows, dense_rows_have_the_published_shape);
    suite_add_tcase(suite, rows);
    TCase *strip = tcase_create("strip");
    tcase_set_timeout(strip, 20);
    tcase_add_test(strip, alarms_are_where_the_rules_hold);
    tcase_add_test(strip, strip_labels_what_a_log_lacks);
    tcase_add_test(strip, strip_of_a_simulation_fills_every_panel);
    suite_add_tcase(suite, strip);
    return suite;
}
