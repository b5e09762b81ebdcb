/* SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef SG_CUDA_BANDITS_H
#define SG_CUDA_BANDITS_H

#include "backend/bandits.h"
#include "backend/cuda/device.h"

/* Small runs on a CUDA device, a block for each, all steps in one launch. What is asked was checked
 * (lib/backend/bandits.c). */

#ifdef __cplusplus
extern "C" {
#endif

sg_status sg_cuda_bandits_run(const sg_bandits *bandits, double *value, double *logits,
                              sg_error *error);

/* The same in parts, for those who run it often: tables and results on the device, the launch, the results. */
typedef struct sg_cuda_bandits sg_cuda_bandits;
sg_status sg_cuda_bandits_alloc(sg_cuda_bandits **made, const sg_bandits *bandits, bool want_logits,
                                sg_error *error);
void sg_cuda_bandits_free(sg_cuda_bandits *bandits);
sg_cuda_stream *sg_cuda_bandits_stream(const sg_cuda_bandits *bandits);
sg_status sg_cuda_bandits_queue(sg_cuda_bandits *bandits, sg_error *error);
sg_status sg_cuda_bandits_fetch(sg_cuda_bandits *bandits, double *value, double *logits,
                                sg_error *error);

#ifdef __cplusplus
}
#endif

#endif
