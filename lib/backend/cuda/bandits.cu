/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Small runs on the device: tables, room to work in, launches. */
#include "backend/cuda/launch.h"

#include <stdlib.h>

#include "backend/cuda/bandits.h"
#include "backend/cuda/bandits_fast.h"
#include "backend/cuda/memory.h"

namespace
{

enum { FEW_ARMS = 1024 }; /* up to here a warp a run */
const size_t SHARED_MOST =
    40 << 10; /* bytes of room in shared memory; beyond it in device memory ... */
const size_t ROOM_MOST = (size_t)1 << 28; /* ... of so many bytes for all runs of a launch */

template <typename real> size_t room_bytes(size_t cells, size_t samples)
{
    size_t bytes = (cells + 3 * samples) * sizeof(real) + samples * sizeof(unsigned);
    return (bytes + 15) / 16 * 16;
}

/* Runs first + blockIdx.x; room NULL: in shared memory. */
template <typename real>
__global__ void __launch_bounds__(SG_BLOCK_MOST)
    run_bandits(bandit_tables<real> tables, size_t first, char *room, size_t bytes)
{
    SG_DYNAMIC_SHARED(char, shared);
    __shared__ real before[SG_BLOCK_MOST + 1], warp[SG_BLOCK_WARPS];
    char *mine = room ? room + blockIdx.x * bytes : shared;
    bandit_room<real> s;
    s.q = (real *)mine;
    s.old = s.q + tables.depth * blockDim.x;
    s.advantage = s.old + tables.samples;
    s.push = s.advantage + tables.samples;
    s.at = (unsigned *)(s.push + tables.samples);
    s.before = before;
    s.warp = warp;
    bandit_run(tables, s, first + blockIdx.x);
}

} // namespace

/* One precision of it is in use. */
struct sg_cuda_bandits {
    size_t runs, arms, columns;
    unsigned threads;
    size_t bytes, together;           /* room of a run; runs of a launch */
    bool in_shared, single, by_warps; /* by_warps: the fast kernel, which has its own room */
    sg_cuda_own_stream stream;
    sg_cuda_array<sg_bandit> run;
    sg_cuda_array<char> tables, room;
    sg_cuda_array<double> value, logits;
    bandit_tables<float> of_floats;
    bandit_tables<double> of_doubles;

    template <typename real> bandit_tables<real> &now();
};

template <> bandit_tables<float> &sg_cuda_bandits::now<float>()
{
    return of_floats;
}
template <> bandit_tables<double> &sg_cuda_bandits::now<double>()
{
    return of_doubles;
}

/* Rewards and q at the start, in the order of cells. */
template <typename real>
static void fill(const sg_bandits *b, size_t depth, size_t threads, real *reward, real *start)
{
    double max = -INFINITY;
    for (size_t v = 0; b->logits && v < b->arms; v++)
        max = b->logits[v] > max ? b->logits[v] : max;
    for (size_t v = 0; v < depth * threads; v++) {
        size_t cell = v % depth * threads + v / depth;
        bool arm = v < b->arms;
        reward[cell] = arm ? (real)b->reward[v] : 0;
        start[cell] = !arm ? 0 : b->logits ? (real)sg_exp(b->logits[v] - max) : 1;
    }
}

template <typename real>
static sg_status make_tables(sg_cuda_bandits *made, const sg_bandits *b, sg_error *error)
{
    size_t depth = (b->arms + made->threads - 1) / made->threads, cells = depth * made->threads;
    real *host = (real *)malloc(2 * cells * sizeof *host);
    if (!host)
        return sg_fail(error, SG_ENOMEM, "not enough memory for tables of %zu arms", b->arms);
    fill(b, depth, made->threads, host, host + cells);
    sg_status status = made->tables.alloc(2 * cells * sizeof *host, "a table of rewards", error);
    if (status == SG_OK)
        status = sg_cuda_to_device(made->tables.at, host, 2 * cells * sizeof *host, made->stream.at,
                                   error);
    if (status == SG_OK)
        status = sg_cuda_stream_wait(made->stream.at, error);
    free(host);
    const real *tables = (const real *)made->tables.at;
    bandit_tables<real> &t = made->now<real>();
    t.run = made->run.at;
    t.reward = tables;
    t.start = tables + cells;
    t.arms = (unsigned)b->arms;
    t.depth = (unsigned)depth;
    t.samples = (unsigned)b->samples;
    t.steps = (unsigned)b->steps;
    t.updates = (unsigned)b->updates;
    t.advantage = b->advantage;
    t.eps = (real)b->eps;
    t.seed = b->seed;
    t.value = made->value.at;
    t.logits = made->logits.at;
    made->bytes = room_bytes<real>(cells, b->samples);
    made->in_shared = made->bytes <= SHARED_MOST;
    made->together = made->in_shared ? b->runs : ROOM_MOST / made->bytes + 1;
    made->together = made->together < b->runs ? made->together : b->runs;
    made->together = made->together < 0x7fffffff ? made->together : 0x7fffffff;
    return status;
}

static sg_status make(sg_cuda_bandits *made, const sg_bandits *b, bool want_logits, sg_error *error)
{
    if (b->steps > 0xfffffffe || b->updates > 0xffffffffu)
        return sg_fail(error, SG_EUNSUPPORTED,
                       "%zu steps of %zu updates are more than a device counts to", b->steps,
                       b->updates);
    made->runs = b->runs;
    made->arms = b->arms;
    made->columns = b->steps + 1;
    made->threads = b->arms <= FEW_ARMS ? SG_WARP : SG_BLOCK_MOST;
    made->single = b->precision == SG_FP32;
    made->by_warps =
        sg_cuda_kernels_chosen() == SG_CUDA_FAST && sg_cuda_bandits_fast_takes(b->arms, b->samples);
    sg_status status = made->stream.alloc(error);
    if (status == SG_OK)
        status = made->run.alloc(b->runs, "the list of runs", error);
    if (status == SG_OK)
        status = made->run.from_host(b->runs, b->run, made->stream.at, error);
    if (status == SG_OK)
        status = made->value.alloc(b->runs * made->columns, "the table of values", error);
    if (status == SG_OK && want_logits)
        status = made->logits.alloc(b->runs * b->arms, "the table of logits", error);
    if (status == SG_OK)
        status =
            made->single ? make_tables<float>(made, b, error) : make_tables<double>(made, b, error);
    if (status == SG_OK && !made->in_shared && !made->by_warps)
        status = made->room.alloc(made->together * made->bytes, "room for small runs", error);
    return status;
}

extern "C" sg_status sg_cuda_bandits_alloc(sg_cuda_bandits **made, const sg_bandits *bandits,
                                           bool want_logits, sg_error *error)
{
    void *room = calloc(1, sizeof(sg_cuda_bandits)); /* all members start as zeros */
    *made = (sg_cuda_bandits *)room;
    if (!room)
        return sg_fail(error, SG_ENOMEM, "not enough memory for small runs");
    sg_status status = make(*made, bandits, want_logits, error);
    if (status != SG_OK) {
        sg_cuda_bandits_free(*made);
        *made = nullptr;
    }
    return status;
}

extern "C" void sg_cuda_bandits_free(sg_cuda_bandits *bandits)
{
    if (bandits)
        bandits->~sg_cuda_bandits();
    free(bandits);
}

extern "C" sg_cuda_stream *sg_cuda_bandits_stream(const sg_cuda_bandits *bandits)
{
    return bandits->stream.at;
}

template <typename real> static cudaError_t queue(sg_cuda_bandits *b)
{
    cudaError_t code = cudaSuccess;
    if (b->by_warps)
        return sg_cuda_bandits_fast(b->now<real>(), b->runs, b->stream.at);
    for (size_t first = 0; first < b->runs && code == cudaSuccess; first += b->together) {
        size_t runs = b->runs - first < b->together ? b->runs - first : b->together;
        code = SG_LAUNCH(run_bandits<real>, (unsigned)runs, b->threads, b->in_shared ? b->bytes : 0,
                         b->stream.at, b->now<real>(), first, b->room.at, b->bytes);
    }
    return code;
}

extern "C" sg_status sg_cuda_bandits_queue(sg_cuda_bandits *bandits, sg_error *error)
{
    return sg_cuda_check(bandits->single ? queue<float>(bandits) : queue<double>(bandits),
                         "training small runs", error);
}

extern "C" sg_status sg_cuda_bandits_fetch(sg_cuda_bandits *b, double *value, double *logits,
                                           sg_error *error)
{
    sg_status status = b->value.to_host(b->runs * b->columns, value, b->stream.at, error);
    if (status == SG_OK && logits)
        status = b->logits.to_host(b->runs * b->arms, logits, b->stream.at, error);
    return status;
}

extern "C" sg_status sg_cuda_bandits_run(const sg_bandits *bandits, double *value, double *logits,
                                         sg_error *error)
{
    sg_cuda_bandits *on = nullptr;
    sg_status status = sg_cuda_bandits_alloc(&on, bandits, logits != nullptr, error);
    if (status == SG_OK)
        status = sg_cuda_bandits_queue(on, error);
    if (status == SG_OK)
        status = sg_cuda_bandits_fetch(on, value, logits, error);
    sg_cuda_bandits_free(on);
    return status;
}
