/* SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef SG_FLAT_H
#define SG_FLAT_H

#include "backend/cuda/flat.h"
#include "policy/optimizer.h"

/* A flat array of numbers that is divided into tensors, on the host or on the CUDA device. Sums are the same bits wherever the numbers are: squares in the order of
 * backend/rule_math.h, columns likewise.
 *
 * Only a device can fail (backend/cuda/device.h), and room for sums of the host (SG_ENOMEM). */
typedef struct sg_flat {
    sg_precision precision;
    size_t size;
    void *host;
    sg_cuda_flat *device; /* NULL: they are in `host` */
} sg_flat;

/* Squared 2-norm of a tensor. */
sg_status sg_flat_norm2(const sg_flat *flat, const sg_tensor *tensor, double *norm2,
                        sg_error *error);

/* sums[columns] over the rows of a tensor. */
sg_status sg_flat_columns(const sg_flat *flat, const sg_tensor *tensor, double *sums,
                          sg_error *error);

/* The sum of the 2-norms of rows first..end-1. */
sg_status sg_flat_lengths(const sg_flat *flat, const sg_tensor *tensor, size_t first, size_t end,
                          double *sum, sg_error *error);

#endif
