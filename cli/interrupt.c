/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "cli/interrupt.h"

#include <stddef.h>
#include <unistd.h>

#include "cli/say.h"

static volatile sig_atomic_t deferred, caught;

static void on_signal(int number)
{
    (void)number;
    if (!deferred || caught)
        _exit(CLI_EXIT_INTERRUPTED);
    caught = 1;
}

void cli_interrupt_setup(void)
{
    struct sigaction action = {.sa_handler = on_signal, .sa_flags = SA_RESTART};
    sigemptyset(&action.sa_mask);
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
}

void cli_interrupt_defer(void)
{
    deferred = 1;
}

bool cli_interrupted(void)
{
    return caught != 0;
}

const volatile sig_atomic_t *cli_interrupt_flag(void)
{
    return &caught;
}
