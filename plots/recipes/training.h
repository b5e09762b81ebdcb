/* SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef SG_TRAINING_H
#define SG_TRAINING_H

#include "plots/drawing.h"
#include "plots/recipes/arm.h"

/* Training runs of several arms and seeds, panel by panel against the gradient step: what R4, R5,
 * R6 and R8 share. Tables: the lines and bands (""), the share of runs alive ("survival"), the
 * single collapses and divergences ("events"), and what came out ("outcome"; sim/outcome.h). */

enum { SG_TRAINING_PANELS = 6, SG_TRAINING_COLUMNS = 3 };

typedef enum sg_training_kind {
    SG_TRAINING_LEVEL, /* median and band of a column */
    SG_TRAINING_SCORE, /* the same, known at evaluations only, which are dots */
    SG_TRAINING_GAIN,  /* its difference from the first arm's run of the same seed */
    SG_TRAINING_ALIVE, /* share of the runs that have not failed */
} sg_training_kind;

typedef struct sg_training_panel {
    sg_training_kind kind;
    const char *label;                        /* of the y axis */
    const char *columns[SG_TRAINING_COLUMNS]; /* of the runs: the first that holds a number */
} sg_training_panel;

typedef struct sg_training_layout {
    const char *name; /* of the experiment */
    size_t rows, columns;
    double aspect, width;
    sg_training_panel panels[SG_TRAINING_PANELS]; /* row by row */
    size_t markers; /* about so many on every line that is not of a score; 0: none */
    void (*dress)(sg_arm *arms, size_t count); /* other names and pens; may be NULL */
} sg_training_layout;

typedef struct sg_training {
    const sg_training_layout *layout;
    const sg_table *runs;
    /* Owned by the drawing. */
    sg_table *summary, *survival, *events, *outcome;
    const char *column[SG_TRAINING_PANELS]; /* that a panel shows; NULL: none has a number */
    size_t count;
    sg_arm arms[SG_ARMS_DRAWN];
    double horizon;
} sg_training;

/* The `build` of a recipe. */
sg_status sg_training_draw(sg_drawing *drawing, const sg_training_layout *layout, sg_error *error);

/* Its parts. */
sg_status sg_training_tables(sg_training *t, sg_drawing *drawing, sg_error *error);
void sg_training_panels(const sg_training *t, sg_figure *figure);
void sg_training_note(const sg_training *t, char *note, size_t size);

#endif
