/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Bulk gates of arrays that are in the host's memory: piece by piece to the device and back. */
#include "backend/cuda/launch.h"

#include <stdlib.h>

#include "backend/cuda/gates.h"
#include "backend/cuda/memory.h"

namespace
{

const size_t PIECE = (size_t)1 << 22; /* tokens on the device at a time */

struct token_pieces {
    sg_cuda_own_stream stream;
    sg_cuda_array<float> ratio, advantage, value, slope;

    sg_status alloc(size_t n, bool values, bool slopes, sg_error *error)
    {
        size_t piece = n < PIECE ? n : PIECE;
        sg_status status = stream.alloc(error);
        if (status == SG_OK)
            status = ratio.alloc(piece, "a piece of the ratios", error);
        if (status == SG_OK)
            status = advantage.alloc(piece, "a piece of the advantages", error);
        if (status == SG_OK && values)
            status = value.alloc(piece, "a piece of the values", error);
        if (status == SG_OK && slopes)
            status = slope.alloc(piece, "a piece of the slopes", error);
        return status;
    }
    sg_status load(size_t n, const float *ratios, const float *advantages, sg_error *error)
    {
        sg_status status = ratio.from_host(n, ratios, stream.at, error);
        return status ? status : advantage.from_host(n, advantages, stream.at, error);
    }
};

} // namespace

extern "C" sg_status sg_cuda_gates_apply(const sg_objective *objective, size_t n,
                                         const float *ratio, const float *advantage, float *value,
                                         float *slope, sg_error *error)
{
    token_pieces piece;
    sg_status status = piece.alloc(n, value != nullptr, slope != nullptr, error);
    for (size_t first = 0; first < n && status == SG_OK; first += PIECE) {
        size_t m = n - first < PIECE ? n - first : PIECE;
        status = piece.load(m, ratio + first, advantage + first, error);
        if (status == SG_OK)
            status = sg_cuda_gates_queue(objective, m, piece.ratio.at, piece.advantage.at,
                                         piece.value.at, piece.slope.at, piece.stream.at, error);
        if (status == SG_OK && value)
            status = piece.value.to_host(m, value + first, piece.stream.at, error);
        if (status == SG_OK && slope)
            status = piece.slope.to_host(m, slope + first, piece.stream.at, error);
    }
    return status;
}

extern "C" sg_status sg_cuda_gates_apply_sequences(const sg_objective *objective, size_t sequences,
                                                   const size_t *start, const float *log_ratio,
                                                   const float *advantage, float *value,
                                                   float *row_slope, float *slope, sg_error *error)
{
    size_t first = start[0], n = start[sequences] - first;
    sg_cuda_own_stream stream;
    sg_cuda_array<size_t> starts;
    sg_cuda_array<float> ratios, advantages, values, row_slopes, slopes;
    sg_cuda_long_sequences longer = {};
    sg_status status = stream.alloc(error);
    if (status == SG_OK)
        status = sg_cuda_long_sequences_find(&longer, sequences, start, stream.at, error);
    if (status == SG_OK)
        status = starts.alloc(sequences + 1, "the starts of the sequences", error);
    if (status == SG_OK)
        status = ratios.alloc(n, "the array of log-ratios", error);
    if (status == SG_OK)
        status = advantages.alloc(sequences, "the array of advantages", error);
    if (status == SG_OK)
        status = values.alloc(sequences, "the array of values", error);
    if (status == SG_OK && row_slope)
        status = row_slopes.alloc(sequences, "the array of slopes of rows", error);
    if (status == SG_OK && slope)
        status = slopes.alloc(n, "the array of slopes", error);
    if (status == SG_OK)
        status = starts.from_host(sequences + 1, start, stream.at, error);
    if (status == SG_OK && n)
        status = ratios.from_host(n, log_ratio + first, stream.at, error);
    if (status == SG_OK)
        status = advantages.from_host(sequences, advantage, stream.at, error);
    if (status == SG_OK)
        status = sg_cuda_gates_queue_sequences(objective, sequences, starts.at, ratios.at,
                                               advantages.at, values.at, row_slopes.at, slopes.at,
                                               &longer, stream.at, error);
    if (status == SG_OK)
        status = values.to_host(sequences, value, stream.at, error);
    if (status == SG_OK && row_slope)
        status = row_slopes.to_host(sequences, row_slope, stream.at, error);
    if (status == SG_OK && slope && n)
        status = slopes.to_host(n, slope + first, stream.at, error);
    sg_cuda_long_sequences_free(&longer);
    return status;
}

static void add(sg_gate_statistics *sum, const sg_gate_statistics *more)
{
    double weight = sum->tokens ? sum->effective_update_ratio * (double)sum->tokens : 0;
    weight += more->effective_update_ratio * (double)more->tokens;
    sum->tokens += more->tokens;
    sum->positive += more->positive;
    sum->negative += more->negative;
    sum->clipped_positive += more->clipped_positive;
    sum->clipped_negative += more->clipped_negative;
    for (int bin = 0; bin < SG_GATE_BINS; bin++)
        sum->histogram[bin] += more->histogram[bin];
    sum->outside += more->outside;
    sum->effective_update_ratio = weight / (double)sum->tokens;
}

extern "C" sg_status sg_cuda_gates_statistics(size_t count, const sg_objective *objective, size_t n,
                                              const float *ratio, const float *advantage,
                                              sg_gate_statistics *statistics, sg_error *error)
{
    token_pieces piece;
    sg_cuda_array<char> room;
    size_t most = n < PIECE ? n : PIECE;
    sg_gate_statistics *some = (sg_gate_statistics *)malloc(count * sizeof *some);
    if (!some)
        return sg_fail(error, SG_ENOMEM, "not enough memory for the statistics of %zu objectives",
                       count);
    sg_status status = piece.alloc(n, false, false, error);
    if (status == SG_OK)
        status =
            room.alloc(sg_cuda_gates_statistics_bytes(count, most), "room for statistics", error);
    for (size_t first = 0; status == SG_OK && (first < n || first == 0); first += PIECE) {
        size_t m = n - first < PIECE ? n - first : PIECE;
        status = piece.load(m, ratio + first, advantage + first, error);
        if (status == SG_OK)
            status = sg_cuda_gates_prepare_statistics(count, objective, m, room.at, piece.stream.at,
                                                      error);
        if (status == SG_OK)
            status =
                sg_cuda_gates_queue_statistics(count, objective, m, piece.ratio.at,
                                               piece.advantage.at, room.at, piece.stream.at, error);
        if (status == SG_OK)
            status = sg_cuda_gates_fetch_statistics(count, m, room.at, first ? some : statistics,
                                                    piece.stream.at, error);
        for (size_t k = 0; k < count && first && status == SG_OK; k++)
            add(&statistics[k], &some[k]);
    }
    free(some);
    return status;
}
