/* SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef SG_TREE_WALK_H
#define SG_TREE_WALK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "backend/sampler_math.h"
#include "core/rng.h"

/* How the states of a tree follow each other, for the CPU and a CUDA device. Those of one prompt are numbered as
 * policy/tree.h says: position by position, then the dead ends of positions 1 .. length - 1. */
typedef struct sg_tree_paths {
    size_t length, depth; /* positions, and how many of them have a state for every prefix */
    size_t per_prompt;    /* states */
    size_t head,
        merge;    /* branches; prefixes with the same sum modulo merge share a state, 0: none do */
    bool may_end; /* after end_token */
    int32_t end_token;
    const size_t *first; /* [length + 1]: first state of a position, within a prompt */
} sg_tree_paths;

/* The dead end of a position, 1 .. length - 1. */
SG_HD static inline size_t sg_tree_dead(const sg_tree_paths *paths, size_t t)
{
    return paths->per_prompt - paths->length + t;
}

SG_HD static inline bool sg_tree_ends(const sg_tree_paths *paths, int32_t token)
{
    return paths->may_end && token == paths->end_token;
}

/* Where a token leads from local state `local` of position t; the root is (0, 0), and t + 1 < length. By hand: 2
 * branches, length 3: token 1 leads from the root to state 2, from there token 0 to state 3 + 2, and any
 * token from 2 on to the dead end 8. */
SG_HD static inline size_t sg_tree_next(const sg_tree_paths *paths, size_t local, size_t t,
                                        int32_t token)
{
    bool dead = local > paths->per_prompt - paths->length; /* the chain stands at the end */
    if (dead || (size_t)token >= paths->head || t + 1 >= paths->depth)
        return sg_tree_dead(paths, t + 1);
    size_t number = local - paths->first[t];
    number = paths->merge > 0 ? (number + (size_t)token) % paths->merge
                              : number * paths->head + (size_t)token;
    return paths->first[t + 1] + number;
}

/* Responses to be drawn, each from the root of its prompt. Uniform t of response i has the address `at` with
 * prompt[i], sample[i] and t. */
typedef struct sg_tree_walk {
    const sg_tree_paths *paths;
    sg_address at;
    const sg_row_sampler *sampler; /* NULL: none; otherwise log_prob is as policy/sampler.h says */
    size_t count, room;            /* responses; from one to the next in the arrays below */
    const uint32_t *prompt, *sample; /* [count] */
    uint32_t *length;                /* [count] */
    int32_t *tokens;                 /* [count][room] */
    double *log_prob;                /* [count][room] */
} sg_tree_walk;

#endif
