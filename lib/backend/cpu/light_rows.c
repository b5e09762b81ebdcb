/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Light rows on the CPU: their memory, and loops over rows. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "backend/cpu/light.h"
#include "backend/cpu/threads.h"
#include "backend/light_draw.h"
#include "core/vec.h"
#include "core/vec_math.h"

enum {
    ROW_WEIGHT = 8192, /* what one call on a row is worth, in the tokens of sg_for_each */
    SAMPLES = 64       /* more samples than this need memory of their own */
};

static sg_status no_memory(sg_error *error, const sg_light_rows *rows)
{
    return sg_fail(error, SG_ENOMEM,
                   "a row of %zu tokens needs %.1f MiB of its own, which this machine does not "
                   "give; use fewer states, a smaller vocabulary, or dense fp32 rows",
                   rows->vocabulary, (double)rows->vocabulary * sizeof(double) / 1048576.0);
}

static void release(sg_light_rows *base)
{
    sg_cpu_light_rows *rows = sg_cpu_light_of(base);
    for (size_t s = 0; s < base->config.states; s++)
        sg_light_row_clear(&rows->row[s]);
    sg_light_prior_free(base->prior);
    free(rows->row);
    free(rows);
}

static sg_status set_prior(sg_light_rows *base, size_t state, sg_light_prior *prior,
                           sg_error *error)
{
    sg_light_row *row = &sg_cpu_light_of(base)->row[state];
    return sg_light_row_init(row, base->config.explicit_limit, prior) ? SG_OK
                                                                      : no_memory(error, base);
}

static void get_logits(const sg_light_rows *base, size_t state, double *logits)
{
    const sg_cpu_light_rows *rows = sg_cpu_light_of(base);
    const sg_light_row *row = &rows->row[state];
    double offset = sg_light_row_offset(row);
    sg_light_row_carry(row, rows->kernels, 1, 1, logits);
    sg_vec_log(base->vocabulary, logits, logits);
    for (size_t v = 0; v < base->vocabulary; v++)
        logits[v] += offset;
}

static bool copy_row(sg_light_row *to, const sg_light_row *from)
{
    sg_light_prior *prior = sg_light_prior_of(from->base);
    prior = from->owned ? sg_light_prior_clone(prior) : sg_light_prior_retain(prior);
    if (!prior)
        return false;
    sg_light_row made = *from;
    made.token = made.slots = NULL;
    made.q = made.move = made.block = NULL;
    made.count = made.capacity = 0;
    made.base = &prior->base;
    if (!sg_light_row_reserve(&made, from->capacity)) {
        sg_light_prior_free(prior);
        return false;
    }
    for (size_t e = 0; e < from->count; e++)
        sg_light_row_append(&made, from->token[e], from->q[e]);
    memcpy(made.block, from->block, from->capacity / SG_LIGHT_FAN * sizeof *made.block);
    sg_light_row_clear(to);
    *to = made;
    return true;
}

static sg_status copy(sg_light_rows *base, const sg_light_rows *source, sg_error *error)
{
    for (size_t s = 0; s < base->config.states; s++)
        if (!copy_row(&sg_cpu_light_of(base)->row[s], &sg_cpu_light_of(source)->row[s]))
            return no_memory(error, base);
    return SG_OK;
}

typedef struct light_call {
    const sg_light_rows *rows;
    sg_light_row *row; /* the first */
    size_t n;
    const double *uniforms;
    const int32_t *tokens;
    int32_t *drawn;
    double *log_prob;
    double lr, factor;
    bool projected;
    uint64_t updates;
    const sg_objective *objective;
    const double *old_log_prob, *advantage, *pushes;
    double *kept;
    sg_row_change *change;
    sg_row_observation *observation;
    bool *failed; /* [count] */
} light_call;

static light_call call_of(const sg_light_rows *rows, size_t first, size_t n)
{
    return (light_call){.rows = rows, .row = sg_cpu_light_of(rows)->row + first, .n = n};
}

static void log_probs(const sg_light_row *row, size_t n, const int32_t *tokens, double *log_prob)
{
    for (size_t j = 0; j < n; j++)
        log_prob[j] = sg_light_row_q(row, tokens[j]) / row->total;
    for (size_t j = 0; j < n; j++)
        log_prob[j] = sg_log(log_prob[j]);
}

static void draw_task(void *context, size_t s)
{
    const light_call *call = context;
    int32_t *drawn = call->drawn + s * call->n;
    for (size_t j = 0; j < call->n; j += SG_TEAM_TOGETHER) {
        size_t n = call->n - j < SG_TEAM_TOGETHER ? call->n - j : SG_TEAM_TOGETHER;
        sg_light_draw(&call->row[s], n, call->uniforms + s * call->n + j, drawn + j);
    }
    if (call->log_prob)
        log_probs(&call->row[s], call->n, drawn, call->log_prob + s * call->n);
}

static void draw(const sg_light_rows *rows, size_t first, size_t count, size_t n,
                 const double *uniforms, int32_t *tokens, double *log_prob)
{
    light_call call = call_of(rows, first, n);
    call.uniforms = uniforms;
    call.drawn = tokens;
    call.log_prob = log_prob;
    sg_for_each(count, n * 256, draw_task, &call);
}

static void log_prob_task(void *context, size_t s)
{
    const light_call *call = context;
    log_probs(&call->row[s], call->n, call->tokens + s * call->n, call->log_prob + s * call->n);
}

static void log_prob(const sg_light_rows *rows, size_t first, size_t count, size_t n,
                     const int32_t *tokens, double *result)
{
    light_call call = call_of(rows, first, n);
    call.tokens = tokens;
    call.log_prob = result;
    sg_for_each(count, n * 32, log_prob_task, &call);
}

static sg_light_update update_of(const light_call *call, size_t s, int32_t *slots,
                                 const double *pushes)
{
    return (sg_light_update){.lr = call->lr,
                             .tolerance = call->rows->config.tolerance,
                             .explicit_limit = call->rows->config.explicit_limit,
                             .n = call->n,
                             .projected = call->projected,
                             .tokens = call->tokens + s * call->n,
                             .pushes = pushes,
                             .slots = slots,
                             .change = call->change ? call->change + s : NULL};
}

static bool make_update(const light_call *call, size_t s, int32_t *slots, const double *pushes)
{
    sg_light_update update = update_of(call, s, slots, pushes);
    return sg_light_row_update(&call->row[s], sg_cpu_light_of(call->rows)->kernels, &update);
}

static void update_task(void *context, size_t s)
{
    const light_call *call = context;
    int32_t few[SAMPLES], *slots = call->n <= SAMPLES ? few : malloc(call->n * sizeof *slots);
    call->failed[s] = !slots || !make_update(call, s, slots, call->pushes + s * call->n);
    if (slots != few)
        free(slots);
}

static void inner_task(void *context, size_t s)
{
    const light_call *call = context;
    const sg_objective *objective = call->objective;
    const sg_light_row *row = &call->row[s];
    size_t n = call->n;
    double few[3 * SAMPLES], *push = n <= SAMPLES ? few : malloc(3 * n * sizeof *push);
    int32_t few_slots[SAMPLES], *slots = n <= SAMPLES ? few_slots : malloc(n * sizeof *slots);
    call->failed[s] = !push || !slots;
    if (!call->failed[s]) {
        const int32_t *tokens = call->tokens + s * n;
        const double *old = call->old_log_prob + s * n, *advantage = call->advantage + s * n;
        double *log_ratio = push + n, *coefficient = push + 2 * n;
        for (uint64_t k = 0; k < call->updates && !call->failed[s]; k++) {
            log_probs(row, n, tokens, log_ratio);
            for (size_t j = 0; j < n; j++)
                log_ratio[j] -= old[j];
            sg_cpu_light_of(call->rows)
                ->kernels->gate(objective->gate, &objective->parameter, n, log_ratio, old,
                                advantage, coefficient);
            for (size_t j = 0; j < n; j++)
                push[j] = call->factor * coefficient[j] * advantage[j];
            if (call->kept)
                memcpy(call->kept + (s * call->updates + k) * n, push, n * sizeof *push);
            call->failed[s] = !make_update(call, s, slots, push);
        }
    }
    if (push != few)
        free(push);
    if (slots != few_slots)
        free(slots);
}

static sg_status run(light_call *call, size_t count, size_t weight,
                     void (*task)(void *context, size_t s), sg_error *error)
{
    enum { FEW = 256 };
    bool few[FEW], *failed = count <= FEW ? few : malloc(count * sizeof *failed), any = !failed;
    if (failed) {
        call->failed = failed;
        sg_for_each(count, weight, task, call);
        for (size_t s = 0; s < count; s++)
            any |= failed[s];
    }
    if (failed != few)
        free(failed);
    return any ? no_memory(error, call->rows) : SG_OK;
}

static sg_status update(sg_light_rows *rows, double lr, bool projected, size_t first, size_t count,
                        size_t n, const int32_t *tokens, const double *pushes,
                        sg_row_change *change, sg_error *error)
{
    light_call call = call_of(rows, first, n);
    call.lr = lr;
    call.projected = projected;
    call.tokens = tokens;
    call.pushes = pushes;
    call.change = change;
    return run(&call, count, ROW_WEIGHT, update_task, error);
}

static sg_status inner_updates(sg_light_rows *rows, double lr, uint64_t updates,
                               const sg_objective *objective, double factor, size_t first,
                               size_t count, size_t n, const int32_t *tokens,
                               const double *old_log_prob, const double *advantage, double *pushes,
                               sg_error *error)
{
    light_call call = call_of(rows, first, n);
    call.lr = lr;
    call.factor = factor;
    call.updates = updates;
    call.objective = objective;
    call.tokens = tokens;
    call.old_log_prob = old_log_prob;
    call.advantage = advantage;
    call.kept = pushes;
    return run(&call, count, ROW_WEIGHT * (size_t)updates, inner_task, error);
}

static void observe_task(void *context, size_t s)
{
    const light_call *call = context;
    sg_light_room room;
    if (!sg_light_row_extremes_known(&call->row[s]))
        sg_light_row_find_extremes(&call->row[s]);
    sg_light_row_observe(&call->row[s], &room, &call->observation[s]);
}

static void observe(const sg_light_rows *rows, size_t first, size_t count,
                    sg_row_observation *observation)
{
    light_call call = call_of(rows, first, 0);
    call.observation = observation;
    sg_for_each(count, ROW_WEIGHT, observe_task, &call);
}

static void collision(const sg_light_rows *rows, size_t first, size_t count, double *result)
{
    sg_light_room room;
    for (size_t s = 0; s < count; s++)
        result[s] = sg_light_row_collision(&sg_cpu_light_of(rows)->row[first + s], &room);
}

static void masses(const sg_light_rows *rows, size_t sets, const size_t *state, const size_t *start,
                   const int32_t *tokens, double *mass)
{
    for (size_t k = 0; k < sets; k++)
        mass[k] = sg_light_row_mass(&sg_cpu_light_of(rows)->row[state[k]], start[k + 1] - start[k],
                                    tokens + start[k]);
}

static sg_light_report report(const sg_light_rows *rows, size_t state)
{
    return sg_light_report_of(&sg_cpu_light_of(rows)->row[state]);
}

static const sg_light_methods methods = {
    .free = release,
    .set_prior = set_prior,
    .get_logits = get_logits,
    .copy = copy,
    .save = sg_cpu_light_save,
    .load = sg_cpu_light_load,
    .draw = draw,
    .log_prob = log_prob,
    .update = update,
    .inner_updates = inner_updates,
    .observe = observe,
    .collision = collision,
    .masses = masses,
    .report = report,
};

sg_status sg_cpu_light_alloc(sg_light_rows **rows, const sg_light_config *config,
                             sg_light_prior *prior, sg_error *error)
{
    *rows = NULL;
    sg_cpu_light_rows *made = calloc(1, sizeof *made);
    if (made)
        made->row = calloc(config->states, sizeof *made->row);
    if (!made || !made->row) {
        free(made);
        return sg_fail(error, SG_ENOMEM, "%zu states need more memory than this machine gives",
                       config->states);
    }
    made->base = (sg_light_rows){.methods = &methods,
                                 .backend = SG_BACKEND_CPU,
                                 .config = *config,
                                 .vocabulary = prior->base.vocabulary,
                                 .head = prior->base.head,
                                 .prior = sg_light_prior_retain(prior)};
    made->kernels = sg_light_kernels_select(&made->base.name);
    for (size_t s = 0; s < config->states; s++) {
        sg_status status = set_prior(&made->base, s, prior, error);
        if (status != SG_OK) {
            release(&made->base);
            return status;
        }
    }
    *rows = &made->base;
    return SG_OK;
}
