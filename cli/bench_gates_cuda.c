/* SPDX-License-Identifier: GPL-3.0-or-later */
/* W1 on a CUDA device: the arrays stay there, a repetition is a few launches. */
#include <stdlib.h>

#include "backend/cuda/gates.h"
#include "cli/bench_gates.h"

typedef struct on_device {
    bench_gates_data *host;
    sg_cuda_stream *stream;
    size_t *start;
    float *in, *advantage, *value, *slope; /* in: ratios, or log-ratios of sequences */
    void *room;
    sg_cuda_long_sequences longer;
} on_device;

static void release(void *context)
{
    on_device *data = context;
    if (!data)
        return;
    sg_cuda_free(data->start);
    sg_cuda_free(data->in);
    sg_cuda_free(data->advantage);
    sg_cuda_free(data->value);
    sg_cuda_free(data->slope);
    sg_cuda_free(data->room);
    sg_cuda_long_sequences_free(&data->longer);
    sg_cuda_stream_free(data->stream);
    bench_gates_free(data->host);
    free(data);
}

static sg_status queue(void *context, sg_error *error)
{
    const on_device *data = context;
    const bench_gates_data *host = data->host;
    if (host->kind == BENCH_STATISTICS)
        return sg_cuda_gates_queue_statistics(host->objectives, host->objective, host->n, data->in,
                                              data->advantage, data->room, data->stream, error);
    if (host->kind == BENCH_SEQUENCES)
        return sg_cuda_gates_queue_sequences(
            host->objective, host->sequences, data->start, data->in, data->advantage, data->value,
            host->by_row ? data->slope : NULL, host->by_row ? NULL : data->slope, &data->longer,
            data->stream, error);
    return sg_cuda_gates_queue(host->objective, host->n, data->in, data->advantage, data->value,
                               data->slope, data->stream, error);
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

static sg_status put_all(on_device *data, sg_error *error)
{
    const bench_gates_data *host = data->host;
    bool sequences = host->kind == BENCH_SEQUENCES;
    size_t outer = sequences ? host->sequences : host->n;
    void *start = NULL;
    sg_status status = sg_cuda_stream_alloc(&data->stream, error);
    if (status == SG_OK)
        status =
            put_floats(&data->in, sequences ? host->log_ratio : host->ratio, host->n, data, error);
    if (status == SG_OK)
        status =
            put_floats(&data->advantage, sequences ? host->sequence_advantage : host->advantage,
                       outer, data, error);
    if (status == SG_OK && sequences)
        status = put(&start, host->start, (outer + 1) * sizeof *host->start, data, error);
    data->start = start;
    if (status == SG_OK && sequences)
        status =
            sg_cuda_long_sequences_find(&data->longer, outer, host->start, data->stream, error);
    if (host->kind == BENCH_STATISTICS) {
        if (status == SG_OK)
            status = put(&data->room, NULL,
                         sg_cuda_gates_statistics_bytes(host->objectives, host->n), data, error);
        return status ? status
                      : sg_cuda_gates_prepare_statistics(host->objectives, host->objective, host->n,
                                                         data->room, data->stream, error);
    }
    if (status == SG_OK)
        status = put_floats(&data->value, NULL, outer, data, error);
    if (status == SG_OK)
        status = put_floats(&data->slope, NULL, host->by_row ? outer : host->n, data, error);
    return status;
}

static sg_status fetch(const on_device *data, sg_error *error)
{
    bench_gates_data *host = data->host;
    bool sequences = host->kind == BENCH_SEQUENCES;
    if (host->kind == BENCH_STATISTICS)
        return sg_cuda_gates_fetch_statistics(host->objectives, host->n, data->room,
                                              host->statistics, data->stream, error);
    size_t outer = sequences ? host->sequences : host->n;
    sg_status status =
        sg_cuda_from_device(host->value, data->value, outer * sizeof(float), data->stream, error);
    size_t slopes = host->by_row ? outer : host->n;
    return status ? status
                  : sg_cuda_from_device(host->slope, data->slope, slopes * sizeof(float),
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
