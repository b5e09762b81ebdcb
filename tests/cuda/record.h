/* SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef SG_TEST_RECORD_H
#define SG_TEST_RECORD_H

#include <check.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* What was seen, one thing after the other, to compare two runs byte by byte. */
typedef struct record {
    char *bytes;
    size_t size, room;
} record;

static inline void see(record *seen, const void *bytes, size_t size)
{
    if (seen->size + size > seen->room) {
        seen->room = 2 * (seen->size + size);
        seen->bytes = realloc(seen->bytes, seen->room);
    }
    memcpy(seen->bytes + seen->size, bytes, size);
    seen->size += size;
}

/* NaN has many bit patterns and one meaning. */
static inline void see_numbers(record *seen, const double *x, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        double number = isnan(x[i]) ? (double)NAN : x[i];
        see(seen, &number, sizeof number);
    }
}

/* Things that are made of doubles; counts among them are small, and no NaN as such. */
static inline void see_doubles(record *seen, const void *things, size_t bytes)
{
    see_numbers(seen, things, bytes / sizeof(double));
}

/* Ends the two records. */
static inline void assert_same_records(record *cpu, record *device, const char *what, int which)
{
    size_t same = 0;
    while (same < cpu->size && same < device->size && cpu->bytes[same] == device->bytes[same])
        same++;
    ck_assert_msg(cpu->size == device->size && same == cpu->size,
                  "%s %d: byte %zu of %zu on the CPU, %zu on the device, differs", what, which,
                  same, cpu->size, device->size);
    free(cpu->bytes);
    free(device->bytes);
}

#endif
