/* SPDX-License-Identifier: GPL-3.0-or-later */
#include <check.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "sim/run.h"
#include "sim/task.h"

enum { V = 9, K = 4, T = 4 };
static const char *const kinds[] = {"correct-set", "path", "modular-sum", "copy", "reverse"};

static void set(sg_config *config, const char *format, ...) __attribute__((format(printf, 2, 3)));
static void set(sg_config *config, const char *format, ...)
{
    char text[256];
    sg_error error = {0};
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    ck_assert_msg(sg_config_set(config, text, &error) == SG_OK, "%s", error.message);
}

static void configure(sg_config *config, const char *kind, const char *policy)
{
    sg_config_init(config);
    set(config, "policy.kind=%s", policy);
    set(config, "policy.vocabulary=%d", V);
    set(config, "policy.head=%d", K);
    set(config, "policy.tail_mass=0.2");
    set(config, "policy.precision=fp64");
    set(config, "task.kind=%s", kind);
    set(config, "task.prompts=3");
    set(config, "task.length=%d", T);
    set(config, "task.classes=3");
    set(config, "task.correct_size=2");
    set(config, "task.correct_mass=0.4");
    set(config, "task.difficulty_spread=1.5");
}

static void start(sg_task *task, const sg_config *config, double *logits)
{
    sg_error error = {0};
    sg_prior prior = sg_config_prior(config);
    sg_prior_logits(&prior, logits);
    ck_assert_msg(sg_task_init(task, config, logits, &error) == SG_OK, "%s", error.message);
}

/* The tokens of response number k out of V^T. */
static void response(size_t k, int32_t *tokens)
{
    for (int t = 0; t < T; t++, k /= V)
        tokens[t] = (int32_t)(k % V);
}

/* The rules in words, from the task's own data but not through its automaton. */
static double judge(const sg_task *task, size_t prompt, const int32_t *tokens)
{
    int right = 0, tail = 0, sum = 0;
    sg_task_kind kind = sg_task_family(task, prompt);
    const int32_t *set = task->correct + prompt * 2, *text = task->answer + prompt * T;
    for (int t = 0; t < T; t++) {
        tail += tokens[t] >= K;
        sum += tokens[t];
        if (kind == SG_TASK_CORRECT_SET)
            right += tokens[t] == set[0] || tokens[t] == set[1];
        else if (kind == SG_TASK_PATH)
            right += (size_t)t != task->decisive || tokens[t] == set[0] || tokens[t] == set[1];
        else if (kind == SG_TASK_COPY)
            right += tokens[t] == text[t];
        else if (kind == SG_TASK_REVERSE)
            right += tokens[t] == text[T - 1 - t];
    }
    if (kind == SG_TASK_MODULAR_SUM)
        return tail == 0 && sum % 3 == text[0];
    if (task->reward == SG_REWARD_FRACTION)
        return tail > 0 && task->tail_fails ? 0 : (double)right / T;
    return right == T && (tail == 0 || kind == SG_TASK_CORRECT_SET);
}

/* Every kind with reward all, and the three with reward fraction; in a table, a tree, a merged
 * tree.
 */
START_TEST(rewards_are_what_the_rules_say)
{
    static sg_config config;
    sg_task task;
    double logits[V], expected[3];
    int kind = _i % 8, policy = _i / 8;
    bool fraction = kind >= 5;
    configure(&config, kinds[fraction ? (int[]){0, 3, 4}[kind - 5] : kind],
              policy == 0 ? "tabular" : "tree");
    set(&config, "task.reward=%s", fraction ? "fraction" : "all");
    set(&config, "policy.merge=%d", policy == 2 ? 5 : 0);
    start(&task, &config, logits);
    sg_error error = {0};
    ck_assert_msg(sg_config_check(&config, &error) == SG_OK, "%s", error.message);
    double J[3] = {0};
    for (size_t k = 0; k < V * V * V * V; k++) {
        int32_t tokens[T];
        response(k, tokens);
        double p =
            exp(logits[tokens[0]] + logits[tokens[1]] + logits[tokens[2]] + logits[tokens[3]]);
        for (size_t prompt = 0; prompt < 3; prompt++) {
            double reward = judge(&task, prompt, tokens);
            ck_assert_double_eq(sg_task_clean_score(&task, prompt, tokens), reward);
            ck_assert_double_eq((double)sg_task_score(&task, 1, 0, prompt, 0, tokens) /
                                    (double)sg_task_unit(&task, prompt),
                                reward);
            J[prompt] += p * reward;
        }
    }
    sg_policy *made;
    sg_reward reward = sg_task_reward(&task);
    ck_assert_int_eq(sg_config_policy(&config, logits, &made, NULL), SG_OK);
    ck_assert_int_eq(made->methods->expected_reward(made, &reward, expected, NULL), SG_OK);
    for (int p = 0; p < 3; p++) {
        ck_assert_double_gt(J[p], 1e-4);
        ck_assert_double_eq_tol(expected[p], J[p], 1e-13);
    }
    sg_policy_free(made);
    sg_task_clear(&task);
}
END_TEST

/* A wrong path is cut where it leaves the right ones: the share of its prefixes before that. */
START_TEST(wrong_paths_share_the_asked_part_of_their_prefixes)
{
    static sg_config config;
    sg_task task;
    double logits[V], shared = 0, wrong = 0;
    configure(&config, "path", "tree");
    double asked = _i / 3.0;
    set(&config, "task.shared_prefix=%.17g", asked);
    start(&task, &config, logits);
    for (size_t k = 0; k < K * K * K * K; k++) {
        int32_t tokens[T];
        for (size_t t = 0, rest = k; t < T; t++, rest /= K)
            tokens[t] = (int32_t)(rest % K);
        if (sg_task_clean_score(&task, 1, tokens) == 1)
            continue;
        wrong++;
        for (int length = 1; length < T; length++) { /* does any right path start like this? */
            bool found = false;
            for (size_t other = 0; other < K * K * K * K && !found; other++) {
                int32_t path[T];
                for (size_t t = 0, rest = other; t < T; t++, rest /= K)
                    path[t] = (int32_t)(rest % K);
                found = memcmp(path, tokens, (size_t)length * sizeof *path) == 0 &&
                        sg_task_clean_score(&task, 1, path) == 1;
            }
            shared += found;
        }
    }
    ck_assert_double_eq(wrong, 128); /* two of four tokens decide */
    ck_assert_double_eq_tol(shared / (wrong * (T - 1)), asked, 1e-12);
    sg_task_clear(&task);
}
END_TEST

START_TEST(right_answers_are_right_and_follow_the_start)
{
    static sg_config config;
    sg_task task;
    double logits[V], head[K], count[K] = {0}, total = 0;
    configure(&config, kinds[_i], "tree");
    start(&task, &config, logits);
    for (int k = 0; k < K; k++)
        total += head[k] = exp(logits[k]);
    enum { DRAWS = 4000 };
    for (uint32_t i = 0; i < DRAWS; i++) {
        int32_t tokens[T];
        sg_address at = {.seed = 2, .stream = SG_STREAM_WARM_START, .prompt = i % 3, .sample = i};
        sg_task_right_answer(&task, head, at, i % 3, tokens);
        ck_assert_double_eq(sg_task_clean_score(&task, i % 3, tokens), 1);
        count[tokens[0]]++;
    }
    bool open = _i == 2 || (_i == 1 && task.decisive != 0); /* the first token is free */
    for (int k = 0; k < K && open; k++)
        ck_assert_double_eq_tol(count[k] / DRAWS, head[k] / total, 5 * sqrt(0.25 / DRAWS));
    sg_task_clear(&task);
}
END_TEST

START_TEST(held_out_prompts_differ_from_all_others)
{
    static sg_config config;
    sg_task task;
    double logits[V];
    sg_error error = {0};
    configure(&config, "copy", "tree");
    set(&config, "task.heldout=40");
    set(&config, "task.prompts=20");
    start(&task, &config, logits);
    for (size_t p = 0; p < 60; p++) {
        for (size_t q = 0; q < p; q++)
            ck_assert_mem_ne(task.answer + p * T, task.answer + q * T, T * sizeof *task.answer);
        for (size_t t = 0; t < T; t++) {
            ck_assert_int_lt(task.answer[p * T + t], 3);
            ck_assert_int_eq(sg_task_prompt_token(&task, p, t), task.answer[p * T + t]);
        }
    }
    sg_task_clear(&task);
    set(&config, "task.heldout=62"); /* one more than 3^4 */
    ck_assert_int_eq(sg_task_init(&task, &config, logits, &error), SG_EARGUMENT);
    ck_assert_ptr_nonnull(strstr(error.message, "82 different prompts"));
    sg_task_clear(&task);
    ck_assert_int_eq(sg_config_check(&config, &error), SG_EARGUMENT);
    ck_assert_ptr_nonnull(strstr(error.message, "in a tree every prompt has logits of its own"));
}
END_TEST

Suite *task_suite(void);
Suite *task_suite(void)
{
    Suite *suite = suite_create("task");
    TCase *tests = tcase_create("task");
    tcase_set_timeout(tests, 60);
    tcase_add_loop_test(tests, rewards_are_what_the_rules_say, 0, 24);
    tcase_add_loop_test(tests, wrong_paths_share_the_asked_part_of_their_prefixes, 0, 4);
    tcase_add_loop_test(tests, right_answers_are_right_and_follow_the_start, 0, 5);
    tcase_add_test(tests, held_out_prompts_differ_from_all_others);
    suite_add_tcase(suite, tests);
    return suite;
}
