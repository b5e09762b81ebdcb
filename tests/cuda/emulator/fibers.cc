/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Runs a kernel: one fiber for each thread that has to wait, one block or cluster of blocks after another. A
 * fiber runs threads to their end, one after the other, until one of them waits at a barrier or in an exchange;
 * then the next fiber goes on. So a kernel without barriers needs one fiber and no switch. */
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>

#include <algorithm>
#include <vector>

#include "emulator.h"
#include "inside.h"
#include "stacks.h"

uint3 threadIdx, blockIdx;
dim3 blockDim, gridDim;

namespace
{

enum { STACK = 256 * 1024, WARP = 32 };
enum waiting { NOT_STARTED, RUNNING, READY, AT_BARRIER, AT_CLUSTER, IN_EXCHANGE, DONE };

struct fiber {
    sg_stack place;
    char *stack;
};

struct thread {
    uint3 index;
    waiting state;
    fiber *on;
    unsigned mask, source; /* of an exchange */
    uint64_t value, answer;
};

struct block {
    uint3 index;
    char *shared; /* dynamic shared memory, with a guard behind it */
    unsigned arrived, votes, outcome, done;
};

/* The blocks that run together: one, or a cluster. Threads are numbered through all of them. */
struct run {
    const sg_emulated_kernel *kernel;
    std::vector<block> blocks;
    std::vector<thread> threads;
    std::vector<unsigned> order; /* in which threads start */
    std::vector<unsigned> ready; /* who may go on, the last one first */
    size_t next, shared;         /* of order; bytes a block */
    unsigned size, current;      /* threads of a block */
    unsigned arrived;            /* at the cluster's barrier */

    block &mine()
    {
        return blocks[current / size];
    }
};

run now;
fiber scheduler, *starting;
std::vector<fiber *> &idle = *new std::vector<fiber *>; /* both outlive the last test */
std::vector<fiber *> &every = *new std::vector<fiber *>;
uint64_t order_seed, drawn;
bool seeded;
thread_local bool inside;

void arrange(std::vector<unsigned> &list)
{
    if (order_seed == 1)
        std::reverse(list.begin(), list.end());
    for (size_t i = list.size(); order_seed > 1 && i > 1; i--)
        std::swap(list[i - 1], list[sg_emulator_random() % i]);
}

/* First to last; last to first; or shuffled. */
std::vector<unsigned> arranged(size_t n)
{
    std::vector<unsigned> list(n);
    for (size_t i = 0; i < n; i++)
        list[i] = (unsigned)i;
    arrange(list);
    return list;
}

/* A block begins only when those before it wait: what they look at too early is not there yet. */
bool block_begins()
{
    return now.next % now.size == 0;
}

/* Switching stacks: always between the scheduler and a fiber. AddressSanitizer wants to know. */
#if SG_ASAN
const void *home_stack;
size_t home_size;
void leave_for(const void *stack, size_t size, void **fake)
{
    __sanitizer_start_switch_fiber(fake, stack, size);
}
void arrived(void *fake, bool in_fiber)
{
    const void *stack;
    size_t size;
    __sanitizer_finish_switch_fiber(fake, &stack, &size);
    if (in_fiber) {
        home_stack = stack;
        home_size = size;
    }
}
#else
const void *const home_stack = nullptr;
const size_t home_size = 0;
void leave_for(const void *, size_t, void **)
{
}
void arrived(void *, bool)
{
}
#endif

void go_to(fiber *to)
{
    void *fake = nullptr;
    leave_for(to->stack, STACK, &fake);
    sg_stack_switch(&scheduler.place, &to->place);
    arrived(fake, false);
}

void go_home(fiber *from)
{
    void *fake = nullptr;
    leave_for(home_stack, home_size, &fake);
    sg_stack_switch(&from->place, &scheduler.place);
    arrived(fake, true);
}

void enter(unsigned t)
{
    now.current = t;
    now.threads[t].state = RUNNING;
    threadIdx = now.threads[t].index;
    blockIdx = now.mine().index;
}

/* Shared memory goes with its block: another block of the cluster that still looks at it finds nothing. */
void leave_block()
{
    block &mine = now.mine();
    if (++mine.done < now.size || now.blocks.size() == 1)
        return;
    memset(mine.shared, 0xff, now.shared);
#if SG_ASAN
    ASAN_POISON_MEMORY_REGION(mine.shared, now.shared);
#endif
}

/* What a fiber does all its life. */
void work()
{
    fiber *self = starting;
    arrived(nullptr, true);
    for (;;) {
        while (now.next < now.order.size() && !(block_begins() && !now.ready.empty())) {
            unsigned t = now.order[now.next++];
            now.threads[t].on = self;
            enter(t);
            now.kernel->run();
            now.threads[now.current].state = DONE;
            leave_block();
        }
        idle.push_back(self);
        go_home(self);
    }
}

fiber *new_fiber()
{
    fiber *f = new fiber;
    every.push_back(f);
    f->stack = (char *)mmap(nullptr, STACK, PROT_READ | PROT_WRITE,
                            MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (f->stack == (char *)MAP_FAILED) {
        perror("emulator: no memory for a stack");
        abort();
    }
    mprotect(f->stack, 4096, PROT_NONE); /* a stack that overflows must not go unseen */
    sg_stack_start(&f->place, f->stack, STACK, work);
    starting = f; /* the scheduler goes to it at once */
    return f;
}

fiber *fresh_fiber()
{
    if (idle.empty())
        return new_fiber();
    fiber *f = idle.back();
    idle.pop_back();
    return f;
}

/* The current thread waits; others run; it returns when somebody has released it and its turn comes. */
void wait(waiting why)
{
    unsigned self = now.current;
    now.threads[self].state = why;
    go_home(now.threads[self].on);
}

void release(unsigned t)
{
    now.threads[t].state = READY;
    now.ready.push_back(t);
}

/* Threads [first, end) have come to their barrier, the last of them just now. Thread 0 goes on first,
 * unless they are arranged otherwise. */
void pass_barrier(unsigned first, unsigned end)
{
    size_t waiting_before = now.ready.size();
    std::vector<unsigned> list = arranged(end - first);
    for (size_t i = list.size(); i-- > 0;)
        release(first + list[i]);
    if (order_seed > 1 && waiting_before > 0)
        arrange(now.ready); /* blocks of a cluster mix */
    go_home(now.threads[now.current].on);
}

void barrier()
{
    block &mine = now.mine();
    if (++mine.arrived < now.size)
        return wait(AT_BARRIER);
    unsigned first = now.current / now.size * now.size;
    mine.arrived = 0;
    mine.outcome = mine.votes;
    mine.votes = 0;
    pass_barrier(first, first + now.size);
}

void cluster_barrier()
{
    if (++now.arrived < now.threads.size())
        return wait(AT_CLUSTER);
    now.arrived = 0;
    pass_barrier(0, (unsigned)now.threads.size());
}

void complain_about_waiting(const char *name)
{
    unsigned count[DONE + 1] = {0};
    for (const thread &t : now.threads)
        count[t.state]++;
    uint3 at = now.blocks[0].index;
    sg_emulator_complain(
        cudaErrorLaunchTimeout,
        "kernel %s, block (%u, %u, %u)%s: %u of %zu threads wait at __syncthreads, "
        "%u at a cluster's barrier and %u in a warp's exchange "
        "for threads that never come (%u have returned)",
        name, at.x, at.y, at.z, now.blocks.size() > 1 ? " and its cluster" : "", count[AT_BARRIER],
        now.threads.size(), count[AT_CLUSTER], count[IN_EXCHANGE], count[DONE]);
}

void run_threads()
{
    size_t n = now.size * now.blocks.size();
    now.threads.assign(n, thread{});
    now.order.clear();
    now.ready.clear();
    now.next = now.arrived = 0;
    for (unsigned b : arranged(now.blocks.size()))
        for (unsigned t : arranged(now.size)) {
            now.order.push_back(b * now.size + t);
            now.threads[now.order.back()].index = {t % blockDim.x, t / blockDim.x % blockDim.y,
                                                   t / blockDim.x / blockDim.y};
        }
    for (;;) {
        if (now.next < n && !(block_begins() && !now.ready.empty())) {
            go_to(fresh_fiber());
        } else if (!now.ready.empty()) {
            unsigned t = now.ready.back();
            now.ready.pop_back();
            enter(t);
            go_to(now.threads[t].on);
        } else {
            break;
        }
    }
    for (const thread &t : now.threads)
        if (t.state != DONE)
            return complain_about_waiting(now.kernel->name); /* the stuck fibers are given up */
}

enum { GUARD = 64 };

void take_shared(block *b)
{
    b->shared = (char *)malloc(now.shared + GUARD);
    memset(b->shared, 0xff, now.shared + GUARD);
#if SG_ASAN
    ASAN_POISON_MEMORY_REGION(b->shared + now.shared, GUARD);
#endif
}

void give_shared(block *b)
{
    char *guard = b->shared + now.shared;
#if SG_ASAN
    ASAN_UNPOISON_MEMORY_REGION(b->shared, now.shared + GUARD);
#endif
    if (std::count(guard, guard + GUARD, (char)0xff) != GUARD)
        sg_emulator_complain(
            cudaErrorIllegalAddress,
            "kernel %s, block (%u, %u, %u) wrote beyond its %zu bytes of dynamic shared memory",
            now.kernel->name, b->index.x, b->index.y, b->index.z, now.shared);
    free(b->shared);
}

} // namespace

void __syncthreads(void)
{
    barrier();
}

int __syncthreads_count(int predicate)
{
    now.mine().votes += predicate != 0;
    barrier();
    return (int)now.mine().outcome;
}

int __syncthreads_or(int predicate)
{
    return __syncthreads_count(predicate) != 0;
}

int __syncthreads_and(int predicate)
{
    return __syncthreads_count(predicate) == (int)now.size;
}

void sg_emulated_cluster_sync(void)
{
    cluster_barrier();
}

unsigned sg_emulated_cluster_rank(void)
{
    return now.current / now.size;
}

unsigned sg_emulated_cluster_size(void)
{
    return (unsigned)now.blocks.size();
}

void *sg_emulated_cluster_map(void *mine, unsigned rank)
{
    char *at = (char *)mine, *shared = now.mine().shared;
    bool inside = at >= shared && at < shared + now.shared;
    if (inside && rank < now.blocks.size())
        return now.blocks[rank].shared + (at - shared);
    sg_emulator_complain(cudaErrorIllegalAddress,
                         "kernel %s: block %u of a cluster of %zu was asked for %s",
                         now.kernel->name, rank, now.blocks.size(),
                         inside ? "its shared memory" : "what is not dynamic shared memory");
    return mine;
}

unsigned sg_emulated_lane(void)
{
    return now.current % now.size % WARP;
}

/* A lane waits until all lanes of its mask wait with the same mask; the last one answers for all. */
uint64_t sg_emulated_exchange(unsigned mask, uint64_t value, unsigned source)
{
    unsigned self = now.current, lane = sg_emulated_lane(), first = self - lane;
    thread *warp = &now.threads[first];
    size_t lanes = std::min<size_t>(WARP, now.size - first % now.size);
    if (!(mask >> lane & 1))
        sg_emulator_complain(cudaErrorIllegalInstruction,
                             "kernel %s: lane %u is not in its own mask %08x", now.kernel->name,
                             lane, mask);
    thread &mine = now.threads[self];
    mine.mask = mask;
    mine.value = value;
    mine.source = source;
    mine.state = IN_EXCHANGE;
    bool complete = lanes == WARP || mask >> lanes == 0;
    for (unsigned k = 0; k < lanes; k++)
        if (mask >> k & 1)
            complete = complete && warp[k].state == IN_EXCHANGE && warp[k].mask == mask;
    if (complete) {
        for (unsigned k = 0; k < lanes; k++) {
            unsigned from = warp[k].source % WARP;
            if (!(mask >> k & 1))
                continue;
            if (!(mask >> from & 1))
                sg_emulator_complain(
                    cudaErrorIllegalInstruction,
                    "kernel %s: lane %u asks lane %u, which is not in the mask %08x",
                    now.kernel->name, k, from, mask);
            warp[k].answer = warp[from < lanes ? from : k].value;
        }
        std::vector<unsigned> others;
        for (unsigned k = (unsigned)lanes; k-- > 0;)
            if (mask >> k & 1)
                others.push_back(first + k);
        arrange(others);
        for (unsigned t : others)
            release(t);
    }
    go_home(mine.on);
    return now.threads[self].answer;
}

void __syncwarp(unsigned mask)
{
    sg_emulated_exchange(mask, 0, sg_emulated_lane());
}

/* One round a lane: each asks the lanes of the mask in turn. Slow, and plainly right. */
unsigned __ballot_sync(unsigned mask, int predicate)
{
    unsigned votes = 0;
    for (unsigned k = 0; k < WARP; k++)
        if (mask >> k & 1)
            votes |= (unsigned)sg_emulated_exchange(mask, predicate != 0, k) << k;
    return votes;
}

unsigned __match_any_sync(unsigned mask, unsigned value)
{
    unsigned alike = 0;
    for (unsigned k = 0; k < WARP; k++)
        if (mask >> k & 1)
            alike |= (unsigned)(sg_emulated_exchange(mask, value, k) == value) << k;
    return alike;
}

void *sg_emulated_dynamic_shared(void)
{
    return now.mine().shared;
}

uint64_t sg_emulator_random(void)
{
    uint64_t x = (order_seed << 32) + ++drawn; /* splitmix64 */
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
    return x ^ (x >> 31);
}

bool sg_emulator_inside(void)
{
    return inside;
}

void sg_emulator_set_seed(uint64_t seed)
{
    sg_turn mine;
    sg_emulator_finish();
    order_seed = seed;
    drawn = 0;
    seeded = true;
}

uint64_t sg_emulator_seed(void)
{
    const char *seed = seeded ? nullptr : getenv("SOFTGATE_EMULATOR_SEED");
    seeded = true;
    if (seed)
        order_seed = strtoull(seed, nullptr, 10);
    return order_seed;
}

void sg_emulator_run(const sg_emulated_kernel &kernel, dim3 grid, dim3 block, size_t shared)
{
    now.kernel = &kernel;
    now.shared = shared;
    now.size = block.x * block.y * block.z;
    gridDim = grid;
    blockDim = block;
    size_t together = kernel.cluster, groups = (size_t)grid.x * grid.y * grid.z / together;
    std::vector<unsigned> order = arranged(groups);
    for (size_t g = 0; g < groups && !sg_emulator_broken(); g++) {
        now.blocks.assign(together, {});
        for (size_t k = 0; k < together; k++) {
            unsigned b = order[g] * (unsigned)together + (unsigned)k;
            now.blocks[k].index = {b % grid.x, b / grid.x % grid.y, b / grid.x / grid.y};
            take_shared(&now.blocks[k]);
        }
        inside = true;
        run_threads();
        inside = false;
        for (struct block &b : now.blocks)
            give_shared(&b);
    }
}
