/* SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef SG_TEST_BROKEN_KERNELS_H
#define SG_TEST_BROKEN_KERNELS_H

#include "core/status.h"

/* Kernels with one mistake each, and right ones beside them. Each runs on 70 threads of 3 blocks. */
#ifdef __cplusplus
extern "C" {
#endif

enum { KERNEL_THREADS = 70, KERNEL_BLOCKS = 3, KERNEL_N = KERNEL_THREADS * KERNEL_BLOCKS };

typedef enum kernel_mistake {
    NO_MISTAKE,
    MISSING_BARRIER,  /* reads a neighbour's shared memory too early */
    MISSING_SYNCWARP, /* the same within a warp */
    WRITE_BEYOND,     /* one element past the end of an allocation */
    READ_BEYOND,
    SHARED_BEYOND,   /* past the end of dynamic shared memory */
    BARRIER_OF_SOME, /* threads that returned before a barrier */
    SHUFFLE_OF_SOME, /* lanes that do not come to a shuffle */
    NOT_INITIALISED, /* adds to device memory that nobody cleared */
    HOST_POINTER,
    NO_CLUSTER_MISTAKE,      /* from here on the blocks are a cluster */
    MISSING_CLUSTER_BARRIER, /* reads another block's shared memory too early */
    LEFT_TOO_EARLY,          /* ends while another block may still look at its shared memory */
    CLUSTER_BARRIER_OF_SOME,
    BLOCK_OF_NO_CLUSTER, /* asks for the shared memory of a block that is not there */
    STATIC_OF_CLUSTER,   /* asks for what is not dynamic shared memory */
    MISTAKES
} kernel_mistake;

/* out[i] = what a right kernel gives: the value of the next thread of the block, around; in a cluster that of the
 * same thread of the next block. With AddressSanitizer some mistakes end the process. */
sg_status run_kernel(kernel_mistake mistake, int out[KERNEL_N], sg_error *error);

/* Sums and exchanges of a warp in every form, against plain loops; "" or what differs. */
const char *compare_warp_functions(void);

#ifdef __cplusplus
}
#endif

#endif
