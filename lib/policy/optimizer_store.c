/* SPDX-License-Identifier: GPL-3.0-or-later */
/* An optimiser's state: copied, stored, looked at. */
#include <math.h>
#include <string.h>

#include "policy/net_bytes.h"
#include "policy/optimizer_parts.h"

static size_t first_bytes(const sg_tensor_optimizer *o)
{
    return sg_optimizer_first_size(o) * o->real;
}

static size_t second_bytes(const sg_tensor_optimizer *o)
{
    return o->second_size * o->real;
}

sg_status sg_tensor_optimizer_copy(sg_tensor_optimizer *o, const sg_tensor_optimizer *source,
                                   sg_error *error)
{
    sg_status status = SG_OK;
    o->time = source->time;
    if (o->device_first)
        status = sg_cuda_flat_copy(o->device_first, source->device_first, error);
    if (!status && o->device_second)
        status = sg_cuda_flat_copy(o->device_second, source->device_second, error);
    if (!o->device) {
        memcpy(o->first, source->first, first_bytes(o));
        memcpy(o->second, source->second, second_bytes(o));
    }
    return status;
}

void sg_tensor_optimizer_forget(sg_tensor_optimizer *o)
{
    o->time = 0;
    /* A device that fails here fails at the next step, too, which says so. */
    if (o->device_first)
        sg_cuda_flat_zero(o->device_first, 0, sg_optimizer_first_size(o), NULL);
    if (o->device_second)
        sg_cuda_flat_zero(o->device_second, 0, o->second_size, NULL);
    if (!o->device) {
        memset(o->first, 0, first_bytes(o));
        memset(o->second, 0, second_bytes(o));
    }
}

double sg_tensor_optimizer_second(const sg_tensor_optimizer *o, size_t tensor, size_t row,
                                  size_t column)
{
    const sg_tensor *t = &o->tensors[tensor];
    if (o->config.rule < SG_RULE_ADAM || o->time == 0)
        return 0;
    size_t i =
        o->second_offset[tensor] + (sg_optimizer_couples(o, t) ? 0 : row * t->columns) + column;
    double wide = NAN;
    float narrow = NAN;
    void *v = o->precision == SG_FP32 ? (void *)&narrow : (void *)&wide;
    if (!o->device)
        memcpy(v, (const char *)o->second + i * o->real, o->real);
    else
        sg_cuda_flat_get(o->device_second, i, 1, v, NULL); /* or it stays NaN */
    return (o->precision == SG_FP32 ? (double)narrow : wide) /
           (1 - pow(o->config.beta2, (double)o->time));
}

/* ---- bytes: first and second moments, wherever they were */

static const char magic[] = "softgate optimizer 1";

static uint64_t shape_of(const sg_tensor_optimizer *o)
{
    uint64_t shape[] = {o->config.rule, o->precision, o->size, o->second_size, o->count};
    uint64_t hash = sg_store_hash(SG_STORE_SEED, shape, sizeof shape);
    for (size_t i = 0; i < o->count; i++) {
        uint64_t tensor[] = {o->tensors[i].offset, o->tensors[i].rows, o->tensors[i].columns};
        hash = sg_store_hash(hash, tensor, sizeof tensor);
    }
    return hash;
}

static size_t state_bytes(const sg_tensor_optimizer *o)
{
    return first_bytes(o) + second_bytes(o);
}

size_t sg_tensor_optimizer_bytes(const sg_tensor_optimizer *o)
{
    return sizeof(sg_store_header) + state_bytes(o);
}

sg_status sg_tensor_optimizer_write(const sg_tensor_optimizer *o, void *bytes, sg_error *error)
{
    sg_store_header header = {.shape = shape_of(o), .size = state_bytes(o), .extra = o->time};
    char *firsts = (char *)bytes + sizeof header, *seconds = firsts + first_bytes(o);
    sg_status status = SG_OK;
    memcpy(header.magic, magic, sizeof magic);
    if (o->device_first)
        status = sg_cuda_flat_get(o->device_first, 0, sg_optimizer_first_size(o), firsts, error);
    if (!status && o->device_second)
        status = sg_cuda_flat_get(o->device_second, 0, o->second_size, seconds, error);
    if (!o->device) {
        memcpy(firsts, o->first, first_bytes(o));
        memcpy(seconds, o->second, second_bytes(o));
    }
    header.hash = sg_store_hash(SG_STORE_SEED, firsts, header.size);
    memcpy(bytes, &header, sizeof header);
    return status;
}

sg_status sg_tensor_optimizer_read(sg_tensor_optimizer *o, const void *bytes, size_t size,
                                   sg_error *error)
{
    sg_store_header header;
    const void *content;
    sg_status status = sg_store_open(bytes, size, magic, shape_of(o), state_bytes(o), &header,
                                     &content, "state of an optimizer", error);
    if (status)
        return status;
    const char *firsts = content, *seconds = firsts + first_bytes(o);
    if (o->device_first)
        status = sg_cuda_flat_put(o->device_first, 0, sg_optimizer_first_size(o), firsts, error);
    if (!status && o->device_second)
        status = sg_cuda_flat_put(o->device_second, 0, o->second_size, seconds, error);
    if (!o->device) {
        memcpy(o->first, firsts, first_bytes(o));
        memcpy(o->second, seconds, second_bytes(o));
    }
    o->time = header.extra;
    return status;
}
