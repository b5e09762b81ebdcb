/* SPDX-License-Identifier: GPL-3.0-or-later */
/* One gradient step of the neural policy. */
#include <math.h>
#include <stdlib.h>

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

/* Means over positions of what the pushes do to their states, before the step. */
static sg_status describe_pushes(const sg_net_policy *self, sg_policy_change *change,
                                 sg_error *error)
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
    sg_status status =
        sg_net_diffuse_push(self->pass, u->push, diffuse, &change->diffuse_features, error);
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
    return status;
}

static sg_status measure_rise(sg_net_policy *self, const sg_net *old, sg_policy_change *change,
                              sg_error *error)
{
    sg_head before = sg_net_head(old, 1), after = sg_net_head(self->net, 1);
    sg_head_samples said = {self->now.count, self->now.token, sg_net_row_of(self->pass)};
    return sg_head_rise(self->pass->head, &before, self->pass->state.h, self->after->head, &after,
                        self->after->state.h, &said, &change->max_unsampled_push, error);
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
static sg_status measure_step(sg_net_policy *self, const sg_net *old, sg_policy_change *change,
                              sg_error *error)
{
    sg_net_batch batch = sg_net_positions_batch(&self->now);
    batch.routes = self->table ? self->now.routes : NULL;
    sg_status status = sg_net_forward(self->after, self->net, &batch, NULL, error);
    if (!status)
        status = measure_kl(self, old, change, error);
    return status ? status : measure_rise(self, old, change, error);
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

/* Where a report is asked for, the gradient becomes the step. */
static sg_status move(sg_net_policy *self, const sg_policy_step *step, sg_step_report *report,
                      sg_error *error)
{
    sg_flat numbers = sg_net_flat(self->net), gradient = sg_net_flat(self->gradient);
    sg_tensor_optimizer_set(self->optimizer, step->optimizer.lr, step->clip_norm, step->time);
    return sg_tensor_optimizer_move(self->optimizer, &numbers, &gradient, report, error);
}

/* Of the gradient, before it becomes a step. */
static sg_status output_norm2(const sg_net *gradient, double *sum, sg_error *error)
{
    sg_flat numbers = sg_net_flat(gradient);
    sg_status status = SG_OK;
    *sum = 0;
    for (size_t i = 0; i < gradient->tensor_count && !status; i++) {
        const sg_tensor *t = &gradient->tensors[i];
        double norm2 = 0;
        if (t->over_vocabulary && t->trained)
            status = sg_flat_norm2(&numbers, t, &norm2, error);
        *sum += norm2;
    }
    return status;
}

/* 2-norm of the mean row of the step's weights. */
static sg_status mean_row(const sg_net *delta, double *norm, sg_error *error)
{
    const sg_tensor *w = sg_net_tensor(delta, "weights");
    sg_flat numbers = sg_net_flat(delta);
    double *sums = malloc(w->columns * sizeof *sums), norm2 = 0;
    if (!sums)
        return sg_fail(error, SG_ENOMEM, "not enough memory to describe a step");
    sg_status status = sg_flat_columns(&numbers, w, sums, error);
    for (size_t k = 0; k < w->columns && !status; k++)
        norm2 += sums[k] * sums[k];
    free(sums);
    *norm = sqrt(norm2) / (double)w->rows;
    return status;
}

/* self->old becomes what the parameters are now. */
static sg_status remember(sg_net_policy *self, sg_error *error)
{
    sg_status status = SG_OK;
    if (!self->old)
        status = sg_net_alloc_on(&self->old, &self->net->config, self->shape.backend, error);
    return status ? status : sg_net_copy(self->old, self->net, error);
}

/* The step, and what it did. */
static sg_status watched(sg_net_policy *self, const sg_policy_step *step, sg_policy_change *change,
                         sg_error *error)
{
    sg_step_report report;
    double output = 0;
    sg_status status = describe_pushes(self, change, error);
    if (step->projection == SG_PROJECTION_P1 || step->projection == SG_PROJECTION_P2)
        change->upward_push = 0; /* taken away in what follows */
    if (!status)
        status = find_gradient(self, step->projection, error);
    if (!status)
        status = remember(self, error);
    if (!status)
        status = output_norm2(self->gradient, &output, error);
    if (!status)
        status = move(self, step, &report, error);
    if (!status) {
        double all = report.grad_norm * report.grad_norm;
        change->output_share = all > 0 ? output / all : 0;
        change->grad_norm = report.grad_norm;
        change->clip_factor = report.clip_factor;
        change->delta_norm = report.delta_norm;
        status = mean_row(self->gradient, &change->mean_row_drift, error);
    }
    return status ? status : measure_step(self, self->old, change, error);
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
    return status ? status : move(self, step, NULL, error);
}
