/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "policy/net.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "policy/net_matrix.h"
#include "policy/routing.h"

sg_status sg_net_check(const sg_net_config *c, sg_error *error)
{
    const struct {
        const char *name;
        size_t value, low, high;
    } counts[] = {
        {"width", c->width, 1, 8192},
        {"length", c->length, 1, 65536},
        {"prompt_length", c->prompt_length, 0, 4096},
        {"prompt_symbols", c->prompt_symbols, c->prompt_length > 0, 1 << 24},
        {"window", c->window, 0, c->length},
        {"blocks", c->blocks, 0, c->frozen_features ? 0 : SG_NET_BLOCKS},
        {"hidden", c->hidden, c->blocks > 0, 65536},
        {"experts", c->experts, 0, SG_ROUTE_EXPERTS},
        {"top_k", c->top_k, c->experts > 1, c->experts > 1 ? c->experts : SIZE_MAX},
        {"vocabulary", c->prior.vocabulary, 2, (size_t)1 << 30},
    };
    for (size_t i = 0; i < sizeof counts / sizeof *counts; i++)
        if (counts[i].value < counts[i].low || counts[i].value > counts[i].high)
            return sg_fail(error, SG_EARGUMENT, "%s of the net is %zu; it must be %zu to %zu%s",
                           counts[i].name, counts[i].value, counts[i].low, counts[i].high,
                           c->frozen_features && c->blocks ? " with frozen features" : "");
    if (!(c->head_std >= 0 && c->head_std <= 100) || !(c->tail_std >= 0 && c->tail_std <= 100))
        return sg_fail(error, SG_EARGUMENT,
                       "head_std is %g and tail_std is %g; both must be in [0, 100]", c->head_std,
                       c->tail_std);
    if (!(c->temperature > 0 && c->temperature <= 1e6))
        return sg_fail(error, SG_EARGUMENT, "temperature is %g; it must be above 0, at most 1e6",
                       c->temperature);
    return sg_prior_check(&c->prior, error);
}

/* Tensors begin at multiples of 16 numbers, a cache line. */
static void add_tensor(sg_net *net, const char *name, int block, size_t rows, size_t columns)
{
    if (rows * columns == 0)
        return;
    sg_tensor *t = &net->tensors[net->tensor_count++];
    *t = (sg_tensor){.offset = net->size, .rows = rows, .columns = columns, .trained = true};
    if (block >= 0)
        snprintf(t->name, sizeof t->name, "%s%d", name, block);
    else
        snprintf(t->name, sizeof t->name, "%s", name);
    net->size += (rows * columns + 15) / 16 * 16;
}

static void lay_out(sg_net *net, const sg_net_config *c)
{
    *net = (sg_net){.config = *c};
    size_t vocabulary = c->prior.vocabulary, d = c->width, slots = sg_net_slots(c);
    size_t experts = c->experts > 1 ? c->experts : 1;
    add_tensor(net, "weights", -1, vocabulary, d);
    net->tensors[0].over_vocabulary = true;
    if (c->bias != SG_NET_BIAS_NONE) {
        add_tensor(net, "bias", -1, vocabulary, 1);
        net->tensors[1].over_vocabulary = true;
        net->tensors[1].trained = c->bias == SG_NET_BIAS_TRAINED;
    }
    if (c->frozen_features)
        return;
    add_tensor(net, "tokens", -1, c->window > 0 && !c->tied ? vocabulary : 0, d);
    add_tensor(net, "prompts", -1, c->prompt_length > 0 ? c->prompt_symbols : 0, d);
    add_tensor(net, "positions", -1, c->length, d);
    add_tensor(net, "mix", -1, c->length * slots, d);
    add_tensor(net, "final_gain", -1, 1, d);
    for (int b = 0; b < (int)c->blocks; b++) {
        add_tensor(net, "gain", b, 1, d);
        add_tensor(net, "router", b, c->experts > 1 ? experts : 0, d);
        add_tensor(net, "inner", b, experts * c->hidden, d);
        add_tensor(net, "outer", b, experts * d, c->hidden);
    }
}

size_t sg_net_bytes(const sg_net_config *config)
{
    sg_net net;
    lay_out(&net, config);
    return net.size * sg_real_size(config->precision);
}

/* All numbers; of a device the gaps alone: what is not touched takes no memory. */
static void clear(sg_net *net, size_t real)
{
    for (size_t i = 0; i < net->tensor_count; i++) {
        const sg_tensor *t = &net->tensors[i];
        size_t next = i + 1 < net->tensor_count ? t[1].offset : net->size;
        size_t first = net->device ? t->offset + t->rows * t->columns : t->offset;
        memset((char *)net->values + first * real, 0, (next - first) * real);
    }
}

sg_status sg_net_alloc_on(sg_net **out, const sg_net_config *config, sg_backend_kind backend,
                          sg_error *error)
{
    *out = NULL;
    sg_status status = sg_net_check(config, error);
    if (status)
        return status;
    sg_net *net = malloc(sizeof *net);
    size_t bytes = sg_net_bytes(config), real = sg_real_size(config->precision);
    void *values = net ? sg_matrix_alloc(bytes) : NULL;
    if (!values) {
        free(net);
        return sg_fail(error, SG_ENOMEM,
                       "the parameters of the net need %.3g GiB of memory; choose a smaller "
                       "vocabulary or width",
                       (double)bytes * 0x1p-30);
    }
    lay_out(net, config);
    net->values = values;
    if (backend == SG_BACKEND_CUDA)
        status = sg_cuda_flat_alloc(&net->device, config->precision, net->size,
                                    "the parameters of a net", error);
    if (status) {
        sg_net_free(net);
        return status;
    }
    clear(net, real);
    *out = net;
    return SG_OK;
}

sg_status sg_net_alloc(sg_net **out, const sg_net_config *config, sg_error *error)
{
    return sg_net_alloc_on(out, config, SG_BACKEND_CPU, error);
}

void sg_net_free(sg_net *net)
{
    if (net) {
        free(net->values);
        sg_cuda_flat_free(net->device);
    }
    free(net);
}

sg_status sg_net_fetch(const sg_net *net, sg_error *error)
{
    return net->device ? sg_cuda_flat_get(net->device, 0, net->size, net->values, error) : SG_OK;
}

sg_status sg_net_store(sg_net *net, sg_error *error)
{
    return net->device ? sg_cuda_flat_put(net->device, 0, net->size, net->values, error) : SG_OK;
}

sg_status sg_net_copy(sg_net *net, const sg_net *source, sg_error *error)
{
    net->feature_seed = source->feature_seed;
    if (net->device)
        return sg_cuda_flat_copy(net->device, source->device, error);
    memcpy(net->values, source->values, net->size * sg_real_size(net->config.precision));
    return SG_OK;
}

size_t sg_net_slots(const sg_net_config *config)
{
    return config->prompt_length + config->window;
}

const sg_tensor *sg_net_tensor(const sg_net *net, const char *name)
{
    for (size_t i = 0; i < net->tensor_count; i++)
        if (strcmp(net->tensors[i].name, name) == 0)
            return &net->tensors[i];
    return NULL;
}

double sg_net_get(const sg_net *net, const sg_tensor *tensor, size_t row, size_t column)
{
    size_t i = tensor->offset + row * tensor->columns + column;
    return net->config.precision == SG_FP32 ? (double)((const float *)net->values)[i]
                                            : ((const double *)net->values)[i];
}

void sg_net_set(sg_net *net, const sg_tensor *tensor, size_t row, size_t column, double value)
{
    size_t i = tensor->offset + row * tensor->columns + column;
    if (net->config.precision == SG_FP32)
        ((float *)net->values)[i] = (float)value;
    else
        ((double *)net->values)[i] = value;
}

size_t sg_net_unroll(const sg_net_config *config, const sg_net_sequences *sequences,
                     int32_t *positions, int32_t *contexts, int32_t *tokens, uint32_t *sequence)
{
    size_t n = 0, prompt = config->prompt_length;
    for (size_t i = 0; i < sequences->count; i++) {
        const int32_t *response = sequences->tokens + i * config->length;
        for (size_t t = 0; t < (size_t)sequences->lengths[i]; t++, n++) {
            int32_t *context = contexts + n * sg_net_slots(config);
            for (size_t s = 0; s < prompt; s++)
                context[s] = sequences->prompts[i * prompt + s];
            for (size_t s = 0; s < config->window; s++)
                context[prompt + s] = s < t ? response[t - 1 - s] : -1;
            positions[n] = (int32_t)t;
            tokens[n] = response[t];
            if (sequence)
                sequence[n] = (uint32_t)i;
        }
    }
    return n;
}
