/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "io/sink.h"

#include <errno.h>
#include <string.h>

enum { ENOUGH = 1 << 16 };

static void flush_text(sg_sink *sink)
{
    size_t length = sink->text.length;
    errno = 0;
    if (sink->reason == 0 && length > 0 &&
        fwrite(sink->text.data, 1, length, sink->stream) != length)
        sink->reason = errno != 0 ? errno : EIO;
    sg_text_clear(&sink->text);
}

void sg_sink_drain(sg_sink *sink)
{
    if (sink->text.length >= ENOUGH)
        flush_text(sink);
}

sg_status sg_sink_finish(sg_sink *sink, sg_error *error)
{
    flush_text(sink);
    errno = 0;
    if (sink->reason == 0 && (fflush(sink->stream) != 0 || ferror(sink->stream)))
        sink->reason = errno != 0 ? errno : EIO;
    bool no_memory = sink->text.failed;
    sg_text_free(&sink->text);
    if (no_memory)
        return sg_fail(error, SG_ENOMEM, "not enough memory to write %.200s", sink->name);
    return sink->reason == 0 ? SG_OK : sg_io_fail(error, "write", sink->name, sink->reason);
}

static const char *remedy(int reason)
{
    switch (reason) {
    case ENOSPC:
    case EDQUOT:
        return "free some space or choose another place";
    case EACCES:
    case EPERM:
    case EROFS:
        return "choose a place where you have the right to do that";
    case ENOENT:
    case ENOTDIR:
        return "check the name, and that its folder exists";
    case EISDIR:
        return "name a file, not a folder";
    case EPIPE:
        return "the program that reads the output has stopped";
    default:
        return "check the file and its disk";
    }
}

sg_status sg_io_fail(sg_error *error, const char *verb, const char *path, int reason)
{
    return sg_fail(error, SG_EIO, "cannot %s %.200s: %s; %s", verb, path, strerror(reason),
                   remedy(reason));
}
