/* SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef SG_SINK_H
#define SG_SINK_H

#include <stdio.h>

#include "core/status.h"
#include "core/text.h"

/* Where a writer puts its output: it appends to `text` and calls sg_sink_drain() now and then.
 * The first failure is remembered, later output is dropped, and sg_sink_finish() reports it; a
 * writer therefore has no error paths of its own. */
typedef struct sg_sink {
    sg_text text;
    FILE *stream;
    const char *name; /* of the destination, for messages */
    int reason;       /* errno of the first failure, or 0 */
} sg_sink;

/* Hands the text to the stream when there is enough of it to be worth a call. */
void sg_sink_drain(sg_sink *sink);

/* Writes what is left, flushes, and frees the text. SG_EIO or SG_ENOMEM. */
sg_status sg_sink_finish(sg_sink *sink, sg_error *error);

/* SG_EIO with a sentence such as "cannot write x.csv: No space left on device; ..." where `verb` is
 * "write" or "read" and `reason` is an errno. */
sg_status sg_io_fail(sg_error *error, const char *verb, const char *path, int reason);

#endif
