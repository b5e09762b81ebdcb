/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Light rows as bytes. A row that still stands on the rows' own prior does not save it. */
#include <string.h>

#include "backend/cpu/light.h"

/* One walk over a row serves three purposes: to count bytes (out and in NULL), to write, to read. */
typedef struct walk {
    char *out;
    const char *in;
    size_t size, left; /* so far; of what is read */
    bool failed;       /* what is read does not fit */
} walk;

static void pass(walk *w, void *data, size_t size)
{
    w->size += size;
    if (size == 0) /* data may be NULL */
        return;
    if (w->out != NULL) {
        memcpy(w->out, data, size);
        w->out += size;
    } else if (w->in != NULL) {
        w->failed = w->failed || size > w->left;
        if (w->failed)
            return;
        memcpy(data, w->in, size);
        w->in += size;
        w->left -= size;
    }
}

/* A number below `end`, or at most that. */
static void pass_count(walk *w, size_t *count, size_t most)
{
    uint64_t stored = *count;
    pass(w, &stored, sizeof stored);
    w->failed = w->failed || stored > most;
    *count = w->failed ? 0 : (size_t)stored;
}

static void pass_token(walk *w, int32_t *token, size_t vocabulary)
{
    pass(w, token, sizeof *token);
    w->failed = w->failed || *token < -2 || (*token >= 0 && (size_t)*token >= vocabulary);
}

static void pass_tokens(walk *w, int32_t *tokens, size_t n, size_t vocabulary)
{
    for (size_t i = 0; i < n && !w->failed; i++) {
        pass_token(w, &tokens[i], vocabulary);
        w->failed = w->failed || tokens[i] < 0;
    }
}

static void pass_prior(walk *w, sg_light_prior *prior)
{
    sg_light_base *base = &prior->base;
    size_t cells = base->vocabulary, heavy = prior->heavy_count;
    for (size_t l = 0; l < base->levels; l++)
        cells += base->width[l];
    pass(w, base->q, cells * sizeof *base->q);
    pass(w, &base->total, sizeof base->total);
    pass(w, &base->scale, sizeof base->scale);
    pass(w, base->sums, sizeof base->sums);
    pass_token(w, &base->top, base->vocabulary);
    pass_token(w, &base->bottom, base->vocabulary);
    pass_count(w, &base->positive, base->vocabulary);
    pass_count(w, &heavy, base->vocabulary);
    if (w->in != NULL && !w->failed && !sg_light_prior_reserve_heavy(prior, heavy))
        w->failed = true;
    if (w->failed)
        return;
    prior->heavy_count = heavy;
    pass_tokens(w, prior->heavy, heavy, base->vocabulary);
    pass(w, prior->heavy_q, heavy * sizeof *prior->heavy_q);
}

static void pass_numbers(walk *w, sg_light_row *row, size_t vocabulary)
{
    const struct {
        void *at;
        size_t size;
    } part[] = {{row->s, sizeof row->s},
                {&row->offset, sizeof(double)},
                {&row->exponent, sizeof(int64_t)},
                {row->sums, sizeof row->sums},
                {row->inverse, sizeof row->inverse},
                {&row->explicit_total, sizeof(double)},
                {&row->light_total, sizeof(double)},
                {&row->total, sizeof(double)},
                {&row->max_explicit, sizeof(double)},
                {&row->threshold, sizeof(double)},
                {&row->defect, sizeof(double)},
                {&row->drift, sizeof(double)},
                {&row->bound, sizeof(double)},
                {&row->updates, sizeof(uint64_t)},
                {&row->rebases, sizeof(uint64_t)},
                {&row->folds, sizeof(uint64_t)},
                {&row->last_rebase, sizeof(uint64_t)}};
    for (size_t i = 0; i < sizeof part / sizeof *part; i++)
        pass(w, part[i].at, part[i].size);
    pass_token(w, &row->top, vocabulary);
    pass_token(w, &row->bottom, vocabulary);
    pass_count(w, &row->positive, vocabulary);
    pass_count(w, &row->limit, SIZE_MAX / 4);
}

static void pass_explicit(walk *w, sg_light_row *row, size_t vocabulary)
{
    size_t count = row->count;
    pass_count(w, &count, vocabulary);
    if (w->in != NULL && !w->failed && !sg_light_row_reserve(row, count > 0 ? count : 1))
        w->failed = true;
    if (w->failed)
        return;
    size_t blocks = (count + SG_LIGHT_FAN - 1) / SG_LIGHT_FAN;
    pass_tokens(w, row->token, count, vocabulary);
    pass(w, row->q, count * sizeof *row->q);
    if (w->in != NULL && !w->failed)
        sg_light_row_keep(row, count, count); /* finds the tokens' slots; the sums come next */
    pass(w, row->block, blocks * sizeof *row->block);
}

/* A row of zeros becomes what was saved. */
static void pass_row(walk *w, const sg_light_rows *rows, sg_light_row *row)
{
    sg_light_prior *prior = row->base != NULL ? sg_light_prior_of(row->base) : NULL;
    size_t owned = row->owned, kept = prior != rows->prior;
    pass_count(w, &kept, 1);
    pass_count(w, &owned, 1);
    if (w->in != NULL)
        prior = kept ? sg_light_prior_new(rows->vocabulary, rows->head)
                     : sg_light_prior_retain(rows->prior);
    row->base = prior != NULL ? &prior->base : NULL;
    w->failed = w->failed || prior == NULL;
    row->owned = owned;
    if (kept && !w->failed)
        pass_prior(w, prior);
    pass_numbers(w, row, rows->vocabulary);
    pass_explicit(w, row, rows->vocabulary);
}

size_t sg_cpu_light_save(const sg_light_rows *rows, void *to)
{
    walk w = {.out = to};
    for (size_t s = 0; s < rows->config.states; s++)
        pass_row(&w, rows, &sg_cpu_light_of(rows)->row[s]); /* only read */
    return w.size;
}

sg_status sg_cpu_light_load(sg_light_rows *rows, const void *from, size_t size, sg_error *error)
{
    walk w = {.in = from, .left = size};
    for (size_t s = 0; s < rows->config.states && !w.failed; s++) {
        sg_light_row made = {0};
        pass_row(&w, rows, &made);
        w.failed = w.failed || (s + 1 == rows->config.states && w.left > 0);
        if (w.failed) {
            sg_light_row_clear(&made);
        } else {
            sg_light_row_clear(&sg_cpu_light_of(rows)->row[s]);
            sg_cpu_light_of(rows)->row[s] = made;
        }
    }
    if (w.failed)
        return sg_fail(
            error, SG_EDATA,
            "%zu bytes are not a saved policy of %zu rows of %zu tokens, or there is not "
            "enough memory for it",
            size, rows->config.states, rows->vocabulary);
    return SG_OK;
}

sg_light_row *sg_cpu_light_open(sg_light_rows *rows, size_t state, const sg_light_row *numbers,
                                sg_light_prior *shared)
{
    sg_light_row *row = &sg_cpu_light_of(rows)->row[state], made = *numbers;
    sg_light_prior *prior =
        shared ? sg_light_prior_retain(shared) : sg_light_prior_new(rows->vocabulary, rows->head);
    made.token = made.slots = NULL;
    made.q = made.move = made.block = NULL;
    made.count = made.capacity = 0;
    made.owned = shared == NULL;
    made.base = prior ? &prior->base : NULL;
    if (!prior || !sg_light_row_reserve(&made, numbers->count > 0 ? numbers->count : 1)) {
        sg_light_row_clear(&made);
        return NULL;
    }
    made.count = numbers->count;
    sg_light_row_clear(row);
    *row = made;
    return row;
}

void sg_cpu_light_seal(sg_light_row *row)
{
    for (size_t e = 0; e < row->count; e++)
        sg_light_slots_put(row, (int32_t)e);
}

const sg_light_row *sg_cpu_light_look(const sg_light_rows *rows, size_t state,
                                      sg_light_prior **prior)
{
    const sg_light_row *row = &sg_cpu_light_of(rows)->row[state];
    *prior = row->owned ? NULL : sg_light_prior_of(row->base);
    return row;
}
