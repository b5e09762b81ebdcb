/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The host's side of the emulated CUDA: memory with guards around it, copies that know their direction, launches. */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <map>
#include <memory>
#include <vector>

#include "claims.h"
#include "emulator.h"
#include "inside.h"

std::recursive_mutex sg_emulator_turn;

namespace
{

enum { GUARD = 256, PATTERN = SG_EMULATOR_PATTERN };

struct allocation {
    char *block; /* guard, memory, guard */
    size_t bytes;
    bool on_host;
};

std::map<const char *, allocation> memory; /* by first byte */
std::map<const void *, int> shared_limit;  /* of a kernel that asked for more */
std::map<const void *, int> large_cluster; /* may be more than 8 blocks */
size_t most_memory = (size_t)1 << 34, launches;
int devices = 1, architecture = 9;
size_t traffic;
bool reads_pageable;                   /* itself, and late: nothing is staged */
cudaError_t last_error, fault, coming; /* fault: every call fails from then on */
char complaint[512];

cudaError_t answer(cudaError_t code)
{
    if (code != cudaSuccess)
        last_error = code;
    return code;
}

const allocation *find(const void *pointer)
{
    auto next = memory.upper_bound((const char *)pointer);
    if (next == memory.begin())
        return nullptr;
    --next;
    return (const char *)pointer < next->first + next->second.bytes ? &next->second : nullptr;
}

bool holds(const void *pointer, size_t bytes)
{
    const allocation *a = find(pointer);
    return a && (const char *)pointer + bytes <= a->block + GUARD + a->bytes;
}

bool on_device(const void *pointer)
{
    const allocation *a = find(pointer);
    return a && !a->on_host;
}

size_t shared_most(const void *function)
{
    auto limit = shared_limit.find(function);
    return limit == shared_limit.end() ? 48 * 1024 : (size_t)limit->second;
}

unsigned cluster_most(const void *function)
{
    auto large = large_cluster.find(function);
    return large != large_cluster.end() && large->second ? 16 : 8;
}

bool page_locked(const void *pointer)
{
    const allocation *a = find(pointer);
    return a && a->on_host;
}

bool untouched(const char *guard)
{
    for (int i = 0; i < GUARD; i++)
        if (guard[i] != (char)PATTERN)
            return false;
    return true;
}

bool whole(const allocation &a)
{
    return untouched(a.block) && untouched(a.block + GUARD + a.bytes);
}

void protect(const allocation &a, bool closed)
{
#if SG_ASAN
    ASAN_POISON_MEMORY_REGION(a.block, GUARD);
    ASAN_POISON_MEMORY_REGION(a.block + GUARD + a.bytes, GUARD);
    if (closed)
        ASAN_POISON_MEMORY_REGION(a.block + GUARD, a.bytes);
    else
        ASAN_UNPOISON_MEMORY_REGION(a.block + GUARD, a.bytes);
#else
    (void)a, (void)closed;
#endif
}

void unprotect(const allocation &a)
{
#if SG_ASAN
    ASAN_UNPOISON_MEMORY_REGION(a.block, a.bytes + 2 * GUARD);
#else
    (void)a;
#endif
}

cudaError_t allocate(void **pointer, size_t bytes, bool on_host)
{
    sg_turn mine;
    *pointer = nullptr;
    sg_emulator_notice();
    if (fault)
        return answer(fault);
    if (devices < 1)
        return answer(devices < 0 ? cudaErrorInsufficientDriver : cudaErrorNoDevice);
    if (bytes == 0)
        return cudaSuccess;
    if (bytes > most_memory || sg_emulator_bytes_in_use() > most_memory - bytes)
        return answer(cudaErrorMemoryAllocation);
    allocation a = {(char *)aligned_alloc(GUARD, (bytes + 3 * GUARD - 1) / GUARD * GUARD), bytes,
                    on_host};
    if (!a.block)
        return answer(cudaErrorMemoryAllocation);
    memset(a.block, PATTERN, bytes + 2 * GUARD);
    memory[a.block + GUARD] = a;
    protect(a, !on_host);
    *pointer = a.block + GUARD;
    return cudaSuccess;
}

cudaError_t release(void *pointer)
{
    sg_turn mine;
    if (!pointer)
        return cudaSuccess;
    sg_emulator_notice();
    sg_emulator_finish();
    auto at = memory.find((const char *)pointer);
    if (at == memory.end()) {
        sg_emulator_complain(cudaErrorInvalidValue,
                             "freed %p, which was not allocated or freed before", pointer);
        return cudaErrorInvalidValue;
    }
    unprotect(at->second);
    if (!whole(at->second))
        sg_emulator_complain(cudaErrorIllegalAddress,
                             "something wrote beyond an allocation of %zu bytes", at->second.bytes);
    memset(at->second.block, PATTERN, at->second.bytes + 2 * GUARD);
    free(at->second.block);
    memory.erase(at);
    return cudaSuccess;
}

cudaError_t copy(void *to, const void *from, size_t bytes, cudaMemcpyKind kind, cudaStream_t stream)
{
    sg_turn mine;
    if (fault)
        return answer(fault);
    if (bytes == 0)
        return cudaSuccess;
    bool to_device = kind == cudaMemcpyHostToDevice || kind == cudaMemcpyDeviceToDevice;
    bool from_device = kind == cudaMemcpyDeviceToHost || kind == cudaMemcpyDeviceToDevice;
    if (kind == cudaMemcpyDefault)
        to_device = on_device(to), from_device = on_device(from);
    if (on_device(to) != to_device || on_device(from) != from_device ||
        (to_device && !holds(to, bytes)) || (from_device && !holds(from, bytes))) {
        sg_emulator_complain(cudaErrorInvalidValue,
                             "a copy of %zu bytes of kind %d does not fit its pointers", bytes,
                             (int)kind);
        return answer(cudaErrorInvalidValue);
    }
    traffic += to_device != from_device ? bytes : 0;
    std::shared_ptr<sg_claim> reads, writes;
    std::shared_ptr<std::vector<char>> read; /* at the call */
    if (page_locked(from))
        reads = std::make_shared<sg_claim>((char *)from, bytes, false);
    else if (!from_device && !reads_pageable)
        read = std::make_shared<std::vector<char>>((const char *)from, (const char *)from + bytes);
    if (page_locked(to))
        writes = std::make_shared<sg_claim>((char *)to, bytes, true);
    sg_emulator_queue(stream, [=] {
        if (fault)
            return;
        sg_emulator_open_memory();
        if (reads && reads->changed())
            sg_emulator_complain(cudaErrorInvalidValue,
                                 "the host changed page-locked memory that a copy of %zu bytes to "
                                 "the device was still to read",
                                 bytes);
        memmove(to, read ? read->data() : from, bytes);
        if (writes)
            writes->done();
        sg_emulator_close_memory(nullptr);
    });
    return to_device || writes ? answer(fault) : cudaStreamSynchronize(stream);
}

} // namespace

void sg_emulator_complain(cudaError_t code, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(complaint, sizeof complaint, format, arguments);
    va_end(arguments);
    fprintf(stderr, "emulator: %s\n", complaint);
    fault = code;
    last_error = code;
}

bool sg_emulator_broken(void)
{
    return fault != cudaSuccess;
}

cudaError_t sg_emulator_answer(cudaError_t code)
{
    return answer(code != cudaSuccess ? code : fault);
}

void sg_emulator_notice(void)
{
    if (coming != cudaSuccess)
        fault = coming;
}

void sg_emulator_open_memory(void)
{
    for (auto &each : memory)
        protect(each.second, false);
}

void sg_emulator_close_memory(const char *kernel)
{
    for (auto &each : memory) {
        unprotect(each.second);
        if (kernel && !whole(each.second))
            sg_emulator_complain(cudaErrorIllegalAddress,
                                 "kernel %s wrote beyond an allocation of %zu bytes", kernel,
                                 each.second.bytes);
        protect(each.second, !each.second.on_host);
    }
    sg_claims_hide();
}

void sg_emulated_check_pointer(const char *kernel, const void *pointer)
{
    sg_turn mine;
    /* One past the end is a pointer too, to no elements. */
    if (pointer && !find(pointer) && !find((const char *)pointer - 1) && !fault)
        sg_emulator_complain(cudaErrorIllegalAddress,
                             "kernel %s got the pointer %p, which is not device memory", kernel,
                             pointer);
}

cudaError_t sg_emulated_launch(const sg_emulated_kernel &kernel, dim3 grid, dim3 block,
                               size_t shared, cudaStream_t stream)
{
    sg_turn mine;
    if (fault)
        return answer(fault);
    if (devices < 1)
        return answer(devices < 0 ? cudaErrorInsufficientDriver : cudaErrorNoDevice);
    size_t threads = (size_t)block.x * block.y * block.z,
           most_shared = shared_most(kernel.function);
    if (threads < 1 || threads > 1024 || block.z > 64 || grid.x < 1 || grid.y < 1 || grid.z < 1 ||
        grid.x > 0x7fffffffu || grid.y > 65535 || grid.z > 65535)
        return answer(cudaErrorInvalidConfiguration);
    if (shared > most_shared)
        return answer(cudaErrorInvalidValue);
    if (kernel.cluster != 1 &&
        (architecture < 9 || kernel.cluster > cluster_most(kernel.function) || kernel.cluster < 1 ||
         grid.x % kernel.cluster != 0))
        return answer(cudaErrorInvalidConfiguration);
    launches++;
    sg_emulator_queue(stream, [=] {
        if (fault)
            return;
        sg_emulator_open_memory();
        sg_emulator_run(kernel, grid, block, shared);
        sg_emulator_close_memory(kernel.name);
    });
    return answer(fault);
}

cudaError_t sg_emulated_set_attribute(const void *function, cudaFuncAttribute attribute, int value)
{
    sg_turn mine;
    if (attribute == cudaFuncAttributeMaxDynamicSharedMemorySize) {
        if (value < 0 || value > 227 * 1024)
            return answer(cudaErrorInvalidValue);
        shared_limit[function] = value;
    } else if (attribute == cudaFuncAttributeNonPortableClusterSizeAllowed) {
        if (architecture < 9)
            return answer(cudaErrorInvalidValue);
        large_cluster[function] = value;
    }
    return cudaSuccess;
}

cudaError_t sg_emulated_get_attributes(cudaFuncAttributes *attributes)
{
    attributes->ptxVersion = 10 * architecture;
    return answer(fault);
}

cudaError_t sg_emulated_clusters(int *clusters, const void *function, unsigned cluster,
                                 size_t shared)
{
    sg_turn mine;
    *clusters = 0;
    if (architecture < 9 || shared > shared_most(function))
        return answer(cudaErrorInvalidValue);
    *clusters = cluster <= cluster_most(function) ? 2 : 0;
    return answer(fault);
}

void sg_emulator_set_devices(int count)
{
    devices = count;
}

void sg_emulator_set_architecture(int major)
{
    architecture = major;
}

void sg_emulator_set_pageable(bool reads)
{
    reads_pageable = reads;
}

void sg_emulator_set_memory(size_t bytes)
{
    most_memory = bytes;
}

void sg_emulator_break(int code)
{
    sg_turn mine;
    sg_emulator_notice();
    if (code == 0) {
        sg_emulator_finish(); /* nothing of it is done if the device was broken */
        coming = fault = last_error = cudaSuccess;
        complaint[0] = '\0';
        return;
    }
    coming = (cudaError_t)code;
    if (sg_emulator_seed() == 0)
        sg_emulator_notice();
}

const char *sg_emulator_complaint(void)
{
    return complaint;
}

size_t sg_emulator_launches(void)
{
    return launches;
}

size_t sg_emulator_traffic(void)
{
    return traffic;
}

size_t sg_emulator_bytes_in_use(void)
{
    size_t sum = 0;
    for (const auto &each : memory)
        sum += each.second.bytes;
    return sum;
}

cudaError_t cudaGetDeviceCount(int *count)
{
    *count = devices > 0 ? devices : 0;
    return answer(devices < 0    ? cudaErrorInsufficientDriver
                  : devices == 0 ? cudaErrorNoDevice
                                 : cudaSuccess);
}

cudaError_t cudaSetDevice(int device)
{
    return answer(fault                             ? fault
                  : device >= 0 && device < devices ? cudaSuccess
                                                    : cudaErrorInvalidDevice);
}

cudaError_t cudaGetDevice(int *device)
{
    *device = 0;
    return cudaSuccess;
}

cudaError_t cudaGetDeviceProperties(cudaDeviceProp *properties, int device)
{
    if (device < 0 || device >= devices)
        return answer(cudaErrorInvalidDevice);
    *properties = cudaDeviceProp{};
    snprintf(properties->name, sizeof properties->name, "emulated device");
    properties->totalGlobalMem = most_memory;
    properties->sharedMemPerBlockOptin = 227 * 1024;
    properties->major = architecture;
    properties->multiProcessorCount = 2;
    properties->l2CacheSize = 1 << 20;
    return cudaSuccess;
}

cudaError_t cudaDeviceGetAttribute(int *value, cudaDeviceAttr attribute, int)
{
    *value = attribute == cudaDevAttrMultiProcessorCount      ? 2
             : attribute == cudaDevAttrComputeCapabilityMajor ? architecture
             : attribute == cudaDevAttrPageableMemoryAccess   ? (int)reads_pageable
                                                              : 227 * 1024;
    return cudaSuccess;
}

cudaError_t cudaDriverGetVersion(int *version)
{
    *version = devices < 0 ? 0 : 13000;
    return cudaSuccess;
}

cudaError_t cudaRuntimeGetVersion(int *version)
{
    *version = 13000;
    return cudaSuccess;
}

cudaError_t cudaGetLastError(void)
{
    cudaError_t code = fault ? fault : last_error;
    last_error = cudaSuccess;
    return code;
}

cudaError_t cudaPeekAtLastError(void)
{
    return fault ? fault : last_error;
}

const char *cudaGetErrorName(cudaError_t error)
{
    return error == cudaSuccess ? "cudaSuccess" : "emulated error";
}

const char *cudaGetErrorString(cudaError_t error)
{
    return error == cudaSuccess ? "no error" : complaint[0] ? complaint : "an emulated error";
}

cudaError_t cudaMemGetInfo(size_t *free_bytes, size_t *total)
{
    *total = most_memory;
    *free_bytes = most_memory - sg_emulator_bytes_in_use();
    return answer(fault);
}

cudaError_t cudaMalloc(void **pointer, size_t bytes)
{
    return allocate(pointer, bytes, false);
}

cudaError_t cudaFree(void *pointer)
{
    return release(pointer);
}

cudaError_t cudaMallocHost(void **pointer, size_t bytes)
{
    return allocate(pointer, bytes, true);
}

/* What a driver makes of NULL is not written down anywhere, so nobody may rely on it. */
cudaError_t cudaFreeHost(void *pointer)
{
    if (!pointer)
        sg_emulator_complain(cudaErrorInvalidValue, "freed page-locked memory that is NULL");
    return pointer ? release(pointer) : cudaErrorInvalidValue;
}

cudaError_t cudaMemcpyAsync(void *to, const void *from, size_t bytes, cudaMemcpyKind kind,
                            cudaStream_t stream)
{
    return copy(to, from, bytes, kind, stream);
}

cudaError_t cudaMemsetAsync(void *to, int value, size_t bytes, cudaStream_t stream)
{
    sg_turn mine;
    if (fault)
        return answer(fault);
    if (bytes && (!on_device(to) || !holds(to, bytes))) {
        sg_emulator_complain(cudaErrorInvalidValue,
                             "a fill of %zu bytes is not inside device memory", bytes);
        return answer(cudaErrorInvalidValue);
    }
    sg_emulator_queue(stream, [=] {
        if (fault)
            return;
        sg_emulator_open_memory();
        memset(to, value, bytes);
        sg_emulator_close_memory(nullptr);
    });
    return answer(fault);
}
