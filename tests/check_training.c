/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The statistics behind training figures, on runs whose every number is known. */
#include <check.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "made_up_runs.h"
#include "plot_folder.h"
#include "sim/collapse.h"
#include "sim/outcome.h"
#include "sim/training_summary.h"

enum { ARMS = MADE_UP_ARMS, SEEDS = MADE_UP_SEEDS, STEPS = MADE_UP_STEPS };

START_TEST(summary_is_median_band_and_paired_gain)
{
    sg_table *runs = made_up_runs(made_up_temperatures), *summary;
    sg_error error;
    const sg_summary_column columns[] = {{"J", false, false}, {"J", true, false}};
    ck_assert_int_eq(sg_training_summary(runs, NULL, columns, 2, 1, 0.8, &summary, &error), SG_OK);
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
    const sg_summary_column absent[] = {{"absent", false, false}};
    ck_assert_int_eq(sg_training_summary(runs, NULL, absent, 1, 0, 0.8, &summary, &error),
                     SG_EDATA);
    ck_assert_ptr_nonnull(strstr(error.message, "\"absent\""));
    ck_assert_int_eq(sg_training_summary(runs, NULL, columns, 1, 3, 0.8, &summary, &error),
                     SG_EARGUMENT);
    sg_table_free(runs);
}
END_TEST

/* Of arm 2 at step 90 seed 5 alone is well: seeds 1 to 3 have fallen to 0, seed 4 has diverged. */
START_TEST(a_diverged_run_scores_nothing)
{
    sg_table *runs = made_up_runs(made_up_temperatures), *fates, *summary;
    sg_error error;
    const sg_summary_column scores[] = {{"J", false, true}, {"J", true, true}};
    const sg_summary_column left_out[] = {{"J", false, false}};
    ck_assert_int_eq(sg_fate_table(runs, 1, 0.5, &fates, &error), SG_OK);
    ck_assert_int_eq(sg_training_summary(runs, fates, scores, 2, 0, 0.8, &summary, &error), SG_OK);
    size_t row = 2 * STEPS + 89;
    double best = made_up_score(2, 5, 90);
    ck_assert_int_eq(sg_table_get_integer(summary, 2, row), 90);
    ck_assert_int_eq(sg_table_get_integer(summary, 3, row), 4);
    ck_assert_double_eq(sg_table_get_real(summary, 5, row), 0);
    ck_assert_double_eq_tol(sg_table_get_real(summary, 6, row), 0.6 * best,
                            1e-12); /* rank 3.6 of 4 */
    /* Gains: -J of the first arm for the four at 0, 0.02 for seed 5; their median is that of seed 2. */
    ck_assert_double_eq_tol(sg_table_get_real(summary, 8, row), -made_up_score(0, 2, 90), 1e-12);
    sg_table_free(summary);
    ck_assert_int_eq(sg_training_summary(runs, fates, left_out, 1, 0, 0.8, &summary, &error),
                     SG_OK);
    ck_assert_double_eq_tol(sg_table_get_real(summary, 6, row), 0.7 * best, 1e-12); /* 2.7 of 3 */
    sg_table_free(summary);
    sg_table_free(fates);
    sg_table_free(runs);
}
END_TEST

START_TEST(survival_counts_the_fallen)
{
    sg_table *runs = made_up_runs(made_up_temperatures), *fates, *survival;
    sg_error error;
    ck_assert_int_eq(sg_fate_table(runs, 1, 0.5, &fates, &error), SG_OK);
    ck_assert_int_eq(sg_training_survival(fates, &survival, &error), SG_OK);
    size_t last = sg_table_rows(survival) - 1;
    ck_assert_double_eq(number_at(survival, "alive", 0), 1);
    ck_assert_double_eq(number_at(survival, "step", last), STEPS);
    ck_assert_double_eq_tol(number_at(survival, "alive", last), 0.2, 1e-12);
    ck_assert_double_eq(number_at(survival, "step", last - 1), 80);
    ck_assert_double_eq_tol(number_at(survival, "alive", last - 2), 0.4, 1e-12);
    ck_assert_double_ge(number_at(survival, "step", last - 2), 60);
    ck_assert_double_le(number_at(survival, "step", last - 2), 66); /* the smoothed score halves */
    sg_table_free(survival);
    sg_table_free(fates);
    sg_table_free(runs);
}
END_TEST

START_TEST(outcome_counts_and_compares)
{
    sg_table *runs = made_up_runs(made_up_methods), *fates, *outcome;
    sg_error error;
    ck_assert_int_eq(sg_fate_table(runs, 1, 0.5, &fates, &error), SG_OK);
    ck_assert_int_eq(sg_training_outcome(fates, 0, &outcome, &error), SG_OK);
    ck_assert_uint_eq(sg_table_rows(outcome), ARMS);
    for (size_t arm = 0; arm < 2; arm++) {
        double middle = made_up_score((int)arm, 3, STEPS);
        ck_assert_double_eq(number_at(outcome, "runs", arm), SEEDS);
        ck_assert_double_eq(number_at(outcome, "failed", arm), 0);
        ck_assert_double_eq_tol(number_at(outcome, "J_last", arm), middle, 1e-12);
        ck_assert_double_ge(number_at(outcome, "J_last_low", arm), middle - 0.04);
        ck_assert_double_lt(number_at(outcome, "J_last_low", arm), middle);
        ck_assert_double_gt(number_at(outcome, "J_last_high", arm), middle);
        ck_assert_double_eq_tol(number_at(outcome, "J_last_worst", arm), middle - 0.04, 1e-12);
        ck_assert_double_eq(number_at(outcome, "drawdown", arm), 0);
    }
    ck_assert_double_nan(number_at(outcome, "gain", 0));
    /* Every pair of arm 1 differs by 0.01. */
    ck_assert_double_eq_tol(number_at(outcome, "gain", 1), 0.01, 1e-12);
    ck_assert_double_eq_tol(number_at(outcome, "gain_low", 1), 0.01, 1e-12);
    ck_assert_double_eq(number_at(outcome, "failed_p", 1), 1);
    /* Arm 2: four of five end at 0, the diverged one too though its last score was high. */
    double sum = 0;
    for (int seed = 1; seed <= SEEDS; seed++)
        sum += (seed == 5 ? made_up_score(2, seed, STEPS) : 0) - made_up_score(0, seed, STEPS);
    ck_assert_double_eq(number_at(outcome, "failed", 2), 4);
    ck_assert_double_eq_tol(number_at(outcome, "failed_low", 2), 0.3755, 1e-4);
    ck_assert_double_eq_tol(number_at(outcome, "failed_high", 2), 0.9638, 1e-4);
    ck_assert_double_eq(number_at(outcome, "failed_30", 2), 4);
    ck_assert_double_eq(number_at(outcome, "failed_70", 2), 4);
    ck_assert_double_eq(number_at(outcome, "J_last", 2), 0);
    ck_assert_double_eq(number_at(outcome, "J_last_worst", 2), 0);
    ck_assert_double_eq_tol(number_at(outcome, "gain", 2), sum / SEEDS, 1e-12);
    ck_assert_double_eq(number_at(outcome, "failed_alone", 2), 4);
    ck_assert_double_eq(number_at(outcome, "baseline_failed_alone", 2), 0);
    ck_assert_double_eq_tol(number_at(outcome, "failed_p", 2), 2.0 / 16, 1e-12);
    sg_table_free(outcome);
    ck_assert_int_eq(sg_training_outcome(fates, 3, &outcome, &error), SG_EARGUMENT);
    sg_table_free(fates);
    sg_table_free(runs);
}
END_TEST

/* A log of a trainer says less: no exact score, no policy, no horizon. */
START_TEST(a_plain_log_tells_fates_too)
{
    sg_table *log = sg_table_alloc(), *fates;
    sg_error error;
    sg_table_add_column(log, "objective", SG_COLUMN_TEXT, NULL);
    sg_table_add_column(log, "params", SG_COLUMN_REAL,
                        NULL); /* as a file has it that is all empty */
    sg_table_add_column(log, "seed", SG_COLUMN_INTEGER, NULL);
    sg_table_add_column(log, "step", SG_COLUMN_INTEGER, NULL);
    ck_assert_int_eq(sg_fate_table(log, 1, 0.5, &fates, &error), SG_EDATA);
    ck_assert_ptr_nonnull(strstr(error.message, "\"reward\""));
    sg_table_add_column(log, "reward", SG_COLUMN_REAL, NULL);
    sg_table_add_column(log, "tail_mass", SG_COLUMN_REAL, NULL); /* there, but never measured */
    sg_table_add_rows(log, 200, NULL);
    for (size_t row = 0; row < 200; row++) {
        int seed = (int)(row / 100) + 1, step = (int)(row % 100) + 1;
        sg_table_set_text(log, 0, row, "mine", NULL);
        sg_table_set_integer(log, 2, row, seed);
        sg_table_set_integer(log, 3, row, step);
        sg_table_set_real(log, 4, row, made_up_score(2, seed == 1 ? 1 : 5, step));
    }
    ck_assert_int_eq(sg_fate_table(log, 1, 0.5, &fates, &error), SG_OK);
    ck_assert_uint_eq(sg_table_rows(fates), 2);
    ck_assert_double_eq(number_at(fates, "censored", 0), 0);
    ck_assert_double_ge(number_at(fates, "collapse", 0), 60);
    ck_assert(isinf(number_at(fates, "divergence", 0)));
    ck_assert_double_eq(number_at(fates, "censored", 1), 1);
    ck_assert_double_eq(number_at(fates, "survival", 1), 100);
    sg_table_free(fates);
    sg_table_free(log);
}
END_TEST

Suite *training_suite(void);
Suite *training_suite(void)
{
    Suite *suite = suite_create("training");
    TCase *tests = tcase_create("statistics");
    tcase_set_timeout(tests, 30);
    tcase_add_test(tests, summary_is_median_band_and_paired_gain);
    tcase_add_test(tests, a_diverged_run_scores_nothing);
    tcase_add_test(tests, survival_counts_the_fallen);
    tcase_add_test(tests, outcome_counts_and_compares);
    tcase_add_test(tests, a_plain_log_tells_fates_too);
    suite_add_tcase(suite, tests);
    return suite;
}
