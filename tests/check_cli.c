/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The tool as its user meets it. tests/cli/NAME.txt are transcripts of a shell session:
 *
 *     ## a remark
 *     $ softgate curve sapoo          a command, run by sh in a new directory of the transcript
 *     expected standard output
 *     ! expected standard error
 *     [2]                             the exit code, when it is not 0
 *
 * Blank lines before the next command do not count. A line of three dots stands for any number of
 * lines. Version and commit in metadata are written *, and the folder of the tests TESTS. */
#include <check.h>
#include <glob.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "core/text.h"

enum { LINE_SIZE = 1 << 16, PATH_SIZE = 4096 };

static glob_t transcripts;
static char directory[PATH_SIZE];

/* A system() whose command is formatted; its exit status. */
__attribute__((format(printf, 1, 2))) static int shell(const char *format, ...)
{
    static char command[4 * LINE_SIZE];
    va_list list;
    va_start(list, format);
    int length = vsnprintf(command, sizeof command, format, list);
    va_end(list);
    ck_assert_int_lt(length, (int)sizeof command);
    int status = system(command); /* NOLINT(cert-env33-c): transcripts are shell */
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

static void make_directory(void)
{
    const char *base = getenv("TMPDIR");
    snprintf(directory, sizeof directory, "%s/softgate-cli-XXXXXX", base ? base : "/tmp");
    ck_assert_ptr_nonnull(mkdtemp(directory));
}

static void remove_directory(void)
{
    shell("chmod -R u+w '%s'; rm -rf '%s'", directory, directory);
}

/* Session of a person without settings; softgate is on PATH. */
static void prepare_environment(void)
{
    char path[2 * PATH_SIZE];
    const char *tool = getenv("SOFTGATE");
    ck_assert_msg(tool != NULL, "SOFTGATE must name the tool");
    snprintf(path, sizeof path, "%.*s:%s", (int)(strrchr(tool, '/') - tool), tool, getenv("PATH"));
    setenv("PATH", path, 1);
    setenv("LC_ALL", "C", 1);
    setenv("TESTS", getenv("TEST_DATA"), 1);
    unsetenv("SOFTGATE_SEED");
    unsetenv("SOFTGATE_THREADS");
    unsetenv("SOFTGATE_BACKEND");
    unsetenv("SOFTGATE_NO_PROGRESS");
}

static void replace_all(char *line, const char *from, const char *to)
{
    char *at = line;
    while (*from && (at = strstr(at, from))) {
        size_t tail = strlen(at + strlen(from)) + 1;
        memmove(at + strlen(to), at + strlen(from), tail); /* `to` is never longer */
        memcpy(at, to, strlen(to));
        at += strlen(to);
    }
}

/* The rest of a line after `prefix` becomes `word`. */
static void hide_after(char *line, const char *prefix, const char *word)
{
    char *at = strstr(line, prefix);
    if (at && strlen(at) >= strlen(prefix) + strlen(word))
        strcpy(at + strlen(prefix), word);
}

/* Appends a file of the session to `text`, every line with `prefix`, without what varies. */
static void append_output(sg_text *text, const char *name, const char *prefix)
{
    static char line[LINE_SIZE];
    char path[PATH_SIZE + 16];
    snprintf(path, sizeof path, "%s/%s", directory, name);
    FILE *file = fopen(path, "r");
    ck_assert_ptr_nonnull(file);
    while (fgets(line, sizeof line, file)) {
        line[strcspn(line, "\n")] = '\0';
        replace_all(line, getenv("TEST_DATA"), "TESTS");
        hide_after(line, "# softgate: ", "*");
        hide_after(line, "# git: ", "*");
        sg_text_printf(text, "%s%s\n", prefix, line);
    }
    fclose(file);
}

/* Does `actual` fit `expected`, line by line? A line "..." fits any lines. */
static bool fits(const char *expected, const char *actual)
{
    while (*expected) {
        size_t length = strcspn(expected, "\n") + 1;
        if (strncmp(expected, "...\n", 4) == 0) {
            for (const char *at = actual; at; at = strchr(at, '\n') ? strchr(at, '\n') + 1 : NULL)
                if (fits(expected + 4, at))
                    return true;
            return false;
        }
        if (strncmp(expected, actual, length) != 0)
            return false;
        expected += length;
        actual += length;
    }
    return *actual == '\0';
}

/* Runs a command and compares. `place` says where it stands. */
static void check_command(const char *command, const char *expected, const char *place)
{
    sg_text actual = {0};
    int code = shell("cd '%s' && exec >.out 2>.err </dev/null; %s", directory, command);
    sg_text_append(&actual, "");
    append_output(&actual, ".out", "");
    append_output(&actual, ".err", "! ");
    if (code)
        sg_text_printf(&actual, "[%d]\n", code);
    ck_assert_msg(fits(expected, actual.data), "%s: $ %s\n--- expected\n%s--- got\n%s", place,
                  command, expected, actual.data);
    sg_text_free(&actual);
}

static void strip_blank_lines(char *text)
{
    size_t length = strlen(text);
    while (length > 1 && text[length - 1] == '\n' && text[length - 2] == '\n')
        text[--length] = '\0';
    if (strcmp(text, "\n") == 0)
        text[0] = '\0';
}

START_TEST(transcript_holds)
{
    static char line[LINE_SIZE];
    const char *path = transcripts.gl_pathv[_i];
    char place[PATH_SIZE] = "";
    sg_text command = {0}, expected = {0};
    FILE *file = fopen(path, "r");
    ck_assert_ptr_nonnull(file);
    prepare_environment();
    make_directory();
    size_t number = 0, commands = 0;
    for (bool more = true; more;) {
        more = fgets(line, sizeof line, file) != NULL;
        number++;
        bool starts = more && strncmp(line, "$ ", 2) == 0;
        if ((starts || !more) && command.length) {
            strip_blank_lines(expected.data);
            check_command(command.data, expected.data, place);
            commands++;
        }
        if (starts) {
            sg_text_clear(&command);
            sg_text_clear(&expected);
            line[strcspn(line, "\n")] = '\0';
            sg_text_append(&command, line + 2);
            sg_text_append(&expected, "");
            snprintf(place, sizeof place, "%s:%zu", strrchr(path, '/') + 1, number);
        } else if (more && command.length && strncmp(line, "## ", 3) != 0) {
            sg_text_append(&expected, line);
        }
    }
    fclose(file);
    ck_assert_msg(commands > 0, "%s holds no command", path);
    sg_text_free(&command);
    sg_text_free(&expected);
    remove_directory();
}
END_TEST

Suite *cli_suite(void);
Suite *cli_suite(void)
{
    Suite *suite = suite_create("cli");
    TCase *tests = tcase_create("transcripts");
    char pattern[PATH_SIZE];
    const char *data = getenv("TEST_DATA");
    snprintf(pattern, sizeof pattern, "%s/cli/*.txt", data ? data : "tests");
    glob(pattern, 0, NULL, &transcripts);
    tcase_set_timeout(tests, 240); /* with sanitizers, on a busy machine */
    tcase_add_loop_test(tests, transcript_holds, 0, (int)transcripts.gl_pathc);
    suite_add_tcase(suite, tests);
    return suite;
}
