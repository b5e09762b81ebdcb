/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Matched arms: is an objective better, or is its step only smaller? One factor makes the step as
 * large as that of a reference with the same parameters and minibatch. */
#include <math.h>

#include "sim/run.h"

/* Halvings of the interval in which the KL is searched: the factor is right to a millionth. */
enum { HALVINGS = 20 };

static double negative_mass(const sg_run *run, const double *pushes)
{
    double mass = 0;
    for (size_t i = 0; i < run->batch->tokens; i++)
        if (run->batch->mask[i] && run->batch->advantage[i] < 0)
            mass += fabs(pushes[i]);
    return mass;
}

void sg_run_match_mass(sg_run *run)
{
    double want = negative_mass(run, run->reference_pushes);
    double have = negative_mass(run, run->pushes);
    if (have == 0 || have == want)
        return;
    run->match_factor = want / have;
    run->match_idle += want == 0;
    for (size_t i = 0; i < run->batch->tokens; i++)
        if (run->batch->mask[i] && run->batch->advantage[i] < 0)
            run->pushes[i] *= run->match_factor;
}

static double size_of(const sg_run *run, const sg_policy_change *change)
{
    return run->controls.match == SG_MATCH_L2 ? change->delta_norm : change->kl_new_old;
}

/* How large the arm's step would be at `factor` times its rate. */
static sg_status try(sg_run *run, const sg_policy_step *step, double factor, double *size,
                     sg_error *error)
{
    sg_policy_step how = *step;
    sg_policy_change change;
    how.optimizer.lr *= factor;
    sg_status status = run->policy->methods->copy(run->probe, run->policy, error);
    if (status == SG_OK)
        status = run->probe->methods->update(run->probe, &how, &run->minibatch, run->pushes,
                                             &change, error);
    *size = status == SG_OK ? size_of(run, &change) : 0;
    return status;
}

/* The KL grows with the factor: find two powers of 2 around it, then halve. */
static sg_status search(sg_run *run, const sg_policy_step *step, double want, double have,
                        double *factor, sg_error *error)
{
    double low = 1, high = 1, size = have;
    sg_status status = SG_OK;
    while (size < want && high < 0x1p40 && status == SG_OK) {
        low = high;
        high *= 2;
        status = try(run, step, high, &size, error);
    }
    while (high == 1 && size > want && low > 0x1p-40 && status == SG_OK) {
        low /= 2;
        status = try(run, step, low, &size, error);
    }
    if (high == 1 && low < 0.5)
        high = 2 * low;
    for (int i = 0; i < HALVINGS && status == SG_OK; i++) {
        double middle = (low + high) / 2;
        status = try(run, step, middle, &size, error);
        *(size < want ? &low : &high) = middle;
    }
    *factor = (low + high) / 2;
    return status;
}

sg_status sg_run_match_step(sg_run *run, const sg_policy_step *step, sg_error *error)
{
    const sg_policy_methods *methods = run->policy->methods;
    sg_policy_step plain = *step;
    sg_policy_change reference;
    plain.projection = SG_PROJECTION_NONE;
    sg_status status = methods->adopt(run->shadow, run->policy, error);
    if (status == SG_OK)
        status = methods->update(run->shadow, &plain, &run->minibatch, run->reference_pushes,
                                 &reference, error);
    if (status != SG_OK)
        return status;
    if (reference.delta_norm == 0) {
        run->match_factor = 0;
        run->match_idle++;
        return SG_OK;
    }
    double want = size_of(run, &reference), have;
    status = try(run, step, 1, &have, error);
    if (status != SG_OK || have == want || !(have > 0) || !isfinite(want))
        return status;
    if (run->controls.match == SG_MATCH_L2)
        run->match_factor = want / have;
    else
        status = search(run, step, want, have, &run->match_factor, error);
    return status;
}
