/* SPDX-License-Identifier: GPL-3.0-or-later */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "core/rng.h"
#include "policy/net.h"

/* Each tensor has its own random numbers, at the same addresses in every configuration. */
static const char *const names[] = {"weights", "tokens", "prompts", "positions",
                                    "router",  "inner",  "outer"};

static uint32_t number_of(const char *name, uint32_t *block)
{
    for (uint32_t i = 0; i < sizeof names / sizeof *names; i++) {
        size_t n = strlen(names[i]);
        if (strncmp(name, names[i], n) == 0) {
            *block = name[n] ? (uint32_t)(name[n] - '0') : 0;
            return i;
        }
    }
    return UINT32_MAX;
}

static void fill_normal(sg_net *net, const sg_tensor *tensor, size_t row, double scale,
                        uint64_t seed)
{
    uint32_t block = 0;
    sg_address at = {seed,  SG_STREAM_INIT, number_of(tensor->name, &block),
                     block, (uint32_t)row,  0};
    for (size_t k = 0; k < tensor->columns; k += 2) {
        double pair[2];
        at.token = (uint32_t)(k / 2);
        sg_rng_normal_pair(at, pair);
        for (size_t j = 0; j < 2 && k + j < tensor->columns; j++)
            sg_net_set(net, tensor, row, k + j, scale * pair[j]);
    }
}

static sg_status set_bias(sg_net *net, const sg_tensor *bias, sg_error *error)
{
    const sg_net_config *c = &net->config;
    double *logits = malloc(c->prior.vocabulary * sizeof *logits);
    if (!logits)
        return sg_fail(error, SG_ENOMEM, "the prior needs %.3g GiB of memory",
                       (double)c->prior.vocabulary * sizeof *logits * 0x1p-30);
    sg_prior_logits(&c->prior, logits);
    for (size_t v = 0; v < c->prior.vocabulary; v++) {
        double s = v < c->prior.head ? c->head_std : c->tail_std;
        sg_net_set(net, bias, v, 0, logits[v] - s * s / 2);
    }
    free(logits);
    return SG_OK;
}

/* Slots share the variance. A tied embedding is short, which its mix makes up for. */
static void set_mix(sg_net *net, const sg_tensor *mix)
{
    const sg_net_config *c = &net->config;
    size_t slots = sg_net_slots(c);
    double plain = 1 / sqrt((double)slots), tied = plain * sqrt((double)c->width);
    if (c->head_std > 0)
        tied /= c->head_std;
    for (size_t row = 0; row < mix->rows; row++) {
        bool window = row % slots >= c->prompt_length;
        for (size_t k = 0; k < mix->columns; k++)
            sg_net_set(net, mix, row, k, window && c->tied ? tied : plain);
    }
}

sg_status sg_net_init(sg_net *net, uint64_t seed, sg_error *error)
{
    const sg_net_config *c = &net->config;
    net->feature_seed = seed;
    for (size_t i = 0; i < net->tensor_count; i++) {
        const sg_tensor *t = &net->tensors[i];
        if (strcmp(t->name, "bias") == 0) {
            sg_status status = set_bias(net, t, error);
            if (status)
                return status;
            continue;
        }
        if (strcmp(t->name, "mix") == 0) {
            set_mix(net, t);
            continue;
        }
        bool gain = strncmp(t->name, "gain", 4) == 0 || strcmp(t->name, "final_gain") == 0;
        bool router = strncmp(t->name, "router", 6) == 0;
        bool inner = strncmp(t->name, "inner", 5) == 0, outer = strncmp(t->name, "outer", 5) == 0;
        double scale = router || inner ? 1 / sqrt((double)c->width) : 1;
        if (outer) /* all blocks together add about as much as the embeddings */
            scale = 1 / sqrt((double)(c->hidden * c->blocks));
#pragma omp parallel for schedule(static) if (t->rows > 4096)
        for (size_t row = 0; row < t->rows; row++) {
            double own = scale;
            if (i == 0)
                own = (row < c->prior.head ? c->head_std : c->tail_std) / sqrt((double)c->width);
            for (size_t k = 0; gain && k < t->columns; k++)
                sg_net_set(net, t, row, k, 1);
            if (!gain)
                fill_normal(net, t, row, own, seed);
        }
    }
    return sg_net_store(net, error);
}
