/* SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef SG_ROUTING_H
#define SG_ROUTING_H

#include <stddef.h>
#include <stdint.h>

#include "backend/net_math.h"

/* Routes of a mixture of experts: which experts a token uses in a block, one bit an expert (at most
 * 64). Routes of many tokens are an array [count][blocks].
 *
 * Free routing takes the top_k experts of the present parameters. Replay takes a recorded set I
 * and computes the gates anew, g_i = I_i exp(s_i) / sum_j I_j exp(s_j), so that the router still
 * learns:
 *   R2  the set that the training forward chose at the old parameters (2512.01374)
 *   R3  the set that the sampler chose while it drew the token (2510.11370)
 *
 * sg_route_choose and sg_route_gates are in backend/net_math.h. */

/* How two recordings of the same tokens differ. */
typedef struct sg_route_flips {
    size_t tokens;   /* tokens whose set differs in this block */
    size_t replaced; /* experts of the first recording that the second one lacks, over all tokens */
} sg_route_flips;

/* by_block: [blocks]. flipped[i] is the number of blocks in which token i's set differs; may be
 * NULL. Returns the number of tokens with any difference. */
size_t sg_route_compare(const uint64_t *first, const uint64_t *second, size_t count, size_t blocks,
                        sg_route_flips *by_block, uint8_t *flipped);

#endif
