/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Embeddings of the response's tokens where their table is on a device: the few rows that a batch needs travel, and
 * later their gradients, instead of the table. */
#include <stdlib.h>

#include "policy/net_pass.h"

static int by_number(const void *a, const void *b)
{
    int32_t x = *(const int32_t *)a, y = *(const int32_t *)b;
    return (x > y) - (x < y);
}

static size_t table_offset(const sg_net *net)
{
    return sg_net_tensor(net, net->config.tied ? "weights" : "tokens")->offset;
}

/* Tokens in the slots of the response, each once, in order. */
static size_t list_tokens(const sg_net_pass *pass, const sg_net_config *c, int32_t *tokens)
{
    size_t n = 0, count = 0;
    for (size_t r = 0; r < pass->rows; r++) {
        const int32_t *context = pass->batch.contexts + pass->example[r] * pass->slots;
        for (size_t s = c->prompt_length; s < pass->slots; s++)
            if (context[s] >= 0)
                tokens[n++] = context[s];
    }
    qsort(tokens, n, sizeof *tokens, by_number);
    for (size_t i = 0; i < n; i++)
        if (i == 0 || tokens[i] != tokens[i - 1])
            tokens[count++] = tokens[i];
    return count;
}

/* Room for `tokens` numbers, of which no more than the vocabulary differ, and for rows and gradients of those. */
static sg_status reserve(sg_net_pass *pass, const sg_net_config *c, size_t tokens, sg_error *error)
{
    size_t most = tokens < c->prior.vocabulary ? tokens : c->prior.vocabulary;
    size_t numbers = (tokens * sizeof(int32_t) + 63) / 64 * 64,
           rows = most * c->width * sg_real_size(c->precision), bytes = numbers + 2 * rows;
    if (pass->embeddings.size < bytes) {
        free(pass->embeddings.bytes);
        pass->embeddings.size = 0;
        if (!(pass->embeddings.bytes = sg_matrix_alloc(bytes)))
            return sg_fail(error, SG_ENOMEM,
                           "the embeddings of %zu tokens need another %.3g GiB of memory; take "
                           "fewer positions a step, or a smaller net",
                           most, (double)bytes * 0x1p-30);
        pass->embeddings.size = bytes;
    }
    pass->embeddings.tokens = pass->embeddings.bytes;
    pass->embeddings.rows = (char *)pass->embeddings.bytes + numbers;
    pass->embeddings.gradients = (char *)pass->embeddings.rows + rows;
    return SG_OK;
}

sg_status sg_net_embeddings_fetch(sg_net_pass *pass, const sg_net *net, sg_error *error)
{
    const sg_net_config *c = &net->config;
    pass->embeddings.count = 0;
    if (!net->device || c->frozen_features || c->window == 0)
        return SG_OK;
    sg_status status = reserve(pass, c, pass->rows * c->window, error);
    if (status)
        return status;
    pass->embeddings.count = list_tokens(pass, c, pass->embeddings.tokens);
    return sg_cuda_flat_gather(net->device, table_offset(net), c->width, pass->embeddings.count,
                               pass->embeddings.tokens, pass->embeddings.rows, error);
}

sg_status sg_net_embeddings_open(sg_net_pass *pass, const sg_net *gradient, sg_error *error)
{
    if (pass->embeddings.count == 0)
        return SG_OK;
    return sg_cuda_flat_gather(gradient->device, table_offset(gradient), gradient->config.width,
                               pass->embeddings.count, pass->embeddings.tokens,
                               pass->embeddings.gradients, error);
}

sg_status sg_net_embeddings_close(sg_net_pass *pass, sg_net *gradient, sg_error *error)
{
    if (pass->embeddings.count == 0)
        return SG_OK;
    return sg_cuda_flat_scatter(gradient->device, table_offset(gradient), gradient->config.width,
                                pass->embeddings.count, pass->embeddings.tokens,
                                pass->embeddings.gradients, error);
}

size_t sg_net_embeddings_row(const sg_net_pass *pass, int32_t token)
{
    const int32_t *at =
        bsearch(&token, pass->embeddings.tokens, pass->embeddings.count, sizeof token, by_number);
    return (size_t)(at - pass->embeddings.tokens);
}
