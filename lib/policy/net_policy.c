/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "policy/net_policy.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "core/isa.h"
#include "core/rng.h"
#include "policy/net_matrix.h"

enum { MOST_PREFIXES = 4096 };

/* Positions of responses as the net wants them. */
typedef struct unrolled {
    size_t count, capacity;
    int32_t *position, *context, *token;
    size_t *place; /* in the responses' arrays */
    uint64_t *routes;
    double *value, *push;
} unrolled;

typedef struct net_policy {
    sg_policy base;
    sg_net_policy_shape shape;
    int32_t *symbols; /* [prompts][prompt_length] */
    sg_net *net, *gradient;
    sg_tensor_optimizer *optimizer;
    sg_net_pass *pass, *after;
    unrolled now, replayed; /* replayed: contexts with their routes */
    uint32_t *table;        /* of the replayed contexts: place + 1, 0: free */
    size_t table_size;
} net_policy;

static net_policy *of(const sg_policy *policy)
{
    return (net_policy *)(uintptr_t)policy;
}

sg_net *sg_net_policy_net(sg_policy *policy)
{
    return of(policy)->net;
}

static void drop(unrolled *u)
{
    void *arrays[] = {u->position, u->context, u->token, u->place, u->routes, u->value, u->push};
    for (size_t i = 0; i < sizeof arrays / sizeof *arrays; i++)
        free(arrays[i]);
    *u = (unrolled){0};
}

static sg_status reserve(unrolled *u, const sg_net_config *c, size_t n, sg_error *error)
{
    if (n <= u->capacity)
        return SG_OK;
    drop(u);
    u->position = malloc(n * sizeof *u->position);
    u->context = malloc((n * sg_net_slots(c) + 1) * sizeof *u->context);
    u->token = malloc(n * sizeof *u->token);
    u->place = malloc(n * sizeof *u->place);
    u->routes = malloc((n * c->blocks + 1) * sizeof *u->routes);
    u->value = malloc(n * sizeof *u->value);
    u->push = malloc(n * sizeof *u->push);
    if (!u->position || !u->context || !u->token || !u->place || !u->routes || !u->value ||
        !u->push)
        return sg_fail(error, SG_ENOMEM, "not enough memory for %zu positions", n);
    u->capacity = n;
    return SG_OK;
}

static void fill_context(const net_policy *self, size_t prompt, const int32_t *tokens, size_t t,
                         int32_t *context)
{
    const sg_net_config *c = &self->shape.net;
    memcpy(context, self->symbols + prompt * c->prompt_length, c->prompt_length * sizeof *context);
    for (size_t s = 0; s < c->window; s++)
        context[c->prompt_length + s] = s < t ? tokens[t - 1 - s] : -1;
}

static sg_status unroll(const net_policy *self, unrolled *u, const sg_responses *responses,
                        sg_error *error)
{
    const sg_net_config *c = &self->shape.net;
    size_t total = 0;
    for (size_t i = 0; i < responses->count; i++)
        total += responses->length[i];
    sg_status status = reserve(u, c, total, error);
    if (status)
        return status;
    u->count = 0;
    for (size_t i = 0; i < responses->count; i++)
        for (size_t t = 0; t < responses->length[i]; t++, u->count++) {
            const int32_t *tokens = responses->tokens + i * responses->room;
            fill_context(self, responses->prompt[i], tokens, t,
                         u->context + u->count * sg_net_slots(c));
            u->position[u->count] = (int32_t)t;
            u->token[u->count] = tokens[t];
            u->place[u->count] = i * responses->room + t;
        }
    return SG_OK;
}

/* ---- replay */

static uint64_t hash_of(const unrolled *u, size_t i, size_t slots)
{
    uint64_t hash = (uint64_t)u->position[i] + 1;
    for (size_t s = 0; s < slots; s++) {
        hash = (hash ^ (uint32_t)u->context[i * slots + s]) * UINT64_C(0xff51afd7ed558ccd);
        hash ^= hash >> 32;
    }
    return hash;
}

/* Place in the table where the context of u's position i stands or would stand. */
static size_t find(const net_policy *self, const unrolled *u, size_t i)
{
    size_t slots = sg_net_slots(&self->shape.net), at = hash_of(u, i, slots);
    const unrolled *known = &self->replayed;
    for (at &= self->table_size - 1; self->table[at]; at = (at + 1) & (self->table_size - 1)) {
        size_t k = self->table[at] - 1;
        if (known->position[k] == u->position[i] &&
            memcmp(known->context + k * slots, u->context + i * slots,
                   slots * sizeof *u->context) == 0)
            break;
    }
    return at;
}

static sg_net_batch batch_of(unrolled *u)
{
    return (sg_net_batch){u->count, u->position, u->context, u->token, NULL};
}

/* Routes of the replayed contexts where there are such, free choices elsewhere. */
static sg_status forward(net_policy *self, unrolled *u, double *log_prob, sg_error *error)
{
    size_t blocks = self->shape.net.blocks;
    sg_net_batch batch = batch_of(u);
    if (self->table && self->shape.net.experts > 1) {
        bool all = true;
        for (size_t i = 0; i < u->count && all; i++)
            all = self->table[find(self, u, i)] != 0;
        if (!all) { /* what is not replayed is asked first */
            sg_status status = sg_net_forward(self->pass, self->net, &batch, NULL, error);
            if (status)
                return status;
            sg_net_routes(self->pass, u->routes);
        }
        for (size_t i = 0; i < u->count; i++) {
            size_t at = self->table[find(self, u, i)];
            if (at)
                memcpy(u->routes + i * blocks, self->replayed.routes + (at - 1) * blocks,
                       blocks * sizeof *u->routes);
        }
        batch.routes = u->routes;
    }
    return sg_net_forward(self->pass, self->net, &batch, log_prob, error);
}

static void route_freely(net_policy *self)
{
    free(self->table);
    self->table = NULL;
}

sg_status sg_net_policy_replay(sg_policy *policy, sg_policy *source, const sg_responses *responses,
                               sg_error *error)
{
    net_policy *self = of(policy), *from = of(source);
    route_freely(self);
    if (responses == NULL)
        return SG_OK;
    unrolled *u = &self->replayed;
    sg_status status = unroll(self, u, responses, error);
    if (status || u->count == 0)
        return status;
    sg_net_batch batch = batch_of(u);
    status = sg_net_forward(from->pass, from->net, &batch, NULL, error);
    if (status)
        return status;
    sg_net_routes(from->pass, u->routes);
    for (self->table_size = 16; self->table_size < 2 * u->count;)
        self->table_size *= 2;
    self->table = calloc(self->table_size, sizeof *self->table);
    if (!self->table)
        return sg_fail(error, SG_ENOMEM, "not enough memory to replay routes");
    for (size_t i = 0; i < u->count; i++)
        self->table[find(self, u, i)] = (uint32_t)i + 1;
    return SG_OK;
}

sg_status sg_net_policy_flips(sg_policy *policy, sg_policy *other, const sg_responses *responses,
                              sg_route_flips *by_block, size_t *tokens, sg_error *error)
{
    net_policy *self = of(policy), *theirs = of(other);
    unrolled *u = &self->now;
    size_t blocks = self->shape.net.blocks;
    sg_status status = unroll(self, u, responses, error);
    *tokens = 0;
    memset(by_block, 0, blocks * sizeof *by_block);
    if (status || u->count == 0)
        return status;
    uint64_t *second = malloc((u->count * blocks + 1) * sizeof *second);
    sg_net_batch batch = batch_of(u);
    if (!second)
        return sg_fail(error, SG_ENOMEM, "not enough memory to compare routes");
    status = sg_net_forward(self->pass, self->net, &batch, NULL, error);
    if (!status)
        status = sg_net_forward(theirs->pass, theirs->net, &batch, NULL, error);
    if (!status) {
        sg_net_routes(self->pass, u->routes);
        sg_net_routes(theirs->pass, second);
        *tokens = sg_route_compare(u->routes, second, u->count, blocks, by_block, NULL);
    }
    free(second);
    return status;
}

/* ---- the methods */

static const char *backend(const sg_policy *policy)
{
    (void)policy;
    static const char *const names[] = {"cpu/portable", "cpu/avx2", "cpu/avx512"};
    return names[sg_isa_select()];
}

static void release(sg_policy *policy)
{
    net_policy *self = of(policy);
    sg_net_free(self->net);
    sg_net_free(self->gradient);
    sg_tensor_optimizer_free(self->optimizer);
    sg_net_pass_free(self->pass);
    sg_net_pass_free(self->after);
    drop(&self->now);
    drop(&self->replayed);
    free(self->table);
    free(self->symbols);
    free(self);
}

/* Uniforms and prompts in the shape of the net's rollout, then back. */
static sg_status draw(sg_policy *policy, const sg_policy_draw *how, const sg_responses *responses,
                      double *log_prob, sg_error *error)
{
    net_policy *self = of(policy);
    const sg_net_config *c = &self->shape.net;
    size_t n = responses->count, length = c->length, slots = c->prompt_length;
    double *uniform = malloc((2 * n * length + 1) * sizeof *uniform);
    double *own = uniform ? uniform + n * length : NULL;
    int32_t *integers = malloc((n * (slots + length + 1) + 1) * sizeof *integers);
    sg_status status = SG_OK;
    if (!uniform || !integers)
        status = sg_fail(error, SG_ENOMEM, "not enough memory for %zu responses", n);
    if (!status) {
        int32_t *prompts = integers, *tokens = prompts + n * slots, *lengths = tokens + n * length;
        sg_net_sequences sequences = {n, prompts, tokens, lengths};
        sg_net_record record = {own, NULL};
        sg_net_draw options = {how->sampler, how->seed, how->step, self->shape.end_token};
        sg_address at = {.seed = how->seed, .stream = how->stream, .step = how->step};
        for (size_t i = 0; i < n; i++) {
            memcpy(prompts + i * slots, self->symbols + responses->prompt[i] * slots,
                   slots * sizeof *prompts);
            at.prompt = responses->prompt[i];
            at.sample = responses->sample[i];
            for (at.token = 0; at.token < length; at.token++)
                uniform[i * length + at.token] = sg_rng_uniform(at);
        }
        status =
            sg_net_rollout(self->pass, self->net, &options, uniform, &sequences, &record, error);
        for (size_t i = 0; i < n && !status; i++) {
            responses->length[i] = (uint32_t)lengths[i];
            for (size_t t = 0; t < (size_t)lengths[i]; t++) {
                responses->tokens[i * responses->room + t] = tokens[i * length + t];
                if (log_prob)
                    log_prob[i * responses->room + t] = own[i * length + t];
            }
        }
    }
    free(uniform);
    free(integers);
    return status;
}

static sg_status log_prob_of(sg_policy *policy, const sg_responses *responses, double *log_prob,
                             sg_error *error)
{
    net_policy *self = of(policy);
    unrolled *u = &self->now;
    sg_status status = unroll(self, u, responses, error);
    if (!status && u->count > 0)
        status = forward(self, u, u->value, error);
    for (size_t i = 0; i < u->count && !status; i++)
        log_prob[u->place[i]] = u->value[i];
    return status;
}

typedef struct sampled {
    uint32_t row;
    int32_t token;
    double probability;
} sampled;

static int by_row_and_token(const void *a, const void *b)
{
    const sampled *x = a, *y = b;
    return x->row != y->row ? (x->row > y->row) - (x->row < y->row)
                            : (x->token > y->token) - (x->token < y->token);
}

/* Means over positions of what the pushes do to their states, before the step. */
static sg_status describe_pushes(const net_policy *self, sg_policy_change *change, sg_error *error)
{
    const unrolled *u = &self->now;
    const uint32_t *row_of = sg_net_row_of(self->pass);
    size_t rows = sg_net_rows(self->pass);
    double *diffuse = calloc(3 * rows, sizeof *diffuse), *gross = diffuse + rows;
    sampled *samples = malloc(u->count * sizeof *samples);
    if (!diffuse || !samples) {
        free(diffuse);
        free(samples);
        return sg_fail(error, SG_ENOMEM, "not enough memory to describe a step");
    }
    double *mass = gross + rows, share = 1 / (double)u->count; /* mass: of sampled tokens */
    sg_net_diffuse_push(self->pass, u->push, diffuse);
    for (size_t i = 0; i < u->count; i++) {
        gross[row_of[i]] += fabs(u->push[i]);
        samples[i] = (sampled){row_of[i], u->token[i], exp(u->value[i])};
    }
    qsort(samples, u->count, sizeof *samples, by_row_and_token);
    for (size_t i = 0; i < u->count; i++)
        if (i == 0 || by_row_and_token(&samples[i - 1], &samples[i]) != 0)
            mass[samples[i].row] += samples[i].probability;
    for (size_t i = 0; i < u->count; i++) {
        uint32_t r = row_of[i];
        change->diffuse_push += share * diffuse[r];
        change->diffuse_share += gross[r] > 0 ? share * diffuse[r] / gross[r] : 0;
        change->upward_push += share * fmax(0, -diffuse[r]) * fmax(0, 1 - mass[r]);
    }
    free(diffuse);
    free(samples);
    return SG_OK;
}

/* The old policy's normalisers stay in `pass`; `old` holds its numbers. */
static sg_status measure_step(net_policy *self, sg_net *old, bool replay, sg_policy_change *change,
                              sg_error *error)
{
    unrolled *u = &self->now;
    size_t rows = sg_net_rows(self->pass);
    sg_net_batch batch = batch_of(u);
    batch.routes = replay ? u->routes : NULL;
    sg_divergence *apart = malloc(rows * sizeof *apart);
    sg_status status = SG_OK;
    if (!apart)
        status = sg_fail(error, SG_ENOMEM, "not enough memory to describe a step");
    if (!status)
        status = sg_net_forward(self->after, self->net, &batch, NULL, error);
    if (!status)
        status = sg_net_diverge(self->pass, old, self->after, self->net, apart, error);
    for (size_t i = 0; i < u->count && !status; i++) {
        const sg_divergence *d = &apart[sg_net_row_of(self->pass)[i]];
        change->kl_old_new += d->kl_ab / (double)u->count;
        change->kl_new_old += d->kl_ba / (double)u->count;
    }
    free(apart);
    return status;
}

static sg_status update(sg_policy *policy, const sg_policy_step *step,
                        const sg_responses *responses, const double *pushes,
                        sg_policy_change *change, sg_error *error)
{
    net_policy *self = of(policy);
    unrolled *u = &self->now;
    sg_net *net = self->net, *old = NULL;
    sg_status status = unroll(self, u, responses, error);
    if (change)
        *change = (sg_policy_change){.clip_factor = 1, .max_unsampled_push = NAN};
    if (status || u->count == 0)
        return status;
    for (size_t i = 0; i < u->count; i++)
        u->push[i] = pushes[u->place[i]];
    status = forward(self, u, u->value, error);
    if (!status && change)
        status = describe_pushes(self, change, error);
    if (!status && step->projection == SG_PROJECTION_P2)
        status = sg_net_recentre(self->pass, u->push, error);
    if (!status)
        status = sg_net_backward(
            self->pass, net, u->push,
            step->projection == SG_PROJECTION_P1 ? SG_DIFFUSE_DROP : SG_DIFFUSE_KEEP,
            self->gradient, error);
    if (!status && change)
        status = sg_net_alloc(&old, &net->config, error);
    if (status)
        return status;
    if (old)
        sg_net_copy(old, net);
    sg_tensor_optimizer_set(self->optimizer, step->optimizer.lr, step->clip_norm, step->time);
    sg_step_report report =
        sg_tensor_optimizer_delta(self->optimizer, net->values, self->gradient->values);
    sg_tensor_add(net->config.precision, net->size, 1, self->gradient->values, net->values);
    if (change) {
        change->grad_norm = report.grad_norm;
        change->clip_factor = report.clip_factor;
        change->delta_norm = report.delta_norm;
        bool replay = self->table && net->config.experts > 1;
        status = measure_step(self, old, replay, change, error);
    }
    sg_net_free(old);
    return status;
}

/* ---- looking at it */

static void add_row(sg_policy_observation *o, const sg_row_observation *row, double share)
{
    o->entropy += row->entropy * share;
    o->head_entropy += row->head_entropy * share;
    o->tail_mass += row->tail_mass * share;
    o->tail_mass_max = fmax(o->tail_mass_max, row->tail_mass);
    o->tail_entropy_share += row->tail_entropy_share * share;
    o->collision += row->collision * share;
    o->max_prob += row->max_prob * share;
    o->logit_range = fmax(o->logit_range, row->logit_range);
}

/* `seen` are rows of the last forward over self->now, whose responses these are. */
static void average(const net_policy *self, const sg_reward *reward, const sg_responses *responses,
                    const sg_row_observation *seen, sg_policy_observation *o)
{
    const unrolled *u = &self->now;
    const uint32_t *row_of = sg_net_row_of(self->pass);
    double share = 1 / (double)u->count, right = 0, losers = 0, roots = 0;
    double right_mass = 0, losers_mass = 0, root_mass = 0;
    for (size_t i = 0, n = 0; i < responses->count; i++) {
        int32_t state = 0;
        for (size_t t = 0; t < responses->length[i]; t++, n++) {
            const sg_row_observation *row = &seen[row_of[n]];
            bool lost = state == SG_REWARD_LOST;
            add_row(o, row, share);
            *(lost ? &losers : &right) += 1;
            *(lost ? &losers_mass : &right_mass) += row->tail_mass;
            roots += t == 0;
            root_mass += t == 0 ? row->tail_mass : 0;
            if (!lost && reward)
                state = reward->next(reward->context, responses->prompt[i], t, state, u->token[n]);
        }
    }
    for (size_t r = 0; r < sg_net_rows(self->pass); r++)
        o->underflowed += (double)seen[r].underflowed;
    o->tail_mass_root = root_mass / roots;
    o->tail_mass_right = right > 0 ? right_mass / right : (double)NAN;
    o->tail_mass_losers = losers > 0 ? losers_mass / losers : (double)NAN;
    o->losers_share = losers * share;
}

static sg_status observe(sg_policy *policy, const sg_reward *reward, sg_policy_observation *o,
                         sg_error *error)
{
    net_policy *self = of(policy);
    size_t each = policy->length == 1 ? 1 : self->shape.observe_samples;
    size_t n = policy->prompts * each;
    uint32_t *numbers = malloc(3 * n * sizeof *numbers);
    int32_t *tokens = malloc(n * policy->length * sizeof *tokens);
    sg_row_observation *seen = NULL;
    sg_status status = SG_OK;
    *o = (sg_policy_observation){0};
    if (!numbers || !tokens)
        status = sg_fail(error, SG_ENOMEM, "not enough memory to observe %zu responses", n);
    if (!status) {
        sg_responses responses = {n, policy->length, numbers, numbers + n, numbers + 2 * n, tokens};
        for (size_t i = 0; i < n; i++) {
            numbers[i] = (uint32_t)(i / each);
            numbers[n + i] = (uint32_t)(i % each);
        }
        sg_policy_draw how = {self->shape.seed, SG_STREAM_EVALUATE, 0, SG_SAMPLER_PLAIN};
        status = draw(policy, &how, &responses, NULL, error);
        if (!status)
            status = unroll(self, &self->now, &responses, error);
        if (!status)
            status = forward(self, &self->now, NULL, error);
        if (!status && !(seen = malloc(sg_net_rows(self->pass) * sizeof *seen)))
            status = sg_fail(error, SG_ENOMEM, "not enough memory to observe %zu responses", n);
        if (!status)
            status = sg_net_observe(self->pass, self->net, seen, error);
        if (!status)
            average(self, reward, &responses, seen, o);
    }
    free(numbers);
    free(tokens);
    free(seen);
    return status;
}

/* ---- exact reward: prefixes of head tokens, position by position */

typedef struct prefix {
    double mass;
    int32_t state;
} prefix;

/* From the prefixes of t tokens to those of t + 1; tokens: [prefixes][length]. */
static sg_status extend(net_policy *self, const sg_reward *reward, size_t prompt, size_t t,
                        size_t count, prefix *prefixes, int32_t *tokens, size_t *made,
                        sg_error *error)
{
    const sg_net_config *c = &self->shape.net;
    size_t head = c->prior.head, slots = sg_net_slots(c), length = c->length;
    unrolled *u = &self->now;
    sg_status status = reserve(u, c, count * head, error);
    if (status)
        return status;
    u->count = count * head;
    for (size_t i = 0; i < u->count; i++) {
        fill_context(self, prompt, tokens + i / head * length, t, u->context + i * slots);
        u->position[i] = (int32_t)t;
        u->token[i] = (int32_t)(i % head);
    }
    status = forward(self, u, u->value, error);
    if (status)
        return status;
    /* From the end, so that nothing is overwritten before it is read. */
    for (size_t i = u->count; i-- > 0;) {
        prefix from = prefixes[i / head];
        prefix to = {from.mass * exp(u->value[i]), from.state};
        if (to.state != SG_REWARD_LOST)
            to.state = reward->next(reward->context, prompt, t, from.state, u->token[i]);
        memmove(tokens + i * length, tokens + i / head * length, t * sizeof *tokens);
        tokens[i * length + t] = u->token[i];
        prefixes[i] = to;
    }
    *made = u->count;
    return SG_OK;
}

static sg_status expected_reward(sg_policy *policy, const sg_reward *reward, double *expected,
                                 sg_error *error)
{
    net_policy *self = of(policy);
    size_t head = self->shape.net.prior.head, length = policy->length;
    double all = (double)policy->prompts * pow((double)head, (double)(length - 1));
    size_t most = head;
    for (size_t p = 0; p < policy->prompts; p++)
        expected[p] = NAN;
    if (all > MOST_PREFIXES || self->shape.end_token >= 0)
        return SG_OK;
    for (size_t t = 1; t < length; t++)
        most *= head;
    prefix *prefixes = malloc(most * sizeof *prefixes);
    int32_t *tokens = malloc(most * length * sizeof *tokens);
    sg_status status = SG_OK;
    if (!prefixes || !tokens)
        status = sg_fail(error, SG_ENOMEM, "not enough memory for the expected reward");
    for (size_t p = 0; p < policy->prompts && !status; p++) {
        size_t count = 1;
        prefixes[0] = (prefix){1, 0};
        for (size_t t = 0; t < length && !status; t++)
            status = extend(self, reward, p, t, count, prefixes, tokens, &count, error);
        double sum = 0;
        for (size_t i = 0; i < count && !status; i++)
            if (prefixes[i].state != SG_REWARD_LOST)
                sum += prefixes[i].mass * reward->value(reward->context, p, prefixes[i].state);
        expected[p] = sum;
    }
    free(prefixes);
    free(tokens);
    return status;
}

/* ---- making, copying, storing */

static void copy(sg_policy *policy, const sg_policy *source)
{
    sg_net_copy(of(policy)->net, of(source)->net);
    sg_tensor_optimizer_copy(of(policy)->optimizer, of(source)->optimizer);
    route_freely(of(policy));
}

static void forget(sg_policy *policy)
{
    sg_tensor_optimizer_forget(of(policy)->optimizer);
}

static size_t save(const sg_policy *policy, void *to)
{
    const net_policy *self = of(policy);
    size_t first = sg_net_stored_bytes(self->net);
    if (to) {
        sg_net_write(self->net, to);
        sg_tensor_optimizer_write(self->optimizer, (char *)to + first);
    }
    return first + sg_tensor_optimizer_bytes(self->optimizer);
}

static sg_status load(sg_policy *policy, const void *from, size_t size, sg_error *error)
{
    net_policy *self = of(policy);
    size_t first = sg_net_stored_bytes(self->net);
    sg_status status = sg_policy_check_size(size, save(policy, NULL), error);
    if (!status)
        status = sg_net_read(self->net, from, first, error);
    if (!status)
        status = sg_tensor_optimizer_read(self->optimizer, (const char *)from + first, size - first,
                                          error);
    route_freely(self);
    return status;
}

static sg_status clone(const sg_policy *policy, sg_policy **made, sg_error *error);

static const sg_policy_methods methods = {backend, release,     clone,  copy,    forget,
                                          draw,    log_prob_of, update, observe, expected_reward,
                                          save,    load, NULL};

double sg_net_policy_bytes(const sg_net_policy_shape *shape, size_t responses)
{
    const sg_net_config *c = &shape->net;
    double one = (double)sg_net_bytes(c), real = (double)sg_real_size(c->precision);
    double moments = shape->rule.rule == SG_RULE_SGD        ? 0
                     : shape->rule.rule == SG_RULE_MOMENTUM ? 1
                                                            : 2;
    double positions = (double)responses * (double)c->length;
    double chosen = c->experts > 1 ? (double)c->top_k : 1;
    double row = (double)c->width * (5 + 2 * (double)c->blocks) +
                 (double)c->blocks * chosen * (2 * (double)c->hidden + (double)c->width);
    double tiles = (double)c->prior.vocabulary / 256 + 1;
    /* Parameters, gradient, what they were before a step; parts of the features' gradient; and of
     * two passes the activations and the masses of tiles. */
    return one * (3 + moments) + (double)c->prior.vocabulary * (double)c->width * real / 4 +
           2 * positions * (row * real + tiles * 8);
}

static sg_status check(const sg_net_policy_shape *s, sg_error *error)
{
    const sg_net_config *c = &s->net;
    if (s->prompts < 1 || s->observe_samples < 1)
        return sg_fail(error, SG_EARGUMENT,
                       "a net answers %zu prompts and is observed on %zu responses to each; both "
                       "must be 1 or more",
                       s->prompts, s->observe_samples);
    if (!s->prompt_symbols && c->prompt_length > 0 &&
        (c->prompt_length != 1 || c->prompt_symbols < s->prompts))
        return sg_fail(error, SG_EARGUMENT,
                       "prompts without a table of symbols need prompt_length 1 and at least %zu "
                       "prompt_symbols, not %zu and %zu",
                       s->prompts, c->prompt_length, c->prompt_symbols);
    for (size_t i = 0; s->prompt_symbols && i < s->prompts * c->prompt_length; i++)
        if (s->prompt_symbols[i] < 0 || (size_t)s->prompt_symbols[i] >= c->prompt_symbols)
            return sg_fail(error, SG_EARGUMENT, "prompt %zu has symbol %d; there are %zu",
                           i / c->prompt_length, (int)s->prompt_symbols[i], c->prompt_symbols);
    return SG_OK;
}

static sg_status make(sg_policy **made, const sg_net_policy_shape *shape, sg_error *error)
{
    *made = NULL;
    net_policy *self = calloc(1, sizeof *self);
    if (!self)
        return sg_fail(error, SG_ENOMEM, "not enough memory for a policy");
    const sg_net_config *c = &shape->net;
    size_t symbols = shape->prompts * c->prompt_length;
    self->shape = *shape;
    self->base = (sg_policy){.methods = &methods,
                             .prompts = shape->prompts,
                             .length = c->length,
                             .vocabulary = c->prior.vocabulary,
                             .bytes = sg_net_policy_bytes(shape, 0)};
    sg_status status = sg_net_alloc(&self->net, c, error);
    if (!status)
        status = sg_net_alloc(&self->gradient, c, error);
    if (!status)
        status = sg_tensor_optimizer_alloc(&self->optimizer, &shape->rule, c->precision,
                                           self->net->tensors, self->net->tensor_count,
                                           self->net->size, error);
    self->pass = sg_net_pass_alloc();
    self->after = sg_net_pass_alloc();
    self->symbols = malloc((symbols + 1) * sizeof *self->symbols);
    if (!status && (!self->pass || !self->after || !self->symbols))
        status = sg_fail(error, SG_ENOMEM, "not enough memory for a policy");
    if (status) {
        release(&self->base);
        return status;
    }
    for (size_t i = 0; i < symbols; i++)
        self->symbols[i] = shape->prompt_symbols ? shape->prompt_symbols[i] : (int32_t)i;
    self->shape.prompt_symbols = self->symbols;
    *made = &self->base;
    return SG_OK;
}

static sg_status clone(const sg_policy *policy, sg_policy **made, sg_error *error)
{
    sg_status status = make(made, &of(policy)->shape, error);
    if (!status)
        copy(*made, policy);
    return status;
}

sg_status sg_net_policy_alloc(sg_policy **policy, const sg_net_policy_shape *shape, sg_error *error)
{
    *policy = NULL;
    sg_status status = sg_net_check(&shape->net, error);
    if (!status)
        status = check(shape, error);
    if (!status)
        status = make(policy, shape, error);
    if (!status)
        status = sg_net_init(of(*policy)->net, shape->seed, error);
    if (status) {
        sg_policy_free(*policy);
        *policy = NULL;
    }
    return status;
}
