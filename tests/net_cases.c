/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "net_cases.h"

#include <check.h>

#include "core/rng.h"

double net_uniform(uint32_t what, uint32_t i)
{
    return sg_rng_uniform((sg_address){8, SG_STREAM_SYNTHETIC, what, 0, 0, i});
}

double net_normal(uint32_t what, uint32_t i)
{
    double pair[2];
    sg_rng_normal_pair((sg_address){9, SG_STREAM_SYNTHETIC, what, 0, 0, i}, pair);
    return pair[0];
}

sg_net_config net_small(int which)
{
    sg_net_config c = {.prior = {.vocabulary = 261,
                                 .head = 9,
                                 .head_shape = SG_HEAD_GEOMETRIC,
                                 .head_ratio = 0.8,
                                 .tail_mass = 0.3,
                                 .tail_shape = SG_TAIL_UNIFORM},
                       .width = 6,
                       .length = 3,
                       .prompt_length = 2,
                       .prompt_symbols = 5,
                       .window = 2,
                       .bias = SG_NET_BIAS_TRAINED,
                       .head_std = 0.8,
                       .tail_std = 0.6,
                       .temperature = 1,
                       .precision = SG_FP64};
    switch (which) {
    case 0: /* linear head on learned embeddings */
        break;
    case 1: /* dense blocks, tied */
        c.blocks = 2;
        c.hidden = 7;
        c.tied = true;
        c.temperature = 0.7;
        break;
    case 2: /* mixture of experts */
        c.blocks = 2;
        c.hidden = 5;
        c.experts = 8;
        c.top_k = 2;
        break;
    case 3: /* every expert, tied, no bias */
        c.blocks = 1;
        c.hidden = 4;
        c.experts = 3;
        c.top_k = 3;
        c.tied = true;
        c.bias = SG_NET_BIAS_NONE;
        break;
    case 4: /* one expert at a time: the gate is 1, the router is still there */
        c.blocks = 1;
        c.hidden = 18; /* wider than a panel */
        c.width = 17;
        c.experts = 4;
        c.top_k = 1;
        c.window = 0;
        break;
    case 5: /* frozen features */
        c.frozen_features = true;
        break;
    }
    return c;
}
sg_net *net_new(const sg_net_config *config, uint64_t seed)
{
    sg_net *net;
    sg_error error;
    ck_assert_msg(!sg_net_alloc(&net, config, &error), "%s", error.message);
    ck_assert_msg(!sg_net_init(net, seed, &error), "%s", error.message);
    return net;
}

void net_shake(sg_net *net, double scale, uint32_t what)
{
    for (size_t i = 0; i < net->tensor_count; i++) {
        const sg_tensor *t = &net->tensors[i];
        for (size_t r = 0; r < t->rows; r++)
            for (size_t k = 0; k < t->columns; k++)
                sg_net_set(net, t, r, k,
                           sg_net_get(net, t, r, k) +
                               scale *
                                   net_normal(what, (uint32_t)(t->offset + r * t->columns + k)));
    }
}
