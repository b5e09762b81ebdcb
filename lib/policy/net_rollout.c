/* SPDX-License-Identifier: GPL-3.0-or-later */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "core/rng.h"
#include "core/vec_math.h"
#include "policy/net_pass.h"

static sg_status check_sampler(const sg_net_sampler *s, sg_error *error)
{
    if (!(s->temperature >= 0 && s->temperature <= 1e6))
        return sg_fail(error, SG_EARGUMENT,
                       "the sampler's temperature is %g; it must be in [0, 1e6]", s->temperature);
    if (!(s->top_p > 0 && s->top_p <= 1))
        return sg_fail(error, SG_EARGUMENT, "the sampler's top_p is %g; it must be in (0, 1]",
                       s->top_p);
    if (!(s->logit_noise >= 0 && s->logit_noise <= 1e6))
        return sg_fail(error, SG_EARGUMENT,
                       "the sampler's logit_noise is %g; it must be in [0, 1e6]", s->logit_noise);
    return SG_OK;
}

/* ---- one row whose logits are all at hand: noise, greedy choice, truncation */

/* Tokens in the order of truncation: likelier first, of equal ones the lower number. */
typedef struct candidate {
    double logit;
    uint32_t token;
} candidate;

static bool before(candidate a, candidate b)
{
    return a.logit > b.logit || (a.logit == b.logit && a.token < b.token);
}

/* Moves the shortest run of the likeliest candidates that reaches `mass` of exp(logit - max), or
 * has `most` members, to the front and returns its length. Quickselect: whole halves are kept or
 * dropped by their mass. */
static size_t truncate_row(candidate *c, size_t n, double max, double mass, size_t most)
{
    size_t low = 0, high = n; /* the end lies in low+1..high */
    double kept = 0;          /* mass of the candidates before low */
    while (high - low > 1) {
        candidate pivot = c[low + (high - low) / 2];
        size_t split = low;
        double upper = 0;
        c[low + (high - low) / 2] = c[high - 1];
        for (size_t i = low; i < high - 1; i++)
            if (before(c[i], pivot)) {
                candidate swap = c[i];
                c[i] = c[split];
                c[split++] = swap;
                upper += sg_exp(swap.logit - max);
            }
        c[high - 1] = c[split];
        c[split] = pivot;
        if (split > low && (kept + upper >= mass || split >= most)) {
            high = split;
            continue;
        }
        kept += upper + sg_exp(pivot.logit - max);
        if (kept >= mass || split + 1 >= most || split + 1 >= high)
            return split + 1;
        low = split + 1;
    }
    return high;
}

static int by_token(const void *a, const void *b)
{
    uint32_t x = ((const candidate *)a)->token, y = ((const candidate *)b)->token;
    return (x > y) - (x < y);
}

/* The distribution of one row: candidates in token order, their unnormalised masses add up to
 * `total`; `log_norm` is of the whole row before temperature. */
typedef struct row_sampler {
    candidate *candidates;
    size_t count;
    double max, total, sharpness, log_norm;
} row_sampler;

static uint64_t noise_key(const sg_net_pass *pass, size_t row)
{
    size_t i = pass->example[row];
    uint64_t hash = (uint64_t)pass->batch.positions[i] + 1;
    for (size_t s = 0; s < pass->slots; s++) {
        hash = (hash ^ hash >> 29) * UINT64_C(0xff51afd7ed558ccd);
        hash ^= (uint32_t)pass->batch.contexts[i * pass->slots + s];
    }
    return hash ^ hash >> 32;
}

static void add_noise(const sg_net_sampler *s, uint64_t key, double *z, size_t n)
{
    sg_address at = {
        s->seed + (key & 0xffffffff00000000u), SG_STREAM_NOISE, s->step, 0, (uint32_t)key, 0};
    for (size_t v = 0; v < n; v += 2) {
        double pair[2];
        at.token = (uint32_t)(v / 2);
        sg_rng_normal_pair(at, pair);
        z[v] += s->logit_noise * pair[0];
        if (v + 1 < n)
            z[v + 1] += s->logit_noise * pair[1];
    }
}

/* z: the row's logits before temperature. */
static row_sampler prepare(const sg_net_sampler *s, const double *z, size_t n, candidate *room)
{
    row_sampler r = {.candidates = room, .count = n, .max = -INFINITY};
    r.sharpness = s->temperature > 0 ? 1 / s->temperature : 1;
    double raw = 0;
    for (size_t v = 0; v < n; v++) {
        r.max = z[v] > r.max ? z[v] : r.max;
        room[v] = (candidate){z[v] * r.sharpness, (uint32_t)v};
    }
    for (size_t v = 0; v < n; v++) {
        raw += sg_exp(z[v] - r.max);
        r.total += sg_exp(room[v].logit - r.max * r.sharpness);
    }
    r.log_norm = r.max + sg_log(raw);
    r.max *= r.sharpness;
    size_t most = s->temperature == 0 ? 1 : s->top_k > 0 && s->top_k < n ? s->top_k : n;
    if (most < n || s->top_p < 1) {
        r.count = truncate_row(room, n, r.max, s->top_p < 1 ? s->top_p * r.total : INFINITY, most);
        qsort(room, r.count, sizeof *room, by_token);
        r.total = 0;
        for (size_t k = 0; k < r.count; k++)
            r.total += sg_exp(room[k].logit - r.max);
    }
    return r;
}

static candidate pick(const row_sampler *r, double u)
{
    double below = 0;
    size_t last = 0;
    for (size_t k = 0; k < r->count; k++) {
        double mass = sg_exp(r->candidates[k].logit - r->max);
        below += mass;
        last = mass > 0 ? k : last;
        if (u * r->total < below)
            return r->candidates[k];
    }
    return r->candidates[last];
}

/* ---- one position of all responses that still run */

typedef struct turn {
    sg_net_pass *pass;
    const sg_net *net;
    const sg_net_sampler *sampler;
    size_t count;
    int32_t *tokens;
    double *uniform, *log_prob, *raw;
} turn;

/* Rows one after the other, each with all of its logits. */
static sg_status draw_rows(turn *t, sg_error *error)
{
    sg_head head = sg_net_head(t->net, 1);
    size_t n = head.vocabulary, padded = sg_head_padded(&head), rows = t->pass->rows;
    size_t group = ((size_t)1 << 22) / padded + 1;
    bool narrow = head.precision == SG_FP32;
    void *logits = sg_matrix_alloc(group * padded * sizeof(double));
    double *z = malloc(n * sizeof *z);
    candidate *room = malloc(n * sizeof *room);
    sg_status status = SG_OK;
    if (!logits || !z || !room)
        status = sg_fail(error, SG_ENOMEM, "the sampler needs another %.3g GiB of memory",
                         (double)(group * padded + 3 * n) * 8 * 0x1p-30);
    for (size_t start = 0; start < rows && !status; start += group) {
        size_t m = rows - start < group ? rows - start : group;
        status = sg_head_logits(t->pass->head, &head, t->pass->h, start, m, logits, error);
        for (size_t r = 0; r < m && !status; r++) {
            for (size_t v = 0; v < n; v++)
                z[v] = narrow ? (double)((float *)logits)[r * padded + v]
                              : ((double *)logits)[r * padded + v];
            if (t->sampler->logit_noise > 0)
                add_noise(t->sampler, noise_key(t->pass, start + r), z, n);
            row_sampler sampler = prepare(t->sampler, z, n, room);
            for (size_t i = 0; i < t->count; i++) {
                if (t->pass->row_of[i] != start + r)
                    continue;
                candidate c = pick(&sampler, t->uniform[i]);
                t->tokens[i] = (int32_t)c.token;
                t->log_prob[i] = c.logit - sampler.max - sg_log(sampler.total);
                t->raw[i] = z[c.token] - sampler.log_norm;
            }
        }
    }
    free(logits);
    free(z);
    free(room);
    return status;
}

/* The whole distribution: masses of tiles, then one tile. */
static sg_status draw_tiles(turn *t, sg_error *error)
{
    sg_net_pass *pass = t->pass;
    sg_head head = sg_net_head(t->net, 1 / t->sampler->temperature);
    sg_status status = sg_head_forward(pass->head, &head, pass->h, pass->rows, NULL, NULL, error);
    if (!status)
        status = sg_head_draw(pass->head, &head, pass->h, t->count, pass->row_of, t->uniform,
                              t->tokens, t->log_prob, error);
    if (status)
        return status;
    if (head.sharpness == 1) {
        memcpy(t->raw, t->log_prob, t->count * sizeof *t->raw);
        return SG_OK;
    }
    sg_head_samples samples = {t->count, t->tokens, pass->row_of};
    head.sharpness = 1;
    return sg_head_forward(pass->head, &head, pass->h, pass->rows, &samples, t->raw, error);
}

static sg_status roll(turn *t, int32_t *positions, int32_t *contexts, uint32_t *live,
                      const double *uniforms, const sg_net_sequences *sequences,
                      const sg_net_record *record, sg_error *error)
{
    const sg_net_config *c = &t->net->config;
    const sg_net_sampler *s = t->sampler;
    size_t slots = sg_net_slots(c), prompt = c->prompt_length;
    bool whole = s->temperature > 0 && s->top_p == 1 && s->logit_noise == 0 &&
                 (s->top_k == 0 || s->top_k >= c->prior.vocabulary);
    for (size_t step = 0; step < c->length && t->count > 0; step++) {
        for (size_t i = 0; i < t->count; i++) {
            const int32_t *response = sequences->tokens + live[i] * c->length;
            positions[i] = (int32_t)step;
            for (size_t k = 0; k < prompt; k++)
                contexts[i * slots + k] = sequences->prompts[live[i] * prompt + k];
            for (size_t k = 0; k < c->window; k++)
                contexts[i * slots + prompt + k] = k < step ? response[step - 1 - k] : -1;
            t->uniform[i] = uniforms[live[i] * c->length + step];
        }
        sg_net_batch batch = {t->count, positions, contexts, NULL, NULL};
        sg_status status = sg_net_features_only(t->pass, t->net, &batch, error);
        if (!status)
            status = whole ? draw_tiles(t, error) : draw_rows(t, error);
        if (status)
            return status;
        size_t running = 0;
        for (size_t i = 0; i < t->count; i++) {
            size_t at = live[i] * c->length + step;
            sequences->tokens[at] = t->tokens[i];
            sequences->lengths[live[i]]++;
            if (record->log_prob)
                record->log_prob[at] = t->log_prob[i];
            if (record->raw_log_prob)
                record->raw_log_prob[at] = t->raw[i];
            for (size_t b = 0; record->routes && b < c->blocks; b++)
                record->routes[at * c->blocks + b] = t->pass->block[b].set[t->pass->row_of[i]];
            live[running] = live[i];
            running += t->tokens[i] != s->end_token;
        }
        t->count = running;
    }
    return SG_OK;
}

sg_status sg_net_rollout(sg_net_pass *pass, const sg_net *net, const sg_net_sampler *sampler,
                         const double *uniforms, const sg_net_sequences *sequences,
                         const sg_net_record *record, sg_error *error)
{
    sg_status status = check_sampler(sampler, error);
    if (status)
        return status;
    size_t n = sequences->count, slots = sg_net_slots(&net->config);
    double *reals = malloc((3 * n + 1) * sizeof *reals);
    int32_t *integers = malloc((n * (slots + 3) + 1) * sizeof *integers);
    if (reals && integers) {
        turn t = {pass, net, sampler, n, integers, reals, reals + n, reals + 2 * n};
        int32_t *positions = integers + n, *contexts = positions + n;
        uint32_t *live = (uint32_t *)(contexts + n * slots);
        const sg_net_record none = {0};
        for (size_t i = 0; i < n; i++) {
            live[i] = (uint32_t)i;
            sequences->lengths[i] = 0;
        }
        status = roll(&t, positions, contexts, live, uniforms, sequences, record ? record : &none,
                      error);
    } else {
        status = sg_fail(error, SG_ENOMEM, "the rollout of %zu responses needs more memory", n);
    }
    free(reals);
    free(integers);
    return status;
}
