/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "policy/net_matrix.h"

#include <stdint.h>
#include <stdlib.h>

#include "core/isa.h"

extern const sg_matrix_kernels sg_matrix_kernels_portable[2];
#ifdef __x86_64__
extern const sg_matrix_kernels sg_matrix_kernels_avx2[2];
extern const sg_matrix_kernels sg_matrix_kernels_avx512[2];
#endif

const sg_matrix_kernels *sg_matrix_select(sg_precision precision)
{
    const sg_matrix_kernels *table = sg_matrix_kernels_portable;
#ifdef __x86_64__
    sg_isa isa = sg_isa_select();
    if (isa == SG_ISA_AVX2)
        table = sg_matrix_kernels_avx2;
    if (isa == SG_ISA_AVX512)
        table = sg_matrix_kernels_avx512;
#endif
    return &table[precision];
}

size_t sg_real_size(sg_precision precision)
{
    return precision == SG_FP32 ? sizeof(float) : sizeof(double);
}

size_t sg_matrix_packed_bytes(sg_precision precision, size_t k, size_t n)
{
    size_t panel = 128 / sg_real_size(precision);
    return (n + panel - 1) / panel * k * 128;
}

void *sg_matrix_alloc(size_t bytes)
{
    if (bytes > SIZE_MAX - 64)
        return NULL;
    return aligned_alloc(64, (bytes + 64) / 64 * 64);
}
