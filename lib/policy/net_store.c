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

void sg_net_write(const sg_net *net, void *bytes)
{
    size_t size = net->size * sg_real_size(net->config.precision);
    sg_store_header header = {.magic = "softgate net 1",
                              .shape = shape_of(net),
                              .size = size,
                              .extra = net->feature_seed,
                              .hash = sg_store_hash(SG_STORE_SEED, net->values, size)};
    memcpy(bytes, &header, sizeof header);
    memcpy((char *)bytes + sizeof header, net->values, size);
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
    memcpy(net->values, values, header.size);
    net->feature_seed = header.extra;
    return SG_OK;
}
