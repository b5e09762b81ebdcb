/* SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef SG_TREE_H
#define SG_TREE_H

#include "policy/policy.h"

/* An autoregressive policy in a table: a state for every prefix, with logits of its own. The K head
 * tokens are branches; a tail token leads into the dead end, a chain with one state for each
 * position, from which there is no way back and no reward. Responses have `length` tokens; with
 * may_end they stop after end_token, one of the head, also in the dead end. Only the first
 * `branching` positions then have states of their own for every prefix: what goes on behind them
 * has lost its reward and stands in the dead end.
 *
 *     z_s = theta_s + b (with shared_bias),   pi(.|s) = softmax(z_s)
 *
 * A shared bias b[V] stands in every state of every prompt; its gradient is the sum over states,
 * and it has optimiser moments of its own. Weight decay is of theta and of b, each by itself. With
 * `merge` = M, prefixes of equal length whose tokens have the same sum modulo M share a state, which
 * costs length * M states instead of K^length.
 *
 * States of one prompt, in this order: the root; then for each position t = 1..length-1 its
 * prefixes (number sum_i y_i K^(t-1-i); merged: M sums); then the dead ends of
 * positions 1..length-1. By hand: K = 2, length 3: 1 + 2 + 4 prefixes and 2 dead ends, 9 states;
 * the prefix (1, 0) is state 1 + 2 + 2 = 5. Prefixes that have ended are numbered, never used. */
typedef struct sg_tree_shape {
    size_t prompts, length;
    size_t vocabulary, head; /* V >= 2, K in 1..V */
    size_t merge;            /* M; 0: a state for every prefix */
    bool shared_bias;
    bool may_end;
    int32_t end_token;      /* may_end: 0..K-1 */
    size_t branching;       /* may_end: 1..length */
    sg_precision precision; /* of logits and moments; sums are fp64 */
    sg_optimizer_kind optimizer;
    sg_backend_kind backend; /* of what needs every token of a state (backend/tree_rows.h) */
} sg_tree_shape;

/* States of one prompt, and memory in bytes with the arrays for `responses` responses; doubles,
 * since they may exceed any size_t. */
double sg_tree_states(const sg_tree_shape *shape);
double sg_tree_bytes(const sg_tree_shape *shape, size_t responses);

/* Every state starts at `logits`, [vocabulary], the bias at 0. SG_EARGUMENT; SG_ENOMEM says how
 * much memory was needed; SG_EUNSUPPORTED: this build or machine does not have the backend. */
sg_status sg_tree_alloc(sg_policy **policy, const sg_tree_shape *shape, const double *logits,
                        sg_error *error);

/* The state that a prefix of t tokens leads to, 0 .. prompts * states - 1. */
size_t sg_tree_state(const sg_policy *policy, size_t prompt, const int32_t *tokens, size_t t);

/* theta of a state, or the bias for state = SG_TREE_BIAS, [vocabulary]. */
#define SG_TREE_BIAS SIZE_MAX
void sg_tree_get(const sg_policy *policy, size_t state, double *theta);
void sg_tree_set(sg_policy *policy, size_t state, const double *theta);

#endif
