/* SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef SG_ATOMIC_FILE_H
#define SG_ATOMIC_FILE_H

#include <stdio.h>

#include "core/status.h"

/* A file that appears under its name only when it is complete: it is written to a temporary file in
 * the same folder (hidden, named after the process), fsynced and renamed. Until then an older file
 * of that name stays as it is; its mode is kept, and a symbolic link keeps pointing to it. A device
 * or a pipe, such as /dev/stdout, cannot be replaced and is written directly. */
typedef struct sg_atomic_file {
    FILE *stream;
    char *path;      /* of the finished file */
    char *temporary; /* NULL when written directly */
} sg_atomic_file;

/* SG_EIO when the folder is missing or not writable, or `path` is a folder or a read-only file. */
sg_status sg_atomic_open(sg_atomic_file *file, const char *path, sg_error *error);

/* Exactly one of these must follow a successful open. A commit that fails discards. */
sg_status sg_atomic_commit(sg_atomic_file *file, sg_error *error);
void sg_atomic_discard(sg_atomic_file *file);

#endif
