/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Training figures and the statistics behind them. */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "plot_folder.h"
#include "sim/training_summary.h"

/* ---- training figures ---- */

enum { ARMS = 3, SEEDS = 5, STEPS = 100 };

/* Runs whose every number is known: J = (0.1 + 0.01 arm) + 0.001 step + 0.02 seed, and arm 2 falls
 * to 0 for good at step 60 for seeds 1 to 3. */
static double made_up_score(int arm, int seed, int step)
{
    return arm == 2 && seed <= 3 && step >= 60 ? 0 : 0.1 + 0.01 * arm + 0.005 * step + 0.02 * seed;
}

static sg_table *made_up_runs(void)
{
    static const char *const params[ARMS] = {"tau_pos=1,tau_neg=1.05", "tau_pos=1,tau_neg=1",
                                             "tau_pos=1,tau_neg=0.95"};
    static const char *const reals[] = {
        "reward", "J", "entropy", "tail_mass", "tail_entropy_share", "logit_range"};
    sg_table *table = sg_table_alloc();
    sg_table_add_column(table, "objective", SG_COLUMN_TEXT, NULL);
    sg_table_add_column(table, "params", SG_COLUMN_TEXT, NULL);
    sg_table_add_column(table, "seed", SG_COLUMN_INTEGER, NULL);
    sg_table_add_column(table, "step", SG_COLUMN_INTEGER, NULL);
    for (size_t c = 0; c < 6; c++)
        sg_table_add_column(table, reals[c], SG_COLUMN_REAL, NULL);
    sg_table_set_meta(table, "run.steps", "100", NULL);
    sg_table_add_rows(table, ARMS * SEEDS * STEPS, NULL);
    for (int i = 0; i < ARMS * SEEDS * STEPS; i++) {
        int arm = i / (SEEDS * STEPS), seed = i / STEPS % SEEDS + 1, step = i % STEPS + 1;
        size_t row = (size_t)i;
        double score = made_up_score(arm, seed, step);
        const double values[] = {score, score, 2 - 0.01 * step, 0.01, 0.1, 5};
        sg_table_set_text(table, 0, row, "sapo", NULL);
        sg_table_set_text(table, 1, row, params[arm], NULL);
        sg_table_set_integer(table, 2, row, seed);
        sg_table_set_integer(table, 3, row, step);
        for (size_t c = 0; c < 6; c++)
            sg_table_set_real(table, 4 + c, row, values[c]);
    }
    return table;
}

START_TEST(training_summary_is_median_band_and_paired_gain)
{
    sg_table *runs = made_up_runs(), *summary;
    sg_error error;
    const sg_summary_column columns[] = {{"J", false}, {"J", true}};
    ck_assert_int_eq(sg_training_summary(runs, columns, 2, 1, 0.8, &summary, &error), SG_OK);
    ck_assert_uint_eq(sg_table_rows(summary), ARMS * STEPS);
    for (size_t row = 0; row < sg_table_rows(summary); row++) {
        int arm = (int)(row / STEPS), step = (int)(row % STEPS) + 1;
        if (arm == 2 && step >= 60)
            continue;
        double middle = made_up_score(arm, 3, step);
        ck_assert_int_eq(sg_table_get_integer(summary, 2, row), step);
        ck_assert_int_eq(sg_table_get_integer(summary, 3, row), SEEDS);
        ck_assert_double_eq_tol(sg_table_get_real(summary, 4, row), middle - 0.032, 1e-12);
        ck_assert_double_eq_tol(sg_table_get_real(summary, 5, row), middle, 1e-12);
        ck_assert_double_eq_tol(sg_table_get_real(summary, 6, row), middle + 0.032, 1e-12);
        for (size_t c = 7; c < 10; c++) /* the gain over arm 1 has no noise */
            ck_assert_double_eq_tol(sg_table_get_real(summary, c, row), 0.01 * (arm - 1), 1e-12);
    }
    ck_assert_str_eq(sg_table_column_name(summary, 8), "J_gain");
    sg_table_free(summary);
    const sg_summary_column absent[] = {{"absent", false}};
    ck_assert_int_eq(sg_training_summary(runs, absent, 1, 0, 0.8, &summary, &error), SG_EDATA);
    ck_assert_ptr_nonnull(strstr(error.message, "\"absent\""));
    ck_assert_int_eq(sg_training_summary(runs, columns, 1, 3, 0.8, &summary, &error), SG_EARGUMENT);
    sg_table_free(runs);
}
END_TEST

START_TEST(training_survival_counts_the_fallen)
{
    sg_table *runs = made_up_runs(), *survival;
    sg_error error;
    ck_assert_int_eq(sg_training_survival(runs, &survival, &error), SG_OK);
    size_t last = sg_table_rows(survival) - 1, alive = (size_t)sg_table_find(survival, "alive");
    ck_assert_double_eq(sg_table_get_real(survival, alive, 0), 1);
    ck_assert_int_eq(sg_table_get_integer(survival, 2, last), STEPS);
    ck_assert_double_eq_tol(sg_table_get_real(survival, alive, last), 0.4, 1e-12);
    ck_assert_double_eq_tol(sg_table_get_real(survival, alive, last - 1), 0.4, 1e-12);
    ck_assert_int_ge(sg_table_get_integer(survival, 2, last - 1), 60);
    ck_assert_int_le(sg_table_get_integer(survival, 2, last - 1),
                     66); /* the smoothed score falls below half */
    sg_table_free(survival);
    sg_table_free(runs);
}
END_TEST

START_TEST(training_figures_draw_given_runs)
{
    const char *name = _i == 0 ? "R4" : "R5";
    sg_error error;
    sg_figure_options options = in_svg();
    sg_table *runs = made_up_runs();
    options.runs = runs;
    sg_status status = sg_figure_make(name, &options, &error);
    ck_assert_msg(status == SG_OK, "%s", error.message);
    char file[32];
    size_t size;
    sg_text text = {0};
    snprintf(file, sizeof file, "%s.svg", name);
    char *svg = read_file(in_folder(file), &size);
    strip_svg(svg, &text);
    const char *expected[2][3] = {
        {"SAPO 1/1.05", "SAPO 1/1", "SAPO 1/0.95"},
        {"τneg > τpos (1.05 / 1)", "τneg = τpos (1 / 1)", "τneg < τpos (0.95 / 1)"}};
    for (size_t i = 0; i < 3; i++)
        ck_assert_msg(strstr(text.data, expected[_i][i]) != NULL, "%s is not in the legend",
                      expected[_i][i]);
    free(svg);
    sg_text_free(&text);
    snprintf(file, sizeof file, "%s.json", name);
    char *json = read_file(in_folder(file), &size);
    ck_assert_ptr_nonnull(strstr(json, "5 seeds an arm"));
    ck_assert_ptr_nonnull(strstr(json, "Simulation"));
    free(json);
    snprintf(file, sizeof file, "%s-survival.csv", name);
    ck_assert_int_eq(access(in_folder(file), F_OK), 0);
    sg_table_free(runs);
    options.runs = NULL; /* no table and no experiment: a sentence */
    options.experiments = plot_folder;
    ck_assert_int_ne(sg_figure_make(name, &options, &error), SG_OK);
    ck_assert_ptr_nonnull(strstr(error.message, ".yaml"));
}
END_TEST

Suite *plots_suite(void);
Suite *plots_suite(void)
{
    Suite *suite = suite_create("plots");
    TCase *training = add_plot_case(suite, "training", 60);
    tcase_add_test(training, training_summary_is_median_band_and_paired_gain);
    tcase_add_test(training, training_survival_counts_the_fallen);
    tcase_add_loop_test(training, training_figures_draw_given_runs, 0, 2);
    return suite;
}
