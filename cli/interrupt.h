/* SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef SG_CLI_INTERRUPT_H
#define SG_CLI_INTERRUPT_H

#include <signal.h>
#include <stdbool.h>

/* SIGINT and SIGTERM end the tool with code 130. Long work calls cli_interrupt_defer and asks
 * cli_interrupted between steps, so that the first signal stops it in good order; a second ends it
 * at once. */
void cli_interrupt_setup(void);
void cli_interrupt_defer(void);
bool cli_interrupted(void);
const volatile sig_atomic_t *cli_interrupt_flag(void); /* not 0 once interrupted */

#endif
