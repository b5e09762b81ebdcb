/* SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef SG_NPY_H
#define SG_NPY_H

#include <stdint.h>

#include "core/status.h"
#include "core/text.h"

/* NumPy's array file: magic, version, a Python dict as padded text, raw cells.
 * https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html */
typedef struct sg_npy {
    char kind;        /* 'f' real, 'i' signed, 'u' unsigned, 'b' boolean, 'U' UCS-4, 'S' bytes */
    size_t item_size; /* bytes of one cell */
    bool swapped;     /* the other byte order than this machine's */
    bool fortran;     /* column-major; matters for two dimensions only */
    size_t dimensions;
    uint64_t shape[2]; /* the first two */
    size_t offset;     /* of the first cell in the file */
} sg_npy;

/* Appends the header of an array of this machine's byte order; `type` is as in NumPy, "f8", "i8" or
 * "U12" for example. `width` 0 gives one dimension, else rows x width. */
void sg_npy_append_header(sg_text *text, const char *type, size_t rows, size_t width);

/* Understands the header at the start of `bytes`, and checks that the cells behind it are complete.
 * SG_EDATA otherwise; the message starts with `name`. */
sg_status sg_npy_read_header(sg_npy *npy, const char *bytes, size_t length, const char *name,
                             sg_error *error);

/* The same of a file's first SG_NPY_HEADER_MOST bytes, without a look at the cells; false where the header is not
 * understood. */
enum { SG_NPY_HEADER_MOST = 1 << 16 };
bool sg_npy_peek(sg_npy *npy, const char *bytes, size_t length);

/* One cell as a number: kinds f, i, u, b. */
double sg_npy_real(const sg_npy *npy, const char *cell);

/* One cell of kinds i, u, b; false when it is above INT64_MAX. */
bool sg_npy_integer(const sg_npy *npy, const char *cell, int64_t *value);

/* Appends one cell of kinds U, S as UTF-8 without its padding; false when a NUL is inside. */
bool sg_npy_append_text(const sg_npy *npy, const char *cell, sg_text *text);

#endif
