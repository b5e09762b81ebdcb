/* SPDX-License-Identifier: GPL-3.0-or-later */
#include <fcntl.h>
#include <gsl/gsl_errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#ifdef _OPENMP
#include <omp.h>
#endif

#include "backend/cuda/device.h"
#include "cli/commands.h"
#include "cli/interrupt.h"
#include "cli/output.h"
#include "cli/say.h"

/* A stream that the caller has closed must not become the next file that is opened. Opened the
 * wrong way round, so that using it fails as it should. */
static void hold_standard_streams(void)
{
    for (int fd = 0; fd <= 2; fd++)
        if (fcntl(fd, F_GETFD) < 0 && open("/dev/null", fd == 0 ? O_WRONLY : O_RDONLY) != fd)
            _exit(CLI_EXIT_IO);
}

/* Threads that spin while they wait make everything many times slower as soon as another program
 * wants a core. OpenMP reads its wishes before main, so state them and start over. */
static void wait_without_spinning(char **arguments)
{
#ifdef _OPENMP
    if (getenv("OMP_WAIT_POLICY") || getenv("GOMP_SPINCOUNT") ||
        setenv("OMP_WAIT_POLICY", "passive", 1) != 0)
        return;
    char path[4096];
    ssize_t length = readlink("/proc/self/exe", path, sizeof path - 1);
    if (length <= 0)
        return; /* no such thing on this system: spin */
    path[length] = '\0';
    execv(path, arguments);
#else
    (void)arguments;
#endif
}

static int check_backend(const cli_call *call)
{
    if (!(call->command->groups & CLI_COMPUTE) || cli_backend(call) != SG_BACKEND_CUDA)
        return 0;
    sg_error error;
    if (!(call->command->groups & CLI_DEVICE))
        return cli_fail(SG_EUNSUPPORTED,
                        "softgate %s computes on the CPU only; leave out --backend cuda",
                        call->command->name);
    return sg_cuda_use(&error) == SG_OK ? 0 : cli_report(&error);
}

static void set_threads(const cli_call *call)
{
#ifdef _OPENMP
    if (call->common.threads != CLI_ABSENT)
        omp_set_num_threads((int)call->common.threads);
#else
    (void)call;
#endif
}

static int run_command(const cli_command *command, int count, char **arguments)
{
    cli_call call;
    int code = cli_parse(&call, command, count, arguments);
    if (!code && call.common.help) {
        cli_help_command(command);
    } else if (!code) {
        cli_say_setup(call.common.quiet, call.common.verbose, call.common.no_color);
        set_threads(&call);
        code = check_backend(&call);
        if (!code)
            code = cli_check_ending(&call);
        if (!code)
            code = command->run(&call);
    }
    cli_call_free(&call);
    return code;
}

static int dispatch(int count, char **arguments)
{
    if (count < 2 || strcmp(arguments[1], "-h") == 0 || strcmp(arguments[1], "--help") == 0) {
        cli_help_overview();
        return CLI_EXIT_DONE;
    }
    const char *name = arguments[1];
    if (strcmp(name, "-V") == 0 || strcmp(name, "--version") == 0)
        name = "version";
    const cli_command *command = cli_command_find(name);
    if (command)
        return run_command(command, count - 2, arguments + 2);
    if (name[0] == '-')
        return cli_fail(SG_EARGUMENT,
                        "the command comes first, then its options: softgate COMMAND %.60s", name);
    return cli_fail_unknown_command(name);
}

int main(int count, char **arguments)
{
    wait_without_spinning(arguments);
    hold_standard_streams();
    signal(SIGPIPE, SIG_DFL); /* a reader that has had enough ends the tool quietly */
    cli_interrupt_setup();
    cli_say_setup(false, false, false);
    gsl_set_error_handler_off();
    return cli_finish_output(dispatch(count, arguments));
}
