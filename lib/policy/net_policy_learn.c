/* SPDX-License-Identifier: GPL-3.0-or-later */
/* One gradient step of the neural policy. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "policy/net_pass.h"
#include "policy/net_policy_parts.h"

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

/* Means over positions of what the pushes do to their states, before the step. *sorted: what was
 * said, by row and token. */
static sg_status describe_pushes(const sg_net_policy *self, sampled **sorted,
                                 sg_policy_change *change, sg_error *error)
{
    const sg_net_positions *u = &self->now;
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
    change->diffuse_features = sg_net_diffuse_push(self->pass, u->push, diffuse);
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
    *sorted = samples;
    return SG_OK;
}

/* Largest rise of an unsampled logit in rows first..first+count-1; before and after hold theirs.
 * `samples` of all rows, sorted by row and token; *next is the first that is not before `first`. */
static double rise_of(const sg_head *head, size_t first, size_t count, const void *before,
                      const void *after, const sampled *samples, size_t total, size_t *next)
{
    double most = 0;
    bool narrow = head->precision == SG_FP32;
    for (size_t r = 0; r < count; r++) {
        size_t start = r * sg_head_padded(head);
        for (size_t v = 0; v < head->vocabulary; v++) {
            bool said = false;
            for (; *next < total && samples[*next].row == first + r &&
                   (size_t)samples[*next].token == v;
                 ++*next)
                said = true;
            double rise =
                narrow ? (double)((const float *)after)[start + v] -
                             (double)((const float *)before)[start + v]
                       : ((const double *)after)[start + v] - ((const double *)before)[start + v];
            most = !said && rise > most ? rise : most;
        }
    }
    return most;
}

/* The same over all rows: a group of them at a time. */
static sg_status measure_rise(sg_net_policy *self, const sg_net *old, const sampled *samples,
                              sg_policy_change *change, sg_error *error)
{
    sg_head head_old = sg_net_head(old, 1), head_new = sg_net_head(self->net, 1);
    size_t lead = sg_head_padded(&head_old), rows = sg_net_rows(self->pass), next = 0;
    size_t group = ((size_t)1 << 20) / lead + 1, real = sg_real_size(head_old.precision);
    char *before = sg_matrix_alloc(2 * group * lead * real);
    sg_status status = SG_OK;
    if (!before)
        return sg_fail(error, SG_ENOMEM, "not enough memory to describe a step");
    char *after = before + group * lead * real;
    for (size_t first = 0; first < rows && !status; first += group) {
        size_t m = rows - first < group ? rows - first : group;
        status =
            sg_head_logits(self->pass->head, &head_old, self->pass->h, first, m, before, error);
        if (!status)
            status = sg_head_logits(self->after->head, &head_new, self->after->h, first, m, after,
                                    error);
        if (!status)
            change->max_unsampled_push =
                fmax(change->max_unsampled_push,
                     rise_of(&head_old, first, m, before, after, samples, self->now.count, &next));
    }
    free(before);
    return status;
}

static sg_status measure_kl(sg_net_policy *self, const sg_net *old, sg_policy_change *change,
                            sg_error *error)
{
    const sg_net_positions *u = &self->now;
    sg_divergence *apart = malloc(sg_net_rows(self->pass) * sizeof *apart);
    if (!apart)
        return sg_fail(error, SG_ENOMEM, "not enough memory to describe a step");
    sg_status status = sg_net_diverge(self->pass, old, self->after, self->net, apart, error);
    for (size_t i = 0; i < u->count && !status; i++) {
        const sg_divergence *d = &apart[sg_net_row_of(self->pass)[i]];
        change->kl_old_new += d->kl_ab / (double)u->count;
        change->kl_new_old += d->kl_ba / (double)u->count;
    }
    free(apart);
    return status;
}

/* The old policy's normalisers and features stay in `pass`; `old` holds its numbers. */
static sg_status measure_step(sg_net_policy *self, const sg_net *old, const sampled *samples,
                              sg_policy_change *change, sg_error *error)
{
    sg_net_batch batch = sg_net_positions_batch(&self->now);
    batch.routes = self->table ? self->now.routes : NULL;
    sg_status status = sg_net_forward(self->after, self->net, &batch, NULL, error);
    if (!status)
        status = measure_kl(self, old, change, error);
    return status ? status : measure_rise(self, old, samples, change, error);
}

static sg_diffuse diffuse_of(sg_projection projection)
{
    return projection == SG_PROJECTION_P1       ? SG_DIFFUSE_DROP
           : projection == SG_PROJECTION_P_HEAD ? SG_DIFFUSE_DROP_HEAD
                                                : SG_DIFFUSE_KEEP;
}

/* The gradient of the pushes in self->now. */
static sg_status find_gradient(sg_net_policy *self, sg_projection projection, sg_error *error)
{
    sg_status status = SG_OK;
    if (projection == SG_PROJECTION_P2)
        status = sg_net_recentre(self->pass, self->now.push, error);
    return status ? status
                  : sg_net_backward(self->pass, self->net, self->now.push, diffuse_of(projection),
                                    self->gradient, error);
}

static sg_step_report move(sg_net_policy *self, const sg_policy_step *step)
{
    sg_net *net = self->net;
    sg_tensor_optimizer_set(self->optimizer, step->optimizer.lr, step->clip_norm, step->time);
    sg_step_report report =
        sg_tensor_optimizer_delta(self->optimizer, net->values, self->gradient->values);
    sg_tensor_add(net->config.precision, net->size, 1, self->gradient->values, net->values);
    return report;
}

/* Of the gradient, before it becomes a step. */
static double output_norm2(const sg_net *gradient)
{
    double sum = 0;
    for (size_t i = 0; i < gradient->tensor_count; i++) {
        const sg_tensor *t = &gradient->tensors[i];
        bool output = strcmp(t->name, "weights") == 0 || strcmp(t->name, "bias") == 0;
        if (output && t->trained)
            sum += sg_tensor_norm2(gradient->config.precision, t, gradient->values);
    }
    return sum;
}

/* 2-norm of the mean row of the step's weights. */
static double mean_row(const sg_net *delta)
{
    const sg_tensor *w = sg_net_tensor(delta, "weights");
    double norm2 = 0;
    for (size_t k = 0; k < w->columns; k++) {
        double sum = 0;
        for (size_t v = 0; v < w->rows; v++)
            sum += sg_net_get(delta, w, v, k);
        norm2 += sum * sum;
    }
    return sqrt(norm2) / (double)w->rows;
}

/* The step, and what it did. */
static sg_status watched(sg_net_policy *self, const sg_policy_step *step, sg_policy_change *change,
                         sg_error *error)
{
    sg_net *old = NULL;
    sampled *samples = NULL;
    sg_status status = describe_pushes(self, &samples, change, error);
    if (step->projection == SG_PROJECTION_P1 || step->projection == SG_PROJECTION_P2)
        change->upward_push = 0; /* taken away in what follows */
    if (!status)
        status = find_gradient(self, step->projection, error);
    if (!status)
        status = sg_net_alloc(&old, &self->net->config, error);
    if (!status) {
        sg_net_copy(old, self->net);
        double output = output_norm2(self->gradient);
        sg_step_report report = move(self, step);
        double all = report.grad_norm * report.grad_norm;
        change->output_share = all > 0 ? output / all : 0;
        change->mean_row_drift = mean_row(self->gradient);
        change->grad_norm = report.grad_norm;
        change->clip_factor = report.clip_factor;
        change->delta_norm = report.delta_norm;
        status = measure_step(self, old, samples, change, error);
    }
    sg_net_free(old);
    free(samples);
    return status;
}

sg_status sg_net_policy_update(sg_policy *policy, const sg_policy_step *step,
                               const sg_responses *responses, const double *pushes,
                               sg_policy_change *change, sg_error *error)
{
    sg_net_policy *self = sg_net_policy_of(policy);
    sg_net_positions *u = &self->now;
    sg_status status = sg_net_policy_unroll(self, u, responses, error);
    if (change)
        *change = (sg_policy_change){.clip_factor = 1};
    if (status || u->count == 0)
        return status;
    for (size_t i = 0; i < u->count; i++)
        u->push[i] = pushes[u->place[i]];
    status = sg_net_policy_forward(self, u, true, u->value, error);
    if (status)
        return status;
    if (change)
        return watched(self, step, change, error);
    status = find_gradient(self, step->projection, error);
    if (!status)
        move(self, step);
    return status;
}
