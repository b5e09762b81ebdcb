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
    char *norms; /* mass, offset, total and log_norm, one after the other */
};

cuda_tree *of(const sg_tree_rows *rows)
{
    return (cuda_tree *)(uintptr_t)rows;
}

/* Page-locked memory that a call may ask for, for its answers. */
enum { ANSWERS_MOST = 1 << 26 };

/* A call's questions lie on the desk, its answers at the start of the room. They come back in one copy over
 * the desk, with one wait, unless they are too many for page-locked memory. */
struct tree_call : sg_cuda_call {
    enum { PARTS = 4 };
    cuda_tree *tree;
    size_t answer_bytes, parts;
    struct {
        void *to;
        const char *from;
        size_t bytes;
    } part[PARTS];

    explicit tree_call(const sg_tree_rows *rows)
        : sg_cuda_call(&of(rows)->desk), tree(of(rows)), answer_bytes(0), parts(0)
    {
    }
    bool over_desk() const
    {
        return answer_bytes <= ANSWERS_MOST;
    }
    /* Bytes of questions and of answers, and of what else the device needs. */
    bool start(size_t questions, size_t answers, size_t scratch = 0)
    {
        answer_bytes = answers;
        room_used = 0;
        return lay(&desk->there, questions + (over_desk() ? answers : 0), questions) &&
               grow(&desk->room, answers + scratch);
    }
    /* The device's place for n answers, before anything else in the room. */
    template <typename T> T *answer(size_t n, T *things)
    {
        T *place = in_room<T>(n);
        part[parts++] = {things, (const char *)place, n * sizeof(T)};
        return place;
    }
    /* Waits for some bytes, which go to the desk. */
    void bring_to(char *here, const char *from, size_t bytes)
    {
        if (fine())
            check(cudaMemcpyAsync(here, from, bytes, cudaMemcpyDeviceToHost, stream()),
                  desk->words->fetching);
        if (fine())
            wait(desk->words->computing);
    }
    /* Waits for all answers. */
    void bring()
    {
        char *here = over_desk() ? on_desk<char>(answer_bytes) : nullptr;
        if (here)
            bring_to(here, desk->room.at, answer_bytes);
        for (size_t i = 0; i < parts && fine(); i++)
            if (here)
                memcpy(part[i].to, here + (part[i].from - desk->room.at), part[i].bytes);
            else
                down(part[i].to, part[i].from, part[i].bytes);
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
    if (c.start(0, sg_cuda_bytes<double>(n))) {
        double *there = c.answer(n, numbers);
        c.check(sg_cuda_tree_queue_read(c.tree->table, array, row, with_bias, there, c.stream()),
                "reading a row of a tree");
        c.bring();
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

/* Of coupled-adam's v. */
size_t second_bytes(const cuda_tree *tree)
{
    return tree->table.second ? (tree->base.config.states + 1) * sizeof(double) : 0;
}

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
    if (moments && to->table.second)
        c.copy(to->table.second, from->table.second, second_bytes(to), doing);
    c.order(c.stream(), from->desk.stream, doing);
}

void forget(sg_tree_rows *rows)
{
    tree_call c(rows);
    size_t moments = sg_optimizer_arrays(rows->config.optimizer) - 1, part = c.tree->part_bytes;
    c.zero(c.tree->block + part, moments * part);
    c.zero(c.tree->table.second, second_bytes(c.tree));
}

/* Bytes of an array without what aligns the next one. */
size_t saved_bytes(const cuda_tree *tree)
{
    return (tree->base.config.states + 1) * tree->base.config.vocabulary * tree->real;
}

size_t save(const sg_tree_rows *rows, void *to)
{
    size_t arrays = sg_optimizer_arrays(rows->config.optimizer), bytes = saved_bytes(of(rows));
    size_t second = second_bytes(of(rows)), all = arrays * bytes + second;
    if (!to)
        return all;
    tree_call c(rows);
    for (size_t k = 0; k < arrays; k++)
        c.down((char *)to + k * bytes, c.tree->block + k * c.tree->part_bytes, bytes);
    c.down((char *)to + arrays * bytes, c.tree->table.second, second);
    return c.fine() ? all : 0;
}

void load(sg_tree_rows *rows, const void *from)
{
    tree_call c(rows);
    size_t arrays = sg_optimizer_arrays(rows->config.optimizer), bytes = saved_bytes(c.tree);
    for (size_t k = 0; k < arrays; k++)
        c.up(c.tree->block + k * c.tree->part_bytes, (const char *)from + k * bytes, bytes);
    c.up(c.tree->table.second, (const char *)from + arrays * bytes, second_bytes(c.tree));
    if (c.fine())
        c.check(sg_cuda_tree_queue_normalise(c.tree->table, {nullptr, 0, rows->config.states},
                                             c.stream()),
                "loading a tree");
}

/* ---- Walks ---- */

/* Responses first .. first + there.count - 1, of which the device has all but the paths' own array. Their answers
 * stay in `found`, [count][length]. */
struct piece {
    size_t first, count;
    sg_tree_walk found;
};

/* Fills the responses of a piece; as if of token 0 alone when nothing was found. */
void unpack(const sg_tree_walk *to, const piece &p, bool fine)
{
    size_t length = to->paths->length;
    for (size_t k = 0; k < p.count; k++) {
        size_t i = p.first + k, n = to->length[i] = fine ? p.found.length[k] : (uint32_t)length;
        for (size_t t = 0; t < n; t++) {
            to->tokens[i * to->room + t] = fine ? p.found.tokens[k * length + t] : 0;
            to->log_prob[i * to->room + t] = fine ? p.found.log_prob[k * length + t] : (double)NAN;
        }
    }
}

void walk_piece(tree_call &c, const sg_tree_walk *asked, piece p)
{
    size_t n = p.count, cells = n * asked->paths->length, first = asked->paths->length + 1;
    size_t answers =
        sg_cuda_bytes<double>(cells) + sg_cuda_bytes<int32_t>(cells) + sg_cuda_bytes<uint32_t>(n);
    if (c.open(2 * sg_cuda_bytes<uint32_t>(n) + sg_cuda_bytes<size_t>(first) + answers, 0)) {
        sg_tree_walk there = *asked;
        sg_tree_paths paths = *asked->paths;
        there.paths = nullptr;
        there.sampler = nullptr;
        there.count = n;
        there.prompt = c.put(n, asked->prompt + p.first);
        there.sample = c.put(n, asked->sample + p.first);
        paths.first = c.put(first, asked->paths->first);
        c.send();
        p.found.log_prob = c.on_desk<double>(cells);
        p.found.tokens = c.on_desk<int32_t>(cells);
        p.found.length = c.on_desk<uint32_t>(n);
        there.log_prob = c.there(p.found.log_prob);
        there.tokens = c.there(p.found.tokens);
        there.length = c.there(p.found.length);
        if (c.fine())
            c.check(
                sg_cuda_tree_queue_walk(c.tree->table, paths, there, asked->sampler, c.stream()),
                "drawing responses");
        char *here = (char *)p.found.log_prob;
        c.bring_to(here, c.there(here), answers);
    }
    unpack(asked, p, c.fine());
}

sg_status walk(const sg_tree_rows *rows, const sg_tree_walk *asked, sg_error *error)
{
    tree_call c(rows);
    size_t cell = sizeof(double) + sizeof(int32_t);
    size_t most = ANSWERS_MOST / (cell * asked->paths->length), left = asked->count;
    most = most > 0 ? most : 1;
    for (; left > 0; left -= left < most ? left : most)
        walk_piece(c, asked, {asked->count - left, left < most ? left : most, {}});
    return c.say(error);
}

/* ---- Questions ---- */

void log_prob_of(const sg_tree_rows *rows, size_t n, const size_t *state, const int32_t *tokens,
                 double *log_prob)
{
    tree_call c(rows);
    if (c.start(sg_cuda_bytes<size_t>(n) + sg_cuda_bytes<int32_t>(n), sg_cuda_bytes<double>(n))) {
        const size_t *states = c.put(n, state);
        const int32_t *said = c.put(n, tokens);
        double *values = c.answer(n, log_prob);
        c.send();
        if (c.fine())
            c.check(sg_cuda_tree_queue_log_prob(c.tree->table, n, states, said, values, c.stream()),
                    "computing log-probabilities");
        c.bring();
    }
    c.blank_unless_fine(n, log_prob);
}

void observe(const sg_tree_rows *rows, size_t first, size_t count, double *log_prob,
             double *log_norm, sg_tree_look *look)
{
    tree_call c(rows);
    size_t n = count * rows->config.head, looks = look ? count : 0;
    if (c.start(0, sg_cuda_bytes<double>(n) + sg_cuda_bytes<double>(count) +
                       sg_cuda_bytes<sg_tree_look>(looks))) {
        double *heads = c.answer(n, log_prob), *norms = c.answer(count, log_norm);
        sg_tree_look *found = look ? c.answer(count, look) : nullptr;
        c.check(sg_cuda_tree_queue_head(c.tree->table, first, count, heads, c.stream()),
                "computing log-probabilities");
        c.copy(norms, c.tree->table.log_norm + first, count * sizeof(double),
               "copying normalisers");
        if (look && c.fine())
            c.check(sg_cuda_tree_queue_observe(c.tree->table, first, count, found, c.stream()),
                    "observing a tree");
        c.bring();
    }
    c.blank_unless_fine(n, log_prob);
    c.blank_unless_fine(count, log_norm);
    c.blank_unless_fine(count, look);
}

/* ---- Updates ---- */

/* The samples on the desk; their spans come behind what is `used` of the room. */
sg_cuda_tree_samples put_samples(tree_call &c, const sg_tree_samples *samples)
{
    size_t count = samples->count, n = samples->start[count];
    sg_cuda_tree_samples there;
    there.count = count;
    there.state = c.put(count, samples->state);
    there.start = c.put(count + 1, samples->start);
    there.diffuse = c.put(count, samples->diffuse);
    there.tokens = c.put(n, samples->tokens);
    there.pushes = c.put(n, samples->pushes);
    there.span = c.in_room<size_t>(count * (c.tree->table.tiles + 1));
    return there;
}

/* Without a change that is wanted nothing waits. */
void update(sg_tree_rows *rows, const sg_tree_samples *samples, const sg_tree_step *step,
            sg_tree_change *change)
{
    tree_call c(rows);
    const sg_cuda_tree_table &table = c.tree->table;
    size_t count = samples->count, n = samples->start[count], sums = change ? count + 1 : 0;
    bool norms = sg_tree_needs_norms(&rows->config, step);
    size_t questions = sg_cuda_bytes<size_t>(count) + sg_cuda_bytes<size_t>(count + 1) +
                       sg_cuda_bytes<double>(count) + sg_cuda_bytes<int32_t>(n) +
                       sg_cuda_bytes<double>(n);
    if (c.start(questions,
                sg_cuda_bytes<sg_tree_sums>(sums) + (change ? sg_cuda_bytes<double>(1) : 0),
                sg_cuda_bytes<size_t>(count * (table.tiles + 1)))) {
        sg_tree_sums *found = change ? c.answer(sums, change->sums) : nullptr;
        double *factor = change ? c.answer(1, &change->factor) : nullptr;
        sg_cuda_tree_samples there = put_samples(c, samples);
        c.send();
        if (c.fine())
            c.check(sg_cuda_tree_queue_spans(table, there, c.stream()),
                    "sorting the samples of a tree");
        if (c.fine())
            c.check(sg_cuda_tree_queue_gradient(table, there, *step, norms, c.stream()),
                    "computing the gradient of a tree");
        if (c.fine())
            c.check(sg_cuda_tree_queue_step(table, there, *step, norms, found, c.stream()),
                    "updating a tree");
        if (change && norms)
            c.copy(factor, table.factor, sizeof(double), "copying the factor of a clip");
        if (change)
            c.bring();
        if (change && !norms)
            change->factor = 1;
    }
    if (change) {
        c.blank_unless_fine(sums, change->sums);
        c.blank_unless_fine(1, &change->factor);
    }
}

/* ---- Memory ---- */

void release(sg_tree_rows *rows)
{
    cuda_tree *tree = of(rows);
    tree->desk.end();
    sg_cuda_free(tree->block);
    free(tree);
}

const sg_tree_rows_methods methods = {
    release, status_of, fill, read_row, write_row,   logits_of, copy,   forget,
    save,    load,      true, walk,     log_prob_of, observe,   update,
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
    table.norm2 = all.place<double>(config.states + 1);
    table.rate = all.place<double>(config.states + 1);
    bool coupled = config.optimizer == SG_COUPLED_ADAM;
    double *second = all.place<double>(coupled ? config.states + 1 : 0);
    table.second = coupled ? second : nullptr;
    table.factor = all.place<double>(1);
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
