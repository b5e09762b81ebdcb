/* SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef SG_CUDA_NET_H
#define SG_CUDA_NET_H

#include "backend/net_state.h"

/* The neural policy below its output layer on a CUDA device: what backend/net_state.h declares, queued on the state's
 * stream, on arrays of the device. The formulas and the order of sums are those of backend/net_math.h, so all results have
 * the bits of the CPU. Errors: those of device.h. */

#ifdef __cplusplus
extern "C" {
#endif

extern const sg_net_kernels sg_cuda_net_kernels[2]; /* by precision */

#ifdef __cplusplus
}
#endif

#endif
