/* SPDX-License-Identifier: GPL-3.0-or-later */
/* CPU rows: updates and observations of ranges of states. */
#include <assert.h>
#include <math.h>

#include "backend/cpu/rows.h"
#include "backend/cpu/threads.h"
#include "core/vec_math.h"

static const double LN2 = 0x1.62e42fefa39efp-1;

/* Pieces of one row are whole runs of tiles, a power of two long, so that the tree of sums over the
 * pieces continues the tree inside each piece: the result is the same for any number of threads. */
static size_t segment_tiles(size_t tiles)
{
    size_t length = 1;
    while (length * SG_SEGMENTS < tiles)
        length *= 2;
    return length;
}

typedef struct row_pass {
    const sg_rows *rows;
    sg_row_view view;
    const sg_row_job *job;
    size_t length; /* tiles of a segment */
    size_t end;    /* tiles of the row */
    bool wants_sums;
    sg_row_sums sums[SG_SEGMENTS];
    double values[SG_SEGMENTS]; /* peaks, or squared norms */
    sg_row_look looks[SG_SEGMENTS];
} row_pass;

static size_t segment_end(const row_pass *pass, size_t segment)
{
    size_t end = (segment + 1) * pass->length;
    return end < pass->end ? end : pass->end;
}

static void update_segment(void *context, size_t segment)
{
    row_pass *pass = context;
    pass->rows->kernels->update(&pass->view, pass->job, segment * pass->length,
                                segment_end(pass, segment),
                                pass->wants_sums ? &pass->sums[segment] : NULL);
}

static void peak_segment(void *context, size_t segment)
{
    row_pass *pass = context;
    pass->values[segment] = pass->rows->kernels->peak(
        &pass->view, pass->job, segment * pass->length, segment_end(pass, segment));
}

static void norm2_segment(void *context, size_t segment)
{
    row_pass *pass = context;
    pass->values[segment] = pass->rows->kernels->norm2(
        &pass->view, pass->job, segment * pass->length, segment_end(pass, segment));
}

static void look_segment(void *context, size_t segment)
{
    row_pass *pass = context;
    pass->rows->kernels->look(&pass->view, pass->rows->config.head, segment * pass->length,
                              segment_end(pass, segment), &pass->looks[segment]);
}

static void pass_init(row_pass *pass, const sg_rows *rows, size_t state, const sg_row_job *job)
{
    pass->rows = rows;
    pass->view = sg_rows_view(rows, state);
    pass->job = job;
    pass->end = rows->tiles;
    pass->wants_sums = false;
}

/* Runs a segment task over the row: in pieces on all threads when `split`, else in one. */
static size_t pass_run(row_pass *pass, bool split, void (*task)(void *context, size_t segment))
{
    pass->length = split ? segment_tiles(pass->end) : pass->end;
    size_t segments = (pass->end + pass->length - 1) / pass->length;
    sg_for_each(segments, pass->length * SG_TILE, task, pass);
    return segments;
}

static sg_row_sums tree_of_sums(const sg_row_sums *sums, size_t first, size_t end)
{
    if (end - first == 1)
        return sums[first];
    size_t middle = sg_tree_split(first, end);
    sg_row_sums left = tree_of_sums(sums, first, middle), right = tree_of_sums(sums, middle, end);
    sg_row_sums_add(&left, &right);
    return left;
}

static sg_row_look tree_of_looks(const sg_row_look *looks, size_t first, size_t end)
{
    if (end - first == 1)
        return looks[first];
    size_t middle = sg_tree_split(first, end);
    sg_row_look left = tree_of_looks(looks, first, middle),
                right = tree_of_looks(looks, middle, end);
    sg_row_look_add(&left, &right);
    return left;
}

static double power(double x, uint64_t n)
{
    double result = 1;
    for (; n; n >>= 1, x *= x)
        if (n & 1)
            result *= x;
    return result;
}

/* |mhat| / sqrt(vhat) <= this at step `time`, by Cauchy and Schwarz on the two weighted sums of
 * past gradients. */
static double adam_bound(const sg_optimizer *o, uint64_t time)
{
    double rho = o->beta1 * o->beta1 / o->beta2;
    double terms = rho == 1 ? (double)time : (1 - power(rho, time)) / (1 - rho);
    double bound = (1 - o->beta1) / (1 - power(o->beta1, time)) *
                   sqrt((1 - power(o->beta2, time)) / (1 - o->beta2) * terms);
    return isnan(bound) ? INFINITY : bound;
}

/* The gradient of a row, from the samples and the normaliser. Returns the sum of the pushes' sizes. */
static double job_init(sg_row_job *job, const sg_rows *rows, const sg_row_head *head, size_t n,
                       const int32_t *tokens, const double *pushes, bool projected)
{
    double push = 0, size = 0;
    for (size_t j = 0; j < n; j++) {
        push += pushes[j];
        size += fabs(pushes[j]);
    }
    /* What rounding leaves of centred pushes is not a push: Adam would blow it up to full steps. */
    if (projected || fabs(push) <= 0x1p-44 * size)
        push = 0;
    bool scaled = rows->config.precision == SG_FP32 && rows->config.optimizer != SG_SGD;
    *job = (sg_row_job){.push = push,
                        .gradient = -push / head->total,
                        .scale = scaled ? SG_MOMENT_SCALE_FP32 : 1.0,
                        .inverse_total = 1 / head->total,
                        .n = n,
                        .tokens = tokens,
                        .pushes = pushes};
    return size;
}

/* Coupled Adam is momentum with a rate of the row's own: v is one number. */
static void couple(row_pass *pass, sg_row_job *job, sg_row_head *head, const sg_optimizer *o,
                   uint64_t time, bool split)
{
    size_t segments = pass_run(pass, split, norm2_segment);
    double mean = sg_tree_sum(pass->values, segments) / (double)pass->rows->config.vocabulary;
    head->second = o->beta2 * head->second + (1 - o->beta2) * mean;
    double root = sqrt(head->second / (1 - power(o->beta2, time)));
    job->step = o->lr / (1 - power(o->beta1, time)) / fmax(root + o->eps, 0x1p-500) / job->scale;
    job->fresh = 1 - o->beta1;
}

/* What the optimiser makes of the gradient, and how far that can go. `size`: the sum of the pushes'
 * sizes, which no gradient exceeds. */
static void job_rule(row_pass *pass, sg_row_job *job, sg_row_head *head, const sg_optimizer *o,
                     uint64_t time, double size, bool split)
{
    bool fp32 = pass->rows->config.precision == SG_FP32;
    job->beta1 = o->beta1;
    job->beta2 = o->beta2;
    job->kind = o->kind;
    job->step = o->lr / job->scale;
    job->fresh = 1;
    job->reach = o->lr * size;
    if (o->kind == SG_COUPLED_ADAM)
        couple(pass, job, head, o, time, split);
    if (o->kind == SG_MOMENTUM || o->kind == SG_COUPLED_ADAM) {
        job->kind = SG_MOMENTUM;
        head->bound = o->beta1 * head->bound + job->fresh * size;
        job->reach = job->step * job->scale * head->bound;
    } else if (o->kind == SG_ADAM || o->kind == SG_ADAMW) {
        double root = sqrt(1 - power(o->beta2, time));
        job->kind = SG_ADAM;
        job->step = o->lr / (1 - power(o->beta1, time)) * root;
        job->eps = fmax(o->eps * job->scale * root, fp32 ? 0x1p-60 : 0x1p-500);
        job->reach = o->lr * adam_bound(o, time);
    }
    if (o->kind == SG_ADAMW) { /* no |log q| of a q > 0 exceeds `farthest` */
        double farthest = fp32 ? 105 : 746;
        job->decay = o->lr * o->weight_decay;
        job->offset = (double)head->exponent * LN2;
        job->reach += job->decay * (fabs(job->offset) + farthest);
    }
    job->near = job->reach <= SG_NEAR;
    job->sparse = o->kind == SG_SGD && job->push == 0 && job->near;
}

/* Large steps: find the greatest new logit first, and move the offset there. */
static void move_offset(row_pass *pass, sg_row_job *job, sg_row_head *head, bool split)
{
    size_t segments = pass_run(pass, split, peak_segment);
    double peak = -INFINITY;
    for (size_t s = 0; s < segments; s++)
        peak = pass->values[s] > peak ? pass->values[s] : peak;
    if (!isfinite(peak))
        return;
    double steps = floor(peak / LN2);
    job->shift = steps * LN2;
    if (pass->rows->config.precision == SG_FP32)
        job->shift = (double)(float)job->shift;
    head->exponent += (int64_t)steps;
}

/* Keeps the greatest tile mass in [2^-20, 2^20] by an exact power of two. */
static void rebase(const sg_rows *rows, const sg_row_view *view, sg_row_head *head)
{
    double max = 0;
    for (size_t t = 0; t < rows->tiles; t++)
        max = view->mass[t] > max ? view->mass[t] : max;
    if (!(max > 0) || !isfinite(max) || (max >= 0x1p-20 && max <= 0x1p20))
        return;
    int exponent = ilogb(max);
    rows->kernels->rescale(view, ldexp(1.0, -exponent));
    head->exponent += exponent;
    head->total = sg_tree_sum(view->mass, rows->tiles);
}

static double log1p_excess(double x)
{
    return x > -0.29 && x < 0.41 ? sg_log_excess(x) : sg_log(1 + x) - x;
}

static sg_row_change change_of(const sg_row_job *job, const sg_row_sums *s)
{
    /* sum p exp(d) = 1 + x, so that KL(old || new) = log(1 + x) - sum p d, and so on: every term
     * below is of second order in d, none is a difference of first-order ones. */
    double x = s->first + s->excess, excess = log1p_excess(x);
    double forward = excess + s->excess;
    double backward = s->reverse / (1 + x) - excess - x * x / (1 + x);
    return (sg_row_change){
        .kl_old_new = forward < 0 ? 0 : forward,
        .kl_new_old = backward < 0 ? 0 : backward,
        .grad_norm2 = job->push * job->push * s->free_collision + s->touched_norm2,
        .delta_norm2 = s->norm2,
        .diffuse_push = job->push,
        .upward_push = job->push < 0 ? -job->push * s->free_mass : 0,
        .max_unsampled_push = s->max_free,
    };
}

static void update_state(sg_rows *rows, const sg_optimizer *optimizer, uint64_t time, size_t state,
                         size_t n, const int32_t *tokens, const double *pushes,
                         sg_row_change *change, bool split, bool projected)
{
    sg_row_head *head = &rows->heads[state];
    sg_row_job job;
    double size = job_init(&job, rows, head, n, tokens, pushes, projected);
    row_pass pass;
    pass_init(&pass, rows, state, &job);
    job_rule(&pass, &job, head, optimizer, time, size, split);
    if (!job.near)
        move_offset(&pass, &job, head, split);
    pass.wants_sums = change != NULL;
    size_t segments = pass_run(&pass, split, update_segment);
    head->total = sg_tree_sum(pass.view.mass, rows->tiles);
    if (change) {
        sg_row_sums sums = tree_of_sums(pass.sums, 0, segments);
        *change = change_of(&job, &sums);
    }
    rebase(rows, &pass.view, head);
}

typedef struct update_call {
    sg_rows *rows;
    const sg_optimizer *optimizer;
    uint64_t time;
    size_t first, n;
    const int32_t *tokens;
    const double *pushes;
    sg_row_change *change;
    bool split, projected;
} update_call;

static void update_task(void *context, size_t s)
{
    const update_call *call = context;
    update_state(call->rows, call->optimizer, call->time, call->first + s, call->n,
                 call->tokens + s * call->n, call->pushes + s * call->n,
                 call->change ? call->change + s : NULL, call->split, call->projected);
}

/* Few states on many threads: the threads share each row. Else each thread has rows of its own. */
static bool splits_rows(size_t count)
{
    return count < (size_t)sg_threads_free();
}

static void for_states(size_t count, size_t weight, bool split,
                       void (*task)(void *context, size_t s), void *context)
{
    if (split)
        for (size_t s = 0; s < count; s++)
            task(context, s);
    else
        sg_for_each(count, weight, task, context);
}

void sg_rows_update(sg_rows *rows, const sg_optimizer *optimizer, uint64_t time, size_t first,
                    size_t count, size_t n, const int32_t *tokens, const double *pushes,
                    sg_row_change *change)
{
    assert(optimizer->kind == rows->config.optimizer && time >= 1);
    update_call call = {rows,   optimizer,          time, first, n, tokens, pushes,
                        change, splits_rows(count), false};
    for_states(count, rows->padded, call.split, update_task, &call);
}

void sg_rows_update_projected(sg_rows *rows, const sg_optimizer *optimizer, uint64_t time,
                              size_t first, size_t count, size_t n, const int32_t *tokens,
                              const double *pushes, sg_row_change *change)
{
    assert(optimizer->kind == rows->config.optimizer && time >= 1);
    update_call call = {rows,   optimizer,          time, first, n, tokens, pushes,
                        change, splits_rows(count), true};
    for_states(count, rows->padded, call.split, update_task, &call);
}

static sg_row_observation observation_of(const sg_row_look *look, size_t vocabulary)
{
    double total = look->mass, log_total = sg_log(total);
    double entropy = log_total - look->mass_log / total;
    double tail_part = (look->tail_mass * log_total - look->tail_mass_log) / total;
    return (sg_row_observation){
        .entropy = entropy < 0 ? 0 : entropy,
        .head_entropy = sg_log(look->head_mass) - look->head_mass_log / look->head_mass,
        .tail_mass = look->tail_mass / total,
        .tail_entropy_share = entropy > 0 ? fmin(fmax(tail_part / entropy, 0), 1) : 0,
        .collision = look->square / (total * total),
        .max_prob = look->max / total,
        .logit_range = sg_log(look->max / look->min),
        .underflowed = vocabulary - look->positive,
    };
}

typedef struct observe_call {
    const sg_rows *rows;
    size_t first;
    sg_row_observation *observation;
    bool split;
} observe_call;

static void observe_task(void *context, size_t s)
{
    const observe_call *call = context;
    row_pass pass;
    pass_init(&pass, call->rows, call->first + s, NULL);
    size_t segments = pass_run(&pass, call->split, look_segment);
    sg_row_look look = tree_of_looks(pass.looks, 0, segments);
    call->observation[s] = observation_of(&look, call->rows->config.vocabulary);
}

void sg_rows_observe(const sg_rows *rows, size_t first, size_t count,
                     sg_row_observation *observation)
{
    observe_call call = {rows, first, observation, splits_rows(count)};
    for_states(count, rows->padded, call.split, observe_task, &call);
}

typedef struct collision_call {
    const sg_rows *rows;
    size_t first;
    double *collision;
    bool split;
} collision_call;

static void collision_task(void *context, size_t s)
{
    const collision_call *call = context;
    size_t state = call->first + s;
    const sg_row_job job = {.gradient = 1 / call->rows->heads[state].total}; /* pi itself */
    row_pass pass;
    pass_init(&pass, call->rows, state, &job);
    size_t segments = pass_run(&pass, call->split, norm2_segment);
    call->collision[s] = sg_tree_sum(pass.values, segments);
}

void sg_rows_collision(const sg_rows *rows, size_t first, size_t count, double *collision)
{
    collision_call call = {rows, first, collision, splits_rows(count)};
    for_states(count, rows->padded, call.split, collision_task, &call);
}

typedef struct inner_call {
    update_call update; /* without samples */
    uint64_t updates;
    const sg_objective *objective;
    double factor;
    const double *old_log_prob, *advantage;
    double *pushes;
} inner_call;

static void inner_task(void *context, size_t s)
{
    const inner_call *call = context;
    const update_call *u = &call->update;
    size_t n = u->n, state = u->first + s;
    sg_row_view view = sg_rows_view(u->rows, state);
    double *push = call->pushes + s * n;
    for (uint64_t k = 0; k < call->updates; k++) {
        double total = u->rows->heads[state].total;
        for (size_t j = 0; j < n; j++) {
            size_t i = s * n + j;
            double q = u->rows->kernels->at(&view, (size_t)u->tokens[i]);
            double log_ratio = sg_row_log_prob(q, total) - call->old_log_prob[i];
            sg_gate_value gate = sg_objective_eval(call->objective, log_ratio, call->advantage[i],
                                                   call->old_log_prob[i]);
            push[j] = call->factor * gate.coefficient * call->advantage[i];
        }
        update_state(u->rows, u->optimizer, u->time + k, state, n, u->tokens + s * n, push, NULL,
                     u->split, false);
    }
}

void sg_rows_inner_updates(sg_rows *rows, const sg_optimizer *optimizer, uint64_t time,
                           uint64_t updates, const sg_objective *objective, double factor,
                           size_t first, size_t count, size_t n, const int32_t *tokens,
                           const double *old_log_prob, const double *advantage, double *pushes)
{
    assert(objective->level == SG_LEVEL_TOKEN);
    inner_call call = {
        .update = {rows, optimizer, time, first, n, tokens, NULL, NULL, splits_rows(count), false},
        .updates = updates,
        .objective = objective,
        .factor = factor,
        .old_log_prob = old_log_prob,
        .advantage = advantage,
        .pushes = pushes};
    for_states(count, rows->padded * (size_t)updates, call.update.split, inner_task, &call);
}
