/* SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef SG_REWARD_H
#define SG_REWARD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The clean reward of a response, told token by token, so that a policy can sum it over all
 * responses exactly. It is a finite automaton: a response starts in state 0, each token moves it
 * on, and the state after the last token has a value in [0, 1]. SG_REWARD_LOST: whatever follows,
 * the reward is 0.
 *
 * By hand: "the tokens sum to r mod M" has the states 0..M-1 (the sum so far), moves from s to
 * (s + token) mod M, and gives 1 in state r and 0 elsewhere. */
enum { SG_REWARD_LOST = -1, SG_REWARD_STATES = 4096 };

typedef struct sg_reward {
    const void *context;
    int32_t states; /* at most SG_REWARD_STATES */
    int32_t (*next)(const void *context, size_t prompt, size_t position, int32_t state,
                    int32_t token);
    double (*value)(const void *context, size_t prompt, int32_t state);
    /* When the positions count one by one: the right tokens of a position, ascending; NULL
     * otherwise. The reward is then 1 if all are right or, with `share`, the share of right ones.
     */
    const int32_t *(*right)(const void *context, size_t prompt, size_t position, size_t *count);
    bool share;
} sg_reward;

#endif
