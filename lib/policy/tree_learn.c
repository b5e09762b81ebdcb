/* SPDX-License-Identifier: GPL-3.0-or-later */
/* One gradient step of a tree: the gradient of the visited states and of the shared bias, its norm,
 * the optimiser on everything that moves, and what that did. */
#include <stdlib.h>
#include <string.h>

#include "core/vec.h"
#include "policy/optimizer_kernels.h"
#include "policy/tree_parts.h"

typedef struct token_push {
    int32_t token;
    double push;
} token_push;

/* The samples of one state: each token once, ascending. */
typedef struct state_pushes {
    size_t count;
    token_push *list;
    double net, gross;
    double diffuse; /* what multiplies -pi in the gradient: net, or 0 under a projection */
} state_pushes;

typedef struct state_change {
    double kl_old_new, kl_new_old, delta2, free_mass, max_free;
} state_change;

typedef struct update_job {
    sg_tree *tree;
    const sg_policy_step *step;
    double factor; /* of the clip */
    const sg_rule_kernels *kernels;
    sg_rule_numbers rule;
    double rate;          /* coupled-adam: of a row whose root of v is 1 */
    double *norm2;        /* [states + 1]: squared norms of the rows' gradients; */
    state_pushes *pushes; /* [states] */
    token_push *room;     /* [tokens] */
    double *values;       /* [tokens], the pushes of one state */
    state_change *change; /* [states], or NULL */
} update_job;

static int by_token(const void *a, const void *b)
{
    int32_t x = ((const token_push *)a)->token, y = ((const token_push *)b)->token;
    return (x > y) - (x < y);
}

static void collect(update_job *job, const sg_responses *responses, const double *pushes)
{
    const sg_tree *tree = job->tree;
    for (size_t state = 0; state < tree->states; state++) {
        state_pushes *p = &job->pushes[state];
        token_push *list = job->room + tree->start[state];
        size_t n = tree->start[state + 1] - tree->start[state], kept = 0;
        *p = (state_pushes){.list = list};
        for (size_t j = 0; j < n; j++) {
            size_t place = tree->order[tree->start[state] + j];
            list[j].token = responses->tokens[place];
            job->values[j] = pushes[place];
            p->net += pushes[place];
            p->gross += fabs(pushes[place]);
        }
        /* What rounding leaves of centred pushes is not a push: Adam would blow it up. */
        if (fabs(p->net) <= 0x1p-44 * p->gross)
            p->net = 0;
        p->diffuse = job->step->projection == SG_PROJECTION_NONE ? p->net : 0;
        if (job->step->projection == SG_PROJECTION_P2)
            sg_policy_recentre(job->values, n);
        for (size_t j = 0; j < n; j++)
            list[j].push = job->values[j];
        qsort(list, n, sizeof *list, by_token);
        for (size_t j = 0; j < n; j++) {
            if (kept > 0 && list[kept - 1].token == list[j].token)
                list[kept - 1].push += list[j].push;
            else
                list[kept++] = list[j];
        }
        p->count = kept;
    }
}

/* Probabilities and gradient of tokens at .. at+n-1; *next goes through the pushes. */
static void gradient_chunk(const update_job *job, size_t state, size_t at, size_t n, size_t *next,
                           double *p, double *g)
{
    const state_pushes *pushes = &job->pushes[state];
    sg_tree_logits(job->tree, state, at, n, p);
    for (size_t i = 0; i < n; i++)
        p[i] -= job->tree->log_norm[state];
    sg_vec_exp(n, p, p);
    for (size_t i = 0; i < n; i++)
        g[i] = -pushes->diffuse * p[i];
    for (; *next < pushes->count && (size_t)pushes->list[*next].token < at + n; ++*next)
        g[(size_t)pushes->list[*next].token - at] += pushes->list[*next].push;
}

/* Squared norm of the gradient; leaves the bias's in tree->gradient. */
static double gradient_norm2(update_job *job)
{
    sg_tree *tree = job->tree;
    size_t vocabulary = tree->shape.vocabulary;
    bool shared = tree->shape.shared_bias;
    double total = 0;
    memset(tree->gradient, 0, vocabulary * sizeof *tree->gradient);
    for (size_t state = 0; state < tree->states; state++) {
        size_t next = 0;
        double p[SG_TREE_CHUNK], g[SG_TREE_CHUNK], norm2 = 0;
        for (size_t at = 0; at < vocabulary && job->pushes[state].count > 0; at += SG_TREE_CHUNK) {
            size_t n = vocabulary - at < SG_TREE_CHUNK ? vocabulary - at : SG_TREE_CHUNK;
            gradient_chunk(job, state, at, n, &next, p, g);
            for (size_t i = 0; i < n; i++)
                norm2 += g[i] * g[i];
            for (size_t i = 0; shared && i < n; i++)
                tree->gradient[at + i] += g[i];
        }
        total += job->norm2[state] = norm2;
    }
    job->norm2[tree->states] = 0;
    for (size_t i = 0; shared && i < vocabulary; i++)
        job->norm2[tree->states] += tree->gradient[i] * tree->gradient[i];
    return total + job->norm2[tree->states];
}

/* Coupled Adam is momentum with a rate of the row's own. */
static void couple(const update_job *job)
{
    const sg_tree *tree = job->tree;
    const sg_optimizer *o = &job->step->optimizer;
    for (size_t row = 0; row <= tree->states; row++) {
        double mean = job->factor * job->factor * job->norm2[row] / (double)tree->shape.vocabulary;
        tree->second[row] = o->beta2 * tree->second[row] + (1 - o->beta2) * mean;
    }
}

static void prepare_optimizer(update_job *job)
{
    const sg_optimizer *o = &job->step->optimizer;
    double time = (double)job->step->time;
    bool fp32 = job->tree->shape.precision == SG_FP32;
    double moment = fp32 && o->kind != SG_SGD ? SG_TREE_MOMENT_SCALE : 1;
    job->kernels = sg_rule_kernels_select(SG_FP64);
    job->rule = (sg_rule_numbers){
        .scale = job->factor * moment, .step = o->lr, .beta1 = o->beta1, .beta2 = o->beta2};
    if (o->kind == SG_MOMENTUM)
        job->rule.step = o->lr / moment;
    if (o->kind == SG_ADAM || o->kind == SG_ADAMW) {
        job->rule.step = o->lr / (1 - pow(o->beta1, time));
        job->rule.correction2 = 1 / (1 - pow(o->beta2, time));
        job->rule.eps = fmax(o->eps * moment, fp32 ? 0x1p-60 : 0x1p-500);
    }
    if (o->kind == SG_ADAMW)
        job->rule.decay = o->lr * o->weight_decay;
    if (o->kind == SG_COUPLED_ADAM) {
        job->rule.scale *= 1 - o->beta1;
        job->rule.correction2 = 1 / (1 - pow(o->beta2, time));
        job->rate = o->lr / (1 - pow(o->beta1, time)) / moment;
        couple(job);
    }
}

/* Logits of -inf stay what they are. */
static void read_parameters(const sg_tree *tree, size_t row, size_t at, size_t n, double *theta)
{
    sg_tree_read(tree, tree->theta, row, at, n, theta);
    for (size_t i = 0; i < n; i++)
        theta[i] = isinf(theta[i]) ? 0 : theta[i];
}

/* delta of n numbers of a row, where its gradient stands; moves the moments on. */
static void optimise_chunk(const update_job *job, size_t row, size_t at, size_t n, double *delta)
{
    const sg_tree *tree = job->tree;
    const sg_optimizer *o = &job->step->optimizer;
    sg_rule_numbers rule = job->rule;
    double m[SG_TREE_CHUNK], v[SG_TREE_CHUNK], theta[SG_TREE_CHUNK] = {0};
    if (tree->m != NULL)
        sg_tree_read(tree, tree->m, row, at, n, m);
    if (tree->v != NULL)
        sg_tree_read(tree, tree->v, row, at, n, v);
    if (rule.decay > 0)
        read_parameters(tree, row, at, n, theta);
    if (tree->second != NULL)
        rule.step = job->rate / fmax(sqrt(tree->second[row] * rule.correction2) + o->eps, 0x1p-500);
    if (tree->v != NULL)
        job->kernels->adam(n, &rule, delta, m, v, theta);
    else if (tree->m != NULL)
        job->kernels->momentum(n, &rule, delta, m);
    else
        job->kernels->sgd(n, &rule, delta);
    if (tree->m != NULL)
        sg_tree_write(tree, tree->m, row, at, n, m);
    if (tree->v != NULL)
        sg_tree_write(tree, tree->v, row, at, n, v);
}

static void move_chunk(const sg_tree *tree, size_t row, size_t at, size_t n, const double *delta)
{
    double theta[SG_TREE_CHUNK];
    sg_tree_read(tree, tree->theta, row, at, n, theta);
    for (size_t i = 0; i < n; i++)
        theta[i] += delta[i];
    sg_tree_write(tree, tree->theta, row, at, n, theta);
}

/* exp(y) - 1 - y */
static double exp_excess(double y)
{
    if (fabs(y) > 1e-3)
        return expm1(y) - y;
    return y * y / 2 * (1 + y / 3 * (1 + y / 4 * (1 + y / 5)));
}

/* y exp(y) - exp(y) + 1 */
static double reverse_excess(double y)
{
    if (fabs(y) > 1e-3)
        return y * exp(y) - expm1(y);
    return y * y * (0.5 + y * (1.0 / 3 + y * (0.125 + y / 30)));
}

typedef struct change_sums {
    double first, excess, reverse;
} change_sums;

static void compare_chunk(const update_job *job, size_t state, size_t at, size_t n, const double *p,
                          const double *delta, change_sums *sums, state_change *change)
{
    const state_pushes *pushes = &job->pushes[state];
    size_t sampled = 0;
    while (sampled < pushes->count && (size_t)pushes->list[sampled].token < at)
        sampled++;
    for (size_t i = 0; i < n; i++) {
        double d = delta[i] + job->tree->drift[at + i];
        sums->first += p[i] * d;
        sums->excess += p[i] * exp_excess(d);
        sums->reverse += p[i] * reverse_excess(d);
        change->delta2 += delta[i] * delta[i];
        if (sampled < pushes->count && (size_t)pushes->list[sampled].token == at + i) {
            sampled++;
            continue;
        }
        change->free_mass += p[i];
        change->max_free = fmax(change->max_free, d);
    }
}

/* sum p exp(d) = 1 + x: every term below is of second order in d, none a difference of first-order
 * ones. */
static void finish_change(const change_sums *sums, state_change *change)
{
    double x = sums->first + sums->excess;
    double log_excess =
        fabs(x) > 1e-3 ? log1p(x) - x : -x * x / 2 * (1 - x * (2.0 / 3 - x * (0.5 - x * 0.4)));
    change->kl_old_new = fmax(0, log_excess + sums->excess);
    change->kl_new_old = fmax(0, sums->reverse / (1 + x) - log_excess - x * x / (1 + x));
}

static void update_state(const update_job *job, size_t state)
{
    const sg_tree *tree = job->tree;
    size_t vocabulary = tree->shape.vocabulary, next = 0;
    bool visited = job->pushes[state].count > 0, all = job->step->optimizer.kind != SG_SGD;
    if (!visited && !all)
        return;
    change_sums sums = {0};
    for (size_t at = 0; at < vocabulary; at += SG_TREE_CHUNK) {
        size_t n = vocabulary - at < SG_TREE_CHUNK ? vocabulary - at : SG_TREE_CHUNK;
        double p[SG_TREE_CHUNK], delta[SG_TREE_CHUNK];
        if (visited)
            gradient_chunk(job, state, at, n, &next, p, delta);
        else
            memset(delta, 0, n * sizeof *delta);
        optimise_chunk(job, state, at, n, delta);
        if (job->change != NULL && visited)
            compare_chunk(job, state, at, n, p, delta, &sums, &job->change[state]);
        for (size_t i = 0; job->change != NULL && !visited && i < n; i++)
            job->change[state].delta2 += delta[i] * delta[i];
        move_chunk(tree, state, at, n, delta);
    }
    if (job->change != NULL && visited)
        finish_change(&sums, &job->change[state]);
}

/* The bias's delta into tree->drift; the bias itself is moved when no state needs the old one. */
static void update_bias(const update_job *job)
{
    sg_tree *tree = job->tree;
    size_t vocabulary = tree->shape.vocabulary;
    memset(tree->drift, 0, vocabulary * sizeof *tree->drift);
    if (!tree->shape.shared_bias)
        return;
    memcpy(tree->drift, tree->gradient, vocabulary * sizeof *tree->drift);
    for (size_t at = 0; at < vocabulary; at += SG_TREE_CHUNK) {
        size_t n = vocabulary - at < SG_TREE_CHUNK ? vocabulary - at : SG_TREE_CHUNK;
        optimise_chunk(job, tree->states, at, n, tree->drift + at);
    }
}

static void summarise(const update_job *job, size_t tokens, sg_policy_change *sum)
{
    const sg_tree *tree = job->tree;
    double delta2 = 0;
    for (size_t i = 0; i < tree->shape.vocabulary; i++)
        delta2 += tree->drift[i] * tree->drift[i];
    for (size_t state = 0; state < tree->states; state++) {
        const state_change *change = &job->change[state];
        const state_pushes *pushes = &job->pushes[state];
        size_t samples = tree->start[state + 1] - tree->start[state];
        double share = (double)samples / (double)tokens;
        delta2 += change->delta2;
        if (samples == 0)
            continue;
        sum->kl_old_new += change->kl_old_new * share;
        sum->kl_new_old += change->kl_new_old * share;
        sum->diffuse_push += pushes->net * share;
        sum->diffuse_share += pushes->gross > 0 ? pushes->net / pushes->gross * share : 0;
        sum->upward_push += pushes->diffuse < 0 ? -pushes->diffuse * change->free_mass * share : 0;
        sum->max_unsampled_push = fmax(sum->max_unsampled_push, change->max_free);
    }
    sum->delta_norm = sqrt(delta2);
}

sg_status sg_tree_update(sg_policy *policy, const sg_policy_step *step,
                         const sg_responses *responses, const double *pushes,
                         sg_policy_change *change, sg_error *error)
{
    sg_tree *tree = sg_tree_of(policy);
    sg_status status = sg_tree_arrange(tree, responses, error);
    if (status != SG_OK)
        return status;
    size_t tokens = tree->start[tree->states];
    update_job job = {.tree = tree, .step = step, .factor = 1};
    job.pushes = malloc(tree->states * sizeof *job.pushes);
    job.room = malloc((tokens + 1) * sizeof *job.room);
    job.values = malloc((tokens + 1) * sizeof *job.values);
    job.norm2 = malloc((tree->states + 1) * sizeof *job.norm2);
    job.change = change != NULL ? calloc(tree->states, sizeof *job.change) : NULL;
    if (!job.pushes || !job.room || !job.values || !job.norm2 || (change != NULL && !job.change)) {
        status = sg_fail(error, SG_ENOMEM, "not enough memory for an update of %zu states",
                         tree->states);
    } else {
        collect(&job, responses, pushes);
        bool wanted = change != NULL || step->clip_norm > 0 || tree->shape.shared_bias ||
                      tree->second != NULL;
        double norm = wanted ? sqrt(gradient_norm2(&job)) : 0;
        if (step->clip_norm > 0 && norm > step->clip_norm)
            job.factor = step->clip_norm / norm;
        prepare_optimizer(&job);
        update_bias(&job);
#pragma omp parallel for schedule(dynamic, 1) if (tree->states * policy->vocabulary > 1 << 14)
        for (size_t state = 0; state < tree->states; state++)
            update_state(&job, state);
        for (size_t at = 0; tree->shape.shared_bias && at < policy->vocabulary;
             at += SG_TREE_CHUNK) {
            size_t left = policy->vocabulary - at;
            move_chunk(tree, tree->states, at, left < SG_TREE_CHUNK ? left : SG_TREE_CHUNK,
                       tree->drift + at);
        }
        sg_tree_normalise(tree);
        if (change != NULL) {
            *change = (sg_policy_change){.grad_norm = norm, .clip_factor = job.factor};
            summarise(&job, tokens, change);
        }
    }
    free(job.pushes);
    free(job.room);
    free(job.values);
    free(job.norm2);
    free(job.change);
    return status;
}
