/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Updates of rows on the device. An update is three kernels: a block for each state finds out what the
 * row is to do, a block for each tile does it in one read and one write, a block for each state adds up
 * the masses. The stages of a tile are those of the CPU, and so is the order of its sums. */
#include "backend/cuda/rows_sums.h"

namespace
{

/* ---- What a row is to do ---- */

/* A thread a sample: all pushes of its token in the order of the samples, if no earlier sample has
 * the token. */
__device__ void merge_samples(const sg_cuda_samples &samples, size_t s)
{
    const int32_t *tokens = samples.tokens + s * samples.n;
    const double *pushes = samples.pushes + s * samples.n;
    for (size_t j = threadIdx.x; j < samples.n; j += ROW_THREADS) {
        sg_cuda_touched *touched = &samples.touched[s * samples.n + j];
        bool first = true;
        for (size_t i = 0; i < j && first; i++)
            first = tokens[i] != tokens[j];
        touched->token = first ? tokens[j] : -1;
        touched->push = 0;
        for (size_t i = j; i < samples.n && first; i++)
            if (tokens[i] == tokens[j])
                touched->push += pushes[i];
    }
}

/* The changes of a tile's logits into x, as if no token had a sample. */
template <typename real>
__device__ void change_free(const row_tile<real> &tile, const sg_row_job *job, real *x,
                            bool look_only)
{
    typedef row_maths<real> maths;
    typename maths::rule rule;
    rule_of(job, &rule);
    for (size_t i = threadIdx.x; i < tile.n; i += ROW_THREADS) {
        real q = tile.q[i];
        if (job->kind == SG_SGD) {
            x[i] = rule.factor * q;
        } else if (job->kind == SG_MOMENTUM) {
            real mean = maths::momentum(rule, q, tile.m[i]);
            x[i] = rule.step * mean;
            if (!look_only)
                tile.m[i] = mean;
        } else {
            real first = maths::adam_first(rule, q, tile.m[i]);
            real second = maths::adam_second(rule, q, tile.v[i]);
            x[i] = maths::adam(rule, first, second);
            if (!look_only) {
                tile.m[i] = first;
                tile.v[i] = second;
            }
        }
        if (job->decay > 0)
            x[i] -= maths::fade(rule, q);
    }
}

/* The sampled tokens of a tile: what they were and how they move. True for threads that found one. */
template <typename real>
__device__ bool change_touched(const row_tile<real> &tile, size_t index, const sg_row_job *job,
                               sg_cuda_touched *touched)
{
    bool found = false;
    for (size_t j = threadIdx.x; j < job->n; j += ROW_THREADS) {
        sg_cuda_touched *one = &touched[j];
        size_t i = place_in_tile(one, index);
        if (i >= SG_TILE)
            continue;
        found = true;
        one->q = (double)tile.q[i];
        one->m = tile.m ? (double)tile.m[i] : 0;
        one->v = tile.v ? (double)tile.v[i] : 0;
        one->x = sg_row_touched_change(job, one->push, one->q, &one->m, &one->v);
    }
    return found;
}

/* Greatest new log q of the row without a shift. */
template <typename real>
__device__ double peak_of_row(const sg_cuda_table &rows, size_t state, const sg_row_job *job,
                              sg_cuda_touched *touched)
{
    __shared__ real x[SG_TILE];
    double best = -(double)INFINITY;
    for (size_t t = 0; t < rows.tiles; t++) {
        row_tile<real> tile(rows, state, t);
        __syncthreads();
        change_touched(tile, t, job, touched);
        change_free(tile, job, x, true);
        __syncthreads();
        for (size_t j = threadIdx.x; j < job->n; j += ROW_THREADS) {
            size_t i = place_in_tile(&touched[j], t);
            if (i < SG_TILE)
                x[i] = (real)touched[j].x;
        }
        __syncthreads();
        for (size_t i = threadIdx.x; i < tile.n; i += ROW_THREADS) {
            double y = sg_log((double)tile.q[i]) + (double)x[i];
            best = y > best ? y : best;
        }
    }
    return greatest_of_block(best);
}

/* The rule of the optimiser, and the offset if steps are large. */
template <typename real>
__device__ void settle_job(const sg_cuda_table &rows, size_t state, const sg_rows_step &step,
                           double mean_square, sg_row_job *job, sg_cuda_touched *touched)
{
    sg_cuda_norm *norm = &rows.norm[state];
    sg_cuda_moment *moment = &rows.moment[state];
    sg_row_head head = {norm->total, norm->exponent, moment->bound, moment->second};
    if (threadIdx.x == 0) {
        sg_row_job_rule(job, &head, &rows.config, &step.optimizer, step.time, mean_square);
        moment->bound = head.bound;
        moment->second = head.second;
    }
    __syncthreads();
    if (job->near)
        return;
    double peak = peak_of_row<real>(rows, state, job, touched);
    if (threadIdx.x == 0) {
        sg_row_job_move(job, &head, &rows.config, peak);
        norm->exponent = head.exponent;
    }
}

template <typename real>
__global__ void __launch_bounds__(ROW_THREADS)
    begin_update(sg_cuda_table rows, size_t first, sg_rows_step step, sg_cuda_samples samples)
{
    size_t s = blockIdx.x, at = s * samples.n;
    sg_row_job *job = &samples.jobs[s];
    merge_samples(samples, s);
    if (threadIdx.x == 0)
        sg_row_job_init(job, &rows.config, rows.norm[first + s].total, samples.n,
                        samples.tokens + at, samples.pushes + at, step.projected);
    __syncthreads();
    if (step.optimizer.kind != SG_COUPLED_ADAM)
        settle_job<real>(rows, first + s, step, 0, job, samples.touched + at);
}

/* ---- coupled-adam: the squared gradient of a row comes first ---- */

template <typename real>
__global__ void __launch_bounds__(ROW_THREADS)
    square_tiles(sg_cuda_table rows, size_t first, sg_cuda_samples samples)
{
    __shared__ real q[SG_TILE];
    size_t s = blockIdx.x / rows.tiles, t = blockIdx.x % rows.tiles;
    const sg_row_job *job = &samples.jobs[s];
    const sg_cuda_touched *touched = samples.touched + s * samples.n;
    row_tile<real> tile(rows, first + s, t);
    for (size_t i = threadIdx.x; i < tile.n; i += ROW_THREADS)
        q[i] = tile.q[i];
    __syncthreads();
    for (size_t j = threadIdx.x; j < samples.n; j += ROW_THREADS) {
        size_t i = place_in_tile(&touched[j], t);
        if (i < SG_TILE)
            q[i] = 0;
    }
    __syncthreads();
    if (threadIdx.x >= SG_LANES)
        return;
    double sum = 0;
    if (job->gradient != 0)
        sum = job->gradient * job->gradient *
              sum_in_lanes(tile.n, [](size_t i) { return (double)q[i] * (double)q[i]; });
    if (threadIdx.x > 0)
        return;
    for (size_t j = 0; j < samples.n; j++) {
        size_t i = place_in_tile(&touched[j], t);
        double g = i < SG_TILE ? touched[j].push + job->gradient * (double)tile.q[i] : 0;
        sum += i < SG_TILE ? g * g : 0;
    }
    rows.values[blockIdx.x] = sum;
}

template <typename real>
__global__ void __launch_bounds__(ROW_THREADS)
    settle_coupled(sg_cuda_table rows, size_t first, sg_rows_step step, sg_cuda_samples samples)
{
    size_t s = blockIdx.x;
    double *values = rows.values + s * rows.tiles;
    add_in_tree(values, rows.tiles, add_numbers());
    settle_job<real>(rows, first + s, step, values[0] / (double)rows.config.vocabulary,
                     &samples.jobs[s], samples.touched + s * samples.n);
}

/* The same for the gradient pi itself: without samples its square is the collision. */
__global__ void __launch_bounds__(ROW_THREADS)
    begin_collision(sg_cuda_table rows, sg_cuda_range range, sg_row_job *jobs)
{
    size_t s = (size_t)blockIdx.x * ROW_THREADS + threadIdx.x;
    if (s < range.count)
        jobs[s].gradient = 1 / rows.norm[range.first + s].total;
}

__global__ void __launch_bounds__(ROW_THREADS) end_collision(sg_cuda_table rows, double *collision)
{
    double *values = rows.values + blockIdx.x * rows.tiles;
    add_in_tree(values, rows.tiles, add_numbers());
    if (threadIdx.x == 0)
        collision[blockIdx.x] = values[0];
}

/* ---- The pass ---- */

/* Upper bound of the changes of a tile: the job's, or what they are where that may spare the long way. */
template <typename real>
__device__ double reach_of_tile(const sg_row_job *job, double bound, const real *x, size_t n)
{
    if (bound <= row_maths<real>::small() || job->shift != 0)
        return bound;
    double best = 0;
    for (size_t i = threadIdx.x; i < n; i += ROW_THREADS) {
        double size = fabs((double)x[i]);
        best = size <= best ? best : size == size ? size : (double)INFINITY;
    }
    return fmin(bound, greatest_of_block(best));
}

/* The sums of a tile; the whole block calls it. Sampled tokens have q = x = 0. */
template <typename real>
__device__ void sum_tile(const real *q, const real *x, size_t n, size_t index,
                         const sg_row_job *job, const sg_cuda_touched *touched, double reach,
                         sg_row_sums *sums)
{
    double best = 0;
    for (size_t i = threadIdx.x; i < n; i += ROW_THREADS)
        best = (double)x[i] > best ? (double)x[i] : best;
    best = greatest_of_block(best);
    if (threadIdx.x < SG_LANES)
        sum_free(q, x, n, index, job, touched, reach, best, sums);
}

template <typename real>
__global__ void __launch_bounds__(ROW_THREADS)
    update_tiles(sg_cuda_table rows, size_t first, sg_cuda_samples samples, sg_row_sums *sums)
{
    __shared__ real q[SG_TILE], x[SG_TILE];
    size_t s = blockIdx.x / rows.tiles, t = blockIdx.x % rows.tiles;
    const sg_row_job *job = &samples.jobs[s];
    sg_cuda_touched *touched = samples.touched + s * samples.n;
    row_tile<real> tile(rows, first + s, t);
    double bound = sg_row_reach(job, *tile.mass);
    bool any = __syncthreads_or(change_touched(tile, t, job, touched));
    if (job->sparse && !any) {
        if (sums && threadIdx.x == 0)
            sums[blockIdx.x] = sg_row_sums();
        return;
    }
    for (size_t i = threadIdx.x; i < tile.n; i += ROW_THREADS)
        q[i] = tile.q[i];
    change_free(tile, job, x, false);
    __syncthreads();
    double reach = reach_of_tile(job, bound, x, tile.n);
    __syncthreads();
    for (size_t j = threadIdx.x; j < samples.n && any; j += ROW_THREADS) {
        size_t i = place_in_tile(&touched[j], t);
        if (i >= SG_TILE)
            continue;
        q[i] = x[i] = 0;
        if (tile.m)
            tile.m[i] = (real)touched[j].m;
        if (tile.v)
            tile.v[i] = (real)touched[j].v;
    }
    __syncthreads();
    if (sums)
        sum_tile(q, x, tile.n, t, job, touched, reach, &sums[blockIdx.x]);
    __syncthreads();
    real shift = (real)job->shift;
    for (size_t i = threadIdx.x; i < tile.n; i += ROW_THREADS)
        q[i] = row_maths<real>::scaled(q[i], x[i], shift, reach);
    __syncthreads();
    for (size_t j = threadIdx.x; j < samples.n && any; j += ROW_THREADS) {
        size_t i = place_in_tile(&touched[j], t);
        if (i < SG_TILE)
            q[i] = (real)sg_scale_exp(touched[j].q, touched[j].x - job->shift);
    }
    __syncthreads();
    for (size_t i = threadIdx.x; i < tile.n; i += ROW_THREADS)
        tile.q[i] = q[i];
    if (threadIdx.x >= SG_LANES)
        return;
    double mass = tile_mass(q, tile.n);
    if (threadIdx.x == 0)
        *tile.mass = mass;
}

/* ---- The new normaliser ---- */

template <typename real>
__device__ void rebase_row(const sg_cuda_table &rows, size_t state, double *values)
{
    double best = 0;
    for (size_t t = threadIdx.x; t < rows.tiles; t += ROW_THREADS) {
        double mass = rows.mass[state * rows.tiles + t];
        best = mass > best ? mass : best;
    }
    int exponent = sg_row_rebase_exponent(greatest_of_block(best));
    if (exponent == 0)
        return;
    real factor = (real)ldexp(1.0, -exponent), *q = (real *)rows.q + state * rows.padded;
    for (size_t i = threadIdx.x; i < rows.padded; i += ROW_THREADS)
        q[i] *= factor;
    weigh_row<real>(rows, state, values);
    if (threadIdx.x == 0)
        rows.norm[state].exponent += exponent;
}

template <typename real>
__global__ void __launch_bounds__(ROW_THREADS)
    end_update(sg_cuda_table rows, size_t first, sg_cuda_samples samples, sg_row_change *change)
{
    size_t s = blockIdx.x, state = first + s;
    double *values = rows.values + s * rows.tiles;
    add_masses(rows, state, values);
    if (change) {
        sg_row_sums *sums = (sg_row_sums *)rows.parts + s * rows.tiles;
        add_in_tree(sums, rows.tiles,
                    [](sg_row_sums *a, const sg_row_sums *b) { sg_row_sums_add(a, b); });
        if (threadIdx.x == 0)
            change[s] = sg_row_change_of(&samples.jobs[s], sums);
    }
    rebase_row<real>(rows, state, values);
}

/* ---- Gates of samples ---- */

template <typename real>
__global__ void __launch_bounds__(ROW_THREADS)
    push_samples(sg_cuda_table rows, sg_cuda_range range, size_t n, const int32_t *tokens,
                 sg_cuda_gates gates)
{
    size_t i = (size_t)blockIdx.x * ROW_THREADS + threadIdx.x;
    if (i >= range.count * n)
        return;
    size_t state = range.first + i / n;
    double q = (double)((const real *)rows.q)[state * rows.padded + (size_t)tokens[i]];
    gates.pushes[i] = push_of(gates, q, rows.norm[state].total, i);
}

} // namespace

cudaError_t sg_cuda_rows_queue_gates(const sg_cuda_table &rows, sg_cuda_range range, size_t n,
                                     const int32_t *tokens, const sg_cuda_gates &gates,
                                     sg_cuda_stream *stream)
{
    size_t blocks = (range.count * n + ROW_THREADS - 1) / ROW_THREADS;
    return blocks == 0
               ? cudaSuccess
               : SG_LAUNCH_ROWS(rows, push_samples, blocks, stream, rows, range, n, tokens, gates);
}

cudaError_t sg_cuda_rows_queue_update(const sg_cuda_table &rows, sg_cuda_range range,
                                      const sg_rows_step &step, const sg_cuda_samples &samples,
                                      sg_row_change *change, sg_cuda_stream *stream)
{
    size_t first = range.first, tiles = range.count * rows.tiles;
    cudaError_t code =
        SG_LAUNCH_ROWS(rows, begin_update, range.count, stream, rows, first, step, samples);
    if (step.optimizer.kind == SG_COUPLED_ADAM && code == cudaSuccess)
        code = SG_LAUNCH_ROWS(rows, square_tiles, tiles, stream, rows, first, samples);
    if (step.optimizer.kind == SG_COUPLED_ADAM && code == cudaSuccess)
        code =
            SG_LAUNCH_ROWS(rows, settle_coupled, range.count, stream, rows, first, step, samples);
    sg_row_sums *sums = change ? (sg_row_sums *)rows.parts : nullptr;
    if (code == cudaSuccess && sg_cuda_kernels_chosen() == SG_CUDA_FAST)
        code = sg_cuda_rows_queue_fast_tiles(rows, range, samples, sums, stream);
    else if (code == cudaSuccess)
        code = SG_LAUNCH_ROWS(rows, update_tiles, tiles, stream, rows, first, samples, sums);
    if (code == cudaSuccess)
        code = SG_LAUNCH_ROWS(rows, end_update, range.count, stream, rows, first, samples, change);
    return code;
}

cudaError_t sg_cuda_rows_queue_collision(const sg_cuda_table &rows, sg_cuda_range range,
                                         sg_row_job *jobs, double *collision,
                                         sg_cuda_stream *stream)
{
    unsigned blocks = (unsigned)((range.count + ROW_THREADS - 1) / ROW_THREADS);
    sg_cuda_samples none = {0, nullptr, nullptr, nullptr, jobs};
    cudaError_t code =
        SG_LAUNCH(begin_collision, blocks, ROW_THREADS, 0, stream, rows, range, jobs);
    if (code == cudaSuccess)
        code = SG_LAUNCH_ROWS(rows, square_tiles, range.count * rows.tiles, stream, rows,
                              range.first, none);
    if (code == cudaSuccess)
        code = SG_LAUNCH(end_collision, (unsigned)range.count, ROW_THREADS, 0, stream, rows,
                         collision);
    return code;
}
