/* SPDX-License-Identifier: GPL-3.0-or-later */
/* CPU rows: updates and observations of ranges of states. */
#include <math.h>

#include "backend/cpu/rows.h"
#include "backend/cpu/threads.h"
#include "core/vec_math.h"

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
    const sg_cpu_rows *rows;
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
    pass->rows->kernels->look(&pass->view, pass->rows->base.config.head, segment * pass->length,
                              segment_end(pass, segment), &pass->looks[segment]);
}

static void pass_init(row_pass *pass, const sg_cpu_rows *rows, size_t state, const sg_row_job *job)
{
    pass->rows = rows;
    pass->view = sg_cpu_rows_view(rows, state);
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

/* Mean of the squared gradient over the row. */
static double mean_square(row_pass *pass, bool split)
{
    size_t segments = pass_run(pass, split, norm2_segment);
    return sg_tree_sum(pass->values, segments) / (double)pass->rows->base.config.vocabulary;
}

/* Greatest log q that the job would make without a shift. */
static double peak_of(row_pass *pass, bool split)
{
    size_t segments = pass_run(pass, split, peak_segment);
    double peak = -INFINITY;
    for (size_t s = 0; s < segments; s++)
        peak = pass->values[s] > peak ? pass->values[s] : peak;
    return peak;
}

/* Keeps the greatest tile mass near 1 by an exact power of two. */
static void rebase(const sg_cpu_rows *rows, const sg_row_view *view, sg_row_head *head)
{
    double max = 0;
    for (size_t t = 0; t < rows->tiles; t++)
        max = view->mass[t] > max ? view->mass[t] : max;
    int exponent = sg_row_rebase_exponent(max);
    if (exponent == 0)
        return;
    rows->kernels->rescale(view, ldexp(1.0, -exponent));
    head->exponent += exponent;
    head->total = sg_tree_sum(view->mass, rows->tiles);
}

static void update_state(sg_cpu_rows *rows, const sg_rows_step *step, uint64_t time, size_t state,
                         size_t n, const int32_t *tokens, const double *pushes,
                         sg_row_change *change, bool split)
{
    const sg_rows_config *config = &rows->base.config;
    sg_row_head *head = &rows->heads[state];
    sg_row_job job;
    row_pass pass;
    sg_row_job_init(&job, config, head->total, n, tokens, pushes, step->projected);
    pass_init(&pass, rows, state, &job);
    double square = step->optimizer.kind == SG_COUPLED_ADAM ? mean_square(&pass, split) : 0;
    sg_row_job_rule(&job, head, config, &step->optimizer, time, square);
    if (!job.near)
        sg_row_job_move(&job, head, config, peak_of(&pass, split));
    pass.wants_sums = change != NULL;
    size_t segments = pass_run(&pass, split, update_segment);
    head->total = sg_tree_sum(pass.view.mass, rows->tiles);
    if (change) {
        sg_row_sums sums = tree_of_sums(pass.sums, 0, segments);
        *change = sg_row_change_of(&job, &sums);
    }
    rebase(rows, &pass.view, head);
}

typedef struct update_call {
    sg_cpu_rows *rows;
    const sg_rows_step *step;
    size_t first, n;
    const int32_t *tokens;
    const double *pushes;
    sg_row_change *change;
    bool split;
} update_call;

static void update_task(void *context, size_t s)
{
    const update_call *call = context;
    update_state(call->rows, call->step, call->step->time, call->first + s, call->n,
                 call->tokens + s * call->n, call->pushes + s * call->n,
                 call->change ? call->change + s : NULL, call->split);
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

void sg_cpu_rows_update(sg_rows *base, const sg_rows_step *step, size_t first, size_t count,
                        size_t n, const int32_t *tokens, const double *pushes,
                        sg_row_change *change)
{
    sg_cpu_rows *rows = sg_cpu_rows_of(base);
    update_call call = {rows, step, first, n, tokens, pushes, change, splits_rows(count)};
    for_states(count, rows->padded, call.split, update_task, &call);
}

typedef struct observe_call {
    const sg_cpu_rows *rows;
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
    call->observation[s] = sg_row_observation_of(&look, call->rows->base.config.vocabulary);
}

void sg_cpu_rows_observe(const sg_rows *base, size_t first, size_t count,
                         sg_row_observation *observation)
{
    const sg_cpu_rows *rows = sg_cpu_rows_of(base);
    observe_call call = {rows, first, observation, splits_rows(count)};
    for_states(count, rows->padded, call.split, observe_task, &call);
}

typedef struct collision_call {
    const sg_cpu_rows *rows;
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

void sg_cpu_rows_collision(const sg_rows *base, size_t first, size_t count, double *collision)
{
    const sg_cpu_rows *rows = sg_cpu_rows_of(base);
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
    sg_row_view view = sg_cpu_rows_view(u->rows, state);
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
        update_state(u->rows, u->step, u->step->time + k, state, n, u->tokens + s * n, push, NULL,
                     u->split);
    }
}

void sg_cpu_rows_inner_updates(sg_rows *base, const sg_rows_step *step, uint64_t updates,
                               const sg_objective *objective, double factor, size_t first,
                               size_t count, size_t n, const int32_t *tokens,
                               const double *old_log_prob, const double *advantage, double *pushes)
{
    sg_cpu_rows *rows = sg_cpu_rows_of(base);
    inner_call call = {.update = {rows, step, first, n, tokens, NULL, NULL, splits_rows(count)},
                       .updates = updates,
                       .objective = objective,
                       .factor = factor,
                       .old_log_prob = old_log_prob,
                       .advantage = advantage,
                       .pushes = pushes};
    for_states(count, rows->padded * (size_t)updates, call.update.split, inner_task, &call);
}
