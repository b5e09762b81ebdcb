/* SPDX-License-Identifier: GPL-3.0-or-later */
#include <check.h>
#include <math.h>

#include "sim/collapse.h"

enum { HORIZON = 200 };

struct story {
    double step[HORIZON], J[HORIZON], entropy[HORIZON], share[HORIZON], mass[HORIZON],
        range[HORIZON];
};

/* J is 0 for one step, 1 until `fall` and `after` from there. */
static sg_series tell(struct story *s, size_t fall, double after)
{
    for (size_t i = 0; i < HORIZON; i++) {
        s->step[i] = (double)i + 1;
        s->J[i] = i == 0 ? 0 : i < fall ? 1 : after;
        s->entropy[i] = 2;
        s->share[i] = 0.05;
        s->mass[i] = 0.01;
        s->range[i] = 10;
    }
    return (sg_series){HORIZON, s->step, s->J, s->entropy, s->share, s->mass, s->range};
}

static const sg_fate_rule rule = {HORIZON, 1, 0.5};

START_TEST(a_fall_is_found_at_its_step)
{
    struct story s;
    sg_series series = tell(&s, 100, 0);
    sg_fate fate = sg_fate_of(&series, rule);
    /* rows 100, 101, ... fall: (9/11)^n < 1/2 first at n = 4, row 103, step 104 */
    ck_assert_double_eq(fate.collapse, 104);
    ck_assert_double_eq(fate.survival, 104);
    ck_assert(!fate.censored && !fate.stall && fate.divergence == INFINITY);
    ck_assert_double_eq_tol(fate.drawdown, 1, 1e-6);
    /* sensitivity: (9/11)^n < 0.7 at n = 2, < 0.3 at n = 6 */
    fate = sg_fate_of(&series, (sg_fate_rule){HORIZON, 1, 0.3});
    ck_assert_double_eq(fate.collapse, 102);
    fate = sg_fate_of(&series, (sg_fate_rule){HORIZON, 1, 0.7});
    ck_assert_double_eq(fate.collapse, 106);
}
END_TEST

START_TEST(a_dip_must_last)
{
    struct story s;
    sg_series series = tell(&s, 100, 0);
    for (size_t i = 110; i < HORIZON; i++) /* low in steps 104 to 110 or so, fewer than 10 */
        s.J[i] = 1;
    sg_fate fate = sg_fate_of(&series, rule);
    ck_assert(fate.censored);
    ck_assert_double_eq(fate.survival, HORIZON);
    ck_assert_double_gt(fate.drawdown, 0.8);
    series = tell(&s, 187, 0); /* low from step 191 on: 9 steps to the end */
    ck_assert(sg_fate_of(&series, rule).censored);
    series = tell(&s, 186, 0); /* low from step 190 on: 10 steps, 5 % */
    ck_assert_double_eq(sg_fate_of(&series, rule).collapse, 190);
}
END_TEST

START_TEST(a_small_gain_cannot_collapse)
{
    struct story s;
    sg_series series = tell(&s, 100, 0);
    for (size_t i = 0; i < HORIZON; i++)
        s.J[i] = 0.2 + 0.07 * s.J[i]; /* gains 0.07 < 0.1 * 0.8 */
    ck_assert(sg_fate_of(&series, rule).censored);
    for (size_t i = 0; i < HORIZON; i++)
        s.J[i] = 0.2 + (s.J[i] - 0.2) / 0.07 * 0.09;
    ck_assert_double_eq(sg_fate_of(&series, rule).collapse, 104);
    for (size_t i = 0; i < HORIZON; i++)
        s.J[i] = 0.2 + 0.007 * (i % 2 == 0);
    ck_assert(sg_fate_of(&series, rule).stall);
}
END_TEST

START_TEST(rows_may_be_several_steps_apart)
{
    struct story s;
    sg_series series = tell(&s, 100, 0);
    for (size_t i = 0; i < HORIZON; i++)
        s.step[i] = 1 + 4 * (double)i; /* every fourth step of 800 */
    sg_fate fate = sg_fate_of(&series, (sg_fate_rule){4 * HORIZON, 1, 0.5});
    ck_assert_double_eq(fate.collapse, s.step[100]); /* one row: four steps of decay */
}
END_TEST

START_TEST(divergence_and_entropy_labels)
{
    struct story s;
    sg_series series = tell(&s, HORIZON, 1);
    ck_assert(sg_fate_of(&series, rule).censored);
    s.mass[50] = 0.51;
    ck_assert_double_eq(sg_fate_of(&series, rule).survival, 51);
    s.range[40] = 1.1e4;
    ck_assert_double_eq(sg_fate_of(&series, rule).divergence, 41);
    s.J[30] = NAN;
    ck_assert_double_eq(sg_fate_of(&series, rule).divergence, 31);
    series = tell(&s, HORIZON, 1);
    s.entropy[60] = 0.039;
    ck_assert(sg_fate_of(&series, rule).entropy_collapse ==
              INFINITY); /* J is 1: it has converged */
    s.J[60] = 0.5;
    ck_assert_double_eq(sg_fate_of(&series, rule).entropy_collapse, 61);
    s.entropy[70] = 4.1;
    ck_assert_double_eq(sg_fate_of(&series, rule).entropy_explosion, 71);
    s.share[65] = 0.6;
    ck_assert_double_eq(sg_fate_of(&series, rule).entropy_explosion, 66);
    series.entropy = series.tail_entropy_share = series.tail_mass = series.logit_range = NULL;
    ck_assert(sg_fate_of(&series, rule).censored);
    series.n = 0;
    ck_assert(sg_fate_of(&series, rule).censored);
}
END_TEST

/* Two arms and two seeds of a hand-made simulation; seed 2 of the second falls at row 100. */
START_TEST(fates_of_a_table_have_a_row_for_each_run)
{
    static const char *const names[] = {"step",      "J",          "entropy", "tail_entropy_share",
                                        "tail_mass", "logit_range"};
    sg_error error = {0};
    sg_table *table = sg_table_alloc(), *fates = table;
    ck_assert_int_eq(sg_fate_table(table, 1, 0.5, &fates, &error), SG_EDATA);
    ck_assert_ptr_null(fates);
    sg_table_set_meta(table, "run.steps", "200", NULL);
    ck_assert_int_eq(sg_fate_table(table, 1, 0.5, &fates, &error), SG_EDATA);
    sg_table_add_column(table, "objective", SG_COLUMN_TEXT, NULL);
    sg_table_add_column(table, "params", SG_COLUMN_TEXT, NULL);
    sg_table_add_column(table, "seed", SG_COLUMN_INTEGER, NULL);
    for (int c = 0; c < 6; c++)
        sg_table_add_column(table, names[c], c == 0 ? SG_COLUMN_INTEGER : SG_COLUMN_REAL, NULL);
    sg_table_add_rows(table, 4 * HORIZON, NULL);
    for (size_t run = 0; run < 4; run++) {
        struct story s;
        sg_series series = tell(&s, run == 3 ? 100 : HORIZON, 0.25);
        for (size_t i = 0; i < HORIZON; i++) {
            size_t row = run * HORIZON + i;
            sg_table_set_text(table, 0, row, run < 2 ? "sapo" : "grpo", NULL);
            sg_table_set_integer(table, 2, row, (int64_t)run % 2 + 1);
            sg_table_set_integer(table, 3, row, (int64_t)i + 1);
            const double *column[] = {series.J, series.entropy, series.tail_entropy_share,
                                      series.tail_mass, series.logit_range};
            for (size_t c = 0; c < 5; c++)
                sg_table_set_real(table, 4 + c, row, column[c][i]);
        }
    }
    ck_assert_msg(sg_fate_table(table, 1, 0.5, &fates, &error) == SG_OK, "%s", error.message);
    ck_assert_uint_eq(sg_table_rows(fates), 4);
    ck_assert_str_eq(sg_table_get_text(fates, 0, 3), "grpo");
    static const struct {
        const char *column;
        double alive, dead;
    } expected[] = {{"survival", 200, 106},
                    {"censored", 1, 0},
                    {"collapse", INFINITY, 106},
                    {"J_first", 0, 0},
                    {"J_last", 1, 0.25},
                    {"J_best", 1, 1},
                    {"J_mean", 0.995, 0.62},
                    {"divergence", INFINITY, INFINITY},
                    {"collapse_30", INFINITY, 103},
                    {"collapse_70", INFINITY, 114}};
    for (size_t k = 0; k < sizeof expected / sizeof *expected; k++) {
        ptrdiff_t column = sg_table_find(fates, expected[k].column);
        ck_assert_int_ge(column, 0);
        double alive = sg_table_get_real(fates, (size_t)column, 0);
        double dead = sg_table_get_real(fates, (size_t)column, 3);
        if (isinf(expected[k].alive))
            ck_assert(isinf(alive));
        else
            ck_assert_double_eq_tol(alive, expected[k].alive, 1e-12);
        if (isinf(expected[k].dead))
            ck_assert(isinf(dead));
        else
            ck_assert_double_eq_tol(dead, expected[k].dead, 1e-12);
    }
    ck_assert_int_eq((int)sg_table_get_integer(fates, 2, 3), 2);
    sg_table_free(table);
    sg_table_free(fates);
}
END_TEST

Suite *collapse_suite(void);
Suite *collapse_suite(void)
{
    Suite *suite = suite_create("collapse");
    TCase *tests = tcase_create("fates of runs");
    tcase_add_test(tests, a_fall_is_found_at_its_step);
    tcase_add_test(tests, a_dip_must_last);
    tcase_add_test(tests, a_small_gain_cannot_collapse);
    tcase_add_test(tests, rows_may_be_several_steps_apart);
    tcase_add_test(tests, divergence_and_entropy_labels);
    tcase_add_test(tests, fates_of_a_table_have_a_row_for_each_run);
    suite_add_tcase(suite, tests);
    return suite;
}
