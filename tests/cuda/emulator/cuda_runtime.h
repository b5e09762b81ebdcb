/* SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef SG_EMULATOR_CUDA_RUNTIME_H
#define SG_EMULATOR_CUDA_RUNTIME_H

/* The part of CUDA that softgate uses, on the CPU: found instead of NVIDIA's header when a C++ compiler
 * builds the .cu files for `make check-cuda-emulated`. A kernel runs with one fiber a thread, one block or
 * one cluster of blocks after another (fibers.cc); memory is plain host code (runtime.cc), and so are streams
 * and events, which run later than the host asks (streams.cc). Calls from several
 * host threads take turns.
 *
 * What it finds that a device may hide:
 *   - memory and dynamic shared memory start as NaN (every bit set), static shared memory keeps another
 *     block's values; SOFTGATE_EMULATOR_SEED permutes the order of threads and blocks, which shows a
 *     missing barrier as a wrong result;
 *   - a barrier that not all threads of the block or the cluster reach, a shuffle that not all lanes of its
 *     mask reach; another block's shared memory that is read too early, or after its block has ended;
 *   - a wait, or an event between two streams, that is missing: by wrong results, as kernels and copies are done late
 *     or at random; page-locked memory that the host changes, or with AddressSanitizer looks at, while a copy that
 *     it asked for is still to come;
 *   - the CPU's bits where they hang on the C library's exp, log ...: inside kernels those are slightly off (libm.cc);
 *   - a host pointer given to a kernel, a wrong direction of a copy, an empty or too large launch;
 *   - writes beyond an allocation, and with AddressSanitizer any access beyond one, and host code that
 *     touches device memory.
 * Blocks of a cluster must keep to dynamic shared memory: static shared memory is one for all of them here.
 * It cannot show races between blocks that are not a cluster, limits of registers, or speed.
 *
 * Float atomics are left out on purpose: softgate's results do not depend on the order of threads. */
#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <functional>
#include <tuple>
#include <type_traits>

#define SG_EMULATED 1
#define CUDART_VERSION 13000
#define __global__
#define __device__
#define __host__
#define __constant__
#define __shared__ static
#define __forceinline__ inline __attribute__((always_inline))
#define __noinline__ __attribute__((noinline))
#define __launch_bounds__(...)
#define __grid_constant__
#define __align__(n) __attribute__((aligned(n)))

struct uint3 {
    unsigned x, y, z;
};
struct dim3 {
    unsigned x, y, z;
    constexpr dim3(unsigned x_ = 1, unsigned y_ = 1, unsigned z_ = 1) : x(x_), y(y_), z(z_)
    {
    }
};

#define SG_EMULATED_VECTORS(X) X(float, float) X(double, double) X(int, int) X(uint, unsigned)
#define SG_EMULATED_VECTOR(name, type)                                                             \
    struct __align__(2 * sizeof(type)) name##2                                                     \
    {                                                                                              \
        type x, y;                                                                                 \
    };                                                                                             \
    struct __align__(16) name##4                                                                   \
    {                                                                                              \
        type x, y, z, w;                                                                           \
    };                                                                                             \
    static inline name##2 make_##name##2(type x, type y)                                           \
    {                                                                                              \
        return {x, y};                                                                             \
    }                                                                                              \
    static inline name##4 make_##name##4(type x, type y, type z, type w)                           \
    {                                                                                              \
        return {x, y, z, w};                                                                       \
    }
SG_EMULATED_VECTORS(SG_EMULATED_VECTOR)
#undef SG_EMULATED_VECTOR
#undef SG_EMULATED_VECTORS

extern uint3 threadIdx, blockIdx;
extern dim3 blockDim, gridDim;
enum { warpSize = 32 };

/* ---- Inside kernels ---- */

void __syncthreads(void);
int __syncthreads_count(int predicate);
int __syncthreads_or(int predicate);
int __syncthreads_and(int predicate);
void __syncwarp(unsigned mask = 0xffffffffu);
unsigned __ballot_sync(unsigned mask, int predicate);
static inline int __any_sync(unsigned mask, int predicate)
{
    return __ballot_sync(mask, predicate) != 0;
}
static inline int __all_sync(unsigned mask, int predicate)
{
    return __ballot_sync(mask, predicate) == mask;
}

/* The lanes of the mask that have the same value. */
unsigned __match_any_sync(unsigned mask, unsigned value);

/* Every lane gives a value and names the lane whose value it wants. */
uint64_t sg_emulated_exchange(unsigned mask, uint64_t value, unsigned source);
unsigned sg_emulated_lane(void);
void *sg_emulated_dynamic_shared(void);
/* Of a cluster: see cooperative_groups.h. */
void sg_emulated_cluster_sync(void);
unsigned sg_emulated_cluster_rank(void);
unsigned sg_emulated_cluster_size(void);
void *sg_emulated_cluster_map(void *mine, unsigned rank);

template <typename T> T sg_emulated_shuffle(unsigned mask, T value, unsigned source)
{
    static_assert(sizeof(T) <= 8, "a shuffle moves 4 or 8 bytes");
    uint64_t bits = 0;
    memcpy(&bits, &value, sizeof value);
    bits = sg_emulated_exchange(mask, bits, source);
    memcpy(&value, &bits, sizeof value);
    return value;
}

template <typename T> T __shfl_sync(unsigned mask, T value, int source, int width = 32)
{
    unsigned first = sg_emulated_lane() & ~(unsigned)(width - 1);
    return sg_emulated_shuffle(mask, value, first + ((unsigned)source & (unsigned)(width - 1)));
}
template <typename T> T __shfl_up_sync(unsigned mask, T value, unsigned delta, int width = 32)
{
    unsigned lane = sg_emulated_lane(), within = lane & (unsigned)(width - 1);
    return sg_emulated_shuffle(mask, value, within < delta ? lane : lane - delta);
}
template <typename T> T __shfl_down_sync(unsigned mask, T value, unsigned delta, int width = 32)
{
    unsigned lane = sg_emulated_lane(), within = lane & (unsigned)(width - 1);
    return sg_emulated_shuffle(mask, value, within + delta < (unsigned)width ? lane + delta : lane);
}
template <typename T> T __shfl_xor_sync(unsigned mask, T value, int with, int width = 32)
{
    unsigned lane = sg_emulated_lane(), other = lane ^ (unsigned)with;
    bool inside = (other & ~(unsigned)(width - 1)) <= (lane & ~(unsigned)(width - 1));
    return sg_emulated_shuffle(mask, value, inside ? other : lane);
}

/* Threads run one at a time, so every access is atomic. */
template <typename T> T sg_emulated_swap(T *at, T value)
{
    static_assert(std::is_integral_v<T>, "softgate uses no float atomics: their order would show");
    T old = *at;
    *at = value;
    return old;
}
template <typename T> T atomicAdd(T *at, std::common_type_t<T> value)
{
    return sg_emulated_swap(at, (T)(*at + value));
}
template <typename T> T atomicMax(T *at, std::common_type_t<T> value)
{
    return sg_emulated_swap(at, *at > value ? *at : value);
}
template <typename T> T atomicMin(T *at, std::common_type_t<T> value)
{
    return sg_emulated_swap(at, *at < value ? *at : value);
}
template <typename T> T atomicOr(T *at, std::common_type_t<T> value)
{
    return sg_emulated_swap(at, (T)(*at | value));
}
template <typename T> T atomicExch(T *at, std::common_type_t<T> value)
{
    return sg_emulated_swap(at, value);
}
template <typename T>
T atomicCAS(T *at, std::common_type_t<T> expected, std::common_type_t<T> value)
{
    return sg_emulated_swap(at, *at == expected ? value : *at);
}

static inline void __threadfence(void)
{
}
static inline void __threadfence_block(void)
{
}
template <typename T> T __ldg(const T *at)
{
    return *at;
}
static inline int __popc(unsigned x)
{
    return __builtin_popcount(x);
}
static inline int __clz(int x)
{
    return x ? __builtin_clz((unsigned)x) : 32;
}
static inline int __ffs(int x)
{
    return __builtin_ffs(x);
}

/* More exact than a device's, whose error is 2 + 1.2 |x| units in the last place. (glibc has the name already.) */
#define __expf expf

/* ---- The host's side ---- */

typedef enum cudaError {
    cudaSuccess = 0,
    cudaErrorInvalidValue = 1,
    cudaErrorMemoryAllocation = 2,
    cudaErrorInitializationError = 3,
    cudaErrorCudartUnloading = 4,
    cudaErrorInvalidConfiguration = 9,
    cudaErrorInvalidMemcpyDirection = 21,
    cudaErrorInsufficientDriver = 35,
    cudaErrorCallRequiresNewerDriver = 36,
    cudaErrorDevicesUnavailable = 46,
    cudaErrorInvalidDeviceFunction = 98,
    cudaErrorNoDevice = 100,
    cudaErrorInvalidDevice = 101,
    cudaErrorInvalidKernelImage = 200,
    cudaErrorNoKernelImageForDevice = 209,
    cudaErrorECCUncorrectable = 214,
    cudaErrorInvalidPtx = 218,
    cudaErrorNvlinkUncorrectable = 220,
    cudaErrorJitCompilerNotFound = 221,
    cudaErrorUnsupportedPtxVersion = 222,
    cudaErrorJitCompilationDisabled = 223,
    cudaErrorContained = 226,
    cudaErrorOperatingSystem = 304,
    cudaErrorInvalidResourceHandle = 400,
    cudaErrorNotReady = 600,
    cudaErrorIllegalAddress = 700,
    cudaErrorLaunchOutOfResources = 701,
    cudaErrorLaunchTimeout = 702,
    cudaErrorAssert = 710,
    cudaErrorHardwareStackError = 714,
    cudaErrorIllegalInstruction = 715,
    cudaErrorMisalignedAddress = 716,
    cudaErrorInvalidAddressSpace = 717,
    cudaErrorInvalidPc = 718,
    cudaErrorLaunchFailure = 719,
    cudaErrorSystemNotReady = 802,
    cudaErrorSystemDriverMismatch = 803,
    cudaErrorCompatNotSupportedOnDevice = 804,
    cudaErrorUnknown = 999,
} cudaError_t;

enum cudaMemcpyKind {
    cudaMemcpyHostToHost,
    cudaMemcpyHostToDevice,
    cudaMemcpyDeviceToHost,
    cudaMemcpyDeviceToDevice,
    cudaMemcpyDefault
};
enum { cudaStreamNonBlocking = 1, cudaEventDisableTiming = 2, cudaHostAllocDefault = 0 };
enum cudaFuncAttribute {
    cudaFuncAttributeMaxDynamicSharedMemorySize = 8,
    cudaFuncAttributePreferredSharedMemoryCarveout = 9,
    cudaFuncAttributeNonPortableClusterSizeAllowed = 14
};
enum cudaDeviceAttr {
    cudaDevAttrMaxSharedMemoryPerBlockOptin = 97,
    cudaDevAttrMultiProcessorCount = 16,
    cudaDevAttrComputeCapabilityMajor = 75,
    cudaDevAttrPageableMemoryAccess = 88,
};

typedef struct CUstream_st *cudaStream_t;
typedef struct CUevent_st *cudaEvent_t;

struct cudaDeviceProp {
    char name[256];
    size_t totalGlobalMem, sharedMemPerBlockOptin;
    int major, minor, multiProcessorCount, l2CacheSize;
};

cudaError_t cudaGetDeviceCount(int *count);
cudaError_t cudaSetDevice(int device);
cudaError_t cudaGetDevice(int *device);
cudaError_t cudaGetDeviceProperties(cudaDeviceProp *properties, int device);
cudaError_t cudaDeviceGetAttribute(int *value, cudaDeviceAttr attribute, int device);
cudaError_t cudaDriverGetVersion(int *version);
cudaError_t cudaRuntimeGetVersion(int *version);
cudaError_t cudaDeviceSynchronize(void);
cudaError_t cudaGetLastError(void);
cudaError_t cudaPeekAtLastError(void);
const char *cudaGetErrorName(cudaError_t error);
const char *cudaGetErrorString(cudaError_t error);

cudaError_t cudaMemGetInfo(size_t *free_bytes, size_t *total);
cudaError_t cudaMalloc(void **pointer, size_t bytes);
cudaError_t cudaFree(void *pointer);
cudaError_t cudaMallocHost(void **pointer, size_t bytes);
cudaError_t cudaFreeHost(void *pointer);
cudaError_t cudaMemcpyAsync(void *to, const void *from, size_t bytes, cudaMemcpyKind kind,
                            cudaStream_t stream = nullptr);
cudaError_t cudaMemsetAsync(void *to, int value, size_t bytes, cudaStream_t stream = nullptr);

cudaError_t cudaStreamCreateWithFlags(cudaStream_t *stream, unsigned flags);
cudaError_t cudaStreamDestroy(cudaStream_t stream);
cudaError_t cudaStreamSynchronize(cudaStream_t stream);
cudaError_t cudaStreamWaitEvent(cudaStream_t stream, cudaEvent_t event, unsigned flags = 0);
cudaError_t cudaEventCreate(cudaEvent_t *event);
cudaError_t cudaEventCreateWithFlags(cudaEvent_t *event, unsigned flags);
cudaError_t cudaEventDestroy(cudaEvent_t event);
cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t stream = nullptr);
cudaError_t cudaEventSynchronize(cudaEvent_t event);
cudaError_t cudaEventElapsedTime(float *milliseconds, cudaEvent_t start, cudaEvent_t end);

cudaError_t sg_emulated_set_attribute(const void *function, cudaFuncAttribute attribute, int value);
template <typename F>
cudaError_t cudaFuncSetAttribute(F *function, cudaFuncAttribute attribute, int value)
{
    return sg_emulated_set_attribute((const void *)function, attribute, value);
}
struct cudaFuncAttributes {
    int ptxVersion;
};
cudaError_t sg_emulated_get_attributes(cudaFuncAttributes *attributes);
template <typename F> cudaError_t cudaFuncGetAttributes(cudaFuncAttributes *attributes, F *)
{
    return sg_emulated_get_attributes(attributes);
}
/* As many blocks as a processor of the device takes by shared memory and threads alone. */
template <typename F>
cudaError_t cudaOccupancyMaxActiveBlocksPerMultiprocessor(int *blocks, F *, int threads,
                                                          size_t shared)
{
    int by_threads = 2048 / (threads ? threads : 1),
        by_shared = shared ? (int)(232448 / shared) : 32;
    *blocks = by_threads < by_shared ? by_threads : by_shared;
    return cudaSuccess;
}

/* ---- Launches ---- */

enum cudaLaunchAttributeID { cudaLaunchAttributeClusterDimension = 4 };
struct cudaLaunchAttribute {
    cudaLaunchAttributeID id;
    union {
        dim3 clusterDim;
    } val;
    cudaLaunchAttribute() : id(cudaLaunchAttributeClusterDimension), val{dim3()}
    {
    }
};
struct cudaLaunchConfig_t {
    dim3 gridDim, blockDim;
    size_t dynamicSmemBytes;
    cudaStream_t stream;
    cudaLaunchAttribute *attrs;
    unsigned numAttrs;
};
cudaError_t sg_emulated_clusters(int *clusters, const void *function, unsigned cluster,
                                 size_t shared);
template <typename F>
cudaError_t cudaOccupancyMaxActiveClusters(int *clusters, F *function,
                                           const cudaLaunchConfig_t *config)
{
    return sg_emulated_clusters(clusters, (const void *)function,
                                config->numAttrs ? config->attrs[0].val.clusterDim.x : 1,
                                config->dynamicSmemBytes);
}

/* A kernel bound to its arguments. */
struct sg_emulated_kernel {
    const char *name;
    const void *function;
    std::function<void()> run;
    unsigned cluster; /* blocks */
};
cudaError_t sg_emulated_launch(const sg_emulated_kernel &kernel, dim3 grid, dim3 block,
                               size_t shared, cudaStream_t stream);
void sg_emulated_check_pointer(const char *kernel, const void *pointer);

template <typename T> void sg_emulated_check_argument(const char *kernel, const T &argument)
{
    if constexpr (std::is_pointer_v<T>)
        sg_emulated_check_pointer(kernel, (const void *)argument);
    else
        (void)kernel, (void)argument;
}

template <typename... P, typename... A>
cudaError_t sg_emulate_clusters(const char *name, void (*function)(P...), unsigned cluster,
                                dim3 grid, dim3 block, size_t shared, cudaStream_t stream,
                                A... argument)
{
    std::tuple<std::remove_cv_t<P>...> bound(argument...);
    std::apply([&](auto &...each) { (sg_emulated_check_argument(name, each), ...); }, bound);
    sg_emulated_kernel kernel = {name, (const void *)function,
                                 [function, bound] { std::apply(function, bound); }, cluster};
    return sg_emulated_launch(kernel, grid, block, shared, stream);
}

template <typename... P, typename... A>
cudaError_t sg_emulate(const char *name, void (*function)(P...), dim3 grid, dim3 block,
                       size_t shared, cudaStream_t stream, A... argument)
{
    return sg_emulate_clusters(name, function, 1, grid, block, shared, stream, argument...);
}

#endif
