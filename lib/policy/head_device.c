/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The output layer on a CUDA device: who has a push, and in which order. Parameters and gradients that are parts of
 * flat arrays are used in turn with the streams of these arrays; a call that brings numbers back has waited for all it queued. */
#include "policy/head_device.h"

#include <string.h>

#include "backend/cuda/flat.h"

sg_status sg_head_pass_matmul(sg_head_pass *pass, sg_matmul matmul, sg_error *error)
{
    if (!pass->on_device)
        return matmul == SG_MATMUL_SAME
                   ? SG_OK
                   : sg_fail(error, SG_EUNSUPPORTED,
                             "tf32 and bf16 products belong to CUDA; set run.backend to cuda or "
                             "run.matmul to same");
    sg_status status = pass->device ? SG_OK : sg_cuda_head_alloc(&pass->device, error);
    return status ? status : sg_cuda_head_matmul(pass->device, matmul, error);
}

sg_status sg_head_device_open(sg_head_pass *pass, sg_cuda_stream **stream, sg_error *error)
{
    sg_status status = pass->device ? sg_cuda_use(error) : sg_cuda_head_alloc(&pass->device, error);
    if (!status)
        *stream = sg_cuda_head_stream(pass->device);
    return status;
}

sg_status sg_head_device_load(sg_head_pass *pass, const sg_head *head, const void *hidden,
                              size_t rows, sg_error *error)
{
    sg_cuda_layer layer = {head->vocabulary, head->width, head->precision, head->sharpness,
                           head->weights,    head->bias,  head->resident};
    sg_status status = pass->device ? SG_OK : sg_cuda_head_alloc(&pass->device, error);
    pass->rows = rows;
    if (!status && head->flat)
        status = sg_cuda_flat_enter(head->flat, sg_head_device_stream(pass), error);
    return status ? status : sg_cuda_head_load(pass->device, &layer, hidden, rows, error);
}

/* What the use of an array came to; the order holds whatever that is. */
static sg_status leave(const sg_head_pass *pass, const sg_cuda_flat *flat, sg_status status,
                       sg_error *error)
{
    if (!flat || !pass->device)
        return status;
    sg_status left = sg_cuda_flat_leave(flat, sg_head_device_stream(pass), status ? NULL : error);
    return status ? status : left;
}

sg_status sg_head_device_forward(sg_head_pass *pass, const sg_head *head, const void *hidden,
                                 size_t rows, const sg_head_samples *samples, double *log_prob,
                                 sg_error *error)
{
    const sg_head_samples none = {0};
    samples = samples ? samples : &none;
    sg_status status = sg_head_device_load(pass, head, hidden, rows, error);
    if (!status)
        status = sg_head_grow(pass, SG_ROOM_LOG_NORM, rows, sizeof(double), error);
    pass->last.count = samples->count;
    double *log_norm = samples->count ? sg_head_at(pass, SG_ROOM_LOG_NORM) : NULL;
    if (!status)
        status = sg_cuda_head_forward(pass->device, samples->count, samples->tokens, samples->row,
                                      log_prob, log_norm, error);
    return leave(pass, head->flat, status, error);
}

/* order[i]: sample of place i when samples are sorted by key[sample] < keys, equal keys staying as they are in
 * `before` (NULL: as they came). first: [keys + 1], room. */
static void sort(size_t count, size_t keys, const uint32_t *key, const uint32_t *before,
                 uint32_t *order, size_t *first)
{
    memset(first, 0, (keys + 1) * sizeof *first);
    for (size_t i = 0; i < count; i++)
        first[key[i] + 1]++;
    for (size_t k = 0; k < keys; k++)
        first[k + 1] += first[k];
    for (size_t i = 0; i < count; i++) {
        uint32_t sample = before ? before[i] : (uint32_t)i;
        order[first[key[sample]]++] = sample;
    }
}

/* Samples of rows with a push by row, then token; the factor of pi in each such row. */
static sg_status sort_pushes(sg_head_pass *pass, const sg_head *head,
                             const sg_head_samples *samples, const double *pushes,
                             sg_cuda_push *sorted, sg_error *error)
{
    size_t n = samples->count, rows = pass->rows,
           keys = rows > head->vocabulary ? rows : head->vocabulary;
    if (sg_head_grow(pass, SG_ROOM_ORDER, 4 * n, sizeof(uint32_t), error) ||
        sg_head_grow(pass, SG_ROOM_COUNTS, keys + 1, sizeof(size_t), error) ||
        sg_head_grow(pass, SG_ROOM_PICKED, n, sizeof(double), error) ||
        sg_head_grow(pass, SG_ROOM_PARTS, rows, sizeof(double), error) ||
        sg_head_find_active(pass, samples, pushes, &sorted->rows, error))
        return SG_ENOMEM;
    uint32_t *by_token = sg_head_at(pass, SG_ROOM_ORDER), *order = by_token + n, *place = order + n;
    int32_t *tokens = (int32_t *)(place + n);
    size_t *first = sg_head_at(pass, SG_ROOM_COUNTS);
    double *push = sg_head_at(pass, SG_ROOM_PICKED), *factor = sg_head_at(pass, SG_ROOM_PARTS);
    const double *diffuse = sg_head_at(pass, SG_ROOM_DIFFUSE);
    const uint32_t *active = sg_head_at(pass, SG_ROOM_ACTIVE), *place_of = active + rows;
    sort(n, head->vocabulary, (const uint32_t *)samples->tokens, NULL, by_token, first);
    sort(n, rows, samples->row, by_token, order, first);
    sorted->count = 0;
    for (size_t i = 0; i < n; i++) {
        uint32_t sample = order[i];
        if (place_of[samples->row[sample]] == UINT32_MAX)
            continue;
        place[sorted->count] = place_of[samples->row[sample]];
        tokens[sorted->count] = samples->tokens[sample];
        push[sorted->count++] = pushes[sample] * head->sharpness;
    }
    for (size_t a = 0; a < sorted->rows; a++)
        factor[a] = -diffuse[active[a]] * head->sharpness;
    sorted->active = active;
    sorted->diffuse = factor;
    sorted->place = place;
    sorted->tokens = tokens;
    sorted->push = push;
    return SG_OK;
}

static sg_status clear(const sg_head_pass *pass, bool device, void *array, size_t bytes,
                       sg_error *error)
{
    if (array && device)
        return sg_cuda_zero(array, bytes, sg_head_device_stream(pass), error);
    if (array)
        memset(array, 0, bytes);
    return SG_OK;
}

/* All is 0. */
static sg_status no_gradient(const sg_head_pass *pass, const sg_head *head,
                             const sg_head_gradient *gradient, sg_error *error)
{
    size_t real = sg_real_size(head->precision), bias = head->vocabulary * real;
    bool device = head->resident;
    sg_status status = clear(pass, device, gradient->weights, bias * head->width, error);
    if (!status)
        status = clear(pass, device, gradient->bias, bias, error);
    return status ? status
                  : clear(pass, device, gradient->hidden, pass->rows * head->width * real, error);
}

/* The gradients, as far as they are written; a resident head and its gradients are in use meanwhile. */
static sg_status write_gradients(sg_head_pass *pass, const sg_head *head, const sg_cuda_push *push,
                                 const sg_head_gradient *gradient, sg_error *error)
{
    const sg_cuda_flat *flats[] = {head->flat, gradient->flat};
    sg_cuda_stream *stream = sg_head_device_stream(pass);
    sg_status status = SG_OK;
    for (int i = 0; i < 2 && !status; i++)
        status = sg_cuda_flat_enter(flats[i], stream, error);
    if (!status)
        status = push->rows > 0 ? sg_cuda_head_backward(pass->device, push, gradient->weights,
                                                        gradient->bias, gradient->hidden, error)
                                : no_gradient(pass, head, gradient, error);
    status = leave(pass, head->flat, leave(pass, gradient->flat, status, error), error);
    bool nobody_orders = head->resident && !gradient->flat;
    return !status && nobody_orders ? sg_cuda_stream_wait(stream, error) : status;
}

sg_status sg_head_device_backward(sg_head_pass *pass, const sg_head *head,
                                  const sg_head_samples *samples, const double *pushes,
                                  sg_diffuse diffuse, const sg_head_gradient *gradient,
                                  sg_error *error)
{
    sg_cuda_push sorted = {.diffuse_for = diffuse == SG_DIFFUSE_KEEP   ? SG_CUDA_DIFFUSE_ALL
                                          : diffuse == SG_DIFFUSE_DROP ? SG_CUDA_DIFFUSE_NONE
                                                                       : SG_CUDA_DIFFUSE_HIDDEN};
    sg_status status = sort_pushes(pass, head, samples, pushes, &sorted, error);
    if (status)
        return status;
    pass->last.push = sorted;
    pass->last.bias = gradient->bias;
    pass->last.hidden = gradient->hidden;
    return write_gradients(pass, head, &sorted, gradient, error);
}

sg_status sg_head_device_observe(sg_head_pass *pass, const sg_head *head,
                                 sg_row_observation *observation, sg_error *error)
{
    size_t rows = pass->rows;
    sg_status status =
        sg_head_grow(pass, SG_ROOM_PARTS, rows * 2, sizeof(sg_cuda_head_sums), error);
    sg_cuda_head_sums *sums = sg_head_at(pass, SG_ROOM_PARTS);
    if (!status)
        status = sg_cuda_head_observe(pass->device, head->head_tokens, sums,
                                      sg_head_at(pass, SG_ROOM_LOG_NORM), error);
    for (size_t r = 0; r < rows && !status; r++) {
        sg_head_sums side[2];
        for (int k = 0; k < 2; k++) {
            const sg_cuda_head_sums *from = &sums[2 * r + (size_t)k];
            side[k] = (sg_head_sums){from->mass, from->plogp, from->squares,
                                     from->max,  from->min,   from->underflowed};
        }
        observation[r] = sg_head_conclude(&side[0], &side[1], sg_head_log_norm(pass, r));
    }
    return status;
}

/* A resident head may have been copied since it was loaded, and changed after that. */
static sg_status move_to(const sg_head_pass *pass, const sg_head *head, sg_error *error)
{
    if (head->resident)
        sg_cuda_head_move(pass->device, head->weights, head->bias);
    return sg_cuda_flat_enter(head->flat, sg_head_device_stream(pass), error);
}

sg_status sg_head_device_logits(sg_head_pass *pass, const sg_head *head, size_t first, size_t count,
                                void *out, sg_error *error)
{
    sg_status status = move_to(pass, head, error);
    return status ? status
                  : sg_cuda_head_logits(pass->device, head->sharpness, first, count, out,
                                        sg_head_padded(head), error);
}

sg_status sg_head_device_diverge(sg_head_pass *a, const sg_head *head_a, sg_head_pass *b,
                                 const sg_head *head_b, sg_divergence *divergence, sg_error *error)
{
    sg_status status = move_to(a, head_a, error);
    if (!status)
        status = move_to(b, head_b, error);
    if (!status)
        status = sg_head_grow(a, SG_ROOM_PARTS, a->rows * 3, sizeof(double), error);
    double *sums = sg_head_at(a, SG_ROOM_PARTS);
    if (!status)
        status = sg_cuda_head_diverge(a->device, b->device, sums, error);
    for (size_t r = 0; r < a->rows && !status; r++)
        divergence[r] = (sg_divergence){sums[3 * r], sums[3 * r + 1], sums[3 * r + 2]};
    return status;
}

sg_status sg_head_device_rise(sg_head_pass *a, const sg_head *head_a, sg_head_pass *b,
                              const sg_head *head_b, const sg_head_samples *samples, double *most,
                              sg_error *error)
{
    sg_status status = sg_head_grow(a, SG_ROOM_PARTS, a->rows, sizeof(double), error);
    double *rises = sg_head_at(a, SG_ROOM_PARTS);
    if (!status)
        status = move_to(a, head_a, error);
    if (!status)
        status = move_to(b, head_b, error);
    if (!status)
        status = sg_cuda_head_rise(a->device, b->device, head_a->sharpness, samples->count,
                                   samples->tokens, samples->row, rises, error);
    for (size_t r = 0; r < a->rows && !status; r++)
        *most = rises[r] > *most ? rises[r] : *most;
    return status;
}

sg_status sg_head_device_repeat_forward(const sg_head_pass *pass, sg_error *error)
{
    return sg_cuda_head_queue_forward(pass->device, pass->last.count, error);
}

sg_status sg_head_device_repeat_backward(const sg_head_pass *pass, sg_error *error)
{
    return sg_cuda_head_queue_backward(pass->device, &pass->last.push, pass->last.bias,
                                       pass->last.hidden, error);
}

sg_cuda_stream *sg_head_device_stream(const sg_head_pass *pass)
{
    return sg_cuda_head_stream(pass->device);
}
