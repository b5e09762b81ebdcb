/* SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef SG_CUDA_LIGHT_HOST_H
#define SG_CUDA_LIGHT_HOST_H

/* The host's side of light rows on the device: it owns their memory and knows where everything lies. A
 * call copies its arguments to a desk in page-locked memory, queues copies and kernels on the stream of the
 * rows, and waits for its results. */
#include "backend/cuda/launch.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#include "backend/cuda/light.h"
#include "backend/light.h"

/* A prior that is on the device, and the host's share of it. */
struct sg_cuda_light_shared {
    sg_light_prior *host;
    sg_cuda_light_prior *there; /* all its arrays lie behind it */
};

/* Memory of one row. */
struct sg_cuda_light_memory {
    char *memory; /* of its explicit tokens */
    size_t capacity;
    double *own;  /* q and sums of a base of its own; NULL: it never left its prior */
    size_t prior; /* which it started from, in shared */
};

struct sg_cuda_light_rows {
    sg_light_rows base;
    char name[40];
    sg_cuda_stream *stream;
    unsigned blocks;          /* that finish rows side by side */
    sg_cuda_light_row *row;   /* [states], on the device */
    sg_cuda_light_memory *at; /* [states] */
    sg_cuda_light_shared *shared;
    size_t shared_count, shared_room;
    void **held; /* device memory that lives as long as the rows */
    size_t held_count, held_room;
    char *desk, *desk_there, *room; /* the same bytes here and there; and there only */
    size_t desk_bytes, room_bytes;
    pthread_mutex_t turn;
    sg_status failed;
    sg_error error;
};

static inline sg_cuda_light_rows *light_of(const sg_light_rows *rows)
{
    return (sg_cuda_light_rows *)(uintptr_t)rows;
}

static inline size_t light_aligned(size_t bytes)
{
    return (bytes + 255) / 256 * 256;
}

/* Bytes of things on the desk or in the room. */
template <typename T> size_t light_bytes(size_t n)
{
    return light_aligned(n * sizeof(T));
}

/* One call of the host: it has the rows for itself. Failures of the device stay with the rows; memory
 * that is not there is only reported, if the rows are whole. */
struct sg_cuda_light_call {
    sg_cuda_light_rows *rows;
    sg_error error;
    sg_status status;
    size_t desk_used, room_used;
    bool torn; /* rows were left in the middle of something */

    explicit sg_cuda_light_call(const sg_light_rows *base)
        : rows(light_of(base)), desk_used(0), room_used(0), torn(false)
    {
        pthread_mutex_lock(&rows->turn);
        status = rows->failed;
        error = rows->error;
        if (status == SG_OK)
            status = sg_cuda_use(&error);
    }
    sg_cuda_light_call(const sg_cuda_light_call &) = delete;
    sg_cuda_light_call &operator=(const sg_cuda_light_call &) = delete;
    ~sg_cuda_light_call()
    {
        if (rows->failed == SG_OK && status != SG_OK && (status != SG_ENOMEM || torn)) {
            rows->failed = status;
            rows->error = error;
        }
        pthread_mutex_unlock(&rows->turn);
    }
    bool fine() const
    {
        return status == SG_OK;
    }
    void check(cudaError_t code, const char *doing)
    {
        if (fine())
            status = sg_cuda_check(code, doing, &error);
    }
    /* What the call came to, for calls that can say. */
    sg_status say(sg_error *to) const
    {
        return fine() ? SG_OK : sg_fail(to, status, "%s", error.message);
    }
    void *hold(size_t bytes, const char *what);
    bool open(size_t desk_bytes, size_t room_bytes);
    template <typename T> T *on_desk(size_t n)
    {
        T *at = (T *)(rows->desk + desk_used);
        desk_used += light_bytes<T>(n);
        return at;
    }
    template <typename T> T *in_room(size_t n)
    {
        T *at = (T *)(rows->room + room_used);
        room_used += light_bytes<T>(n);
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
    void send()
    {
        if (desk_used > 0)
            check(cudaMemcpyAsync(rows->desk_there, rows->desk, desk_used, cudaMemcpyHostToDevice,
                                  rows->stream),
                  "copying samples to the device");
    }
    /* Waits for n things on the desk. */
    template <typename T> void fetch(size_t n, T *here, T *things)
    {
        if (fine())
            status = sg_cuda_from_device(here, there(here), n * sizeof(T), rows->stream, &error);
        if (fine())
            memcpy(things, here, n * sizeof(T));
    }
    /* Copies between malloc'd and device memory; they wait. */
    void up(void *device, const void *host, size_t bytes)
    {
        if (fine())
            status = sg_cuda_to_device(device, host, bytes, rows->stream, &error);
        if (fine())
            status = sg_cuda_stream_wait(rows->stream, &error);
    }
    void down(void *host, const void *device, size_t bytes)
    {
        if (fine())
            status = sg_cuda_from_device(host, device, bytes, rows->stream, &error);
    }
};

/* Room for one more in an array of the host. False without memory. */
template <typename T> bool light_grow(T **things, size_t count, size_t *room)
{
    if (count < *room)
        return true;
    size_t more = 2 * *room + 16;
    T *made = (T *)realloc((void *)*things, more * sizeof(T));
    if (!made)
        return false;
    *things = made;
    *room = more;
    return true;
}

/* Device memory until the rows are freed; NULL, and the call fails, without. */
inline void *sg_cuda_light_call::hold(size_t bytes, const char *what)
{
    void *made = nullptr;
    if (fine() && !light_grow(&rows->held, rows->held_count, &rows->held_room))
        status = sg_fail(&error, SG_ENOMEM, "not enough memory for %s", what);
    if (fine())
        status = sg_cuda_alloc(&made, bytes, what, &error);
    if (fine())
        rows->held[rows->held_count++] = made;
    return made;
}

/* An empty desk and room of these sizes. They grow to powers of two. */
inline bool sg_cuda_light_call::open(size_t desk_bytes, size_t room_bytes)
{
    const char *what = "the samples of light rows";
    desk_used = room_used = 0;
    if (fine() && desk_bytes > rows->desk_bytes) {
        size_t size = 4096;
        while (size < desk_bytes)
            size *= 2;
        if (rows->desk)
            cudaFreeHost(rows->desk);
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
        sg_cuda_free(rows->room);
        rows->room = nullptr;
        rows->room_bytes = 0;
        status = sg_cuda_alloc((void **)&rows->room, size, what, &error);
        if (fine())
            rows->room_bytes = size;
    }
    return fine();
}

/* Bytes of q and all sums of a base. */
static inline size_t light_base_bytes(const sg_cuda_light_rows *rows)
{
    sg_light_base shape;
    return sg_light_base_layout(&shape, rows->base.vocabulary, rows->base.head) * sizeof(double);
}

/* The methods that ask or move rows, in light_calls.cu. */
void sg_cuda_light_get_logits(const sg_light_rows *base, size_t state, double *logits);
void sg_cuda_light_draw(const sg_light_rows *base, size_t first, size_t count, size_t n,
                        const double *uniforms, int32_t *tokens);
void sg_cuda_light_log_prob(const sg_light_rows *base, size_t first, size_t count, size_t n,
                            const int32_t *tokens, double *log_prob);
sg_status sg_cuda_light_update(sg_light_rows *base, double lr, bool projected, size_t first,
                               size_t count, size_t n, const int32_t *tokens, const double *pushes,
                               sg_row_change *change, sg_error *error);
sg_status sg_cuda_light_inner_updates(sg_light_rows *base, double lr, uint64_t updates,
                                      const sg_objective *objective, double factor, size_t first,
                                      size_t count, size_t n, const int32_t *tokens,
                                      const double *old_log_prob, const double *advantage,
                                      double *pushes, sg_error *error);
void sg_cuda_light_observe(const sg_light_rows *base, size_t first, size_t count,
                           sg_row_observation *observation);
void sg_cuda_light_collision(const sg_light_rows *base, size_t first, size_t count,
                             double *collision);
void sg_cuda_light_masses(const sg_light_rows *base, size_t sets, const size_t *state,
                          const size_t *start, const int32_t *tokens, double *mass);

#endif
