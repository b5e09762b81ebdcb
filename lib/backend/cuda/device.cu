/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Device, memory, streams: every call checked, every failure one sentence. */
#include "backend/cuda/launch.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backend/cuda/device.h"

#ifndef SG_CUDA_ARCHITECTURES
#define SG_CUDA_ARCHITECTURES "this machine's"
#endif

extern "C" bool sg_cuda_built(void)
{
    return true;
}

extern "C" const char *sg_cuda_targets(void)
{
    return SG_CUDA_ARCHITECTURES;
}

static sg_status no_code(sg_error *error)
{
    cudaDeviceProp device;
    int index = 0;
    if (cudaGetDevice(&index) != cudaSuccess ||
        cudaGetDeviceProperties(&device, index) != cudaSuccess)
        device.major = device.minor = 0;
    (void)cudaGetLastError();
    return sg_fail(error, SG_EUNSUPPORTED,
                   "this softgate holds device code for %s, and none that this device of compute "
                   "capability %d.%d can run: build with CUDA_ARCH=sm_%d%d, or use --backend cpu",
                   SG_CUDA_ARCHITECTURES, device.major, device.minor, device.major, device.minor);
}

sg_status sg_cuda_check(cudaError_t code, const char *doing, sg_error *error)
{
    if (code == cudaSuccess)
        return SG_OK;
    (void)cudaGetLastError(); /* so that the next call does not report it again */
    switch (code) {
    case cudaErrorInsufficientDriver:
    case cudaErrorCallRequiresNewerDriver:
    case cudaErrorSystemDriverMismatch:
    case cudaErrorCompatNotSupportedOnDevice:
        return sg_fail(
            error, SG_EUNSUPPORTED,
            "the CUDA driver is missing or older than CUDA %d.%d, which this softgate was "
            "built with: install a newer NVIDIA driver, or use --backend cpu",
            CUDART_VERSION / 1000, CUDART_VERSION % 1000 / 10);
    case cudaErrorNoDevice:
        return sg_fail(
            error, SG_EUNSUPPORTED,
            "there is no CUDA device here (is CUDA_VISIBLE_DEVICES empty?): use --backend cpu");
    case cudaErrorNoKernelImageForDevice:
    case cudaErrorInvalidDeviceFunction:
    case cudaErrorInvalidKernelImage:
    case cudaErrorInvalidPtx:
    case cudaErrorUnsupportedPtxVersion:
    case cudaErrorJitCompilerNotFound:
    case cudaErrorJitCompilationDisabled:
        return no_code(error);
    case cudaErrorMemoryAllocation:
        return sg_fail(error, SG_ENOMEM,
                       "the device ran out of memory while %s: choose a smaller size, or use "
                       "--backend cpu",
                       doing);
    case cudaErrorDevicesUnavailable:
    case cudaErrorSystemNotReady:
    case cudaErrorInitializationError:
        return sg_fail(
            error, SG_ETOOL,
            "the CUDA device cannot be used now (%s): is another process holding it? Use "
            "--backend cpu meanwhile",
            cudaGetErrorString(code));
    case cudaErrorECCUncorrectable:
    case cudaErrorNvlinkUncorrectable:
    case cudaErrorContained:
    case cudaErrorHardwareStackError:
    case cudaErrorLaunchTimeout:
    case cudaErrorOperatingSystem:
    case cudaErrorUnknown:
        return sg_fail(
            error, SG_ETOOL,
            "the CUDA device was lost while %s (%s): what was finished before is kept; look at "
            "nvidia-smi and dmesg, then run again",
            doing, cudaGetErrorString(code));
    default:
        return sg_fail(
            error, SG_EINTERNAL,
            "CUDA reports %s (%s) while %s; this is a bug in softgate, --backend cpu avoids it",
            cudaGetErrorName(code), cudaGetErrorString(code), doing);
    }
}

/* A number of the environment; -1 when it is not there. */
static long from_environment(const char *name)
{
    const char *text = getenv(name);
    char *end;
    long value = text && *text ? strtol(text, &end, 10) : -1;
    return value >= 0 && *end == '\0' ? value : -1;
}

/* -1: not yet chosen. */
static int kernels = -1;

extern "C" sg_cuda_kernels sg_cuda_kernels_chosen(void)
{
    int chosen = __atomic_load_n(&kernels, __ATOMIC_ACQUIRE);
    if (chosen < 0) {
        const char *wanted = getenv("SOFTGATE_KERNELS");
        chosen = wanted && strcmp(wanted, "fast") == 0 ? SG_CUDA_FAST : SG_CUDA_PLAIN;
        sg_cuda_kernels_choose((sg_cuda_kernels)chosen);
    }
    return (sg_cuda_kernels)chosen;
}

extern "C" void sg_cuda_kernels_choose(sg_cuda_kernels wanted)
{
    __atomic_store_n(&kernels, (int)wanted, __ATOMIC_RELEASE);
}

static sg_status check_kernels(sg_error *error)
{
    const char *wanted = getenv("SOFTGATE_KERNELS");
    if (!wanted || !*wanted || strcmp(wanted, "plain") == 0 || strcmp(wanted, "fast") == 0)
        return SG_OK;
    return sg_fail(error, SG_EARGUMENT, "SOFTGATE_KERNELS is %s; it can be plain or fast", wanted);
}

static sg_status choose(int *device, sg_error *error)
{
    int count = 0;
    sg_status status = check_kernels(error);
    if (status == SG_OK)
        status = sg_cuda_check(cudaGetDeviceCount(&count), "looking for devices", error);
    if (status != SG_OK)
        return status;
    if (count < 1)
        return sg_cuda_check(cudaErrorNoDevice, "looking for devices", error);
    const char *wanted = getenv("SOFTGATE_DEVICE");
    if (wanted && *wanted) {
        long number = from_environment("SOFTGATE_DEVICE");
        if (number < 0 || number >= count)
            return sg_fail(error, SG_EARGUMENT,
                           "SOFTGATE_DEVICE is %s, but the devices here are 0 to %d", wanted,
                           count - 1);
        *device = (int)number;
        return SG_OK;
    }
    static const char *const ranks[] = {"OMPI_COMM_WORLD_LOCAL_RANK", "MPI_LOCALRANKID",
                                        "SLURM_LOCALID", "LOCAL_RANK"};
    for (const char *name : ranks) {
        long rank = from_environment(name);
        if (rank >= 0) {
            *device = (int)(rank % count);
            return SG_OK;
        }
    }
    *device = 0;
    return SG_OK;
}

/* The device in use, less than 0 before it is chosen. Threads that choose at once choose the same. */
static int chosen = -1;

extern "C" sg_status sg_cuda_use(sg_error *error)
{
    int device = __atomic_load_n(&chosen, __ATOMIC_ACQUIRE);
    if (device < 0) {
        sg_status status = choose(&device, error);
        if (status != SG_OK)
            return status;
    }
    sg_status status = sg_cuda_check(cudaSetDevice(device), "choosing a device", error);
    if (status == SG_OK)
        __atomic_store_n(&chosen, device, __ATOMIC_RELEASE);
    return status;
}

extern "C" sg_status sg_cuda_describe(sg_cuda_facts *facts, sg_error *error)
{
    const char *doing = "asking the device what it is";
    sg_status status = sg_cuda_use(error);
    if (status != SG_OK)
        return status;
    cudaDeviceProp device;
    *facts = sg_cuda_facts();
    status = sg_cuda_check(cudaGetDevice(&facts->index), doing, error);
    if (status == SG_OK)
        status = sg_cuda_check(cudaGetDeviceCount(&facts->count), doing, error);
    if (status == SG_OK)
        status = sg_cuda_check(cudaGetDeviceProperties(&device, facts->index), doing, error);
    if (status == SG_OK)
        status = sg_cuda_check(cudaMemGetInfo(&facts->free_memory, &facts->memory), doing, error);
    if (status == SG_OK)
        status = sg_cuda_check(cudaDriverGetVersion(&facts->driver_version), doing, error);
    if (status == SG_OK)
        status = sg_cuda_check(cudaRuntimeGetVersion(&facts->runtime_version), doing, error);
    if (status != SG_OK)
        return status;
    snprintf(facts->name, sizeof facts->name, "%s", device.name);
    facts->major = device.major;
    facts->minor = device.minor;
    facts->multiprocessors = device.multiProcessorCount;
    return SG_OK;
}

extern "C" sg_status sg_cuda_alloc(void **pointer, size_t bytes, const char *what, sg_error *error)
{
    *pointer = nullptr;
    sg_status status = sg_cuda_use(error);
    if (status != SG_OK || bytes == 0)
        return status;
    cudaError_t code = cudaMalloc(pointer, bytes);
    if (code != cudaErrorMemoryAllocation)
        return sg_cuda_check(code, "taking device memory", error);
    (void)cudaGetLastError();
    *pointer = nullptr;
    size_t free_bytes = 0, total = 0;
    if (cudaMemGetInfo(&free_bytes, &total) != cudaSuccess)
        (void)cudaGetLastError();
    return sg_fail(
        error, SG_ENOMEM,
        "%s needs %.1f MB of device memory and %.1f of %.1f MB are free: choose a smaller "
        "size, or use --backend cpu",
        what, (double)bytes * 1e-6, (double)free_bytes * 1e-6, (double)total * 1e-6);
}

extern "C" void sg_cuda_free(void *pointer)
{
    if (pointer && cudaFree(pointer) != cudaSuccess)
        (void)cudaGetLastError(); /* a fault before, which was reported where it happened */
}

extern "C" sg_status sg_cuda_stream_alloc(sg_cuda_stream **stream, sg_error *error)
{
    *stream = nullptr;
    sg_status status = sg_cuda_use(error);
    return status != SG_OK ? status
                           : sg_cuda_check(cudaStreamCreateWithFlags(stream, cudaStreamNonBlocking),
                                           "making a stream", error);
}

extern "C" void sg_cuda_stream_free(sg_cuda_stream *stream)
{
    if (stream && cudaStreamDestroy(stream) != cudaSuccess)
        (void)cudaGetLastError();
}

extern "C" sg_status sg_cuda_stream_wait(sg_cuda_stream *stream, sg_error *error)
{
    return sg_cuda_check(cudaStreamSynchronize(stream), "waiting for the device", error);
}

/* A device that cannot read pageable memory gets a copy that the driver has made before the call returns. One that can may
 * read later, which nothing forbids since CUDA 12. */
static bool reads_pageable_memory(void)
{
    int device = 0, does = 1;
    if (cudaGetDevice(&device) != cudaSuccess ||
        cudaDeviceGetAttribute(&does, cudaDevAttrPageableMemoryAccess, device) != cudaSuccess)
        (void)cudaGetLastError();
    return does != 0;
}

extern "C" sg_status sg_cuda_to_device(void *device, const void *host, size_t bytes,
                                       sg_cuda_stream *stream, sg_error *error)
{
    if (bytes == 0)
        return SG_OK;
    sg_status status =
        sg_cuda_check(cudaMemcpyAsync(device, host, bytes, cudaMemcpyHostToDevice, stream),
                      "copying to the device", error);
    return status == SG_OK && reads_pageable_memory() ? sg_cuda_stream_wait(stream, error) : status;
}

extern "C" sg_status sg_cuda_from_device(void *host, const void *device, size_t bytes,
                                         sg_cuda_stream *stream, sg_error *error)
{
    if (bytes == 0)
        return SG_OK;
    sg_status status =
        sg_cuda_check(cudaMemcpyAsync(host, device, bytes, cudaMemcpyDeviceToHost, stream),
                      "copying from the device", error);
    return status == SG_OK ? sg_cuda_stream_wait(stream, error) : status;
}

extern "C" sg_status sg_cuda_copy(void *to, const void *from, size_t bytes, sg_cuda_stream *stream,
                                  sg_error *error)
{
    return bytes == 0
               ? SG_OK
               : sg_cuda_check(cudaMemcpyAsync(to, from, bytes, cudaMemcpyDeviceToDevice, stream),
                               "copying inside the device", error);
}

extern "C" sg_status sg_cuda_zero(void *device, size_t bytes, sg_cuda_stream *stream,
                                  sg_error *error)
{
    return bytes == 0 ? SG_OK
                      : sg_cuda_check(cudaMemsetAsync(device, 0, bytes, stream),
                                      "clearing device memory", error);
}

extern "C" sg_status sg_cuda_time(sg_cuda_stream *stream,
                                  sg_status (*run)(void *context, sg_error *error), void *context,
                                  double *seconds, sg_error *error)
{
    const char *doing = "timing";
    cudaEvent_t start = nullptr, end = nullptr;
    float milliseconds = 0;
    sg_status status = sg_cuda_check(cudaEventCreate(&start), doing, error);
    if (status == SG_OK)
        status = sg_cuda_check(cudaEventCreate(&end), doing, error);
    if (status == SG_OK)
        status = sg_cuda_check(cudaEventRecord(start, stream), doing, error);
    if (status == SG_OK)
        status = run(context, error);
    if (status == SG_OK)
        status = sg_cuda_check(cudaEventRecord(end, stream), doing, error);
    if (status == SG_OK)
        status = sg_cuda_check(cudaEventSynchronize(end), doing, error);
    if (status == SG_OK)
        status = sg_cuda_check(cudaEventElapsedTime(&milliseconds, start, end), doing, error);
    if (start && cudaEventDestroy(start) != cudaSuccess)
        (void)cudaGetLastError();
    if (end && cudaEventDestroy(end) != cudaSuccess)
        (void)cudaGetLastError();
    *seconds = (double)milliseconds * 1e-3;
    return status;
}
