/* SPDX-License-Identifier: GPL-3.0-or-later */
/* A tree's rows on the device: their memory, and the methods of backend/tree_rows.h. What the host gives goes
 * over a desk in page-locked memory, in one copy a call; only calls that return numbers wait. */
#include "backend/cuda/desk.h"

#include <stdio.h>
#include <stdlib.h>

#include "backend/cuda/tree_rows.h"

namespace
{

const sg_cuda_desk_words words = {"making a tree", "what is asked of a tree",
                                  "copying to the device", "copying from the device",
                                  "computing on a tree"};

struct cuda_tree {
    sg_tree_rows base;
    char name[32];
    sg_cuda_tree_table table;
    sg_cuda_desk desk;
    char *block; /* all arrays of the table */
    size_t real, part_bytes, norms_bytes;
    char *norms;                  /* mass, offset, total and log_norm, one after the other */
    sg_cuda_tree_samples samples; /* of the update under way */
    sg_cuda_room samples_room;    /* which other calls leave alone */
};

cuda_tree *of(const sg_tree_rows *rows)
{
    return (cuda_tree *)(uintptr_t)rows;
}

/* Answers may be long, so they have a place in the room and none on the desk. */
struct tree_call : sg_cuda_call {
    cuda_tree *tree;

    explicit tree_call(const sg_tree_rows *rows) : sg_cuda_call(&of(rows)->desk), tree(of(rows))
    {
    }
    /* Waits for n things. */
    template <typename T> void bring(size_t n, const T *there, T *things)
    {
        down(things, there, n * sizeof(T));
    }
    /* Waits for what kernels have written to the desk's place on the device. */
    void bring_desk(char *here, size_t bytes)
    {
        if (fine())
            check(cudaMemcpyAsync(here, there(here), bytes, cudaMemcpyDeviceToHost, stream()),
                  desk->words->fetching);
        if (fine())
            check(cudaStreamSynchronize(stream()), desk->words->computing);
    }
};

sg_status status_of(const sg_tree_rows *rows, sg_error *error)
{
    return tree_call(rows).say(error);
}

/* ---- Rows in and out ---- */

/* Numbers of the vocabulary on the device; NULL if the call has failed. */
const double *send_row(tree_call &c, const double *numbers)
{
    size_t n = c.tree->base.config.vocabulary;
    if (!c.open(sg_cuda_bytes<double>(n), 0))
        return nullptr;
    const double *there = c.put(n, numbers);
    c.send();
    return c.fine() ? there : nullptr;
}

void fill(sg_tree_rows *rows, const double *logits)
{
    tree_call c(rows);
    const double *there = send_row(c, logits);
    if (there)
        c.check(sg_cuda_tree_queue_fill(c.tree->table, there, c.stream()), "filling a tree");
}

void read_numbers(const sg_tree_rows *rows, const void *array, size_t row, bool with_bias,
                  double *numbers)
{
    tree_call c(rows);
    size_t n = rows->config.vocabulary;
    if (c.open(0, sg_cuda_bytes<double>(n))) {
        double *there = c.in_room<double>(n);
        c.check(sg_cuda_tree_queue_read(c.tree->table, array, row, with_bias, there, c.stream()),
                "reading a row of a tree");
        c.bring(n, there, numbers);
    }
    c.blank_unless_fine(n, numbers);
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
    tree_call c(rows);
    const double *there = send_row(c, theta);
    if (there)
        c.check(sg_cuda_tree_queue_write(c.tree->table, row, there, c.stream()),
                "writing a row of a tree");
}

/* ---- Copies ---- */

/* Behind what both streams do, and before what they do next. */
void copy(sg_tree_rows *rows, const sg_tree_rows *source, bool moments)
{
    const char *doing = "copying a tree";
    sg_error why;
    sg_status source_status = status_of(source, &why);
    tree_call c(rows);
    cuda_tree *to = c.tree, *from = of(source);
    size_t arrays = moments ? sg_optimizer_arrays(rows->config.optimizer) : 1;
    c.share(source_status, why);
    c.order(from->desk.stream, c.stream(), doing);
    c.copy(to->block, from->block, arrays * to->part_bytes, doing);
    c.copy(to->norms, from->norms, to->norms_bytes, doing);
    c.order(c.stream(), from->desk.stream, doing);
}

void forget(sg_tree_rows *rows)
{
    tree_call c(rows);
    size_t moments = sg_optimizer_arrays(rows->config.optimizer) - 1, part = c.tree->part_bytes;
    c.zero(c.tree->block + part, moments * part);
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
    tree_call c(rows);
    for (size_t k = 0; k < arrays; k++)
        c.down((char *)to + k * bytes, c.tree->block + k * c.tree->part_bytes, bytes);
    return c.fine() ? arrays * bytes : 0;
}

void load(sg_tree_rows *rows, const void *from)
{
    tree_call c(rows);
    size_t arrays = sg_optimizer_arrays(rows->config.optimizer), bytes = saved_bytes(c.tree);
    for (size_t k = 0; k < arrays; k++)
        c.up(c.tree->block + k * c.tree->part_bytes, (const char *)from + k * bytes, bytes);
    if (c.fine())
        c.check(sg_cuda_tree_queue_normalise(c.tree->table, {nullptr, 0, rows->config.states},
                                             c.stream()),
                "loading a tree");
}

/* ---- Questions ---- */

/* Fills the responses from what came back, [count][length]; as if from token 0 alone when nothing did. */
void unpack(const sg_tree_walk *to, const sg_tree_walk *from, bool fine)
{
    size_t length = to->paths->length;
    for (size_t i = 0; i < to->count; i++) {
        size_t n = to->length[i] = fine ? from->length[i] : (uint32_t)length;
        for (size_t t = 0; t < n; t++) {
            to->tokens[i * to->room + t] = fine ? from->tokens[i * length + t] : 0;
            to->log_prob[i * to->room + t] = fine ? from->log_prob[i * length + t] : (double)NAN;
        }
    }
}

sg_status walk(const sg_tree_rows *rows, const sg_tree_walk *asked, sg_error *error)
{
    tree_call c(rows);
    size_t n = asked->count, cells = n * asked->paths->length, first = asked->paths->length + 1;
    size_t answers =
        sg_cuda_bytes<double>(cells) + sg_cuda_bytes<int32_t>(cells) + sg_cuda_bytes<uint32_t>(n);
    sg_tree_walk here = *asked;
    if (n == 0)
        return c.say(error);
    if (c.open(2 * sg_cuda_bytes<uint32_t>(n) + sg_cuda_bytes<size_t>(first) + answers, 0)) {
        sg_tree_walk there = *asked;
        sg_tree_paths paths = *asked->paths;
        there.paths = nullptr;
        there.prompt = c.put(n, asked->prompt);
        there.sample = c.put(n, asked->sample);
        paths.first = c.put(first, asked->paths->first);
        c.send();
        here.log_prob = c.on_desk<double>(cells);
        here.tokens = c.on_desk<int32_t>(cells);
        here.length = c.on_desk<uint32_t>(n);
        there.log_prob = c.there(here.log_prob);
        there.tokens = c.there(here.tokens);
        there.length = c.there(here.length);
        if (c.fine())
            c.check(sg_cuda_tree_queue_walk(c.tree->table, paths, there, c.stream()),
                    "drawing responses");
        c.bring_desk((char *)here.log_prob, answers);
    }
    unpack(asked, &here, c.fine());
    return c.say(error);
}

void log_prob_of(const sg_tree_rows *rows, size_t n, const size_t *state, const int32_t *tokens,
                 double *log_prob)
{
    tree_call c(rows);
    if (c.open(sg_cuda_bytes<size_t>(n) + sg_cuda_bytes<int32_t>(n), sg_cuda_bytes<double>(n))) {
        const size_t *states = c.put(n, state);
        const int32_t *said = c.put(n, tokens);
        double *values = c.in_room<double>(n);
        c.send();
        if (c.fine())
            c.check(sg_cuda_tree_queue_log_prob(c.tree->table, n, states, said, values, c.stream()),
                    "computing log-probabilities");
        c.bring(n, values, log_prob);
    }
    c.blank_unless_fine(n, log_prob);
}

void head_of(const sg_tree_rows *rows, size_t first, size_t count, double *log_prob,
             double *log_norm)
{
    tree_call c(rows);
    size_t n = count * rows->config.head;
    if (c.open(0, sg_cuda_bytes<double>(n))) {
        double *values = c.in_room<double>(n);
        c.check(sg_cuda_tree_queue_head(c.tree->table, first, count, values, c.stream()),
                "computing log-probabilities");
        c.bring(n, values, log_prob);
        c.bring(count, (const double *)c.tree->table.log_norm + first, log_norm);
    }
    c.blank_unless_fine(n, log_prob);
    c.blank_unless_fine(count, log_norm);
}

void observe(const sg_tree_rows *rows, sg_tree_look *look)
{
    tree_call c(rows);
    size_t states = rows->config.states;
    if (c.open(0, sg_cuda_bytes<sg_tree_look>(states))) {
        sg_tree_look *there = c.in_room<sg_tree_look>(states);
        c.check(sg_cuda_tree_queue_observe(c.tree->table, there, c.stream()), "observing a tree");
        c.bring(states, there, look);
    }
    c.blank_unless_fine(states, look);
}

/* ---- Updates ---- */

void gradient(sg_tree_rows *rows, const sg_tree_samples *samples, double *norm2)
{
    tree_call c(rows);
    cuda_tree *tree = c.tree;
    size_t count = samples->count, n = samples->start[count];
    size_t desk = sg_cuda_bytes<size_t>(count) + sg_cuda_bytes<size_t>(count + 1) +
                  sg_cuda_bytes<double>(count) + sg_cuda_bytes<int32_t>(n) +
                  sg_cuda_bytes<double>(n);
    size_t spans = count * (tree->table.tiles + 1) * sizeof(size_t);
    if (c.lay(&tree->samples_room, desk, desk + spans) &&
        c.grow(&tree->desk.room, sg_cuda_bytes<double>(count + 1))) {
        sg_cuda_tree_samples *there = &tree->samples;
        there->count = count;
        there->state = c.put(count, samples->state);
        there->start = c.put(count + 1, samples->start);
        there->diffuse = c.put(count, samples->diffuse);
        there->tokens = c.put(n, samples->tokens);
        there->pushes = c.put(n, samples->pushes);
        there->span = (size_t *)(tree->samples_room.at + desk);
        double *norms = norm2 ? c.in_room<double>(count + 1) : nullptr;
        c.send();
        if (c.fine())
            c.check(sg_cuda_tree_queue_spans(tree->table, *there, c.stream()),
                    "sorting the samples of a tree");
        if (c.fine())
            c.check(sg_cuda_tree_queue_gradient(tree->table, *there, norms, c.stream()),
                    "computing the gradient of a tree");
        if (norm2)
            c.bring(count + 1, norms, norm2);
    }
    c.blank_unless_fine(count + 1, norm2);
}

void step(sg_tree_rows *rows, const sg_tree_samples *samples, const sg_tree_step *how,
          sg_tree_sums *sums)
{
    tree_call c(rows);
    size_t n = samples->count + 1;
    if (c.open(how->rate ? sg_cuda_bytes<double>(n) : 0,
               sums ? sg_cuda_bytes<sg_tree_sums>(n) : 0)) {
        const double *rate = how->rate ? c.put(n, how->rate) : nullptr;
        sg_tree_sums *there = sums ? c.in_room<sg_tree_sums>(n) : nullptr;
        c.send();
        if (c.fine())
            c.check(sg_cuda_tree_queue_step(c.tree->table, c.tree->samples, how->rule, rate, there,
                                            c.stream()),
                    "updating a tree");
        if (sums)
            c.bring(n, there, sums);
    }
    c.blank_unless_fine(n, sums);
}

/* ---- Memory ---- */

void release(sg_tree_rows *rows)
{
    cuda_tree *tree = of(rows);
    tree->desk.end();
    sg_cuda_free(tree->block);
    sg_cuda_free(tree->samples_room.at);
    free(tree);
}

const sg_tree_rows_methods methods = {
    release, status_of, fill, read_row,    write_row, logits_of, copy,     forget,
    save,    load,      walk, log_prob_of, head_of,   observe,   gradient, step,
};

/* Gives the arrays of the table their places in the block. */
struct layout {
    char *block;
    size_t used;

    template <typename T> T *place(size_t n)
    {
        T *at = (T *)(block + used);
        used += sg_cuda_bytes<T>(n);
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
    tree->part_bytes = sg_cuda_aligned(saved_bytes(tree));
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
        status = tree->desk.start(error);
    size_t bytes = lay_out(tree, nullptr);
    if (status == SG_OK)
        status = sg_cuda_alloc((void **)&tree->block, bytes, what, error);
    if (status != SG_OK)
        return status;
    lay_out(tree, tree->block);
    snprintf(tree->name, sizeof tree->name, "cuda/sm_%d%d", facts.major, facts.minor);
    tree->base.name = tree->name;
    return sg_cuda_zero(tree->block, bytes, tree->desk.stream, error);
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
    tree->desk.init(&words);
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
