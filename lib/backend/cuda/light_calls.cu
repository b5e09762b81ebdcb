/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Light rows on the device: each method sends its arguments, queues its kernels and brings back its results. */
#include "backend/cuda/light_host.h"

#include <math.h>

enum { CHUNK = 1 << 16 }; /* tokens of a row that go over the desk at a time */

/* ---- Questions ---- */

void sg_cuda_light_get_logits(const sg_light_rows *base, size_t state, double *logits)
{
    sg_cuda_light_call call(base);
    sg_cuda_light_rows *rows = light_of(base);
    size_t n = base->vocabulary;
    call.settle();
    for (size_t at = 0; at < n && call.open(sg_cuda_bytes<double>(CHUNK), 0); at += CHUNK) {
        size_t some = n - at < CHUNK ? n - at : (size_t)CHUNK;
        call.answer(some, logits + at, "reading a row of logits", [&](double *there) {
            return sg_cuda_light_queue_get(&rows->row[state], at, some, there, call.stream());
        });
    }
    call.blank_unless_fine(n, logits);
}

void sg_cuda_light_draw(const sg_light_rows *base, size_t first, size_t count, size_t n,
                        const double *uniforms, int32_t *tokens, double *log_prob)
{
    sg_cuda_light_call call(base);
    size_t cells = count * n;
    auto queue = [&](const double *u, int32_t *drawn, double *numbers) {
        return sg_cuda_light_queue_draw(call.rows->row + first, count, n, u, drawn, numbers,
                                        call.stream());
    };
    if (cells == 0)
        return;
    call.look([&]() { call.draw(cells, uniforms, tokens, log_prob, queue); });
    call.blank_draws_unless_fine(cells, tokens, log_prob);
}

void sg_cuda_light_log_prob(const sg_light_rows *base, size_t first, size_t count, size_t n,
                            const int32_t *tokens, double *log_prob)
{
    sg_cuda_light_call call(base);
    size_t cells = count * n;
    auto queue = [&](const int32_t *said, double *answers) {
        return sg_cuda_light_queue_log_prob(call.rows->row + first, count, n, said, answers,
                                            call.stream());
    };
    if (cells == 0)
        return;
    call.look([&]() { call.ask(cells, tokens, log_prob, "computing log-probabilities", queue); });
    call.blank_unless_fine(cells, log_prob);
}

void sg_cuda_light_observe(const sg_light_rows *base, size_t first, size_t count,
                           sg_row_observation *observation)
{
    sg_cuda_light_call call(base);
    auto queue = [&](sg_row_observation *there) {
        return sg_cuda_light_queue_observe(call.rows->row + first, count, call.rows->counts, there,
                                           call.stream());
    };
    if (count == 0)
        return;
    call.look([&]() {
        if (call.open(sg_cuda_bytes<sg_row_observation>(count), 0))
            call.answer(count, observation, "observing light rows", queue);
    });
    double nan = (double)NAN;
    for (size_t s = 0; s < count && !call.fine(); s++)
        observation[s] = {nan, nan, nan, nan, nan, nan, nan, 0};
}

void sg_cuda_light_collision(const sg_light_rows *base, size_t first, size_t count,
                             double *collision)
{
    sg_cuda_light_call call(base);
    auto queue = [&](double *there) {
        return sg_cuda_light_queue_collision(call.rows->row + first, count, there, call.stream());
    };
    if (count == 0)
        return;
    call.look([&]() {
        if (call.open(sg_cuda_bytes<double>(count), 0))
            call.answer(count, collision, "observing light rows", queue);
    });
    call.blank_unless_fine(count, collision);
}

void sg_cuda_light_masses(const sg_light_rows *base, size_t sets, const size_t *state,
                          const size_t *start, const int32_t *tokens, double *mass)
{
    sg_cuda_light_call call(base);
    sg_cuda_light_rows *rows = light_of(base);
    if (sets == 0)
        return;
    size_t n = start[sets];
    call.look([&]() {
        if (!call.open(2 * sg_cuda_bytes<size_t>(sets + 1) + sg_cuda_bytes<int32_t>(n) +
                           sg_cuda_bytes<double>(sets),
                       0))
            return;
        const size_t *states = call.put(sets, state), *starts = call.put(sets + 1, start);
        const int32_t *all = call.put(n, tokens);
        call.send();
        call.answer(sets, mass, "adding up probabilities", [&](double *there) {
            return sg_cuda_light_queue_masses(rows->row, sets, states, starts, all, there,
                                              call.stream());
        });
    });
    call.blank_unless_fine(sets, mass);
}

/* ---- Updates ---- */

/* A row with a base of its own more, or more room: memory for all that asked, in one piece each. */
static void give_memory(sg_cuda_light_call &call, sg_cuda_light_ask *asks, size_t n)
{
    sg_cuda_light_rows *rows = call.rows;
    sg_cuda_light_memory *of_work = rows->at + (rows->work.rows - rows->row);
    size_t bases = 0, room = 0, base_bytes = sg_cuda_aligned(light_base_bytes(rows));
    char what[96];
    for (size_t i = 0; i < n; i++) {
        sg_cuda_light_memory *at = &of_work[asks[i].row];
        bases += asks[i].wanted == 0;
        if (asks[i].wanted == 0)
            continue;
        size_t capacity = asks[i].wanted > 2 * at->capacity ? asks[i].wanted : 2 * at->capacity;
        asks[i].capacity = (capacity + SG_LIGHT_FAN - 1) / SG_LIGHT_FAN * SG_LIGHT_FAN;
        room += sg_cuda_aligned(sg_cuda_light_room(asks[i].capacity));
    }
    snprintf(what, sizeof what, "%zu of %zu light rows, which need more than their prior,", n,
             rows->base.config.states);
    char *memory = (char *)call.hold(bases * base_bytes + room, what);
    for (size_t i = 0; i < n && call.fine(); i++) {
        sg_cuda_light_memory *at = &of_work[asks[i].row];
        asks[i].memory = memory;
        if (asks[i].wanted == 0) {
            at->own = (double *)memory;
            memory += base_bytes;
        } else {
            at->memory = memory;
            at->capacity = asks[i].capacity;
            memory += sg_cuda_aligned(sg_cuda_light_room(asks[i].capacity));
        }
    }
}

/* Blocks for the rows that have asked, and the counts when they are through. */
static void queue_serve(sg_cuda_light_call &call, size_t n)
{
    const sg_cuda_light_work &work = call.rows->work;
    if (call.fine())
        call.check(sg_cuda_light_queue_serve(work, n, call.stream()), "updating light rows");
    if (call.fine())
        call.check(cudaMemcpyAsync(call.rows->told, work.counts, sizeof *work.counts,
                                   cudaMemcpyDeviceToHost, call.stream()),
                   "copying from the device");
}

bool sg_cuda_light_call::finish()
{
    if (!fine() || !rows->under_way)
        return false;
    sg_cuda_light_counts *told = rows->told;
    const sg_cuda_light_work &work = rows->work;
    bool stopped = told->lacking > 0;
    while (fine() && told->lacking > 0) {
        size_t n = told->lacking;
        sg_cuda_light_counts counts = {told->lacking, 0};
        down(rows->asks, work.lacking, n * sizeof *rows->asks);
        if (fine())
            give_memory(*this, rows->asks, n);
        up(work.asking, rows->asks, n * sizeof *rows->asks);
        up(work.counts, &counts, sizeof counts);
        queue_serve(*this, n);
        wait();
    }
    rows->under_way = !fine();
    rows->starved = status == SG_ENOMEM;
    if (rows->starved)
        rows->shortage = error;
    return stopped && fine();
}

static size_t room_of_work(const sg_cuda_light_rows *rows, const sg_cuda_light_work &work)
{
    return sg_cuda_bytes<int32_t>(work.count * work.n) +
           sg_cuda_bytes<double>(work.count * work.n) +
           sg_cuda_bytes<sg_cuda_light_job>(work.count) +
           2 * sg_cuda_bytes<sg_cuda_light_ask>(work.count) +
           sg_cuda_bytes<double>(rows->blocks * work.chunks * 2 * SG_LIGHT_TERMS);
}

static sg_cuda_light_work work_of(const sg_cuda_light_rows *rows, size_t first, size_t count,
                                  size_t n, uint64_t updates, double lr, bool projected)
{
    sg_cuda_light_work work = sg_cuda_light_work();
    work.rows = rows->row + first;
    work.count = count;
    work.n = n;
    work.updates = updates;
    work.plan.lr = lr;
    work.plan.projected = projected;
    work.plan.tolerance = rows->base.config.tolerance;
    work.plan.explicit_limit = rows->base.config.explicit_limit;
    work.chunks = sg_cuda_light_chunks(rows->base.vocabulary, rows->base.head);
    work.blocks = rows->blocks;
    work.counts = rows->counts;
    return work;
}

/* Queues all of it; how it ends is seen by whoever waits next. */
static void start_work(sg_cuda_light_call &call, sg_cuda_light_work &work)
{
    sg_cuda_light_rows *rows = call.rows;
    work.slots = call.in_room<int32_t>(work.count * work.n);
    work.jobs = call.in_room<sg_cuda_light_job>(work.count);
    work.asking = call.in_room<sg_cuda_light_ask>(work.count);
    work.lacking = call.in_room<sg_cuda_light_ask>(work.count);
    work.sums = call.in_room<double>(rows->blocks * work.chunks * 2 * SG_LIGHT_TERMS);
    rows->work = work;
    rows->under_way = true;
    call.zero(work.counts, sizeof *work.counts);
    if (call.fine())
        call.check(sg_cuda_light_queue_update(work, call.stream()), "updating light rows");
    queue_serve(call, work.count);
}

sg_status sg_cuda_light_update(sg_light_rows *base, double lr, bool projected, size_t first,
                               size_t count, size_t n, const int32_t *tokens, const double *pushes,
                               sg_row_change *change, sg_error *error)
{
    sg_cuda_light_call call(base);
    size_t cells = count * n;
    if (count == 0)
        return call.say(error);
    call.settle();
    sg_cuda_light_work work = work_of(call.rows, first, count, n, 1, lr, projected);
    if (call.open(&call.rows->samples,
                  sg_cuda_bytes<int32_t>(cells) + sg_cuda_bytes<double>(cells) +
                      sg_cuda_bytes<sg_row_change>(count),
                  room_of_work(call.rows, work))) {
        work.tokens = call.put(cells, tokens);
        work.pushes = call.put(cells, pushes);
        call.send();
        sg_row_change *here = call.on_desk<sg_row_change>(count);
        work.change = change ? call.there(here) : nullptr;
        start_work(call, work);
        if (change)
            call.look([&]() { call.fetch(count, here, change); });
    }
    call.blank_unless_fine(count, change);
    return call.say(error);
}

sg_status sg_cuda_light_inner_updates(sg_light_rows *base, double lr, uint64_t updates,
                                      const sg_objective *objective, double factor, size_t first,
                                      size_t count, size_t n, const int32_t *tokens,
                                      const double *old_log_prob, const double *advantage,
                                      double *pushes, sg_error *error)
{
    sg_cuda_light_call call(base);
    size_t cells = count * n, kept = pushes ? cells * (size_t)updates : 0;
    if (count == 0 || updates == 0)
        return call.say(error);
    call.settle();
    sg_cuda_light_work work = work_of(call.rows, first, count, n, updates, lr, false);
    if (call.open(&call.rows->samples,
                  sg_cuda_bytes<int32_t>(cells) + 2 * sg_cuda_bytes<double>(cells) +
                      sg_cuda_bytes<double>(kept),
                  room_of_work(call.rows, work))) {
        work.tokens = call.put(cells, tokens);
        work.gates = true;
        work.kind = objective->gate;
        work.parameter = objective->parameter;
        work.factor = factor;
        work.old_log_prob = call.put(cells, old_log_prob);
        work.advantage = call.put(cells, advantage);
        call.send();
        double *here = call.on_desk<double>(kept);
        work.kept = pushes ? call.there(here) : nullptr;
        work.pushes = call.in_room<double>(cells);
        start_work(call, work);
        if (kept > 0)
            call.look([&]() { call.fetch(kept, here, pushes); });
    }
    call.blank_unless_fine(kept, pushes);
    return call.say(error);
}
