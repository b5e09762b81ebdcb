/* SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef SG_CUDA_LAUNCH_H
#define SG_CUDA_LAUNCH_H

/* What every .cu file includes first: the CUDA runtime, launches, and checked calls. The same files are
 * compiled by nvcc for a device and by a C++ compiler for the emulator of tests/cuda/emulator, so they
 * are C++17 of the plainest kind, and what only nvcc understands has a macro here. */
#include <cuda_runtime.h>

#include "core/status.h"

#ifdef SG_EMULATED

#define SG_LAUNCH(kernel, grid, block, shared_bytes, stream, ...)                                  \
    sg_emulate(#kernel, kernel, grid, block, shared_bytes, stream, __VA_ARGS__)
#define SG_DYNAMIC_SHARED(type, name) type *name = (type *)sg_emulated_dynamic_shared()
#define SG_UNROLL

#else

/* Before a loop whose arrays are to be registers. */
#define SG_UNROLL _Pragma("unroll")

/* Start a kernel; a cudaError_t. Put a kernel with template arguments in parentheses. What goes wrong
 * while it runs is reported by a later call on the stream. */
/* clang-format off */
#define SG_LAUNCH(kernel, grid, block, shared_bytes, stream, ...)                                  \
    ((kernel)<<<grid, block, shared_bytes, stream>>>(__VA_ARGS__), cudaPeekAtLastError())
/* clang-format on */

/* In a kernel: the shared memory whose size the launch gives, aligned to 16 bytes. */
#define SG_DYNAMIC_SHARED(type, name)                                                              \
    extern __shared__ __align__(16) unsigned char sg_dynamic_shared_bytes[];                       \
    type *name = (type *)sg_dynamic_shared_bytes

#endif

/* SG_OK, or the status and sentence of a CUDA error. `doing` completes "while ...": "copying ratios". */
sg_status sg_cuda_check(cudaError_t code, const char *doing, sg_error *error);

#endif
