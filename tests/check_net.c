/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The neural policy against a textbook that computes one position at a time, and its gradients
 * against finite differences of every number of every tensor. */
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

/* Positions with some repeated contexts. */
enum { COUNT = 14 };
typedef struct positions {
    int32_t position[COUNT], context[COUNT * NET_SLOTS], token[COUNT];
    uint64_t routes[COUNT * SG_NET_BLOCKS];
    double push[COUNT], log_prob[COUNT];
    sg_net_batch batch;
} positions;

static positions *positions_new(const sg_net_config *c)
{
    positions *p = calloc(1, sizeof *p);
    size_t slots = sg_net_slots(c);
    for (uint32_t i = 0; i < COUNT; i++) {
        uint32_t like = i % 9; /* the last five repeat the first five contexts */
        p->position[i] = (int32_t)(net_uniform(1, like) * (double)c->length);
        for (uint32_t s = 0; s < slots; s++) {
            double u = net_uniform(2, like * 16 + s);
            bool prompt = s < c->prompt_length;
            p->context[i * slots + s] =
                (int32_t)(u * (double)(prompt ? c->prompt_symbols : c->prior.vocabulary));
            if (!prompt && u > 0.8)
                p->context[i * slots + s] = -1;
        }
        p->token[i] = (int32_t)(pow(net_uniform(3, i), 3) * (double)c->prior.vocabulary);
        p->push[i] = i == 4 ? 0 : net_normal(4, i);
        for (uint32_t b = 0; b < c->blocks; b++) /* a replayed set of its own for each context */
            for (uint32_t e = 0, taken = 0; taken < (c->experts > 1 ? c->top_k : 1); e++)
                if (c->experts <= 1 || c->experts - e <= c->top_k - taken ||
                    net_uniform(5, like * 100 + b * 10 + e) < 0.3) {
                    p->routes[i * c->blocks + b] |= UINT64_C(1) << e;
                    taken++;
                }
    }
    p->batch = (sg_net_batch){COUNT, p->position, p->context, p->token, NULL};
    return p;
}

static double objective(sg_net_pass *pass, const sg_net *net, positions *p)
{
    double sum = 0;
    ck_assert(!sg_net_forward(pass, net, &p->batch, p->log_prob, NULL));
    for (size_t i = 0; i < COUNT; i++)
        sum += p->push[i] * p->log_prob[i];
    return sum;
}

START_TEST(log_probabilities_are_those_of_the_textbook)
{
    sg_net_config c = net_small(_i / 2);
    sg_net *net = net_new(&c, 3);
    positions *p = positions_new(&c);
    sg_net_pass *pass = sg_net_pass_alloc();
    net_shake(net, 0.1, 20);
    if (_i % 2)
        p->batch.routes = p->routes;
    objective(pass, net, p);
    uint64_t used[COUNT * SG_NET_BLOCKS], set[SG_NET_BLOCKS];
    ck_assert(!sg_net_routes(pass, used, NULL));
    for (size_t i = 0; i < COUNT; i++) {
        const uint64_t *replay = _i % 2 ? p->routes + i * c.blocks : NULL;
        double h[64];
        if (c.frozen_features)
            ck_assert(!sg_net_features(pass, sg_net_row_of(pass)[i], h, NULL));
        double twin[261];
        net_twin_log_probs(net, p->position[i], p->context + i * sg_net_slots(&c), replay,
                           c.frozen_features ? h : NULL, set, twin);
        ck_assert_double_eq_tol(p->log_prob[i], twin[p->token[i]], 1e-12);
        ck_assert_mem_eq(used + i * c.blocks, set, c.blocks * sizeof *set);
    }
    sg_net_pass_free(pass);
    sg_net_free(net);
    free(p);
}
END_TEST

/* I9 and more: five-point central differences; the error stays below 1e-6 of the tensor's greatest
 * gradient. */
START_TEST(gradients_are_those_of_finite_differences)
{
    sg_net_config c = net_small(_i / 2);
    sg_net *net = net_new(&c, 4), *gradient = net_new(&c, 0);
    positions *p = positions_new(&c);
    sg_net_pass *pass = sg_net_pass_alloc();
    net_shake(net, 0.1, 21);
    net_shake(gradient, 1, 22); /* must be overwritten */
    if (_i % 2)
        p->batch.routes = p->routes;
    objective(pass, net, p);
    ck_assert(!sg_net_backward(pass, net, p->push, SG_DIFFUSE_KEEP, gradient, NULL));
    const double step = 3e-4;
    for (size_t i = 0; i < net->tensor_count; i++) {
        const sg_tensor *t = &net->tensors[i];
        double most = 0, error = 0;
        for (size_t r = 0; r < t->rows; r++)
            for (size_t k = 0; k < t->columns; k++) {
                double x = sg_net_get(net, t, r, k), j[4];
                /* Rows of many: a fifth of the vocabulary will do. */
                if (t->rows > 100 && r % 5 != 1 && r > 8)
                    continue;
                for (int s = 0; s < 4; s++) {
                    sg_net_set(net, t, r, k, x + step * (s < 2 ? s - 2 : s - 1));
                    j[s] = objective(pass, net, p);
                }
                sg_net_set(net, t, r, k, x);
                double slope = (j[0] - 8 * j[1] + 8 * j[2] - j[3]) / (12 * step);
                double given = sg_net_get(gradient, t, r, k);
                most = fmax(most, fabs(slope));
                error = fmax(error, fabs(slope - given));
            }
        /* With one expert a token, the gate is 1 and the router learns nothing. */
        bool silent = strncmp(t->name, "router", 6) == 0 && c.top_k == 1;
        ck_assert_msg(silent || most > 1e-4, "%s has no gradient", t->name);
        ck_assert_msg(error < 1e-6 * most || (silent && error < 1e-9),
                      "%s of configuration %d: error %g of %g", t->name, _i, error, most);
    }
    sg_net_pass_free(pass);
    sg_net_free(net);
    sg_net_free(gradient);
    free(p);
}
END_TEST

/* The same positions one by one. */
START_TEST(grouping_changes_nothing)
{
    sg_net_config c = net_small(_i);
    sg_net *net = net_new(&c, 5), *gradient = net_new(&c, 0), *one = net_new(&c, 0);
    positions *p = positions_new(&c);
    sg_net_pass *pass = sg_net_pass_alloc();
    objective(pass, net, p);
    ck_assert_uint_lt(sg_net_rows(pass), COUNT);
    ck_assert(!sg_net_backward(pass, net, p->push, SG_DIFFUSE_KEEP, gradient, NULL));
    double *sum = calloc(net->size, sizeof *sum);
    for (size_t i = 0; i < COUNT; i++) {
        double log_prob;
        sg_net_batch single = {1, p->position + i, p->context + i * sg_net_slots(&c), p->token + i,
                               NULL};
        ck_assert(!sg_net_forward(pass, net, &single, &log_prob, NULL));
        ck_assert_double_eq(log_prob, p->log_prob[i]);
        ck_assert(!sg_net_backward(pass, net, p->push + i, SG_DIFFUSE_KEEP, one, NULL));
        for (size_t k = 0; k < net->size; k++)
            sum[k] += ((double *)one->values)[k];
    }
    for (size_t k = 0; k < net->size; k++)
        ck_assert_double_eq_tol(((double *)gradient->values)[k], sum[k], 1e-13);
    free(sum);
    sg_net_pass_free(pass);
    sg_net_free(net);
    sg_net_free(gradient);
    sg_net_free(one);
    free(p);
}
END_TEST

/* So many rows that sums over them are cut into pieces. */
START_TEST(gradients_of_many_rows_are_sums_of_those_of_few)
{
    enum { MANY = 330, SOME = 30 };
    sg_net_config c = net_small(_i);
    c.length = 2;
    sg_net *net = net_new(&c, 5), *gradient = net_new(&c, 0), *one = net_new(&c, 0);
    sg_net_pass *pass = sg_net_pass_alloc();
    size_t slots = sg_net_slots(&c);
    int32_t position[MANY], context[MANY * NET_SLOTS], token[MANY];
    double push[MANY], log_prob[MANY];
    for (uint32_t i = 0; i < MANY; i++) {
        position[i] = i % 3 == 0;
        token[i] = (int32_t)(net_uniform(41, i) * 261);
        push[i] = net_normal(42, i);
        for (uint32_t s = 0; s < slots; s++) /* one token comes often */
            context[i * slots + s] =
                (int32_t)(s < c.prompt_length            ? net_uniform(43, i * 8 + s) * 5
                          : net_uniform(44, i * 8) < 0.5 ? 7
                                                         : net_uniform(45, i * 8 + s) * 262 - 1);
    }
    sg_net_batch all = {MANY, position, context, token, NULL};
    ck_assert(!sg_net_forward(pass, net, &all, log_prob, NULL));
    ck_assert_uint_gt(sg_net_rows(pass), 40);
    ck_assert(!sg_net_backward(pass, net, push, SG_DIFFUSE_KEEP, gradient, NULL));
    double *sum = calloc(net->size, sizeof *sum), most = 0;
    for (size_t i = 0; i < MANY; i += SOME) {
        sg_net_batch few = {SOME, position + i, context + i * slots, token + i, NULL};
        ck_assert(!sg_net_forward(pass, net, &few, log_prob, NULL));
        ck_assert(!sg_net_backward(pass, net, push + i, SG_DIFFUSE_KEEP, one, NULL));
        for (size_t k = 0; k < net->size; k++)
            sum[k] += ((double *)one->values)[k];
    }
    for (size_t k = 0; k < net->size; k++)
        most = fmax(most, fabs(sum[k]));
    for (size_t k = 0; k < net->size; k++)
        ck_assert_double_eq_tol(((double *)gradient->values)[k], sum[k], 1e-14 * most);
    free(sum);
    sg_net_pass_free(pass);
    sg_net_free(net);
    sg_net_free(gradient);
    sg_net_free(one);
}
END_TEST

START_TEST(replayed_routes_keep_the_set_and_live_gates)
{
    sg_net_config c = net_small(2);
    sg_net *old = net_new(&c, 6), *now = net_new(&c, 6), *gradient = net_new(&c, 0);
    positions *p = positions_new(&c);
    sg_net_pass *pass = sg_net_pass_alloc();
    uint64_t chosen[COUNT * SG_NET_BLOCKS], again[COUNT * SG_NET_BLOCKS];
    double first[COUNT];
    objective(pass, old, p);
    memcpy(first, p->log_prob, sizeof first);
    ck_assert(!sg_net_routes(pass, chosen, NULL));
    /* At the same parameters the log-ratio is exactly 0. */
    p->batch.routes = chosen;
    objective(pass, old, p);
    ck_assert_mem_eq(p->log_prob, first, sizeof first);
    /* Other parameters choose other experts, but replay does not. */
    ck_assert(!sg_net_copy(now, old, NULL));
    net_shake(now, 0.4, 30);
    objective(pass, now, p);
    ck_assert(!sg_net_routes(pass, again, NULL));
    ck_assert_mem_eq(again, chosen, COUNT * c.blocks * sizeof *again);
    ck_assert(!sg_net_backward(pass, now, p->push, SG_DIFFUSE_KEEP, gradient, NULL));
    ck_assert_double_gt(
        sg_tensor_norm2(SG_FP64, sg_net_tensor(gradient, "router1"), gradient->values), 1e-6);
    double replayed[COUNT];
    memcpy(replayed, p->log_prob, sizeof replayed);
    p->batch.routes = NULL;
    objective(pass, now, p);
    ck_assert(!sg_net_routes(pass, again, NULL));
    sg_route_flips flips[SG_NET_BLOCKS];
    uint8_t flipped[COUNT];
    size_t any = sg_route_compare(chosen, again, COUNT, c.blocks, flips, flipped);
    ck_assert_uint_gt(any, 0);
    for (size_t i = 0; i < COUNT; i++)
        if (!flipped[i])
            ck_assert_double_eq(p->log_prob[i], replayed[i]);
    /* Routes that the net does not have. */
    sg_error error;
    p->batch.routes = p->routes;
    p->routes[3] = 1;
    ck_assert_int_eq(sg_net_forward(pass, now, &p->batch, first, &error), SG_EARGUMENT);
    p->routes[3] = UINT64_C(1) << 8 | 1;
    ck_assert_int_eq(sg_net_forward(pass, now, &p->batch, first, &error), SG_EARGUMENT);
    ck_assert_ptr_nonnull(strstr(error.message, "route of position 1"));
    sg_net_pass_free(pass);
    sg_net_free(old);
    sg_net_free(now);
    sg_net_free(gradient);
    free(p);
}
END_TEST

START_TEST(routes_by_hand)
{
    const double scores[] = {0.1, 0.7, 0.7, 0.2};
    double gates[4];
    ck_assert_uint_eq(sg_route_choose(scores, 4, 1), 2);
    ck_assert_uint_eq(sg_route_choose(scores, 4, 2), 6);
    ck_assert_uint_eq(sg_route_choose(scores, 4, 3), 14);
    ck_assert_uint_eq(sg_route_choose(scores, 4, 4), 15);
    ck_assert_uint_eq(sg_route_gates(scores, 6, gates), 2);
    ck_assert_double_eq(gates[0], 0.5);
    sg_route_gates(scores, 9, gates);
    ck_assert_double_eq_tol(gates[1], 1 / (1 + exp(-0.1)), 1e-15);
    const uint64_t a[] = {3, 5, 3, 6, 3, 5}, b[] = {3, 5, 3, 5, 12, 9};
    sg_route_flips flips[2];
    uint8_t flipped[3];
    ck_assert_uint_eq(sg_route_compare(a, b, 3, 2, flips, flipped), 2);
    ck_assert_uint_eq(flips[0].tokens, 1);
    ck_assert_uint_eq(flips[0].replaced, 2);
    ck_assert_uint_eq(flips[1].tokens, 2);
    ck_assert_uint_eq(flips[1].replaced, 2);
    ck_assert_uint_eq(flipped[0], 0);
    ck_assert_uint_eq(flipped[1], 1);
    ck_assert_uint_eq(flipped[2], 2);
}
END_TEST

START_TEST(diffuse_pushes_are_reported_and_removed)
{
    sg_net_config c = net_small(1);
    sg_net *net = net_new(&c, 7), *keep = net_new(&c, 0), *drop = net_new(&c, 0);
    positions *p = positions_new(&c);
    sg_net_pass *pass = sg_net_pass_alloc();
    double diffuse[COUNT], h[COUNT][8], sum[8] = {0}, norm = 0, pushes[COUNT];
    objective(pass, net, p);
    double reported;
    ck_assert(!sg_net_diffuse_push(pass, p->push, diffuse, &reported, NULL));
    for (size_t r = 0; r < sg_net_rows(pass); r++) {
        double own = 0;
        for (size_t i = 0; i < COUNT; i++)
            own += sg_net_row_of(pass)[i] == r ? p->push[i] : 0;
        ck_assert_double_eq_tol(diffuse[r], own, 1e-15);
        ck_assert(!sg_net_features(pass, r, h[r], NULL));
        for (size_t k = 0; k < c.width; k++)
            sum[k] += own * h[r][k];
    }
    for (size_t k = 0; k < c.width; k++)
        norm += sum[k] * sum[k];
    ck_assert_double_eq_tol(reported, sqrt(norm), 1e-13);
    /* Recentred pushes have no diffuse part to drop. */
    memcpy(pushes, p->push, sizeof pushes);
    ck_assert(!sg_net_recentre(pass, pushes, NULL));
    double left;
    ck_assert(!sg_net_diffuse_push(pass, pushes, diffuse, &left, NULL));
    ck_assert_double_le(left, 1e-14);
    for (size_t r = 0; r < sg_net_rows(pass); r++)
        ck_assert_double_le(fabs(diffuse[r]), 1e-15);
    ck_assert(!sg_net_backward(pass, net, pushes, SG_DIFFUSE_KEEP, keep, NULL));
    ck_assert(!sg_net_backward(pass, net, pushes, SG_DIFFUSE_DROP, drop, NULL));
    for (size_t i = 0; i < net->size; i++)
        ck_assert_double_eq_tol(((double *)keep->values)[i], ((double *)drop->values)[i], 1e-14);
    /* Dropped from the head alone, what lies below it feels the whole push. */
    sg_net *head = net_new(&c, 0);
    ck_assert(!sg_net_backward(pass, net, p->push, SG_DIFFUSE_KEEP, keep, NULL));
    ck_assert(!sg_net_backward(pass, net, p->push, SG_DIFFUSE_DROP, drop, NULL));
    ck_assert(!sg_net_backward(pass, net, p->push, SG_DIFFUSE_DROP_HEAD, head, NULL));
    const sg_tensor *inner = sg_net_tensor(net, "inner0"), *bias = sg_net_tensor(net, "bias");
    ck_assert_double_eq_tol(sg_net_get(head, inner, 2, 3), sg_net_get(keep, inner, 2, 3), 1e-15);
    ck_assert_double_eq(sg_net_get(head, bias, 200, 0), sg_net_get(drop, bias, 200, 0));
    ck_assert_double_ne(sg_net_get(keep, bias, 200, 0), sg_net_get(drop, bias, 200, 0));
    sg_net_pass_free(pass);
    sg_net_free(net);
    sg_net_free(keep);
    sg_net_free(drop);
    sg_net_free(head);
    free(p);
}
END_TEST

START_TEST(single_precision_stays_near_double_and_threads_change_no_bit)
{
    sg_net_config c = net_small(_i);
    sg_net *wide = net_new(&c, 8), *gradient = net_new(&c, 0);
    positions *p = positions_new(&c);
    p->batch.routes = p->routes; /* a free choice may fall differently */
    sg_net_pass *pass = sg_net_pass_alloc();
    objective(pass, wide, p);
    ck_assert(!sg_net_backward(pass, wide, p->push, SG_DIFFUSE_KEEP, gradient, NULL));
    double log_prob[COUNT], most = 0;
    memcpy(log_prob, p->log_prob, sizeof log_prob);
    for (size_t i = 0; i < gradient->size; i++)
        most = fmax(most, fabs(((double *)gradient->values)[i]));
    c.precision = SG_FP32;
    sg_net *narrow = net_new(&c, 8), *first = net_new(&c, 0), *slope = net_new(&c, 0);
    const char *isas[] = {"avx512", "avx2", "portable"};
    for (int k = 0; k < 6; k++) {
        setenv("SOFTGATE_ISA", isas[k / 2], 1);
#ifdef _OPENMP
        omp_set_num_threads(k % 2 ? 3 : 1);
#endif
        objective(pass, narrow, p);
        ck_assert(!sg_net_backward(pass, narrow, p->push, SG_DIFFUSE_KEEP, slope, NULL));
        if (k == 0)
            ck_assert(!sg_net_copy(first, slope, NULL));
        ck_assert_mem_eq(slope->values, first->values, slope->size * sizeof(float));
        for (size_t i = 0; i < COUNT; i++)
            ck_assert_double_eq_tol(p->log_prob[i], log_prob[i], 5e-6);
        for (size_t i = 0; i < slope->size; i++)
            ck_assert_double_eq_tol((double)((float *)slope->values)[i],
                                    ((double *)gradient->values)[i], 5e-6 * most);
    }
    unsetenv("SOFTGATE_ISA");
    sg_net_pass_free(pass);
    sg_net_free(wide);
    sg_net_free(gradient);
    sg_net_free(narrow);
    sg_net_free(first);
    sg_net_free(slope);
    free(p);
}
END_TEST

/* The expected mass of the tail is the prior's at every vocabulary. With s_h = 0 and m = 0.02 the
 * context part of the tail scales its odds by a factor of mean 1 whose spread over contexts is
 * sqrt((exp(s_w^2) - 1) / (V - K)) = 4 % at V = 1000, less above: 64 contexts leave 1 %, four of
 * those are allowed. */
START_TEST(the_tail_starts_with_its_mass_at_every_vocabulary)
{
    const size_t vocabularies[] = {1000, 10000, 100000};
    sg_net_config c = net_small(_i % 2 ? 5 : 1);
    c.prior.vocabulary = vocabularies[_i / 2];
    c.prior.head = 20;
    c.prior.tail_mass = 0.02;
    c.width = 32;
    c.head_std = 0;
    c.tail_std = 1;
    c.temperature = 1;
    c.tied = false;
    c.precision = SG_FP32;
    c.prompt_length = 1;
    c.prompt_symbols = 64;
    c.window = 0;
    sg_net *net = net_new(&c, 11);
    sg_net_pass *pass = sg_net_pass_alloc();
    int32_t position[64] = {0}, context[64];
    for (int i = 0; i < 64; i++)
        context[i] = i;
    sg_net_batch batch = {64, position, context, NULL, NULL};
    sg_row_observation seen[64];
    double mean = 0;
    ck_assert(!sg_net_forward(pass, net, &batch, NULL, NULL));
    ck_assert(!sg_net_observe(pass, net, seen, NULL));
    for (int i = 0; i < 64; i++)
        mean += seen[i].tail_mass / 64;
    ck_assert_double_eq_tol(mean, 0.02, 0.04 * 0.02);
    double first[64];
    ck_assert(!sg_net_features(pass, 3, first, NULL));
    double square = 0;
    for (size_t k = 0; k < c.width; k++)
        square += first[k] * first[k];
    ck_assert_double_eq_tol(square, (double)c.width, 1e-3);
    sg_net_pass_free(pass);
    sg_net_free(net);
}
END_TEST

START_TEST(observations_and_divergences_go_by_row)
{
    sg_net_config c = net_small(2);
    sg_net *a = net_new(&c, 12), *b = net_new(&c, 12);
    positions *p = positions_new(&c);
    sg_net_pass *pass_a = sg_net_pass_alloc(), *pass_b = sg_net_pass_alloc();
    net_shake(b, 0.05, 33);
    objective(pass_a, a, p);
    sg_row_observation seen[COUNT];
    sg_divergence apart[COUNT];
    ck_assert(!sg_net_observe(pass_a, a, seen, NULL));
    objective(pass_b, b, p);
    ck_assert(!sg_net_diverge(pass_a, a, pass_b, b, apart, NULL));
    for (size_t i = 0; i < COUNT; i++) {
        uint32_t row = sg_net_row_of(pass_a)[i];
        const int32_t *context = p->context + i * sg_net_slots(&c);
        double h = 0, kl = 0, lp[261], lq[261];
        uint64_t set[SG_NET_BLOCKS];
        net_twin_log_probs(a, p->position[i], context, NULL, NULL, set, lp);
        net_twin_log_probs(b, p->position[i], context, NULL, NULL, set, lq);
        for (size_t v = 0; v < c.prior.vocabulary; v++) {
            h -= exp(lp[v]) * lp[v];
            kl += exp(lp[v]) * (lp[v] - lq[v]);
        }
        ck_assert_double_eq_tol(seen[row].entropy, h, 1e-11);
        ck_assert_double_eq_tol(apart[row].kl_ab, kl, 1e-11);
        ck_assert_double_gt(kl, 1e-6);
    }
    sg_net_pass_free(pass_a);
    sg_net_pass_free(pass_b);
    sg_net_free(a);
    sg_net_free(b);
    free(p);
}
END_TEST

START_TEST(stored_parameters_come_back_bit_for_bit)
{
    sg_net_config c = net_small(2);
    sg_error error;
    sg_net *net = net_new(&c, 13), *other = net_new(&c, 14);
    size_t size = sg_net_stored_bytes(net);
    char *bytes = malloc(size);
    ck_assert(!sg_net_write(net, bytes, NULL));
    ck_assert_int_eq(sg_net_read(other, bytes, size - 8, &error), SG_EDATA);
    ck_assert_int_eq(sg_net_read(other, bytes, 10, &error), SG_EDATA);
    bytes[size / 2] ^= 4;
    ck_assert_int_eq(sg_net_read(other, bytes, size, &error), SG_EDATA);
    ck_assert_ptr_nonnull(strstr(error.message, "corrupt"));
    bytes[size / 2] ^= 4;
    ck_assert(memcmp(other->values, net->values, net->size * sizeof(double)) != 0);
    ck_assert(!sg_net_read(other, bytes, size, &error));
    ck_assert_mem_eq(other->values, net->values, net->size * sizeof(double));
    ck_assert_uint_eq(other->feature_seed, 13);
    c.hidden++;
    sg_net *wider = net_new(&c, 1);
    ck_assert_int_eq(sg_net_read(wider, bytes, size, &error), SG_EDATA);
    ck_assert_ptr_nonnull(strstr(error.message, "another configuration"));
    free(bytes);
    sg_net_free(net);
    sg_net_free(other);
    sg_net_free(wider);
}
END_TEST

START_TEST(parameters_are_held_in_another_format)
{
    sg_net_config c = net_small(1);
    sg_net *net = net_new(&c, 15), *cast = net_new(&c, 0);
    ck_assert(!sg_net_emulate(cast, net, SG_SAMPLER_BF16, 0, 0, 0, NULL));
    c.precision = SG_FP32;
    sg_net *narrow = net_new(&c, 15), *narrow_cast = net_new(&c, 0);
    ck_assert(!sg_net_emulate(narrow_cast, narrow, SG_SAMPLER_BF16, 0, 0, 0, NULL));
    for (size_t i = 0; i < net->size; i++) {
        double x = ((double *)net->values)[i];
        ck_assert_double_eq(((double *)cast->values)[i], sg_sampler_round(x, SG_SAMPLER_BF16));
        ck_assert_float_eq(((float *)narrow_cast->values)[i],
                           (float)sg_sampler_round((double)(float)x, SG_SAMPLER_BF16));
    }
    /* Noise of a relative size, the same at the same address. */
    ck_assert(!sg_net_emulate(cast, net, SG_SAMPLER_EXACT, 0.01, 3, 4, NULL));
    double sum = 0, count = 0;
    const sg_tensor *t = sg_net_tensor(net, "weights");
    for (size_t i = t->offset; i < t->rows * t->columns; i++, count++)
        sum += pow(((double *)cast->values)[i] / ((double *)net->values)[i] - 1, 2);
    ck_assert_double_eq_tol(sqrt(sum / count), 0.01, 5 * 0.01 / sqrt(2 * count));
    sg_net_free(net);
    sg_net_free(cast);
    sg_net_free(narrow);
    sg_net_free(narrow_cast);
}
END_TEST

START_TEST(values_out_of_range_are_named)
{
    const struct {
        size_t offset, value;
        const char *word;
    } wrong[] = {{offsetof(sg_net_config, width), 0, "width"},
                 {offsetof(sg_net_config, length), 0, "length"},
                 {offsetof(sg_net_config, prompt_symbols), 0, "prompt_symbols"},
                 {offsetof(sg_net_config, window), 4, "window"},
                 {offsetof(sg_net_config, blocks), 9, "blocks"},
                 {offsetof(sg_net_config, hidden), 0, "hidden"},
                 {offsetof(sg_net_config, experts), 65, "experts"},
                 {offsetof(sg_net_config, top_k), 9, "top_k"},
                 {offsetof(sg_net_config, prior.vocabulary), 1, "vocabulary"}};
    sg_error error;
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        sg_net_config c = net_small(2);
        ck_assert(!sg_net_check(&c, &error));
        memcpy((char *)&c + wrong[i].offset, &wrong[i].value, sizeof(size_t));
        ck_assert_int_eq(sg_net_check(&c, &error), SG_EARGUMENT);
        ck_assert_msg(strstr(error.message, wrong[i].word), "%s", error.message);
    }
    sg_net_config c = net_small(5);
    c.blocks = 1;
    ck_assert_int_eq(sg_net_check(&c, &error), SG_EARGUMENT);
    c = net_small(0);
    c.temperature = 0;
    ck_assert_int_eq(sg_net_check(&c, &error), SG_EARGUMENT);
    c = net_small(0);
    c.tail_std = NAN;
    ck_assert_int_eq(sg_net_check(&c, &error), SG_EARGUMENT);
    /* Symbols that the net does not have. */
    c = net_small(0);
    sg_net *net = net_new(&c, 1);
    sg_net_pass *pass = sg_net_pass_alloc();
    positions *p = positions_new(&c);
    p->token[2] = 261;
    ck_assert_int_eq(sg_net_forward(pass, net, &p->batch, p->log_prob, &error), SG_EARGUMENT);
    p->token[2] = 260;
    p->context[5] = 5;
    ck_assert_int_eq(sg_net_forward(pass, net, &p->batch, p->log_prob, &error), SG_EARGUMENT);
    sg_net_draw draw = {.sampler = {.temperature = 1, .top_p = 1}, .end_token = -1};
    draw.sampler.top_p = 0;
    ck_assert_int_eq(sg_net_rollout(pass, net, &draw, NULL, &(sg_net_sequences){0}, NULL, &error),
                     SG_EARGUMENT);
    ck_assert_ptr_nonnull(strstr(error.message, "top_p"));
    sg_net_pass_free(pass);
    sg_net_free(net);
    free(p);
}
END_TEST

Suite *net_suite(void);
Suite *net_suite(void)
{
    Suite *suite = suite_create("net");
    TCase *tests = tcase_create("net");
    tcase_set_timeout(tests, 60);
    tcase_add_loop_test(tests, log_probabilities_are_those_of_the_textbook, 0, 2 * NET_CONFIGS);
    tcase_add_loop_test(tests, gradients_are_those_of_finite_differences, 0, 2 * NET_CONFIGS);
    tcase_add_loop_test(tests, grouping_changes_nothing, 0, NET_CONFIGS);
    tcase_add_loop_test(tests, gradients_of_many_rows_are_sums_of_those_of_few, 0, NET_CONFIGS);
    tcase_add_test(tests, replayed_routes_keep_the_set_and_live_gates);
    tcase_add_test(tests, routes_by_hand);
    tcase_add_test(tests, diffuse_pushes_are_reported_and_removed);
    tcase_add_loop_test(tests, single_precision_stays_near_double_and_threads_change_no_bit, 0,
                        NET_CONFIGS);
    tcase_add_loop_test(tests, the_tail_starts_with_its_mass_at_every_vocabulary, 0, 6);
    tcase_add_test(tests, observations_and_divergences_go_by_row);
    tcase_add_test(tests, stored_parameters_come_back_bit_for_bit);
    tcase_add_test(tests, parameters_are_held_in_another_format);
    tcase_add_test(tests, values_out_of_range_are_named);
    suite_add_tcase(suite, tests);
    return suite;
}
