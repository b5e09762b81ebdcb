/* SPDX-License-Identifier: GPL-3.0-or-later */
#include <string.h>

#include "policy/head.h"
#include "policy/head_device.h"

typedef struct backward {
    sg_head_job job;
    sg_head_pass *pass;
    const sg_head_samples *samples;
    const double *pushes;
    sg_diffuse diffuse;
    const sg_head_gradient *gradient;
    size_t active, strips;
    const uint32_t *active_rows, *place; /* place[row]: among the active rows, or UINT32_MAX */
    size_t packed_block;                 /* bytes of a full packed block of features */
} backward;

sg_status sg_head_find_active(sg_head_pass *pass, const sg_head_samples *samples,
                              const double *pushes, size_t *count, sg_error *error)
{
    size_t rows = pass->rows;
    if (sg_head_grow(pass, SG_ROOM_DIFFUSE, rows, sizeof(double), error) ||
        sg_head_grow(pass, SG_ROOM_ACTIVE, 2 * rows, sizeof(uint32_t), error))
        return SG_ENOMEM;
    double *diffuse = sg_head_at(pass, SG_ROOM_DIFFUSE);
    uint32_t *active = sg_head_at(pass, SG_ROOM_ACTIVE), *place = active + rows;
    memset(diffuse, 0, rows * sizeof *diffuse);
    memset(place, 0, rows * sizeof *place);
    for (size_t i = 0; i < samples->count; i++) {
        diffuse[samples->row[i]] += pushes[i];
        place[samples->row[i]] |= pushes[i] != 0;
    }
    *count = 0;
    for (size_t r = 0; r < rows; r++) {
        bool pushed = place[r];
        place[r] = pushed ? (uint32_t)*count : UINT32_MAX;
        if (pushed)
            active[(*count)++] = (uint32_t)r;
    }
    return SG_OK;
}

/* SG_ROOM_HIDDEN and SG_ROOM_PACKED: the features of the active rows. */
static sg_status gather_hidden(backward *b, const void *hidden, sg_error *error)
{
    const sg_head_job *job = &b->job;
    size_t row_bytes = job->width * job->real,
           blocks = (b->active + SG_HEAD_BLOCK - 1) / SG_HEAD_BLOCK;
    b->packed_block = sg_matrix_packed_bytes(job->head->precision, SG_HEAD_BLOCK, job->width);
    if (sg_head_grow(b->pass, SG_ROOM_HIDDEN, b->active, row_bytes, error) ||
        sg_head_grow(b->pass, SG_ROOM_PACKED, blocks, b->packed_block, error))
        return SG_ENOMEM;
    char *compact = sg_head_at(b->pass, SG_ROOM_HIDDEN),
         *packed = sg_head_at(b->pass, SG_ROOM_PACKED);
    for (size_t a = 0; a < b->active; a++)
        memcpy(compact + a * row_bytes, (const char *)hidden + b->active_rows[a] * row_bytes,
               row_bytes);
    for (size_t k = 0; k < blocks; k++) {
        size_t m = b->active - k * SG_HEAD_BLOCK < SG_HEAD_BLOCK ? b->active - k * SG_HEAD_BLOCK
                                                                 : SG_HEAD_BLOCK;
        job->matrix->pack(m, job->width, compact + k * SG_HEAD_BLOCK * row_bytes, job->width, 1,
                          packed + k * b->packed_block);
    }
    return SG_OK;
}

static void real_add(const sg_head_job *job, void *array, size_t index, double x)
{
    if (job->head->precision == SG_FP32)
        ((float *)array)[index] += (float)x;
    else
        ((double *)array)[index] += x;
}

/* y += factor x */
static void real_axpy(const sg_head_job *job, double factor, const void *x, void *y)
{
    if (job->head->precision == SG_FP32)
        for (size_t i = 0; i < job->width; i++)
            ((float *)y)[i] += (float)factor * ((const float *)x)[i];
    else
        for (size_t i = 0; i < job->width; i++)
            ((double *)y)[i] += factor * ((const double *)x)[i];
}

/* Only the sampled tokens' part of the gradients of this tile. */
static void sparse_tile(const backward *b, size_t tile, bool weights, void *hidden_part)
{
    const sg_head_job *job = &b->job;
    const uint32_t *order = sg_head_at(b->pass, SG_ROOM_ORDER);
    const size_t *first = sg_head_at(b->pass, SG_ROOM_FIRST);
    size_t base = tile * SG_HEAD_TILE * job->width;
    char *dw = (char *)b->gradient->weights + base * job->real;
    char *db =
        b->gradient->bias ? (char *)b->gradient->bias + tile * SG_HEAD_TILE * job->real : NULL;
    if (weights) {
        memset(dw, 0, sg_head_tile(job, tile) * job->width * job->real);
        if (db)
            memset(db, 0, sg_head_tile(job, tile) * job->real);
    }
    for (size_t i = first[tile]; i < first[tile + 1]; i++) {
        uint32_t place = b->place[b->samples->row[order[i]]];
        if (place == UINT32_MAX)
            continue;
        size_t token = (size_t)b->samples->tokens[order[i]] % SG_HEAD_TILE;
        double push = b->pushes[order[i]] * job->head->sharpness;
        if (weights) {
            real_axpy(job, push,
                      sg_head_element(sg_head_at(b->pass, SG_ROOM_HIDDEN), place * job->width, job),
                      dw + token * job->width * job->real);
            if (db)
                real_add(job, db, token, push);
        }
        if (hidden_part)
            real_axpy(job, push,
                      sg_head_element(job->head->weights, base + token * job->width, job),
                      (char *)hidden_part + place * job->width * job->real);
    }
}

/* Turn one block of logits into the logit gradient: push - B pi, times the sharpness. */
static size_t push_block(const backward *b, size_t tile, size_t start, size_t m, size_t next,
                         char *logits)
{
    const sg_head_job *job = &b->job;
    const uint32_t *order = sg_head_at(b->pass, SG_ROOM_ORDER);
    const size_t *first = sg_head_at(b->pass, SG_ROOM_FIRST);
    const double *log_norm = sg_head_at(b->pass, SG_ROOM_LOG_NORM),
                 *diffuse = sg_head_at(b->pass, SG_ROOM_DIFFUSE);
    double sharpness = job->head->sharpness;
    for (size_t r = 0; r < m; r++) {
        size_t row = b->active_rows[start + r];
        job->kernels->weigh(sg_head_pad(sg_head_tile(job, tile)),
                            logits + r * SG_HEAD_LEAD * job->real, -diffuse[row] * sharpness,
                            log_norm[row]);
    }
    for (; next < first[tile + 1]; next++) {
        size_t sample = order[next], place = b->place[b->samples->row[sample]];
        if (place == UINT32_MAX)
            continue;
        if (place >= start + m)
            break;
        real_add(job, logits,
                 (place - start) * SG_HEAD_LEAD + (size_t)b->samples->tokens[sample] % SG_HEAD_TILE,
                 b->pushes[sample] * sharpness);
    }
    return next;
}

static void backward_tile(const backward *b, size_t tile, char *hidden_part)
{
    const sg_head_job *job = &b->job;
    bool sparse_weights = b->diffuse != SG_DIFFUSE_KEEP || b->active == 0;
    if (sparse_weights)
        sparse_tile(b, tile, true, b->diffuse == SG_DIFFUSE_DROP ? hidden_part : NULL);
    if (b->diffuse == SG_DIFFUSE_DROP || b->active == 0 || (sparse_weights && !hidden_part))
        return;
    sg_head_scratch s = sg_head_scratch_here(b->pass, job);
    size_t n = sg_head_tile(job, tile), base = tile * SG_HEAD_TILE * job->width;
    char *dw = (char *)b->gradient->weights + base * job->real;
    char *db =
        b->gradient->bias ? (char *)b->gradient->bias + tile * SG_HEAD_TILE * job->real : NULL;
    const char *compact = sg_head_at(b->pass, SG_ROOM_HIDDEN),
               *packed = sg_head_at(b->pass, SG_ROOM_PACKED);
    size_t next = ((const size_t *)sg_head_at(b->pass, SG_ROOM_FIRST))[tile];
    sg_head_pack(job, tile, s.across);
    if (hidden_part)
        job->matrix->pack(n, job->width, sg_head_element(job->head->weights, base, job), job->width,
                          1, s.along);
    if (db && !sparse_weights)
        memset(db, 0, n * job->real);
    for (size_t start = 0; start < b->active; start += SG_HEAD_BLOCK) {
        size_t m = b->active - start < SG_HEAD_BLOCK ? b->active - start : SG_HEAD_BLOCK;
        sg_head_tile_logits(job, tile, s.across, sg_head_element(compact, start * job->width, job),
                            m, s.logits, SG_HEAD_LEAD);
        next = push_block(b, tile, start, m, next, s.logits);
        if (!sparse_weights) {
            job->matrix->multiply(n, job->width, m, s.logits, 1, SG_HEAD_LEAD,
                                  packed + start / SG_HEAD_BLOCK * b->packed_block, dw, job->width,
                                  start > 0);
            for (size_t r = 0; db && r < m; r++)
                job->kernels->add(n, s.logits + r * SG_HEAD_LEAD * job->real, db);
        }
        if (hidden_part)
            job->matrix->multiply(m, job->width, n, s.logits, SG_HEAD_LEAD, 1, s.along,
                                  hidden_part + start * job->width * job->real, job->width, true);
    }
}

/* The parts of the strips added up, in the rows' own places. */
static void sum_parts(const backward *b)
{
    const sg_head_job *job = &b->job;
    size_t row_bytes = job->width * job->real;
    char *parts = sg_head_at(b->pass, SG_ROOM_PARTS), *out = b->gradient->hidden;
    memset(out, 0, b->pass->rows * row_bytes);
#pragma omp parallel for schedule(static) num_threads(b->pass->threads) if (b->pass->threads > 1)
    for (size_t a = 0; a < b->active; a++)
        for (size_t s = 0; s < b->strips; s++)
            job->kernels->add(job->width, parts + (s * b->active + a) * row_bytes,
                              out + b->active_rows[a] * row_bytes);
}

sg_status sg_head_backward(sg_head_pass *pass, const sg_head *head, const void *hidden,
                           const sg_head_samples *samples, const double *pushes, sg_diffuse diffuse,
                           const sg_head_gradient *gradient, sg_error *error)
{
    backward b = {.pass = pass,
                  .samples = samples,
                  .pushes = pushes,
                  .diffuse = diffuse,
                  .gradient = gradient};
    const sg_head_job *job = &b.job;
    if (pass->on_device)
        return sg_head_device_backward(pass, head, samples, pushes, diffuse, gradient, error);
    if (sg_head_start(pass, head, &b.job, error) || sg_head_sort(pass, job, samples, error) ||
        sg_head_find_active(pass, samples, pushes, &b.active, error))
        return SG_ENOMEM;
    b.active_rows = sg_head_at(pass, SG_ROOM_ACTIVE);
    b.place = b.active_rows + pass->rows;
    if (gather_hidden(&b, hidden, error))
        return SG_ENOMEM;
    size_t row_bytes = job->width * job->real;
    /* A strip is a run of tiles whose part of the features' gradient is summed on its own. Their
     * number follows from the shapes alone, and their parts take at most a quarter of the weights.
     */
    b.strips = head->vocabulary / (4 * (b.active ? b.active : 1));
    b.strips = b.strips < 1 ? 1 : b.strips > 64 ? 64 : b.strips;
    b.strips = b.strips > job->tiles ? job->tiles : b.strips;
    if (gradient->hidden &&
        sg_head_grow(pass, SG_ROOM_PARTS, b.strips * b.active, row_bytes, error))
        return SG_ENOMEM;
    char *parts = sg_head_at(pass, SG_ROOM_PARTS);
#pragma omp parallel for schedule(dynamic) num_threads(pass->threads) if (pass->threads > 1)
    for (size_t s = 0; s < b.strips; s++) {
        char *part = gradient->hidden ? parts + s * b.active * row_bytes : NULL;
        if (part)
            memset(part, 0, b.active * row_bytes);
        for (size_t t = s * job->tiles / b.strips; t < (s + 1) * job->tiles / b.strips; t++)
            backward_tile(&b, t, part);
    }
    if (gradient->hidden)
        sum_parts(&b);
    return SG_OK;
}
