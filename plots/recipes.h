/* SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef SG_RECIPES_H
#define SG_RECIPES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/status.h"
#include "core/table.h"
#include "plots/gnuplot.h"
#include "sim/simulate.h"

/* The figures that softgate knows how to draw. A recipe makes its tables with the library and
 * describes the picture; drawing and writing are the same for all. */

typedef struct sg_drawing sg_drawing; /* plots/drawing.h: what a recipe makes */

typedef struct sg_recipe {
    const char *name;    /* "R1"; file names are made of it */
    const char *title;   /* one line */
    const char *caption; /* one paragraph: what is drawn, then how to read it */
    bool training;       /* draws simulated runs: see sg_figure_options.runs */
    bool statistics;     /* draws the rows of runs if it is given some there */
    bool heavy;          /* streams millions of tokens: takes seconds */
    sg_status (*build)(sg_drawing *drawing, sg_error *error);
} sg_recipe;

size_t sg_recipe_count(void);
const sg_recipe *sg_recipe_at(size_t index);

/* By name, in any case; NULL with a sentence that names the nearest one in *error when there is
 * none. */
const sg_recipe *sg_recipe_find(const char *name, sg_error *error);

typedef struct sg_figure_options {
    const char *directory; /* must exist */
    unsigned formats;      /* set of 1u << sg_picture_format; 0: pdf, svg and png */
    const char *paper;     /* name of a theme (theme.h); NULL: "screen" */
    int columns;           /* 1: as wide as one column of a paper that has two; 2 or 0: as its text */
    bool emit_gp;  /* also write NAME.gp, the script of the first format: `gnuplot -d NAME.gp` draws
                      it */
    uint64_t seed; /* of figures that draw random numbers; 0: the recipe's own */
    const char *version, *git_hash, *command; /* recorded in the files; each may be NULL */
    /* Training figures draw `runs`, a table of sg_simulate; when it is NULL they run their
     * experiment, NAME.yaml in the folder `experiments` (NULL: "notebooks-data/experiments"), under
     * `callbacks`. */
    const sg_table *runs;
    const char *experiments;
    const char *experiment;                 /* a file to run instead; NULL: the figure's own */
    const sg_simulate_callbacks *callbacks; /* may be NULL */
    int threads;                            /* 0: as the experiment says */
} sg_figure_options;

/* Is there a file for the experiment that a training figure would run? */
bool sg_recipe_has_experiment(const sg_recipe *recipe, const sg_figure_options *options);

/* Makes one figure: DIR/NAME.pdf ... (pictures), DIR/NAME.csv (exactly the plotted numbers; a
 * second table goes to NAME-SOMETHING.csv), and DIR/NAME.json (title, caption, parameters, seed,
 * version, files). Files appear complete or not at all; equal inputs give equal bytes.
 * SG_EARGUMENT: unknown name or paper, or one without columns; SG_ETOOL: gnuplot; SG_EIO;
 * SG_EINTERRUPTED. */
sg_status sg_figure_make(const char *name, const sg_figure_options *options, sg_error *error);

#endif
