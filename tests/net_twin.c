/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "net_twin.h"

#include <math.h>
#include <stdio.h>

static double value(const sg_net *net, const char *name, size_t row, size_t column)
{
    return sg_net_get(net, sg_net_tensor(net, name), row, column);
}

static void normalized(const sg_net *net, const char *gain, const double *x, double *y)
{
    size_t d = net->config.width;
    double square = 0;
    for (size_t k = 0; k < d; k++)
        square += x[k] * x[k] / (double)d;
    for (size_t k = 0; k < d; k++)
        y[k] = value(net, gain, 0, k) * x[k] / sqrt(square + 1e-6);
}

static void add_block(const sg_net *net, size_t b, const uint64_t *replay, uint64_t *set, double *x)
{
    const sg_net_config *c = &net->config;
    size_t experts = c->experts > 1 ? c->experts : 1, d = c->width;
    double n[64], score[64] = {0}, out[64] = {0}, total = 0;
    char gain[32], router[32], inner[32], outer[32];
    snprintf(gain, sizeof gain, "gain%zu", b);
    snprintf(router, sizeof router, "router%zu", b);
    snprintf(inner, sizeof inner, "inner%zu", b);
    snprintf(outer, sizeof outer, "outer%zu", b);
    normalized(net, gain, x, n);
    for (size_t e = 0; e < experts && c->experts > 1; e++)
        for (size_t k = 0; k < d; k++)
            score[e] += value(net, router, e, k) * n[k];
    set[b] = replay ? replay[b] : 0;
    for (size_t e = 0; e < experts && !replay; e++) {
        size_t better = 0;
        for (size_t o = 0; o < experts; o++)
            better += score[o] > score[e];
        if (c->experts <= 1 || better < c->top_k)
            set[b] |= UINT64_C(1) << e;
    }
    for (size_t e = 0; e < experts; e++)
        total += set[b] >> e & 1 ? exp(score[e]) : 0;
    for (size_t e = 0; e < experts; e++) {
        if (!(set[b] >> e & 1))
            continue;
        for (size_t f = 0; f < c->hidden; f++) {
            double u = 0;
            for (size_t k = 0; k < d; k++)
                u += value(net, inner, e * c->hidden + f, k) * n[k];
            double a = u / (1 + exp(-u)) * exp(score[e]) / total;
            for (size_t k = 0; k < d; k++)
                out[k] += value(net, outer, e * d + k, f) * a;
        }
    }
    for (size_t k = 0; k < d; k++)
        x[k] += out[k];
}

void net_twin_log_probs(const sg_net *net, int32_t position, const int32_t *context,
                        const uint64_t *replay, const double *given, uint64_t *set, double *z)
{
    const sg_net_config *c = &net->config;
    size_t d = c->width, slots = c->prompt_length + c->window;
    double x[64], h[64], sum = 0;
    const sg_tensor *weights = sg_net_tensor(net, "weights"), *bias = sg_net_tensor(net, "bias");
    if (!given) {
        for (size_t k = 0; k < d; k++) {
            x[k] = value(net, "positions", (size_t)position, k);
            for (size_t s = 0; s < slots; s++) {
                const char *table = s < c->prompt_length ? "prompts"
                                    : c->tied            ? "weights"
                                                         : "tokens";
                if (context[s] >= 0)
                    x[k] += value(net, "mix", (size_t)position * slots + s, k) *
                            value(net, table, (size_t)context[s], k);
            }
        }
        for (size_t b = 0; b < c->blocks; b++)
            add_block(net, b, replay, set, x);
        normalized(net, "final_gain", x, h);
    }
    for (size_t v = 0; v < c->prior.vocabulary; v++) {
        z[v] = bias ? sg_net_get(net, bias, v, 0) : 0;
        for (size_t k = 0; k < d; k++)
            z[v] += sg_net_get(net, weights, v, k) * (given ? given[k] : h[k]);
        z[v] /= c->temperature;
        sum += exp(z[v]);
    }
    for (size_t v = 0; v < c->prior.vocabulary; v++)
        z[v] -= log(sum);
}
