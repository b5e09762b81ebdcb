/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "io/atomic_file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/text.h"
#include "io/sink.h"

static void release(sg_atomic_file *file)
{
    free(file->path);
    free(file->temporary);
    *file = (sg_atomic_file){0};
}

/* Opens a new file beside `path`. Its name does not grow with that of `path`, which may already be
 * as long as a name can be. Returns the descriptor, or -1 with errno. */
static int open_temporary(sg_atomic_file *file, const char *path)
{
    const char *slash = strrchr(path, '/');
    size_t folder = slash != NULL ? (size_t)(slash + 1 - path) : 0;
    for (int attempt = 0; attempt < 10000; attempt++) {
        sg_text name = {0};
        sg_text_append_bytes(&name, path, folder);
        sg_text_printf(&name, ".softgate-%ld-%d.tmp", (long)getpid(), attempt);
        if (name.failed) {
            sg_text_free(&name);
            errno = ENOMEM;
            return -1;
        }
        int descriptor = open(name.data, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
        if (descriptor >= 0) {
            file->temporary = name.data;
            return descriptor;
        }
        sg_text_free(&name);
        if (errno != EEXIST)
            return -1;
    }
    return -1;
}

/* The descriptor to write to, or -1 with errno. */
static int open_destination(sg_atomic_file *file)
{
    struct stat old;
    if (stat(file->path, &old) != 0)
        return errno == ENOENT ? open_temporary(file, file->path) : -1;
    if (S_ISDIR(old.st_mode)) {
        errno = EISDIR;
        return -1;
    }
    if (!S_ISREG(old.st_mode))
        return open(file->path, O_WRONLY | O_CLOEXEC);
    if (access(file->path, W_OK) != 0) /* a rename would replace it all the same */
        return -1;
    int descriptor = open_temporary(file, file->path);
    if (descriptor >= 0)
        (void)!fchmod(descriptor, old.st_mode & 07777);
    return descriptor;
}

sg_status sg_atomic_open(sg_atomic_file *file, const char *path, sg_error *error)
{
    *file = (sg_atomic_file){0};
    struct stat entry;
    bool link = lstat(path, &entry) == 0 && S_ISLNK(entry.st_mode);
    file->path = link ? realpath(path, NULL) : NULL;
    if (file->path == NULL) /* also for a link to nothing, which is replaced */
        file->path = strdup(path);
    if (file->path == NULL)
        return sg_fail(error, SG_ENOMEM, "not enough memory to open %.200s", path);
    int descriptor = open_destination(file);
    if (descriptor >= 0)
        file->stream = fdopen(descriptor, "w");
    if (file->stream == NULL) {
        int reason = errno;
        if (descriptor >= 0)
            close(descriptor);
        if (file->temporary != NULL)
            unlink(file->temporary);
        release(file);
        return sg_io_fail(error, "write", path, reason);
    }
    return SG_OK;
}

/* Some file systems cannot fsync; that is no reason to refuse them. */
static bool synchronise(FILE *stream)
{
    int result;
    do
        result = fsync(fileno(stream));
    while (result != 0 && errno == EINTR);
    return result == 0 || errno == EINVAL || errno == ENOTSUP;
}

sg_status sg_atomic_commit(sg_atomic_file *file, sg_error *error)
{
    int reason = 0;
    errno = EIO; /* ferror alone does not say why */
    if (fflush(file->stream) != 0 || ferror(file->stream) ||
        (file->temporary != NULL && !synchronise(file->stream)))
        reason = errno;
    if (fclose(file->stream) != 0 && reason == 0)
        reason = errno;
    if (reason == 0 && file->temporary != NULL && rename(file->temporary, file->path) != 0)
        reason = errno;
    sg_status status = SG_OK;
    if (reason != 0) {
        if (file->temporary != NULL)
            unlink(file->temporary);
        status = sg_io_fail(error, "write", file->path, reason);
    }
    release(file);
    return status;
}

void sg_atomic_discard(sg_atomic_file *file)
{
    fclose(file->stream);
    if (file->temporary != NULL)
        unlink(file->temporary);
    release(file);
}
