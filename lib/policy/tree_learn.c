/* SPDX-License-Identifier: GPL-3.0-or-later */
/* One gradient step of a tree: the pushes of the states, the clip, the optimiser's numbers, and what the
 * step did. What needs every token of a state is done by its rows. */
#include <stdlib.h>
#include <string.h>

#include "backend/rows_math.h"
#include "policy/tree_parts.h"

typedef struct token_push {
    int32_t token;
    double push;
} token_push;

/* One update: the listed states and what is said of each of them. */
typedef struct update_job {
    const sg_tree *tree;
    const sg_policy_step *step;
    sg_tree_samples samples;
    double *net, *gross; /* [count]: sums of the pushes, and of their sizes */
    size_t *visits;      /* [count]: tokens that were said there */
    sg_tree_sums *sums;  /* [count + 1] */
    /* What samples points to, and room for the pushes of one state. */
    size_t *state, *start;
    double *diffuse, *pushes, *values;
    int32_t *tokens;
    token_push *list;
} update_job;

static void job_clear(update_job *job)
{
    void *arrays[] = {job->net,     job->gross,  job->visits, job->sums,   job->state, job->start,
                      job->diffuse, job->pushes, job->values, job->tokens, job->list};
    for (size_t i = 0; i < sizeof arrays / sizeof *arrays; i++)
        free(arrays[i]);
}

/* Room for `states` listed states and `tokens` samples. */
static bool job_init(update_job *job, size_t states, size_t tokens, bool wants_sums)
{
    size_t rows = states + 1, n = tokens + 1;
    job->net = malloc(rows * sizeof *job->net);
    job->gross = malloc(rows * sizeof *job->gross);
    job->visits = malloc(rows * sizeof *job->visits);
    job->sums = wants_sums ? malloc(rows * sizeof *job->sums) : NULL;
    job->state = malloc(rows * sizeof *job->state);
    job->start = malloc(rows * sizeof *job->start);
    job->diffuse = malloc(rows * sizeof *job->diffuse);
    job->pushes = malloc(n * sizeof *job->pushes);
    job->values = malloc(n * sizeof *job->values);
    job->tokens = malloc(n * sizeof *job->tokens);
    job->list = malloc(n * sizeof *job->list);
    return job->net && job->gross && job->visits && (job->sums || !wants_sums) && job->state &&
           job->start && job->diffuse && job->pushes && job->values && job->tokens && job->list;
}

static int by_token(const void *a, const void *b)
{
    int32_t x = ((const token_push *)a)->token, y = ((const token_push *)b)->token;
    return (x > y) - (x < y);
}

/* The pushes of a state become its samples: each token once, ascending. */
static void collect_state(update_job *job, size_t state, const sg_responses *responses,
                          const double *pushes)
{
    const size_t *order = job->tree->order + job->tree->start[state];
    size_t n = job->tree->start[state + 1] - job->tree->start[state], k = job->samples.count++;
    size_t first = job->start[k], kept = first;
    double net = 0, gross = 0;
    for (size_t j = 0; j < n; j++) {
        job->list[j].token = responses->tokens[order[j]];
        job->values[j] = pushes[order[j]];
        net += pushes[order[j]];
        gross += fabs(pushes[order[j]]);
    }
    /* What rounding leaves of centred pushes is not a push: Adam would blow it up. */
    if (fabs(net) <= 0x1p-44 * gross)
        net = 0;
    if (job->step->projection == SG_PROJECTION_P2)
        sg_policy_recentre(job->values, n);
    for (size_t j = 0; j < n; j++)
        job->list[j].push = job->values[j];
    qsort(job->list, n, sizeof *job->list, by_token);
    for (size_t j = 0; j < n; j++) {
        if (kept > first && job->tokens[kept - 1] == job->list[j].token) {
            job->pushes[kept - 1] += job->list[j].push;
            continue;
        }
        job->tokens[kept] = job->list[j].token;
        job->pushes[kept++] = job->list[j].push;
    }
    job->state[k] = state;
    job->visits[k] = n;
    job->net[k] = net;
    job->gross[k] = gross;
    job->diffuse[k] = job->step->projection == SG_PROJECTION_NONE ? net : 0;
    job->start[k + 1] = kept;
}

/* Lists what moves: what is visited, and with moments everything. */
static void collect(update_job *job, const sg_responses *responses, const double *pushes)
{
    const sg_tree *tree = job->tree;
    bool all = job->step->optimizer.kind != SG_SGD;
    job->start[0] = 0;
    for (size_t state = 0; state < tree->states; state++)
        if (all || tree->start[state + 1] > tree->start[state])
            collect_state(job, state, responses, pushes);
    job->samples.state = job->state;
    job->samples.start = job->start;
    job->samples.diffuse = job->diffuse;
    job->samples.tokens = job->tokens;
    job->samples.pushes = job->pushes;
}

static sg_tree_step prepare_step(const update_job *job)
{
    const sg_optimizer *o = &job->step->optimizer;
    double time = (double)job->step->time;
    bool fp32 = job->tree->shape.precision == SG_FP32;
    double moment = fp32 && o->kind != SG_SGD ? SG_TREE_MOMENT_SCALE : 1;
    sg_rule_numbers rule = {
        .scale = moment, .step = o->lr, .beta1 = o->beta1, .beta2 = o->beta2, .eps = o->eps};
    if (o->kind == SG_MOMENTUM)
        rule.step = o->lr / moment;
    if (o->kind == SG_ADAM || o->kind == SG_ADAMW) {
        rule.step = o->lr / (1 - pow(o->beta1, time));
        rule.correction2 = 1 / (1 - pow(o->beta2, time));
        rule.eps = fmax(o->eps * moment, fp32 ? 0x1p-60 : 0x1p-500);
    }
    if (o->kind == SG_ADAMW)
        rule.decay = o->lr * o->weight_decay;
    if (o->kind == SG_COUPLED_ADAM) {
        rule.scale *= 1 - o->beta1;
        rule.step = o->lr / (1 - pow(o->beta1, time)) / moment;
        rule.correction2 = 1 / (1 - pow(o->beta2, time));
    }
    return (sg_tree_step){rule, job->step->clip_norm};
}

static void summarise(const update_job *job, size_t tokens, sg_policy_change *sum)
{
    double delta2 = job->sums[job->samples.count].norm2;
    for (size_t k = 0; k < job->samples.count; k++) {
        const sg_tree_sums *sums = &job->sums[k];
        double share = (double)job->visits[k] / (double)tokens, kl[2];
        delta2 += sums->norm2;
        if (job->visits[k] == 0)
            continue;
        sg_row_divergences(sums->first, sums->excess, sums->reverse, kl);
        sum->kl_old_new += kl[0] * share;
        sum->kl_new_old += kl[1] * share;
        sum->diffuse_push += job->net[k] * share;
        sum->diffuse_share += job->gross[k] > 0 ? job->net[k] / job->gross[k] * share : 0;
        sum->upward_push += job->diffuse[k] < 0 ? -job->diffuse[k] * sums->free_mass * share : 0;
        sum->max_unsampled_push = fmax(sum->max_unsampled_push, sums->max_free);
    }
    sum->delta_norm = sqrt(delta2);
}

/* Of all parameters: of the rows, and of the bias. */
static double gradient_norm(const update_job *job)
{
    double total = 0;
    for (size_t k = 0; k <= job->samples.count; k++)
        total += job->sums[k].gradient2;
    return sqrt(total);
}

static void learn(update_job *job, const sg_responses *responses, const double *pushes,
                  sg_policy_change *change)
{
    sg_tree_rows *rows = job->tree->rows;
    sg_tree_change found = {.sums = job->sums};
    collect(job, responses, pushes);
    sg_tree_step step = prepare_step(job);
    rows->methods->update(rows, &job->samples, &step, change != NULL ? &found : NULL);
    if (change == NULL)
        return;
    *change = (sg_policy_change){.grad_norm = gradient_norm(job), .clip_factor = found.factor};
    summarise(job, job->tree->start[job->tree->states], change);
}

sg_status sg_tree_update(sg_policy *policy, const sg_policy_step *step,
                         const sg_responses *responses, const double *pushes,
                         sg_policy_change *change, sg_error *error)
{
    sg_tree *tree = sg_tree_of(policy);
    sg_status status = sg_tree_arrange(tree, responses, error);
    if (status != SG_OK)
        return status;
    update_job job = {.tree = tree, .step = step};
    if (job_init(&job, tree->states, tree->start[tree->states], change != NULL)) {
        learn(&job, responses, pushes, change);
        status = sg_tree_rows_status(tree->rows, error);
    } else {
        status = sg_fail(error, SG_ENOMEM, "not enough memory for an update of %zu states",
                         tree->states);
    }
    job_clear(&job);
    return status;
}
