/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Responses that end: a tree with an end token against an enumeration of everything it can say, and
 * what weighting tokens by 1/length does to the length of wrong answers. */
#include <check.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/rng.h"
#include "experiment.h"
#include "policy/tree.h"
#include "sim/run.h"

/* Two tokens are asked for, then token 1 ends; what does not end then has two more tokens. */
enum {
    V = 5,
    K = 3,
    RIGHT = 2,
    ROOM = 5,
    END = 1,
    PROMPTS = 2,
    MOST = 3200,
    KEYS = 64,
    NUMBERS = PROMPTS * KEYS * V
};

typedef struct everything {
    sg_tree_shape shape;
    sg_policy *tree;
    double theta[NUMBERS], bias[V]; /* theta: [prompt][key, see below][V] */
    size_t count;
    uint32_t prompt[MOST], length[MOST];
    int32_t tokens[MOST][ROOM];
    double p[MOST], reward[MOST], log_prob[MOST][ROOM], push[MOST][ROOM];
} everything;

static double random_normal(uint32_t a, uint32_t b, uint32_t c)
{
    double x[2];
    sg_rng_normal_pair((sg_address){23, SG_STREAM_SYNTHETIC, a, b, c, 0}, x);
    return x[0];
}

/* A number for what a prefix is, by the rules in words: dead after a tail token and behind the
 * positions that branch, else its tokens, or their sum. */
static size_t key(const sg_tree_shape *shape, const int32_t *tokens, size_t t)
{
    size_t code = 0;
    for (size_t i = 0; i < t; i++) {
        if (tokens[i] >= K)
            return 50 + t;
        code = shape->merge > 0 ? (code + (size_t)tokens[i]) % shape->merge
                                : code * K + (size_t)tokens[i];
    }
    return t > RIGHT ? 50 + t : 10 * t + code;
}

static size_t at(size_t prompt, size_t k)
{
    return (prompt * KEYS + k) * V;
}

static double log_softmax(const everything *e, size_t prompt, size_t k, int32_t token)
{
    double sum = 0, z[V];
    for (int v = 0; v < V; v++) {
        z[v] = e->theta[at(prompt, k) + (size_t)v] + (e->shape.shared_bias ? e->bias[v] : 0);
        sum += exp(z[v]);
    }
    return z[token] - log(sum);
}

/* "The two head tokens before the end sum to the prompt's number modulo 3"; or, `share`, how many
 * of them are token 2. Its own automaton. */
static int32_t next(const void *context, size_t prompt, size_t position, int32_t state,
                    int32_t token)
{
    bool share = *(const bool *)context;
    if (position == RIGHT)
        return token == END && (share || (size_t)state == prompt) ? state : SG_REWARD_LOST;
    if (position > RIGHT || token == END || token >= K)
        return SG_REWARD_LOST;
    return share ? state + (token == 2) : (state + token) % 3;
}

static double value(const void *context, size_t prompt, int32_t state)
{
    (void)prompt;
    return *(const bool *)context ? state / 2.0 : 1;
}

static double judge(bool share, size_t prompt, const int32_t *y, size_t length)
{
    bool formed = length == RIGHT + 1 && y[RIGHT] == END && y[0] < K && y[1] < K;
    if (!formed)
        return 0;
    return share ? ((y[0] == 2) + (y[1] == 2)) / 2.0 : (size_t)((y[0] + y[1]) % 3) == prompt;
}

/* Everything that can be said after the first t tokens. */
static void enumerate(everything *e, size_t prompt, int32_t *tokens, size_t t, double p, bool share)
{
    for (int32_t token = 0; token < V; token++) {
        double logp = log_softmax(e, prompt, key(&e->shape, tokens, t), token);
        tokens[t] = token;
        if (token != END && t + 1 < ROOM) {
            enumerate(e, prompt, tokens, t + 1, p * exp(logp), share);
            continue;
        }
        size_t i = e->count++;
        ck_assert_uint_lt(i, MOST);
        e->prompt[i] = (uint32_t)prompt;
        e->length[i] = (uint32_t)t + 1;
        memcpy(e->tokens[i], tokens, (t + 1) * sizeof *tokens);
        e->p[i] = p * exp(logp);
        e->reward[i] = judge(share, prompt, tokens, t + 1);
    }
}

static void enumerate_all(everything *e, bool share)
{
    int32_t tokens[ROOM] = {0};
    e->count = 0;
    for (size_t p = 0; p < PROMPTS; p++)
        enumerate(e, p, tokens, 0, 1, share);
}

static sg_responses responses_of(everything *e)
{
    static uint32_t sample[MOST];
    return (sg_responses){e->count, ROOM, e->prompt, sample, e->length, e->tokens[0]};
}

/* Numbers of a state into the tree, through the prefix that leads there. */
static void tell(everything *e, size_t prompt, const int32_t *tokens, size_t t)
{
    sg_tree_set(e->tree, sg_tree_state(e->tree, prompt, tokens, t),
                &e->theta[at(prompt, key(&e->shape, tokens, t))]);
}

static void everything_init(everything *e, int variant, bool share)
{
    sg_error error = {0};
    double zero[V] = {0};
    memset(e, 0, sizeof *e);
    e->shape = (sg_tree_shape){.prompts = PROMPTS,
                               .length = ROOM,
                               .vocabulary = V,
                               .head = K,
                               .merge = variant % 2 == 0 ? 0 : 4,
                               .shared_bias = variant >= 2,
                               .may_end = true,
                               .end_token = END,
                               .branching = RIGHT + 1,
                               .precision = SG_FP64,
                               .optimizer = SG_SGD};
    ck_assert_msg(sg_tree_alloc(&e->tree, &e->shape, zero, &error) == SG_OK, "%s", error.message);
    for (uint32_t p = 0; p < PROMPTS; p++)
        for (uint32_t k = 0; k < KEYS; k++)
            for (uint32_t v = 0; v < V; v++)
                e->theta[at(p, k) + v] = random_normal(p, k, v);
    for (uint32_t v = 0; v < V; v++)
        e->bias[v] = e->shape.shared_bias ? random_normal(9, 9, v) : 0;
    if (e->shape.shared_bias)
        sg_tree_set(e->tree, SG_TREE_BIAS, e->bias);
    enumerate_all(e, share);
    for (size_t i = 0; i < e->count; i++)
        for (size_t t = 0; t < e->length[i]; t++)
            tell(e, e->prompt[i], e->tokens[i], t);
}

static void *make(int variant, bool share)
{
    everything *e = malloc(sizeof *e);
    ck_assert_ptr_nonnull(e);
    everything_init(e, variant, share);
    return e;
}

static void drop(everything *e)
{
    sg_policy_free(e->tree);
    free(e);
}

START_TEST(a_tree_with_an_end_knows_all_that_it_can_say)
{
    bool share = _i >= 4;
    everything *e = make(_i % 4, share);
    const sg_policy_methods *methods = e->tree->methods;
    sg_reward reward = {.context = &share, .states = 3, .next = next, .value = value};
    sg_responses all = responses_of(e);
    double J[PROMPTS], total = 0, right[PROMPTS] = {0};
    double tokens = 0, tail = 0, losers = 0, losers_tail = 0, right_tail = 0, root_tail = 0;
    ck_assert_int_eq(methods->log_prob(e->tree, &all, e->log_prob[0], NULL), SG_OK);
    for (size_t i = 0; i < e->count; i++) {
        const int32_t *y = e->tokens[i];
        total += e->p[i];
        right[e->prompt[i]] += e->p[i] * e->reward[i];
        for (size_t t = 0, state = 0; t < e->length[i]; t++) {
            size_t k = key(&e->shape, y, t);
            ck_assert_double_eq_tol(e->log_prob[i][t], log_softmax(e, e->prompt[i], k, y[t]),
                                    1e-13);
            double mass = 0;
            for (int32_t v = K; v < V; v++)
                mass += exp(log_softmax(e, e->prompt[i], k, v));
            bool lost = (int32_t)state == SG_REWARD_LOST;
            tokens += e->p[i];
            tail += e->p[i] * mass;
            *(lost ? &losers : &right_tail) += lost ? e->p[i] : e->p[i] * mass;
            losers_tail += lost ? e->p[i] * mass : 0;
            root_tail += t == 0 ? e->p[i] * mass : 0;
            if (!lost)
                state = (size_t)next(&share, e->prompt[i], t, (int32_t)state, y[t]);
        }
    }
    sg_policy_observation o;
    ck_assert_int_eq(methods->expected_reward(e->tree, &reward, J, NULL), SG_OK);
    ck_assert_int_eq(methods->observe(e->tree, &reward, &o, NULL), SG_OK);
    ck_assert_double_eq_tol(total, PROMPTS, 1e-12);
    for (int p = 0; p < PROMPTS; p++) {
        ck_assert_double_gt(J[p], 1e-4);
        ck_assert_double_eq_tol(J[p], right[p], 1e-14);
    }
    ck_assert_double_eq_tol(o.tail_mass, tail / tokens, 1e-13);
    ck_assert_double_eq_tol(o.losers_share, losers / tokens, 1e-13);
    ck_assert_double_eq_tol(o.tail_mass_losers, losers_tail / losers, 1e-13);
    ck_assert_double_eq_tol(o.tail_mass_right, right_tail / (tokens - losers), 1e-13);
    ck_assert_double_eq_tol(o.tail_mass_root, root_tail / PROMPTS, 1e-13);
    drop(e);
}
END_TEST

/* Draws stop at the first end and are as frequent as the enumeration says. Each of the five lengths
 * is compared at 5 standard deviations: a right program fails once in 3e5 choices of the seed. */
START_TEST(draws_end_where_they_should)
{
    enum { DRAWS = 1500 };
    static uint32_t prompt[DRAWS], sample[DRAWS], length[DRAWS];
    static int32_t tokens[DRAWS * ROOM];
    static double log_prob[DRAWS * ROOM], again[DRAWS * ROOM];
    everything *e = make(_i, false);
    double seen[ROOM + 1] = {0}, wanted[ROOM + 1] = {0};
    sg_responses r = {DRAWS, ROOM, prompt, sample, length, tokens};
    for (uint32_t i = 0; i < DRAWS; i++) {
        prompt[i] = 1;
        sample[i] = i;
    }
    sg_policy_draw how = {.seed = 4, .stream = SG_STREAM_ROLLOUT, .sampler = SG_SAMPLER_PLAIN};
    ck_assert_int_eq(e->tree->methods->draw(e->tree, &how, &r, log_prob, NULL), SG_OK);
    ck_assert_int_eq(e->tree->methods->log_prob(e->tree, &r, again, NULL), SG_OK);
    for (size_t i = 0; i < DRAWS; i++) {
        seen[length[i]] += 1.0 / DRAWS;
        for (size_t t = 0; t < length[i]; t++) {
            ck_assert(tokens[i * ROOM + t] != END || t + 1 == length[i]);
            ck_assert_double_eq(log_prob[i * ROOM + t], again[i * ROOM + t]);
        }
        ck_assert(length[i] == ROOM || tokens[i * ROOM + length[i] - 1] == END);
    }
    for (size_t i = 0; i < e->count; i++)
        wanted[e->length[i]] += e->prompt[i] == 1 ? e->p[i] : 0;
    for (int l = 1; l <= ROOM; l++)
        ck_assert_double_eq_tol(seen[l], wanted[l], 5 * sqrt(wanted[l] * (1 - wanted[l]) / DRAWS));
    drop(e);
}
END_TEST

/* ---- 1/length ---- */

typedef struct means {
    double advantage;     /* sum of p (reward - baseline) / length */
    double shortness;     /* sum of p / length */
    double wrong, tokens; /* probability of wrong answers, and their tokens */
} means;

static means measure(const everything *e, double baseline)
{
    means m = {0};
    for (size_t i = 0; i < e->count; i++) {
        m.advantage += e->p[i] * (e->reward[i] - baseline) / e->length[i];
        m.shortness += e->p[i] / e->length[i];
        m.wrong += e->reward[i] == 0 ? e->p[i] : 0;
        m.tokens += e->reward[i] == 0 ? e->p[i] * e->length[i] : 0;
    }
    return m;
}

/* The change of theta under pushes of weight * (reward - baseline), all responses at once. */
static void ascend(everything *e, double baseline, bool by_length, double *delta)
{
    sg_responses all = responses_of(e);
    sg_policy_step step = {.optimizer = {.kind = SG_SGD, .lr = 1}, .time = 1};
    sg_policy *moved;
    for (size_t i = 0; i < e->count; i++)
        for (size_t t = 0; t < e->length[i]; t++)
            e->push[i][t] =
                e->p[i] * (e->reward[i] - baseline) / (by_length ? e->length[i] : RIGHT + 1);
    ck_assert_int_eq(e->tree->methods->clone(e->tree, &moved, NULL), SG_OK);
    ck_assert_int_eq(moved->methods->update(moved, &step, &all, e->push[0], NULL, NULL), SG_OK);
    for (size_t i = 0; i < e->count; i++)
        for (size_t t = 0; t < e->length[i]; t++) {
            size_t p = e->prompt[i], from = at(p, key(&e->shape, e->tokens[i], t));
            double after[V];
            sg_tree_get(moved, sg_tree_state(moved, p, e->tokens[i], t), after);
            for (size_t v = 0; v < V; v++)
                delta[from + v] = after[v] - e->theta[from + v];
        }
    sg_policy_free(moved);
}

static double wrong_length(everything *e, const double *delta, double step)
{
    for (int i = 0; i < NUMBERS; i++)
        e->theta[i] += step * delta[i];
    enumerate_all(e, false);
    means m = measure(e, 0);
    for (int i = 0; i < NUMBERS; i++)
        e->theta[i] -= step * delta[i];
    return m.tokens / m.wrong;
}

/* Weights 1/length ascend E[(R - b) / length] with R - b and length fixed. Right answers all have
 * one length L, so that this is J / L - b E[1 / length]: the second term, which no fixed weight has,
 * makes answers that are wrong anyway longer. */
START_TEST(weights_of_one_over_length_make_wrong_answers_longer)
{
    static double by_length[NUMBERS], fixed[NUMBERS], bias[NUMBERS];
    const double baseline = 0.3, h = 1e-5;
    everything *e = make(_i % 2, false);
    ascend(e, baseline, true, by_length);
    ascend(e, baseline, false, fixed);
    size_t large = 0;
    for (size_t i = 0; i < e->count; i += 397)
        for (size_t t = 0; t < e->length[i]; t++) {
            size_t from = at(e->prompt[i], key(&e->shape, e->tokens[i], t));
            for (size_t k = from; k < from + V; k++) {
                double keep = e->theta[k];
                e->theta[k] = keep + h;
                enumerate_all(e, false);
                means up = measure(e, baseline);
                e->theta[k] = keep - h;
                enumerate_all(e, false);
                means down = measure(e, baseline);
                e->theta[k] = keep;
                double slope = (up.advantage - down.advantage) / (2 * h);
                double shorter = (up.shortness - down.shortness) / (2 * h);
                ck_assert_double_eq_tol(by_length[k], slope, 1e-9);
                ck_assert_double_eq_tol(by_length[k], fixed[k] - baseline * shorter, 1e-9);
                large += fabs(shorter) > 0.003;
            }
        }
    ck_assert_uint_gt(large, 10);
    for (int i = 0; i < NUMBERS; i++)
        bias[i] = by_length[i] - fixed[i];
    ck_assert_double_gt(wrong_length(e, bias, 1), wrong_length(e, bias, 0) + 1e-3);
    drop(e);
}
END_TEST

static void copies(sg_config *config)
{
    sg_config_init(config);
    set(config, "policy.kind=tree");
    set(config, "policy.vocabulary=100");
    set(config, "policy.head=6");
    set(config, "task.kind=copy");
    set(config, "task.prompts=8");
    set(config, "task.length=2");
    set(config, "task.overrun=3");
    set(config, "optimizer.lr=0.02");
    set(config, "run.steps=400");
    set(config, "run.observe_every=400");
    set(config, "update.objectives=[grpo]");
}

/* Eight runs with each of two ways to average, on the same random numbers. If the average did not
 * matter, the longer answers would be on the side of 1/length in all eight once in 256 times. */
START_TEST(trained_on_one_over_length_wrong_answers_are_longer)
{
    static sg_config config;
    double length[2][8];
    for (int k = 0; k < 2; k++) {
        sg_table *table;
        sg_error error = {0};
        copies(&config);
        set(&config, "run.seeds=8");
        set(&config, "update.aggregate=%s", k == 0 ? "seq-mean-token-sum" : "seq-mean-token-mean");
        ck_assert_msg(sg_simulate(&config, NULL, &table, &error) == SG_OK, "%s", error.message);
        size_t wrong = (size_t)sg_table_find(table, "length_wrong");
        size_t right = (size_t)sg_table_find(table, "length_right");
        for (size_t i = 0; i < 8; i++) {
            length[k][i] = sg_table_get_number(table, wrong, 2 * i + 1);
            ck_assert_double_eq(sg_table_get_number(table, right, 2 * i + 1), 3);
        }
        sg_table_free(table);
    }
    for (int i = 0; i < 8; i++)
        ck_assert_double_gt(length[1][i], length[0][i]);
}
END_TEST

/* Overruns have the mean that was asked for, as near as the head comes to it: with the end at
 * probability p, (1 - p) / p tokens, less what is cut off. At 5 standard errors. */
START_TEST(answers_run_over_by_the_mean_that_was_asked_for)
{
    static sg_config config;
    copies(&config);
    set(&config, "task.overrun=%s", _i == 0 ? "1.5" : "6");
    set(&config, "task.overrun_max=%s", _i == 2 ? "4" : "60");
    set(&config, "task.prompts=2");
    double logits[100];
    sg_prior prior = sg_config_prior(&config);
    sg_prior_logits(&prior, logits);
    int32_t end = sg_task_end(&config, logits), most = (int32_t)config.task.overrun_max;
    double p = exp(logits[end]), nearest = fabs(p - 1 / (1 + config.task.overrun));
    for (int k = 0; k < 6; k++)
        ck_assert_double_le(nearest, fabs(exp(logits[k]) - 1 / (1 + config.task.overrun)));
    sg_policy *policy;
    ck_assert_int_eq(sg_config_policy(&config, NULL, logits, 1, &policy, NULL), SG_OK);
    enum { DRAWS = 4000 };
    size_t room = sg_task_room(&config);
    ck_assert_uint_eq(room, 3 + (size_t)most);
    uint32_t *prompt = calloc(3 * DRAWS, sizeof *prompt);
    int32_t *tokens = malloc(DRAWS * room * sizeof *tokens);
    double *log_prob = malloc(DRAWS * room * sizeof *log_prob);
    sg_responses r = {DRAWS, room, prompt, prompt + DRAWS, prompt + 2 * DRAWS, tokens};
    for (uint32_t i = 0; i < DRAWS; i++)
        prompt[DRAWS + i] = i;
    sg_policy_draw how = {.seed = 2, .stream = SG_STREAM_ROLLOUT, .sampler = SG_SAMPLER_PLAIN};
    ck_assert_int_eq(policy->methods->draw(policy, &how, &r, log_prob, NULL), SG_OK);
    double n = 0, sum = 0, squares = 0, expected = 0;
    for (size_t i = 0; i < DRAWS; i++) {
        double over = (double)r.length[i] - 3;
        if (over < 0) /* it stopped before the two tokens were there */
            continue;
        n++;
        sum += over;
        squares += over * over;
    }
    for (int j = 1; j <= most; j++)
        expected += pow(1 - p, j);
    double mean = sum / n, deviation = sqrt((squares / n - mean * mean) / n);
    ck_assert_double_eq_tol(mean, expected, 5 * deviation);
    ck_assert(_i == 2 || fabs(expected - (1 - p) / p) < 0.01);
    ck_assert_double_eq_tol((1 - p) / p, config.task.overrun, 0.45 * config.task.overrun);
    sg_policy_free(policy);
    free(prompt);
    free(tokens);
    free(log_prob);
}
END_TEST

Suite *lengths_suite(void);
Suite *lengths_suite(void)
{
    Suite *suite = suite_create("lengths");
    TCase *tests = tcase_create("lengths");
    tcase_set_timeout(tests, 60);
    tcase_add_loop_test(tests, a_tree_with_an_end_knows_all_that_it_can_say, 0, 8);
    tcase_add_loop_test(tests, draws_end_where_they_should, 0, 4);
    tcase_add_loop_test(tests, weights_of_one_over_length_make_wrong_answers_longer, 0, 2);
    tcase_add_test(tests, trained_on_one_over_length_wrong_answers_are_longer);
    tcase_add_loop_test(tests, answers_run_over_by_the_mean_that_was_asked_for, 0, 3);
    suite_add_tcase(suite, tests);
    return suite;
}
