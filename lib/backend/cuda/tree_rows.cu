/* SPDX-License-Identifier: GPL-3.0-or-later */
/* A tree's rows on the device: their memory, and the methods of backend/tree_rows.h. What the host gives goes
 * over a desk in page-locked memory, in one copy a call; only calls that return numbers wait. */
#include "backend/cuda/launch.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backend/cuda/tree_rows.h"

namespace
{

/* Memory of the device beside the rows, which grows as it is needed. */
enum room { ROOM_SAMPLES, ROOM_QUESTIONS, ROOM_ANSWERS, ROOMS };

struct cuda_tree {
    sg_tree_rows base;
    char name[32];
    sg_cuda_tree_table table;
    sg_cuda_stream *stream;
    char *block; /* all arrays of the table */
    size_t real, part_bytes, norms_bytes;
    char *norms; /* mass, offset, total and log_norm, one after the other */
    struct {
        char *at;
        size_t bytes;
    } rooms[ROOMS];
    char *desk;
    size_t desk_bytes;
    cudaEvent_t sent;             /* what lay on the desk has been copied */
    sg_cuda_tree_samples samples; /* of the update under way */
    sg_status failed;
    sg_error error;
};

cuda_tree *of(const sg_tree_rows *rows)
{
    return (cuda_tree *)(uintptr_t)rows;
}

size_t aligned(size_t bytes)
{
    return (bytes + 255) / 256 * 256;
}

/* One call of the host. It remembers the first failure. */
struct call {
    cuda_tree *tree;
    sg_error error;
    sg_status status;
    size_t used; /* of the desk */
    enum room to;

    explicit call(const sg_tree_rows *rows) : tree(of(rows)), used(0), to(ROOM_QUESTIONS)
    {
        status = tree->failed;
        if (status == SG_OK)
            status = sg_cuda_use(&error);
    }
    call(const call &) = delete;
    call &operator=(const call &) = delete;
    ~call()
    {
        if (tree->failed == SG_OK && status != SG_OK) {
            tree->failed = status;
            tree->error = error;
        }
    }
    bool fine() const
    {
        return status == SG_OK;
    }
    void check(cudaError_t code, const char *doing)
    {
        if (fine())
            status = sg_cuda_check(code, doing, &error);
    }
    /* Room for n things; NULL when there is none. */
    template <typename T> T *take(enum room which, size_t n)
    {
        size_t bytes = n * sizeof(T);
        if (fine() && bytes > tree->rooms[which].bytes) {
            size_t size = 4096;
            while (size < bytes)
                size *= 2;
            check(cudaStreamSynchronize(tree->stream), "computing on a tree");
            sg_cuda_free(tree->rooms[which].at);
            tree->rooms[which].at = nullptr;
            tree->rooms[which].bytes = 0;
            if (fine())
                status = sg_cuda_alloc((void **)&tree->rooms[which].at, size,
                                       "what is asked of a tree", &error);
            if (fine())
                tree->rooms[which].bytes = size;
        }
        return fine() ? (T *)tree->rooms[which].at : nullptr;
    }
    /* An empty desk of this size, whose things go to a room that has `more` bytes behind them. */
    bool open(enum room which, size_t bytes, size_t more = 0)
    {
        to = which;
        used = 0;
        take<char>(which, bytes + more);
        check(cudaEventSynchronize(tree->sent), "copying to the device");
        if (fine() && bytes > tree->desk_bytes) {
            size_t size = 4096;
            while (size < bytes)
                size *= 2;
            if (tree->desk)
                check(cudaFreeHost(tree->desk), "giving page-locked memory back");
            tree->desk = nullptr;
            tree->desk_bytes = 0;
            if (fine())
                check(cudaMallocHost((void **)&tree->desk, size), "taking page-locked memory");
            if (fine())
                tree->desk_bytes = size;
        }
        return fine();
    }
    /* Puts n things onto the desk; the device's place. They go with the next send. */
    template <typename T> const T *put(size_t n, const T *things)
    {
        const T *there = (const T *)(tree->rooms[to].at + used);
        if (n > 0)
            memcpy(tree->desk + used, things, n * sizeof(T));
        used += aligned(n * sizeof(T));
        return there;
    }
    void send()
    {
        if (used == 0)
            return;
        check(cudaMemcpyAsync(tree->rooms[to].at, tree->desk, used, cudaMemcpyHostToDevice,
                              tree->stream),
              "copying to the device");
        check(cudaEventRecord(tree->sent, tree->stream), "copying to the device");
    }
    /* Waits for n things. */
    template <typename T> void fetch(size_t n, const T *there, T *things)
    {
        if (fine())
            status = sg_cuda_from_device(things, there, n * sizeof(T), tree->stream, &error);
    }
};

template <typename T> size_t bytes_of(size_t n)
{
    return aligned(n * sizeof(T));
}

void fill_with_nan(void *numbers, size_t bytes)
{
    for (size_t i = 0; i < bytes / sizeof(double); i++)
        ((double *)numbers)[i] = (double)NAN;
}

sg_status status_of(const sg_tree_rows *rows, sg_error *error)
{
    const cuda_tree *tree = of(rows);
    return tree->failed == SG_OK ? SG_OK : sg_fail(error, tree->failed, "%s", tree->error.message);
}

/* ---- Rows in and out ---- */

void fill(sg_tree_rows *rows, const double *logits)
{
    call c(rows);
    size_t n = rows->config.vocabulary;
    if (!c.open(ROOM_QUESTIONS, bytes_of<double>(n)))
        return;
    const double *there = c.put(n, logits);
    c.send();
    if (c.fine())
        c.check(sg_cuda_tree_queue_fill(c.tree->table, there, c.tree->stream), "filling a tree");
}

void read_numbers(const sg_tree_rows *rows, const void *array, size_t row, bool with_bias,
                  double *numbers)
{
    call c(rows);
    size_t n = rows->config.vocabulary;
    double *there = c.take<double>(ROOM_ANSWERS, n);
    if (c.fine())
        c.check(
            sg_cuda_tree_queue_read(c.tree->table, array, row, with_bias, there, c.tree->stream),
            "reading a row of a tree");
    c.fetch(n, there, numbers);
    if (!c.fine())
        fill_with_nan(numbers, n * sizeof *numbers);
}

void read_row(const sg_tree_rows *rows, sg_tree_part part, size_t row, double *numbers)
{
    const sg_cuda_tree_table &table = of(rows)->table;
    read_numbers(rows,
                 part == SG_TREE_THETA  ? table.theta
                 : part == SG_TREE_MEAN ? table.m
                                        : table.v,
                 row, false, numbers);
}

void logits_of(const sg_tree_rows *rows, size_t state, double *z)
{
    read_numbers(rows, of(rows)->table.theta, state, true, z);
}

void write_row(sg_tree_rows *rows, size_t row, const double *theta)
{
    call c(rows);
    size_t n = rows->config.vocabulary;
    if (!c.open(ROOM_QUESTIONS, bytes_of<double>(n)))
        return;
    const double *there = c.put(n, theta);
    c.send();
    if (c.fine())
        c.check(sg_cuda_tree_queue_write(c.tree->table, row, there, c.tree->stream),
                "writing a row of a tree");
}

/* ---- Copies ---- */

/* Behind what both streams do, and before what they do next. */
void copy(sg_tree_rows *rows, const sg_tree_rows *source, bool moments)
{
    const char *doing = "copying a tree";
    call c(rows);
    cuda_tree *to = of(rows), *from = of(source);
    if (c.fine() && from->failed != SG_OK) {
        c.status = from->failed;
        c.error = from->error;
    }
    if (!c.fine())
        return;
    size_t arrays = moments ? sg_optimizer_arrays(rows->config.optimizer) : 1;
    cudaEvent_t ready = nullptr, done = nullptr;
    c.check(cudaEventCreateWithFlags(&ready, cudaEventDisableTiming), doing);
    if (c.fine())
        c.check(cudaEventCreateWithFlags(&done, cudaEventDisableTiming), doing);
    if (c.fine())
        c.check(cudaEventRecord(ready, from->stream), doing);
    if (c.fine())
        c.check(cudaStreamWaitEvent(to->stream, ready, 0), doing);
    if (c.fine())
        c.check(cudaMemcpyAsync(to->block, from->block, arrays * to->part_bytes,
                                cudaMemcpyDeviceToDevice, to->stream),
                doing);
    if (c.fine())
        c.check(cudaMemcpyAsync(to->norms, from->norms, to->norms_bytes, cudaMemcpyDeviceToDevice,
                                to->stream),
                doing);
    if (c.fine())
        c.check(cudaEventRecord(done, to->stream), doing);
    if (c.fine())
        c.check(cudaStreamWaitEvent(from->stream, done, 0), doing);
    if (ready)
        cudaEventDestroy(ready);
    if (done)
        cudaEventDestroy(done);
}

void forget(sg_tree_rows *rows)
{
    call c(rows);
    size_t moments = sg_optimizer_arrays(rows->config.optimizer) - 1, part = c.tree->part_bytes;
    if (c.fine())
        c.status = sg_cuda_zero(c.tree->block + part, moments * part, c.tree->stream, &c.error);
}

/* Bytes of an array without what aligns the next one. */
size_t saved_bytes(const cuda_tree *tree)
{
    return (tree->base.config.states + 1) * tree->base.config.vocabulary * tree->real;
}

size_t save(const sg_tree_rows *rows, void *to)
{
    size_t arrays = sg_optimizer_arrays(rows->config.optimizer), bytes = saved_bytes(of(rows));
    if (!to)
        return arrays * bytes;
    call c(rows);
    for (size_t k = 0; k < arrays; k++)
        c.fetch(bytes, (const char *)c.tree->block + k * c.tree->part_bytes,
                (char *)to + k * bytes);
    return c.fine() ? arrays * bytes : 0;
}

void load(sg_tree_rows *rows, const void *from)
{
    call c(rows);
    size_t arrays = sg_optimizer_arrays(rows->config.optimizer), bytes = saved_bytes(c.tree);
    for (size_t k = 0; k < arrays && c.fine(); k++)
        c.status =
            sg_cuda_to_device(c.tree->block + k * c.tree->part_bytes,
                              (const char *)from + k * bytes, bytes, c.tree->stream, &c.error);
    if (c.fine())
        c.check(sg_cuda_tree_queue_normalise(c.tree->table, {nullptr, 0, rows->config.states},
                                             c.tree->stream),
                "loading a tree");
}

/* ---- Questions ---- */

void draw(const sg_tree_rows *rows, size_t n, const size_t *state, const double *uniforms,
          int32_t *tokens, double *log_prob)
{
    call c(rows);
    double *values = c.take<double>(ROOM_ANSWERS, 2 * n);
    int32_t *drawn = (int32_t *)(values + n);
    if (c.open(ROOM_QUESTIONS, bytes_of<size_t>(n) + bytes_of<double>(n))) {
        const size_t *states = c.put(n, state);
        const double *u = c.put(n, uniforms);
        c.send();
        if (c.fine())
            c.check(
                sg_cuda_tree_queue_draw(c.tree->table, n, states, u, drawn, values, c.tree->stream),
                "drawing tokens");
        c.fetch(n, values, log_prob);
        c.fetch(n, drawn, tokens);
    }
    if (c.fine())
        return;
    memset(tokens, 0, n * sizeof *tokens);
    fill_with_nan(log_prob, n * sizeof *log_prob);
}

void log_prob_of(const sg_tree_rows *rows, size_t n, const size_t *state, const int32_t *tokens,
                 double *log_prob)
{
    call c(rows);
    double *values = c.take<double>(ROOM_ANSWERS, n);
    if (c.open(ROOM_QUESTIONS, bytes_of<size_t>(n) + bytes_of<int32_t>(n))) {
        const size_t *states = c.put(n, state);
        const int32_t *said = c.put(n, tokens);
        c.send();
        if (c.fine())
            c.check(
                sg_cuda_tree_queue_log_prob(c.tree->table, n, states, said, values, c.tree->stream),
                "computing log-probabilities");
        c.fetch(n, values, log_prob);
    }
    if (!c.fine())
        fill_with_nan(log_prob, n * sizeof *log_prob);
}

void head_of(const sg_tree_rows *rows, size_t first, size_t count, double *log_prob,
             double *log_norm)
{
    call c(rows);
    size_t n = count * rows->config.head;
    double *values = c.take<double>(ROOM_ANSWERS, n);
    if (c.fine())
        c.check(sg_cuda_tree_queue_head(c.tree->table, first, count, values, c.tree->stream),
                "computing log-probabilities");
    c.fetch(n, values, log_prob);
    c.fetch(count, c.tree->table.log_norm + first, log_norm);
    if (c.fine())
        return;
    fill_with_nan(log_prob, n * sizeof *log_prob);
    fill_with_nan(log_norm, count * sizeof *log_norm);
}

void observe(const sg_tree_rows *rows, sg_tree_look *look)
{
    call c(rows);
    size_t states = rows->config.states;
    sg_tree_look *there = c.take<sg_tree_look>(ROOM_ANSWERS, states);
    if (c.fine())
        c.check(sg_cuda_tree_queue_observe(c.tree->table, there, c.tree->stream),
                "observing a tree");
    c.fetch(states, there, look);
    if (!c.fine())
        fill_with_nan(look, states * sizeof *look);
}

/* ---- Updates ---- */

void gradient(sg_tree_rows *rows, const sg_tree_samples *samples, double *norm2)
{
    call c(rows);
    size_t count = samples->count, n = samples->start[count];
    size_t desk = bytes_of<size_t>(count) + bytes_of<size_t>(count + 1) + bytes_of<double>(count) +
                  bytes_of<int32_t>(n) + bytes_of<double>(n);
    double *norms = c.take<double>(ROOM_ANSWERS, count + 1);
    if (c.open(ROOM_SAMPLES, desk, count * (c.tree->table.tiles + 1) * sizeof(size_t))) {
        sg_cuda_tree_samples *there = &c.tree->samples;
        there->count = count;
        there->state = c.put(count, samples->state);
        there->start = c.put(count + 1, samples->start);
        there->diffuse = c.put(count, samples->diffuse);
        there->tokens = c.put(n, samples->tokens);
        there->pushes = c.put(n, samples->pushes);
        there->span = (size_t *)(c.tree->rooms[ROOM_SAMPLES].at + desk);
        c.send();
        if (c.fine())
            c.check(sg_cuda_tree_queue_spans(c.tree->table, *there, c.tree->stream),
                    "sorting the samples of a tree");
        if (c.fine())
            c.check(sg_cuda_tree_queue_gradient(c.tree->table, *there, norm2 ? norms : nullptr,
                                                c.tree->stream),
                    "computing the gradient of a tree");
        if (norm2)
            c.fetch(count + 1, norms, norm2);
    }
    if (!c.fine() && norm2)
        fill_with_nan(norm2, (count + 1) * sizeof *norm2);
}

void step(sg_tree_rows *rows, const sg_tree_samples *samples, const sg_tree_step *how,
          sg_tree_sums *sums)
{
    call c(rows);
    size_t count = samples->count;
    const double *rate = nullptr;
    sg_tree_sums *there = sums ? c.take<sg_tree_sums>(ROOM_ANSWERS, count + 1) : nullptr;
    if (how->rate && c.open(ROOM_QUESTIONS, bytes_of<double>(count + 1))) {
        rate = c.put(count + 1, how->rate);
        c.send();
    }
    if (c.fine())
        c.check(sg_cuda_tree_queue_step(c.tree->table, c.tree->samples, how->rule, rate, there,
                                        c.tree->stream),
                "updating a tree");
    if (sums)
        c.fetch(count + 1, (const sg_tree_sums *)there, sums);
    if (!c.fine() && sums)
        fill_with_nan(sums, (count + 1) * sizeof *sums);
}

/* ---- Memory ---- */

void release(sg_tree_rows *rows)
{
    cuda_tree *tree = of(rows);
    (void)sg_cuda_use(nullptr);
    if (tree->stream)
        (void)sg_cuda_stream_wait(tree->stream, nullptr);
    sg_cuda_free(tree->block);
    for (int k = 0; k < ROOMS; k++)
        sg_cuda_free(tree->rooms[k].at);
    if (tree->desk && cudaFreeHost(tree->desk) != cudaSuccess)
        (void)cudaGetLastError();
    if (tree->sent && cudaEventDestroy(tree->sent) != cudaSuccess)
        (void)cudaGetLastError();
    sg_cuda_stream_free(tree->stream);
    free(tree);
}

const sg_tree_rows_methods methods = {
    release, status_of, fill, read_row,    write_row, logits_of, copy,     forget,
    save,    load,      draw, log_prob_of, head_of,   observe,   gradient, step,
};

/* Gives the arrays of the table their places in the block. */
struct layout {
    char *block;
    size_t used;

    template <typename T> T *place(size_t n)
    {
        T *at = (T *)(block + used);
        used += bytes_of<T>(n);
        return at;
    }
};

/* With a block of NULL only the size of all that, in bytes. */
size_t lay_out(cuda_tree *tree, char *block)
{
    const sg_tree_rows_config &config = tree->base.config;
    sg_cuda_tree_table &table = tree->table;
    size_t arrays = sg_optimizer_arrays(config.optimizer), cells = config.states * table.tiles;
    layout all = {block, 0};
    tree->part_bytes = aligned(saved_bytes(tree));
    char *parts = all.place<char>(arrays * tree->part_bytes);
    table.theta = parts;
    table.m = arrays > 1 ? parts + tree->part_bytes : nullptr;
    table.v = arrays > 2 ? parts + 2 * tree->part_bytes : nullptr;
    size_t before = all.used;
    tree->norms = block + before;
    table.mass = all.place<double>(cells);
    table.offset = all.place<double>(config.states);
    table.total = all.place<double>(config.states);
    table.log_norm = all.place<double>(config.states);
    tree->norms_bytes = all.used - before;
    table.peak = all.place<double>(cells);
    table.gradient = all.place<double>(config.vocabulary);
    table.drift = all.place<double>(config.vocabulary);
    table.room = all.place<char>((cells + table.tiles) * sg_tree_part_bytes());
    return all.used;
}

sg_status take_memory(cuda_tree *tree, sg_error *error)
{
    char what[128];
    sg_cuda_facts facts;
    const sg_tree_rows_config &config = tree->base.config;
    snprintf(what, sizeof what, "a tree of %zu states of %zu tokens", config.states,
             config.vocabulary);
    sg_status status = sg_cuda_describe(&facts, error);
    if (status == SG_OK)
        status = sg_cuda_stream_alloc(&tree->stream, error);
    if (status == SG_OK)
        status = sg_cuda_check(cudaEventCreateWithFlags(&tree->sent, cudaEventDisableTiming),
                               "making a tree", error);
    size_t bytes = lay_out(tree, nullptr);
    if (status == SG_OK)
        status = sg_cuda_alloc((void **)&tree->block, bytes, what, error);
    if (status != SG_OK)
        return status;
    lay_out(tree, tree->block);
    snprintf(tree->name, sizeof tree->name, "cuda/sm_%d%d", facts.major, facts.minor);
    tree->base.name = tree->name;
    return sg_cuda_zero(tree->block, bytes, tree->stream, error);
}

} // namespace

extern "C" sg_status sg_cuda_tree_rows_alloc(sg_tree_rows **rows, const sg_tree_rows_config *config,
                                             sg_error *error)
{
    if ((double)config->states * sg_tree_row_bytes(config) > 0x1p62)
        return sg_fail(error, SG_ENOMEM,
                       "%zu states of %zu tokens need more memory than an address can name",
                       config->states, config->vocabulary);
    cuda_tree *tree = (cuda_tree *)calloc(1, sizeof *tree);
    if (!tree)
        return sg_fail(error, SG_ENOMEM, "not enough memory for a tree");
    tree->base.methods = &methods;
    tree->base.config = *config;
    tree->real = config->precision == SG_FP32 ? sizeof(float) : sizeof(double);
    tree->table.config = *config;
    tree->table.tiles = sg_tree_tiles(config->vocabulary);
    sg_status status = take_memory(tree, error);
    if (status != SG_OK) {
        release(&tree->base);
        return status;
    }
    *rows = &tree->base;
    return SG_OK;
}
