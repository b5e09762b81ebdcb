/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "sim/checkpoint.h"

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "io/sealed_file.h"
#include "sim/dispersion.h"

/* The content of the file: the front, the texts (their sizes stand in the front), then for
 * each run an entry and its bytes. A finished run's are its records, another's what sg_run_save
 * gave. Last come the statistics of each arm, if any. */
enum { VERSION, EXPERIMENT, BACKEND, TEXTS };
enum { NOT_BEGUN, FINISHED, RUNNING };

typedef struct front {
    uint64_t runs, record_size, text_size[TEXTS];
} front;

typedef struct entry {
    uint64_t kind, size, ended_early, start_steps;
} entry;

struct sg_checkpoint {
    const sg_checkpoint_options *options;
    sg_text experiment; /* a line "key: value" for every key that counts */
    size_t runs;
    sg_finished *finished; /* [runs] */
    char *backend;
    sg_dispersion *statistics; /* [arms]; NULL: none */
    size_t arms, statistics_size;
    void *statistics_bytes; /* room for those of one arm */
    struct saved {
        void *bytes; /* NULL: nothing kept */
        size_t size;
        double time;
    } * saved;            /* [runs] */
    double written, cost; /* when the file was written last, and how long that took */
};

static double seconds(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

static void add_line(void *context, const char *key, const char *value)
{
    if (strcmp(key, "run.threads") != 0) /* results do not depend on it */
        sg_text_printf(context, "%s: %s\n", key, value);
}

/* ---- writing ---- */

static entry entry_of(const sg_checkpoint *c, size_t run)
{
    const sg_finished *over = &c->finished[run];
    if (over->records != NULL)
        return (entry){FINISHED, over->count * sizeof *over->records, over->ended_early,
                       over->start_steps};
    if (c->saved[run].bytes != NULL)
        return (entry){RUNNING, c->saved[run].size, 0, 0};
    return (entry){NOT_BEGUN, 0, 0, 0};
}

static sg_status write_file(sg_checkpoint *c, sg_error *error)
{
    double start = seconds();
    const char *text[TEXTS] = {c->options->version, c->experiment.data, c->backend};
    front head = {.runs = c->runs, .record_size = sizeof(sg_record)};
    uint64_t size = sizeof head;
    for (size_t i = 0; i < TEXTS; i++)
        size += head.text_size[i] = strlen(text[i]);
    for (size_t i = 0; i < c->runs; i++)
        size += sizeof(entry) + entry_of(c, i).size;
    size += c->arms * c->statistics_size;
    sg_sealed_writer writer;
    sg_status status = sg_sealed_open(&writer, c->options->path, size, error);
    if (status != SG_OK)
        return status;
    sg_sealed_put(&writer, &head, sizeof head);
    for (size_t i = 0; i < TEXTS; i++)
        sg_sealed_put(&writer, text[i], head.text_size[i]);
    for (size_t i = 0; i < c->runs; i++) {
        entry now = entry_of(c, i);
        sg_sealed_put(&writer, &now, sizeof now);
        sg_sealed_put(&writer,
                      now.kind == FINISHED ? (const void *)c->finished[i].records
                                           : c->saved[i].bytes,
                      now.size);
    }
    for (size_t arm = 0; arm < c->arms; arm++) {
        sg_dispersion_save(&c->statistics[arm], c->statistics_bytes);
        sg_sealed_put(&writer, c->statistics_bytes, c->statistics_size);
    }
    status = sg_sealed_commit(&writer, error);
    c->written = seconds();
    c->cost = c->written - start;
    return status;
}

/* At most a twentieth of the time goes into writing, however large the file is. */
static bool is_old(const sg_checkpoint *c)
{
    double every = c->options->every;
    return every == 0 || seconds() - c->written >= (every > 20 * c->cost ? every : 20 * c->cost);
}

sg_status sg_checkpoint_write(sg_checkpoint *c, sg_error *error)
{
    sg_status status;
#pragma omp critical(sg_checkpoint)
    status = write_file(c, error);
    return status;
}

sg_status sg_checkpoint_keep(sg_checkpoint *c, size_t index, const sg_run *run, bool now,
                             sg_error *error)
{
    struct saved *saved = &c->saved[index]; /* `time` belongs to this thread */
    if (!now && c->options->every > 0 && seconds() - saved->time < c->options->every)
        return SG_OK;
    size_t size = sg_run_save(run, NULL);
    void *bytes = malloc(size);
    if (bytes == NULL)
        return sg_fail(error, SG_ENOMEM,
                       "not enough memory for a checkpoint: the state of a run takes %.3g GiB; run "
                       "without --checkpoint or lower run.threads",
                       (double)size / 0x1p30);
    if (sg_run_save(run, bytes) == 0) { /* the run ends with its next step; what was kept stays */
        free(bytes);
        return SG_OK;
    }
    sg_status status = SG_OK;
    saved->time = seconds();
#pragma omp critical(sg_checkpoint)
    {
        free(saved->bytes);
        saved->bytes = bytes;
        saved->size = size;
        if (is_old(c))
            status = write_file(c, error);
    }
    return status;
}

sg_status sg_checkpoint_finish_run(sg_checkpoint *c, size_t index, sg_finished over,
                                   const sg_dispersion *statistics, sg_error *error)
{
    sg_status status = SG_OK;
#pragma omp critical(sg_checkpoint)
    {
        c->finished[index] = over;
        if (c->arms > 0)
            sg_dispersion_merge(&c->statistics[index % c->arms], statistics);
        free(c->saved[index].bytes);
        c->saved[index].bytes = NULL;
        if (is_old(c))
            status = write_file(c, error);
    }
    return status;
}

/* ---- reading ---- */

/* Takes `size` bytes off the front of what is left; NULL when there are fewer. */
static const char *take(const char **at, size_t *left, uint64_t size)
{
    const char *start = *at;
    if (size > *left)
        return NULL;
    *at += size;
    *left -= (size_t)size;
    return start;
}

/* Names the first key in which the experiment of the file (`theirs`) differs from this one. */
static sg_status other_experiment(const sg_checkpoint *c, const char *theirs, size_t size,
                                  sg_error *error)
{
    const char *mine = c->experiment.data, *end = theirs + size;
    size_t length, other;
    for (;; mine += length + 1, theirs += other + 1) {
        const char *stop = memchr(theirs, '\n', (size_t)(end - theirs));
        if (stop == NULL || *mine == '\0')
            return sg_fail(
                error, SG_EARGUMENT,
                "%.200s is the checkpoint of an experiment with other keys; delete it or "
                "name another file",
                c->options->path);
        length = strcspn(mine, "\n");
        other = (size_t)(stop - theirs);
        if (length != other || memcmp(mine, theirs, length) != 0)
            break;
    }
    size_t name = strcspn(mine, ":") + 2;
    bool same_key = other >= name && memcmp(mine, theirs, name) == 0;
    if (!same_key)
        name = 0;
    return sg_fail(
        error, SG_EARGUMENT,
        "%.160s is the checkpoint of another experiment: %.*s%s%.*s there and %.*s here; "
        "continue that one, delete it or name another file",
        c->options->path, (int)(name > 2 ? name - 2 : 0), mine, same_key ? " is " : "",
        (int)(other - name > 60 ? 60 : other - name), theirs + name,
        (int)(length - name > 60 ? 60 : length - name), mine + name);
}

static sg_status mismatch(const sg_checkpoint *c, sg_error *error)
{
    return sg_fail(error, SG_EDATA,
                   "%.200s does not hold what a checkpoint of this experiment holds; delete it and "
                   "start again",
                   c->options->path);
}

static sg_status take_run(sg_checkpoint *c, size_t index, const char **at, size_t *left,
                          sg_error *error)
{
    entry was;
    const char *bytes = take(at, left, sizeof was);
    if (bytes == NULL)
        return mismatch(c, error);
    memcpy(&was, bytes, sizeof was);
    bytes = take(at, left, was.size);
    bool whole = was.kind != FINISHED || (was.size > 0 && was.size % sizeof(sg_record) == 0);
    if (bytes == NULL || !whole || was.kind > RUNNING || was.ended_early > 1)
        return mismatch(c, error);
    if (was.kind == NOT_BEGUN)
        return SG_OK;
    void *copy = malloc((size_t)was.size + 1);
    if (copy == NULL)
        return sg_fail(error, SG_ENOMEM, "not enough memory to read %.200s", c->options->path);
    memcpy(copy, bytes, (size_t)was.size);
    if (was.kind == FINISHED)
        c->finished[index] = (sg_finished){copy, (size_t)was.size / sizeof(sg_record),
                                           was.ended_early == 1, (size_t)was.start_steps};
    else
        c->saved[index] = (struct saved){copy, (size_t)was.size, seconds()};
    return SG_OK;
}

static sg_status take_all(sg_checkpoint *c, const char *at, size_t left, sg_error *error)
{
    front head;
    const char *text[TEXTS], *bytes = take(&at, &left, sizeof head);
    if (bytes == NULL)
        return mismatch(c, error);
    memcpy(&head, bytes, sizeof head);
    for (size_t i = 0; i < TEXTS; i++) {
        text[i] = take(&at, &left, head.text_size[i]);
        if (text[i] == NULL)
            return mismatch(c, error);
    }
    const char *version = c->options->version;
    if (head.text_size[VERSION] != strlen(version) ||
        memcmp(text[VERSION], version, strlen(version)) != 0)
        return sg_fail(error, SG_EDATA,
                       "%.200s was written by softgate %.*s and this is %.60s, which may compute "
                       "other digits; continue with that one, or delete it and start again",
                       c->options->path,
                       (int)(head.text_size[VERSION] > 60 ? 60 : head.text_size[VERSION]),
                       text[VERSION], version);
    if (head.text_size[EXPERIMENT] != c->experiment.length ||
        memcmp(text[EXPERIMENT], c->experiment.data, c->experiment.length) != 0)
        return other_experiment(c, text[EXPERIMENT], (size_t)head.text_size[EXPERIMENT], error);
    if (head.runs != c->runs || head.record_size != sizeof(sg_record) ||
        head.text_size[BACKEND] >= SG_BACKEND_NAME)
        return mismatch(c, error);
    memcpy(c->backend, text[BACKEND], (size_t)head.text_size[BACKEND]);
    c->backend[head.text_size[BACKEND]] = '\0';
    sg_status status = SG_OK;
    for (size_t i = 0; i < c->runs && status == SG_OK; i++)
        status = take_run(c, i, &at, &left, error);
    for (size_t arm = 0; arm < c->arms && status == SG_OK; arm++) {
        bytes = take(&at, &left, c->statistics_size);
        if (bytes == NULL || !sg_dispersion_load(&c->statistics[arm], bytes, c->statistics_size))
            status = mismatch(c, error);
    }
    return status == SG_OK && left > 0 ? mismatch(c, error) : status;
}

static sg_status read_file(sg_checkpoint *c, sg_error *error)
{
    void *bytes;
    size_t size;
    sg_status status = sg_sealed_read(c->options->path, &bytes, &size, error);
    if (status == SG_OK)
        status = take_all(c, bytes, size, error);
    free(bytes);
    return status;
}

sg_status sg_checkpoint_continue(const sg_checkpoint *c, size_t index, sg_run *run, sg_error *error)
{
    const struct saved *saved = &c->saved[index];
    return saved->bytes != NULL ? sg_run_load(run, saved->bytes, saved->size, error) : SG_OK;
}

/* ---- its life ---- */

sg_status sg_checkpoint_start(sg_checkpoint **checkpoint, const sg_checkpoint_options *options,
                              const sg_config *config, size_t runs, sg_finished *finished,
                              char *backend, sg_dispersion *statistics, size_t arms,
                              sg_error *error)
{
    *checkpoint = NULL;
    struct stat info;
    if (stat(options->path, &info) == 0 && S_ISDIR(info.st_mode))
        return sg_fail(error, SG_EIO, "%.200s is a folder; a checkpoint needs the name of a file",
                       options->path);
    if (!options->resume && access(options->path, F_OK) == 0)
        return sg_fail(
            error, SG_EARGUMENT,
            "%.200s already holds a checkpoint; continue it with --resume, delete it, or "
            "name another file",
            options->path);
    sg_checkpoint *c = calloc(1, sizeof *c);
    struct saved *saved = calloc(runs, sizeof *saved);
    size_t size = arms > 0 ? sg_dispersion_save(&statistics[0], NULL) : 0;
    void *bytes = malloc(size > 0 ? size : 1);
    if (c == NULL || saved == NULL || bytes == NULL) {
        free(c);
        free(saved);
        free(bytes);
        return sg_fail(error, SG_ENOMEM, "not enough memory for a checkpoint of %zu runs", runs);
    }
    *c = (sg_checkpoint){.options = options,
                         .runs = runs,
                         .finished = finished,
                         .backend = backend,
                         .statistics = statistics,
                         .arms = arms,
                         .statistics_size = size,
                         .statistics_bytes = bytes,
                         .saved = saved};
    sg_config_visit(config, add_line, &c->experiment);
    add_line(&c->experiment, "statistics", arms > 0 ? "wanted" : "not wanted");
    sg_status status = SG_OK;
    if (c->experiment.failed)
        status = sg_fail(error, SG_ENOMEM, "not enough memory for a checkpoint");
    if (status == SG_OK && options->resume)
        status = read_file(c, error);
    if (status == SG_OK)
        status = write_file(c, error);
    if (status == SG_OK)
        *checkpoint = c;
    else
        sg_checkpoint_free(c);
    return status;
}

void sg_checkpoint_free(sg_checkpoint *c)
{
    if (c == NULL)
        return;
    for (size_t i = 0; i < c->runs; i++)
        free(c->saved[i].bytes);
    free(c->saved);
    free(c->statistics_bytes);
    sg_text_free(&c->experiment);
    free(c);
}
