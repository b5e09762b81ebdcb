/* SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef SG_BATCH_H
#define SG_BATCH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/status.h"
#include "core/table.h"

/* A batch of response tokens, as a trainer sees it in one minibatch. Arrays of `tokens` cells in input order;
 * optional ones are NULL. Log-probabilities are natural logarithms of the sampled token. A masked token (mask 0) may hold
 * anything, NaN included: nothing of it is ever read. Read-only after reading, hence thread-safe. */
typedef struct sg_batch {
    size_t tokens;     /* rows of the table */
    size_t sequences;  /* rows of the batch, those without a token included */
    int64_t *sequence; /* id of the response, as in the file */
    int64_t *position;
    unsigned char *mask;
    double *advantage;
    double *logp_old;
    double *logp_new;
    double *logp_rollout; /* NULL when absent */
    double *logp_ref;     /* NULL when absent */
    double *weight;       /* multiplier of the token's loss; NULL when absent */
    /* Tokens grouped by response: order[start[i] .. start[i+1]-1] are the tokens of the i-th response by position; i
     * counts responses in order of first appearance, i < responses <= sequences. */
    size_t responses;
    size_t *order;
    size_t *start;
} sg_batch;

/* From a table with the columns sequence, position, mask, advantage, logp_old, logp_new and, if present,
 * logp_rollout, logp_ref, weight, or what trainers call them (others are ignored). mask must be 0 or 1 (or True or False). `sequences` is the number of responses
 * when some have no row at all, 0 to count those that appear. SG_EDATA names what is missing or wrong and its row. */
sg_status sg_batch_from_table(sg_batch **batch, const sg_table *table, size_t sequences,
                              sg_error *error);

/* A batch's column in a table: of its own name, or else of one that a trainer uses for it (old_log_probs is
 * logp_old). *column is -1 for an optional one that is absent; SG_EDATA when a required one is, or when more than one
 * could be meant. `name` is one of sg_batch_column_name(0), (1), ... which ends in NULL. */
sg_status sg_batch_find_column(const sg_table *table, const char *name, bool required,
                               ptrdiff_t *column, sg_error *error);
const char *sg_batch_column_name(size_t index);

/* The required columns, zeroed; the caller fills them (and mallocs optional ones) and then calls sg_batch_group. */
sg_status sg_batch_alloc(sg_batch **batch, size_t tokens, sg_error *error);
sg_status sg_batch_group(sg_batch *batch, size_t sequences, sg_error *error);
void sg_batch_free(sg_batch *batch);

#endif
