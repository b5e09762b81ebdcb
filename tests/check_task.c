/* SPDX-License-Identifier: GPL-3.0-or-later */
#include <check.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "experiment.h"
#include "sim/run.h"
#include "sim/task.h"

/* Responses have four tokens, or two and then an end somewhere. */
enum { V = 9, K = 4, ROOM = 4, PROMPTS = 5, RESPONSES = V * V * V * V };
static const char *const kinds[] = {"correct-set", "path",    "modular-sum",
                                    "copy",        "reverse", "mixed"};

static void configure(sg_config *config, const char *kind, const char *policy, bool ends)
{
    sg_config_init(config);
    set(config, "policy.kind=%s", policy);
    set(config, "policy.vocabulary=%d", V);
    set(config, "policy.head=%d", K);
    set(config, "policy.tail_mass=0.2");
    set(config, "policy.precision=fp64");
    set(config, "task.kind=%s", kind);
    set(config, "task.families=reverse+correct-set+path+modular-sum+copy");
    set(config, "task.prompts=%d", PROMPTS);
    set(config, "task.length=%d", ends ? ROOM - 2 : ROOM);
    set(config, "task.overrun=%d", ends ? 3 : 0); /* token 1 comes nearest to probability 1/4 */
    set(config, "task.overrun_max=1");
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
    ck_assert_msg(sg_config_check(config, &error) == SG_OK, "%s", error.message);
    ck_assert_msg(sg_task_init(task, config, logits, &error) == SG_OK, "%s", error.message);
}

/* The tokens of response number k out of V^ROOM. */
static void response(size_t k, int32_t *tokens)
{
    for (int t = 0; t < ROOM; t++, k /= V)
        tokens[t] = (int32_t)(k % V);
}

/* The rules in words, from the task's own data but not through its automaton. */
static double judge(const sg_task *task, size_t prompt, const int32_t *tokens)
{
    int right = 0, tail = 0, sum = 0, length = (int)task->length, said = 0;
    sg_task_kind kind = sg_task_family(task, prompt);
    const int32_t *set = task->correct + prompt * 2, *text = task->answer + prompt * task->length;
    for (int ended = 0; said < ROOM && !ended; said++)
        ended = tokens[said] == task->end;
    if (task->end >= 0 && (said != length + 1 || tokens[length] != task->end))
        return 0;
    for (int t = 0; t < length; t++) {
        int number = tokens[t] - (task->end >= 0 && tokens[t] > task->end);
        tail += tokens[t] >= K;
        sum += number;
        if (kind == SG_TASK_CORRECT_SET)
            right += tokens[t] == set[0] || tokens[t] == set[1];
        else if (kind == SG_TASK_PATH)
            right += (size_t)t != task->decisive ? tokens[t] < K
                                                 : tokens[t] == set[0] || tokens[t] == set[1];
        else if (kind == SG_TASK_COPY)
            right += tokens[t] == text[t];
        else if (kind == SG_TASK_REVERSE)
            right += tokens[t] == text[length - 1 - t];
    }
    if (tail > 0 && task->tail_fails)
        return 0;
    if (kind == SG_TASK_MODULAR_SUM) /* of three classes all are at a distance of 0 or 1 */
        return sum % 3 == text[0];
    if (task->reward == SG_REWARD_FRACTION)
        return (double)right / length;
    return right == length;
}

/* Every kind with both rewards and in every policy that starts from its prior, with an end or
 * without. */
static const struct {
    const char *policy;
    int merge;
    bool ends;
} houses[] = {{"tabular", 0, false}, {"tree", 0, false}, {"tree", 5, false}, {"net", 0, false},
              {"tree", 0, true},     {"tree", 5, true},  {"net", 0, true}};
enum { KINDS = 6, HOUSES = sizeof houses / sizeof *houses, RULES = 2 * KINDS * HOUSES };
static void set_rules(sg_config *config, int i)
{
    int house = i / (2 * KINDS);
    configure(config, kinds[i % KINDS], houses[house].policy, houses[house].ends);
    set(config, "task.reward=%s", i / KINDS % 2 == 0 ? "all" : "fraction");
    set(config, "policy.merge=%d", houses[house].merge);
    if (strcmp(houses[house].policy, "net") != 0)
        return;
    set(config, "policy.width=4");
    set(config, "policy.hidden=4");
    set(config, "policy.head_std=0"); /* the context does not matter yet */
    set(config, "policy.tail_std=0");
}

START_TEST(rewards_are_what_the_rules_say)
{
    static sg_config config;
    sg_task task;
    double logits[V], expected[PROMPTS], J[PROMPTS] = {0};
    set_rules(&config, _i);
    start(&task, &config, logits);
    ck_assert_int_eq(task.end, houses[_i / (2 * KINDS)].ends ? 1 : -1);
    for (size_t k = 0; k < RESPONSES; k++) {
        int32_t tokens[ROOM];
        response(k, tokens);
        double p =
            exp(logits[tokens[0]] + logits[tokens[1]] + logits[tokens[2]] + logits[tokens[3]]);
        for (size_t prompt = 0; prompt < PROMPTS; prompt++) {
            double reward = judge(&task, prompt, tokens);
            double scored = (double)sg_task_score(&task, 1, 0, prompt, 0, tokens) /
                            (double)sg_task_unit(&task, prompt);
            if (sg_task_clean_score(&task, prompt, tokens) != reward || scored != reward)
                ck_abort_msg("response %zu to prompt %zu: %g, %g, by the rules %g", k, prompt,
                             sg_task_clean_score(&task, prompt, tokens), scored, reward);
            J[prompt] += p * reward;
        }
    }
    sg_policy *made;
    sg_reward reward = sg_task_reward(&task);
    ck_assert_int_eq(sg_config_policy(&config, &task, logits, 1, &made, NULL), SG_OK);
    ck_assert_int_eq(made->methods->expected_reward(made, &reward, expected, NULL), SG_OK);
    for (int p = 0; p < PROMPTS; p++) {
        ck_assert_double_gt(J[p], 1e-4);
        ck_assert_double_eq_tol(expected[p], J[p], 1e-13);
    }
    sg_policy_free(made);
    sg_task_clear(&task);
}
END_TEST

/* Sums of a larger modulus are graded by their distance to the target around the circle. */
START_TEST(sums_are_graded_by_their_distance)
{
    static const double six[] = {1, 2.0 / 3, 1.0 / 3, 0, 1.0 / 3, 2.0 / 3};
    static const double five[] = {1, 0.5, 0, 0, 0.5}, two[] = {1, 0}, one[] = {1};
    static const double *const grades[] = {[1] = one, [2] = two, [5] = five, [6] = six};
    static const int classes[] = {1, 2, 5, 6};
    static sg_config config;
    sg_task task;
    double logits[V];
    int M = classes[_i];
    configure(&config, "modular-sum", "tree", false);
    set(&config, "policy.head=7");
    set(&config, "task.classes=%d", M);
    set(&config, "task.reward=fraction");
    start(&task, &config, logits);
    for (int32_t more = 0; more < M; more++) {
        int32_t tokens[ROOM] = {0, 0, 0, (task.answer[0] + more) % M};
        ck_assert_double_eq(sg_task_clean_score(&task, 0, tokens), grades[M][more]);
    }
    sg_task_clear(&task);
}
END_TEST

/* Whatever a response is worth, its reward is it up to the verifier's errors: (1 - fn) of it and fp
 * of the rest in the mean. Eight responses of each kind, 5 standard errors: a right program fails
 * once in 3,000 choices of the seed. */
START_TEST(a_verifier_errs_at_its_rates)
{
    static sg_config config;
    sg_task task;
    double logits[V];
    set_rules(&config, _i);
    set(&config, "task.false_positive=0.1");
    set(&config, "task.false_negative=0.25");
    start(&task, &config, logits);
    for (size_t n = 0; n < 8; n++) {
        enum { DRAWS = 2000 };
        int32_t tokens[ROOM];
        double sum = 0, units = (double)sg_task_unit(&task, n % PROMPTS);
        response(n * 821 % RESPONSES, tokens);
        if (n < PROMPTS) {
            double head[K] = {0.4, 0.3, 0.2, 0.1};
            sg_task_right_answer(&task, head, (sg_address){0}, n, tokens);
        }
        for (size_t i = 0; i < DRAWS; i++)
            sum += (double)sg_task_score(&task, 3, i / 10, n % PROMPTS, i % 10, tokens) / units;
        double clean = judge(&task, n % PROMPTS, tokens), mean = clean * 0.75 + (1 - clean) * 0.1;
        ck_assert_double_eq_tol(sum / DRAWS, mean, 5 * sqrt(0.25 / DRAWS / units));
    }
    sg_task_clear(&task);
}
END_TEST

/* The policy gradient of a reward, told to the policy as pushes p (R - b), is the gradient of its
 * exact J, whatever the baseline b: the step moves J by the square of its own length, and the step
 * of another baseline is the same. */
START_TEST(baselines_do_not_change_the_gradient)
{
    static sg_config config;
    sg_task task;
    double logits[V], J[2];
    set_rules(&config, _i);
    start(&task, &config, logits);
    size_t most = (size_t)PROMPTS * RESPONSES, n = 0;
    uint32_t *prompt = calloc(2 * most, sizeof *prompt), *length = prompt + most;
    int32_t *tokens = calloc(most * ROOM, sizeof *tokens);
    double *pushes = calloc(most * ROOM, sizeof *pushes);
    double *weight = calloc(2 * most, sizeof *weight), *reward = weight + most;
    for (size_t p = 0; p < PROMPTS; p++)
        for (size_t k = 0; k < RESPONSES; k++) {
            int32_t *y = tokens + n * ROOM;
            double logp = 0;
            uint32_t said = 0;
            bool ended = false, canonical = true; /* nothing but 0 behind the end */
            response(k, y);
            for (int t = 0; t < ROOM; t++) {
                canonical = canonical && (!ended || y[t] == 0);
                logp += ended ? 0 : logits[y[t]];
                said += !ended;
                ended = ended || y[t] == task.end;
            }
            if (!canonical)
                continue;
            prompt[n] = (uint32_t)p;
            length[n] = said;
            weight[n] = exp(logp);
            reward[n] = sg_task_clean_score(&task, p, y);
            n++;
        }
    sg_responses all = {n, ROOM, prompt, NULL, length, tokens};
    sg_reward automaton = sg_task_reward(&task);
    double norm[2], h = 1e-4;
    for (int k = 0; k < 2; k++) { /* without and with a baseline; there and back */
        double baseline = k == 0 ? 0 : 0.7, sum[2] = {0};
        for (int side = 0; side < 2; side++) {
            sg_policy *policy;
            sg_policy_change change;
            double expected[PROMPTS], lr = side == 0 ? -h : h;
            for (size_t i = 0; i < n; i++)
                for (size_t t = 0; t < ROOM; t++)
                    pushes[i * ROOM + t] = weight[i] * (reward[i] - baseline);
            set(&config, "optimizer.kind=sgd");
            ck_assert_int_eq(sg_config_policy(&config, &task, logits, 1, &policy, NULL), SG_OK);
            sg_policy_step step = {.optimizer = {.kind = SG_SGD, .lr = lr}, .time = 1};
            ck_assert_int_eq(policy->methods->update(policy, &step, &all, pushes, &change, NULL),
                             SG_OK);
            policy->methods->expected_reward(policy, &automaton, expected, NULL);
            for (int p = 0; p < PROMPTS; p++)
                sum[side] += expected[p];
            norm[k] = change.grad_norm;
            sg_policy_free(policy);
        }
        J[k] = (sum[1] - sum[0]) / (2 * h);
        ck_assert_double_gt(norm[k], 1e-3);
        ck_assert_double_eq_tol(J[k], norm[k] * norm[k], 1e-7 * J[k]);
    }
    ck_assert_double_eq_tol(norm[1], norm[0], 1e-11);
    ck_assert_double_eq_tol(J[1], J[0], 1e-7 * J[0]);
    free(prompt);
    free(tokens);
    free(pushes);
    free(weight);
    sg_task_clear(&task);
}
END_TEST

/* A wrong path is cut where it leaves the right ones: the share of its prefixes before that. */
START_TEST(wrong_paths_share_the_asked_part_of_their_prefixes)
{
    static sg_config config;
    sg_task task;
    double logits[V], shared = 0, wrong = 0;
    enum { T = ROOM };
    configure(&config, "path", "tree", false);
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
    bool ends = _i >= KINDS;
    double logits[V], head[K], count[K] = {0}, total = 0, open = 0;
    configure(&config, kinds[_i % KINDS], "tree", ends);
    start(&task, &config, logits);
    for (int k = 0; k < K; k++) {
        head[k] = exp(logits[k]);
        total += k == task.end ? 0 : head[k];
    }
    enum { DRAWS = 4000 };
    for (uint32_t i = 0; i < DRAWS; i++) {
        int32_t tokens[ROOM];
        sg_address at = {.seed = 2, .stream = SG_STREAM_WARM_START, .prompt = i % 5, .sample = i};
        size_t said = sg_task_right_answer(&task, head, at, i % 5, tokens);
        ck_assert_uint_eq(said, ends ? ROOM - 1 : ROOM);
        ck_assert_double_eq(sg_task_clean_score(&task, i % 5, tokens), 1);
        sg_task_kind kind = sg_task_family(&task, i % 5);
        if (kind == SG_TASK_MODULAR_SUM || (kind == SG_TASK_PATH && task.decisive != 0)) {
            count[tokens[0]]++; /* the first token is free */
            open++;
        }
    }
    for (int k = 0; k < K && open > 0; k++)
        ck_assert_double_eq_tol(count[k] / open, k == task.end ? 0 : head[k] / total,
                                5 * sqrt(0.25 / open));
    sg_task_clear(&task);
}
END_TEST

START_TEST(held_out_prompts_differ_from_all_others)
{
    static sg_config config;
    sg_task task;
    double logits[V];
    sg_error error = {0};
    enum { T = ROOM };
    configure(&config, "copy", "tree", false);
    set(&config, "task.prompts=20");
    start(&task, &config, logits);
    sg_task_clear(&task);
    set(&config, "task.heldout=40");
    ck_assert_int_eq(sg_task_init(&task, &config, logits, &error), SG_OK);
    ck_assert_uint_eq(task.evaluated_count, 40);
    for (size_t p = 0; p < 60; p++) {
        for (size_t q = 0; q < p; q++)
            ck_assert_mem_ne(task.answer + p * T, task.answer + q * T, T * sizeof *task.answer);
        for (size_t t = 0; t < T; t++) {
            ck_assert_int_lt(task.answer[p * T + t], 3);
            ck_assert_int_eq(sg_task_prompt_token(&task, p, t), task.answer[p * T + t]);
        }
        ck_assert(p >= 40 || task.evaluated[p] == p + 20);
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
    tcase_add_loop_test(tests, rewards_are_what_the_rules_say, 0, RULES);
    tcase_add_loop_test(tests, sums_are_graded_by_their_distance, 0, 4);
    tcase_add_loop_test(tests, a_verifier_errs_at_its_rates, 0, RULES);
    tcase_add_loop_test(tests, baselines_do_not_change_the_gradient, 0, RULES);
    tcase_add_loop_test(tests, wrong_paths_share_the_asked_part_of_their_prefixes, 0, 4);
    tcase_add_loop_test(tests, right_answers_are_right_and_follow_the_start, 0, 2 * KINDS);
    tcase_add_test(tests, held_out_prompts_differ_from_all_others);
    suite_add_tcase(suite, tests);
    return suite;
}
