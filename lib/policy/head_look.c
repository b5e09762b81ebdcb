/* SPDX-License-Identifier: GPL-3.0-or-later */
/* What the output layer's distributions look like, and draws from them. */
#include <float.h>
#include <math.h>
#include <string.h>

#include "core/vec_math.h"
#include "policy/head.h"
#include "policy/head_device.h"

/* Draws name their tile first; then each tile serves all of its draws, so that its weights are
 * packed once. */
sg_status sg_head_draw(sg_head_pass *pass, const sg_head *head, const void *hidden, size_t count,
                       const uint32_t *row, const double *uniform, int32_t *tokens,
                       double *log_prob, sg_error *error)
{
    sg_head_job job;
    sg_head_samples draws = {count, tokens, row};
    if (pass->on_device)
        return sg_cuda_head_draw(pass->device, count, row, uniform, tokens, log_prob, error);
    if (sg_head_start(pass, head, &job, error) ||
        sg_head_grow(pass, SG_ROOM_PICKED, count, sizeof(double), error))
        return SG_ENOMEM;
    double *share = sg_head_at(pass, SG_ROOM_PICKED);
    const double *log_mass = sg_head_at(pass, SG_ROOM_LOG_MASS);
#pragma omp parallel for schedule(static) num_threads(pass->threads) if (pass->threads > 1)
    for (size_t i = 0; i < count; i++)
        tokens[i] =
            (int32_t)(sg_head_find_tile(log_mass, job.tiles, pass->rows, row[i],
                                        sg_head_log_norm(pass, row[i]), uniform[i], &share[i]) *
                      SG_HEAD_TILE);
    if (sg_head_sort(pass, &job, &draws, error))
        return SG_ENOMEM;
    const uint32_t *order = sg_head_at(pass, SG_ROOM_ORDER);
    const size_t *first = sg_head_at(pass, SG_ROOM_FIRST);
#pragma omp parallel for schedule(dynamic) num_threads(pass->threads) if (pass->threads > 1)
    for (size_t tile = 0; tile < job.tiles; tile++) {
        if (first[tile] == first[tile + 1])
            continue;
        sg_head_scratch s = sg_head_scratch_here(pass, &job);
        sg_head_pack(&job, tile, s.across);
        for (size_t k = first[tile]; k < first[tile + 1]; k++) {
            uint32_t i = order[k];
            if (k == first[tile] || row[i] != row[order[k - 1]])
                sg_head_tile_logits(&job, tile, s.across,
                                    sg_head_element(hidden, row[i] * job.width, &job), 1, s.logits,
                                    SG_HEAD_LEAD);
            size_t n = sg_head_pad(sg_head_tile(&job, tile));
            size_t token = job.kernels->find(n, s.logits, share[i]);
            tokens[i] += (int32_t)token;
            if (log_prob)
                log_prob[i] = sg_head_real(s.logits, token, &job) - sg_head_log_norm(pass, row[i]);
        }
    }
    return SG_OK;
}

/* One row of a tile, split where the head of the distribution ends; `room` holds the tail's part,
 * padded. */
static void look_at(const sg_head_job *job, size_t tile, char *row, char *room, double log_norm,
                    sg_head_sums sums[2])
{
    size_t n = sg_head_tile(job, tile), start = tile * SG_HEAD_TILE;
    size_t split = job->head->head_tokens <= start ? 0 : job->head->head_tokens - start;
    if (split >= n) {
        job->kernels->look(sg_head_pad(n), row, log_norm, &sums[0]);
        return;
    }
    if (split == 0) {
        job->kernels->look(sg_head_pad(n), row, log_norm, &sums[1]);
        return;
    }
    memcpy(room, row + split * job->real, (n - split) * job->real);
    job->kernels->finish(n - split, room, NULL, 1);
    job->kernels->look(sg_head_pad(n - split), room, log_norm, &sums[1]);
    job->kernels->finish(split, row, NULL, 1);
    job->kernels->look(sg_head_pad(split), row, log_norm, &sums[0]);
}

sg_row_observation sg_head_conclude(const sg_head_sums *head, const sg_head_sums *tail,
                                    double log_norm)
{
    double entropy = -(head->plogp + tail->plogp);
    double max = head->max > tail->max ? head->max : tail->max;
    double min = head->min < tail->min ? head->min : tail->min;
    sg_row_observation o = {.entropy = entropy,
                            .tail_mass = tail->mass,
                            .tail_entropy_share = entropy > 0 ? -tail->plogp / entropy : 0,
                            .collision = head->squares + tail->squares,
                            .max_prob = sg_exp(max - log_norm),
                            .logit_range = max - min,
                            .underflowed = (size_t)(head->underflowed + tail->underflowed)};
    o.head_entropy = head->mass > 0 ? -head->plogp / head->mass + sg_log(head->mass) : 0;
    return o;
}

/* Rows in parallel: a row's sums run over the tiles in order. A group of rows shares the packing.
 */
sg_status sg_head_observe(sg_head_pass *pass, const sg_head *head, const void *hidden,
                          sg_row_observation *observation, sg_error *error)
{
    sg_head_job job;
    size_t rows = pass->rows;
    if (pass->on_device)
        return sg_head_device_observe(pass, head, observation, error);
    if (sg_head_start(pass, head, &job, error) ||
        sg_head_grow(pass, SG_ROOM_PARTS, job.tiles * rows * 2, sizeof(sg_head_sums), error))
        return SG_ENOMEM;
    sg_head_sums *parts = sg_head_at(pass, SG_ROOM_PARTS);
#pragma omp parallel for schedule(dynamic) num_threads(pass->threads) if (pass->threads > 1)
    for (size_t tile = 0; tile < job.tiles; tile++) {
        sg_head_scratch s = sg_head_scratch_here(pass, &job);
        sg_head_pack(&job, tile, s.across);
        for (size_t start = 0; start < rows; start += SG_HEAD_BLOCK) {
            size_t m = rows - start < SG_HEAD_BLOCK ? rows - start : SG_HEAD_BLOCK;
            sg_head_tile_logits(&job, tile, s.across,
                                sg_head_element(hidden, start * job.width, &job), m, s.logits,
                                SG_HEAD_LEAD);
            for (size_t r = 0; r < m; r++) {
                sg_head_sums *sums = parts + ((start + r) * job.tiles + tile) * 2;
                sums[0] = sums[1] = (sg_head_sums){.max = -INFINITY, .min = INFINITY};
                look_at(&job, tile, s.logits + r * SG_HEAD_LEAD * job.real, s.other,
                        sg_head_log_norm(pass, start + r), sums);
            }
        }
    }
    for (size_t r = 0; r < rows; r++) {
        sg_head_sums *sums = parts + r * job.tiles * 2;
        for (size_t t = 1; t < job.tiles; t++)
            for (int side = 0; side < 2; side++) {
                const sg_head_sums *more = &sums[2 * t + side];
                sums[side].mass += more->mass;
                sums[side].plogp += more->plogp;
                sums[side].squares += more->squares;
                sums[side].underflowed += more->underflowed;
                sums[side].max = more->max > sums[side].max ? more->max : sums[side].max;
                sums[side].min = more->min < sums[side].min ? more->min : sums[side].min;
            }
        observation[r] = sg_head_conclude(&sums[0], &sums[1], sg_head_log_norm(pass, r));
    }
    return SG_OK;
}

sg_status sg_head_diverge(sg_head_pass *a, const sg_head *head_a, const void *hidden_a,
                          sg_head_pass *b, const sg_head *head_b, const void *hidden_b,
                          sg_divergence *divergence, sg_error *error)
{
    sg_head_job job, job_b;
    size_t rows = a->rows;
    if (a->on_device)
        return sg_head_device_diverge(a, head_a, b, head_b, divergence, error);
    if (sg_head_start(a, head_a, &job, error) || sg_head_start(b, head_b, &job_b, error) ||
        sg_head_grow(a, SG_ROOM_PARTS, job.tiles * rows * 3, sizeof(double), error))
        return SG_ENOMEM;
    double *parts = sg_head_at(a, SG_ROOM_PARTS);
    memset(parts, 0, job.tiles * rows * 3 * sizeof *parts);
#pragma omp parallel for schedule(dynamic) num_threads(a->threads) if (a->threads > 1)
    for (size_t tile = 0; tile < job.tiles; tile++) {
        sg_head_scratch s = sg_head_scratch_here(a, &job);
        sg_head_pack(&job, tile, s.across);
        sg_head_pack(&job_b, tile, s.along);
        for (size_t start = 0; start < rows; start += SG_HEAD_BLOCK) {
            size_t m = rows - start < SG_HEAD_BLOCK ? rows - start : SG_HEAD_BLOCK;
            size_t first = start * job.width;
            sg_head_tile_logits(&job, tile, s.across, sg_head_element(hidden_a, first, &job), m,
                                s.logits, SG_HEAD_LEAD);
            sg_head_tile_logits(&job_b, tile, s.along, sg_head_element(hidden_b, first, &job), m,
                                s.other, SG_HEAD_LEAD);
            for (size_t r = 0; r < m; r++)
                job.kernels->compare(
                    sg_head_pad(sg_head_tile(&job, tile)), s.logits + r * SG_HEAD_LEAD * job.real,
                    sg_head_log_norm(a, start + r), s.other + r * SG_HEAD_LEAD * job.real,
                    sg_head_log_norm(b, start + r), parts + ((start + r) * job.tiles + tile) * 3);
        }
    }
    for (size_t r = 0; r < rows; r++) {
        double *sums = parts + r * job.tiles * 3;
        for (size_t i = 3; i < job.tiles * 3; i++)
            sums[i % 3] += sums[i];
        divergence[r] = (sg_divergence){sums[0], sums[1], sums[2]};
    }
    return SG_OK;
}

size_t sg_head_padded(const sg_head *head)
{
    return sg_head_pad(head->vocabulary);
}

sg_status sg_head_logits(sg_head_pass *pass, const sg_head *head, const void *hidden, size_t first,
                         size_t count, void *out, sg_error *error)
{
    sg_head_job job;
    if (pass->on_device)
        return sg_head_device_logits(pass, head, first, count, out, error);
    if (sg_head_start(pass, head, &job, error))
        return SG_ENOMEM;
    size_t lead = sg_head_padded(head);
#pragma omp parallel for schedule(dynamic) num_threads(pass->threads) if (pass->threads > 1)
    for (size_t tile = 0; tile < job.tiles; tile++) {
        sg_head_scratch s = sg_head_scratch_here(pass, &job);
        sg_head_pack(&job, tile, s.across);
        sg_head_tile_logits(&job, tile, s.across, sg_head_element(hidden, first * job.width, &job),
                            count, (char *)out + tile * SG_HEAD_TILE * job.real, lead);
    }
    return SG_OK;
}
