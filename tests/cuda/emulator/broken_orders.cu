/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "backend/cuda/launch.h"

#include "backend/cuda/memory.h"
#include "broken_orders.h"

namespace
{

enum { N = 50 };

__global__ void add_one(const int *x, int *y)
{
    y[threadIdx.x] = x[threadIdx.x] + 1;
}

struct program {
    sg_cuda_own_stream a, b;
    sg_cuda_array<int> x, y;
    int *desk = nullptr, *answers = nullptr;
    cudaEvent_t sent = nullptr, made = nullptr, taken = nullptr;
    bool fine = true;

    void check(cudaError_t code)
    {
        fine = fine && code == cudaSuccess;
    }
    program()
    {
        fine = !a.alloc(nullptr) && !b.alloc(nullptr) && !x.alloc(N, "a test", nullptr) &&
               !y.alloc(N, "a test", nullptr);
        check(cudaMallocHost((void **)&desk, N * sizeof *desk));
        check(cudaMallocHost((void **)&answers, N * sizeof *answers));
        for (cudaEvent_t *event : {&sent, &made, &taken})
            check(cudaEventCreate(event));
    }
    ~program()
    {
        for (cudaEvent_t event : {sent, made, taken})
            check(cudaEventDestroy(event));
        check(cudaFreeHost(answers));
        check(cudaFreeHost(desk));
    }
    void fill_desk(int first)
    {
        for (int i = 0; i < N; i++)
            desk[i] = first + i;
    }
    void time(void)
    {
        float milliseconds;
        check(cudaEventElapsedTime(&milliseconds, sent, made));
    }
    void run(order_mistake mistake);
};

/* desk -> x on stream a; y = x + 1; y -> answers on stream b; then a clears y. */
void program::run(order_mistake mistake)
{
    fill_desk(10);
    check(cudaMemcpyAsync(x.at, desk, N * sizeof *desk, cudaMemcpyHostToDevice,
                          mistake == ON_DEFAULT_STREAM ? nullptr : a.at));
    check(cudaEventRecord(sent, a.at));
    if (mistake == EVENT_TOO_EARLY)
        check(cudaEventRecord(made, a.at));
    check(SG_LAUNCH(add_one, 1, N, 0, a.at, x.at, y.at));
    if (mistake != EVENT_TOO_EARLY)
        check(cudaEventRecord(made, a.at));
    if (mistake != NO_EVENT)
        check(cudaStreamWaitEvent(b.at, made));
    check(cudaMemcpyAsync(answers, y.at, N * sizeof *answers, cudaMemcpyDeviceToHost, b.at));
    check(cudaEventRecord(taken, b.at));
    if (mistake != CHANGED_TOO_EARLY)
        check(cudaStreamWaitEvent(a.at, taken));
    check(cudaMemsetAsync(y.at, 0, N * sizeof *answers, a.at));
    if (mistake == FREE_IN_FLIGHT) {
        sg_cuda_free(x.at);
        x.at = nullptr;
    }
    if (mistake == TIMED_TOO_EARLY)
        time();
    if (mistake == CHANGED_TOO_EARLY)
        check(cudaStreamSynchronize(a.at));
    if (mistake != DESK_TOO_EARLY)
        check(cudaEventSynchronize(sent));
    fill_desk(1000);
    if (mistake == WAIT_FOR_ANOTHER)
        check(cudaStreamSynchronize(nullptr));
    else if (mistake != NO_WAIT)
        check(cudaStreamSynchronize(b.at));
    for (int i = 0; i < N; i++)
        fine = fine && answers[i] == 10 + i + 1;
    check(cudaStreamSynchronize(a.at));
    if (mistake != EVENT_TOO_EARLY)
        time();
}

} // namespace

int run_order(int mistake)
{
    program p;
    if (p.fine)
        p.run((order_mistake)mistake);
    return !p.fine;
}
