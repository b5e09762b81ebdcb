/* SPDX-License-Identifier: GPL-3.0-or-later */
/* One gradient step of the neural policy. */
#include <math.h>
#include <stdlib.h>

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
static sg_status measure_step(sg_net_policy *self, sg_net *old, bool replay,
                              sg_policy_change *change, sg_error *error)
{
    sg_net_positions *u = &self->now;
    size_t rows = sg_net_rows(self->pass);
    sg_net_batch batch = sg_net_positions_batch(u);
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

sg_status sg_net_policy_update(sg_policy *policy, const sg_policy_step *step,
                               const sg_responses *responses, const double *pushes,
                               sg_policy_change *change, sg_error *error)
{
    sg_net_policy *self = sg_net_policy_of(policy);
    sg_net_positions *u = &self->now;
    sg_net *net = self->net, *old = NULL;
    sg_status status = sg_net_policy_unroll(self, u, responses, error);
    if (change)
        *change = (sg_policy_change){.clip_factor = 1, .max_unsampled_push = NAN};
    if (status || u->count == 0)
        return status;
    for (size_t i = 0; i < u->count; i++)
        u->push[i] = pushes[u->place[i]];
    status = sg_net_policy_forward(self, u, u->value, error);
    if (!status && change)
        status = describe_pushes(self, change, error);
    if (!status && step->projection == SG_PROJECTION_P2)
        status = sg_net_recentre(self->pass, u->push, error);
    if (!status)
        status = sg_net_backward(self->pass, net, u->push,
                                 step->projection == SG_PROJECTION_P1 ? SG_DIFFUSE_DROP
                                                                      : SG_DIFFUSE_KEEP,
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
