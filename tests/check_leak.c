/* SPDX-License-Identifier: GPL-3.0-or-later */
/* I9 of the theory: what one sample in one context does to the logits of another, by algebra. With
 * z = W h + b and a push c on token y, dW_v = c (1[v=y] - pi_v) h and dh = c (w_y - wbar), so that
 * in another context z'_v changes by
 *
 *     c (1[v=y] - pi_v) (h.h' + 1 for a trained bias) + w_v . J dh
 *
 * where J carries a change of h's parameters to h'; 0 where features are frozen. */
#include <check.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "core/rng.h"
#include "policy/net.h"

enum { V = 40, WIDTH = 6, HERE = 0, THERE = 1 };

static sg_net_config shape_of(int which)
{
    sg_net_config c = {.prior = {.vocabulary = V,
                                 .head = 5,
                                 .head_shape = SG_HEAD_GEOMETRIC,
                                 .head_ratio = 0.7,
                                 .tail_mass = 0.3},
                       .width = WIDTH,
                       .length = 3,
                       .prompt_length = 1,
                       .prompt_symbols = 3,
                       .window = 1,
                       .blocks = 2,
                       .hidden = 5,
                       .bias = SG_NET_BIAS_TRAINED,
                       .head_std = 0.7,
                       .tail_std = 0.5,
                       .temperature = 1,
                       .precision = SG_FP64};
    if (which == 0) {
        c.frozen_features = true;
        c.blocks = 0;
        c.bias = SG_NET_BIAS_FROZEN;
    }
    if (which == 2) {
        c.experts = 4;
        c.top_k = 2;
    }
    return c;
}

typedef struct bench {
    sg_net_config config;
    sg_net *net, *gradient;
    sg_net_pass *pass;
} bench;

static bench bench_new(int which)
{
    bench b = {.config = shape_of(which), .pass = sg_net_pass_alloc()};
    ck_assert(!sg_net_alloc(&b.net, &b.config, NULL));
    ck_assert(!sg_net_alloc(&b.gradient, &b.config, NULL));
    ck_assert(!sg_net_init(b.net, 8, NULL));
    return b;
}

static void bench_free(bench *b)
{
    sg_net_free(b->net);
    sg_net_free(b->gradient);
    sg_net_pass_free(b->pass);
}

/* Two contexts that have the latest token in common, and nothing else. */
static const int32_t positions[2] = {1, 2}, contexts[2][2] = {{0, 7}, {2, 7}};

/* h of a context, and log pi of all tokens there (may be NULL). */
static void look(bench *b, int where, double *h, double *log_prob)
{
    int32_t position[V], context[V][2], token[V];
    double value[V];
    for (int32_t v = 0; v < V; v++) {
        position[v] = positions[where];
        memcpy(context[v], contexts[where], sizeof context[v]);
        token[v] = v;
    }
    sg_net_batch batch = {V, position, context[0], token, NULL};
    ck_assert(!sg_net_forward(b->pass, b->net, &batch, value, NULL));
    if (h != NULL)
        ck_assert(!sg_net_features(b->pass, 0, h, NULL));
    if (log_prob != NULL)
        memcpy(log_prob, value, sizeof value);
}

/* Gradient of log pi(y) in the first context. */
static void push(bench *b, int32_t token)
{
    double value, one = 1;
    sg_net_batch batch = {1, positions, contexts[HERE], &token, NULL};
    ck_assert(!sg_net_forward(b->pass, b->net, &batch, &value, NULL));
    ck_assert(!sg_net_backward(b->pass, b->net, &one, SG_DIFFUSE_KEEP, b->gradient, NULL));
}

/* Four-point weights of a central difference. */
static const double places[4] = {-2, -1, 1, 2},
                    weights[4] = {1 / 12.0, -8 / 12.0, 8 / 12.0, -1 / 12.0};

/* d h / d x of the parameter at `x`. */
static void slope_of_features(bench *b, double *x, int where, double *slope)
{
    const double step = 1e-3, before = *x;
    double h[WIDTH];
    memset(slope, 0, WIDTH * sizeof *slope);
    for (int s = 0; s < 4; s++) {
        *x = before + places[s] * step;
        look(b, where, h, NULL);
        for (int k = 0; k < WIDTH; k++)
            slope[k] += weights[s] * h[k] / step;
    }
    *x = before;
}

/* J dh: a sum over all parameters below the output layer. */
static void carry(bench *b, const double *dh, double *moved)
{
    memset(moved, 0, WIDTH * sizeof *moved);
    for (size_t i = 0; i < b->net->tensor_count; i++) {
        const sg_tensor *t = &b->net->tensors[i];
        if (strcmp(t->name, "weights") == 0 || strcmp(t->name, "bias") == 0)
            continue;
        for (size_t n = 0; n < t->rows * t->columns; n++) {
            double *x = (double *)b->net->values + t->offset + n, here[WIDTH], there[WIDTH], dx = 0;
            slope_of_features(b, x, HERE, here);
            slope_of_features(b, x, THERE, there);
            for (int k = 0; k < WIDTH; k++)
                dx += here[k] * dh[k];
            for (int k = 0; k < WIDTH; k++)
                moved[k] += there[k] * dx;
        }
    }
}

/* What the logits of the other context do when the parameters follow the gradient, to a constant. */
static void measure(bench *b, double *dz)
{
    const double step = 1e-3;
    double *numbers = b->net->values, *slope = b->gradient->values, log_prob[V];
    size_t bytes = b->net->size * sizeof *numbers;
    double *before = malloc(bytes);
    memcpy(before, numbers, bytes);
    memset(dz, 0, V * sizeof *dz);
    for (int s = 0; s < 4; s++) {
        for (size_t i = 0; i < b->net->tensor_count; i++) {
            const sg_tensor *t = &b->net->tensors[i];
            for (size_t n = t->offset; n < t->offset + t->rows * t->columns && t->trained; n++)
                numbers[n] = before[n] + places[s] * step * slope[n];
        }
        look(b, THERE, NULL, log_prob);
        for (int v = 0; v < V; v++)
            dz[v] += weights[s] * log_prob[v] / step;
    }
    memcpy(numbers, before, bytes);
    free(before);
}

static double weight(const bench *b, size_t v, size_t k)
{
    return sg_net_get(b->net, sg_net_tensor(b->net, "weights"), v, k);
}

START_TEST(a_push_leaks_to_other_contexts_as_the_algebra_says)
{
    const int32_t tokens[] = {0, 3, 20};
    bench b = bench_new(_i);
    double h[2][WIDTH], log_prob[V], along = b.config.bias == SG_NET_BIAS_TRAINED;
    look(&b, THERE, h[THERE], NULL);
    look(&b, HERE, h[HERE], log_prob);
    for (int k = 0; k < WIDTH; k++)
        along += h[HERE][k] * h[THERE][k];
    for (size_t n = 0; n < sizeof tokens / sizeof *tokens; n++) {
        int32_t y = tokens[n];
        double dh[WIDTH], moved[WIDTH], dz[V], want[V], most = 0;
        push(&b, y);
        for (size_t k = 0; k < WIDTH; k++) {
            dh[k] = weight(&b, (size_t)y, k);
            for (size_t v = 0; v < V; v++)
                dh[k] -= exp(log_prob[v]) * weight(&b, v, k);
        }
        for (size_t v = 0; v < V; v++)
            for (size_t k = 0; k < WIDTH; k++) /* dW, exactly */
                ck_assert_double_eq_tol(
                    sg_net_get(b.gradient, sg_net_tensor(b.gradient, "weights"), v, k),
                    (((int32_t)v == y) - exp(log_prob[v])) * h[HERE][k], 1e-14);
        carry(&b, dh, moved);
        measure(&b, dz);
        for (size_t v = 0; v < V; v++) {
            want[v] = (((int32_t)v == y) - exp(log_prob[v])) * along;
            for (size_t k = 0; k < WIDTH; k++)
                want[v] += weight(&b, v, k) * moved[k];
            most = fmax(most, fabs(want[v] - want[0]));
        }
        ck_assert_double_gt(most, 0.01);
        for (size_t v = 1; v < V; v++)
            ck_assert_double_eq_tol(dz[v] - dz[0], want[v] - want[0], 1e-6 * most);
        double drift = 0; /* the features' part is there, or is not */
        for (size_t k = 0; k < WIDTH; k++)
            drift += fabs(moved[k]);
        ck_assert(_i == 0 ? drift == 0 : drift > 1e-3);
    }
    bench_free(&b);
}
END_TEST

Suite *leak_suite(void);
Suite *leak_suite(void)
{
    Suite *suite = suite_create("leak");
    TCase *tests = tcase_create("leak");
    tcase_set_timeout(tests, 30);
    tcase_add_loop_test(tests, a_push_leaks_to_other_contexts_as_the_algebra_says, 0, 3);
    suite_add_tcase(suite, tests);
    return suite;
}
