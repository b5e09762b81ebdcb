/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "cli/find_program.h"

#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;

bool cli_find_program(const char *name, char *path, size_t size)
{
    const char *at = getenv("PATH");
    while (at && *at) {
        size_t length = strcspn(at, ":");
        int written = snprintf(path, size, "%.*s/%s", (int)length, at, name);
        if (length > 0 && written > 0 && (size_t)written < size && access(path, X_OK) == 0)
            return true;
        at += length + (at[length] == ':');
    }
    return false;
}

bool cli_first_line(const char *path, const char *argument, char *line, size_t size)
{
    int ends[2];
    if (pipe(ends) != 0)
        return false;
    posix_spawn_file_actions_t actions;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, ends[1], STDOUT_FILENO);
    posix_spawn_file_actions_addclose(&actions, ends[0]);
    posix_spawn_file_actions_addclose(&actions, ends[1]);
    posix_spawn_file_actions_addopen(&actions, STDERR_FILENO, "/dev/null", 1 /* O_WRONLY */, 0);
    char *program = strdup(path), *word = strdup(argument);
    char *const arguments[] = {program, word, NULL};
    pid_t child;
    bool started =
        program && word && posix_spawn(&child, path, &actions, NULL, arguments, environ) == 0;
    posix_spawn_file_actions_destroy(&actions);
    close(ends[1]);
    bool found = false;
    FILE *stream = fdopen(ends[0], "r");
    if (started && stream && fgets(line, (int)size, stream)) {
        line[strcspn(line, "\n")] = '\0';
        found = true;
    }
    if (stream)
        fclose(stream);
    else
        close(ends[0]);
    if (started)
        waitpid(child, NULL, 0);
    free(program);
    free(word);
    return found;
}
