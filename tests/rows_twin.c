/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "rows_twin.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

rows_twin *rows_twin_new(size_t vocabulary, size_t head)
{
    rows_twin *twin = malloc(sizeof *twin);
    *twin = (rows_twin){vocabulary, head, calloc(vocabulary, sizeof(double)),
                        calloc(vocabulary, sizeof(double)), calloc(vocabulary, sizeof(double))};
    return twin;
}

void rows_twin_free(rows_twin *twin)
{
    free(twin->z);
    free(twin->m);
    free(twin->v);
    free(twin);
}

static long double log_normaliser(const rows_twin *twin)
{
    long double max = -INFINITY, sum = 0;
    for (size_t i = 0; i < twin->vocabulary; i++)
        max = fmaxl(max, twin->z[i]);
    for (size_t i = 0; i < twin->vocabulary; i++)
        sum += expl(twin->z[i] - max);
    return max + logl(sum);
}

void rows_twin_probabilities(const rows_twin *twin, long double *pi)
{
    long double log_z = log_normaliser(twin);
    for (size_t i = 0; i < twin->vocabulary; i++)
        pi[i] = expl(twin->z[i] - log_z);
}

double rows_twin_log_prob(const rows_twin *twin, int32_t token)
{
    return (double)(twin->z[token] - log_normaliser(twin));
}

int32_t rows_twin_draw(const rows_twin *twin, double uniform)
{
    long double *pi = malloc(twin->vocabulary * sizeof *pi), sum = 0;
    rows_twin_probabilities(twin, pi);
    size_t i = 0;
    for (; i + 1 < twin->vocabulary; i++) {
        sum += pi[i];
        if (uniform < sum)
            break;
    }
    free(pi);
    return (int32_t)i;
}

void rows_twin_update(rows_twin *twin, const sg_optimizer *o, uint64_t time, size_t n,
                      const int32_t *tokens, const double *pushes, sg_row_change *change)
{
    size_t vocabulary = twin->vocabulary;
    long double *old = malloc(vocabulary * sizeof *old);
    double *g = calloc(vocabulary, sizeof *g);
    char *sampled = calloc(vocabulary, 1);
    long double total = 0, size = 0;
    rows_twin_probabilities(twin, old);
    for (size_t j = 0; j < n; j++) {
        total += pushes[j];
        size += fabs(pushes[j]);
    }
    if (fabsl(total) <= 0x1p-44L * size)
        total = 0;
    *change = (sg_row_change){.diffuse_push = (double)total};
    for (size_t i = 0; i < vocabulary; i++)
        g[i] = (double)(-total * old[i]);
    for (size_t j = 0; j < n; j++)
        sampled[tokens[j]] = 1;
    for (size_t i = 0; i < vocabulary; i++)
        if (!sampled[i] && g[i] > 0)
            change->upward_push += g[i];
    for (size_t j = 0; j < n; j++)
        g[tokens[j]] += pushes[j];
    double *delta = malloc(vocabulary * sizeof *delta), mean = 0;
    for (size_t i = 0; i < vocabulary; i++)
        mean += g[i] * g[i] / (double)vocabulary;
    for (size_t i = 0; i < vocabulary; i++) {
        if (o->kind == SG_SGD) {
            delta[i] = o->lr * g[i];
        } else if (o->kind == SG_MOMENTUM) {
            twin->m[i] = o->beta1 * twin->m[i] + g[i];
            delta[i] = o->lr * twin->m[i];
        } else {
            double square = o->kind == SG_COUPLED_ADAM ? mean : g[i] * g[i];
            twin->m[i] = o->beta1 * twin->m[i] + (1 - o->beta1) * g[i];
            twin->v[i] = o->beta2 * twin->v[i] + (1 - o->beta2) * square;
            double mhat = twin->m[i] / (1 - pow(o->beta1, (double)time));
            double vhat = twin->v[i] / (1 - pow(o->beta2, (double)time));
            delta[i] = mhat == 0 ? 0 : o->lr * mhat / (sqrt(vhat) + o->eps);
        }
        if (o->kind == SG_ADAMW)
            delta[i] -= o->lr * o->weight_decay * twin->z[i];
        change->grad_norm2 += g[i] * g[i];
        change->delta_norm2 += delta[i] * delta[i];
        if (!sampled[i] && delta[i] > change->max_unsampled_push)
            change->max_unsampled_push = delta[i];
    }
    long double growth = 0, forward = 0, backward = 0; /* Z_new / Z_old - 1 */
    for (size_t i = 0; i < vocabulary; i++)
        growth += old[i] * expm1l(delta[i]);
    for (size_t i = 0; i < vocabulary; i++) {
        long double moved = delta[i] - log1pl(growth); /* log pi_new - log pi_old */
        forward -= old[i] * moved;
        backward += old[i] * expl(moved) * moved;
    }
    for (size_t i = 0; i < vocabulary; i++)
        twin->z[i] += delta[i];
    change->kl_old_new = (double)forward;
    change->kl_new_old = (double)backward;
    free(old);
    free(g);
    free(sampled);
    free(delta);
}

void rows_twin_observe(const rows_twin *twin, sg_row_observation *observation)
{
    size_t vocabulary = twin->vocabulary;
    long double *pi = malloc(vocabulary * sizeof *pi), log_z = log_normaliser(twin);
    long double entropy = 0, tail_entropy = 0, tail = 0, head = 0, head_log = 0, square = 0,
                max_pi = 0;
    double max = -INFINITY, min = INFINITY;
    rows_twin_probabilities(twin, pi);
    for (size_t i = 0; i < vocabulary; i++) {
        long double term = -pi[i] * (twin->z[i] - log_z);
        entropy += term;
        square += pi[i] * pi[i];
        max_pi = fmaxl(max_pi, pi[i]);
        max = fmax(max, twin->z[i]);
        min = fmin(min, twin->z[i]);
        if (i < twin->head) {
            head += pi[i];
            head_log -= term;
        } else {
            tail += pi[i];
            tail_entropy += term;
        }
    }
    *observation = (sg_row_observation){
        .entropy = (double)entropy,
        .head_entropy = (double)(logl(head) - head_log / head),
        .tail_mass = (double)tail,
        .tail_entropy_share = (double)(tail_entropy / entropy),
        .collision = (double)square,
        .max_prob = (double)max_pi,
        .logit_range = max - min,
    };
    free(pi);
}
