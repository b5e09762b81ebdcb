/* SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef SG_CUDA_GROUPS_H
#define SG_CUDA_GROUPS_H

#include <stddef.h>
#include <stdint.h>

/* For .cu files: groups of the elements of an array, one behind the other, of sizes that the device alone knows; some may
 * be empty. A launch has blocks for more pieces than there can be, and each finds its own. */
struct sg_cuda_groups {
    size_t count; /* >= 1 */
    const uint32_t
        *first; /* [count + 1], on the device: group g is elements first[g]..first[g + 1] - 1 */
};

/* Piece `number` of a group that is cut into pieces of the same size. */
struct sg_cuda_piece {
    size_t group, number;
};

/* Most pieces of `size` that so many elements can have. */
static inline unsigned sg_cuda_most_pieces(sg_cuda_groups groups, size_t elements, size_t size)
{
    size_t most = elements / size + groups.count;
    return (unsigned)(most < elements ? most : elements);
}

/* The piece with that number among those of all groups; group == count where there are fewer. */
__device__ static inline sg_cuda_piece sg_cuda_find_piece(const sg_cuda_groups &groups, size_t size,
                                                          size_t number)
{
    for (size_t g = 0; g < groups.count; g++) {
        size_t pieces = (groups.first[g + 1] - groups.first[g] + size - 1) / size;
        if (number < pieces)
            return {g, number};
        number -= pieces;
    }
    return {groups.count, 0};
}

/* How many pieces come before those of group g. */
__device__ static inline size_t sg_cuda_pieces_before(const sg_cuda_groups &groups, size_t size,
                                                      size_t g)
{
    size_t pieces = 0;
    for (size_t i = 0; i < g; i++)
        pieces += (groups.first[i + 1] - groups.first[i] + size - 1) / size;
    return pieces;
}

#endif
