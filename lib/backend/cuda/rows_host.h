/* SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef SG_CUDA_ROWS_HOST_H
#define SG_CUDA_ROWS_HOST_H

/* The host's side of rows on the device. A call copies its arguments to a desk in page-locked memory,
 * queues copies and kernels on the stream of the rows, and waits only if it has numbers to bring
 * back. */
#include "backend/cuda/launch.h"

#include <pthread.h>

#include "backend/cuda/rows_resident.h"

struct sg_cuda_rows {
    sg_rows base;
    char name[32];
    sg_cuda_table table;
    sg_cuda_stream *stream;
    /* One block: what sg_rows_adopt copies, then what sg_rows_forget clears. */
    char *block;
    size_t state_bytes, block_bytes;
    char *work; /* the table's values and parts */
    /* The desk: the same bytes here and there. And room for jobs and samples, there only. */
    char *desk, *desk_there, *room;
    size_t desk_bytes, room_bytes;
    cudaEvent_t sent; /* what lay on the desk has been copied */
    pthread_mutex_t turn;
    /* How fast kernels keep rows on the chip; for this many samples, -1: not known yet. */
    sg_cuda_resident resident;
    int64_t resident_samples;
    sg_status failed;
    sg_error error;
};

static inline sg_cuda_rows *of(const sg_rows *rows)
{
    return (sg_cuda_rows *)(uintptr_t)rows;
}

static inline size_t aligned(size_t bytes)
{
    return (bytes + 255) / 256 * 256;
}

/* One call of the host: it has the rows for itself, and remembers the first failure. */
struct sg_cuda_rows_call {
    sg_cuda_rows *rows;
    sg_error error;
    sg_status status;
    size_t desk_used, room_used;

    explicit sg_cuda_rows_call(const sg_rows *base) : rows(of(base)), desk_used(0), room_used(0)
    {
        pthread_mutex_lock(&rows->turn);
        status = rows->failed;
        if (status == SG_OK)
            status = sg_cuda_use(&error);
    }
    sg_cuda_rows_call(const sg_cuda_rows_call &) = delete;
    sg_cuda_rows_call &operator=(const sg_cuda_rows_call &) = delete;
    ~sg_cuda_rows_call()
    {
        if (rows->failed == SG_OK && status != SG_OK) {
            rows->failed = status;
            rows->error = error;
        }
        pthread_mutex_unlock(&rows->turn);
    }
    bool fine() const
    {
        return status == SG_OK;
    }
    /* An empty desk and room of these sizes. */
    bool open(size_t desk_bytes, size_t room_bytes);
    void check(cudaError_t code, const char *doing)
    {
        if (fine())
            status = sg_cuda_check(code, doing, &error);
    }
    /* Places for n things on the desk and in the room. */
    template <typename T> T *on_desk(size_t n)
    {
        T *at = (T *)(rows->desk + desk_used);
        desk_used += aligned(n * sizeof(T));
        return at;
    }
    template <typename T> T *in_room(size_t n)
    {
        T *at = (T *)(rows->room + room_used);
        room_used += aligned(n * sizeof(T));
        return at;
    }
    /* Where the device finds what lies on the desk. */
    template <typename T> T *there(T *here) const
    {
        return (T *)(rows->desk_there + ((char *)here - rows->desk));
    }
    /* Puts n things onto the desk; the device's place. Goes with the next send. */
    template <typename T> T *put(size_t n, const T *things)
    {
        T *here = on_desk<T>(n);
        if (n > 0)
            memcpy(here, things, n * sizeof(T));
        return there(here);
    }
    /* Copies the first desk_used bytes of the desk. */
    void send()
    {
        if (desk_used == 0)
            return;
        check(cudaMemcpyAsync(rows->desk_there, rows->desk, desk_used, cudaMemcpyHostToDevice,
                              rows->stream),
              "copying samples to the device");
        check(cudaEventRecord(rows->sent, rows->stream), "copying samples to the device");
    }
    /* Waits for n things on the desk. */
    template <typename T> void fetch(size_t n, T *here, T *things)
    {
        check(
            cudaMemcpyAsync(here, there(here), n * sizeof(T), cudaMemcpyDeviceToHost, rows->stream),
            "copying results from the device");
        check(cudaStreamSynchronize(rows->stream), "computing on rows of logits");
        if (fine())
            memcpy(things, here, n * sizeof(T));
    }
};

/* Memory of the device and, for a desk, of the host. Grows to powers of two. */
inline bool sg_cuda_rows_call::open(size_t desk_bytes, size_t room_bytes)
{
    const char *what = "the samples of an update";
    if (fine())
        check(cudaEventSynchronize(rows->sent), "copying samples to the device");
    if (fine() && desk_bytes > rows->desk_bytes) {
        size_t size = 4096;
        while (size < desk_bytes)
            size *= 2;
        check(cudaStreamSynchronize(rows->stream), "computing on rows of logits");
        if (rows->desk)
            check(cudaFreeHost(rows->desk), "giving page-locked memory back");
        sg_cuda_free(rows->desk_there);
        rows->desk = rows->desk_there = nullptr;
        rows->desk_bytes = 0;
        check(cudaMallocHost((void **)&rows->desk, size), "taking page-locked memory");
        if (fine())
            status = sg_cuda_alloc((void **)&rows->desk_there, size, what, &error);
        if (fine())
            rows->desk_bytes = size;
    }
    if (fine() && room_bytes > rows->room_bytes) {
        size_t size = 4096;
        while (size < room_bytes)
            size *= 2;
        check(cudaStreamSynchronize(rows->stream), "computing on rows of logits");
        sg_cuda_free(rows->room);
        rows->room = nullptr;
        rows->room_bytes = 0;
        status = fine() ? sg_cuda_alloc((void **)&rows->room, size, what, &error) : status;
        if (fine())
            rows->room_bytes = size;
    }
    return fine();
}

/* The methods that ask or move rows, in rows_calls.cu. */
void sg_cuda_rows_set_logits(sg_rows *base, size_t state, const double *logits, int64_t exponent);
void sg_cuda_rows_get_logits(const sg_rows *base, size_t state, double *logits);
void sg_cuda_rows_get_mean_square(const sg_rows *base, size_t state, double *mean_square);
void sg_cuda_rows_draw(const sg_rows *base, size_t first, size_t count, size_t n,
                       const double *uniforms, int32_t *tokens);
void sg_cuda_rows_log_prob(const sg_rows *base, size_t first, size_t count, size_t n,
                           const int32_t *tokens, double *log_prob);
void sg_cuda_rows_update(sg_rows *base, const sg_rows_step *step, size_t first, size_t count,
                         size_t n, const int32_t *tokens, const double *pushes,
                         sg_row_change *change);
void sg_cuda_rows_inner_updates(sg_rows *base, const sg_rows_step *step, uint64_t updates,
                                const sg_objective *objective, double factor, size_t first,
                                size_t count, size_t n, const int32_t *tokens,
                                const double *old_log_prob, const double *advantage,
                                double *pushes);
void sg_cuda_rows_observe(const sg_rows *base, size_t first, size_t count,
                          sg_row_observation *observation);
void sg_cuda_rows_collision(const sg_rows *base, size_t first, size_t count, double *collision);
void sg_cuda_rows_masses(const sg_rows *base, size_t sets, const size_t *state, const size_t *start,
                         const int32_t *tokens, double *mass);

#endif
