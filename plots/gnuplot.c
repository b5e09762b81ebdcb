/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "plots/gnuplot.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;

const char sg_gnuplot_sentinel[] = "softgate: the figure is complete";

enum { MESSAGE_LIMIT = 65536, PATH_SIZE = 512 };

const char *sg_picture_format_name(sg_picture_format format)
{
    switch (format) {
#define NAME_CASE(id, name)                                                                        \
    case id:                                                                                       \
        return name;
        SG_PICTURE_FORMAT_LIST(NAME_CASE)
#undef NAME_CASE
    case SG_PICTURE_FORMAT_COUNT:
        break;
    }
    return "?";
}

bool sg_picture_format_from_name(const char *name, sg_picture_format *format)
{
    for (int i = 0; i < SG_PICTURE_FORMAT_COUNT; i++) {
        if (strcmp(name, sg_picture_format_name((sg_picture_format)i)) == 0) {
            *format = (sg_picture_format)i;
            return true;
        }
    }
    return false;
}

void sg_picture_free(sg_picture *picture)
{
    sg_text_free(&picture->main);
    sg_text_free(&picture->graphics);
    sg_text_free(&picture->messages);
}

void sg_gnuplot_output_name(sg_text *out, const char *name, sg_picture_format format)
{
    sg_text_printf(out, "%s%s.%s", name, format == SG_PICTURE_TEX ? "-inc" : "",
                   sg_picture_format_name(format));
}

/* ---- the process ---- */

/* The environment without what would change a figure; the caller frees only the array. */
static char **clean_environment(void)
{
    size_t count = 0;
    while (environ[count] != NULL)
        count++;
    char **clean = malloc((count + 3) * sizeof *clean);
    if (clean == NULL)
        return NULL;
    static const char *const dropped[] = {"GNUTERM=", "LC_",
                                          "LANG=", "LANGUAGE=", "SOURCE_DATE_EPOCH="};
    size_t kept = 0;
    for (size_t i = 0; i < count; i++) {
        bool drop = false;
        for (size_t k = 0; k < sizeof dropped / sizeof *dropped; k++)
            drop = drop || strncmp(environ[i], dropped[k], strlen(dropped[k])) == 0;
        if (!drop)
            clean[kept++] = environ[i];
    }
    static char locale[] = "LC_ALL=C.UTF-8", date[] = "SOURCE_DATE_EPOCH=946684800";
    clean[kept++] = locale;
    clean[kept++] = date;
    clean[kept] = NULL;
    return clean;
}

/* posix_spawnp(gnuplot, argv) in `directory` with stdout and stderr in a pipe. Returns 0 or an
 * errno value. */
static int spawn_gnuplot(char *const argv[], const char *directory, pid_t *pid, int *output)
{
    int ends[2];
    if (pipe2(ends, O_CLOEXEC) != 0)
        return errno;
    char **environment = clean_environment();
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attributes;
    posix_spawn_file_actions_init(&actions);
    posix_spawnattr_init(&attributes);
    posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
    posix_spawn_file_actions_adddup2(&actions, ends[1], STDOUT_FILENO);
    posix_spawn_file_actions_adddup2(&actions, ends[1], STDERR_FILENO);
    if (directory != NULL)
        posix_spawn_file_actions_addchdir_np(&actions, directory);
    sigset_t signals;
    sigemptyset(&signals);
    posix_spawnattr_setsigmask(&attributes, &signals);
    sigaddset(&signals, SIGPIPE);
    posix_spawnattr_setsigdefault(&attributes, &signals);
    posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
    int failure = environment == NULL
                      ? ENOMEM
                      : posix_spawnp(pid, "gnuplot", &actions, &attributes, argv, environment);
    posix_spawnattr_destroy(&attributes);
    posix_spawn_file_actions_destroy(&actions);
    free(environment);
    close(ends[1]);
    if (failure != 0)
        close(ends[0]);
    else
        *output = ends[0];
    return failure;
}

/* Reads until the other side closes. Beyond the limit bytes are read and dropped, so the child
 * never blocks, and the line that is cut goes too. */
static void drain(int descriptor, sg_text *text)
{
    char buffer[4096];
    bool full = false;
    for (;;) {
        ssize_t count = read(descriptor, buffer, sizeof buffer);
        if (count < 0 && errno == EINTR)
            continue;
        if (count <= 0)
            break;
        full = text->length >= MESSAGE_LIMIT;
        if (!full)
            sg_text_append_bytes(text, buffer, (size_t)count);
    }
    close(descriptor);
    while (full && text->length > 0 && text->data[text->length - 1] != '\n')
        text->data[--text->length] = '\0';
}

/* Exit status in the form of waitpid. A parent that ignores SIGCHLD cannot learn it; the other
 * proofs then decide. */
static int wait_for(pid_t pid)
{
    int status = 0;
    while (waitpid(pid, &status, 0) < 0) {
        if (errno != EINTR)
            return 0;
    }
    return status;
}

static sg_status fail_to_start(int failure, sg_error *error)
{
    if (failure == ENOENT)
        return sg_fail(error, SG_ETOOL,
                       "figures need gnuplot, which is not on PATH: install it, for example with "
                       "'apt-get install gnuplot-nox' (or run 'make setup')");
    return sg_fail(error, SG_ETOOL, "gnuplot could not be started: %s", strerror(failure));
}

sg_status sg_gnuplot_version(char *buffer, size_t size, sg_error *error)
{
    char program[] = "gnuplot", option[] = "--version";
    char *argv[] = {program, option, NULL};
    pid_t pid;
    int output;
    int failure = spawn_gnuplot(argv, NULL, &pid, &output);
    if (failure != 0)
        return fail_to_start(failure, error);
    sg_text text = {0};
    drain(output, &text);
    int status = wait_for(pid);
    bool fine = status == 0 && text.data != NULL && strncmp(text.data, "gnuplot ", 8) == 0;
    if (fine)
        snprintf(buffer, size, "%.*s", (int)strcspn(text.data, "\n"), text.data);
    sg_text_free(&text);
    return fine ? SG_OK
                : sg_fail(error, SG_ETOOL,
                          "the program 'gnuplot' on PATH does not tell its version; is it gnuplot? 'make setup' installs one");
}

/* ---- the private directory ---- */

static sg_status make_directory(char path[PATH_SIZE], sg_error *error)
{
    const char *base = getenv("TMPDIR");
    if (base == NULL || base[0] != '/' || strlen(base) > PATH_SIZE / 2)
        base = "/tmp";
    snprintf(path, PATH_SIZE, "%s/softgate-XXXXXX", base);
    if (mkdtemp(path) == NULL)
        return sg_fail(error, SG_EIO,
                       "cannot make a working directory in '%s': %s; set TMPDIR to a writable one",
                       base, strerror(errno));
    return SG_OK;
}

static sg_status write_script(const char *path, const char *script, sg_error *error)
{
    FILE *file = fopen(path, "wxe");
    bool fine = file != NULL && fprintf(file, "%s\nprint '%s'\n", script, sg_gnuplot_sentinel) > 0;
    int reason = errno;
    if (file != NULL && fclose(file) != 0) {
        reason = fine ? errno : reason;
        fine = false;
    }
    if (fine)
        return SG_OK;
    unlink(path);
    return sg_fail(error, SG_EIO, "cannot write the gnuplot script '%s': %s", path,
                   strerror(reason));
}

static sg_status read_whole(const char *path, const char *script_path, sg_text *text,
                            sg_error *error)
{
    FILE *file = fopen(path, "rbe");
    if (file == NULL)
        return sg_fail(error, SG_ETOOL, "gnuplot wrote no picture; its script is kept in %s",
                       script_path);
    char buffer[65536];
    size_t count;
    while ((count = fread(buffer, 1, sizeof buffer, file)) > 0)
        sg_text_append_bytes(text, buffer, count);
    bool broken = ferror(file) != 0;
    fclose(file);
    if (broken)
        return sg_fail(error, SG_EIO, "cannot read gnuplot's output '%s'", path);
    if (text->failed)
        return sg_fail(error, SG_ENOMEM, "not enough memory for a picture");
    return SG_OK;
}

/* ---- is the picture whole? ---- */

static bool ends_with(const sg_text *text, const char *trailer, size_t trailer_size)
{
    size_t length = text->length;
    while (length > 0 && strchr("\r\n ", text->data[length - 1]) != NULL)
        length--;
    return length >= trailer_size &&
           memcmp(text->data + length - trailer_size, trailer, trailer_size) == 0;
}

static bool is_whole(const sg_text *text, sg_picture_format format)
{
    static const char png_end[] = "\0\0\0\0IEND\xae\x42\x60\x82";
    static const char png_start[] = "\x89PNG\r\n\x1a\n";
    switch (format) {
    case SG_PICTURE_PDF:
        return text->length > 5 && memcmp(text->data, "%PDF-", 5) == 0 &&
               ends_with(text, "%%EOF", 5);
    case SG_PICTURE_SVG:
        return ends_with(text, "</svg>", 6);
    case SG_PICTURE_PNG:
        return text->length > 8 && memcmp(text->data, png_start, 8) == 0 &&
               ends_with(text, png_end, 12);
    case SG_PICTURE_TEX:
        return ends_with(text, "\\endgroup", 9);
    case SG_PICTURE_FORMAT_COUNT:
        break;
    }
    return false;
}

void sg_pdf_normalise(char *bytes, size_t count)
{
    static const char *const keys[] = {"/CreationDate (D:", "/ModDate (D:"};
    static const char constant[] = "20000101000000";
    for (size_t k = 0; k < 2; k++) {
        char *from = bytes;
        char *found;
        while ((found = memmem(from, (size_t)(bytes + count - from), keys[k], strlen(keys[k])))) {
            from = found + strlen(keys[k]);
            for (size_t i = 0; i < 14 && from < bytes + count && *from >= '0' && *from <= '9'; i++)
                *from++ = constant[i];
        }
    }
}

/* gnuplot's own explanation: the line that names the script's line, or else the last one. */
static void explain(const sg_text *messages, char *buffer, size_t size)
{
    snprintf(buffer, size, "it gave no reason");
    for (const char *line = messages->data; line != NULL && *line != '\0';) {
        size_t length = strcspn(line, "\n");
        size_t blank = strspn(line, " \t");
        if (length > blank &&
            strncmp(line, sg_gnuplot_sentinel, strlen(sg_gnuplot_sentinel)) != 0) {
            snprintf(buffer, size, "%.*s", (int)(length - blank), line + blank);
            if (memmem(line, length, "\" line ", 7) != NULL)
                return;
        }
        line += length + (line[length] == '\n');
    }
}

/* Removes the line of the sentinel from the messages; false when it is not there. */
static bool take_sentinel(sg_text *messages)
{
    char *found = messages->data != NULL ? strstr(messages->data, sg_gnuplot_sentinel) : NULL;
    if (found == NULL)
        return false;
    char *after = found + strlen(sg_gnuplot_sentinel);
    after += *after == '\n';
    memmove(found, after, strlen(after) + 1);
    messages->length = strlen(messages->data);
    return true;
}

static sg_status check_process(int status, sg_picture *picture, const char *script_path,
                               sg_error *error)
{
    char reason[256];
    bool complete = take_sentinel(&picture->messages);
    explain(&picture->messages, reason, sizeof reason);
    if (WIFSIGNALED(status))
        return sg_fail(error, SG_ETOOL, "gnuplot was ended by signal %d; its script is kept in %s",
                       WTERMSIG(status), script_path);
    if (WEXITSTATUS(status) != 0)
        return sg_fail(error, SG_ETOOL, "gnuplot failed (%s); its script is kept in %s", reason,
                       script_path);
    if (!complete)
        return sg_fail(error, SG_ETOOL,
                       "gnuplot stopped before the end of its script (%s), kept in %s", reason,
                       script_path);
    return SG_OK;
}

static sg_status collect_part(const char *path, sg_picture_format format, const char *script_path,
                              sg_text *part, sg_error *error)
{
    sg_status status = read_whole(path, script_path, part, error);
    if (status != SG_OK)
        return status;
    if (!is_whole(part, format))
        return sg_fail(error, SG_ETOOL,
                       "gnuplot's picture is cut short after %zu bytes (is the disk of '%s' "
                       "full?); its script "
                       "is kept in %s",
                       part->length, path, script_path);
    if (format == SG_PICTURE_PDF)
        sg_pdf_normalise(part->data, part->length);
    return SG_OK;
}

/* ---- one run ---- */

typedef struct paths {
    char directory[PATH_SIZE], script[2 * PATH_SIZE], main[2 * PATH_SIZE], graphics[2 * PATH_SIZE];
} paths;

static void set_paths(paths *at, const char *name, sg_picture_format format)
{
    sg_text output = {0};
    sg_gnuplot_output_name(&output, name, format);
    snprintf(at->script, sizeof at->script, "%s/%s.gp", at->directory, name);
    snprintf(at->main, sizeof at->main, "%s/%s", at->directory,
             output.data != NULL ? output.data : "");
    snprintf(at->graphics, sizeof at->graphics, "%s/%s-inc.pdf", at->directory, name);
    sg_text_free(&output);
}

static sg_status run_in_directory(const char *script, const char *name, sg_picture_format format,
                                  const paths *at, sg_picture *picture, sg_error *error)
{
    sg_status status = write_script(at->script, script, error);
    if (status != SG_OK)
        return status;
    char program[] = "gnuplot", option[] = "-d", file[PATH_SIZE];
    snprintf(file, sizeof file, "%s.gp", name);
    char *argv[] = {program, option, file, NULL};
    pid_t pid;
    int output;
    int failure = spawn_gnuplot(argv, at->directory, &pid, &output);
    if (failure != 0) {
        unlink(at->script);
        return fail_to_start(failure, error);
    }
    drain(output, &picture->messages);
    status = check_process(wait_for(pid), picture, at->script, error);
    if (status == SG_OK)
        status = collect_part(at->main, format, at->script, &picture->main, error);
    if (status == SG_OK && format == SG_PICTURE_TEX)
        status = collect_part(at->graphics, SG_PICTURE_PDF, at->script, &picture->graphics, error);
    return status;
}

sg_status sg_gnuplot_run(const char *script, const char *name, sg_picture_format format,
                         sg_picture *picture, sg_error *error)
{
    size_t legal = strspn(name, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-");
    if (name[0] == '\0' || name[0] == '-' || name[legal] != '\0' || legal > 64)
        return sg_fail(error, SG_EARGUMENT, "'%s' cannot name a figure's files", name);
    paths at;
    sg_status status = make_directory(at.directory, error);
    if (status != SG_OK)
        return status;
    set_paths(&at, name, format);
    status = run_in_directory(script, name, format, &at, picture, error);
    unlink(at.main);
    unlink(at.graphics);
    if (status == SG_OK)
        unlink(at.script);
    rmdir(at.directory); /* stays when the script of a failed run is in it */
    if (status != SG_OK)
        sg_picture_free(picture);
    return status;
}
