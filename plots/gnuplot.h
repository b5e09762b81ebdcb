/* SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef SG_GNUPLOT_H
#define SG_GNUPLOT_H

#include <stdbool.h>

#include "core/status.h"
#include "core/text.h"

/* One gnuplot process, kept honest.
 *
 * gnuplot exits with 0 on a full disk and after other failures, so a picture counts only when the
 * process exits with 0, the last command's message arrives, and the file ends as its format ends.
 * gnuplot is started without a shell, without the user's ~/.gnuplot, in a new private directory
 * where the script and its output live, so no name that a user chose ever reaches a script.
 *
 * Thread-safe: no global state, no signal handlers; several may run at once. */

/* Formats of a picture, with the name that the command line uses. */
#define SG_PICTURE_FORMAT_LIST(X)                                                                  \
    X(SG_PICTURE_PDF, "pdf") /* vector, fonts embedded */                                          \
    X(SG_PICTURE_SVG, "svg") /* vector, for the web */                                             \
    X(SG_PICTURE_PNG, "png") /* 300 dots per inch */                                               \
    X(SG_PICTURE_TEX, "tex") /* for \input: text set by LaTeX over a PDF */

typedef enum sg_picture_format {
#define SG_PICTURE_FORMAT_ENUM(id, name) id,
    SG_PICTURE_FORMAT_LIST(SG_PICTURE_FORMAT_ENUM)
#undef SG_PICTURE_FORMAT_ENUM
        SG_PICTURE_FORMAT_COUNT
} sg_picture_format;

const char *sg_picture_format_name(sg_picture_format format);
bool sg_picture_format_from_name(const char *name, sg_picture_format *format);

/* A picture in memory. For SG_PICTURE_TEX `main` is the LaTeX part and `graphics` the PDF that it
 * includes; otherwise `graphics` is empty. Zero-initialise; free with sg_picture_free. */
typedef struct sg_picture {
    sg_text main;
    sg_text graphics;
    sg_text messages; /* what gnuplot said; empty when it had nothing to complain about */
} sg_picture;

void sg_picture_free(sg_picture *picture);

/* File that a script must name in `set output`, relative to its directory: "NAME.svg", and
 * "NAME-inc.tex" for tex because cairolatex writes "NAME-inc.pdf" beside it. */
void sg_gnuplot_output_name(sg_text *out, const char *name, sg_picture_format format);

/* Runs a script that writes sg_gnuplot_output_name(name, format). `name` is one of our own figure
 * names (letters, digits, '-', '_'). On success the picture is complete, and PDF parts carry a
 * constant creation date, so equal scripts give equal bytes. On failure the script is kept and the
 * sentence says where. SG_ETOOL: gnuplot is missing (with the command that installs it), failed, or
 * its output is cut short. SG_EIO: the private directory cannot be written. SG_EARGUMENT: a bad
 * name. SG_ENOMEM. */
sg_status sg_gnuplot_run(const char *script, const char *name, sg_picture_format format,
                         sg_picture *picture, sg_error *error);

/* The message that tells a finished script from a broken one. sg_gnuplot_run adds it. */
extern const char sg_gnuplot_sentinel[];

/* "gnuplot 5.4 patchlevel 4", or SG_ETOOL with the install hint when there is none. */
sg_status sg_gnuplot_version(char *buffer, size_t size, sg_error *error);

/* Overwrites the digits of every creation and modification date of a PDF, keeping all offsets. */
void sg_pdf_normalise(char *bytes, size_t count);

#endif
