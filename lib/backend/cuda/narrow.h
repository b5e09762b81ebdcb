/* SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef SG_CUDA_NARROW_H
#define SG_CUDA_NARROW_H

#include <stdint.h>

#ifndef SG_EMULATED
#include <cuda_bf16.h>
#endif

#include "core/host_device.h"
#include "core/vec_math.h"

/* For kernels: the numbers that tensor cores multiply, eight at a time. uint16_t is bf16, the upper half of an fp32;
 * float is tf32, an fp32 whose lower 13 bits are 0. To nearest, ties to even; NaN and infinities stay. */

/* An fp32 without its last `drop` bits; a number beyond the largest becomes infinite. */
SG_HD static inline uint32_t sg_narrow_bits(float x, int drop)
{
    uint32_t bits = sg_bits_of_float(x), odd = bits >> drop & 1, half = (UINT32_C(1) << drop) / 2;
    if (x != x)
        return bits | UINT32_C(0x00400000);
    return (bits + (half - 1 + odd)) >> drop << drop;
}

__device__ __forceinline__ float sg_widen(uint16_t x)
{
    return sg_float_of_bits((uint32_t)x << 16);
}
__device__ __forceinline__ float sg_widen(float x)
{
    return x;
}
__device__ __forceinline__ void sg_narrow(float x, uint16_t *to)
{
    *to = (uint16_t)(sg_narrow_bits(x, 16) >> 16);
}
__device__ __forceinline__ void sg_narrow(float x, float *to)
{
    *to = sg_float_of_bits(sg_narrow_bits(x, 13));
}

/* Two bf16 in one word, the first in its lower half. */
__device__ __forceinline__ uint32_t sg_narrow_pair(float low, float high)
{
#ifdef SG_EMULATED
    return sg_narrow_bits(low, 16) >> 16 | (sg_narrow_bits(high, 16) & UINT32_C(0xffff0000));
#else
    __nv_bfloat162 pair = __floats2bfloat162_rn(low, high);
    return *(const uint32_t *)&pair;
#endif
}

/* Eight neighbours by loads and stores of 128 bits; `at` is a multiple of 8. */
__device__ __forceinline__ void sg_load_eight(const uint16_t *at, float x[8])
{
    uint4 words = *(const uint4 *)at;
    const uint32_t word[4] = {words.x, words.y, words.z, words.w};
    for (int k = 0; k < 4; k++) {
        x[2 * k] = sg_float_of_bits(word[k] << 16);
        x[2 * k + 1] = sg_float_of_bits(word[k] & UINT32_C(0xffff0000));
    }
}
__device__ __forceinline__ void sg_load_eight(const float *at, float x[8])
{
    float4 low = ((const float4 *)at)[0], high = ((const float4 *)at)[1];
    const float all[8] = {low.x, low.y, low.z, low.w, high.x, high.y, high.z, high.w};
    for (int k = 0; k < 8; k++)
        x[k] = all[k];
}
__device__ __forceinline__ void sg_store_eight(uint16_t *at, const float x[8])
{
    *(uint4 *)at = make_uint4(sg_narrow_pair(x[0], x[1]), sg_narrow_pair(x[2], x[3]),
                              sg_narrow_pair(x[4], x[5]), sg_narrow_pair(x[6], x[7]));
}
__device__ __forceinline__ void sg_store_eight(float *at, const float x[8])
{
    float y[8];
    for (int k = 0; k < 8; k++)
        sg_narrow(x[k], &y[k]);
    ((float4 *)at)[0] = make_float4(y[0], y[1], y[2], y[3]);
    ((float4 *)at)[1] = make_float4(y[4], y[5], y[6], y[7]);
}

#endif
