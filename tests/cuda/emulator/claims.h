/* SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef SG_EMULATOR_CLAIMS_H
#define SG_EMULATOR_CLAIMS_H

#include <algorithm>
#include <vector>

#include "inside.h"

/* Page-locked memory that a queued copy is still to read, so that the host must leave it as it is, or to write, so
 * that the host must not look at it. A claim lives as long as the copy is queued. */

enum { SG_EMULATOR_PATTERN = 0xff };

struct sg_claim;
static std::vector<sg_claim *> &sg_claims = *new std::vector<sg_claim *>;

struct sg_claim {
    char *at;
    size_t bytes;
    bool written;
    uint64_t sum; /* of what is to be read */

    inline sg_claim(char *at, size_t bytes, bool written);
    inline ~sg_claim();
    sg_claim(const sg_claim &) = delete;
    sg_claim &operator=(const sg_claim &) = delete;

    bool meets(const sg_claim &other) const
    {
        return at < other.at + other.bytes && other.at < at + bytes;
    }
    uint64_t sum_now() const
    {
        uint64_t now = bytes, word = 0;
        for (size_t i = 0; i < bytes; i += sizeof word) {
            memcpy(&word, at + i, std::min(sizeof word, bytes - i));
            now = (now ^ word) * UINT64_C(0x100000001b3);
            now ^= now >> 29;
        }
        return now;
    }
    bool changed() const
    {
        return sum != sum_now();
    }
    /* It has written: copies that were queued behind it are to read what is there now. */
    void done() const
    {
        for (sg_claim *c : sg_claims)
            if (!c->written && meets(*c))
                c->sum = c->sum_now();
    }
    void show() const
    {
#if SG_ASAN
        ASAN_UNPOISON_MEMORY_REGION(at, bytes);
#endif
    }
};

/* After memory was opened: AddressSanitizer stops a host that looks at what is still to be written. */
static inline void sg_claims_hide(void)
{
#if SG_ASAN
    for (const sg_claim *c : sg_claims)
        if (c->written)
            ASAN_POISON_MEMORY_REGION(c->at, c->bytes);
#endif
}

sg_claim::sg_claim(char *at_, size_t bytes_, bool written_)
    : at(at_), bytes(bytes_), written(written_), sum(0)
{
    bool read = false; /* by a copy before, so it must stay */
    for (const sg_claim *c : sg_claims)
        read = read || (!c->written && meets(*c));
    show();
    if (written && !read)
        memset(at, SG_EMULATOR_PATTERN, bytes);
    if (!written)
        sum = sum_now();
    sg_claims.push_back(this);
    sg_claims_hide();
}

sg_claim::~sg_claim()
{
    show();
    sg_claims.erase(std::find(sg_claims.begin(), sg_claims.end(), this));
    sg_claims_hide();
}

#endif
