/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The calls of light_rows.h: memory, draws and loops over rows. */
#include <assert.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "backend/cpu/light.h"
#include "backend/cpu/light_update.h"
#include "backend/cpu/threads.h"
#include "core/rng.h"
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

double sg_light_rows_bytes(size_t vocabulary, size_t states)
{
    double kept = fmin((double)vocabulary, 1024) + 512; /* heavy, and as many as are not folded */
    double base = (double)vocabulary * sizeof(double) * (1 + 1.0 / (SG_LIGHT_FAN - 1));
    return base + (double)states * (base + kept * 96 + sizeof(sg_light_row));
}

sg_status sg_light_rows_alloc(sg_light_rows **rows, const sg_light_config *config,
                              sg_light_prior *prior, sg_error *error)
{
    *rows = NULL;
    if (config->states < 1)
        return sg_fail(error, SG_EARGUMENT, "a policy needs at least one state");
    if (!(config->tolerance >= 0) || !isfinite(config->tolerance))
        return sg_fail(error, SG_EARGUMENT,
                       "a tolerance of %g is not possible: it must be positive (0: the default)",
                       config->tolerance);
    sg_light_rows *made = calloc(1, sizeof *made);
    if (made)
        made->row = calloc(config->states, sizeof *made->row);
    if (!made || !made->row) {
        free(made);
        return sg_fail(error, SG_ENOMEM, "%zu states need more memory than this machine gives",
                       config->states);
    }
    made->config = *config;
    if (made->config.tolerance == 0)
        made->config.tolerance = 1e-9;
    if (made->config.explicit_limit == 0)
        made->config.explicit_limit = 512;
    made->prior = sg_light_prior_retain(prior);
    made->vocabulary = prior->vocabulary;
    made->head = prior->head;
    made->kernels = sg_light_kernels_select(&made->name);
    for (size_t s = 0; s < config->states; s++) {
        if (!sg_light_row_init(&made->row[s], made, prior)) {
            sg_status status = no_memory(error, made);
            sg_light_rows_free(made);
            return status;
        }
    }
    *rows = made;
    return SG_OK;
}

void sg_light_rows_free(sg_light_rows *rows)
{
    if (!rows)
        return;
    for (size_t s = 0; s < rows->config.states; s++)
        sg_light_row_clear(&rows->row[s]);
    sg_light_prior_free(rows->prior);
    free(rows->row);
    free(rows);
}

const char *sg_light_rows_backend_name(const sg_light_rows *rows)
{
    return rows->name;
}

sg_status sg_light_rows_set_prior(sg_light_rows *rows, size_t state, sg_light_prior *prior,
                                  sg_error *error)
{
    if (prior->vocabulary != rows->vocabulary || prior->head != rows->head)
        return sg_fail(error, SG_EARGUMENT,
                       "a prior of %zu tokens (head %zu) does not fit rows of %zu (head %zu)",
                       prior->vocabulary, prior->head, rows->vocabulary, rows->head);
    return sg_light_row_init(&rows->row[state], rows, prior) ? SG_OK : no_memory(error, rows);
}

sg_status sg_light_rows_set_logits(sg_light_rows *rows, size_t state, const double *logits,
                                   sg_error *error)
{
    sg_light_prior *prior;
    sg_status status = sg_light_prior_alloc(&prior, rows->vocabulary, rows->head, logits, error);
    if (status != SG_OK)
        return status;
    status = sg_light_rows_set_prior(rows, state, prior, error);
    sg_light_prior_free(prior);
    return status;
}

void sg_light_rows_get_logits(const sg_light_rows *rows, size_t state, double *logits)
{
    const sg_light_row *row = &rows->row[state];
    double offset = row->offset + (double)row->exponent * 0x1.62e42fefa39efp-1;
    sg_light_row_carry(row, rows->kernels, 1, 1, logits);
    sg_vec_log(rows->vocabulary, logits, logits);
    for (size_t v = 0; v < rows->vocabulary; v++)
        logits[v] += offset;
}

static bool copy_row(sg_light_row *to, const sg_light_row *from)
{
    sg_light_prior *base = from->base;
    base = from->owned ? sg_light_prior_clone(base) : sg_light_prior_retain(base);
    sg_light_row made = *from;
    made.token = made.slots = NULL;
    made.q = made.move = made.block = NULL;
    made.count = made.capacity = 0;
    made.base = base;
    if (!base || !sg_light_row_reserve(&made, from->capacity)) {
        sg_light_prior_free(base);
        return false;
    }
    for (size_t e = 0; e < from->count; e++)
        sg_light_row_append(&made, from->token[e], from->q[e]);
    memcpy(made.block, from->block, from->capacity / SG_LIGHT_FAN * sizeof *made.block);
    sg_light_row_clear(to);
    *to = made;
    return true;
}

sg_status sg_light_rows_copy(sg_light_rows *rows, const sg_light_rows *source, sg_error *error)
{
    assert(rows->config.states == source->config.states && rows->vocabulary == source->vocabulary &&
           rows->head == source->head);
    for (size_t s = 0; s < rows->config.states; s++)
        if (!copy_row(&rows->row[s], &source->row[s]))
            return no_memory(error, rows);
    sg_light_prior_retain(source->prior);
    sg_light_prior_free(rows->prior);
    rows->prior = source->prior;
    return SG_OK;
}

sg_status sg_light_rows_clone(sg_light_rows **made, const sg_light_rows *source, sg_error *error)
{
    sg_status status = sg_light_rows_alloc(made, &source->config, source->prior, error);
    if (status == SG_OK)
        status = sg_light_rows_copy(*made, source, error);
    if (status != SG_OK) {
        sg_light_rows_free(*made);
        *made = NULL;
    }
    return status;
}

/* Slot of the explicit token at `target` of their inverse CDF; the last positive one at the end. */
static size_t find_explicit(const sg_light_row *row, double target)
{
    size_t found = 0, block = 0, blocks = (row->count + SG_LIGHT_FAN - 1) / SG_LIGHT_FAN;
    double sum = 0, before = 0;
    for (size_t b = 0; b < blocks; b++) {
        if (!(row->block[b] > 0))
            continue;
        block = b;
        before = sum;
        sum += row->block[b];
        if (target < sum)
            break;
    }
    sum = before;
    found = block * SG_LIGHT_FAN;
    for (size_t e = found; e < row->count && e < (block + 1) * SG_LIGHT_FAN; e++) {
        if (!(row->q[e] > 0))
            continue;
        found = e;
        sum += row->q[e];
        if (target < sum)
            break;
    }
    return found;
}

/* When rejection does not end: the inverse CDF of the light part itself, O(V). */
static int32_t find_light(const sg_light_row *row, double part)
{
    const sg_light_prior *base = row->base;
    double target = part * row->light_total, sum = 0;
    int32_t found = 0;
    for (size_t v = 0; v < base->vocabulary; v++) {
        double q = base->q[v];
        if (!(q > 0) || (!row->owned && sg_light_row_slot(row, (int32_t)v) >= 0))
            continue;
        found = (int32_t)v;
        sum += q / sg_light_y(row->s, q / base->scale);
        if (target < sum)
            break;
    }
    return found;
}

/* Proposals are made from q0 and become draws from q = q0 / y by rejection: y is at least `floor`
 * for every light token. */
static double floor_of(const double *s)
{
    double floor = 1;
    for (size_t k = 0; k < SG_LIGHT_ORDER; k++)
        floor += s[k] < 0 ? s[k] : 0;
    return floor;
}

static bool accepts(const sg_light_row *row, size_t token, double rest, double floor)
{
    double q = row->base->q[token];
    return q > 0 && rest * sg_light_y(row->s, q / row->base->scale) < floor &&
           (row->owned || sg_light_row_slot(row, (int32_t)token) < 0);
}

/* After a rejected first proposal: more of them, with numbers that the bits of the uniform name. */
static int32_t draw_again(const sg_light_row *row, double floor, double uniform, double first)
{
    for (uint32_t attempt = 0; attempt < 1000; attempt++) {
        double rest, part = sg_rng_uniform((sg_address){sg_bits_of_double(uniform),
                                                        SG_STREAM_ROLLOUT, 0, 0, 0, attempt});
        double target = part * row->base->total;
        size_t token;
        sg_light_prior_find(row->base, 1, &target, &token, &rest);
        if (accepts(row, token, rest, floor))
            return (int32_t)token;
    }
    return find_light(row, first);
}

enum { TOGETHER = 16 };

static void draw(const sg_light_row *row, size_t n, const double *uniforms, int32_t *drawn)
{
    double part[TOGETHER], target[TOGETHER], rest[TOGETHER], floor = floor_of(row->s);
    size_t light = 0, which[TOGETHER], token[TOGETHER];
    for (size_t j = 0; j < n; j++) {
        double at = uniforms[j] * row->total;
        if (at < row->explicit_total || !(row->light_total > 0) || row->positive == 0) {
            drawn[j] = row->count ? row->token[find_explicit(row, at)] : 0;
            continue;
        }
        part[light] = fmin((at - row->explicit_total) / row->light_total, 0x1.fffffffffffffp-1);
        target[light] = part[light] * row->base->total;
        which[light++] = j;
    }
    sg_light_prior_find(row->base, light, target, token, rest);
    for (size_t i = 0; i < light; i++)
        drawn[which[i]] = accepts(row, token[i], rest[i], floor)
                              ? (int32_t)token[i]
                              : draw_again(row, floor, uniforms[which[i]], part[i]);
}

typedef struct light_call {
    sg_light_rows *rows;
    size_t first, n;
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

static void draw_task(void *context, size_t s)
{
    const light_call *call = context;
    for (size_t j = 0; j < call->n; j += TOGETHER) {
        size_t n = call->n - j < TOGETHER ? call->n - j : TOGETHER;
        draw(&call->rows->row[call->first + s], n, call->uniforms + s * call->n + j,
             call->drawn + s * call->n + j);
    }
}

/* Tasks write rows and read the rest, so the calls that only read may share their context. */
static sg_light_rows *writable(const sg_light_rows *rows)
{
    union {
        const sg_light_rows *in;
        sg_light_rows *out;
    } pointer = {rows};
    return pointer.out;
}

void sg_light_rows_draw(const sg_light_rows *rows, size_t first, size_t count, size_t n,
                        const double *uniforms, int32_t *tokens)
{
    light_call call = {
        .rows = writable(rows), .first = first, .n = n, .uniforms = uniforms, .drawn = tokens};
    sg_for_each(count, n * 256, draw_task, &call);
}

static void log_probs(const sg_light_row *row, size_t n, const int32_t *tokens, double *log_prob)
{
    for (size_t j = 0; j < n; j++)
        log_prob[j] = sg_light_row_q(row, tokens[j]) / row->total;
    for (size_t j = 0; j < n; j++)
        log_prob[j] = sg_log(log_prob[j]);
}

static void log_prob_task(void *context, size_t s)
{
    const light_call *call = context;
    log_probs(&call->rows->row[call->first + s], call->n, call->tokens + s * call->n,
              call->log_prob + s * call->n);
}

void sg_light_rows_log_prob(const sg_light_rows *rows, size_t first, size_t count, size_t n,
                            const int32_t *tokens, double *log_prob)
{
    light_call call = {
        .rows = writable(rows), .first = first, .n = n, .tokens = tokens, .log_prob = log_prob};
    sg_for_each(count, n * 32, log_prob_task, &call);
}

static void update_task(void *context, size_t s)
{
    const light_call *call = context;
    int32_t few[SAMPLES], *slots = call->n <= SAMPLES ? few : malloc(call->n * sizeof *slots);
    call->failed[s] =
        !slots || !sg_light_row_update(&call->rows->row[call->first + s], call->rows, call->lr,
                                       call->projected, call->n, call->tokens + s * call->n,
                                       call->pushes + s * call->n, slots,
                                       call->change ? call->change + s : NULL);
    if (slots != few)
        free(slots);
}

static void inner_task(void *context, size_t s)
{
    const light_call *call = context;
    const sg_objective *objective = call->objective;
    sg_light_row *row = &call->rows->row[call->first + s];
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
            call->rows->kernels->gate(objective->gate, &objective->parameter, n, log_ratio, old,
                                      advantage, coefficient);
            for (size_t j = 0; j < n; j++)
                push[j] = call->factor * coefficient[j] * advantage[j];
            if (call->kept)
                memcpy(call->kept + (s * call->updates + k) * n, push, n * sizeof *push);
            call->failed[s] = !sg_light_row_update(row, call->rows, call->lr, false, n, tokens,
                                                   push, slots, NULL);
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

sg_status sg_light_rows_update(sg_light_rows *rows, double lr, size_t first, size_t count, size_t n,
                               const int32_t *tokens, const double *pushes, sg_row_change *change,
                               sg_error *error)
{
    light_call call = {.rows = rows,
                       .first = first,
                       .n = n,
                       .tokens = tokens,
                       .lr = lr,
                       .pushes = pushes,
                       .change = change};
    return run(&call, count, ROW_WEIGHT, update_task, error);
}

sg_status sg_light_rows_update_projected(sg_light_rows *rows, double lr, size_t first, size_t count,
                                         size_t n, const int32_t *tokens, const double *pushes,
                                         sg_row_change *change, sg_error *error)
{
    light_call call = {.rows = rows,
                       .first = first,
                       .n = n,
                       .tokens = tokens,
                       .lr = lr,
                       .projected = true,
                       .pushes = pushes,
                       .change = change};
    return run(&call, count, ROW_WEIGHT, update_task, error);
}

sg_status sg_light_rows_inner_updates(sg_light_rows *rows, double lr, uint64_t updates,
                                      const sg_objective *objective, double factor, size_t first,
                                      size_t count, size_t n, const int32_t *tokens,
                                      const double *old_log_prob, const double *advantage,
                                      double *pushes, sg_error *error)
{
    assert(objective->level == SG_LEVEL_TOKEN && objective->method->rule == SG_RULE_NONE);
    light_call call = {.rows = rows,
                       .first = first,
                       .n = n,
                       .tokens = tokens,
                       .lr = lr,
                       .factor = factor,
                       .updates = updates,
                       .objective = objective,
                       .old_log_prob = old_log_prob,
                       .advantage = advantage,
                       .kept = pushes};
    return run(&call, count, ROW_WEIGHT * (size_t)updates, inner_task, error);
}

static void observe_task(void *context, size_t s)
{
    const light_call *call = context;
    call->observation[s] = sg_light_row_observe(&call->rows->row[call->first + s]);
}

void sg_light_rows_observe(const sg_light_rows *rows, size_t first, size_t count,
                           sg_row_observation *observation)
{
    light_call call = {.rows = writable(rows), .first = first, .observation = observation};
    sg_for_each(count, ROW_WEIGHT, observe_task, &call);
}

void sg_light_rows_collision(const sg_light_rows *rows, size_t first, size_t count,
                             double *collision)
{
    for (size_t s = 0; s < count; s++)
        collision[s] = sg_light_row_collision(&rows->row[first + s]);
}

double sg_light_rows_mass(const sg_light_rows *rows, size_t state, const int32_t *tokens, size_t n)
{
    const sg_light_row *row = &rows->row[state];
    double sum = 0;
    for (size_t j = 0; j < n; j++)
        sum += sg_light_row_q(row, tokens[j]);
    return sum / row->total;
}

sg_light_report sg_light_rows_report(const sg_light_rows *rows, size_t state)
{
    const sg_light_row *row = &rows->row[state];
    return (sg_light_report){.bound = row->bound,
                             .updates = row->updates,
                             .rebases = row->rebases,
                             .folds = row->folds,
                             .explicit_tokens = row->count,
                             .series = sg_light_series_use(row->s)};
}
