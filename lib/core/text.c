/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "core/text.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Makes room for `count` more bytes and the terminator. */
static bool reserve(sg_text *text, size_t count)
{
    if (text->failed)
        return false;
    if (count < text->capacity - text->length)
        return true;
    if (count > SIZE_MAX / 2 - text->length - 1) {
        text->failed = true;
        return false;
    }
    size_t capacity = text->capacity < 64 ? 64 : text->capacity;
    while (capacity <= text->length + count)
        capacity *= 2;
    char *data = realloc(text->data, capacity);
    if (data == NULL) {
        text->failed = true;
        return false;
    }
    text->data = data;
    text->capacity = capacity;
    return true;
}

void sg_text_append_bytes(sg_text *text, const void *bytes, size_t count)
{
    if (!reserve(text, count))
        return;
    if (count > 0)
        memcpy(text->data + text->length, bytes, count);
    text->length += count;
    text->data[text->length] = '\0';
}

void sg_text_append(sg_text *text, const char *string)
{
    sg_text_append_bytes(text, string, strlen(string));
}

void sg_text_printf(sg_text *text, const char *format, ...)
{
    va_list arguments, again;
    va_start(arguments, format);
    va_copy(again, arguments);
    int length = vsnprintf(NULL, 0, format, arguments);
    va_end(arguments);
    if (length < 0)
        text->failed = true;
    else if (reserve(text, (size_t)length)) {
        vsnprintf(text->data + text->length, (size_t)length + 1, format, again);
        text->length += (size_t)length;
    }
    va_end(again);
}

void sg_text_clear(sg_text *text)
{
    text->length = 0;
    if (text->data != NULL)
        text->data[0] = '\0';
}

void sg_text_free(sg_text *text)
{
    free(text->data);
    *text = (sg_text){0};
}

enum { NAME_LIMIT = 64 }; /* longer names are not typos of ours */

static char folded(char c)
{
    if (c >= 'A' && c <= 'Z')
        return (char)(c - 'A' + 'a');
    return c == '_' ? '-' : c;
}

static size_t smaller(size_t a, size_t b)
{
    return a < b ? a : b;
}

/* Insertions, deletions, substitutions and swaps of neighbours that turn `a` into `b`. */
static size_t edit_distance(const char *a, size_t a_length, const char *b, size_t b_length)
{
    size_t rows[3][NAME_LIMIT + 1];
    size_t *before = rows[0], *previous = rows[1], *current = rows[2];
    for (size_t j = 0; j <= b_length; j++)
        previous[j] = j;
    for (size_t i = 1; i <= a_length; i++) {
        current[0] = i;
        for (size_t j = 1; j <= b_length; j++) {
            char x = folded(a[i - 1]), y = folded(b[j - 1]);
            size_t best = smaller(previous[j], current[j - 1]) + 1;
            best = smaller(best, previous[j - 1] + (x != y));
            if (i > 1 && j > 1 && x == folded(b[j - 2]) && y == folded(a[i - 2]))
                best = smaller(best, before[j - 2] + 1);
            current[j] = best;
        }
        size_t *oldest = before;
        before = previous;
        previous = current;
        current = oldest;
    }
    return previous[b_length];
}

const char *sg_nearest_name(const char *name, const char *const *names)
{
    size_t length = strlen(name);
    if (length == 0 || length > NAME_LIMIT)
        return NULL;
    const char *nearest = NULL;
    size_t limit = length / 3 > 2 ? length / 3 : 2;
    for (; *names != NULL; names++) {
        size_t candidate_length = strlen(*names);
        if (candidate_length > NAME_LIMIT)
            continue;
        size_t distance = edit_distance(name, length, *names, candidate_length);
        /* Two short names that share no letter, or not even the first, are within the limit, but
         * no typo of each other. */
        bool strange = length < 5 && distance > 1 && folded(name[0]) != folded(**names);
        if (distance > limit || distance >= length || distance >= candidate_length || strange)
            continue;
        nearest = *names;
        if (distance == 0)
            return nearest;
        limit = distance - 1;
    }
    return nearest;
}
