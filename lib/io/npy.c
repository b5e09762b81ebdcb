/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "io/npy.h"

#include <math.h>
#include <string.h>

#include "core/utf8.h"

#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
#define NATIVE '<'
#define OTHER '>'
#else
#define NATIVE '>'
#define OTHER '<'
#endif

static const char magic[] = "\x93NUMPY";

enum { MAGIC_SIZE = 6, PREFIX_SIZE = 10, ALIGNMENT = 64 };

void sg_npy_append_header(sg_text *text, const char *type, size_t rows, size_t width)
{
    sg_text dict = {0};
    sg_text_printf(&dict, "{'descr': '%c%s', 'fortran_order': False, 'shape': (%zu,", NATIVE, type,
                   rows);
    if (width > 0)
        sg_text_printf(&dict, " %zu", width);
    sg_text_append(&dict, "), }");
    /* Blanks and a newline end the header, so that the cells start at a multiple of 64 bytes. */
    while ((PREFIX_SIZE + dict.length + 1) % ALIGNMENT != 0 && !dict.failed)
        sg_text_append(&dict, " ");
    sg_text_append(&dict, "\n");
    const char size[] = {(char)(dict.length & 0xff), (char)(dict.length >> 8)};
    sg_text_append_bytes(text, magic, MAGIC_SIZE);
    sg_text_append_bytes(text, "\1\0", 2);
    sg_text_append_bytes(text, size, 2);
    if (!dict.failed)
        sg_text_append_bytes(text, dict.data, dict.length);
    text->failed |= dict.failed;
    sg_text_free(&dict);
}

/* Reader of the dict. `at` never passes `end`. */
struct scan {
    const char *at, *end;
};

static bool take(struct scan *scan, char c)
{
    while (scan->at < scan->end && strchr(" \t\n", *scan->at) != NULL && *scan->at != '\0')
        scan->at++;
    if (scan->at == scan->end || *scan->at != c)
        return false;
    scan->at++;
    return true;
}

static bool take_string(struct scan *scan, const char **start, size_t *length)
{
    char quote = '\'';
    if (!take(scan, quote)) {
        quote = '"';
        if (!take(scan, quote))
            return false;
    }
    *start = scan->at;
    const char *end = memchr(scan->at, quote, (size_t)(scan->end - scan->at));
    if (end == NULL)
        return false;
    *length = (size_t)(end - *start);
    scan->at = end + 1;
    return true;
}

static bool take_word(struct scan *scan, const char *word)
{
    size_t length = strlen(word);
    if (!take(scan, word[0]))
        return false;
    scan->at--;
    if ((size_t)(scan->end - scan->at) < length || memcmp(scan->at, word, length) != 0)
        return false;
    scan->at += length;
    return true;
}

static bool take_count(const char **at, const char *end, uint64_t *count)
{
    const char *start = *at;
    *count = 0;
    for (; *at < end && **at >= '0' && **at <= '9'; ++*at) {
        unsigned digit = (unsigned)(**at - '0');
        if (*count > (UINT64_MAX - digit) / 10)
            return false;
        *count = *count * 10 + digit;
    }
    return *at > start;
}

/* "<f8": byte order, kind, size in bytes (of U: in characters of 4 bytes). */
static bool read_type(sg_npy *npy, const char *descr, size_t length)
{
    if (length < 3 || strchr("<>=|", descr[0]) == NULL || descr[0] == '\0')
        return false;
    const char *at = descr + 2, *end = descr + length;
    uint64_t size;
    if (!take_count(&at, end, &size) || at != end || size == 0 || size > UINT32_MAX)
        return false;
    npy->kind = descr[1];
    npy->swapped = descr[0] == OTHER;
    npy->item_size = (size_t)size;
    switch (npy->kind) {
    case 'f':
        return size == 2 || size == 4 || size == 8;
    case 'i':
    case 'u':
        return size == 1 || size == 2 || size == 4 || size == 8;
    case 'b':
        return size == 1;
    case 'U':
        npy->item_size *= 4;
        return true;
    case 'S':
        return true;
    default:
        return false;
    }
}

static bool take_shape(struct scan *scan, sg_npy *npy)
{
    npy->dimensions = 0;
    if (!take(scan, '('))
        return false;
    while (!take(scan, ')')) {
        uint64_t size;
        if (npy->dimensions > 0 && take(scan, ')')) /* the comma of (3,) */
            return true;
        while (scan->at < scan->end && *scan->at == ' ')
            scan->at++;
        if (!take_count(&scan->at, scan->end, &size))
            return false;
        if (npy->dimensions < 2)
            npy->shape[npy->dimensions] = size;
        npy->dimensions++;
        if (!take(scan, ','))
            return take(scan, ')');
    }
    return true;
}

/* The three keys, each once, in any order. `descr` may be of a type that we do not read. */
static bool read_dict(struct scan *scan, sg_npy *npy, const char **descr, size_t *descr_length)
{
    bool have_type = false, have_order = false, have_shape = false;
    if (!take(scan, '{'))
        return false;
    while (!take(scan, '}')) {
        const char *key;
        size_t length;
        if (!take_string(scan, &key, &length) || !take(scan, ':'))
            return false;
        if (length == 5 && memcmp(key, "descr", 5) == 0) {
            if (!take_string(scan, descr, descr_length))
                return false;
            have_type = true;
        } else if (length == 13 && memcmp(key, "fortran_order", 13) == 0) {
            npy->fortran = take_word(scan, "True");
            if (!npy->fortran && !take_word(scan, "False"))
                return false;
            have_order = true;
        } else if (length == 5 && memcmp(key, "shape", 5) == 0) {
            if (!take_shape(scan, npy))
                return false;
            have_shape = true;
        } else {
            return false;
        }
        if (!take(scan, ',')) {
            if (!take(scan, '}'))
                return false;
            break;
        }
    }
    return have_type && have_order && have_shape;
}

/* Cells that the shape promises fit in what is left of the file. */
static bool is_complete(const sg_npy *npy, size_t length)
{
    uint64_t cells = 1;
    for (size_t i = 0; i < npy->dimensions && i < 2; i++) {
        if (npy->shape[i] != 0 && cells > UINT64_MAX / npy->shape[i])
            return false;
        cells *= npy->shape[i];
    }
    return cells <= (length - npy->offset) / npy->item_size;
}

/* Where the header is not understood, *why says it; `descr` may be of a type that is not read. */
static bool read_header(sg_npy *npy, const char *bytes, size_t length, const char **descr,
                        size_t *descr_length, const char **why)
{
    *npy = (sg_npy){0};
    const unsigned char *u = (const unsigned char *)bytes;
    *why = "is not a NumPy array; save it again with numpy.savez";
    if (length < 12 || memcmp(bytes, magic, MAGIC_SIZE) != 0 || u[6] < 1 || u[6] > 3)
        return false;
    size_t prefix = u[6] == 1 ? PREFIX_SIZE : PREFIX_SIZE + 2;
    size_t size = u[8] | (size_t)u[9] << 8;
    if (u[6] > 1)
        size |= (size_t)u[10] << 16 | (size_t)u[11] << 24;
    npy->offset = prefix + size;
    struct scan scan = {bytes + prefix, bytes + npy->offset};
    *why = "has a header that is damaged or describes a structured array; save plain arrays with "
           "numpy.savez";
    return size <= length - prefix && read_dict(&scan, npy, descr, descr_length);
}

bool sg_npy_peek(sg_npy *npy, const char *bytes, size_t length)
{
    const char *descr, *why;
    size_t descr_length;
    return read_header(npy, bytes, length, &descr, &descr_length, &why) &&
           read_type(npy, descr, descr_length);
}

sg_status sg_npy_read_header(sg_npy *npy, const char *bytes, size_t length, const char *name,
                             sg_error *error)
{
    const char *descr, *why;
    size_t descr_length;
    if (!read_header(npy, bytes, length, &descr, &descr_length, &why))
        return sg_fail(error, SG_EDATA, "%.300s %s", name, why);
    if (!read_type(npy, descr, descr_length))
        return sg_fail(
            error, SG_EDATA,
            "%.300s has cells of type \"%.*s\", which softgate does not read; convert them "
            "with .astype(\"f8\") or .astype(str)",
            name, (int)(descr_length < 40 ? descr_length : 40), descr);
    if (!is_complete(npy, length))
        return sg_fail(error, SG_EDATA,
                       "%.300s ends before the last of its cells; the file is cut, write it again",
                       name);
    return SG_OK;
}

/* The cell's bytes as an unsigned integer. */
static uint64_t cell_bits(const sg_npy *npy, const char *cell)
{
    uint64_t bits = 0;
    bool big_endian = (NATIVE == '>') != npy->swapped;
    for (size_t i = 0; i < npy->item_size; i++) {
        size_t from_top = big_endian ? i : npy->item_size - 1 - i;
        bits = bits << 8 | (unsigned char)cell[from_top];
    }
    return bits;
}

/* IEEE 754 half precision. */
static double half(uint64_t bits)
{
    int exponent = (int)(bits >> 10 & 31);
    double fraction = (double)(bits & 1023);
    double magnitude = exponent == 31  ? (fraction > 0 ? NAN : INFINITY)
                       : exponent == 0 ? ldexp(fraction, -24)
                                       : ldexp(1024 + fraction, exponent - 25);
    return bits >> 15 & 1 ? -magnitude : magnitude;
}

double sg_npy_real(const sg_npy *npy, const char *cell)
{
    uint64_t bits = cell_bits(npy, cell);
    if (npy->kind != 'f') {
        int64_t value;
        return sg_npy_integer(npy, cell, &value) ? (double)value : (double)bits;
    }
    if (npy->item_size == 8) {
        double value;
        memcpy(&value, &bits, sizeof value);
        return value;
    }
    if (npy->item_size == 4) {
        uint32_t bits32 = (uint32_t)bits;
        float value;
        memcpy(&value, &bits32, sizeof value);
        return (double)value;
    }
    return half(bits);
}

bool sg_npy_integer(const sg_npy *npy, const char *cell, int64_t *value)
{
    uint64_t bits = cell_bits(npy, cell);
    if (npy->kind == 'b')
        bits = bits != 0;
    unsigned unused = 64 - 8 * (unsigned)npy->item_size;
    if (npy->kind == 'i' && unused > 0 && bits >> (63 - unused) != 0)
        bits |= UINT64_MAX << (64 - unused); /* the sign goes all the way up */
    if (npy->kind != 'i' && bits > INT64_MAX)
        return false;
    memcpy(value, &bits, sizeof *value);
    return true;
}

bool sg_npy_append_text(const sg_npy *npy, const char *cell, sg_text *text)
{
    size_t unit = npy->kind == 'U' ? 4 : 1, count = npy->item_size / unit;
    const sg_npy letter = {.kind = 'u', .item_size = unit, .swapped = npy->swapped};
    while (count > 0 && cell_bits(&letter, cell + (count - 1) * unit) == 0)
        count--;
    sg_text_append(text, "");
    for (size_t i = 0; i < count; i++) {
        uint64_t code = cell_bits(&letter, cell + i * unit);
        if (code == 0)
            return false;
        char bytes[4] = {(char)code};
        sg_text_append_bytes(text, bytes, unit == 1 ? 1 : sg_utf8_encode((uint32_t)code, bytes));
    }
    return true;
}
