/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "policy/head.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "core/vec_math.h"
#include "policy/head_device.h"

/* Samples sorted by row, then, keeping that order, by tile. */
sg_status sg_head_sort(sg_head_pass *pass, const sg_head_job *job, const sg_head_samples *samples,
                       sg_error *error)
{
    size_t n = samples->count, rows = pass->rows, tiles = job->tiles;
    if (sg_head_grow(pass, SG_ROOM_ORDER, 2 * n, sizeof(uint32_t), error) ||
        sg_head_grow(pass, SG_ROOM_FIRST, tiles + 1, sizeof(size_t), error) ||
        sg_head_grow(pass, SG_ROOM_COUNTS, (rows > tiles ? rows : tiles) + 1, sizeof(size_t),
                     error))
        return SG_ENOMEM;
    uint32_t *order = sg_head_at(pass, SG_ROOM_ORDER), *by_row = order + n;
    size_t *first = sg_head_at(pass, SG_ROOM_FIRST), *slot = sg_head_at(pass, SG_ROOM_COUNTS);
    memset(slot, 0, (rows + 1) * sizeof *slot);
    for (size_t i = 0; i < n; i++)
        slot[samples->row[i] + 1]++;
    for (size_t r = 0; r < rows; r++)
        slot[r + 1] += slot[r];
    for (size_t i = 0; i < n; i++)
        by_row[slot[samples->row[i]]++] = (uint32_t)i;
    memset(first, 0, (tiles + 1) * sizeof *first);
    for (size_t i = 0; i < n; i++)
        first[(size_t)samples->tokens[i] / SG_HEAD_TILE + 1]++;
    for (size_t t = 0; t < tiles; t++)
        first[t + 1] += first[t];
    memcpy(slot, first, tiles * sizeof *slot);
    for (size_t i = 0; i < n; i++)
        order[slot[(size_t)samples->tokens[by_row[i]] / SG_HEAD_TILE]++] = by_row[i];
    return SG_OK;
}

static void forward_tile(sg_head_pass *pass, const sg_head_job *job, size_t tile,
                         const void *hidden, const sg_head_samples *samples)
{
    sg_head_scratch s = sg_head_scratch_here(pass, job);
    size_t n = sg_head_pad(sg_head_tile(job, tile)), rows = pass->rows;
    double *log_mass = (double *)sg_head_at(pass, SG_ROOM_LOG_MASS) + tile * rows;
    double *picked = sg_head_at(pass, SG_ROOM_PICKED);
    const uint32_t *order = sg_head_at(pass, SG_ROOM_ORDER);
    const size_t *first = sg_head_at(pass, SG_ROOM_FIRST);
    size_t next = samples ? first[tile] : 0, stop = samples ? first[tile + 1] : 0;
    sg_head_pack(job, tile, s.across);
    for (size_t start = 0; start < rows; start += SG_HEAD_BLOCK) {
        size_t m = rows - start < SG_HEAD_BLOCK ? rows - start : SG_HEAD_BLOCK;
        sg_head_tile_logits(job, tile, s.across, sg_head_element(hidden, start * job->width, job),
                            m, s.logits, SG_HEAD_LEAD);
        for (size_t r = 0; r < m; r++)
            log_mass[start + r] =
                job->kernels->log_mass(n, sg_head_element(s.logits, r * SG_HEAD_LEAD, job));
        for (; next < stop && samples->row[order[next]] < start + m; next++) {
            size_t r = samples->row[order[next]] - start;
            size_t token = (size_t)samples->tokens[order[next]] % SG_HEAD_TILE;
            picked[order[next]] = sg_head_real(s.logits, r * SG_HEAD_LEAD + token, job);
        }
    }
}

sg_status sg_head_forward(sg_head_pass *pass, const sg_head *head, const void *hidden, size_t rows,
                          const sg_head_samples *samples, double *log_prob, sg_error *error)
{
    sg_head_job job;
    if (pass->on_device)
        return sg_head_device_forward(pass, head, hidden, rows, samples, log_prob, error);
    pass->rows = rows;
    if (sg_head_start(pass, head, &job, error) ||
        sg_head_grow(pass, SG_ROOM_LOG_MASS, job.tiles * rows, sizeof(double), error) ||
        sg_head_grow(pass, SG_ROOM_LOG_NORM, rows, sizeof(double), error))
        return SG_ENOMEM;
    if (samples && (sg_head_grow(pass, SG_ROOM_PICKED, samples->count, sizeof(double), error) ||
                    sg_head_sort(pass, &job, samples, error)))
        return SG_ENOMEM;
    double *log_norm = sg_head_at(pass, SG_ROOM_LOG_NORM);
    const double *log_mass = sg_head_at(pass, SG_ROOM_LOG_MASS);
#pragma omp parallel num_threads(pass->threads) if (pass->threads > 1)
    {
#pragma omp for schedule(dynamic)
        for (size_t tile = 0; tile < job.tiles; tile++)
            forward_tile(pass, &job, tile, hidden, samples);
#pragma omp for schedule(static)
        for (size_t r = 0; r < rows; r++)
            log_norm[r] = sg_head_log_sum_exp(log_mass, job.tiles, rows, r);
    }
    const double *picked = sg_head_at(pass, SG_ROOM_PICKED);
    for (size_t i = 0; samples && i < samples->count; i++)
        log_prob[i] = picked[i] - log_norm[samples->row[i]];
    return SG_OK;
}

sg_status sg_head_load(sg_head_pass *pass, const sg_head *head, const void *hidden, size_t rows,
                       sg_error *error)
{
    return pass->on_device ? sg_head_device_load(pass, head, hidden, rows, error) : SG_OK;
}

double sg_head_log_norm(const sg_head_pass *pass, size_t row)
{
    return ((const double *)sg_head_at(pass, SG_ROOM_LOG_NORM))[row];
}
