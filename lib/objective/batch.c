/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "objective/batch.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "core/text.h"

static sg_status out_of_memory(size_t tokens, sg_error *error)
{
    return sg_fail(error, SG_ENOMEM, "not enough memory for a batch of %zu tokens", tokens);
}

void sg_batch_free(sg_batch *batch)
{
    if (batch == NULL)
        return;
    free(batch->sequence);
    free(batch->position);
    free(batch->mask);
    free(batch->advantage);
    free(batch->logp_old);
    free(batch->logp_new);
    free(batch->logp_rollout);
    free(batch->logp_ref);
    free(batch->weight);
    free(batch->order);
    free(batch->start);
    free(batch);
}

static void *array(size_t count, size_t size)
{
    return calloc(count > 0 ? count : 1, size);
}

sg_status sg_batch_alloc(sg_batch **batch, size_t tokens, sg_error *error)
{
    sg_batch *b = calloc(1, sizeof *b);
    if (b == NULL)
        return out_of_memory(tokens, error);
    b->tokens = tokens;
    b->sequence = array(tokens, sizeof *b->sequence);
    b->position = array(tokens, sizeof *b->position);
    b->mask = array(tokens, sizeof *b->mask);
    b->advantage = array(tokens, sizeof *b->advantage);
    b->logp_old = array(tokens, sizeof *b->logp_old);
    b->logp_new = array(tokens, sizeof *b->logp_new);
    b->order = array(tokens, sizeof *b->order);
    b->start = array(tokens + 1, sizeof *b->start);
    if (b->sequence == NULL || b->position == NULL || b->mask == NULL || b->advantage == NULL ||
        b->logp_old == NULL || b->logp_new == NULL || b->order == NULL || b->start == NULL) {
        sg_batch_free(b);
        return out_of_memory(tokens, error);
    }
    *batch = b;
    return SG_OK;
}

typedef struct place {
    int64_t sequence, position;
    size_t index, first; /* first: index of the first token of the same sequence */
} place;

static int by_sequence(const void *a, const void *b)
{
    const place *x = a, *y = b;
    if (x->sequence != y->sequence)
        return x->sequence < y->sequence ? -1 : 1;
    return x->index < y->index ? -1 : x->index > y->index;
}

static int by_response_and_position(const void *a, const void *b)
{
    const place *x = a, *y = b;
    if (x->first != y->first)
        return x->first < y->first ? -1 : 1;
    if (x->position != y->position)
        return x->position < y->position ? -1 : 1;
    return x->index < y->index ? -1 : x->index > y->index;
}

sg_status sg_batch_group(sg_batch *batch, size_t sequences, sg_error *error)
{
    size_t n = batch->tokens;
    place *places = array(n, sizeof *places);
    if (places == NULL)
        return out_of_memory(n, error);
    for (size_t i = 0; i < n; i++)
        places[i] = (place){batch->sequence[i], batch->position[i], i, 0};
    qsort(places, n, sizeof *places, by_sequence);
    for (size_t i = 0, first = 0; i < n; i++) {
        if (i == 0 || places[i].sequence != places[i - 1].sequence)
            first = places[i].index;
        places[i].first = first;
    }
    qsort(places, n, sizeof *places, by_response_and_position);
    batch->responses = 0;
    for (size_t i = 0; i < n; i++) {
        bool same = i > 0 && places[i].first == places[i - 1].first;
        if (same && places[i].position == places[i - 1].position) {
            size_t row = places[i].index + 1, other = places[i - 1].index + 1;
            sg_status status =
                sg_fail(error, SG_EDATA,
                        "data rows %zu and %zu both are position %lld of sequence "
                        "%lld; every token may stand only once",
                        other, row, (long long)places[i].position, (long long)places[i].sequence);
            free(places);
            return status;
        }
        if (!same)
            batch->start[batch->responses++] = i;
        batch->order[i] = places[i].index;
    }
    batch->start[batch->responses] = n;
    free(places);
    if (sequences != 0 && sequences < batch->responses)
        return sg_fail(error, SG_EDATA,
                       "the batch holds %zu sequences but %zu were announced; correct --sequences",
                       batch->responses, sequences);
    batch->sequences = sequences == 0 ? batch->responses : sequences;
    return SG_OK;
}

/* The columns and what trainers call them: verl, TRL, OpenRLHF, slime, NeMo-RL. */
static const struct {
    const char *name;
    const char *others[9];
} columns[] = {
    {"sequence", {"sequence_id", "response_id", "sample_id"}},
    {"position", {"token_position", "position_id", "position_ids"}},
    {"mask",
     {"response_mask", "completion_mask", "action_mask", "loss_mask", "loss_masks", "token_mask"}},
    {"advantage", {"advantages"}},
    {"logp_old",
     {"old_logp", "old_log_prob", "old_log_probs", "old_logprobs", "old_logps",
      "old_per_token_logps", "old_action_log_probs", "prev_logprobs"}},
    {"logp_new",
     {"new_logp", "new_log_probs", "log_prob", "log_probs", "per_token_logps", "action_log_probs",
      "curr_logprobs"}},
    {"logp_rollout",
     {"rollout_log_prob", "rollout_log_probs", "rollout_logprobs", "sampling_per_token_logps",
      "generation_logprobs"}},
    {"logp_ref",
     {"ref_logp", "ref_log_prob", "ref_log_probs", "ref_logprobs", "ref_per_token_logps",
      "base_action_log_probs", "reference_policy_logprobs"}},
    {"weight", {"rollout_is_weights", "importance_sampling_ratio"}},
};

enum { COLUMN_COUNT = sizeof columns / sizeof *columns };

const char *sg_batch_column_name(size_t index)
{
    return index < COLUMN_COUNT ? columns[index].name : NULL;
}

static sg_status fail_missing(const char *name, const char *const *others, sg_error *error)
{
    char known[200] = "";
    for (size_t i = 0; others[i] != NULL; i++) {
        size_t length = strlen(known);
        snprintf(known + length, sizeof known - length, "%s%s", i == 0 ? "" : ", ", others[i]);
    }
    return sg_fail(error, SG_EDATA,
                   "the batch has no column \"%s\" (or %s); it needs sequence, position, mask, "
                   "advantage, logp_old, logp_new",
                   name, known);
}

sg_status sg_batch_find_column(const sg_table *table, const char *name, bool required,
                               ptrdiff_t *column, sg_error *error)
{
    size_t index = 0;
    while (strcmp(columns[index].name, name) != 0)
        index++;
    const char *const *others = columns[index].others;
    *column = sg_table_find(table, name);
    for (size_t i = 0, found = 0; *column < 0 || found > 0; i++) {
        if (others[i] == NULL)
            return *column < 0 && required ? fail_missing(name, others, error) : SG_OK;
        ptrdiff_t other = sg_table_find(table, others[i]);
        if (other >= 0 && found++ > 0)
            return sg_fail(error, SG_EDATA,
                           "both \"%s\" and \"%s\" can be the column %s; rename the one that "
                           "is meant to %s",
                           sg_table_column_name(table, (size_t)*column), others[i], name, name);
        if (other >= 0)
            *column = other;
    }
    return SG_OK;
}

/* Column of numbers, or an error that says what to do. *column is -1 when an optional one is absent. */
static sg_status find_number(const sg_table *table, const char *name, bool required,
                             ptrdiff_t *column, sg_error *error)
{
    sg_status status = sg_batch_find_column(table, name, required, column, error);
    if (status != SG_OK || *column < 0 ||
        sg_table_column_type(table, (size_t)*column) != SG_COLUMN_TEXT)
        return status;
    name = sg_table_column_name(table, (size_t)*column);
    for (size_t row = 0; row < sg_table_rows(table); row++) {
        const char *cell = sg_table_get_text(table, (size_t)*column, row);
        double number;
        if (*cell != '\0' && !sg_parse_real(cell, &number))
            return sg_fail(error, SG_EDATA,
                           "column \"%s\", data row %zu: \"%.60s\" is not a number", name, row + 1,
                           cell);
    }
    return sg_fail(error, SG_EDATA, "column \"%s\" holds text; it must hold numbers", name);
}

static sg_status fill_real(const sg_table *table, const char *name, bool required, double **cells,
                           sg_error *error)
{
    ptrdiff_t column;
    sg_status status = find_number(table, name, required, &column, error);
    if (status != SG_OK || column < 0)
        return status;
    size_t rows = sg_table_rows(table);
    if (*cells == NULL && (*cells = array(rows, sizeof **cells)) == NULL)
        return out_of_memory(rows, error);
    for (size_t row = 0; row < rows; row++)
        (*cells)[row] = sg_table_get_number(table, (size_t)column, row);
    return SG_OK;
}

static sg_status fill_integer(const sg_table *table, const char *name, int64_t *cells,
                              sg_error *error)
{
    ptrdiff_t column;
    sg_status status = find_number(table, name, true, &column, error);
    if (status != SG_OK)
        return status;
    for (size_t row = 0; row < sg_table_rows(table); row++) {
        double value = sg_table_get_number(table, (size_t)column, row);
        if (!(fabs(value) < 0x1p53) || value != floor(value))
            return sg_fail(error, SG_EDATA, "column \"%s\", data row %zu: %g is not an integer",
                           sg_table_column_name(table, (size_t)column), row + 1, value);
        cells[row] = (int64_t)value;
    }
    return SG_OK;
}

/* 0 or 1, or what pandas writes for a boolean; -1 for anything else. */
static int mask_of(const sg_table *table, size_t column, size_t row)
{
    if (sg_table_column_type(table, column) == SG_COLUMN_TEXT) {
        const char *cell = sg_table_get_text(table, column, row);
        return strcasecmp(cell, "true") == 0 ? 1 : strcasecmp(cell, "false") == 0 ? 0 : -1;
    }
    double value = sg_table_get_number(table, column, row);
    return value == 1 ? 1 : value == 0 ? 0 : -1;
}

static sg_status fill_mask(const sg_table *table, sg_batch *batch, sg_error *error)
{
    ptrdiff_t column;
    sg_status status = sg_batch_find_column(table, "mask", true, &column, error);
    for (size_t row = 0; row < batch->tokens && status == SG_OK; row++) {
        int mask = mask_of(table, (size_t)column, row);
        batch->mask[row] = mask == 1;
        if (mask < 0 && sg_table_column_type(table, (size_t)column) == SG_COLUMN_TEXT)
            status = find_number(table, "mask", true, &column, error);
        else if (mask < 0)
            status = sg_fail(error, SG_EDATA, "column \"%s\", data row %zu: %g is neither 0 nor 1",
                             sg_table_column_name(table, (size_t)column), row + 1,
                             sg_table_get_number(table, (size_t)column, row));
    }
    return status;
}

sg_status sg_batch_from_table(sg_batch **batch, const sg_table *table, size_t sequences,
                              sg_error *error)
{
    sg_batch *b;
    sg_status status = sg_batch_alloc(&b, sg_table_rows(table), error);
    if (status != SG_OK)
        return status;
    if ((status = fill_integer(table, "sequence", b->sequence, error)) != SG_OK ||
        (status = fill_integer(table, "position", b->position, error)) != SG_OK ||
        (status = fill_mask(table, b, error)) != SG_OK ||
        (status = fill_real(table, "advantage", true, &b->advantage, error)) != SG_OK ||
        (status = fill_real(table, "logp_old", true, &b->logp_old, error)) != SG_OK ||
        (status = fill_real(table, "logp_new", true, &b->logp_new, error)) != SG_OK ||
        (status = fill_real(table, "logp_rollout", false, &b->logp_rollout, error)) != SG_OK ||
        (status = fill_real(table, "logp_ref", false, &b->logp_ref, error)) != SG_OK ||
        (status = fill_real(table, "weight", false, &b->weight, error)) != SG_OK ||
        (status = sg_batch_group(b, sequences, error)) != SG_OK) {
        sg_batch_free(b);
        return status;
    }
    *batch = b;
    return SG_OK;
}
