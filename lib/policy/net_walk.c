/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The way through the net below its output layer, there and back: the same for every backend. */
#include <string.h>

#include "backend/cuda/net.h"
#include "policy/net_pass.h"

static const sg_net_kernels *kernels_of(const sg_net_pass *pass)
{
    bool device = pass->backend == SG_BACKEND_CUDA;
    return &(device ? sg_cuda_net_kernels : sg_net_kernels_of)[pass->state.precision];
}

/* What is on the device is used in turn with other streams. */
static sg_status enter(const sg_net_pass *pass, const sg_net *net, sg_error *error)
{
    return net->device ? sg_cuda_flat_enter(net->device, pass->state.stream, error) : SG_OK;
}

/* What the use came to; the order holds whatever that is. */
static sg_status leave(const sg_net_pass *pass, const sg_net *net, sg_status status,
                       sg_error *error)
{
    if (!net->device)
        return status;
    sg_status left = sg_cuda_flat_leave(net->device, pass->state.stream, status ? NULL : error);
    return status ? status : left;
}

static sg_status clear(const sg_net_pass *pass, void *array, size_t count, sg_error *error)
{
    size_t bytes = count * sg_real_size(pass->state.precision);
    if (pass->backend == SG_BACKEND_CUDA)
        return sg_cuda_zero(array, bytes, pass->state.stream, error);
    memset(array, 0, bytes);
    return SG_OK;
}

/* The host makes them. */
static sg_status frozen(sg_net_pass *pass, const sg_net *net, sg_error *error)
{
    const sg_net_state *s = &pass->state;
    size_t bytes = s->rows * s->width * sg_real_size(s->precision);
    if (pass->backend != SG_BACKEND_CUDA) {
        sg_net_frozen(pass, net, s->h);
        return SG_OK;
    }
    sg_status status = sg_net_room_grow(&pass->features_here, bytes, error);
    if (status)
        return status;
    sg_net_frozen(pass, net, pass->features_here.bytes);
    return sg_cuda_to_device(s->h, pass->features_here.bytes, bytes, s->stream, error);
}

static sg_status go_forward(sg_net_pass *pass, const sg_net *net, sg_error *error)
{
    const sg_net_state *s = &pass->state;
    const sg_net_kernels *kernels = kernels_of(pass);
    sg_net_view view = sg_net_look(net);
    sg_status status = kernels->embed(s, &view, s->blocks ? s->block[0].x : s->x, error);
    for (size_t i = 0; i < s->blocks && !status; i++) {
        const sg_net_block_state *b = &s->block[i];
        status = kernels->normalize(s, b->x, view.block[i].gain, b->n, b->inverse_rms, error);
        if (!status)
            status = kernels->route(s, i, &view, error);
        if (!status)
            status = kernels->experts(s, i, &view, i + 1 < s->blocks ? b[1].x : s->x, error);
    }
    return status ? status
                  : kernels->normalize(s, s->x, view.final_gain, s->h, s->inverse_rms, error);
}

sg_status sg_net_walk_forward(sg_net_pass *pass, const sg_net *net, sg_error *error)
{
    if (net->config.frozen_features)
        return frozen(pass, net, error);
    sg_status status = enter(pass, net, error);
    if (!status)
        status = go_forward(pass, net, error);
    return leave(pass, net, status, error);
}

/* The terms to where the kernels work, and room for sums that are added afterwards. */
static sg_status send_terms(sg_net_pass *pass, sg_net_terms *terms, sg_error *error)
{
    const sg_net_state *s = &pass->state;
    sg_net_arena arena = {NULL, 0};
    sg_net_place_terms(terms, &arena);
    size_t bytes = arena.used;
    sg_status status = sg_net_room_grow(&pass->terms_there, bytes, error);
    if (!status)
        status = sg_net_room_grow(&pass->parts,
                                  terms->parts * s->width * sg_real_size(s->precision), error);
    if (status)
        return status;
    arena = (sg_net_arena){pass->terms_there.bytes, 0};
    *terms = sg_net_place_terms(terms, &arena);
    return sg_cuda_to_device(pass->terms_there.bytes, pass->terms_here.bytes, bytes, s->stream,
                             error);
}

/* The output layer overwrites its own tensors, which come first. */
static sg_status clear_rest(const sg_net_pass *pass, const sg_net *gradient, sg_error *error)
{
    size_t first = 0;
    while (gradient->tensors[first].over_vocabulary)
        first++;
    size_t at = gradient->tensors[first].offset, real = sg_real_size(pass->state.precision);
    char *numbers = sg_net_look(gradient).numbers;
    return clear(pass, numbers + at * real, gradient->size - at, error);
}

static sg_status go_backward(sg_net_pass *pass, const sg_net *net, const sg_net *gradient,
                             sg_error *error)
{
    const sg_net_state *s = &pass->state;
    const sg_net_kernels *kernels = kernels_of(pass);
    sg_net_view view = sg_net_look(net), out = sg_net_look(gradient);
    sg_net_terms terms;
    sg_status status = clear_rest(pass, gradient, error);
    if (!status)
        status = clear(pass, s->dx, s->rows * s->width, error);
    if (!status)
        status = kernels->normalize_back(s, s->x, view.final_gain, s->h, s->inverse_rms, s->dh,
                                         out.final_gain, error);
    for (size_t i = s->blocks; i-- > 0 && !status;) {
        const sg_net_block_state *b = &s->block[i];
        status = kernels->experts_back(s, i, &view, &out, error);
        if (!status && view.block[i].router)
            status = kernels->router_back(s, i, &view, &out, error);
        if (!status)
            status = kernels->normalize_back(s, b->x, view.block[i].gain, b->n, b->inverse_rms,
                                             s->dn, out.block[i].gain, error);
    }
    if (!status)
        status = sg_net_make_terms(pass, net, &terms, error);
    if (!status && pass->backend == SG_BACKEND_CUDA)
        status = send_terms(pass, &terms, error);
    return status ? status : kernels->embed_back(s, &view, &out, &terms, pass->parts.bytes, error);
}

sg_status sg_net_walk_backward(sg_net_pass *pass, const sg_net *net, const sg_net *gradient,
                               sg_error *error)
{
    sg_status status = enter(pass, net, error);
    if (!status)
        status = enter(pass, gradient, error);
    if (!status)
        status = go_backward(pass, net, gradient, error);
    return leave(pass, gradient, leave(pass, net, status, error), error);
}
