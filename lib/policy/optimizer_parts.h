/* SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef SG_OPTIMIZER_PARTS_H
#define SG_OPTIMIZER_PARTS_H

#include "backend/cuda/flat.h"
#include "policy/optimizer.h"
#include "policy/optimizer_kernels.h"

/* What the parts of the optimiser share; not for others. */
struct sg_tensor_optimizer {
    sg_rule_config config;
    sg_precision precision;
    size_t real, count, size;
    uint64_t time;
    sg_tensor *tensors;
    bool device;
    /* v is laid out by second_offset; one number a column where coupled. */
    size_t second_size, *second_offset;
    void *first, *second; /* m or b; v */
    /* The same on a device, and the trained tensors. */
    sg_cuda_flat *device_first, *device_second;
    sg_cuda_slice *slices;
    size_t slice_count;
    /* Of the host. */
    double *tiles, *sums; /* room for the sums of a coupled tensor's columns */
    void *roots;          /* of these columns: sqrt(vhat) + eps */
};

/* Does the tensor have one v a column? */
static inline bool sg_optimizer_couples(const sg_tensor_optimizer *o, const sg_tensor *t)
{
    return o->config.rule == SG_RULE_COUPLED_ADAM && t->over_vocabulary;
}

static inline size_t sg_optimizer_first_size(const sg_tensor_optimizer *o)
{
    return o->config.rule == SG_RULE_SGD ? 0 : o->size;
}

static inline size_t sg_column_tiles(size_t rows)
{
    return (rows + SG_RULE_ROWS - 1) / SG_RULE_ROWS;
}

/* sums[columns] of factor x, or of its squares; room: tiles[sg_column_tiles(rows)][columns]. */
void sg_column_sums(const sg_rule_kernels *kernels, size_t rows, size_t columns, double factor,
                    bool squares, const void *values, size_t real, double *tiles, double *sums);

#endif
