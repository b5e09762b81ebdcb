/* SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef SG_CUDA_DEVICE_H
#define SG_CUDA_DEVICE_H

#include <stdbool.h>
#include <stddef.h>

#include "core/status.h"

/* The CUDA device as C sees it. In a build without CUDA each fallible function here answers with one
 * sentence (absent.c), so callers need no conditional compilation.
 *
 * Errors: SG_EUNSUPPORTED when this build has no CUDA, or the machine no driver, no device, or a
 * device that this build holds no code for; SG_ENOMEM with the bytes that were needed; SG_ETOOL when
 * the device or its driver failed; SG_EINTERNAL when a kernel of softgate did something forbidden.
 *
 * One process uses one device: number SOFTGATE_DEVICE if set, else the local rank that mpirun, srun
 * or torchrun gave modulo the number of devices, else 0. CUDA_VISIBLE_DEVICES comes before all that. CUDA
 * does not survive fork(): a child of a process that has used it must not. */

#ifdef __cplusplus
extern "C" {
#endif

/* Was this library built with CUDA, and for which devices: "sm_80 sm_90 compute_90" (compute_ is
 * code that newer devices compile for themselves); "" without CUDA. */
bool sg_cuda_built(void);
const char *sg_cuda_targets(void);

/* Choose the device, if this is the first call of the process, and make it current for the calling
 * thread. Everything that computes on the device starts with this. Thread-safe. */
sg_status sg_cuda_use(sg_error *error);

/* Some kernels exist twice: plain, and fast. The plain ones are used until a device has shown that the fast
 * ones are right and faster; SOFTGATE_KERNELS=plain|fast in the environment, or a call of choose, decides
 * otherwise. Results have the same bits, unless a header says how they differ. Choose before
 * anything is allocated. */
typedef enum sg_cuda_kernels { SG_CUDA_PLAIN, SG_CUDA_FAST } sg_cuda_kernels;
sg_cuda_kernels sg_cuda_kernels_chosen(void);
void sg_cuda_kernels_choose(sg_cuda_kernels kernels);

typedef struct sg_cuda_facts {
    char name[256];   /* "NVIDIA H200" */
    int index, count; /* the device in use, of how many visible ones */
    int major, minor; /* compute capability */
    int multiprocessors;
    size_t memory, free_memory;          /* bytes */
    int driver_version, runtime_version; /* 13000 is CUDA 13.0 */
} sg_cuda_facts;

sg_status sg_cuda_describe(sg_cuda_facts *facts, sg_error *error);

/* Device memory, not initialised. 0 bytes give NULL. `what` names it in the message: "the ratios". */
sg_status sg_cuda_alloc(void **pointer, size_t bytes, const char *what, sg_error *error);
void sg_cuda_free(void *pointer); /* NULL is fine */

/* Work on a stream runs in order; streams run beside each other. A sg_cuda_stream * is a cudaStream_t; NULL
 * is the default stream. */
typedef struct CUstream_st sg_cuda_stream;
sg_status sg_cuda_stream_alloc(sg_cuda_stream **stream, sg_error *error);
void sg_cuda_stream_free(sg_cuda_stream *stream);
sg_status sg_cuda_stream_wait(sg_cuda_stream *stream, sg_error *error);

/* Copies queue behind what the stream does, from and to any host memory. When they return, the host may change what was sent
 * (a device that reads pageable memory itself is waited for), and what sg_cuda_from_device asked for has arrived. */
sg_status sg_cuda_to_device(void *device, const void *host, size_t bytes, sg_cuda_stream *stream,
                            sg_error *error);
sg_status sg_cuda_from_device(void *host, const void *device, size_t bytes, sg_cuda_stream *stream,
                              sg_error *error);
/* Between arrays of the device. */
sg_status sg_cuda_copy(void *to, const void *from, size_t bytes, sg_cuda_stream *stream,
                       sg_error *error);
sg_status sg_cuda_zero(void *device, size_t bytes, sg_cuda_stream *stream, sg_error *error);

/* Seconds that a piece of work took on the device: run(context) queues it on the stream. */
sg_status sg_cuda_time(sg_cuda_stream *stream, sg_status (*run)(void *context, sg_error *error),
                       void *context, double *seconds, sg_error *error);

#ifdef __cplusplus
}
#endif

#endif
