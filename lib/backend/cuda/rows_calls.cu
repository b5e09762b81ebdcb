/* SPDX-License-Identifier: GPL-3.0-or-later */
/* What the host asks of rows on the device. */
#include "backend/cuda/rows_host.h"

static const size_t CHUNK = (size_t)1 << 16; /* logits that cross at a time */

void sg_cuda_rows_set_logits(sg_rows *base, size_t state, const double *logits, int64_t exponent)
{
    sg_cuda_rows_call call(base);
    sg_cuda_rows *rows = of(base);
    size_t n = base->config.vocabulary;
    for (size_t at = 0; at < n && call.fine(); at += CHUNK) {
        size_t some = n - at < CHUNK ? n - at : CHUNK;
        if (!call.open(sg_cuda_bytes<double>(some), 0))
            return;
        const double *there = call.put(some, logits + at);
        call.send();
        if (call.fine())
            call.check(sg_cuda_rows_queue_set(rows->table, state, at, some, there, exponent,
                                              call.stream()),
                       "setting logits");
    }
    if (call.fine())
        call.check(sg_cuda_rows_queue_settle(rows->table, state, exponent, call.stream()),
                   "setting logits");
}

/* What `queue` makes of the tokens of a state, piece by piece. */
static void read_row(const sg_rows *base, size_t state, double *numbers,
                     cudaError_t (*queue)(const sg_cuda_table &rows, size_t state, size_t at,
                                          size_t n, double *numbers, sg_cuda_stream *stream))
{
    sg_cuda_rows_call call(base);
    sg_cuda_rows *rows = of(base);
    size_t n = base->config.vocabulary;
    for (size_t at = 0; at < n && call.fine(); at += CHUNK) {
        size_t some = n - at < CHUNK ? n - at : CHUNK;
        if (!call.open(sg_cuda_bytes<double>(some), 0))
            break;
        call.answer(some, numbers + at, "reading a row of logits", [&](double *there) {
            return queue(rows->table, state, at, some, there, call.stream());
        });
    }
    call.blank_unless_fine(n, numbers);
}

void sg_cuda_rows_get_logits(const sg_rows *base, size_t state, double *logits)
{
    read_row(base, state, logits, sg_cuda_rows_queue_get);
}

void sg_cuda_rows_get_mean_square(const sg_rows *base, size_t state, double *mean_square)
{
    read_row(base, state, mean_square, sg_cuda_rows_queue_mean_square);
}

void sg_cuda_rows_draw(const sg_rows *base, size_t first, size_t count, size_t n,
                       const double *uniforms, int32_t *tokens, double *log_prob)
{
    sg_cuda_rows_call call(base);
    size_t cells = count * n;
    call.draw(cells, uniforms, tokens, log_prob,
              [&](const double *u, int32_t *drawn, double *numbers) {
                  return sg_cuda_rows_queue_draw(call.rows->table, {first, count}, n, u, drawn,
                                                 numbers, call.stream());
              });
    call.blank_draws_unless_fine(cells, tokens, log_prob);
}

void sg_cuda_rows_log_prob(const sg_rows *base, size_t first, size_t count, size_t n,
                           const int32_t *tokens, double *log_prob)
{
    sg_cuda_rows_call call(base);
    size_t cells = count * n;
    if (cells == 0)
        return;
    call.ask(cells, tokens, log_prob, "computing log-probabilities",
             [&](const int32_t *said, double *answers) {
                 return sg_cuda_rows_queue_log_prob(call.rows->table, {first, count}, n, said,
                                                    answers, call.stream());
             });
    call.blank_unless_fine(cells, log_prob);
}

static size_t room_for_update(size_t count, size_t n)
{
    return sg_cuda_bytes<sg_cuda_touched>(count * n) + sg_cuda_bytes<sg_row_job>(count);
}

void sg_cuda_rows_update(sg_rows *base, const sg_rows_step *step, size_t first, size_t count,
                         size_t n, const int32_t *tokens, const double *pushes,
                         sg_row_change *change)
{
    sg_cuda_rows_call call(base);
    sg_cuda_rows *rows = of(base);
    size_t cells = count * n;
    if (count == 0)
        return;
    if (call.open(sg_cuda_bytes<int32_t>(cells) + sg_cuda_bytes<double>(cells) +
                      sg_cuda_bytes<sg_row_change>(count),
                  room_for_update(count, n))) {
        sg_cuda_samples samples = {n, call.put(cells, tokens), call.put(cells, pushes),
                                   call.in_room<sg_cuda_touched>(cells),
                                   call.in_room<sg_row_job>(count)};
        call.send();
        sg_row_change *here = change ? call.on_desk<sg_row_change>(count) : nullptr;
        if (call.fine())
            call.check(sg_cuda_rows_queue_update(rows->table, {first, count}, *step, samples,
                                                 change ? call.there(here) : nullptr,
                                                 call.stream()),
                       "updating rows of logits");
        if (change)
            call.fetch(count, here, change);
    }
    call.blank_unless_fine(count, change);
}

/* Do rows stay on the chip for these updates? One update alone is one read and one write anyway; then it is for
 * the launches that it spares, while all rows run at once. */
static bool stays_resident(sg_cuda_rows *rows, uint64_t updates, size_t count, size_t n)
{
    if (updates == 0 || sg_cuda_kernels_chosen() != SG_CUDA_FAST)
        return false;
    if (rows->resident_samples != (int64_t)n) {
        rows->resident = sg_cuda_rows_plan_resident(rows->table, n);
        rows->resident_samples = (int64_t)n;
    }
    return rows->resident.cluster > 0 && (updates > 1 || count <= (size_t)rows->resident.at_once);
}

void sg_cuda_rows_inner_updates(sg_rows *base, const sg_rows_step *step, uint64_t updates,
                                const sg_objective *objective, double factor, size_t first,
                                size_t count, size_t n, const int32_t *tokens,
                                const double *old_log_prob, const double *advantage, double *pushes)
{
    sg_cuda_rows_call call(base);
    sg_cuda_rows *rows = of(base);
    size_t cells = count * n;
    if (count == 0)
        return;
    if (call.open(sg_cuda_bytes<int32_t>(cells) + 3 * sg_cuda_bytes<double>(cells),
                  room_for_update(count, n))) {
        const int32_t *drawn = call.put(cells, tokens);
        sg_cuda_gates gates = {objective->gate,
                               objective->parameter,
                               factor,
                               call.put(cells, old_log_prob),
                               call.put(cells, advantage),
                               nullptr};
        call.send();
        double *here = call.on_desk<double>(cells);
        gates.pushes = call.there(here);
        sg_cuda_samples samples = {n, drawn, gates.pushes, call.in_room<sg_cuda_touched>(cells),
                                   call.in_room<sg_row_job>(count)};
        bool resident = call.fine() && stays_resident(rows, updates, count, n);
        if (resident)
            call.check(sg_cuda_rows_queue_resident(rows->table, rows->resident, {first, count},
                                                   *step, updates, n, drawn, gates, call.stream()),
                       "updating rows of logits");
        sg_rows_step now = *step;
        for (uint64_t k = 0; k < updates && !resident && call.fine(); k++, now.time++) {
            call.check(sg_cuda_rows_queue_gates(rows->table, {first, count}, n, drawn, gates,
                                                call.stream()),
                       "evaluating gates");
            if (call.fine())
                call.check(sg_cuda_rows_queue_update(rows->table, {first, count}, now, samples,
                                                     nullptr, call.stream()),
                           "updating rows of logits");
        }
        if (updates > 0 && cells > 0 && pushes)
            call.fetch(cells, here, pushes);
    }
    call.blank_unless_fine(cells, pushes);
}

void sg_cuda_rows_observe(const sg_rows *base, size_t first, size_t count,
                          sg_row_observation *observation)
{
    sg_cuda_rows_call call(base);
    sg_cuda_rows *rows = of(base);
    if (count == 0)
        return;
    if (call.open(sg_cuda_bytes<sg_row_observation>(count), 0)) {
        call.answer(count, observation, "observing rows of logits", [&](sg_row_observation *there) {
            return sg_cuda_rows_queue_observe(rows->table, {first, count}, there, call.stream());
        });
    }
    double nan = (double)NAN;
    for (size_t s = 0; s < count && !call.fine(); s++)
        observation[s] = {nan, nan, nan, nan, nan, nan, nan, 0};
}

void sg_cuda_rows_collision(const sg_rows *base, size_t first, size_t count, double *collision)
{
    sg_cuda_rows_call call(base);
    sg_cuda_rows *rows = of(base);
    if (count == 0)
        return;
    if (call.open(sg_cuda_bytes<double>(count), sg_cuda_bytes<sg_row_job>(count))) {
        sg_row_job *jobs = call.in_room<sg_row_job>(count);
        call.answer(count, collision, "observing rows of logits", [&](double *there) {
            return sg_cuda_rows_queue_collision(rows->table, {first, count}, jobs, there,
                                                call.stream());
        });
    }
    call.blank_unless_fine(count, collision);
}

void sg_cuda_rows_masses(const sg_rows *base, size_t sets, const size_t *state, const size_t *start,
                         const int32_t *tokens, double *mass)
{
    sg_cuda_rows_call call(base);
    sg_cuda_rows *rows = of(base);
    if (sets == 0)
        return;
    size_t n = start[sets];
    if (call.open(sg_cuda_bytes<size_t>(sets) + sg_cuda_bytes<size_t>(sets + 1) +
                      sg_cuda_bytes<int32_t>(n) + sg_cuda_bytes<double>(sets),
                  0)) {
        const size_t *states = call.put(sets, state), *starts = call.put(sets + 1, start);
        const int32_t *all = call.put(n, tokens);
        call.send();
        call.answer(sets, mass, "adding up probabilities", [&](double *there) {
            return sg_cuda_rows_queue_masses(rows->table, sets, states, starts, all, there,
                                             call.stream());
        });
    }
    call.blank_unless_fine(sets, mass);
}
