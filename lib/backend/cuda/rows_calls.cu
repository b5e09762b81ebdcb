/* SPDX-License-Identifier: GPL-3.0-or-later */
/* What the host asks of rows on the device. */
#include "backend/cuda/rows_host.h"

static const size_t CHUNK = (size_t)1 << 16; /* logits that cross at a time */

static void fill_with_nan(double *x, size_t n)
{
    for (size_t i = 0; i < n; i++)
        x[i] = (double)NAN;
}

void sg_cuda_rows_set_logits(sg_rows *base, size_t state, const double *logits, int64_t exponent)
{
    sg_cuda_rows_call call(base);
    sg_cuda_rows *rows = of(base);
    size_t n = base->config.vocabulary;
    for (size_t at = 0; at < n && call.fine(); at += CHUNK) {
        size_t some = n - at < CHUNK ? n - at : CHUNK;
        call.desk_used = 0;
        if (!call.open(aligned(some * sizeof(double)), 0))
            return;
        const double *there = call.put(some, logits + at);
        call.send();
        if (call.fine())
            call.check(
                sg_cuda_rows_queue_set(rows->table, state, at, some, there, exponent, rows->stream),
                "setting logits");
    }
    if (call.fine())
        call.check(sg_cuda_rows_queue_settle(rows->table, state, exponent, rows->stream),
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
        call.desk_used = 0;
        if (!call.open(aligned(some * sizeof(double)), 0))
            break;
        double *here = call.on_desk<double>(some);
        call.check(queue(rows->table, state, at, some, call.there(here), rows->stream),
                   "reading a row of logits");
        if (call.fine())
            call.fetch(some, here, numbers + at);
    }
    if (!call.fine())
        fill_with_nan(numbers, n);
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
                       const double *uniforms, int32_t *tokens)
{
    sg_cuda_rows_call call(base);
    sg_cuda_rows *rows = of(base);
    size_t cells = count * n;
    if (cells == 0)
        return;
    if (call.open(aligned(cells * sizeof *uniforms) + aligned(cells * sizeof *tokens), 0)) {
        const double *there = call.put(cells, uniforms);
        call.send();
        int32_t *here = call.on_desk<int32_t>(cells);
        if (call.fine())
            call.check(sg_cuda_rows_queue_draw(rows->table, {first, count}, n, there,
                                               call.there(here), rows->stream),
                       "drawing tokens");
        if (call.fine())
            call.fetch(cells, here, tokens);
    }
    if (!call.fine())
        memset(tokens, 0, cells * sizeof *tokens);
}

void sg_cuda_rows_log_prob(const sg_rows *base, size_t first, size_t count, size_t n,
                           const int32_t *tokens, double *log_prob)
{
    sg_cuda_rows_call call(base);
    sg_cuda_rows *rows = of(base);
    size_t cells = count * n;
    if (cells == 0)
        return;
    if (call.open(aligned(cells * sizeof *tokens) + aligned(cells * sizeof *log_prob), 0)) {
        const int32_t *there = call.put(cells, tokens);
        call.send();
        double *here = call.on_desk<double>(cells);
        if (call.fine())
            call.check(sg_cuda_rows_queue_log_prob(rows->table, {first, count}, n, there,
                                                   call.there(here), rows->stream),
                       "computing log-probabilities");
        if (call.fine())
            call.fetch(cells, here, log_prob);
    }
    if (!call.fine())
        fill_with_nan(log_prob, cells);
}

static size_t room_for_update(size_t count, size_t n)
{
    return aligned(count * n * sizeof(sg_cuda_touched)) + aligned(count * sizeof(sg_row_job));
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
    if (call.open(aligned(cells * sizeof *tokens) + aligned(cells * sizeof *pushes) +
                      aligned(count * sizeof *change),
                  room_for_update(count, n))) {
        sg_cuda_samples samples = {n, call.put(cells, tokens), call.put(cells, pushes),
                                   call.in_room<sg_cuda_touched>(cells),
                                   call.in_room<sg_row_job>(count)};
        call.send();
        sg_row_change *here = change ? call.on_desk<sg_row_change>(count) : nullptr;
        if (call.fine())
            call.check(sg_cuda_rows_queue_update(rows->table, {first, count}, *step, samples,
                                                 change ? call.there(here) : nullptr, rows->stream),
                       "updating rows of logits");
        if (call.fine() && change)
            call.fetch(count, here, change);
    }
    if (!call.fine() && change)
        fill_with_nan((double *)change, count * (sizeof *change / sizeof(double)));
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
    if (call.open(aligned(cells * sizeof *tokens) + 3 * aligned(cells * sizeof *pushes),
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
                                                   *step, updates, n, drawn, gates, rows->stream),
                       "updating rows of logits");
        sg_rows_step now = *step;
        for (uint64_t k = 0; k < updates && !resident && call.fine(); k++, now.time++) {
            call.check(sg_cuda_rows_queue_gates(rows->table, {first, count}, n, drawn, gates,
                                                rows->stream),
                       "evaluating gates");
            if (call.fine())
                call.check(sg_cuda_rows_queue_update(rows->table, {first, count}, now, samples,
                                                     nullptr, rows->stream),
                           "updating rows of logits");
        }
        if (call.fine() && updates > 0 && cells > 0 && pushes)
            call.fetch(cells, here, pushes);
    }
    if (!call.fine() && pushes)
        fill_with_nan(pushes, cells);
}

void sg_cuda_rows_observe(const sg_rows *base, size_t first, size_t count,
                          sg_row_observation *observation)
{
    sg_cuda_rows_call call(base);
    sg_cuda_rows *rows = of(base);
    if (count == 0)
        return;
    if (call.open(aligned(count * sizeof *observation), 0)) {
        sg_row_observation *here = call.on_desk<sg_row_observation>(count);
        call.check(
            sg_cuda_rows_queue_observe(rows->table, {first, count}, call.there(here), rows->stream),
            "observing rows of logits");
        if (call.fine())
            call.fetch(count, here, observation);
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
    if (call.open(aligned(count * sizeof *collision), aligned(count * sizeof(sg_row_job)))) {
        double *here = call.on_desk<double>(count);
        call.check(sg_cuda_rows_queue_collision(rows->table, {first, count},
                                                call.in_room<sg_row_job>(count), call.there(here),
                                                rows->stream),
                   "observing rows of logits");
        if (call.fine())
            call.fetch(count, here, collision);
    }
    if (!call.fine())
        fill_with_nan(collision, count);
}

void sg_cuda_rows_masses(const sg_rows *base, size_t sets, const size_t *state, const size_t *start,
                         const int32_t *tokens, double *mass)
{
    sg_cuda_rows_call call(base);
    sg_cuda_rows *rows = of(base);
    if (sets == 0)
        return;
    size_t n = start[sets];
    if (call.open(aligned(sets * sizeof *state) + aligned((sets + 1) * sizeof *start) +
                      aligned(n * sizeof *tokens) + aligned(sets * sizeof *mass),
                  0)) {
        const size_t *states = call.put(sets, state), *starts = call.put(sets + 1, start);
        const int32_t *all = call.put(n, tokens);
        call.send();
        double *here = call.on_desk<double>(sets);
        if (call.fine())
            call.check(sg_cuda_rows_queue_masses(rows->table, sets, states, starts, all,
                                                 call.there(here), rows->stream),
                       "adding up probabilities");
        if (call.fine())
            call.fetch(sets, here, mass);
    }
    if (!call.fine())
        fill_with_nan(mass, sets);
}
