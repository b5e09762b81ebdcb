/* SPDX-License-Identifier: GPL-3.0-or-later */
/* An optimiser's state: copied, stored, looked at. */
#include <math.h>
#include <string.h>

#include "policy/net_bytes.h"
#include "policy/optimizer_parts.h"

static size_t first_here(const sg_tensor_optimizer *o)
{
    size_t size = sg_optimizer_first_size(o);
    return (size ? size - o->resident : 0) * o->real;
}

static size_t second_here(const sg_tensor_optimizer *o)
{
    return (o->second_size - o->second_resident) * o->real;
}

sg_status sg_tensor_optimizer_copy(sg_tensor_optimizer *o, const sg_tensor_optimizer *source,
                                   sg_error *error)
{
    o->time = source->time;
    memcpy(o->first, source->first, first_here(o));
    memcpy(o->second, source->second, second_here(o));
    sg_status status = SG_OK;
    if (o->device_first)
        status = sg_cuda_flat_copy(o->device_first, source->device_first, error);
    if (!status && o->device_second)
        status = sg_cuda_flat_copy(o->device_second, source->device_second, error);
    return status;
}

void sg_tensor_optimizer_forget(sg_tensor_optimizer *o)
{
    o->time = 0;
    memset(o->first, 0, first_here(o));
    memset(o->second, 0, second_here(o));
    /* A device that fails here fails at the next step, too, which says so. */
    if (o->device_first)
        sg_cuda_flat_zero(o->device_first, 0, o->resident, NULL);
    if (o->device_second)
        sg_cuda_flat_zero(o->device_second, 0, o->second_resident, NULL);
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
    if (i >= o->second_resident)
        memcpy(v, (const char *)o->second + (i - o->second_resident) * o->real, o->real);
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
    return (sg_optimizer_first_size(o) + o->second_size) * o->real;
}

size_t sg_tensor_optimizer_bytes(const sg_tensor_optimizer *o)
{
    return sizeof(sg_store_header) + state_bytes(o);
}

sg_status sg_tensor_optimizer_write(const sg_tensor_optimizer *o, void *bytes, sg_error *error)
{
    sg_store_header header = {.shape = shape_of(o), .size = state_bytes(o), .extra = o->time};
    size_t first = o->device_first ? o->resident : 0, second = o->second_resident;
    char *content = (char *)bytes + sizeof header,
         *seconds = content + sg_optimizer_first_size(o) * o->real;
    sg_status status = SG_OK;
    memcpy(header.magic, magic, sizeof magic);
    if (first > 0)
        status = sg_cuda_flat_get(o->device_first, 0, first, content, error);
    if (!status && second > 0)
        status = sg_cuda_flat_get(o->device_second, 0, second, seconds, error);
    memcpy(content + first * o->real, o->first, first_here(o));
    memcpy(seconds + second * o->real, o->second, second_here(o));
    header.hash = sg_store_hash(SG_STORE_SEED, content, header.size);
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
    size_t first = o->device_first ? o->resident : 0, second = o->second_resident;
    const char *firsts = content, *seconds = firsts + sg_optimizer_first_size(o) * o->real;
    if (first > 0)
        status = sg_cuda_flat_put(o->device_first, 0, first, firsts, error);
    if (!status && second > 0)
        status = sg_cuda_flat_put(o->device_second, 0, second, seconds, error);
    memcpy(o->first, firsts + first * o->real, first_here(o));
    memcpy(o->second, seconds + second * o->real, second_here(o));
    o->time = header.extra;
    return status;
}
