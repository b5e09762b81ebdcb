/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Causal controls against what they promise, on logits and on whole runs. */
#include <check.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "policy/tabular.h"
#include "policy/tree.h"
#include "sim/simulate.h"

/* ---- one step of a policy ---- */

enum { V = 50, RESPONSES = 4 };
static const double pushes[RESPONSES] = {0.5, -1.25, -0.5, -0.5};
static const int32_t tokens[RESPONSES] = {2, 7, 7, 30};

static sg_policy *policy_of(bool tree, sg_optimizer_kind kind)
{
    double logits[V];
    sg_policy *policy = NULL;
    sg_error error = {0};
    for (int v = 0; v < V; v++)
        logits[v] = sin(v);
    sg_tabular_shape table = {.prompts = 1,
                              .length = 1,
                              .vocabulary = V,
                              .head = 5,
                              .precision = SG_FP64,
                              .optimizer = kind};
    sg_tree_shape prefixes = {.prompts = 1,
                              .length = 1,
                              .vocabulary = V,
                              .head = 5,
                              .precision = SG_FP64,
                              .optimizer = kind};
    sg_status status = tree ? sg_tree_alloc(&policy, &prefixes, logits, &error)
                            : sg_tabular_alloc(&policy, &table, logits, &error);
    ck_assert_msg(status == SG_OK, "%s", error.message);
    return policy;
}

static void logits_of(sg_policy *policy, bool tree, double *z)
{
    if (tree)
        sg_tree_get(policy, 0, z);
    else
        sg_rows_get_logits(sg_tabular_rows(policy), 0, z);
}

static sg_policy_change step(sg_policy *policy, sg_optimizer_kind kind, sg_projection projection,
                             double clip, const double *push)
{
    uint32_t prompt[RESPONSES] = {0}, length[RESPONSES] = {1, 1, 1, 1};
    int32_t said[RESPONSES];
    memcpy(said, tokens, sizeof said);
    sg_responses responses = {RESPONSES, 1, prompt, NULL, length, said};
    sg_policy_step how = {.optimizer = {kind, 0.1, 0.9, 0.999, 1e-8, 0.1},
                          .time = 1,
                          .clip_norm = clip,
                          .projection = projection};
    sg_policy_change change;
    sg_error error = {0};
    ck_assert_int_eq(policy->methods->update(policy, &how, &responses, push, &change, &error),
                     SG_OK);
    return change;
}

/* Deltas of all logits. */
static sg_policy_change move(bool tree, sg_optimizer_kind kind, sg_projection projection,
                             double clip, const double *push, double delta[V])
{
    double before[V];
    sg_policy *policy = policy_of(tree, kind);
    logits_of(policy, tree, before);
    sg_policy_change change = step(policy, kind, projection, clip, push);
    logits_of(policy, tree, delta);
    for (int v = 0; v < V; v++)
        delta[v] -= before[v];
    sg_policy_free(policy);
    return change;
}

static bool is_sampled(int v)
{
    return v == 2 || v == 7 || v == 30;
}

START_TEST(p1_moves_sampled_logits_alone_and_by_their_push)
{
    bool tree = _i & 1, clipped = _i & 2;
    double delta[V], norm = sqrt(0.25 + 1.75 * 1.75 + 0.25), scale = clipped ? 0.5 / norm : 1;
    sg_policy_change change =
        move(tree, SG_SGD, SG_PROJECTION_P1, clipped ? 0.5 : 0, pushes, delta);
    for (int v = 0; v < V; v++) {
        double want = v == 2 ? 0.05 : v == 7 ? -0.175 : v == 30 ? -0.05 : 0;
        if (is_sampled(v))
            ck_assert_double_eq_tol(delta[v], want * scale, 1e-14);
        else
            ck_assert_double_eq(delta[v], 0);
    }
    ck_assert_double_eq(change.diffuse_push, -1.75); /* what was removed */
    ck_assert_double_eq_tol(change.diffuse_share, -1.75 / 2.75, 1e-15);
    ck_assert_double_eq(change.upward_push, 0);
    ck_assert_double_eq(change.max_unsampled_push, 0);
    ck_assert_double_eq_tol(change.grad_norm, norm, 1e-14);
    ck_assert_double_eq_tol(change.delta_norm, 0.1 * norm * scale, 1e-14);
    ck_assert_double_eq_tol(change.clip_factor, scale, 1e-15);
}
END_TEST

START_TEST(p2_recentres_to_a_zero_sum)
{
    bool tree = _i;
    double delta[V], sum = 0;
    move(tree, SG_SGD, SG_PROJECTION_P2, 0, pushes, delta);
    for (int v = 0; v < V; v++) { /* B/n = -1.75/4 */
        double want = v == 2 ? 0.09375 : v == 7 ? -0.0875 : v == 30 ? -0.00625 : 0;
        ck_assert_double_eq_tol(delta[v], want, 1e-14);
        sum += delta[v];
        if (!is_sampled(v))
            ck_assert_double_eq(delta[v], 0);
    }
    ck_assert_double_eq_tol(sum, 0, 1e-14);
}
END_TEST

/* Without a projection the others rise by lr |B| pi: the control has something to remove. */
START_TEST(without_projection_the_others_rise)
{
    double delta[V], least = INFINITY;
    sg_policy_change change = move(_i, SG_SGD, SG_PROJECTION_NONE, 0, pushes, delta);
    for (int v = 0; v < V; v++)
        least = is_sampled(v) ? least : fmin(least, delta[v]);
    ck_assert_double_gt(change.upward_push, 1);
    ck_assert_double_gt(least, 1e-4);
}
END_TEST

/* Adam turns any push into a full step, rounding included. */
START_TEST(equal_pushes_recentred_leave_adam_at_rest)
{
    static const double equal[RESPONSES] = {0.1, 0.1, 0.1, 0.1};
    double delta[V];
    move(_i, SG_ADAM, SG_PROJECTION_P2, 0, equal, delta);
    for (int v = 0; v < V; v++)
        ck_assert_double_eq(delta[v], 0);
    move(_i, SG_ADAM, SG_PROJECTION_P1, 0, equal, delta);
    for (int v = 0; v < V; v++)
        ck_assert(is_sampled(v) ? delta[v] > 0.09 : delta[v] == 0);
}
END_TEST

/* ---- whole runs ---- */

static sg_table *run(sg_config *config, const char *objectives, const char *more)
{
    sg_error error = {0};
    sg_table *table;
    static const char *const basis[] = {"policy.vocabulary=400", "policy.tail_mass=0.05",
                                        "task.prompts=2",        "rollout.group=16",
                                        "optimizer.lr=0.05",     "run.steps=40",
                                        "run.seeds=2",           "policy.precision=fp64"};
    sg_config_init(config);
    for (size_t i = 0; i < sizeof basis / sizeof *basis; i++)
        ck_assert_int_eq(sg_config_set(config, basis[i], &error), SG_OK);
    ck_assert_msg(sg_config_set(config, objectives, &error) == SG_OK, "%s", error.message);
    if (more != NULL)
        ck_assert_msg(sg_config_set(config, more, &error) == SG_OK, "%s", error.message);
    ck_assert_msg(sg_simulate(config, NULL, &table, &error) == SG_OK, "%s", error.message);
    return table;
}

static double cell(const sg_table *table, const char *name, size_t row)
{
    return sg_table_get_number(table, (size_t)sg_table_find(table, name), row);
}

static const char *params(const sg_table *table, size_t row)
{
    return sg_table_get_text(table, (size_t)sg_table_find(table, "params"), row);
}

/* Are rows a.. and b.. equal in all numbers but those that tell of the match? A reference at rest
 * stops the arm, also one that would not have moved by itself. */
static bool same_rows(const sg_table *x, size_t a, const sg_table *y, size_t b, size_t count)
{
    for (size_t i = 0; i < count; i++)
        for (size_t c = 3; c < sg_table_columns(x); c++) {
            if (strncmp(sg_table_column_name(x, c), "match_", 6) == 0)
                continue;
            double left = sg_table_get_number(x, c, a + i),
                   right = sg_table_get_number(y, c, b + i);
            if (memcmp(&left, &right, sizeof left) != 0)
                return false;
        }
    return true;
}

START_TEST(projections_are_arms_of_one_experiment)
{
    static sg_config config;
    sg_table *arms =
        run(&config, "update.objectives=[grpo,grpo:projection=p1,grpo:projection=p2]", NULL);
    size_t rows = 80;
    ck_assert_uint_eq(sg_table_rows(arms), 3 * rows);
    ck_assert_ptr_null(strstr(params(arms, 0), "projection"));
    ck_assert_ptr_nonnull(strstr(params(arms, rows), ",projection=p1"));
    ck_assert_ptr_nonnull(strstr(params(arms, 2 * rows), ",projection=p2"));
    double pushed = 0;
    for (size_t i = 0; i < rows; i++) {
        pushed += cell(arms, "upward_push", i);
        ck_assert_double_eq(cell(arms, "upward_push", rows + i), 0);
        ck_assert_double_eq(cell(arms, "upward_push", 2 * rows + i), 0);
    }
    ck_assert_double_gt(pushed, 0);
    ck_assert(!same_rows(arms, 0, arms, rows, rows));
    ck_assert(!same_rows(arms, rows, arms, 2 * rows, rows));
    /* For all arms at once, with one that says otherwise. */
    static sg_config other;
    sg_table *all =
        run(&other, "update.objectives=[grpo,grpo:projection=none]", "control.projection=p1");
    ck_assert(same_rows(all, 0, arms, rows, rows));
    ck_assert(same_rows(all, rows, arms, 0, rows));
    sg_text yaml = {0}, again = {0};
    static sg_config read;
    sg_error error = {0};
    sg_config_print(&other, &yaml);
    ck_assert_ptr_nonnull(strstr(yaml.data, "projection=none\""));
    ck_assert_msg(sg_config_parse(&read, "x.yaml", yaml.data, yaml.length, &error) == SG_OK, "%s",
                  error.message);
    sg_config_print(&read, &again);
    ck_assert_str_eq(yaml.data, again.data);
    sg_text_free(&yaml);
    sg_text_free(&again);
    sg_table_free(arms);
    sg_table_free(all);
}
END_TEST

static double meta_distance(const sg_table *t, const char *name, size_t a, size_t b)
{
    double x = cell(t, name, a), y = cell(t, name, b);
    return fabs(x - y) / (fabs(y) + 1e-300);
}

/* One step from the same point, then many; the second arm is the reference itself. */
START_TEST(matched_arms_are_as_large_as_the_reference)
{
    static const struct {
        const char *name, *column;
        double tolerance;
    } kinds[] = {{"l2", "delta_norm", 1e-12}, {"kl", "kl_new_old", 1e-5}};
    static sg_config config;
    char arms[200];
    snprintf(arms, sizeof arms,
             "update.objectives=[unclipped:match=%s,sapo:tau_pos=1,tau_neg=1,unclipped,"
             "sapo:tau_pos=1,tau_neg=1,match=%s]",
             kinds[_i % 2].name, kinds[_i % 2].name);
    static const char *const optimizers[] = {"optimizer.kind=sgd", "optimizer.kind=adam"};
    sg_table *table = run(&config, arms, optimizers[_i / 2]);
    size_t rows = 80;
    /* With ratios of 1 the two objectives differ by a factor 1 only; from step 2 on they differ, but
     * the reference has then gone elsewhere: compare with it where both entered at one point. */
    ck_assert_double_le(meta_distance(table, kinds[_i % 2].column, 0, rows),
                        kinds[_i % 2].tolerance);
    ck_assert_double_le(meta_distance(table, kinds[_i % 2].column, 1, rows + 1),
                        kinds[_i % 2].tolerance);
    double moved = 0;
    for (size_t i = 0; i < 4; i++)
        moved += fabs(cell(table, "match_factor", i) - 1);
    ck_assert_double_gt(moved, 1e-6);
    ck_assert(!same_rows(table, 0, table, 2 * rows, rows));
    ck_assert(same_rows(table, rows, table, 3 * rows, rows));
    sg_table_free(table);
}
END_TEST

START_TEST(matched_mass_is_that_of_the_reference)
{
    static sg_config config;
    sg_table *table = run(
        &config,
        "update.objectives=[sapo:tau_neg=1,match=mass,sapo:tau_neg=4,match=mass,sapo:tau_neg=4]",
        "control.reference=sapo:tau_neg=4");
    size_t rows = 80;
    double moved = 0;
    for (size_t i = 0; i < 4;
         i++) { /* the first rollout; the two arms part after their second step */
        if (i < 2)
            ck_assert_double_le(meta_distance(table, "gate_mass_neg", i, rows + i), 1e-12);
        moved = fmax(moved, fabs(cell(table, "match_factor", i) - 1));
    }
    ck_assert_double_gt(moved, 1e-6);
    ck_assert(same_rows(table, rows, table, 2 * rows, rows));
    sg_table_free(table);
}
END_TEST

/* Positives only: where a group has no right answer, the reference has nothing to do. */
START_TEST(a_reference_at_rest_stops_the_arm)
{
    static sg_config config;
    sg_table *table =
        run(&config, "update.objectives=[unclipped:match=l2]", "rollout.temperature=0");
    size_t last = sg_table_rows(table) - 1;
    ck_assert_double_eq(cell(table, "match_idle", 39), 40);
    ck_assert_double_eq(cell(table, "match_factor", last), 0);
    ck_assert_double_eq(cell(table, "delta_norm", last), 0);
    ck_assert_double_eq(cell(table, "J", last), cell(table, "J", 0));
    sg_table_free(table);
}
END_TEST

static const struct {
    const char *assignment, *complaint;
} wrong[] = {
    {"update.objectives=[sapo:projection=p3]", "control.projection is \"p3\""},
    {"update.objectives=[projection=p1]", "projection"},
    {"update.objectives=[sapo:match=l3]", "control.match is \"l3\""},
    {"control.reference=sapoo", "control.reference"},
    {"control.projection=yes", "none, p1, p2"},
};

START_TEST(wrong_controls_are_refused)
{
    static sg_config config;
    sg_error error = {0};
    sg_config_init(&config);
    ck_assert_int_eq(sg_config_set(&config, wrong[_i].assignment, &error), SG_EARGUMENT);
    ck_assert_msg(strstr(error.message, wrong[_i].complaint) != NULL, "%s", error.message);
}
END_TEST

Suite *controls_suite(void);
Suite *controls_suite(void)
{
    Suite *suite = suite_create("controls");
    TCase *tests = tcase_create("projection");
    tcase_set_timeout(tests, 30);
    tcase_add_loop_test(tests, p1_moves_sampled_logits_alone_and_by_their_push, 0, 4);
    tcase_add_loop_test(tests, p2_recentres_to_a_zero_sum, 0, 2);
    tcase_add_loop_test(tests, without_projection_the_others_rise, 0, 2);
    tcase_add_loop_test(tests, equal_pushes_recentred_leave_adam_at_rest, 0, 2);
    tcase_add_test(tests, projections_are_arms_of_one_experiment);
    tcase_add_loop_test(tests, wrong_controls_are_refused, 0, (int)(sizeof wrong / sizeof *wrong));
    tcase_add_loop_test(tests, matched_arms_are_as_large_as_the_reference, 0, 4);
    tcase_add_test(tests, matched_mass_is_that_of_the_reference);
    tcase_add_test(tests, a_reference_at_rest_stops_the_arm);
    suite_add_tcase(suite, tests);
    return suite;
}
