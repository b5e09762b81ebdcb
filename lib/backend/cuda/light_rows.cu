/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Light rows on the device: their memory, copies of it, and their end. */
#include "backend/cuda/light_host.h"

namespace
{

const sg_cuda_desk_words words = {"making light rows", "the samples of light rows",
                                  "copying samples to the device", "copying from the device",
                                  "waiting for the device"};

sg_status status_of(const sg_light_rows *base, sg_error *error)
{
    sg_cuda_light_call call(base);
    if (call.rows->starved)
        call.share(SG_ENOMEM, call.rows->shortage);
    return call.say(error);
}

void release(sg_light_rows *base)
{
    sg_cuda_light_rows *rows = light_of(base);
    rows->desk.end();
    for (size_t i = 0; i < rows->held_count; i++)
        sg_cuda_free(rows->held[i]);
    sg_cuda_free(rows->samples.at);
    if (rows->told && cudaFreeHost(rows->told) != cudaSuccess)
        (void)cudaGetLastError();
    for (size_t i = 0; i < rows->shared_count; i++) {
        sg_light_prior_free(rows->shared[i].host);
        sg_cuda_free(rows->shared[i].there);
    }
    sg_light_prior_free(base->prior);
    free(rows->shared);
    free((void *)rows->held);
    free(rows->at);
    free(rows->asks);
    free(rows);
}

/* ---- Priors ---- */

/* A prior on the device, its arrays behind it. */
void send_prior(sg_cuda_light_call &call, const sg_light_prior *prior, sg_cuda_light_prior **there)
{
    size_t base_bytes = light_base_bytes(call.rows), heavy = prior->heavy_count;
    size_t q_bytes = heavy * sizeof(double), token_bytes = heavy * sizeof(int32_t);
    size_t start = sg_cuda_aligned(sizeof(sg_cuda_light_prior));
    char what[64], *made = nullptr;
    snprintf(what, sizeof what, "a prior of %zu tokens", call.rows->base.vocabulary);
    if (call.fine())
        call.status = sg_cuda_alloc((void **)&made, start + base_bytes + q_bytes + token_bytes,
                                    what, &call.error);
    if (!call.fine())
        return;
    sg_cuda_light_prior image = sg_cuda_light_prior();
    image.base = prior->base;
    sg_light_base_place(&image.base, (double *)(made + start));
    image.offset = prior->offset;
    image.heavy_q = (double *)(made + start + base_bytes);
    image.heavy = (int32_t *)(made + start + base_bytes + q_bytes);
    image.heavy_count = heavy;
    call.up(made, &image, sizeof image);
    call.up(made + start, prior->base.q, base_bytes);
    call.up(made + start + base_bytes, prior->heavy_q, q_bytes);
    call.up(made + start + base_bytes + q_bytes, prior->heavy, token_bytes);
    *there = (sg_cuda_light_prior *)made;
}

bool is_used(const sg_cuda_light_rows *rows, size_t prior)
{
    bool used = false;
    for (size_t s = 0; s < rows->base.config.states && !used; s++)
        used = rows->at[s].prior == prior;
    return used;
}

/* The place of a prior among those on the device, where it is brought if need be. */
size_t share_prior(sg_cuda_light_call &call, sg_light_prior *prior)
{
    sg_cuda_light_rows *rows = call.rows;
    size_t at = rows->shared_count;
    for (size_t i = 0; i < rows->shared_count; i++)
        if (rows->shared[i].host == prior)
            return i;
    for (size_t i = 0; i < rows->shared_count && at == rows->shared_count; i++)
        at = is_used(rows, i) ? at : i;
    if (!light_grow(&rows->shared, at, &rows->shared_room)) {
        call.status = sg_fail(&call.error, SG_ENOMEM, "not enough memory for one more prior");
        return 0;
    }
    sg_cuda_light_prior *there = nullptr;
    send_prior(call, prior, &there);
    if (!call.fine()) {
        sg_cuda_free(there);
        return 0;
    }
    if (at == rows->shared_count) {
        rows->shared_count++;
    } else { /* nobody stands on that one any more */
        sg_light_prior_free(rows->shared[at].host);
        sg_cuda_free(rows->shared[at].there);
    }
    rows->shared[at] = {sg_light_prior_retain(prior), there};
    return at;
}

/* ---- Memory of rows ---- */

/* Room for so many explicit tokens, what was there is lost; a base of its own. */
void ensure_room(sg_cuda_light_call &call, size_t state, size_t wanted)
{
    sg_cuda_light_memory *at = &call.rows->at[state];
    if (!call.fine() || at->capacity >= wanted)
        return;
    size_t capacity = (wanted + SG_LIGHT_FAN - 1) / SG_LIGHT_FAN * SG_LIGHT_FAN;
    char *memory = (char *)call.hold(sg_cuda_light_room(capacity), "the sampled tokens of a row");
    if (call.fine()) {
        at->memory = memory;
        at->capacity = capacity;
    }
}

void ensure_own(sg_cuda_light_call &call, size_t state)
{
    sg_cuda_light_memory *at = &call.rows->at[state];
    if (call.fine() && !at->own)
        at->own = (double *)call.hold(light_base_bytes(call.rows), "a row that left its prior");
}

size_t first_capacity(const sg_light_rows *base, const sg_light_prior *prior)
{
    size_t wanted = prior->heavy_count + base->config.explicit_limit;
    wanted += base->config.explicit_limit / 4 + SG_LIGHT_FAN; /* so that few ask for more */
    wanted = wanted < base->vocabulary ? wanted : base->vocabulary;
    return (wanted + SG_LIGHT_FAN - 1) / SG_LIGHT_FAN * SG_LIGHT_FAN;
}

sg_status set_prior(sg_light_rows *base, size_t state, sg_light_prior *prior, sg_error *error)
{
    sg_cuda_light_call call(base);
    sg_cuda_light_rows *rows = light_of(base);
    sg_cuda_light_memory *at = &rows->at[state];
    call.settle();
    size_t which = call.fine() ? share_prior(call, prior) : 0;
    ensure_room(call, state, first_capacity(base, prior));
    if (call.fine())
        call.check(sg_cuda_light_queue_start(rows->row + state, 1, rows->shared[which].there,
                                             at->memory, 0, at->capacity,
                                             base->config.explicit_limit, false, call.stream()),
                   "starting a light row");
    call.wait();
    if (call.fine())
        at->prior = which;
    return call.say(error);
}

/* ---- Copies on the device ---- */

void copy_rows(sg_cuda_light_call &call, const sg_cuda_light_rows *from, sg_cuda_light_copy *copies)
{
    const char *doing = "copying light rows";
    sg_cuda_light_rows *rows = call.rows;
    size_t states = rows->base.config.states;
    for (size_t s = 0; s < states && call.fine(); s++) {
        sg_cuda_light_memory *at = &rows->at[s];
        size_t which = share_prior(call, from->shared[from->at[s].prior].host);
        ensure_room(call, s, from->at[s].capacity);
        if (from->at[s].own)
            ensure_own(call, s);
        if (!call.fine())
            return;
        at->prior = which;
        copies[s] = {at->memory, at->capacity, at->own, rows->shared[which].there};
    }
    /* Rows that got other memory are without their tokens until the end of the copy. */
    call.torn = true;
    const sg_cuda_light_copy *there = call.put(states, copies);
    call.send();
    call.order(from->desk.stream, call.stream(), doing);
    if (call.fine())
        call.check(sg_cuda_light_queue_copy(rows->row, from->row, states, there, call.stream()),
                   doing);
    call.order(call.stream(), from->desk.stream, doing);
}

sg_status copy(sg_light_rows *base, const sg_light_rows *source, sg_error *error)
{
    size_t states = base->config.states;
    sg_status status = SG_OK;
    {
        sg_cuda_light_call from(source); /* what it does comes first */
        from.settle();
        status = from.say(error);
    }
    if (status != SG_OK)
        return status;
    sg_cuda_light_call call(base);
    call.settle();
    sg_cuda_light_copy *copies = (sg_cuda_light_copy *)calloc(states, sizeof *copies);
    if (call.fine() && !copies)
        call.status = sg_fail(&call.error, SG_ENOMEM, "not enough memory to copy %zu rows", states);
    if (call.open(sg_cuda_bytes<sg_cuda_light_copy>(states), 0))
        copy_rows(call, light_of(source), copies);
    free(copies);
    return call.say(error);
}

/* ---- Bytes: by way of rows on the CPU ---- */

/* One row of `host` becomes that of the device. */
void bring_row(sg_cuda_light_call &call, size_t state, sg_light_rows *host)
{
    sg_cuda_light_rows *rows = call.rows;
    sg_cuda_light_memory *at = &rows->at[state];
    sg_cuda_light_row image;
    call.down(&image, rows->row + state, sizeof image);
    if (!call.fine())
        return;
    const sg_light_row *row = &image.row;
    sg_light_row *to =
        sg_cpu_light_open(host, state, row, row->owned ? nullptr : rows->shared[at->prior].host);
    if (!to) {
        call.status = sg_fail(&call.error, SG_ENOMEM, "not enough memory for a copy of %zu rows",
                              rows->base.config.states);
        return;
    }
    size_t blocks = (row->count + SG_LIGHT_FAN - 1) / SG_LIGHT_FAN;
    call.down(to->token, row->token, row->count * sizeof *row->token);
    call.down(to->q, row->q, row->count * sizeof *row->q);
    call.down(to->block, row->block, blocks * sizeof *row->block);
    if (row->owned) {
        double *cells = to->base->q;
        *to->base = image.own;
        sg_light_base_place(to->base, cells);
        call.down(cells, image.own.q, light_base_bytes(rows));
    }
    if (call.fine())
        sg_cpu_light_seal(to);
}

/* And back. */
void send_row(sg_cuda_light_call &call, size_t state, const sg_light_rows *host)
{
    sg_cuda_light_rows *rows = call.rows;
    sg_cuda_light_memory *at = &rows->at[state];
    sg_light_prior *prior;
    const sg_light_row *from = sg_cpu_light_look(host, state, &prior);
    if (prior)
        at->prior = share_prior(call, prior);
    else
        ensure_own(call, state);
    ensure_room(call, state, from->count > at->capacity ? from->count : at->capacity);
    if (!call.fine())
        return;
    sg_cuda_light_row *there = rows->row + state, image = sg_cuda_light_row();
    image.row = *from;
    sg_cuda_light_place(&image.row, at->memory, at->capacity);
    image.own.q = at->own;
    image.row.base = prior ? &rows->shared[at->prior].there->base : &there->own;
    if (!prior) {
        image.own = *from->base;
        sg_light_base_place(&image.own, at->own);
        call.up(at->own, from->base->q, light_base_bytes(rows));
    }
    size_t blocks = (from->count + SG_LIGHT_FAN - 1) / SG_LIGHT_FAN;
    call.up(there, &image, sizeof image);
    call.up(image.row.token, from->token, from->count * sizeof *from->token);
    call.up(image.row.q, from->q, from->count * sizeof *from->q);
    call.up(image.row.block, from->block, blocks * sizeof *from->block);
    if (call.fine())
        call.check(sg_cuda_light_queue_seal(there, call.stream()), "loading light rows");
}

size_t save(const sg_light_rows *base, void *to)
{
    sg_cuda_light_call call(base);
    sg_light_rows *host = nullptr;
    call.settle();
    if (call.fine())
        call.status = sg_cpu_light_alloc(&host, &base->config, base->prior, &call.error);
    for (size_t s = 0; s < base->config.states && call.fine(); s++)
        bring_row(call, s, host);
    size_t size = call.fine() ? sg_light_rows_save(host, to) : 0;
    sg_light_rows_free(host);
    return size;
}

sg_status load(sg_light_rows *base, const void *from, size_t size, sg_error *error)
{
    sg_cuda_light_call call(base);
    sg_light_rows *host = nullptr;
    call.settle();
    if (call.fine())
        call.status = sg_cpu_light_alloc(&host, &base->config, base->prior, &call.error);
    sg_status status = call.fine() ? sg_light_rows_load(host, from, size, error) : SG_OK;
    for (size_t s = 0; s < base->config.states && call.fine() && status == SG_OK; s++)
        send_row(call, s, host);
    call.wait();
    sg_light_rows_free(host);
    return status != SG_OK ? status : call.say(error);
}

sg_light_report report(const sg_light_rows *base, size_t state)
{
    sg_cuda_light_call call(base);
    sg_cuda_light_row image = sg_cuda_light_row();
    call.settle();
    call.down(&image, light_of(base)->row + state, sizeof image);
    if (!call.fine())
        image.row.bound = (double)NAN;
    return sg_light_report_of(&image.row);
}

const sg_light_methods methods = {
    release,
    status_of,
    set_prior,
    sg_cuda_light_get_logits,
    copy,
    save,
    load,
    sg_cuda_light_draw,
    sg_cuda_light_log_prob,
    sg_cuda_light_update,
    sg_cuda_light_inner_updates,
    sg_cuda_light_observe,
    sg_cuda_light_collision,
    sg_cuda_light_masses,
    report,
};

/* ---- Rows ---- */

void start_rows(sg_cuda_light_rows *rows)
{
    sg_cuda_light_call call(&rows->base);
    size_t states = rows->base.config.states, which = 0;
    size_t capacity = first_capacity(&rows->base, rows->base.prior);
    size_t stride = sg_cuda_aligned(sg_cuda_light_room(capacity));
    sg_cuda_facts facts;
    char what[96];
    snprintf(what, sizeof what, "a table of %zu light states of %zu tokens", states,
             rows->base.vocabulary);
    if (call.fine())
        call.status = sg_cuda_describe(&facts, &call.error);
    if (call.fine())
        call.status = rows->desk.start(&call.error);
    if (call.fine())
        call.check(cudaMallocHost((void **)&rows->told, sizeof *rows->told),
                   "taking page-locked memory");
    rows->counts = (sg_cuda_light_counts *)call.hold(sizeof *rows->counts, what);
    rows->row = (sg_cuda_light_row *)call.hold(states * sizeof *rows->row, what);
    call.zero(rows->counts, sizeof *rows->counts);
    char *memory = (char *)call.hold(states * stride, what);
    if (call.fine())
        which = share_prior(call, rows->base.prior);
    if (!call.fine()) {
        call.torn = true;
        return;
    }
    snprintf(rows->name, sizeof rows->name, "light/cuda/sm_%d%d", facts.major, facts.minor);
    rows->blocks = 2 * (unsigned)facts.multiprocessors;
    for (size_t s = 0; s < states; s++)
        rows->at[s] = {memory + s * stride, capacity, nullptr, which};
    call.check(sg_cuda_light_queue_start(rows->row, states, rows->shared[which].there, memory,
                                         stride, capacity, rows->base.config.explicit_limit, true,
                                         call.stream()),
               "starting light rows");
    call.wait();
}

} // namespace

extern "C" sg_status sg_cuda_light_alloc(sg_light_rows **rows, const sg_light_config *config,
                                         sg_light_prior *prior, sg_error *error)
{
    *rows = nullptr;
    sg_cuda_light_rows *made = (sg_cuda_light_rows *)calloc(1, sizeof *made);
    if (made) {
        made->at = (sg_cuda_light_memory *)calloc(config->states, sizeof *made->at);
        made->asks = (sg_cuda_light_ask *)calloc(config->states, sizeof *made->asks);
    }
    if (!made || !made->at || !made->asks) {
        free(made ? made->at : nullptr);
        free(made ? made->asks : nullptr);
        free(made);
        return sg_fail(error, SG_ENOMEM, "%zu states need more memory than this machine gives",
                       config->states);
    }
    made->base.methods = &methods;
    made->base.backend = SG_BACKEND_CUDA;
    made->base.config = *config;
    made->base.vocabulary = prior->base.vocabulary;
    made->base.head = prior->base.head;
    made->base.prior = sg_light_prior_retain(prior);
    made->base.name = made->name;
    made->desk.init(&words);
    start_rows(made);
    sg_status status = status_of(&made->base, error);
    if (status != SG_OK) {
        release(&made->base);
        return status;
    }
    *rows = &made->base;
    return SG_OK;
}

extern "C" sg_cuda_stream *sg_cuda_light_stream(const sg_light_rows *rows)
{
    return light_of(rows)->desk.stream;
}
