/* SPDX-License-Identifier: GPL-3.0-or-later */
/* What an update of a row asks for, as the CPU does it. */
#include "backend/light_update.h"

#include "backend/cpu/light.h"

/* The row's own base, so that it may be written. */
static bool own(sg_light_row *row)
{
    sg_light_prior *shared = sg_light_prior_of(row->base), *mine = sg_light_prior_clone(shared);
    if (!mine)
        return false;
    sg_light_update_own(row, &mine->base);
    sg_light_prior_free(shared);
    return true;
}

static bool rebase(sg_light_row *row, const sg_light_kernels *kernels,
                   const sg_light_update *update)
{
    sg_light_prior *to = sg_light_prior_of(row->base);
    if (!row->owned) {
        to = sg_light_prior_new(row->base->vocabulary, row->base->head);
        if (!to)
            return false;
    }
    sg_light_row_carry(row, kernels, update->light_factor, update->explicit_factor, to->base.q);
    sg_light_update_rebased(row, update);
    if (!row->owned) {
        sg_light_prior_free(sg_light_prior_of(row->base));
        row->base = &to->base;
        row->owned = true;
    }
    if (!sg_light_prior_settle(to, kernels, update->threshold) ||
        !sg_light_row_restart(row, update->explicit_limit))
        return false;
    to->heavy_count = 0; /* nothing starts from here again */
    return true;
}

bool sg_light_row_update(sg_light_row *row, const sg_light_kernels *kernels,
                         sg_light_update *update)
{
    sg_light_room room;
    for (;;) {
        bool done = true;
        switch (sg_light_update_go(row, update, &room)) {
        case SG_LIGHT_NOTHING:
            return true;
        case SG_LIGHT_STEP: {
            size_t padded = (row->count + SG_LIGHT_FAN - 1) / SG_LIGHT_FAN * SG_LIGHT_FAN;
            row->max_explicit = kernels->step(padded, row->q, row->move, update->kappa, row->block);
            break;
        }
        case SG_LIGHT_ROOM:
            done = sg_light_row_reserve(row, update->wanted);
            break;
        case SG_LIGHT_OWN:
            done = own(row);
            break;
        case SG_LIGHT_EXTREMES:
            sg_light_row_find_extremes(row);
            break;
        case SG_LIGHT_REBASE:
            done = rebase(row, kernels, update);
            break;
        }
        if (!done)
            return false;
    }
}
