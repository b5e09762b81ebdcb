/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "core/rng.h"
#include "policy/net.h"

/* A fast way through the many weights: bf16 is the upper half of fp32. */
static float round_bf16(float x)
{
    union {
        float number;
        uint32_t bits;
    } u = {.number = x};
    if (!(x >= -0x1.fep127f && x <= 0x1.fep127f))
        return (float)sg_sampler_round((double)x, SG_SAMPLER_BF16);
    u.bits = (u.bits + 0x7fff + (u.bits >> 16 & 1)) & 0xffff0000u;
    return u.number;
}

static float round_single(float x, sg_sampler_format format)
{
    return format == SG_SAMPLER_BF16 ? round_bf16(x) : (float)sg_sampler_round((double)x, format);
}

sg_status sg_net_emulate(sg_net *net, const sg_net *source, sg_sampler_format format, double noise,
                         uint64_t seed, uint32_t step, sg_error *error)
{
    bool narrow = net->config.precision == SG_FP32;
    net->feature_seed = source->feature_seed;
    if (net->device) {
        sg_cuda_noise how = {sg_sampler_numbers(format), noise, seed, step};
        return sg_cuda_flat_emulate(net->device, source->device, &how, error);
    }
#pragma omp parallel for schedule(static) if (net->size > 1 << 16)
    for (size_t i = 0; i < net->size; i += 2) {
        double normal[2] = {0, 0};
        if (noise > 0)
            sg_rng_normal_pair(
                (sg_address){seed, SG_STREAM_NOISE, step, 1, (uint32_t)(i >> 32), (uint32_t)i},
                normal);
        for (size_t j = i; j < i + 2; j++) {
            double x =
                narrow ? (double)((float *)source->values)[j] : ((double *)source->values)[j];
            x *= 1 + noise * normal[j - i];
            if (narrow)
                ((float *)net->values)[j] = round_single((float)x, format);
            else
                ((double *)net->values)[j] = sg_sampler_round(x, format);
        }
    }
    return SG_OK;
}
