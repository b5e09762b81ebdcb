/* SPDX-License-Identifier: GPL-3.0-or-later */
/* W1 on a CUDA device: the arrays stay there, a repetition is a few launches. Repetitions take several sets of arrays by
 * turns, so that the memory is measured and not the L2 cache. */
#include <stdlib.h>

#include "backend/cuda/gates.h"
#include "cli/bench_gates.h"

enum { MOST_SETS = 8 };
static const double LEAST_BYTES = 256e6; /* of all sets: four times the largest cache */

typedef struct arrays {
    float *in, *advantage, *value, *slope; /* in: ratios, or log-ratios of sequences */
} arrays;

typedef struct on_device {
    bench_gates_data *host;
    sg_cuda_stream *stream;
    size_t *start;
    arrays set[MOST_SETS];
    size_t sets, next;
    void *room;
    sg_cuda_long_sequences longer;
} on_device;

static void release(void *context)
{
    on_device *data = context;
    if (!data)
        return;
    sg_cuda_free(data->start);
    for (size_t k = 0; k < data->sets; k++) {
        sg_cuda_free(data->set[k].in);
        sg_cuda_free(data->set[k].advantage);
        sg_cuda_free(data->set[k].value);
        sg_cuda_free(data->set[k].slope);
    }
    sg_cuda_free(data->room);
    sg_cuda_long_sequences_free(&data->longer);
    sg_cuda_stream_free(data->stream);
    bench_gates_free(data->host);
    free(data);
}

static sg_status queue(void *context, sg_error *error)
{
    on_device *data = context;
    const bench_gates_data *host = data->host;
    const arrays *a = &data->set[data->next++ % data->sets];
    if (host->kind == BENCH_STATISTICS)
        return sg_cuda_gates_queue_statistics(host->objectives, host->objective, host->n, a->in,
                                              a->advantage, data->room, data->stream, error);
    if (host->kind == BENCH_SEQUENCES)
        return sg_cuda_gates_queue_sequences(host->objective, host->sequences, data->start, a->in,
                                             a->advantage, a->value, host->by_row ? a->slope : NULL,
                                             host->by_row ? NULL : a->slope, &data->longer,
                                             data->stream, error);
    return sg_cuda_gates_queue(host->objective, host->n, a->in, a->advantage, a->value, a->slope,
                               data->stream, error);
}

/* An array of the device, filled from the host's unless that is NULL. */
static sg_status put(void **array, const void *from, size_t bytes, const on_device *data,
                     sg_error *error)
{
    sg_status status = sg_cuda_alloc(array, bytes, "an array of the workload", error);
    if (status == SG_OK && from)
        status = sg_cuda_to_device(*array, from, bytes, data->stream, error);
    return status;
}

static sg_status put_floats(float **array, const float *from, size_t n, const on_device *data,
                            sg_error *error)
{
    void *made = NULL;
    sg_status status = put(&made, from, n * sizeof(float), data, error);
    *array = made;
    return status;
}

static sg_status put_set(on_device *data, arrays *a, sg_error *error)
{
    const bench_gates_data *host = data->host;
    bool sequences = host->kind == BENCH_SEQUENCES;
    size_t outer = sequences ? host->sequences : host->n;
    sg_status status =
        put_floats(&a->in, sequences ? host->log_ratio : host->ratio, host->n, data, error);
    if (status == SG_OK)
        status = put_floats(&a->advantage, sequences ? host->sequence_advantage : host->advantage,
                            outer, data, error);
    if (host->kind == BENCH_STATISTICS)
        return status;
    if (status == SG_OK)
        status = put_floats(&a->value, NULL, outer, data, error);
    if (status == SG_OK)
        status = put_floats(&a->slope, NULL, host->by_row ? outer : host->n, data, error);
    return status;
}

static sg_status put_all(on_device *data, sg_error *error)
{
    const bench_gates_data *host = data->host;
    bool sequences = host->kind == BENCH_SEQUENCES;
    size_t arrays_of_tokens = host->kind == BENCH_TOKENS ? 4 : host->by_row ? 1 : 2;
    double bytes = (double)(arrays_of_tokens * host->n * sizeof(float)); /* of a set */
    void *start = NULL;
    sg_status status = sg_cuda_stream_alloc(&data->stream, error);
    do {
        if (status == SG_OK)
            status = put_set(data, &data->set[data->sets++], error);
    } while (status == SG_OK && data->sets < MOST_SETS && (double)data->sets * bytes < LEAST_BYTES);
    if (status == SG_OK && sequences)
        status = put(&start, host->start, (host->sequences + 1) * sizeof *host->start, data, error);
    data->start = start;
    if (status == SG_OK && sequences)
        status = sg_cuda_long_sequences_find(&data->longer, host->sequences, host->start,
                                             data->stream, error);
    if (host->kind != BENCH_STATISTICS || status != SG_OK)
        return status;
    status = put(&data->room, NULL, sg_cuda_gates_statistics_bytes(host->objectives, host->n), data,
                 error);
    return status ? status
                  : sg_cuda_gates_prepare_statistics(host->objectives, host->objective, host->n,
                                                     data->room, data->stream, error);
}

static sg_status fetch(const on_device *data, sg_error *error)
{
    bench_gates_data *host = data->host;
    bool sequences = host->kind == BENCH_SEQUENCES;
    if (host->kind == BENCH_STATISTICS)
        return sg_cuda_gates_fetch_statistics(host->objectives, host->n, data->room,
                                              host->statistics, data->stream, error);
    size_t outer = sequences ? host->sequences : host->n;
    sg_status status = sg_cuda_from_device(host->value, data->set[0].value, outer * sizeof(float),
                                           data->stream, error);
    size_t slopes = host->by_row ? outer : host->n;
    return status ? status
                  : sg_cuda_from_device(host->slope, data->set[0].slope, slopes * sizeof(float),
                                        data->stream, error);
}

sg_status bench_gates_cuda_prepare(const char *name, size_t cut, bench_case *made, sg_error *error)
{
    on_device *data = calloc(1, sizeof *data);
    if (!data)
        return sg_fail(error, SG_ENOMEM, "not enough memory for workload %s", name);
    *made = (bench_case){.data = data, .free = release, .queue = queue};
    sg_status status = bench_gates_make(name, cut, &data->host, error);
    if (status == SG_OK)
        status = put_all(data, error);
    if (status == SG_OK)
        status = queue(data, error);
    if (status == SG_OK)
        status = fetch(data, error);
    if (status == SG_OK)
        bench_gates_describe(data->host, made);
    made->stream = data->stream;
    return status;
}
