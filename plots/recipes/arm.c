/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "plots/recipes/arm.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>

#include "sim/arms.h"

/* Is "key=value" a parameter of the objective? Then the objective can be read with it. */
static bool is_parameter(const char *objective, const char *piece, int length)
{
    char spec[256];
    sg_objective parsed;
    sg_error ignored;
    return snprintf(spec, sizeof spec, "%s:%.*s", objective, length, piece) < (int)sizeof spec &&
           sg_objective_parse(&parsed, spec, &ignored) == SG_OK;
}

static void append(char *list, size_t size, const char *piece, int length)
{
    size_t used = strlen(list);
    snprintf(list + used, size - used, "%s%.*s", used > 0 ? "," : "", length, piece);
}

/* The parameters of the objective on one side, the controls of the arm on the other. */
static void divide(sg_arm *arm, char *own, size_t size)
{
    static const char routing[] = "routing=";
    for (const char *piece = arm->params; *piece != '\0';) {
        int length = (int)strcspn(piece, ",");
        if (is_parameter(arm->objective, piece, length))
            append(own, size, piece, length);
        else
            append(arm->controls, sizeof arm->controls, piece, length);
        if (strncmp(piece, routing, sizeof routing - 1) == 0)
            snprintf(arm->routing, sizeof arm->routing, "%.*s", length - (int)sizeof routing + 1,
                     piece + sizeof routing - 1);
        piece += length + (piece[length] == ',');
    }
    if (strcmp(arm->routing, "free") == 0 || strcmp(arm->routing, "none") == 0)
        arm->routing[0] = '\0';
}

/* "GRPO 0.2/0.27" with replayed routes is "GRPO-R2 0.2/0.27"; other controls follow. */
static void name(sg_arm *arm)
{
    char plain[SG_LABEL_SIZE], replay[sizeof arm->routing + 1] = "", others[80] = "";
    if (arm->known)
        sg_objective_label(&arm->parsed, plain, sizeof plain);
    else
        snprintf(plain, sizeof plain, "%s", arm->objective);
    if (arm->routing[0] != '\0')
        snprintf(replay, sizeof replay, "-%s", arm->routing);
    for (char *c = replay; *c != '\0'; c++)
        *c = (char)toupper((unsigned char)*c);
    for (const char *piece = arm->controls; *piece != '\0';) {
        int length = (int)strcspn(piece, ",");
        if (strncmp(piece, "routing=", 8) != 0)
            append(others, sizeof others, piece, length);
        piece += length + (piece[length] == ',');
    }
    for (char *c = others; *c != '\0'; c++)
        *c = *c == '=' || *c == ',' ? ' ' : *c;
    size_t head = strcspn(plain, " ");
    snprintf(arm->label, sizeof arm->label, "%.*s%s%s%s%s", (int)head, plain, replay, plain + head,
             others[0] != '\0' ? ", " : "", others);
}

void sg_arm_describe(sg_arm *arm, const char *objective, const char *params)
{
    char own[512] = "", spec[768];
    sg_error ignored;
    *arm = (sg_arm){.objective = objective, .params = params};
    divide(arm, own, sizeof own);
    snprintf(spec, sizeof spec, "%s%s%s", objective, own[0] != '\0' ? ":" : "", own);
    arm->known = sg_objective_parse(&arm->parsed, spec, &ignored) == SG_OK;
    arm->pen = arm->known ? sg_theme_pen(arm->parsed.gate, arm->parsed.level)
                          : (sg_pen){SG_COLOUR_BLACK, SG_SOLID, SG_CIRCLE, 0};
    arm->pen.dash = SG_SOLID;
    name(arm);
}

sg_status sg_arms_describe(sg_arm *arms, size_t *count, const sg_table *table, sg_error *error)
{
    sg_arms found;
    *count = 0;
    sg_status status = sg_arms_collect(&found, table, error);
    if (status != SG_OK)
        return status;
    if (found.count > SG_ARMS_DRAWN)
        return sg_fail(error, SG_EARGUMENT,
                       "the table of runs has %zu arms and a training figure shows at most %d; "
                       "simulate fewer, or give it a part of the table",
                       found.count, SG_ARMS_DRAWN);
    for (; *count < found.count; ++*count)
        sg_arm_describe(&arms[*count], sg_arms_objective(&found, *count),
                        sg_arms_params(&found, *count));
    return *count > 0 ? SG_OK : sg_fail(error, SG_EDATA, "the table of runs is empty");
}

void sg_arms_tell_apart(sg_arm *arms, size_t count)
{
    for (size_t i = 1; i < count; i++) {
        for (size_t k = 0; k < i; k++) {
            if (arms[k].pen.colour != arms[i].pen.colour)
                continue;
            arms[i].pen.dash = (sg_dash)((arms[k].pen.dash + 1) % SG_DASH_COUNT);
            arms[i].pen.marker = (sg_marker)(1 + arms[k].pen.marker % SG_PENTAGON);
        }
    }
}

void sg_arms_widen(sg_arm *arms, size_t count)
{
    for (size_t i = 0; i < count; i++)
        arms[i].pen.width = 1 + 0.6 * (double)(count - 1 - i);
}

sg_layer sg_arm_layer(const sg_arm *arm, const sg_table *table)
{
    return (sg_layer){.table = table,
                      .where = {{"objective", arm->objective}, {"params", arm->params}},
                      .x = "step",
                      .pen = arm->pen};
}
