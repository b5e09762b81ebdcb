/* SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef SG_CUDA_MACHINE_H
#define SG_CUDA_MACHINE_H

#include "backend/backend.h"
#include "core/status.h"

/* What the device does at best: the measure of every workload that its memory or its arithmetic limits. */

#ifdef __cplusplus
extern "C" {
#endif

typedef enum sg_cuda_traffic { SG_CUDA_COPY, SG_CUDA_IN_PLACE, SG_CUDA_READ } sg_cuda_traffic;

/* GB/s of plain kernels (a copy: or of the driver's own copy, if that is faster) on arrays that no cache
 * holds; each byte read and each byte written counts. The best of a few. */
sg_status sg_cuda_machine_rate(sg_cuda_traffic traffic, double *gb_per_s, sg_error *error);

/* GFLOP/s of a kernel that only multiplies and adds single-precision numbers in registers, fused, without
 * tensor cores: 2 for each such pair. The best of a few. */
sg_status sg_cuda_machine_gflops(double *gflops, sg_error *error);

/* GFLOP/s of cuBLASLt's product of two matrices of 8192 x 8192 numbers that are no zeros, in tf32, or in bf16 with a
 * bf16 result: the best of a few. SAME is the rate above. SG_EUNSUPPORTED without cuBLASLt. */
sg_status sg_cuda_machine_matmul(sg_matmul matmul, double *gflops, sg_error *error);

#ifdef __cplusplus
}
#endif

#endif
