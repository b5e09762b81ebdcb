/* SPDX-License-Identifier: GPL-3.0-or-later */
/* What a net draws: against the trainer's log-probabilities, the textbook's truncated distribution, and noise of a known
 * size. */
#include <check.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#ifdef _OPENMP
#include <omp.h>
#endif

#include "core/rng.h"
#include "net_cases.h"
#include "net_twin.h"
#include "policy/net.h"
#include "policy/routing.h"

enum { RESPONSES = 40 };
typedef struct rolled {
    int32_t prompts[RESPONSES * 2], tokens[RESPONSES * 3], lengths[RESPONSES];
    double uniforms[RESPONSES * 3], log_prob[RESPONSES * 3];
    uint64_t routes[RESPONSES * 3 * SG_NET_BLOCKS];
    sg_net_sequences sequences;
    sg_net_record record;
} rolled;

static rolled *roll(sg_net_pass *pass, const sg_net *net, const sg_net_draw *draw)
{
    rolled *r = calloc(1, sizeof *r);
    for (uint32_t i = 0; i < RESPONSES; i++)
        for (uint32_t s = 0; s < net->config.prompt_length; s++)
            r->prompts[i * net->config.prompt_length + s] = (int32_t)(i / 8 + s) % 5;
    for (uint32_t i = 0; i < RESPONSES * 3; i++)
        r->uniforms[i] = net_uniform(40, i);
    r->sequences = (sg_net_sequences){RESPONSES, r->prompts, r->tokens, r->lengths};
    r->record = (sg_net_record){r->log_prob, r->routes};
    sg_error error;
    ck_assert_msg(!sg_net_rollout(pass, net, draw, r->uniforms, &r->sequences, &r->record, &error),
                  "%s", error.message);
    return r;
}

static const sg_net_draw plain = {.sampler = {.temperature = 1, .top_p = 1}, .end_token = -1};

/* What the sampler records is what the trainer computes, when they are the same. */
START_TEST(rollouts_agree_with_the_trainer)
{
    sg_net_config c = net_small(_i);
    c.temperature = 1;
    sg_net *net = net_new(&c, 16);
    sg_net_pass *pass = sg_net_pass_alloc();
    sg_net_draw draw = plain;
    draw.end_token = 2;
    rolled *r = roll(pass, net, &draw);
    int32_t position[RESPONSES * 3], context[RESPONSES * 3 * NET_SLOTS], token[RESPONSES * 3];
    uint32_t sequence[RESPONSES * 3];
    double log_prob[RESPONSES * 3];
    uint64_t routes[RESPONSES * 3 * SG_NET_BLOCKS];
    size_t n = sg_net_unroll(&c, &r->sequences, position, context, token, sequence);
    size_t total = 0;
    bool ended = false;
    for (size_t i = 0; i < RESPONSES; i++) {
        total += (size_t)r->lengths[i];
        for (int32_t t = 0; t < r->lengths[i]; t++) {
            bool end = r->tokens[i * 3 + (size_t)t] == 2;
            ended |= end;
            ck_assert(!end || t == r->lengths[i] - 1);
        }
        ck_assert(r->lengths[i] == 3 ||
                  r->tokens[i * 3 + (size_t)r->lengths[i] - 1] == draw.end_token);
    }
    ck_assert(ended);
    ck_assert_uint_eq(n, total);
    sg_net_batch batch = {n, position, context, token, NULL};
    ck_assert(!sg_net_forward(pass, net, &batch, log_prob, NULL));
    ck_assert(!sg_net_routes(pass, routes, NULL));
    for (size_t i = 0; i < n; i++) {
        size_t at = sequence[i] * 3 + (size_t)position[i];
        ck_assert_int_eq(token[i], r->tokens[at]);
        ck_assert_double_eq(log_prob[i], r->log_prob[at]);
        ck_assert_mem_eq(routes + i * c.blocks, r->routes + at * c.blocks, c.blocks * 8);
    }
    sg_net_pass_free(pass);
    sg_net_free(net);
    free(r);
}
END_TEST

/* Truncated, tempered, noisy: log mu against the truncated textbook distribution of the first
 * position, and never a token outside it. */
START_TEST(truncation_keeps_the_likeliest_tokens)
{
    const sg_sampler samplers[] = {
        {.temperature = 0.5, .top_p = 1},
        {.temperature = 1.5, .top_p = 0.7},
        {.temperature = 1.5, .top_p = 1, .raw = true},
        {.temperature = 0, .top_p = 1, .raw = true},
        {.temperature = 1, .top_p = 1e-9},
        {.temperature = 0.8, .top_p = 1, .top_k = 3},
        {.temperature = 1, .top_p = 0.6, .top_k = 5, .raw = true},
    };
    sg_sampler s = samplers[_i];
    sg_net_draw draw = {.sampler = s, .end_token = -1};
    sg_net_config c = net_small(1);
    sg_net *net = net_new(&c, 17);
    sg_net_pass *pass = sg_net_pass_alloc();
    rolled *r = roll(pass, net, &draw);
    double heat = s.temperature > 0 ? s.temperature : 1;
    enum { V = 261 };
    for (size_t i = 0; i < RESPONSES; i++) {
        double z[V], p[V], norm, raw = 0, kept = 0;
        int32_t context[NET_SLOTS] = {r->prompts[i * 2], r->prompts[i * 2 + 1], -1, -1};
        uint64_t set[SG_NET_BLOCKS];
        net_twin_log_probs(net, 0, context, NULL, NULL, set, z);
        for (int32_t v = 0; v < V; v++) {
            z[v] *= 0.7; /* the temperature of training */
            raw += exp(z[v]);
        }
        bool taken[V] = {false};
        int32_t order[V];
        size_t most = s.temperature == 0 ? 1 : s.top_k > 0 ? s.top_k : V;
        norm = 0;
        for (size_t count = 0; count < most; count++) {
            int32_t best = -1;
            for (int32_t v = 0; v < V; v++)
                if (!taken[v] && (best < 0 || z[v] > z[best]))
                    best = v;
            taken[order[count] = best] = true;
            norm += exp(z[best] / heat);
        }
        for (size_t count = 0; count < most; count++) {
            taken[order[count]] = s.top_p == 1 || kept < s.top_p;
            kept += taken[order[count]] ? exp(z[order[count]] / heat) / norm : 0;
        }
        for (int32_t v = 0; v < V; v++)
            p[v] = taken[v] ? exp(z[v] / heat) / norm / kept : 0;
        int32_t token = r->tokens[i * 3];
        ck_assert(taken[token]);
        ck_assert_double_eq_tol(r->log_prob[i * 3], s.raw ? z[token] - log(raw) : log(p[token]),
                                1e-11);
        double below = 0;
        for (int32_t v = 0; v < token; v++)
            below += p[v];
        ck_assert_double_ge(r->uniforms[i * 3], below - 1e-12);
        ck_assert_double_le(r->uniforms[i * 3], below + p[token] + 1e-12);
    }
    sg_net_pass_free(pass);
    sg_net_free(net);
    free(r);
}
END_TEST

START_TEST(logit_noise_has_its_size_and_its_address)
{
    sg_net_config c = net_small(0);
    sg_net *net = net_new(&c, 18);
    sg_net_pass *pass = sg_net_pass_alloc();
    sg_net_draw draw = plain;
    draw.sampler.noise = 1e-3;
    draw.seed = 5;
    rolled *clean = roll(pass, net, &plain), *a = roll(pass, net, &draw);
#ifdef _OPENMP
    omp_set_num_threads(3);
#endif
    rolled *b = roll(pass, net, &draw);
    ck_assert_mem_eq(a->log_prob, b->log_prob, sizeof a->log_prob);
    draw.step = 1;
    rolled *other = roll(pass, net, &draw);
    double square = 0, count = 0, moved = 0;
    for (size_t i = 0; i < RESPONSES; i++) {
        if (a->tokens[i * 3] != clean->tokens[i * 3])
            continue;
        square += pow(a->log_prob[i * 3] - clean->log_prob[i * 3], 2);
        moved += a->log_prob[i * 3] != other->log_prob[i * 3];
        count++;
    }
    /* The normaliser averages the noise away; equal contexts share theirs. */
    ck_assert_double_gt(count, 30);
    ck_assert_double_gt(moved, 30);
    ck_assert_double_gt(sqrt(square / count), 0.3e-3);
    ck_assert_double_lt(sqrt(square / count), 2e-3);
    sg_net_pass_free(pass);
    sg_net_free(net);
    free(clean);
    free(a);
    free(b);
    free(other);
}
END_TEST

Suite *net_rollout_suite(void);
Suite *net_rollout_suite(void)
{
    Suite *suite = suite_create("net_rollout");
    TCase *tests = tcase_create("rollout");
    tcase_set_timeout(tests, 60);
    tcase_add_loop_test(tests, rollouts_agree_with_the_trainer, 0, NET_CONFIGS);
    tcase_add_loop_test(tests, truncation_keeps_the_likeliest_tokens, 0, 7);
    tcase_add_test(tests, logit_noise_has_its_size_and_its_address);
    suite_add_tcase(suite, tests);
    return suite;
}
