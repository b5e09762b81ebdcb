/* SPDX-License-Identifier: GPL-3.0-or-later */
/* A close look at a step: every logit of the visited states before and after it, against the first
 * order of the theory. For a state with samples y_i and pushes c_i, B = sum c_i,
 *     g = sum_i c_i e_{y_i} - B pi,   dH = -Cov_pi(log pi, lr g),   dm_S = Cov_pi(1_S, lr g).
 * Under plain gradient ascent these are what happens up to O(lr^2); what an optimiser makes of g is
 * seen as the difference. Costs a few passes over the vocabulary for each visited state. */
#include <math.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "core/vec.h"
#include "sim/run.h"

/* An unsampled logit is pushed when it rises by more than this share of the largest sampled move. */
static const double PUSHED = 0.01;

enum { ROWS = 7 };

/* A sample and where it was drawn. */
typedef struct visit {
    size_t state;
    int32_t token;
    double push;
} visit;

struct sg_detail {
    sg_policy *before;
    double *z, *p, *delta, *after, *gradient, *square; /* [vocabulary] */
    double *shared; /* likewise: the gradient of the bias that all states have in common */
    visit *visits;  /* [tokens of a minibatch] */
    double *values; /* likewise */
};

double sg_detail_bytes(const sg_config *config)
{
    double tokens = (double)config->task.prompts * (double)config->rollout.group *
                    (double)config->task.length / (double)config->update.minibatches;
    return config->run.detail ? ROWS * 8.0 * (double)config->policy.vocabulary +
                                    tokens * (sizeof(visit) + sizeof(double))
                              : 0;
}

sg_status sg_detail_alloc(sg_run *run, sg_error *error)
{
    sg_detail *d = calloc(1, sizeof *d);
    size_t n = run->policy->vocabulary, tokens = run->minibatch.count * run->length;
    run->detail = d;
    if (d == NULL)
        return sg_fail(error, SG_ENOMEM, "not enough memory for a close look at a step");
    double **rows[ROWS] = {&d->z,        &d->p,      &d->delta, &d->after,
                           &d->gradient, &d->square, &d->shared};
    bool got = true;
    for (size_t i = 0; i < ROWS; i++) {
        *rows[i] = malloc(n * sizeof **rows[i]);
        got = got && *rows[i] != NULL;
    }
    d->visits = malloc(tokens * sizeof *d->visits);
    d->values = malloc(tokens * sizeof *d->values);
    if (!got || d->visits == NULL || d->values == NULL)
        return sg_fail(error, SG_ENOMEM, "not enough memory for a close look at %zu tokens", n);
    return run->policy->methods->clone(run->policy, &d->before, error);
}

void sg_detail_free(sg_detail *d)
{
    if (d == NULL)
        return;
    sg_policy_free(d->before);
    void *arrays[] = {d->z,      d->p,      d->delta,  d->after, d->gradient,
                      d->square, d->shared, d->visits, d->values};
    for (size_t i = 0; i < sizeof arrays / sizeof *arrays; i++)
        free(arrays[i]);
    free(d);
}

sg_status sg_detail_before(sg_run *run, sg_error *error)
{
    return run->policy->methods->adopt(run->detail->before, run->policy, error);
}

void sg_detail_unknown(sg_observables *o)
{
    o->tv = o->grad_head_share = o->upward_push_norm = o->upward_push_max = NAN;
    o->unsampled_reach = o->pushed_tokens = o->mean_drift = NAN;
    o->entropy_change = o->entropy_change_law = o->entropy_sign = NAN;
    o->tail_change = o->tail_change_law = o->tail_sign = NAN;
    o->mean_square_head = o->mean_square_tail = o->tail_above_eps = o->tail_step = NAN;
}

static int by_state(const void *a, const void *b)
{
    const visit *x = a, *y = b;
    return x->state != y->state ? (x->state > y->state) - (x->state < y->state)
                                : (x->token > y->token) - (x->token < y->token);
}

/* The minibatch's samples, state by state; how many there are. */
static size_t collect(const sg_run *run)
{
    size_t n = 0;
    for (size_t i = 0; i < run->minibatch.count; i++) {
        const int32_t *tokens = run->part_tokens + i * run->length;
        for (size_t t = 0; t < run->part_lengths[i]; t++)
            run->detail->visits[n++] =
                (visit){run->policy->methods->state_of(run->policy, run->part_prompt[i], tokens, t),
                        tokens[t], run->pushes[i * run->length + t]};
    }
    qsort(run->detail->visits, n, sizeof *run->detail->visits, by_state);
    return n;
}

/* Probabilities of logits; returns log sum exp z. */
static double softmax(size_t n, const double *z, double *p)
{
    double most = -INFINITY, sum = 0;
    for (size_t v = 0; v < n; v++)
        most = z[v] > most ? z[v] : most;
    for (size_t v = 0; v < n; v++)
        p[v] = z[v] - most;
    sg_vec_exp(n, p, p);
    for (size_t v = 0; v < n; v++)
        sum += p[v];
    for (size_t v = 0; v < n; v++)
        p[v] /= sum;
    return most + log(sum);
}

static double entropy(size_t n, const double *z, const double *p, double log_sum)
{
    double mean = 0;
    for (size_t v = 0; v < n; v++)
        mean += p[v] > 0 ? p[v] * (z[v] - log_sum) : 0;
    return -mean;
}

static double sum_from(const double *x, size_t first, size_t end)
{
    double sum = 0;
    for (size_t v = first; v < end; v++)
        sum += x[v];
    return sum;
}

/* The k-th smallest of n numbers, which are put into another order (Hoare). */
static double select_kth(double *x, size_t n, size_t k)
{
    ptrdiff_t low = 0, high = (ptrdiff_t)n - 1, wanted = (ptrdiff_t)k;
    while (low < high) {
        double pivot = x[low + (high - low) / 2];
        ptrdiff_t i = low - 1, j = high + 1;
        for (;;) {
            do
                i++;
            while (x[i] < pivot);
            do
                j--;
            while (x[j] > pivot);
            if (i >= j)
                break;
            double swap = x[i];
            x[i] = x[j];
            x[j] = swap;
        }
        if (wanted <= j)
            high = j;
        else
            low = j + 1;
    }
    return x[k];
}

static double median(double *x, size_t n)
{
    return n == 0 ? NAN : (select_kth(x, n, (n - 1) / 2) + select_kth(x, n, n / 2)) / 2;
}

/* What all states see of the step. */
typedef struct look {
    sg_detail *room;
    size_t vocabulary, head;
    bool diffuse;   /* no projection took B away */
    bool recentred; /* P2 */
    bool adam;
    double rate, factor; /* learning rate; what the clip left of the gradient */
    double eps, rest2;   /* adam: 1 - beta2^time */
    /* Sums over states. */
    double norm2, head_norm2, moved, entropy_told, tail_told;
} look;

/* Pushes of the state's samples as the update sees them; returns B. */
static double prepare_pushes(look *l, const visit *samples, size_t n)
{
    double net = 0, gross = 0;
    for (size_t j = 0; j < n; j++) {
        l->room->values[j] = samples[j].push;
        net += samples[j].push;
        gross += fabs(samples[j].push);
    }
    if (l->recentred)
        sg_policy_recentre(l->room->values, n);
    return l->diffuse && fabs(net) > 0x1p-44 * gross ? net : 0;
}

/* g = sum_i c_i e_{y_i} - B pi */
static void differentiate(const look *l, const visit *samples, size_t n, double B)
{
    const sg_detail *room = l->room;
    for (size_t v = 0; v < l->vocabulary; v++)
        room->gradient[v] = -B * room->p[v];
    for (size_t j = 0; j < n; j++)
        room->gradient[samples[j].token] += room->values[j];
}

static void add_norms(look *l, const double *gradient)
{
    for (size_t v = 0; v < l->vocabulary; v++) {
        double square = gradient[v] * gradient[v];
        l->norm2 += square;
        l->head_norm2 += v < l->head ? square : 0;
    }
}

/* What happened to the tokens without a sample. */
static void look_at_unsampled(look *l, const visit *samples, size_t n, double B, double share,
                              sg_observables *o)
{
    const sg_detail *room = l->room;
    double moved = 0, squares = 0, most = 0, highest = 0, pushed = 0;
    for (size_t j = 0; j < n; j++)
        moved = fmax(moved, fabs(room->delta[samples[j].token]));
    for (size_t v = 0, next = 0; v < l->vocabulary; v++) {
        bool sampled = next < n && (size_t)samples[next].token == v;
        while (next < n && (size_t)samples[next].token == v)
            next++;
        if (sampled)
            continue;
        squares += room->p[v] * room->p[v];
        most = fmax(most, room->p[v]);
        highest = fmax(highest, room->delta[v]);
        pushed += room->delta[v] > PUSHED * moved;
    }
    o->upward_push_norm += fmax(0, -B) * sqrt(squares) * share;
    o->upward_push_max = fmax(o->upward_push_max, fmax(0, -B) * most);
    o->pushed_tokens += pushed * share;
    o->unsampled_reach += highest * share;
    l->moved += moved * share;
}

static bool agree(double x, double y)
{
    return (x > 0) == (y > 0) && (x < 0) == (y < 0);
}

/* The first order of the theory against what happened. */
static void compare(look *l, double log_sum, double entropy_after, double share, sg_observables *o)
{
    const sg_detail *room = l->room;
    double H = entropy(l->vocabulary, room->z, room->p, log_sum), mean = 0, law = 0, tail_law = 0,
           distance = 0;
    double scale = l->rate * l->factor;
    for (size_t v = 0; v < l->vocabulary; v++)
        mean += room->p[v] * scale * (room->gradient[v] + room->shared[v]);
    for (size_t v = 0; v < l->vocabulary; v++) {
        double p = room->p[v], dz = scale * (room->gradient[v] + room->shared[v]);
        law -= p > 0 ? p * (room->z[v] - log_sum + H) * dz : 0;
        tail_law += v >= l->head ? p * (dz - mean) : 0;
        distance += fabs(room->after[v] - p) / 2;
    }
    double change = entropy_after - H;
    double tail =
        sum_from(room->after, l->head, l->vocabulary) - sum_from(room->p, l->head, l->vocabulary);
    o->tv += distance * share;
    o->entropy_change += change * share;
    o->entropy_change_law += law * share;
    o->tail_change += tail * share;
    o->tail_change_law += tail_law * share;
    if (law != 0) {
        o->entropy_sign += agree(change, law) * share;
        l->entropy_told += share;
    }
    if (tail_law != 0) {
        o->tail_sign += agree(tail, tail_law) * share;
        l->tail_told += share;
    }
}

/* How the optimiser treats the tail as a block. */
static void look_at_optimizer(look *l, double share, sg_observables *o)
{
    sg_detail *room = l->room;
    size_t n = l->vocabulary, tail = n - l->head;
    double above = 0;
    o->mean_drift += sum_from(room->delta, 0, n) / (double)n * share;
    double block = fabs(sum_from(room->delta, l->head, n)) / (double)tail;
    o->tail_step += tail > 0 ? block / l->rate * share : NAN;
    if (!l->adam)
        return;
    for (size_t v = 0; v < n; v++)
        room->square[v] /= l->rest2;
    for (size_t v = l->head; v < n; v++)
        above += sqrt(room->square[v]) > l->eps;
    o->tail_above_eps += tail > 0 ? above / (double)tail * share : NAN;
    o->mean_square_head += median(room->square, l->head) * share;
    o->mean_square_tail += median(room->square + l->head, tail) * share;
}

/* Probabilities and gradient of a state before the step; returns B. */
static double load(sg_run *run, look *l, const visit *samples, size_t n, double *log_sum)
{
    sg_detail *room = l->room;
    run->policy->methods->row(room->before, samples->state, room->z, NULL);
    *log_sum = softmax(l->vocabulary, room->z, room->p);
    double B = prepare_pushes(l, samples, n);
    differentiate(l, samples, n, B);
    return B;
}

static void look_at_state(sg_run *run, look *l, const visit *samples, size_t n, double share,
                          sg_observables *o)
{
    sg_detail *room = l->room;
    double log_sum, B = load(run, l, samples, n, &log_sum);
    run->policy->methods->row(run->policy, samples->state, room->delta, room->square);
    double log_sum_after = softmax(l->vocabulary, room->delta, room->after);
    double H = entropy(l->vocabulary, room->delta, room->after, log_sum_after);
    for (size_t v = 0; v < l->vocabulary; v++) {
        double moved = room->delta[v] - room->z[v];
        room->delta[v] = isfinite(moved) ? moved : 0; /* tokens that have underflowed */
    }
    add_norms(l, room->gradient);
    look_at_unsampled(l, samples, n, B, share, o);
    compare(l, log_sum, H, share, o);
    look_at_optimizer(l, share, o);
}

/* First token behind the visits to the state of token `first`. */
static size_t state_end(const sg_detail *room, size_t first, size_t tokens)
{
    size_t end = first + 1;
    while (end < tokens && room->visits[end].state == room->visits[first].state)
        end++;
    return end;
}

/* The bias moves every state by the gradients of all. */
static void share_gradients(sg_run *run, look *l, size_t tokens)
{
    sg_detail *room = l->room;
    memset(room->shared, 0, l->vocabulary * sizeof *room->shared);
    double ignored;
    for (size_t first = 0, end; first < tokens && run->config->policy.shared_bias; first = end) {
        end = state_end(room, first, tokens);
        load(run, l, room->visits + first, end - first, &ignored);
        for (size_t v = 0; v < l->vocabulary; v++)
            room->shared[v] += room->gradient[v];
    }
    add_norms(l, room->shared);
}

void sg_detail_after(sg_run *run, const sg_policy_step *step, double factor, sg_observables *o)
{
    bool adam = step->optimizer.kind >= SG_ADAM;
    look l = {.room = run->detail,
              .vocabulary = run->policy->vocabulary,
              .head = (size_t)run->config->policy.head,
              .diffuse = step->projection == SG_PROJECTION_NONE,
              .recentred = step->projection == SG_PROJECTION_P2,
              .adam = adam,
              .rate = step->optimizer.lr,
              .factor = factor,
              .eps = step->optimizer.eps,
              .rest2 = 1 - pow(step->optimizer.beta2, (double)step->time)};
    size_t tokens = collect(run);
    share_gradients(run, &l, tokens);
    for (size_t first = 0, end; first < tokens; first = end) {
        end = state_end(l.room, first, tokens);
        look_at_state(run, &l, l.room->visits + first, end - first,
                      (double)(end - first) / (double)tokens, o);
    }
    o->grad_head_share = l.norm2 > 0 ? l.head_norm2 / l.norm2 : NAN;
    o->unsampled_reach = l.moved > 0 ? o->unsampled_reach / l.moved : NAN;
    o->entropy_sign = l.entropy_told > 0 ? o->entropy_sign / l.entropy_told : NAN;
    o->tail_sign = l.tail_told > 0 ? o->tail_sign / l.tail_told : NAN;
    if (!adam)
        o->mean_square_head = o->mean_square_tail = o->tail_above_eps = NAN;
}
