/* SPDX-License-Identifier: GPL-3.0-or-later */
#include <string.h>

#include "policy/net.h"
#include "policy/net_bytes.h"
#include "policy/net_matrix.h"

/* What must agree between writer and reader: the tensors and the precision. */
static uint64_t shape_of(const sg_net *net)
{
    uint64_t hash = sg_store_hash(SG_STORE_SEED, &net->config.precision, sizeof(sg_precision));
    for (size_t i = 0; i < net->tensor_count; i++) {
        const sg_tensor *t = &net->tensors[i];
        uint64_t shape[3] = {t->offset, t->rows, t->columns};
        hash = sg_store_hash(hash, t->name, strlen(t->name));
        hash = sg_store_hash(hash, shape, sizeof shape);
    }
    return hash;
}

size_t sg_net_stored_bytes(const sg_net *net)
{
    return sizeof(sg_store_header) + net->size * sg_real_size(net->config.precision);
}

/* Straight from the device to where they are wanted. */
sg_status sg_net_write(const sg_net *net, void *bytes, sg_error *error)
{
    size_t size = net->size * sg_real_size(net->config.precision);
    sg_store_header header = {.magic = "softgate net 1",
                              .shape = shape_of(net),
                              .size = size,
                              .extra = net->feature_seed};
    char *content = (char *)bytes + sizeof header;
    sg_status status = SG_OK;
    if (net->device)
        status = sg_cuda_flat_get(net->device, 0, net->size, content, error);
    else
        memcpy(content, net->values, size);
    header.hash = sg_store_hash(SG_STORE_SEED, content, size);
    memcpy(bytes, &header, sizeof header);
    return status;
}

sg_status sg_net_read(sg_net *net, const void *bytes, size_t size, sg_error *error)
{
    sg_store_header header;
    const void *values;
    sg_status status = sg_store_open(bytes, size, "softgate net 1", shape_of(net),
                                     net->size * sg_real_size(net->config.precision), &header,
                                     &values, "parameters of a net", error);
    if (status)
        return status;
    if (net->device)
        status = sg_cuda_flat_put(net->device, 0, net->size, values, error);
    else
        memcpy(net->values, values, header.size);
    if (!status)
        net->feature_seed = header.extra;
    return status;
}
