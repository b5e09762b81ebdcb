/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "cli/find_experiments.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static const char here[] = "notebooks-data/experiments";

/* Folder of the running program, or "" where the system does not tell. */
static void program_folder(char *buffer, size_t size)
{
    ssize_t length = readlink("/proc/self/exe", buffer, size - 1);
    buffer[length > 0 ? length : 0] = '\0';
    char *slash = strrchr(buffer, '/');
    if (slash != NULL)
        *slash = '\0';
}

const char *cli_find_experiments(char *buffer, size_t size)
{
    const char *wish = getenv("SOFTGATE_EXPERIMENTS");
    if (wish != NULL && *wish != '\0') {
        snprintf(buffer, size, "%s", wish);
        return buffer;
    }
    char folder[2048];
    program_folder(folder, sizeof folder);
    static const char *const places[] = {"", "/../notebooks-data/experiments",
                                         "/../share/softgate/experiments"};
    for (size_t i = 0; i < sizeof places / sizeof *places; i++) {
        struct stat info;
        snprintf(buffer, size, "%s%s", i == 0 ? here : folder, places[i]);
        if (stat(buffer, &info) == 0 && S_ISDIR(info.st_mode))
            return buffer;
    }
    snprintf(buffer, size, "%s", here);
    return buffer;
}
