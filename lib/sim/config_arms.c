/* SPDX-License-Identifier: GPL-3.0-or-later */
/* An arm is an objective under causal controls: "sapo:tau_neg=1.05,projection=p1". The controls
 * stand among the parameters of the objective, so that a list of arms reads as one comparison. */
#include <stdio.h>
#include <string.h>

#include "sim/config_keys.h"

enum { CONTROLS = sizeof(sg_arm_controls) / sizeof(int64_t) };

/* In the order of sg_arm_controls. */
static const char *const names[CONTROLS] = {"projection", "match", "routing"};

static const sg_config_key *key_of(size_t control)
{
    return sg_config_find_key("control", names[control]);
}

/* The control that "projection=p1" sets, or CONTROLS. */
static size_t control_of(const char *piece, size_t length)
{
    for (size_t i = 0; i < CONTROLS; i++) {
        size_t n = strlen(names[i]);
        if (length > n && piece[n] == '=' && memcmp(piece, names[i], n) == 0)
            return i;
    }
    return CONTROLS;
}

static sg_status set_control(sg_arm_controls *controls, size_t control, const char *piece,
                             size_t length, const char *place, sg_error *error)
{
    char value[64];
    size_t skip = strlen(names[control]) + 1;
    snprintf(value, sizeof value, "%.*s", (int)(length - skip), piece + skip);
    return sg_config_set_choice((int64_t *)controls + control, key_of(control), value, place,
                                error);
}

sg_status sg_config_parse_arm(const char *spec, sg_objective *objective, sg_arm_controls *controls,
                              const char *place, sg_error *error)
{
    size_t name = strcspn(spec, ":");
    sg_text rest = {0};
    sg_status status = SG_OK;
    for (size_t i = 0; i < CONTROLS; i++)
        ((int64_t *)controls)[i] = SG_CONTROL_INHERITED;
    sg_text_append_bytes(&rest, spec, name);
    char separator = ':';
    for (const char *piece = spec + name; *piece != '\0' && status == SG_OK;) {
        size_t length = strcspn(++piece, ","), control = control_of(piece, length);
        if (control < CONTROLS) {
            status = set_control(controls, control, piece, length, place, error);
        } else {
            sg_text_printf(&rest, "%c%.*s", separator, (int)length, piece);
            separator = ',';
        }
        piece += length;
    }
    sg_error why;
    if (status == SG_OK && rest.failed)
        status = sg_fail(error, SG_ENOMEM, "not enough memory for the list of objectives");
    if (status == SG_OK && sg_objective_parse(objective, rest.data, &why) != SG_OK)
        status = sg_fail(error, SG_EARGUMENT, "%supdate.objectives: %s", place, why.message);
    sg_text_free(&rest);
    return status;
}

sg_arm_controls sg_config_arm_controls(const sg_config *config, size_t arm)
{
    sg_arm_controls all = config->control.all, own = config->update.controls[arm];
    for (size_t i = 0; i < CONTROLS; i++) {
        int64_t value = ((const int64_t *)&own)[i];
        if (value != SG_CONTROL_INHERITED)
            ((int64_t *)&all)[i] = value;
    }
    return all;
}

void sg_config_arm_parameters(const sg_config *config, size_t arm, bool resolved, char *buffer,
                              size_t size)
{
    sg_arm_controls controls =
        resolved ? sg_config_arm_controls(config, arm) : config->update.controls[arm];
    sg_objective_parameters(&config->update.objectives[arm], buffer, size);
    for (size_t i = 0; i < CONTROLS; i++) {
        int64_t value = ((const int64_t *)&controls)[i];
        size_t used = strlen(buffer);
        if (value != SG_CONTROL_INHERITED && !(resolved && value == 0))
            snprintf(buffer + used, size - used, "%s%s=%s", used > 0 ? "," : "", names[i],
                     key_of(i)->choice(value));
    }
}
