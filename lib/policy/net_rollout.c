/* SPDX-License-Identifier: GPL-3.0-or-later */
#include <math.h>
#include <stdlib.h>

#ifdef _OPENMP
#include <omp.h>
#endif

#include "backend/cpu/threads.h"
#include "core/rng.h"
#include "policy/net_pass.h"

static sg_status check_sampler(const sg_sampler *s, sg_error *error)
{
    if (!(s->temperature >= 0 && s->temperature <= 1e6))
        return sg_fail(error, SG_EARGUMENT,
                       "the sampler's temperature is %g; it must be in [0, 1e6]", s->temperature);
    if (!(s->top_p > 0 && s->top_p <= 1))
        return sg_fail(error, SG_EARGUMENT, "the sampler's top_p is %g; it must be in (0, 1]",
                       s->top_p);
    if (!(s->noise >= 0 && s->noise <= 1e6))
        return sg_fail(error, SG_EARGUMENT, "the sampler's noise is %g; it must be in [0, 1e6]",
                       s->noise);
    return SG_OK;
}

/* Equal contexts share their noise. */
static sg_address noise_address(const sg_net_pass *pass, const sg_net_draw *draw, size_t row)
{
    size_t slots = pass->state.slots;
    uint64_t hash = (uint64_t)pass->here.position[row] + 1;
    for (size_t s = 0; s < slots; s++) {
        hash = (hash ^ hash >> 29) * UINT64_C(0xff51afd7ed558ccd);
        hash ^= (uint32_t)pass->here.context[row * slots + s];
    }
    hash *= UINT64_C(0xff51afd7ed558ccd);
    return (sg_address){.seed = draw->seed + (hash & 0xffffffff00000000u),
                        .stream = SG_STREAM_NOISE,
                        .step = draw->step,
                        .sample = (uint32_t)(hash >> 16)};
}

/* ---- one position of all responses that still run */

typedef struct turn {
    sg_net_pass *pass;
    const sg_net *net;
    const sg_net_draw *draw;
    size_t count;
    int32_t *tokens;
    double *uniform, *log_prob;
    uint64_t *routes; /* [count][blocks] */
} turn;

/* One row with all of its logits; room for 2 V numbers. */
static void draw_row(const turn *t, size_t row, const void *logits, double *room)
{
    size_t n = t->net->config.prior.vocabulary;
    bool narrow = t->net->config.precision == SG_FP32;
    sg_sampler_row at = {.n = n, .logits = room, .cumulated = room + n};
    for (size_t v = 0; v < n; v++)
        room[v] = narrow ? (double)((const float *)logits)[v] : ((const double *)logits)[v];
    sg_sampler_prepare(&at, &t->draw->sampler, noise_address(t->pass, t->draw, row));
    for (size_t i = 0; i < t->count; i++)
        if (t->pass->row_of[i] == row)
            t->tokens[i] = sg_sampler_draw(&at, &t->draw->sampler, t->uniform[i], &t->log_prob[i]);
}

/* Distortions need whole rows: a group of them at a time, one a thread. */
static sg_status draw_rows(turn *t, sg_error *error)
{
    sg_head head = sg_net_head(t->net, 1);
    size_t n = head.vocabulary, padded = sg_head_padded(&head), rows = t->pass->rows;
    size_t group = ((size_t)1 << 22) / padded + 1, real = sg_real_size(head.precision);
    int threads = sg_threads_free();
    char *logits = sg_matrix_alloc(group * padded * real);
    double *room = malloc((size_t)threads * 2 * n * sizeof *room);
    sg_status status = SG_OK;
    if (!logits || !room)
        status = sg_fail(error, SG_ENOMEM, "the sampler needs another %.3g GiB of memory",
                         (double)(group * padded + (size_t)threads * 2 * n) * 8 * 0x1p-30);
    if (!status)
        status = sg_head_load(t->pass->head, &head, t->pass->state.h, rows, error);
    for (size_t start = 0; start < rows && !status; start += group) {
        size_t m = rows - start < group ? rows - start : group;
        status = sg_head_logits(t->pass->head, &head, t->pass->state.h, start, m, logits, error);
        if (status)
            break;
#pragma omp parallel for schedule(static) num_threads(threads) if (threads > 1)
        for (size_t r = 0; r < m; r++) {
            size_t thread = 0;
#ifdef _OPENMP
            thread = threads > 1 ? (size_t)omp_get_thread_num() : 0;
#endif
            draw_row(t, start + r, logits + r * padded * real, room + thread * 2 * n);
        }
    }
    free(logits);
    free(room);
    return status;
}

/* The whole distribution: masses of tiles, then one tile. */
static sg_status draw_tiles(turn *t, sg_error *error)
{
    sg_net_pass *pass = t->pass;
    sg_head head = sg_net_head(t->net, 1 / t->draw->sampler.temperature);
    sg_status status =
        sg_head_forward(pass->head, &head, pass->state.h, pass->rows, NULL, NULL, error);
    if (!status)
        status = sg_head_draw(pass->head, &head, pass->state.h, t->count, pass->row_of, t->uniform,
                              t->tokens, t->log_prob, error);
    if (status || !t->draw->sampler.raw || head.sharpness == 1)
        return status;
    sg_head_samples samples = {t->count, t->tokens, pass->row_of};
    head.sharpness = 1;
    return sg_head_forward(pass->head, &head, pass->state.h, pass->rows, &samples, t->log_prob,
                           error);
}

static sg_status roll(turn *t, int32_t *positions, int32_t *contexts, uint32_t *live,
                      const double *uniforms, const sg_net_sequences *sequences,
                      const sg_net_record *record, sg_error *error)
{
    const sg_net_config *c = &t->net->config;
    const sg_sampler *s = &t->draw->sampler;
    size_t slots = sg_net_slots(c), prompt = c->prompt_length;
    bool whole = s->temperature > 0 && s->top_p == 1 && s->top_k == 0 && s->noise == 0 &&
                 s->format == SG_SAMPLER_EXACT;
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
        if (!status && record->routes)
            status = sg_net_routes(t->pass, t->routes, error);
        if (status)
            return status;
        size_t running = 0;
        for (size_t i = 0; i < t->count; i++) {
            size_t at = live[i] * c->length + step;
            sequences->tokens[at] = t->tokens[i];
            sequences->lengths[live[i]]++;
            if (record->log_prob)
                record->log_prob[at] = t->log_prob[i];
            for (size_t b = 0; record->routes && b < c->blocks; b++)
                record->routes[at * c->blocks + b] = t->routes[i * c->blocks + b];
            live[running] = live[i];
            running += t->tokens[i] != t->draw->end_token;
        }
        t->count = running;
    }
    return SG_OK;
}

sg_status sg_net_rollout(sg_net_pass *pass, const sg_net *net, const sg_net_draw *draw,
                         const double *uniforms, const sg_net_sequences *sequences,
                         const sg_net_record *record, sg_error *error)
{
    sg_status status = check_sampler(&draw->sampler, error);
    if (status)
        return status;
    size_t n = sequences->count, slots = sg_net_slots(&net->config);
    double *reals = malloc((2 * n + 1) * sizeof *reals);
    int32_t *integers = malloc((n * (slots + 3) + 1) * sizeof *integers);
    uint64_t *routes = malloc((n * net->config.blocks + 1) * sizeof *routes);
    if (reals && integers && routes) {
        turn t = {pass, net, draw, n, integers, reals, reals + n, routes};
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
    free(routes);
    return status;
}
