/* SPDX-License-Identifier: GPL-3.0-or-later */
#include <check.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "core/rng.h"
#include "policy/tabular.h"
#include "policy/tree.h"

/* ---- the sampler ---- */

static const double three[] = {0.5, 0.3, 0.2};

static sg_sampler_row prepared(const double *p, size_t n, sg_sampler sampler, double *room)
{
    sg_sampler_row row = {.n = n, .logits = room, .cumulated = room + n};
    for (size_t i = 0; i < n; i++)
        row.logits[i] = log(p[i]) + 7; /* a constant of the row does not matter */
    sg_sampler_prepare(&row, &sampler, (sg_address){.seed = 1, .stream = SG_STREAM_NOISE});
    return row;
}

START_TEST(temperature_and_nucleus_by_hand)
{
    double room[6], logp, sums[3] = {0};
    sg_sampler sampler = {.temperature = 0.5, .top_p = 0.7};
    sg_sampler_row row = prepared(three, 3, sampler, room);
    const double expected[] = {0.25 / 0.34, 0.09 / 0.34, 0};
    for (int k = 0; k < 1000; k++) {
        int32_t token = sg_sampler_draw(&row, &sampler, (k + 0.5) / 1000, &logp);
        ck_assert_double_eq_tol(logp, log(expected[token]), 1e-14);
        sums[token] += 1e-3;
    }
    for (int i = 0; i < 3; i++)
        ck_assert_double_eq_tol(sums[i], expected[i], 1e-3);
    sampler.raw = true;
    row = prepared(three, 3, sampler, room);
    ck_assert_int_eq(sg_sampler_draw(&row, &sampler, 0.99, &logp), 1);
    ck_assert_double_eq_tol(logp, log(0.3), 1e-14);
    sampler = (sg_sampler){.temperature = 0.5, .top_p = 0.7, .top_k = 2};
    row = prepared(three, 3, sampler, room);
    ck_assert_int_eq(sg_sampler_draw(&row, &sampler, 0.99, &logp), 0); /* 0.7353 is enough */
    ck_assert_double_eq(logp, 0);
    sampler = (sg_sampler){.temperature = 0, .top_p = 1};
    row = prepared(three, 3, sampler, room);
    ck_assert_int_eq(sg_sampler_draw(&row, &sampler, 0.99, &logp), 0);
    ck_assert_double_eq(logp, 0);
}
END_TEST

static int falling(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return x < y ? 1 : x > y ? -1 : 0;
}

/* The nucleus is the shortest prefix of the sorted tokens that has the mass; equal ones count by
 * their number. */
START_TEST(the_nucleus_is_the_smallest_set_of_its_mass)
{
    enum { N = 400 };
    static double p[N], sorted[N], room[2 * N];
    double total = 0, top_p = 0.3 + 0.05 * _i, reached = 0, least = 0, kept = 0;
    for (uint32_t i = 0; i < N; i++) { /* many ties */
        p[i] = floor(1 + 30 * sg_rng_uniform((sg_address){5, SG_STREAM_SYNTHETIC, 0, 0, 0, i}));
        total += p[i];
    }
    for (int i = 0; i < N; i++)
        sorted[i] = p[i] /= total;
    qsort(sorted, N, sizeof *sorted, falling);
    int count = 0;
    while (reached < top_p * (1 - 1e-12))
        reached += least = sorted[count++];
    sg_sampler sampler = {.temperature = 1, .top_p = top_p};
    sg_sampler_row row = prepared(p, N, sampler, room);
    int mine = 0, ties = 0, last_tie = -1, first_left = N;
    for (int i = 0; i < N; i++) {
        bool in = row.cumulated[i] > (i > 0 ? row.cumulated[i - 1] : 0);
        mine += in;
        kept += in ? p[i] : 0;
        ck_assert(!in || p[i] > least - 1e-12);
        ck_assert(in || p[i] < least + 1e-12);
        if (fabs(p[i] - least) < 1e-12) {
            ties++;
            last_tie = in ? i : last_tie;
            first_left = !in && i < first_left ? i : first_left;
        }
    }
    ck_assert_int_eq(mine, count);
    ck_assert_double_eq_tol(kept, reached, 1e-12);
    ck_assert_int_gt(ties, 1);
    ck_assert_int_lt(last_tie, first_left);
}
END_TEST

/* Sorted by hand: the k likeliest, of those as many as have the mass; equal ones by their number.
 * p: their probabilities, 0 for the others. */
static void naive_truncation(const double *z, size_t n, const sg_sampler *s, double *p)
{
    double total = 0, kept = 0;
    size_t most = s->top_k > 0 && s->top_k < n ? s->top_k : n, *order = malloc(n * sizeof *order);
    bool *taken = calloc(n, sizeof *taken);
    for (size_t k = 0; k < most; k++) {
        size_t best = n;
        for (size_t i = 0; i < n; i++)
            if (!taken[i] && (best == n || z[i] > z[best]))
                best = i;
        taken[order[k] = best] = true;
        total += exp(z[best] / s->temperature);
    }
    memset(p, 0, n * sizeof *p);
    for (size_t k = 0; k < most && (s->top_p == 1 || kept < s->top_p * (1 - 1e-12)); k++)
        kept += p[order[k]] = exp(z[order[k]] / s->temperature) / total;
    for (size_t i = 0; i < n; i++)
        p[i] /= kept;
    free(order);
    free(taken);
}

START_TEST(top_k_keeps_so_many_of_the_likeliest)
{
    enum { N = 300 };
    static const uint32_t k[] = {1, 2, 7, 50, 299, 300, 1000, 0};
    static double z[N], p[N], room[2 * N];
    for (int c = 0; c < 8 * 4; c++) {
        sg_sampler s = {
            .temperature = c % 2 ? 1 : 0.7, .top_p = c / 2 % 2 ? 1 : 0.6, .top_k = k[c / 4]};
        for (uint32_t i = 0; i < N; i++) { /* ties, and both signs */
            z[i] = floor(9 * sg_rng_uniform((sg_address){5, SG_STREAM_SYNTHETIC, 1, 0, 0, i})) / 2;
            z[i] -= 2;
        }
        z[17] = -0.0;
        naive_truncation(z, N, &s, p);
        sg_sampler_row row = {.n = N, .logits = room, .cumulated = room + N};
        memcpy(room, z, sizeof z);
        sg_sampler_prepare(&row, &s, (sg_address){0});
        double total = row.cumulated[N - 1], norm = 0;
        for (int i = 0; i < N; i++)
            norm += exp(z[i]);
        for (size_t i = 0; i < N; i++) {
            double mass = row.cumulated[i] - (i > 0 ? row.cumulated[i - 1] : 0), logp;
            ck_assert_int_eq(mass > 0, p[i] > 0);
            ck_assert_double_eq_tol(mass / total, p[i], 1e-12);
            if (p[i] == 0)
                continue;
            double u = (row.cumulated[i] - mass / 2) / total;
            s.raw = false;
            ck_assert_int_eq(sg_sampler_draw(&row, &s, u, &logp), (int32_t)i);
            ck_assert_double_eq_tol(logp, log(p[i]), 1e-12);
            s.raw = true;
            sg_sampler_draw(&row, &s, u, &logp);
            ck_assert_double_eq_tol(logp, z[i] - log(norm), 1e-12);
        }
    }
}
END_TEST

START_TEST(numbers_are_rounded_to_their_format)
{
    ck_assert_double_eq(sg_sampler_round(-2.7182, SG_SAMPLER_BF16), -2.71875);
    ck_assert_double_eq(sg_sampler_round(1 + 0x1p-8, SG_SAMPLER_BF16), 1); /* ties to even */
    ck_assert_double_eq(sg_sampler_round(1 + 3 * 0x1p-8, SG_SAMPLER_BF16), 1 + 0x1p-6);
    ck_assert_double_eq(sg_sampler_round(0.1, SG_SAMPLER_FP16), 0x1.998p-4);
    ck_assert_double_eq(sg_sampler_round(1e6, SG_SAMPLER_FP16), 65504);
    ck_assert_double_eq(sg_sampler_round(0x1.8p-24, SG_SAMPLER_FP16), 0x1p-23); /* subnormal */
    for (uint32_t i = 0; i < 10000; i++) {
        double x[2];
        sg_rng_normal_pair((sg_address){6, SG_STREAM_SYNTHETIC, 0, 0, 0, i}, x);
        double y = ldexp(x[0], (int)(i % 60) - 30);
        ck_assert_double_eq(sg_sampler_round(y, SG_SAMPLER_FP32), (double)(float)y);
        ck_assert_double_eq(sg_sampler_round(y, SG_SAMPLER_EXACT), y);
    }
}
END_TEST

START_TEST(noise_has_its_size_and_its_address)
{
    enum { N = 20001 };
    static double p[N], room[2 * N], again[2 * N];
    double sum = 0, squares = 0;
    for (int i = 0; i < N; i++)
        p[i] = 1;
    sg_sampler sampler = {.temperature = 1, .top_p = 1, .noise = 0.3};
    prepared(p, N, sampler, room);
    prepared(p, N, sampler, again);
    ck_assert_mem_eq(room, again, sizeof room);
    for (int i = 0; i < N; i++) {
        sum += (room[i] - 7) / N;
        squares += (room[i] - 7) * (room[i] - 7) / N;
    }
    ck_assert_double_le(fabs(sum), 5 * 0.3 / sqrt(N));
    ck_assert_double_le(fabs(squares / 0.09 - 1), 5 * sqrt(2.0 / N));
}
END_TEST

/* ---- the table behind the policy interface ---- */

enum { PROMPTS = 3, LENGTH = 2, V = 50, K = 8, ANSWERS = 7, ROOM = 4 };

typedef struct fixture {
    sg_policy *policy;
    sg_responses r;
    uint32_t prompt[ANSWERS], sample[ANSWERS], length[ANSWERS];
    int32_t tokens[ANSWERS * ROOM];
    double log_prob[ANSWERS * ROOM], pushes[ANSWERS * ROOM];
} fixture;

/* Prompts come in any order and unequally often: 1, 4 and 2 times. */
static void start(fixture *f, sg_optimizer_kind kind)
{
    static const uint32_t prompts[ANSWERS] = {1, 0, 1, 2, 1, 2, 1};
    sg_tabular_shape shape = {.prompts = PROMPTS,
                              .length = LENGTH,
                              .vocabulary = V,
                              .head = K,
                              .precision = SG_FP64,
                              .optimizer = kind};
    double logits[V];
    memset(f, 0, sizeof *f);
    for (uint32_t v = 0; v < V; v++)
        logits[v] = -0.1 * v;
    ck_assert_int_eq(sg_tabular_alloc(&f->policy, &shape, logits, NULL), SG_OK);
    for (uint32_t i = 0; i < ANSWERS; i++) {
        f->prompt[i] = prompts[i];
        f->sample[i] = i;
        for (uint32_t t = 0; t < LENGTH; t++)
            f->pushes[i * ROOM + t] = sin(1.0 + i + 10 * t);
    }
    f->r = (sg_responses){ANSWERS, ROOM, f->prompt, f->sample, f->length, f->tokens};
    sg_policy_draw how = {.seed = 4, .stream = SG_STREAM_ROLLOUT, .sampler = SG_SAMPLER_PLAIN};
    ck_assert_int_eq(f->policy->methods->draw(f->policy, &how, &f->r, f->log_prob, NULL), SG_OK);
}

/* The same on the rows themselves, state by state. */
static void reference_update(fixture *f, sg_rows *rows, const sg_policy_step *step, double factor)
{
    for (size_t state = 0; state < PROMPTS * LENGTH; state++) {
        int32_t tokens[ANSWERS];
        double pushes[ANSWERS];
        size_t n = 0;
        for (size_t i = 0; i < ANSWERS; i++) {
            if (f->prompt[i] != state / LENGTH)
                continue;
            tokens[n] = f->tokens[i * ROOM + state % LENGTH];
            pushes[n++] = factor * f->pushes[i * ROOM + state % LENGTH];
        }
        sg_rows_update(rows, &step->optimizer, step->time, state, 1, n, tokens, pushes, NULL);
    }
}

START_TEST(responses_in_any_order_reach_their_rows)
{
    fixture f, g;
    sg_optimizer_kind kind = _i % 2 == 0 ? SG_SGD : SG_ADAM;
    bool clip = _i >= 2;
    start(&f, kind);
    start(&g, kind);
    sg_rows *rows = sg_tabular_rows(g.policy);
    for (size_t i = 0; i < ANSWERS; i++) {
        for (size_t t = 0; t < LENGTH; t++) {
            double u = sg_rng_uniform((sg_address){4, SG_STREAM_ROLLOUT, 0, f.prompt[i],
                                                   (uint32_t)i, (uint32_t)t}),
                   logp;
            int32_t token;
            sg_rows_draw(rows, f.prompt[i] * LENGTH + t, 1, 1, &u, &token, NULL);
            sg_rows_log_prob(rows, f.prompt[i] * LENGTH + t, 1, 1, &token, &logp);
            ck_assert_int_eq(token, f.tokens[i * ROOM + t]);
            ck_assert_double_eq(logp, f.log_prob[i * ROOM + t]);
        }
        ck_assert_uint_eq(f.length[i], LENGTH);
    }
    sg_policy_step step = {.optimizer = {kind, 0.1, 0.9, 0.99, 1e-8, 0.1}, .time = 1};
    sg_policy_change free_change, change;
    sg_policy *twin;
    ck_assert_int_eq(f.policy->methods->clone(f.policy, &twin, NULL), SG_OK);
    twin->methods->update(twin, &step, &f.r, f.pushes, &free_change, NULL);
    ck_assert_double_eq(free_change.clip_factor, 1);
    sg_policy_free(twin);
    step.clip_norm = clip ? free_change.grad_norm / 4 : 0;
    f.policy->methods->update(f.policy, &step, &f.r, f.pushes, &change, NULL);
    ck_assert_double_eq_tol(change.grad_norm, free_change.grad_norm, 1e-12);
    ck_assert_double_eq_tol(change.clip_factor, clip ? 0.25 : 1, 1e-12);
    ck_assert_double_eq_tol(change.diffuse_push, free_change.diffuse_push, 1e-12);
    if (clip && kind == SG_SGD)
        ck_assert_double_eq_tol(change.delta_norm, free_change.delta_norm / 4, 1e-12);
    reference_update(&g, rows, &step, change.clip_factor);
    for (size_t state = 0; state < PROMPTS * LENGTH; state++) {
        double mine[V], theirs[V];
        sg_rows_get_logits(sg_tabular_rows(f.policy), state, mine);
        sg_rows_get_logits(rows, state, theirs);
        for (int v = 0; v < V; v++)
            ck_assert_double_eq(mine[v], theirs[v]);
    }
    sg_policy_free(f.policy);
    sg_policy_free(g.policy);
}
END_TEST

static int32_t next_parity(const void *context, size_t prompt, size_t position, int32_t state,
                           int32_t token)
{
    (void)context, (void)prompt, (void)position;
    return token >= K ? SG_REWARD_LOST : (state + token) % 3;
}

static double value_parity(const void *context, size_t prompt, int32_t state)
{
    (void)context;
    return state == (int32_t)prompt % 3;
}

/* Every response of a table and of a tree comes from the k likeliest tokens of its state. */
START_TEST(policies_truncate_alike)
{
    enum { N = 30, ANSWERED = 40 };
    double z[N], p[N], log_prob[ANSWERED * 2];
    uint32_t prompt[ANSWERED] = {0}, sample[ANSWERED], length[ANSWERED];
    int32_t tokens[ANSWERED * 2];
    for (uint32_t i = 0; i < N; i++)
        z[i] = floor(6 * sg_rng_uniform((sg_address){8, SG_STREAM_SYNTHETIC, 0, 0, 0, i})) / 2;
    for (uint32_t i = 0; i < ANSWERED; i++)
        sample[i] = i;
    sg_tabular_shape table = {
        .prompts = 1, .length = 2, .vocabulary = N, .head = 3, .precision = SG_FP64};
    sg_tree_shape tree = {
        .prompts = 1, .length = 2, .vocabulary = N, .head = 3, .precision = SG_FP64};
    sg_policy *policy;
    ck_assert_int_eq(_i % 2 == 0 ? sg_tabular_alloc(&policy, &table, z, NULL)
                                 : sg_tree_alloc(&policy, &tree, z, NULL),
                     SG_OK);
    sg_policy_draw how = {.seed = 9, .sampler = {.temperature = 0.8, .top_p = 1, .top_k = 4}};
    how.sampler.raw = _i / 2 == 1;
    naive_truncation(z, N, &how.sampler, p);
    sg_responses r = {ANSWERED, 2, prompt, sample, length, tokens};
    ck_assert_int_eq(policy->methods->draw(policy, &how, &r, log_prob, NULL), SG_OK);
    double norm = 0;
    bool seen[N] = {false};
    int kinds = 0;
    for (int i = 0; i < N; i++)
        norm += exp(z[i]);
    for (int j = 0; j < ANSWERED * 2; j++) {
        ck_assert_double_gt(p[tokens[j]], 0);
        double expected = _i / 2 == 1 ? z[tokens[j]] - log(norm) : log(p[tokens[j]]);
        ck_assert_double_eq_tol(log_prob[j], expected, 1e-12);
        kinds += !seen[tokens[j]];
        seen[tokens[j]] = true;
    }
    ck_assert_int_eq(kinds, 4);
    sg_policy_free(policy);
}
END_TEST

START_TEST(expected_rewards_are_sums_over_all_responses)
{
    fixture f;
    double expected[PROMPTS], p[2][V];
    start(&f, SG_SGD);
    sg_policy_step step = {.optimizer = {.kind = SG_SGD, .lr = 1}, .time = 1};
    f.policy->methods->update(f.policy, &step, &f.r, f.pushes, NULL, NULL);
    sg_reward reward = {.states = 3, .next = next_parity, .value = value_parity};
    f.policy->methods->expected_reward(f.policy, &reward, expected, NULL);
    for (size_t prompt = 0; prompt < PROMPTS; prompt++) {
        double J = 0;
        for (size_t t = 0; t < 2; t++) {
            double logits[V], sum = 0;
            sg_rows_get_logits(sg_tabular_rows(f.policy), prompt * LENGTH + t, logits);
            for (int v = 0; v < V; v++)
                sum += p[t][v] = exp(logits[v]);
            for (int v = 0; v < V; v++)
                p[t][v] /= sum;
        }
        for (int a = 0; a < K; a++)
            for (int b = 0; b < K; b++)
                J += (a + b) % 3 == (int)prompt ? p[0][a] * p[1][b] : 0;
        ck_assert_double_eq_tol(expected[prompt], J, 1e-14);
    }
    sg_policy_free(f.policy);
}
END_TEST

START_TEST(a_saved_table_continues_bit_for_bit)
{
    fixture f;
    sg_policy *other;
    sg_error error;
    start(&f, SG_ADAM);
    const sg_policy_methods *methods = f.policy->methods;
    ck_assert_int_eq(methods->clone(f.policy, &other, NULL), SG_OK);
    sg_policy_step step = {.optimizer = {SG_ADAM, 0.1, 0.9, 0.99, 1e-8, 0}, .time = 1};
    methods->update(f.policy, &step, &f.r, f.pushes, NULL, NULL);
    size_t size = methods->save(f.policy, NULL);
    char *bytes = malloc(size), *again = malloc(size);
    methods->save(f.policy, bytes);
    ck_assert_int_eq(methods->load(other, bytes, size + 8, &error), SG_EDATA);
    ck_assert_int_eq(methods->load(other, bytes, size, &error), SG_OK);
    step.time = 2;
    methods->update(f.policy, &step, &f.r, f.pushes, NULL, NULL);
    methods->update(other, &step, &f.r, f.pushes, NULL, NULL);
    methods->save(f.policy, bytes);
    methods->save(other, again);
    ck_assert_mem_eq(bytes, again, size);
    methods->forget(other); /* Adam's first step again: every logit with a gradient moves by lr */
    sg_policy_change change;
    step.time = 1;
    methods->update(other, &step, &f.r, f.pushes, &change, NULL);
    ck_assert_double_eq_tol(change.delta_norm, 0.1 * sqrt(PROMPTS * LENGTH * V), 1e-5);
    free(bytes);
    free(again);
    sg_policy_free(other);
    sg_policy_free(f.policy);
}
END_TEST

Suite *sampler_suite(void);
Suite *sampler_suite(void)
{
    Suite *suite = suite_create("sampler");
    TCase *tests = tcase_create("sampler");
    tcase_add_test(tests, temperature_and_nucleus_by_hand);
    tcase_add_loop_test(tests, the_nucleus_is_the_smallest_set_of_its_mass, 0, 14);
    tcase_add_test(tests, top_k_keeps_so_many_of_the_likeliest);
    tcase_add_test(tests, numbers_are_rounded_to_their_format);
    tcase_add_test(tests, noise_has_its_size_and_its_address);
    suite_add_tcase(suite, tests);
    TCase *table = tcase_create("table");
    tcase_add_loop_test(table, responses_in_any_order_reach_their_rows, 0, 4);
    tcase_add_loop_test(table, policies_truncate_alike, 0, 4);
    tcase_add_test(table, expected_rewards_are_sums_over_all_responses);
    tcase_add_test(table, a_saved_table_continues_bit_for_bit);
    suite_add_tcase(suite, table);
    return suite;
}
