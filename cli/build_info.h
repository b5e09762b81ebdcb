/* SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef SG_CLI_BUILD_INFO_H
#define SG_CLI_BUILD_INFO_H

/* What the makefile knows about this build. Only build_info.c is compiled anew when they change. */
extern const char cli_version[];  /* "0.1.0" */
extern const char cli_git_hash[]; /* "2fecd3e17eb4" or "unknown" */

#endif
