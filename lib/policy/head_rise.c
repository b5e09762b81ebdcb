/* SPDX-License-Identifier: GPL-3.0-or-later */
/* By how much logits of tokens that nobody said rise from one head to another. */
#include <math.h>
#include <string.h>

#include "policy/head.h"
#include "policy/head_device.h"

/* Logits of one tile for a block of rows, before and after. */
static double most_of(const sg_head_job *job, size_t tile, size_t rows, const char *before,
                      const char *after)
{
    double most = 0;
    for (size_t r = 0; r < rows; r++)
        for (size_t v = 0; v < sg_head_tile(job, tile); v++) {
            size_t i = r * SG_HEAD_LEAD + v;
            double rise = sg_head_real(after, i, job) - sg_head_real(before, i, job);
            most = rise > most ? rise : most;
        }
    return most;
}

static void forbid(const sg_head_job *job, char *logits, size_t index)
{
    if (job->head->precision == SG_FP32)
        ((float *)(void *)logits)[index] = INFINITY;
    else
        ((double *)(void *)logits)[index] = INFINITY;
}

sg_status sg_head_rise(sg_head_pass *a, const sg_head *head_a, const void *hidden_a,
                       sg_head_pass *b, const sg_head *head_b, const void *hidden_b,
                       const sg_head_samples *samples, double *most, sg_error *error)
{
    sg_head_job job, job_b;
    *most = 0;
    if (a->on_device)
        return sg_head_device_rise(a, head_a, b, head_b, samples, most, error);
    if (sg_head_start(a, head_a, &job, error) || sg_head_start(b, head_b, &job_b, error) ||
        sg_head_sort(a, &job, samples, error) ||
        sg_head_grow(a, SG_ROOM_PARTS, job.tiles, sizeof(double), error))
        return SG_ENOMEM;
    double *parts = sg_head_at(a, SG_ROOM_PARTS);
    const uint32_t *order = sg_head_at(a, SG_ROOM_ORDER);
    const size_t *first = sg_head_at(a, SG_ROOM_FIRST);
#pragma omp parallel for schedule(dynamic) num_threads(a->threads) if (a->threads > 1)
    for (size_t tile = 0; tile < job.tiles; tile++) {
        sg_head_scratch s = sg_head_scratch_here(a, &job);
        size_t next = first[tile];
        sg_head_pack(&job, tile, s.across);
        sg_head_pack(&job_b, tile, s.along);
        parts[tile] = 0;
        for (size_t start = 0; start < a->rows; start += SG_HEAD_BLOCK) {
            size_t m = a->rows - start < SG_HEAD_BLOCK ? a->rows - start : SG_HEAD_BLOCK;
            size_t at = start * job.width;
            sg_head_tile_logits(&job, tile, s.across, sg_head_element(hidden_a, at, &job), m,
                                s.logits, SG_HEAD_LEAD);
            sg_head_tile_logits(&job_b, tile, s.along, sg_head_element(hidden_b, at, &job), m,
                                s.other, SG_HEAD_LEAD);
            for (; next < first[tile + 1] && samples->row[order[next]] < start + m; next++)
                forbid(&job, s.logits,
                       (samples->row[order[next]] - start) * SG_HEAD_LEAD +
                           (size_t)samples->tokens[order[next]] % SG_HEAD_TILE);
            parts[tile] = fmax(parts[tile], most_of(&job, tile, m, s.logits, s.other));
        }
    }
    for (size_t tile = 0; tile < job.tiles; tile++)
        *most = fmax(*most, parts[tile]);
    return SG_OK;
}
