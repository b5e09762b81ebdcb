/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Several families of tasks in one run, what the knobs of a task do to a rollout, and that every
 * task under every policy either trains or is refused in one sentence. */
#include <check.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "experiment.h"
#include "whole_run.h"

static void small(sg_config *config)
{
    sg_config_init(config);
    set(config, "policy.kind=tree");
    set(config, "policy.vocabulary=60");
    set(config, "policy.head=6");
    set(config, "task.kind=mixed");
    set(config, "task.prompts=8");
    set(config, "task.length=2");
    set(config, "task.classes=5");
    set(config, "task.correct_mass=0.3");
    set(config, "rollout.group=8");
    set(config, "run.steps=4");
    ck_assert_uint_eq(sg_config_prior(config).vocabulary, 60);
}

/* ---- prompts ---- */

START_TEST(families_take_turns)
{
    enum { COPY = SG_TASK_COPY, REVERSE = SG_TASK_REVERSE, SUM = SG_TASK_MODULAR_SUM };
    static const int families[] = {COPY, REVERSE, COPY,    SUM,  COPY, REVERSE, COPY,
                                   SUM,  COPY,    REVERSE, COPY, COPY, REVERSE};
    static const uint32_t evaluated[] = {3, 7, 8, 9, 10, 11, 12}; /* sums cannot be held out */
    static sg_config config;
    double logits[60];
    sg_task task;
    small(&config);
    set(&config, "task.families=copy + reverse+copy+modular-sum");
    set(&config, "task.heldout=5");
    sg_prior prior = sg_config_prior(&config);
    sg_prior_logits(&prior, logits);
    ck_assert_int_eq(sg_task_init(&task, &config, logits, NULL), SG_OK);
    for (size_t p = 0; p < 13; p++)
        ck_assert_int_eq((int)sg_task_family(&task, p), families[p]);
    ck_assert_uint_eq(task.evaluated_count, 7);
    ck_assert_mem_eq(task.evaluated, evaluated, sizeof evaluated);
    sg_task_clear(&task);
}
END_TEST

/* A policy can tell prompts apart that ask for something different, and only those; and all symbols
 * are among those that are announced. */
START_TEST(prompts_show_what_they_ask_for)
{
    static sg_config config;
    double logits[60];
    sg_task task;
    small(&config);
    set(&config, "task.families=path+path+modular-sum+copy+reverse+correct-set");
    set(&config, "task.prompts=60");
    set(&config, "task.overrun=%d", _i);
    set(&config, "task.heldout=7");
    sg_prior prior = sg_config_prior(&config);
    sg_prior_logits(&prior, logits);
    ck_assert_int_eq(sg_task_init(&task, &config, logits, NULL), SG_OK);
    size_t slots = sg_task_prompt_length(&task), symbols = sg_task_prompt_symbols(&task), same = 0;
    ck_assert_uint_eq(slots, 3); /* the family and a text */
    for (size_t p = 0; p < 67; p++) {
        sg_task_kind kind = sg_task_family(&task, p);
        bool sets = kind == SG_TASK_PATH || kind == SG_TASK_CORRECT_SET;
        for (size_t i = 0; i < slots; i++) {
            ck_assert_int_ge(sg_task_prompt_token(&task, p, i), 0);
            ck_assert_uint_lt((size_t)sg_task_prompt_token(&task, p, i), symbols);
            ck_assert(sets || i == 0 || sg_task_prompt_token(&task, p, i) <= 5);
        }
        for (size_t q = 0; q < p; q++) {
            bool equal = true, asked = kind == sg_task_family(&task, q) && !sets;
            for (size_t i = 0; i < slots; i++)
                equal =
                    equal && sg_task_prompt_token(&task, p, i) == sg_task_prompt_token(&task, q, i);
            for (size_t t = 0; t < (kind == SG_TASK_MODULAR_SUM ? 1 : 2) && asked; t++)
                asked = task.answer[2 * p + t] == task.answer[2 * q + t];
            ck_assert_int_eq(equal, asked);
            same += equal;
        }
    }
    ck_assert_uint_gt(same, 5); /* targets repeat */
    sg_task_clear(&task);
}
END_TEST

/* ---- scores ---- */

/* Each family's score is the mean of its prompts' exact rewards within 5 standard deviations, and
 * `score` the mean of families, not of prompts. */
START_TEST(family_scores_agree_with_the_exact_reward)
{
    static const sg_task_kind family[] = {SG_TASK_COPY, SG_TASK_COPY, SG_TASK_PATH,
                                          SG_TASK_MODULAR_SUM};
    static sg_config config;
    whole_run w;
    sg_observables o;
    double exact, sum[SG_TASKS] = {0};
    small(&config);
    set(&config, "task.families=copy+copy+path+modular-sum");
    set(&config, "task.prompts=400");
    set(&config, "task.overrun=%d", _i);
    set(&config, "run.evaluate_every=1");
    open_run(&w, &config);
    ck_assert_int_eq(sg_run_expected_reward(&w.run, &exact, NULL), SG_OK);
    ck_assert_int_eq(sg_run_evaluate(&w.run, 1, &o, NULL), SG_OK);
    for (int p = 0; p < 400; p++)
        sum[family[p % 4]] += w.run.expected[p] / (family[p % 4] == SG_TASK_COPY ? 200 : 100);
    double deviation = sqrt(0.25 / 1600);
    ck_assert_double_eq_tol(o.score_copy, sum[SG_TASK_COPY], 5 * deviation / sqrt(2));
    ck_assert_double_eq_tol(o.score_path, sum[SG_TASK_PATH], 5 * deviation);
    ck_assert_double_eq_tol(o.score_modular_sum, sum[SG_TASK_MODULAR_SUM], 5 * deviation);
    ck_assert(isnan(o.score_reverse) && isnan(o.score_correct_set));
    ck_assert_double_gt(sum[SG_TASK_PATH], sum[SG_TASK_COPY] + 10 * deviation * (1 - 0.7 * _i));
    ck_assert_double_eq_tol(o.score, (o.score_copy + o.score_path + o.score_modular_sum) / 3,
                            1e-15);
    ck_assert_double_eq_tol(o.mean16, (2 * o.score_copy + o.score_path + o.score_modular_sum) / 4,
                            1e-14);
    close_run(&w);
}
END_TEST

/* ---- a rollout ---- */

/* Share of groups with nothing to learn from: p^G + (1-p)^G of a prompt, all or none of its
 * responses being right; 400 rollouts, 5 standard deviations. A wider spread has more of them. */
START_TEST(difficulty_spread_leaves_more_flat_groups)
{
    static sg_config config;
    double flat[2], wanted[2];
    for (int k = 0; k < 2; k++) {
        whole_run w;
        double J, sum = 0;
        small(&config);
        set(&config, "policy.kind=tabular");
        set(&config, "task.kind=correct-set");
        set(&config, "task.length=1");
        set(&config, "task.prompts=9");
        set(&config, "task.correct_size=2");
        set(&config, "task.difficulty_spread=%d", k == 0 ? 1 : 3);
        open_run(&w, &config);
        ck_assert_int_eq(sg_run_expected_reward(&w.run, &J, NULL), SG_OK);
        wanted[k] = 0;
        for (int p = 0; p < 9; p++)
            wanted[k] += (pow(w.run.expected[p], 8) + pow(1 - w.run.expected[p], 8)) / 9;
        for (size_t n = 0; n < 400; n++) {
            ck_assert_int_eq(sg_run_rollout(&w.run, n, NULL), SG_OK);
            sum += w.run.zero_std_groups;
        }
        flat[k] = sum / 400;
        ck_assert_double_eq_tol(flat[k], wanted[k], 5 * sqrt(wanted[k] * (1 - wanted[k]) / 3600));
        close_run(&w);
    }
    ck_assert_double_gt(wanted[1], wanted[0] + 0.03);
    ck_assert_double_gt(flat[1], flat[0]);
}
END_TEST

/* Advantages of graded rewards, which differ in their units from family to family, by their
 * formulas; and the centred integers of a group sum to 0. */
START_TEST(advantages_of_graded_rewards_by_their_formulas)
{
    static const char *const names[] = {"grpo", "dr-grpo", "rloo", "asymre"};
    static sg_config config;
    whole_run w;
    small(&config);
    set(&config, "policy.kind=%s", _i % 2 == 0 ? "tree" : "tabular");
    set(&config, "task.reward=fraction");
    set(&config, "update.advantage=%s", names[_i / 2]);
    set(&config, "update.value_shift=-0.25");
    open_run(&w, &config);
    sg_run *run = &w.run;
    size_t between = 0; /* rewards that are neither 0 nor 1 */
    ck_assert_int_eq(sg_run_rollout(run, 0, NULL), SG_OK);
    for (size_t p = 0; p < 8; p++) {
        double R[8], sum = 0, squares = 0, centred = 0;
        for (size_t i = 0; i < 8; i++) {
            R[i] = sg_task_clean_score(&w.task, p, run->tokens + (8 * p + i) * run->length);
            ck_assert_double_eq(run->score[8 * p + i], R[i]);
            between += R[i] > 0 && R[i] < 1;
            sum += R[i] / 8;
            centred += run->centred[8 * p + i];
        }
        ck_assert_double_eq(centred, 0);
        for (size_t i = 0; i < 8; i++)
            squares += (R[i] - sum) * (R[i] - sum) / 7;
        for (size_t i = 0; i < 8; i++) {
            double A[] = {(R[i] - sum) / (sqrt(squares) + 1e-6), R[i] - sum, (R[i] - sum) * 8 / 7,
                          R[i] - sum + 0.25};
            ck_assert_double_eq_tol(run->advantage[8 * p + i], A[_i / 2], 1e-12);
        }
    }
    ck_assert_uint_gt(between, 4);
    close_run(&w);
}
END_TEST

/* ---- rare tokens ---- */

/* A right set in a uniform tail: size / (V - K) of its mass for each token, and a warm start finds
 * it. */
START_TEST(right_tokens_may_stand_in_the_tail)
{
    static sg_config config;
    sg_table *table;
    sg_error error = {0};
    small(&config);
    set(&config, "policy.kind=tabular");
    set(&config, "policy.precision=fp64");
    set(&config, "policy.tail_mass=0.27");
    set(&config, "task.kind=correct-set");
    set(&config, "task.correct_place=tail");
    set(&config, "task.correct_size=10");
    for (int warm = 0; warm < 2; warm++) {
        set(&config, "start.success=%s", warm ? "0.5" : "0");
        ck_assert_msg(sg_simulate(&config, NULL, &table, &error) == SG_OK, "%s", error.message);
        double J = cell(table, "J", 0);
        ck_assert(warm ? J >= 0.5 && J < 0.6 : fabs(J - 0.05 * 0.05) < 1e-12);
        sg_table_free(table);
    }
}
END_TEST

/* ---- everything with everything ---- */

static const char *const policies[] = {"tabular", "tree", "net"};
static const char *const kinds[] = {"correct-set", "path",    "modular-sum",
                                    "copy",        "reverse", "mixed"};
static const char *const knobs[] = {"task.reward=all",        "task.reward=fraction",
                                    "task.overrun=3",         "task.heldout=4",
                                    "start.success=0.35",     "task.false_positive=0.2",
                                    "task.shared_prefix=0.9", "task.difficulty_spread=2"};
enum {
    POLICIES = sizeof policies / sizeof *policies,
    KINDS = sizeof kinds / sizeof *kinds,
    KNOBS = sizeof knobs / sizeof *knobs
};

/* What is refused, and why. NULL: it trains. */
static const char *refusal(const char *policy, const char *kind, const char *knob)
{
    bool table = strcmp(policy, "tabular") == 0, net = strcmp(policy, "net") == 0;
    bool texts =
        strcmp(kind, "copy") == 0 || strcmp(kind, "reverse") == 0 || strcmp(kind, "mixed") == 0;
    if (strcmp(knob, "task.heldout=4") == 0 && net)
        return texts ? NULL : "only those of copy and reverse are";
    if (strcmp(knob, "task.heldout=4") == 0)
        return table ? "in a table every prompt" : "in a tree every prompt";
    if (strcmp(knob, "task.overrun=3") == 0 && table)
        return "responses of different lengths";
    if (strcmp(knob, "start.success=0.35") == 0 && table && strcmp(kind, "modular-sum") == 0)
        return "came to a success rate of 0.315"; /* its tokens are independent of each other */
    return NULL;
}

START_TEST(every_task_trains_or_is_refused)
{
    static sg_config config;
    const char *policy = policies[_i % POLICIES], *kind = kinds[_i / POLICIES % KINDS];
    const char *knob = knobs[_i / POLICIES / KINDS];
    sg_table *table;
    sg_error error = {0};
    small(&config);
    set(&config, "policy.kind=%s", policy);
    if (strcmp(policy, "net") == 0)
        set(&config, "policy.width=16");
    set(&config, "task.kind=%s", kind);
    set(&config, "run.evaluate_every=2");
    set(&config, "start.lr=%s", strcmp(policy, "net") == 0 ? "0.03" : "0.1");
    set(&config, "%s", knob);
    const char *why = refusal(policy, kind, knob);
    sg_status status = sg_simulate(&config, NULL, &table, &error);
    if (why != NULL) {
        ck_assert_int_eq(status, SG_EARGUMENT);
        ck_assert_ptr_null(table);
        ck_assert_msg(strstr(error.message, why) != NULL, "%s", error.message);
        ck_assert_msg(strstr(error.message, "; ") || strstr(error.message, ", so set"), "%s",
                      error.message); /* what to do */
        ck_assert_ptr_null(strstr(error.message, ". "));
        ck_assert_ptr_null(strchr(error.message, '\n'));
        return;
    }
    ck_assert_msg(status == SG_OK, "%s", error.message);
    for (size_t i = 0; i < 4; i++) {
        ck_assert(cell(table, "J", i) > 0 && cell(table, "J", i) < 1);
        ck_assert(isfinite(cell(table, "grad_norm", i)));
    }
    for (size_t i = 0; i < 4; i += 2) {
        double score = cell(table, "score", i);
        ck_assert(score >= 0 && score <= 1);
        ck_assert(strcmp(kind, "mixed") == 0 || score == cell(table, "mean16", i));
    }
    bool warm = strncmp(knob, "start", 5) == 0;
    ck_assert(!warm || (cell(table, "J", 0) >= 0.35 && cell(table, "J", 0) < 0.6));
    double J = cell(table, "J", 0), reward = cell(table, "reward", 0);
    sg_table_free(table);
    if (strncmp(knob, "task.false", 10) != 0)
        return;
    set(&config, "task.false_positive=0"); /* J is of the clean verifier, the reward is not */
    ck_assert_int_eq(sg_simulate(&config, NULL, &table, &error), SG_OK);
    ck_assert_double_eq(cell(table, "J", 0), J);
    ck_assert_double_lt(cell(table, "reward", 0), reward);
    sg_table_free(table);
}
END_TEST

Suite *families_suite(void);
Suite *families_suite(void)
{
    Suite *suite = suite_create("families");
    TCase *tests = tcase_create("families");
    tcase_set_timeout(tests, 60);
    tcase_add_test(tests, families_take_turns);
    tcase_add_loop_test(tests, prompts_show_what_they_ask_for, 0, 2);
    tcase_add_loop_test(tests, family_scores_agree_with_the_exact_reward, 0, 2);
    tcase_add_test(tests, difficulty_spread_leaves_more_flat_groups);
    tcase_add_loop_test(tests, advantages_of_graded_rewards_by_their_formulas, 0, 8);
    tcase_add_test(tests, right_tokens_may_stand_in_the_tail);
    tcase_add_loop_test(tests, every_task_trains_or_is_refused, 0, POLICIES * KINDS * KNOBS);
    suite_add_tcase(suite, tests);
    return suite;
}
