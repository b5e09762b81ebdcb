/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Streams and events: what is asked of a stream waits in its queue, and the seed says when it is done. Seed 0:
 * at once. Seed 1: as late as a device may, so only when somebody waits for it. Others: at random calls, and some
 * streams before others, as far as events allow.
 *
 * What of CUDA's promises the host may rely on here ("API synchronization behavior" and the reference):
 *   - launches, copies from and to page-locked memory, copies on the device and memsets return before they are done;
 *   - a copy from pageable memory has read it when the call returns, unless the device reads pageable memory itself, and is
 *     done in its stream's order; a copy to pageable memory returns when all has arrived. So drivers do; since CUDA 12
 *     NVIDIA writes only that such calls may be synchronous, so a result is better waited for;
 *   - streams are non-blocking: neither does one wait for another, nor for the default stream;
 *   - a stream waits for what an event had recorded when cudaStreamWaitEvent was called: a later record, or
 *     the end of the event, changes nothing;
 *   - cudaFree and cudaFreeHost wait for the whole device, cudaMalloc and cudaMallocHost for nothing;
 *   - a stream that is destroyed does what it was asked before. */
#include <time.h>

#include <algorithm>
#include <deque>
#include <memory>
#include <vector>

#include "emulator.h"
#include "inside.h"

namespace
{

/* A moment of a stream: when it has come to what an event recorded. */
struct moment {
    cudaStream_t stream;
    bool reached;
    double seconds;
};

struct task {
    std::function<void()> work;
    std::shared_ptr<moment> after; /* of another stream; or nullptr */
};

} // namespace

struct CUstream_st {
    std::deque<task> tasks;
    uint64_t rank; /* by seed: the stream of the lowest rank goes on first */
    bool destroyed;
};

struct CUevent_st {
    std::shared_ptr<moment> recorded;
    bool timed;
};

namespace
{

CUstream_st &default_stream = *new CUstream_st{}; /* these outlive the last test */
std::vector<cudaStream_t> &streams = *new std::vector<cudaStream_t>{&default_stream};
size_t waits;
bool asked; /* something of the device since the host last waited */

cudaStream_t named(cudaStream_t stream)
{
    return stream ? stream : &default_stream;
}

/* What others wait for comes first. */
cudaStream_t who_can_go_on(cudaStream_t stream)
{
    for (;;) {
        const moment *after = stream->tasks.front().after.get();
        if (!after || after->reached)
            return stream;
        stream = after->stream;
    }
}

void go_on(cudaStream_t stream)
{
    stream = who_can_go_on(stream);
    task next = std::move(stream->tasks.front());
    stream->tasks.pop_front();
    sg_emulator_notice();
    if (next.work)
        next.work();
    if (stream->destroyed && stream->tasks.empty()) {
        streams.erase(std::find(streams.begin(), streams.end(), stream));
        delete stream;
    }
}

/* A stream that has something to do; nullptr: none has. */
cudaStream_t any_stream()
{
    cudaStream_t first = nullptr;
    for (cudaStream_t each : streams)
        if (!each->tasks.empty() && (!first || each->rank < first->rank))
            first = each;
    return first;
}

/* While the host waits for one stream, others may go on. */
cudaStream_t this_or_any(cudaStream_t stream)
{
    return sg_emulator_seed() > 1 ? any_stream() : stream;
}

void finish(cudaStream_t stream)
{
    while (!stream->tasks.empty())
        go_on(this_or_any(stream));
}

void reach(const moment *m)
{
    while (m && !m->reached)
        go_on(this_or_any(m->stream));
}

/* How much is done at a call, for a while: nothing, a little, all. By seed, from when the device was idle. */
size_t pace(bool idle)
{
    static const size_t paces[] = {0, 1, 2, SIZE_MAX};
    static size_t now;
    if (idle || sg_emulator_random() % 16 == 0)
        now = paces[sg_emulator_random() % 4];
    return sg_emulator_seed() == 0 ? SIZE_MAX : sg_emulator_seed() == 1 ? 0 : now;
}

void add(cudaStream_t stream, task next)
{
    stream = named(stream);
    size_t n = pace(!any_stream());
    if (stream->tasks.empty() || sg_emulator_random() % 8 == 0)
        stream->rank = sg_emulator_random();
    stream->tasks.push_back(std::move(next));
    for (cudaStream_t first = any_stream(); first && n > 0; first = any_stream(), n--)
        go_on(first);
}

double now()
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

} // namespace

void sg_emulator_queue(cudaStream_t stream, std::function<void()> work)
{
    asked = true;
    add(stream, {std::move(work), nullptr});
}

void sg_emulator_finish(void)
{
    while (cudaStream_t stream = any_stream())
        go_on(stream);
}

size_t sg_emulator_waits(void)
{
    return waits;
}

cudaError_t cudaStreamCreateWithFlags(cudaStream_t *stream, unsigned flags)
{
    sg_turn mine;
    *stream = nullptr;
    if (flags != cudaStreamNonBlocking)
        sg_emulator_complain(cudaErrorInvalidValue,
                             "a stream that waits for the default stream is not emulated");
    if (!sg_emulator_broken())
        streams.push_back(*stream = new CUstream_st{});
    return sg_emulator_answer();
}

cudaError_t cudaStreamDestroy(cudaStream_t stream)
{
    sg_turn mine;
    stream->destroyed = true;
    add(stream, {}); /* which is its end */
    return cudaSuccess;
}

cudaError_t cudaStreamSynchronize(cudaStream_t stream)
{
    sg_turn mine;
    waits += asked;
    asked = false;
    sg_emulator_notice();
    finish(named(stream));
    return sg_emulator_answer();
}

cudaError_t cudaDeviceSynchronize(void)
{
    sg_turn mine;
    waits += asked;
    asked = false;
    sg_emulator_notice();
    sg_emulator_finish();
    return sg_emulator_answer();
}

cudaError_t cudaStreamWaitEvent(cudaStream_t stream, cudaEvent_t event, unsigned)
{
    sg_turn mine;
    add(stream, {nullptr, event->recorded});
    return sg_emulator_answer();
}

cudaError_t cudaEventCreateWithFlags(cudaEvent_t *event, unsigned flags)
{
    *event = new CUevent_st{nullptr, !(flags & cudaEventDisableTiming)};
    return cudaSuccess;
}

cudaError_t cudaEventCreate(cudaEvent_t *event)
{
    return cudaEventCreateWithFlags(event, 0);
}

cudaError_t cudaEventDestroy(cudaEvent_t event)
{
    delete event;
    return cudaSuccess;
}

cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t stream)
{
    sg_turn mine;
    auto m = std::make_shared<moment>(moment{named(stream), false, 0});
    event->recorded = m;
    add(stream, {[m] {
                     m->seconds = now();
                     m->reached = true;
                 },
                 nullptr});
    return sg_emulator_answer();
}

cudaError_t cudaEventSynchronize(cudaEvent_t event)
{
    sg_turn mine;
    sg_emulator_notice();
    reach(std::shared_ptr<moment>(event->recorded).get());
    return sg_emulator_answer();
}

cudaError_t cudaEventElapsedTime(float *milliseconds, cudaEvent_t start, cudaEvent_t end)
{
    sg_turn mine;
    *milliseconds = 0;
    if (!start->timed || !end->timed || !start->recorded || !end->recorded)
        return sg_emulator_answer(cudaErrorInvalidResourceHandle);
    if (!start->recorded->reached || !end->recorded->reached)
        return sg_emulator_answer(cudaErrorNotReady);
    *milliseconds = (float)((end->recorded->seconds - start->recorded->seconds) * 1e3);
    return sg_emulator_answer();
}
