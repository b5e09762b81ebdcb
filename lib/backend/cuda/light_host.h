/* SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef SG_CUDA_LIGHT_HOST_H
#define SG_CUDA_LIGHT_HOST_H

/* The host's side of light rows on the device: it owns their memory and knows where everything lies. */
#include "backend/cuda/desk.h"

#include <stdio.h>
#include <stdlib.h>

#include "backend/cuda/light.h"
#include "backend/light.h"

/* A prior that is on the device, and the host's share of it. */
struct sg_cuda_light_shared {
    sg_light_prior *host;
    sg_cuda_light_prior *there; /* all its arrays lie behind it */
};

/* Memory of one row. */
struct sg_cuda_light_memory {
    char *memory; /* of its explicit tokens */
    size_t capacity;
    double *own;  /* q and sums of a base of its own; NULL: it never left its prior */
    size_t prior; /* which it started from, in shared */
};

struct sg_cuda_light_rows {
    sg_light_rows base;
    char name[40];
    sg_cuda_desk desk;
    unsigned blocks;          /* that finish rows side by side */
    sg_cuda_light_row *row;   /* [states], on the device */
    sg_cuda_light_memory *at; /* [states] */
    sg_cuda_light_shared *shared;
    size_t shared_count, shared_room;
    void **held; /* device memory that lives as long as the rows */
    size_t held_count, held_room;
    /* The last update, of which nobody knows yet whether all rows came to its end. What it works with
     * stays where it is until then: here, and in the room of the desk. */
    bool under_way;
    sg_cuda_light_work work;
    sg_cuda_room samples;
    sg_cuda_light_counts *counts; /* on the device */
    sg_cuda_light_counts
        *told;               /* page-locked: the counts at its end, once it has been waited for */
    sg_cuda_light_ask *asks; /* [states] */
    bool starved;            /* there was no memory for rows that stopped in it */
    sg_error shortage;
};

static inline sg_cuda_light_rows *light_of(const sg_light_rows *rows)
{
    return (sg_cuda_light_rows *)(uintptr_t)rows;
}

/* Memory that is not there is only reported, if the rows are whole. */
struct sg_cuda_light_call : sg_cuda_call {
    sg_cuda_light_rows *rows;

    explicit sg_cuda_light_call(const sg_light_rows *base)
        : sg_cuda_call(&light_of(base)->desk), rows(light_of(base))
    {
        torn = false;
    }
    void *hold(size_t bytes, const char *what);
    /* After a wait: gives rows that stopped in the update under way the memory that they lack, and waits until
     * they are through. True when there were some: what has been asked meanwhile is to be asked again. */
    bool finish();
    /* Before anything that changes rows or needs their whole state. Waits if an update is under way. */
    void settle()
    {
        if (!rows->under_way)
            return;
        wait();
        (void)finish();
    }
    /* Asks, which waits; questions change nothing and have no part in the room. */
    template <typename F> void look(const F &ask)
    {
        do
            ask();
        while (finish());
    }
    /* The host's memory may be used again at once. */
    void up(void *there, const void *things, size_t bytes)
    {
        sg_cuda_call::up(there, things, bytes);
        wait();
    }
};

/* Room for one more in an array of the host. False without memory. */
template <typename T> bool light_grow(T **things, size_t count, size_t *room)
{
    if (count < *room)
        return true;
    size_t more = 2 * *room + 16;
    T *made = (T *)realloc((void *)*things, more * sizeof(T));
    if (!made)
        return false;
    *things = made;
    *room = more;
    return true;
}

/* Device memory until the rows are freed; NULL, and the call fails, without. */
inline void *sg_cuda_light_call::hold(size_t bytes, const char *what)
{
    void *made = nullptr;
    if (fine() && !light_grow(&rows->held, rows->held_count, &rows->held_room))
        status = sg_fail(&error, SG_ENOMEM, "not enough memory for %s", what);
    if (fine())
        status = sg_cuda_alloc(&made, bytes, what, &error);
    if (fine())
        rows->held[rows->held_count++] = made;
    return made;
}

/* Bytes of q and all sums of a base. */
static inline size_t light_base_bytes(const sg_cuda_light_rows *rows)
{
    sg_light_base shape;
    return sg_light_base_layout(&shape, rows->base.vocabulary, rows->base.head) * sizeof(double);
}

/* The methods that ask or move rows, in light_calls.cu. */
void sg_cuda_light_get_logits(const sg_light_rows *base, size_t state, double *logits);
void sg_cuda_light_draw(const sg_light_rows *base, size_t first, size_t count, size_t n,
                        const double *uniforms, int32_t *tokens, double *log_prob);
void sg_cuda_light_log_prob(const sg_light_rows *base, size_t first, size_t count, size_t n,
                            const int32_t *tokens, double *log_prob);
sg_status sg_cuda_light_update(sg_light_rows *base, double lr, bool projected, size_t first,
                               size_t count, size_t n, const int32_t *tokens, const double *pushes,
                               sg_row_change *change, sg_error *error);
sg_status sg_cuda_light_inner_updates(sg_light_rows *base, double lr, uint64_t updates,
                                      const sg_objective *objective, double factor, size_t first,
                                      size_t count, size_t n, const int32_t *tokens,
                                      const double *old_log_prob, const double *advantage,
                                      double *pushes, sg_error *error);
void sg_cuda_light_observe(const sg_light_rows *base, size_t first, size_t count,
                           sg_row_observation *observation);
void sg_cuda_light_collision(const sg_light_rows *base, size_t first, size_t count,
                             double *collision);
void sg_cuda_light_masses(const sg_light_rows *base, size_t sets, const size_t *state,
                          const size_t *start, const int32_t *tokens, double *mass);

#endif
