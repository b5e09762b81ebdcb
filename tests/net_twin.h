/* SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef NET_TWIN_H
#define NET_TWIN_H

#include "policy/net.h"

/* The formulas of net.h for one position, written down plainly in double precision: log pi of all
 * tokens. `replay` holds a set a block, or is NULL; the sets that were used go to `set`. `given`
 * features replace those below the output layer, or is NULL. Width at most 64. */
void net_twin_log_probs(const sg_net *net, int32_t position, const int32_t *context,
                        const uint64_t *replay, const double *given, uint64_t *set,
                        double *log_prob);

#endif
