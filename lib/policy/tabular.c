/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "policy/tabular.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "policy/state_rows.h"

/* Responses are handed to the backend state by state: those of prompt p occupy the slots
 * length * offset[p] + t * count[p] + rank, in the order in which they came. */
typedef struct tabular {
    sg_policy base;
    sg_state_rows rows;
    sg_rows_config shape;
    bool light;
    size_t *count, *offset; /* [prompts], of the responses at hand */
    size_t capacity;        /* responses for which there is room */
    size_t *first_slot;     /* [capacity] */
    int32_t *tokens;        /* [capacity * length] each */
    double *values, *more;
    sg_row_observation *observation; /* [states] */
    sg_row_change *change;           /* [states] */
    double *collision;               /* [states] */
    double *logits, *cumulated;      /* [vocabulary], when the sampler is not plain */
} tabular;

static tabular *of(const sg_policy *policy)
{
    return (tabular *)(uintptr_t)policy;
}

sg_rows *sg_tabular_rows(sg_policy *policy)
{
    return of(policy)->rows.dense;
}

static sg_rows_config rows_of(const sg_tabular_shape *shape)
{
    return (sg_rows_config){.states = shape->prompts * shape->length,
                            .vocabulary = shape->vocabulary,
                            .head = shape->head,
                            .precision = shape->precision,
                            .optimizer = shape->optimizer};
}

double sg_tabular_bytes(const sg_tabular_shape *shape, size_t responses)
{
    double states = (double)shape->prompts * (double)shape->length;
    sg_rows_config rows = rows_of(shape);
    double block = sg_state_rows_bytes(&rows, shape->light);
    return block + states * (sizeof(sg_row_observation) + sizeof(sg_row_change) + 8) +
           (double)shape->prompts * 16 + (double)responses * (8 + (double)shape->length * 20);
}

static const char *backend(const sg_policy *policy)
{
    return sg_state_rows_name(&of(policy)->rows);
}

static void release(sg_policy *policy)
{
    tabular *self = of(policy);
    sg_state_rows_free(&self->rows);
    void *arrays[] = {self->count,     self->offset, self->first_slot,  self->tokens,
                      self->values,    self->more,   self->observation, self->change,
                      self->collision, self->logits, self->cumulated,   self};
    for (size_t i = 0; i < sizeof arrays / sizeof *arrays; i++)
        free(arrays[i]);
}

/* Sorts the responses by prompt and makes room for them. */
static sg_status arrange(tabular *self, const sg_responses *responses, sg_error *error)
{
    size_t length = self->base.length, n = responses->count;
    if (n > self->capacity) {
        void *places = realloc(self->first_slot, n * sizeof *self->first_slot);
        self->first_slot = places != NULL ? places : self->first_slot;
        void *tokens = realloc(self->tokens, n * length * sizeof *self->tokens);
        self->tokens = tokens != NULL ? tokens : self->tokens;
        void *values = realloc(self->values, n * length * sizeof *self->values);
        self->values = values != NULL ? values : self->values;
        void *more = realloc(self->more, n * length * sizeof *self->more);
        self->more = more != NULL ? more : self->more;
        if (places == NULL || tokens == NULL || values == NULL || more == NULL)
            return sg_fail(error, SG_ENOMEM, "not enough memory for %zu responses of %zu tokens", n,
                           length);
        self->capacity = n;
    }
    memset(self->count, 0, self->base.prompts * sizeof *self->count);
    for (size_t i = 0; i < n; i++)
        self->first_slot[i] = self->count[responses->prompt[i]]++; /* its rank, for now */
    for (size_t p = 0, total = 0; p < self->base.prompts; total += self->count[p++])
        self->offset[p] = total;
    for (size_t i = 0; i < n; i++)
        self->first_slot[i] += length * self->offset[responses->prompt[i]];
    return SG_OK;
}

static size_t slot(const tabular *self, const sg_responses *responses, size_t i, size_t t)
{
    return self->first_slot[i] + t * self->count[responses->prompt[i]];
}

static void gather_tokens(tabular *self, const sg_responses *responses)
{
    for (size_t i = 0; i < responses->count; i++)
        for (size_t t = 0; t < self->base.length; t++)
            self->tokens[slot(self, responses, i, t)] = responses->tokens[i * responses->room + t];
}

/* Neighbouring prompts with equally many responses: one call of the backend serves them. */
typedef struct run {
    size_t first, end; /* prompts */
    size_t state, states, samples;
    size_t slot; /* of the first sample */
} run;

static bool next_run(const tabular *self, run *r)
{
    r->first = r->end;
    if (r->first == self->base.prompts)
        return false;
    r->samples = self->count[r->first];
    while (r->end < self->base.prompts && self->count[r->end] == r->samples)
        r->end++;
    r->state = r->first * self->base.length;
    r->states = (r->end - r->first) * self->base.length;
    r->slot = self->base.length * self->offset[r->first];
    return true;
}

static sg_status prepare_sampler(tabular *self, sg_error *error)
{
    size_t n = self->base.vocabulary;
    if (self->logits == NULL)
        self->logits = malloc(n * sizeof *self->logits);
    if (self->cumulated == NULL)
        self->cumulated = malloc(n * sizeof *self->cumulated);
    if (self->logits == NULL || self->cumulated == NULL)
        return sg_fail(error, SG_ENOMEM, "not enough memory to sample from %zu tokens", n);
    return SG_OK;
}

/* Uniforms stand in values; on return the tokens, and log-probabilities in values. */
static void draw_distorted(tabular *self, const sg_policy_draw *draw)
{
    sg_sampler_row row = {
        .n = self->base.vocabulary, .logits = self->logits, .cumulated = self->cumulated};
    sg_address noise = {.seed = draw->seed, .stream = SG_STREAM_NOISE, .step = draw->step};
    for (size_t p = 0; p < self->base.prompts; p++) {
        for (size_t t = 0; t < self->base.length && self->count[p] > 0; t++) {
            noise.prompt = (uint32_t)p;
            noise.sample = (uint32_t)t;
            sg_state_rows_get_logits(&self->rows, p * self->base.length + t, row.logits);
            sg_sampler_prepare(&row, &draw->sampler, noise);
            size_t first = self->base.length * self->offset[p] + t * self->count[p];
            for (size_t j = first; j < first + self->count[p]; j++)
                self->tokens[j] =
                    sg_sampler_draw(&row, &draw->sampler, self->values[j], &self->values[j]);
        }
    }
}

static sg_status draw_responses(sg_policy *policy, const sg_policy_draw *draw,
                                const sg_responses *responses, double *log_prob, sg_error *error)
{
    tabular *self = of(policy);
    bool plain = sg_sampler_is_plain(&draw->sampler);
    sg_status status = arrange(self, responses, error);
    if (status == SG_OK && !plain)
        status = prepare_sampler(self, error);
    if (status != SG_OK)
        return status;
    sg_address at = {.seed = draw->seed, .stream = draw->stream, .step = draw->step};
    for (size_t i = 0; i < responses->count; i++) {
        at.prompt = responses->prompt[i];
        at.sample = responses->sample[i];
        responses->length[i] = (uint32_t)policy->length;
        for (at.token = 0; at.token < policy->length; at.token++)
            self->values[slot(self, responses, i, at.token)] = sg_rng_uniform(at);
    }
    if (!plain)
        draw_distorted(self, draw);
    for (run r = {0}; plain && next_run(self, &r);)
        sg_state_rows_draw(&self->rows, r.state, r.states, r.samples, self->values + r.slot,
                           self->tokens + r.slot, self->values + r.slot);
    for (size_t i = 0; i < responses->count; i++) {
        for (size_t t = 0; t < policy->length; t++) {
            size_t from = slot(self, responses, i, t), to = i * responses->room + t;
            responses->tokens[to] = self->tokens[from];
            log_prob[to] = self->values[from];
        }
    }
    return sg_state_rows_status(&self->rows, error);
}

static sg_status log_prob_of(sg_policy *policy, const sg_responses *responses, double *log_prob,
                             sg_error *error)
{
    tabular *self = of(policy);
    sg_status status = arrange(self, responses, error);
    if (status != SG_OK)
        return status;
    gather_tokens(self, responses);
    for (run r = {0}; next_run(self, &r);)
        sg_state_rows_log_prob(&self->rows, r.state, r.states, r.samples, self->tokens + r.slot,
                               self->values + r.slot);
    for (size_t i = 0; i < responses->count; i++)
        for (size_t t = 0; t < policy->length; t++)
            log_prob[i * responses->room + t] = self->values[slot(self, responses, i, t)];
    return sg_state_rows_status(&self->rows, error);
}

typedef struct token_push {
    int32_t token;
    double push, log_prob;
} token_push;

static int by_token(const void *a, const void *b)
{
    int32_t x = ((const token_push *)a)->token, y = ((const token_push *)b)->token;
    return (x > y) - (x < y);
}

/* |sum_j g_j (e_j - pi)|^2 = sum_v c_v^2 - 2 B sum_v c_v pi_v + B^2 C, c_v the pushes on token v;
 * projected: without B. */
static double state_norm2(token_push *sample, size_t n, bool projected, double collision)
{
    double push = 0, squares = 0, along = 0;
    qsort(sample, n, sizeof *sample, by_token);
    for (size_t j = 0; j < n;) {
        double sum = 0, p = exp(sample[j].log_prob);
        int32_t token = sample[j].token;
        for (; j < n && sample[j].token == token; j++)
            sum += sample[j].push;
        push += sum;
        squares += sum * sum;
        along += sum * p;
    }
    if (projected)
        push = 0;
    return fmax(0, squares - 2 * push * along + push * push * collision);
}

/* Shortens the pushes, which stand in values, and with them the gradient. */
static sg_status clip(tabular *self, double limit, bool projected, double *norm, double *factor,
                      sg_error *error)
{
    size_t most = 1;
    for (size_t p = 0; p < self->base.prompts; p++)
        most = self->count[p] > most ? self->count[p] : most;
    token_push *sample = malloc(most * sizeof *sample);
    if (sample == NULL)
        return sg_fail(error, SG_ENOMEM, "not enough memory for the samples of a state");
    double norm2 = 0;
    size_t total = 0;
    for (run r = {0}; next_run(self, &r);) {
        sg_state_rows_log_prob(&self->rows, r.state, r.states, r.samples, self->tokens + r.slot,
                               self->more + r.slot);
        if (r.samples > 0 && !projected)
            sg_state_rows_collision(&self->rows, r.state, r.states, self->collision);
        for (size_t s = 0; s < r.states && r.samples > 0; s++, total += r.samples) {
            for (size_t j = 0; j < r.samples; j++)
                sample[j] = (token_push){self->tokens[total + j], self->values[total + j],
                                         self->more[total + j]};
            norm2 += state_norm2(sample, r.samples, projected, self->collision[s]);
        }
    }
    free(sample);
    *norm = sqrt(norm2);
    *factor = *norm > limit ? limit / *norm : 1;
    for (size_t j = 0; j < total && *factor < 1; j++)
        self->values[j] *= *factor;
    return SG_OK;
}

/* Means over states, each as often as the responses visit it. */
static void summarize(const tabular *self, size_t tokens, sg_policy_change *sum)
{
    double gradient = 0, delta = 0;
    for (run r = {0}; next_run(self, &r);) {
        double share = (double)r.samples / (double)tokens;
        for (size_t s = 0; s < r.states; s++) {
            const sg_row_change *row = &self->change[r.state + s];
            gradient += row->grad_norm2;
            delta += row->delta_norm2;
            if (r.samples == 0)
                continue;
            sum->kl_old_new += row->kl_old_new * share;
            sum->kl_new_old += row->kl_new_old * share;
            sum->diffuse_push += row->diffuse_push * share;
            sum->upward_push += row->upward_push * share;
            sum->max_unsampled_push = fmax(sum->max_unsampled_push, row->max_unsampled_push);
            double net = 0, gross = 0;
            for (size_t j = 0; j < r.samples; j++) {
                double push = self->values[r.slot + s * r.samples + j];
                net += push;
                gross += fabs(push);
            }
            if (gross > 0)
                sum->diffuse_share += net / gross / ((double)tokens / (double)r.samples);
        }
    }
    sum->grad_norm = sqrt(gradient);
    sum->delta_norm = sqrt(delta);
}

/* The means of B and of its share, from the pushes, which stand in values. */
static void measure_diffuse(const tabular *self, size_t tokens, double *mean, double *share)
{
    *mean = *share = 0;
    for (run r = {0}; next_run(self, &r);) {
        double part = (double)r.samples / (double)tokens;
        for (size_t s = 0; s < r.states && r.samples > 0; s++) {
            double net = 0, gross = 0;
            for (size_t j = 0; j < r.samples; j++) {
                double push = self->values[r.slot + s * r.samples + j];
                net += push;
                gross += fabs(push);
            }
            *mean += net * part;
            *share += gross > 0 ? net / gross * part : 0;
        }
    }
}

static void recentre(tabular *self)
{
    for (run r = {0}; next_run(self, &r);)
        for (size_t s = 0; s < r.states; s++)
            sg_policy_recentre(self->values + r.slot + s * r.samples, r.samples);
}

static sg_status update(sg_policy *policy, const sg_policy_step *step,
                        const sg_responses *responses, const double *pushes,
                        sg_policy_change *change, sg_error *error)
{
    tabular *self = of(policy);
    sg_status status = arrange(self, responses, error);
    if (status != SG_OK)
        return status;
    gather_tokens(self, responses);
    for (size_t i = 0; i < responses->count; i++)
        for (size_t t = 0; t < policy->length; t++)
            self->values[slot(self, responses, i, t)] = pushes[i * responses->room + t];
    double norm = 0, factor = 1, diffuse = 0, diffuse_share = 0;
    bool projected = step->projection != SG_PROJECTION_NONE;
    if (projected && change != NULL)
        measure_diffuse(self, responses->count * policy->length, &diffuse, &diffuse_share);
    if (step->projection == SG_PROJECTION_P2)
        recentre(self);
    if (step->clip_norm > 0)
        status = clip(self, step->clip_norm, projected, &norm, &factor, error);
    for (run r = {0}; status == SG_OK && next_run(self, &r);)
        status = sg_state_rows_update(&self->rows, step, r.state, r.states, r.samples,
                                      self->tokens + r.slot, self->values + r.slot,
                                      change != NULL ? self->change + r.state : NULL, error);
    if (status != SG_OK || change == NULL)
        return status;
    *change = (sg_policy_change){.clip_factor = factor};
    summarize(self, responses->count * policy->length, change);
    if (step->clip_norm > 0) {
        change->grad_norm = norm;
        change->diffuse_push /= factor;
        change->upward_push /= factor;
    }
    if (projected) {
        change->diffuse_push = diffuse;
        change->diffuse_share = diffuse_share;
    }
    return SG_OK;
}

static sg_status observe(sg_policy *policy, const sg_reward *reward, sg_policy_observation *o,
                         sg_error *error)
{
    tabular *self = of(policy);
    (void)reward, (void)error;
    size_t states = self->shape.states;
    double share = 1 / (double)states;
    *o = (sg_policy_observation){
        .tail_mass_right = NAN, .tail_mass_losers = NAN, .losers_share = NAN};
    sg_state_rows_observe(&self->rows, 0, states, self->observation);
    for (size_t state = 0; state < states; state++) {
        const sg_row_observation *row = &self->observation[state];
        o->entropy += row->entropy * share;
        o->head_entropy += row->head_entropy * share;
        o->tail_mass += row->tail_mass * share;
        o->tail_mass_max = fmax(o->tail_mass_max, row->tail_mass);
        o->tail_entropy_share += row->tail_entropy_share * share;
        o->collision += row->collision * share;
        o->max_prob += row->max_prob * share;
        o->logit_range = fmax(o->logit_range, row->logit_range);
        o->underflowed += (double)row->underflowed;
        if (state % policy->length == 0)
            o->tail_mass_root += row->tail_mass / (double)policy->prompts;
    }
    return sg_state_rows_status(&self->rows, error);
}

static sg_status expected_reward(sg_policy *policy, const sg_reward *reward, double *expected,
                                 sg_error *error)
{
    tabular *self = of(policy);
    return sg_state_rows_expected_reward(&self->rows, policy->prompts, policy->length,
                                         self->shape.head, reward, expected, error);
}

static sg_status clone(const sg_policy *policy, sg_policy **made, sg_error *error);

static sg_status copy(sg_policy *policy, const sg_policy *source, sg_error *error)
{
    return sg_state_rows_copy(&of(policy)->rows, &of(source)->rows, error);
}

static sg_status adopt(sg_policy *policy, const sg_policy *source, sg_error *error)
{
    return sg_state_rows_adopt(&of(policy)->rows, &of(source)->rows, error);
}

static void forget(sg_policy *policy)
{
    sg_state_rows_forget(&of(policy)->rows);
}

static size_t save(const sg_policy *policy, void *to)
{
    return sg_state_rows_save(&of(policy)->rows, to);
}

static sg_status load(sg_policy *policy, const void *from, size_t size, sg_error *error)
{
    return sg_state_rows_load(&of(policy)->rows, from, size, error);
}

static size_t state_of(const sg_policy *policy, size_t prompt, const int32_t *tokens, size_t t)
{
    (void)tokens;
    return prompt * policy->length + t;
}

static void row(const sg_policy *policy, size_t state, double *logits, double *mean_square)
{
    sg_state_rows_get_logits(&of(policy)->rows, state, logits);
    if (mean_square != NULL)
        sg_state_rows_get_mean_square(&of(policy)->rows, state, policy->vocabulary, mean_square);
}

static const sg_policy_methods methods = {
    backend, release,         clone, copy, forget, draw_responses, log_prob_of, update,
    observe, expected_reward, save,  load, adopt,  state_of,       row};

/* All but the rows. */
static sg_status make(sg_policy **made, const sg_rows_config *shape, bool light, size_t prompts,
                      size_t length, sg_error *error)
{
    *made = NULL;
    tabular *self = calloc(1, sizeof *self);
    if (self == NULL)
        return sg_fail(error, SG_ENOMEM, "not enough memory for a policy");
    self->base = (sg_policy){.methods = &methods,
                             .exact_reward = true,
                             .prompts = prompts,
                             .length = length,
                             .vocabulary = shape->vocabulary,
                             .bytes = sg_state_rows_bytes(shape, light)};
    self->shape = *shape;
    self->light = light;
    self->count = calloc(prompts, sizeof *self->count);
    self->offset = calloc(prompts, sizeof *self->offset);
    self->observation = calloc(shape->states, sizeof *self->observation);
    self->change = calloc(shape->states, sizeof *self->change);
    self->collision = calloc(shape->states, sizeof *self->collision);
    if (!self->count || !self->offset || !self->observation || !self->change || !self->collision) {
        release(&self->base);
        return sg_fail(error, SG_ENOMEM, "not enough memory for a policy of %zu states",
                       shape->states);
    }
    *made = &self->base;
    return SG_OK;
}

static sg_status done(sg_policy **policy, sg_status status)
{
    if (status != SG_OK) {
        sg_policy_free(*policy);
        *policy = NULL;
    }
    return status;
}

static sg_status clone(const sg_policy *policy, sg_policy **made, sg_error *error)
{
    const tabular *self = of(policy);
    sg_status status =
        make(made, &self->shape, self->light, policy->prompts, policy->length, error);
    if (status == SG_OK)
        status = sg_state_rows_clone(&of(*made)->rows, &self->shape, &self->rows, error);
    return done(made, status);
}

sg_status sg_tabular_alloc(sg_policy **policy, const sg_tabular_shape *shape, const double *logits,
                           sg_error *error)
{
    sg_rows_config rows = rows_of(shape);
    sg_status status = make(policy, &rows, shape->light, shape->prompts, shape->length, error);
    if (status == SG_OK)
        status = sg_state_rows_alloc(&of(*policy)->rows, shape->backend, &rows, shape->light,
                                     logits, error);
    return done(policy, status);
}
