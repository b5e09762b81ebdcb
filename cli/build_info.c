/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "cli/build_info.h"

#ifndef SG_VERSION
#define SG_VERSION "0"
#endif
#ifndef SG_GIT_HASH
#define SG_GIT_HASH "unknown"
#endif

const char cli_version[] = SG_VERSION;
const char cli_git_hash[] = SG_GIT_HASH;
