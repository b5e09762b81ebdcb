/* SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef SG_CUDA_CLUSTER_H
#define SG_CUDA_CLUSTER_H

#include "backend/cuda/launch.h"

#include <cooperative_groups.h>

/* Clusters: blocks that run at the same time and reach each other's shared memory. Devices of compute
 * capability 9.0 and newer have them; code for older ones is compiled too, so a kernel's body stands in
 * #if SG_HAS_CLUSTERS. Only dynamic shared memory may be looked at from another block. */
#if !defined(__CUDA_ARCH__) || __CUDA_ARCH__ >= 900
#define SG_HAS_CLUSTERS 1
#else
#define SG_HAS_CLUSTERS 0
#endif

enum { SG_CLUSTER_PORTABLE = 8, SG_CLUSTER_MOST = 16 };

/* How to launch in clusters; `attribute` must live as long. */
static inline cudaLaunchConfig_t sg_cluster_config(cudaLaunchAttribute *attribute, unsigned cluster,
                                                   unsigned grid, unsigned block, size_t shared,
                                                   cudaStream_t stream)
{
    cudaLaunchConfig_t config = {};
    attribute->id = cudaLaunchAttributeClusterDimension;
    attribute->val.clusterDim.x = cluster;
    attribute->val.clusterDim.y = attribute->val.clusterDim.z = 1;
    config.gridDim = dim3(grid);
    config.blockDim = dim3(block);
    config.dynamicSmemBytes = shared;
    config.stream = stream;
    config.attrs = attribute;
    config.numAttrs = 1;
    return config;
}

/* Start a kernel in clusters of `cluster` blocks, which divide the grid; a cudaError_t. */
#ifdef SG_EMULATED
#define SG_LAUNCH_CLUSTERS(kernel, cluster, grid, block, shared_bytes, stream, ...)                \
    sg_emulate_clusters(#kernel, kernel, cluster, grid, block, shared_bytes, stream, __VA_ARGS__)
#else
#define SG_LAUNCH_CLUSTERS(kernel, cluster, grid, block, shared_bytes, stream, ...)                \
    sg_launch_clusters(kernel, cluster, grid, block, shared_bytes, stream, __VA_ARGS__)
template <typename... P, typename... A>
cudaError_t sg_launch_clusters(void (*kernel)(P...), unsigned cluster, unsigned grid,
                               unsigned block, size_t shared, cudaStream_t stream, A... argument)
{
    cudaLaunchAttribute attribute = {};
    cudaLaunchConfig_t config = sg_cluster_config(&attribute, cluster, grid, block, shared, stream);
    return cudaLaunchKernelEx(&config, kernel, (P)argument...);
}
#endif

/* Lets a kernel take up to `most` bytes of shared memory, and says how many clusters of this size, with `shared` bytes a
 * block, the device runs at once; 0: none. */
template <typename... P>
cudaError_t sg_cluster_allow(void (*kernel)(P...), unsigned cluster, unsigned block, size_t shared,
                             size_t most, int *at_once)
{
    cudaLaunchAttribute attribute = {};
    cudaLaunchConfig_t config =
        sg_cluster_config(&attribute, cluster, cluster, block, shared, nullptr);
    cudaError_t code =
        cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, (int)most);
    cudaFuncAttributes compiled;
    *at_once = 0;
    if (code == cudaSuccess)
        code = cudaFuncGetAttributes(&compiled, kernel);
    if (code == cudaSuccess && compiled.ptxVersion < 90)
        code = cudaErrorInvalidDeviceFunction; /* an empty body, compiled for older devices */
    if (code == cudaSuccess && cluster > SG_CLUSTER_PORTABLE)
        code = cudaFuncSetAttribute(kernel, cudaFuncAttributeNonPortableClusterSizeAllowed, 1);
    return code == cudaSuccess ? cudaOccupancyMaxActiveClusters(at_once, kernel, &config) : code;
}

#endif
