/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "policy/routing.h"

#include <string.h>

size_t sg_route_compare(const uint64_t *first, const uint64_t *second, size_t count, size_t blocks,
                        sg_route_flips *by_block, uint8_t *flipped)
{
    size_t any = 0;
    memset(by_block, 0, blocks * sizeof *by_block);
    for (size_t i = 0; i < count; i++) {
        uint8_t differ = 0;
        for (size_t b = 0; b < blocks; b++) {
            uint64_t a = first[i * blocks + b], c = second[i * blocks + b];
            by_block[b].tokens += a != c;
            by_block[b].replaced += (size_t)__builtin_popcountll(a & ~c);
            differ += a != c;
        }
        any += differ > 0;
        if (flipped)
            flipped[i] = differ;
    }
    return any;
}
