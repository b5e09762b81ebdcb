/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The close look at a step: the first-order laws of entropy and tail mass inside a simulation, for
 * tables and trees. (For tables every column is also compared with the twin, see check_sim.c.) */
#include <check.h>
#include <math.h>
#include <string.h>

#include "experiment.h"

static const char *const detail[] = {"tv",
                                     "grad_head_share",
                                     "upward_push_norm",
                                     "upward_push_max",
                                     "unsampled_reach",
                                     "mean_drift",
                                     "pushed_tokens",
                                     "tail_step",
                                     "entropy_change",
                                     "entropy_change_law",
                                     "tail_sign",
                                     "entropy_sign",
                                     "tail_change",
                                     "tail_change_law",
                                     "tail_above_eps",
                                     "mean_square_head",
                                     "mean_square_tail"};
enum { DETAIL = sizeof detail / sizeof *detail };

/* The first `count` of the keys, or those before a NULL. */
static void set_all(sg_config *config, const char *const *keys, size_t count)
{
    for (size_t i = 0; i < count && keys[i] != NULL; i++)
        set(config, "%s", keys[i]);
}

static void small(sg_config *config)
{
    static const char *const keys[] = {"policy.vocabulary=300", "policy.head=6",
                                       "policy.tail_mass=0.1",  "policy.precision=fp64",
                                       "task.prompts=2",        "task.length=3",
                                       "task.correct_mass=0.7", "task.correct_size=3",
                                       "rollout.group=16",      "update.advantage=dr-grpo",
                                       "update.minibatches=1",  "optimizer.kind=sgd",
                                       "run.steps=1",           "run.detail=yes"};
    sg_config_init(config);
    set_all(config, keys, sizeof keys / sizeof *keys);
}

/* Least-squares slope of log |error| over log x. */
static double slope_of(const double *x, const double *error, size_t n)
{
    double sx = 0, sy = 0, sxx = 0, sxy = 0;
    for (size_t i = 0; i < n; i++) {
        double a = log(x[i]), b = log(fabs(error[i]));
        sx += a;
        sy += b;
        sxx += a * a;
        sxy += a * b;
    }
    return ((double)n * sxy - sx * sy) / ((double)n * sxx - sx * sx);
}

static const char *const variants[][4] = {
    {"policy.kind=tabular", "task.reward=fraction"},
    {"policy.kind=tabular", "task.reward=fraction", "control.projection=p1"},
    {"policy.kind=tabular", "task.reward=fraction", "control.projection=p2"},
    {"policy.kind=tabular", "task.reward=fraction", "optimizer.clip_norm=0.1"},
    {"policy.kind=tabular", "task.reward=fraction", "policy.rows=light"},
    {"policy.kind=tree"},
    {"policy.kind=tree", "policy.shared_bias=yes"},
    {"policy.kind=tree", "policy.merge=4", "control.projection=p2"},
    {"policy.kind=tree", "policy.shared_bias=yes", "control.projection=p1",
     "optimizer.clip_norm=0.1"}};
enum { VARIANTS = sizeof variants / sizeof *variants };

/* I3 and I4 for whole minibatches, through the clip, the projections and a shared bias. */
START_TEST(laws_of_entropy_and_tail_fail_by_the_square_of_the_rate)
{
    static sg_config config;
    enum { RATES = 4 };
    double rate[RATES], entropy[RATES], tail[RATES];
    for (size_t i = 0; i < RATES; i++) {
        small(&config);
        set_all(&config, variants[_i], 4);
        config.optimizer.lr = rate[i] = pow(10, -1.0 - (double)i);
        sg_table *table = simulate(&config);
        entropy[i] = cell(table, "entropy_change", 0) - cell(table, "entropy_change_law", 0);
        tail[i] = cell(table, "tail_change", 0) - cell(table, "tail_change_law", 0);
        ck_assert_double_gt(fabs(cell(table, "entropy_change", 0)), 1e-3 * rate[i] * rate[i]);
        ck_assert_double_ge(cell(table, "entropy_sign", 0), i == 0 ? 0.8 : 0.95);
        ck_assert_double_ge(cell(table, "tail_sign", 0), i == 0 ? 0.8 : 0.95);
        double tv = cell(table, "tv", 0);
        ck_assert_double_gt(tv, 0);
        ck_assert_double_le(tv * tv, cell(table, "kl_old_new", 0) / 2 * (1 + 1e-9)); /* Pinsker */
        sg_table_free(table);
    }
    ck_assert_double_eq_tol(slope_of(rate, entropy, RATES), 2, 0.1);
    ck_assert_double_eq_tol(slope_of(rate, tail, RATES), 2, 0.1);
}
END_TEST

/* A tree of one position is a table of one position: another implementation of all columns. */
START_TEST(a_tree_of_one_token_sees_what_a_table_sees)
{
    static const char *const optimizers[] = {"optimizer.kind=sgd", "optimizer.kind=momentum",
                                             "optimizer.kind=adam", "optimizer.kind=adamw",
                                             "optimizer.kind=coupled-adam"};
    static const char *const keys[] = {"task.length=1", "update.minibatches=4", "run.steps=12",
                                       "optimizer.lr=0.05"};
    static sg_config config;
    sg_table *tables[2];
    for (int k = 0; k < 2; k++) {
        small(&config);
        set_all(&config, keys, 4);
        set(&config, "%s", optimizers[_i % 5]);
        const char *kind = k == 0 ? "policy.kind=tabular" : "policy.kind=tree";
        const char *precision = _i < 5 ? "policy.precision=fp64" : "policy.precision=fp32";
        set(&config, "%s", kind);
        set(&config, "%s", precision);
        tables[k] = simulate(&config);
    }
    for (size_t row = 0; row < 12; row++) {
        for (size_t c = 0; c < DETAIL; c++) {
            double a = cell(tables[0], detail[c], row), b = cell(tables[1], detail[c], row);
            ck_assert_int_eq(isnan(a), isnan(b));
            bool counted = strstr(detail[c], "_sign") != NULL || strstr(detail[c], "pushed") ||
                           strstr(detail[c], "above"); /* a threshold within the rounding */
            if (!isnan(a) && !(counted && _i >= 5))
                ck_assert_msg(fabs(a - b) <= (_i < 5 ? 1e-10 : 2e-4) * (1 + fabs(a)),
                              "%s at %zu: %.17g and %.17g", detail[c], row, a, b);
        }
    }
    sg_table_free(tables[0]);
    sg_table_free(tables[1]);
}
END_TEST

/* Adam moves the tail as a block, by about its learning rate; plain gradients conserve the sum. */
START_TEST(adam_moves_the_tail_as_a_block)
{
    static const char *const keys[] = {"update.minibatches=4", "run.steps=16", "optimizer.lr=0.02",
                                       "optimizer.eps=1e-15"};
    static const char *const adam = "optimizer.kind=adam";
    static sg_config config;
    small(&config);
    set_all(&config, keys, 4);
    sg_table *plain = simulate(&config);
    set(&config, "%s", adam);
    sg_table *table = simulate(&config);
    double largest = 0;
    for (size_t row = 0; row < 16; row++) {
        ck_assert_double_eq_tol(cell(plain, "mean_drift", row), 0, 1e-12);
        ck_assert_double_lt(fabs(cell(plain, "tail_step", row)), 0.01);
        largest = fmax(largest, fabs(cell(table, "tail_step", row)));
    }
    ck_assert_double_gt(largest, 0.3);
    ck_assert_double_eq_tol(cell(table, "tail_above_eps", 15), 1, 1e-12);
    ck_assert_double_gt(cell(table, "mean_square_tail", 15), 0);
    ck_assert_double_gt(cell(table, "mean_square_head", 15), cell(table, "mean_square_tail", 15));
    set(&config, "optimizer.eps=1");
    sg_table *held = simulate(&config);
    ck_assert_double_eq(cell(held, "tail_above_eps", 15), 0);
    sg_table_free(plain);
    sg_table_free(table);
    sg_table_free(held);
}
END_TEST

START_TEST(looking_changes_nothing)
{
    static const char *const keys[] = {"update.minibatches=4", "run.steps=12",
                                       "run.observe_every=3", "optimizer.kind=adam"};
    static const char *const off = "run.detail=no";
    static sg_config config;
    small(&config);
    set_all(&config, keys, 4);
    set_all(&config, variants[_i], 1);
    sg_table *with = simulate(&config);
    set(&config, "%s", off);
    sg_table *without = simulate(&config);
    for (size_t row = 0; row < sg_table_rows(with); row++) {
        ck_assert_double_gt(cell(with, "tv", row), 0);
        for (size_t c = 2; c < sg_table_columns(with); c++) {
            double a = sg_table_get_number(with, c, row), b = sg_table_get_number(without, c, row);
            bool detailed = false;
            for (size_t k = 0; k < DETAIL; k++)
                detailed = detailed || strcmp(sg_table_column_name(with, c), detail[k]) == 0;
            ck_assert_msg(detailed ? isnan(b) : memcmp(&a, &b, sizeof a) == 0, "%s: %g and %g",
                          sg_table_column_name(with, c), a, b);
        }
    }
    sg_table_free(with);
    sg_table_free(without);
}
END_TEST

Suite *detail_suite(void);
Suite *detail_suite(void)
{
    Suite *suite = suite_create("detail");
    TCase *tests = tcase_create("a close look at a step");
    tcase_set_timeout(tests, 30);
    tcase_add_loop_test(tests, laws_of_entropy_and_tail_fail_by_the_square_of_the_rate, 0,
                        VARIANTS);
    tcase_add_loop_test(tests, a_tree_of_one_token_sees_what_a_table_sees, 0, 10);
    tcase_add_test(tests, adam_moves_the_tail_as_a_block);
    tcase_add_loop_test(tests, looking_changes_nothing, 0, VARIANTS);
    suite_add_tcase(suite, tests);
    return suite;
}
