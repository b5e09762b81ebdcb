/* SPDX-License-Identifier: GPL-3.0-or-later */
/* What the device's rows are asked: draws, probabilities, observations, logits. */
#include "backend/cuda/rows_kernels.h"

namespace
{

enum { PIECE = 128 }; /* tokens of a piece of a tile */

/* ---- Logits in and out ---- */

template <typename real>
__global__ void __launch_bounds__(ROW_THREADS) fill_rows(sg_cuda_table rows)
{
    size_t state = blockIdx.x;
    real *q = (real *)rows.q + state * rows.padded;
    for (size_t i = threadIdx.x; i < rows.padded; i += ROW_THREADS)
        q[i] = i < rows.config.vocabulary ? (real)1 : (real)0;
    weigh_row<real>(rows, state, rows.values + state * rows.tiles);
}

template <typename real>
__global__ void __launch_bounds__(ROW_THREADS)
    set_logits(sg_cuda_table rows, size_t state, size_t at, size_t n,
               const double *__restrict__ logits, double offset)
{
    size_t i = (size_t)blockIdx.x * ROW_THREADS + threadIdx.x;
    if (i < n)
        ((real *)rows.q)[state * rows.padded + at + i] = (real)sg_exp(logits[i] - offset);
}

template <typename real>
__global__ void __launch_bounds__(ROW_THREADS)
    settle_row(sg_cuda_table rows, size_t state, int64_t exponent)
{
    weigh_row<real>(rows, state, rows.values);
    if (threadIdx.x == 0)
        rows.norm[state].exponent = exponent;
}

template <typename real>
__global__ void __launch_bounds__(ROW_THREADS)
    get_logits(sg_cuda_table rows, size_t state, size_t at, size_t n, double *__restrict__ logits)
{
    size_t i = (size_t)blockIdx.x * ROW_THREADS + threadIdx.x;
    double offset = (double)rows.norm[state].exponent * SG_LN2;
    if (i < n)
        logits[i] = sg_log((double)((const real *)rows.q)[state * rows.padded + at + i]) + offset;
}

/* As sg_rows_get_mean_square, a piece of a row. */
template <typename real>
__global__ void __launch_bounds__(ROW_THREADS)
    get_mean_square(sg_cuda_table rows, size_t state, size_t at, size_t n,
                    double *__restrict__ mean_square)
{
    size_t i = (size_t)blockIdx.x * ROW_THREADS + threadIdx.x;
    const real *v = (const real *)rows.v;
    double scale = rows.config.precision == SG_FP32 ? SG_MOMENT_SCALE_FP32 : 1;
    if (i < n)
        mean_square[i] = v ? (double)v[state * rows.padded + at + i] / (scale * scale)
                         : rows.config.optimizer == SG_COUPLED_ADAM ? rows.moment[state].second
                                                                    : (double)NAN;
}

/* ---- Draws: a team of 16 threads for each sample, which all know the same sum ---- */

/* Adds up numbers in their order until the sum passes a target. */
struct running_sum {
    double target, sum, before; /* before: the sum without the number found */
    size_t found;               /* the last number that is greater than 0 */
    bool passed;

    __device__ void add(size_t index, double number)
    {
        if (!(number > 0))
            return;
        found = index;
        before = sum;
        sum += number;
        passed = target < sum;
    }
};

/* Inverse CDF over tiles, pieces of a tile, tokens of a piece. */
template <typename real>
__global__ void __launch_bounds__(ROW_THREADS)
    draw_samples(sg_cuda_table rows, sg_cuda_range range, size_t n,
                 const double *__restrict__ uniforms, int32_t *__restrict__ tokens,
                 double *__restrict__ log_prob)
{
    size_t sample = (size_t)blockIdx.x * ROW_TEAMS + threadIdx.x / SG_LANES;
    if (sample >= range.count * n)
        return; /* the whole team */
    size_t state = range.first + sample / n;
    running_sum sum = {uniforms[sample] * rows.norm[state].total, 0, 0, 0, false};
    const double *mass = rows.mass + state * rows.tiles;
    for (size_t t = 0; t < rows.tiles && !sum.passed; t++)
        sum.add(t, mass[t]);

    size_t base = sum.found * SG_TILE;
    row_tile<real> tile(rows, state, sum.found);
    sum = {sum.target, sum.before, sum.before, 0, false};
    for (size_t i = 0; i < tile.n && !sum.passed; i += PIECE)
        sum.add(i, tile_mass(tile.q + i, tile.n - i < PIECE ? tile.n - i : (size_t)PIECE));

    size_t first = sum.found, end = first + PIECE < tile.n ? first + PIECE : tile.n;
    sum = {sum.target, sum.before, sum.before, first, false};
    for (size_t i = first; i < end && !sum.passed; i++)
        sum.add(i, (double)tile.q[i]);
    if (threadIdx.x % SG_LANES > 0)
        return;
    tokens[sample] = (int32_t)(base + sum.found);
    if (log_prob)
        log_prob[sample] = sg_row_log_prob((double)tile.q[sum.found], rows.norm[state].total);
}

template <typename real>
__global__ void __launch_bounds__(ROW_THREADS)
    log_prob_of(sg_cuda_table rows, sg_cuda_range range, size_t n,
                const int32_t *__restrict__ tokens, double *__restrict__ log_prob)
{
    size_t i = (size_t)blockIdx.x * ROW_THREADS + threadIdx.x;
    if (i >= range.count * n)
        return;
    size_t state = range.first + i / n;
    double q = (double)((const real *)rows.q)[state * rows.padded + (size_t)tokens[i]];
    log_prob[i] = sg_row_log_prob(q, rows.norm[state].total);
}

/* A thread for each set, which adds in the order of the tokens. */
template <typename real>
__global__ void __launch_bounds__(ROW_THREADS)
    masses_of(sg_cuda_table rows, size_t sets, const size_t *__restrict__ state,
              const size_t *__restrict__ start, const int32_t *__restrict__ tokens,
              double *__restrict__ mass)
{
    size_t k = (size_t)blockIdx.x * ROW_THREADS + threadIdx.x;
    if (k >= sets)
        return;
    const real *q = (const real *)rows.q + state[k] * rows.padded;
    double sum = 0;
    for (size_t j = start[k]; j < start[k + 1]; j++)
        sum += (double)q[tokens[j]];
    mass[k] = sum / rows.norm[state[k]].total;
}

/* ---- Observations ---- */

/* A sum over some tokens of a tile: a team of 16 threads for each. */
struct look_sum {
    bool logs; /* of q log q, otherwise of q */
    bool squares;
    size_t from, to;
    double *sum;
};

template <typename real>
__global__ void __launch_bounds__(ROW_THREADS) look_at_tiles(sg_cuda_table rows, size_t first)
{
    __shared__ real q[SG_TILE], product[SG_TILE];
    __shared__ sg_row_look look;
    __shared__ int positive;
    size_t s = blockIdx.x / rows.tiles, t = blockIdx.x % rows.tiles;
    row_tile<real> tile(rows, first + s, t);
    double max = 0, min = (double)INFINITY;
    if (threadIdx.x == 0)
        positive = 0;
    __syncthreads();
    int count = 0;
    for (size_t i = threadIdx.x; i < tile.n; i += ROW_THREADS) {
        q[i] = tile.q[i];
        product[i] = q[i] * row_maths<real>::entropy_log(q[i]);
        double x = (double)q[i];
        max = x > max ? x : max;
        min = x > 0 && x < min ? x : min;
        count += x > 0;
    }
    atomicAdd(&positive, count);
    max = greatest_of_block(max);
    min = -greatest_of_block(-min);
    size_t n = tile.n, base = t * SG_TILE, head = rows.config.head;
    size_t cut = head <= base ? 0 : head - base >= n ? n : head - base;
    const look_sum sums[] = {
        {true, false, 0, n, &look.mass_log},     {false, true, 0, n, &look.square},
        {false, false, 0, cut, &look.head_mass}, {true, false, 0, cut, &look.head_mass_log},
        {false, false, cut, n, &look.tail_mass}, {true, false, cut, n, &look.tail_mass_log},
    };
    const int teams = sizeof sums / sizeof *sums;
    int team = threadIdx.x / SG_LANES;
    if (team < teams) {
        look_sum mine = sums[team];
        double sum = sum_in_lanes(n, [mine](size_t i) {
            double x = (double)(mine.logs ? product[i] : q[i]);
            return i < mine.from || i >= mine.to ? 0 : mine.squares ? x * x : x;
        });
        if (threadIdx.x % SG_LANES == 0)
            *mine.sum = sum;
    }
    __syncthreads();
    if (threadIdx.x > 0)
        return;
    look.mass = *tile.mass;
    look.max = max;
    look.min = min;
    look.positive = (size_t)positive;
    ((sg_row_look *)rows.parts)[blockIdx.x] = look;
}

__global__ void __launch_bounds__(ROW_THREADS)
    end_look(sg_cuda_table rows, sg_row_observation *observation)
{
    size_t s = blockIdx.x;
    sg_row_look *looks = (sg_row_look *)rows.parts + s * rows.tiles;
    add_in_tree(looks, rows.tiles,
                [](sg_row_look *a, const sg_row_look *b) { sg_row_look_add(a, b); });
    if (threadIdx.x == 0)
        observation[s] = sg_row_observation_of(looks, rows.config.vocabulary);
}

size_t blocks_for(size_t threads)
{
    return (threads + ROW_THREADS - 1) / ROW_THREADS;
}

} // namespace

cudaError_t sg_cuda_rows_queue_fill(const sg_cuda_table &rows, sg_cuda_stream *stream)
{
    return SG_LAUNCH_ROWS(rows, fill_rows, rows.config.states, stream, rows);
}

cudaError_t sg_cuda_rows_queue_set(const sg_cuda_table &rows, size_t state, size_t at, size_t n,
                                   const double *logits, int64_t exponent, sg_cuda_stream *stream)
{
    return SG_LAUNCH_ROWS(rows, set_logits, blocks_for(n), stream, rows, state, at, n, logits,
                          (double)exponent * SG_LN2);
}

cudaError_t sg_cuda_rows_queue_settle(const sg_cuda_table &rows, size_t state, int64_t exponent,
                                      sg_cuda_stream *stream)
{
    return SG_LAUNCH_ROWS(rows, settle_row, 1, stream, rows, state, exponent);
}

cudaError_t sg_cuda_rows_queue_get(const sg_cuda_table &rows, size_t state, size_t at, size_t n,
                                   double *logits, sg_cuda_stream *stream)
{
    return SG_LAUNCH_ROWS(rows, get_logits, blocks_for(n), stream, rows, state, at, n, logits);
}

cudaError_t sg_cuda_rows_queue_mean_square(const sg_cuda_table &rows, size_t state, size_t at,
                                           size_t n, double *mean_square, sg_cuda_stream *stream)
{
    return SG_LAUNCH_ROWS(rows, get_mean_square, blocks_for(n), stream, rows, state, at, n,
                          mean_square);
}

cudaError_t sg_cuda_rows_queue_draw(const sg_cuda_table &rows, sg_cuda_range range, size_t n,
                                    const double *uniforms, int32_t *tokens, double *log_prob,
                                    sg_cuda_stream *stream)
{
    return SG_LAUNCH_ROWS(rows, draw_samples, blocks_for(range.count * n * SG_LANES), stream, rows,
                          range, n, uniforms, tokens, log_prob);
}

cudaError_t sg_cuda_rows_queue_log_prob(const sg_cuda_table &rows, sg_cuda_range range, size_t n,
                                        const int32_t *tokens, double *log_prob,
                                        sg_cuda_stream *stream)
{
    return SG_LAUNCH_ROWS(rows, log_prob_of, blocks_for(range.count * n), stream, rows, range, n,
                          tokens, log_prob);
}

cudaError_t sg_cuda_rows_queue_masses(const sg_cuda_table &rows, size_t sets, const size_t *state,
                                      const size_t *start, const int32_t *tokens, double *mass,
                                      sg_cuda_stream *stream)
{
    return SG_LAUNCH_ROWS(rows, masses_of, blocks_for(sets), stream, rows, sets, state, start,
                          tokens, mass);
}

cudaError_t sg_cuda_rows_queue_observe(const sg_cuda_table &rows, sg_cuda_range range,
                                       sg_row_observation *observation, sg_cuda_stream *stream)
{
    cudaError_t code =
        SG_LAUNCH_ROWS(rows, look_at_tiles, range.count * rows.tiles, stream, rows, range.first);
    if (code == cudaSuccess)
        code =
            SG_LAUNCH(end_look, (unsigned)range.count, ROW_THREADS, 0, stream, rows, observation);
    return code;
}
