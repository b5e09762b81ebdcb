/* SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef SG_CUDA_DESK_H
#define SG_CUDA_DESK_H

/* The host's side of what lives on the device between calls: rows, light rows, trees. A call copies its
 * arguments to a desk in page-locked memory, queues copies and kernels on one stream, and waits only
 * if it has numbers to bring back. */
#include "backend/cuda/launch.h"

#include <math.h>
#include <pthread.h>
#include <string.h>

#include "backend/cuda/device.h"

/* What sentences of failures say: memory for what, and while doing what. */
struct sg_cuda_desk_words {
    const char *making, *memory, *sending, *fetching, *computing;
};

/* Memory of the device that grows. */
struct sg_cuda_room {
    char *at;
    size_t bytes;
};

/* Page-locked memory of the host. */
struct sg_cuda_place {
    char *at;
    size_t bytes;
    cudaEvent_t sent; /* what lay there has been copied */
    bool sending;     /* it may not have been */
};

/* A call has the place that the call before has not, so that it need not wait until the device
 * has come to that one. */
enum { SG_CUDA_PLACES = 2 };

/* Starts as zeros. */
struct sg_cuda_desk {
    const sg_cuda_desk_words *words;
    sg_cuda_stream *stream;
    sg_cuda_place places[SG_CUDA_PLACES];
    unsigned calls;           /* the place of the call at hand, modulo the places */
    char *here;               /* which begins here */
    sg_cuda_room there, room; /* where its things go; and for what is on the device only */
    pthread_mutex_t turn;
    sg_status failed; /* the first failure; nothing is done after it */
    sg_error error;

    /* Before anything else; then end() is due. Stream and events come with start(). */
    void init(const sg_cuda_desk_words *those)
    {
        words = those;
        pthread_mutex_init(&turn, nullptr);
    }
    sg_status start(sg_error *why)
    {
        sg_status status = sg_cuda_stream_alloc(&stream, why);
        for (sg_cuda_place &place : places)
            if (status == SG_OK)
                status =
                    sg_cuda_check(cudaEventCreateWithFlags(&place.sent, cudaEventDisableTiming),
                                  words->making, why);
        return status;
    }
    /* Waits for the stream, and gives back all but what others own. */
    void end()
    {
        (void)sg_cuda_use(nullptr);
        if (stream)
            (void)sg_cuda_stream_wait(stream, nullptr);
        sg_cuda_free(there.at);
        sg_cuda_free(room.at);
        for (sg_cuda_place &place : places) {
            if (place.at && cudaFreeHost(place.at) != cudaSuccess)
                (void)cudaGetLastError();
            if (place.sent && cudaEventDestroy(place.sent) != cudaSuccess)
                (void)cudaGetLastError();
        }
        sg_cuda_stream_free(stream);
        pthread_mutex_destroy(&turn);
    }
};

static inline size_t sg_cuda_aligned(size_t bytes)
{
    return (bytes + 255) / 256 * 256;
}

/* Bytes of n things on the desk or in the room. */
template <typename T> size_t sg_cuda_bytes(size_t n)
{
    return sg_cuda_aligned(n * sizeof(T));
}

/* One call of the host: it has the desk for itself, and leaves the first failure with it. What
 * runs on the device is left out once the call has failed. */
struct sg_cuda_call {
    sg_cuda_desk *desk;
    sg_cuda_room *to; /* of what is sent */
    sg_error error;
    sg_status status;
    size_t desk_used, room_used;
    bool
        torn; /* without it, memory that is not there is only reported: all is as before the call */

    explicit sg_cuda_call(sg_cuda_desk *at)
        : desk(at), to(&at->there), desk_used(0), room_used(0), torn(true)
    {
        pthread_mutex_lock(&desk->turn);
        status = desk->failed;
        error = desk->error;
        if (status == SG_OK)
            status = sg_cuda_use(&error);
    }
    sg_cuda_call(const sg_cuda_call &) = delete;
    sg_cuda_call &operator=(const sg_cuda_call &) = delete;
    ~sg_cuda_call()
    {
        if (desk->failed == SG_OK && status != SG_OK && (status != SG_ENOMEM || torn)) {
            desk->failed = status;
            desk->error = error;
        }
        pthread_mutex_unlock(&desk->turn);
    }
    bool fine() const
    {
        return status == SG_OK;
    }
    sg_cuda_stream *stream() const
    {
        return desk->stream;
    }
    /* What the call came to, for calls that can say. */
    sg_status say(sg_error *why) const
    {
        return fine() ? SG_OK : sg_fail(why, status, "%s", error.message);
    }
    /* Fails as something else did. */
    void share(sg_status other, const sg_error &why)
    {
        if (!fine() || other == SG_OK)
            return;
        status = other;
        error = why;
    }
    void check(cudaError_t code, const char *doing)
    {
        if (fine())
            status = sg_cuda_check(code, doing, &error);
    }
    void wait()
    {
        wait("waiting for the device");
    }
    void wait(const char *doing)
    {
        check(cudaStreamSynchronize(stream()), doing);
        for (sg_cuda_place &place : desk->places)
            place.sending &= !fine();
    }
    void zero(void *there, size_t bytes)
    {
        if (fine())
            status = sg_cuda_zero(there, bytes, stream(), &error);
    }
    /* Copies from and to memory of any kind; the second waits, the first where sg_cuda_to_device does. */
    void up(void *there, const void *things, size_t bytes)
    {
        if (fine())
            status = sg_cuda_to_device(there, things, bytes, stream(), &error);
    }
    void down(void *things, const void *there, size_t bytes)
    {
        if (fine())
            status = sg_cuda_from_device(things, there, bytes, stream(), &error);
    }
    void copy(void *there, const void *from, size_t bytes, const char *doing)
    {
        if (fine())
            check(cudaMemcpyAsync(there, from, bytes, cudaMemcpyDeviceToDevice, stream()), doing);
    }
    /* What `then` is given next waits for what `first` has been given. */
    void order(sg_cuda_stream *first, sg_cuda_stream *then, const char *doing)
    {
        cudaEvent_t done = nullptr;
        if (fine())
            check(cudaEventCreateWithFlags(&done, cudaEventDisableTiming), doing);
        if (fine())
            check(cudaEventRecord(done, first), doing);
        if (fine())
            check(cudaStreamWaitEvent(then, done, 0), doing);
        if (done)
            cudaEventDestroy(done);
    }

    bool grow(sg_cuda_room *one, size_t bytes);
    bool lay(sg_cuda_room *where, size_t desk_bytes, size_t room_bytes);
    /* An empty desk and room of these sizes. */
    bool open(size_t desk_bytes, size_t room_bytes)
    {
        return open(&desk->there, desk_bytes, room_bytes);
    }
    bool open(sg_cuda_room *where, size_t desk_bytes, size_t room_bytes)
    {
        room_used = 0;
        return lay(where, desk_bytes, desk_bytes) && grow(&desk->room, room_bytes);
    }

    /* Places for n things on the desk and in the room. */
    template <typename T> T *on_desk(size_t n)
    {
        T *at = (T *)(desk->here + desk_used);
        desk_used += sg_cuda_bytes<T>(n);
        return at;
    }
    template <typename T> T *in_room(size_t n)
    {
        T *at = (T *)(desk->room.at + room_used);
        room_used += sg_cuda_bytes<T>(n);
        return at;
    }
    /* Where the device finds what lies on the desk. */
    template <typename T> T *there(T *here) const
    {
        return (T *)(to->at + ((char *)here - desk->here));
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
        if (desk_used == 0 || !fine())
            return;
        sg_cuda_place &place = desk->places[desk->calls % SG_CUDA_PLACES];
        place.sending = true;
        check(cudaMemcpyAsync(to->at, desk->here, desk_used, cudaMemcpyHostToDevice, stream()),
              desk->words->sending);
        check(cudaEventRecord(place.sent, stream()), desk->words->sending);
    }
    /* Waits for so many bytes of the desk, from a thing on it on. */
    template <typename T> void collect(T *here, size_t bytes)
    {
        if (!fine())
            return;
        check(cudaMemcpyAsync(here, there(here), bytes, cudaMemcpyDeviceToHost, stream()),
              desk->words->fetching);
        wait(desk->words->computing);
    }
    /* Waits for n things on the desk. */
    template <typename T> void fetch(size_t n, T *here, T *things)
    {
        collect(here, n * sizeof(T));
        if (fine())
            memcpy(things, here, n * sizeof(T));
    }
    /* Waits for n answers that queue(there) makes. They have a place on the desk. */
    template <typename A, typename F>
    void answer(size_t n, A *answers, const char *doing, const F &queue)
    {
        A *here = on_desk<A>(n);
        if (fine())
            check(queue(there(here)), doing);
        fetch(n, here, answers);
    }
    /* An answer for each of n questions: queue(questions, answers). */
    template <typename Q, typename A, typename F>
    void ask(size_t n, const Q *questions, A *answers, const char *doing, const F &queue)
    {
        if (!open(sg_cuda_bytes<Q>(n) + sg_cuda_bytes<A>(n), 0))
            return;
        const Q *asked = put(n, questions);
        send();
        answer(n, answers, doing, [&](A *place) { return queue(asked, place); });
    }
    /* Draws as many tokens as there are uniforms, with their log-probabilities unless that is NULL:
     * queue(uniforms, tokens, log_prob). */
    template <typename F>
    void draw(size_t n, const double *uniforms, int32_t *tokens, double *log_prob, const F &queue)
    {
        if (n == 0 || !open(2 * sg_cuda_bytes<double>(n) + sg_cuda_bytes<int32_t>(n), 0))
            return;
        const double *u = put(n, uniforms);
        send();
        int32_t *drawn = on_desk<int32_t>(n);
        double *numbers = on_desk<double>(n);
        if (fine())
            check(queue(u, there(drawn), log_prob ? there(numbers) : nullptr), "drawing tokens");
        char *end = log_prob ? (char *)(numbers + n) : (char *)(drawn + n);
        collect(drawn, (size_t)(end - (char *)drawn));
        if (fine())
            memcpy(tokens, drawn, n * sizeof *tokens);
        if (fine() && log_prob)
            memcpy(log_prob, numbers, n * sizeof *log_prob);
    }
    void blank_draws_unless_fine(size_t n, int32_t *tokens, double *log_prob) const
    {
        if (!fine())
            memset(tokens, 0, n * sizeof *tokens);
        blank_unless_fine(n, log_prob);
    }
    /* n things that are nothing but doubles, or NULL: NaN if the call has failed. */
    template <typename T> void blank_unless_fine(size_t n, T *things) const
    {
        for (size_t i = 0; i < n * (sizeof(T) / sizeof(double)) && things && !fine(); i++)
            ((double *)things)[i] = (double)NAN;
    }
};

static inline size_t sg_cuda_power_of_two(size_t bytes)
{
    size_t size = 4096;
    while (size < bytes)
        size *= 2;
    return size;
}

/* What was there is lost. */
inline bool sg_cuda_call::grow(sg_cuda_room *one, size_t bytes)
{
    if (!fine() || bytes <= one->bytes)
        return fine();
    size_t size = sg_cuda_power_of_two(bytes);
    if (one->at)
        wait(desk->words->computing);
    sg_cuda_free(one->at);
    *one = {nullptr, 0};
    if (fine())
        status = sg_cuda_alloc((void **)&one->at, size, desk->words->memory, &error);
    if (fine())
        one->bytes = size;
    return fine();
}

/* An empty desk whose things go to that room, of room_bytes or more. */
inline bool sg_cuda_call::lay(sg_cuda_room *where, size_t desk_bytes, size_t room_bytes)
{
    sg_cuda_place &place = desk->places[++desk->calls % SG_CUDA_PLACES];
    to = where;
    desk_used = 0;
    if (fine() && place.sending)
        check(cudaEventSynchronize(place.sent), desk->words->sending);
    place.sending &= !fine();
    if (fine() && desk_bytes > place.bytes) {
        size_t size = sg_cuda_power_of_two(desk_bytes);
        if (place.at)
            check(cudaFreeHost(place.at), "giving page-locked memory back");
        place.at = nullptr;
        place.bytes = 0;
        if (fine())
            check(cudaMallocHost((void **)&place.at, size), "taking page-locked memory");
        if (fine())
            place.bytes = size;
    }
    desk->here = place.at;
    return grow(where, room_bytes);
}

#endif
