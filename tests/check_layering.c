/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The order of the folders holds here, and tests/layering.sh sees when it does not. */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>

#include "core/text.h"

/* Runs the script on a folder; its output goes to *output. */
static int run_script(const char *root, sg_text *output)
{
    sg_text command = {0};
    const char *tests = getenv("TEST_DATA");
    ck_assert_ptr_nonnull(tests);
    sg_text_printf(&command, "sh '%s/layering.sh' '%s' 2>&1", tests, root);
    FILE *pipe = popen(command.data, "r");
    ck_assert_ptr_nonnull(pipe);
    char block[4096];
    sg_text_append(output, "");
    for (size_t count; (count = fread(block, 1, sizeof block, pipe)) > 0;)
        sg_text_append_bytes(output, block, count);
    int status = pclose(pipe);
    sg_text_free(&command);
    ck_assert(WIFEXITED(status));
    return WEXITSTATUS(status);
}

START_TEST(this_tree_keeps_the_order)
{
    sg_text output = {0}, root = {0};
    sg_text_printf(&root, "%s/..", getenv("TEST_DATA"));
    int code = run_script(root.data, &output);
    ck_assert_msg(code == 0, "%s", output.data);
    ck_assert_ptr_nonnull(strstr(output.data, "all arrows point down"));
    sg_text_free(&root);
    sg_text_free(&output);
}
END_TEST

static const struct {
    const char *file, *include, *complaint; /* no complaint: allowed */
} arrows[] = {
    {"lib/core/a.c", "core/b.h", NULL},
    {"lib/core/a.c", "io/b.h", "core must not depend on io"},
    {"lib/objective/a.h", "io/b.h", "objective must not depend on io"},
    {"lib/policy/a.c", "backend/backend.h", NULL},
    {"lib/policy/deep/a.c", "sim/b.h", "policy must not depend on sim"},
    {"lib/backend/cuda/a.cu", "objective/gate_math.h", NULL},
    {"lib/backend/cuda/a.cu", "policy/b.h", "backend must not depend on policy"},
    {"lib/sim/a.c", "plots/b.h", "sim must not depend on plots"},
    {"lib/sim/a.c", "sim.h", "does not start from lib/"},
    {"lib/core/a.c", "softgate.h", "core must not depend on lib"},
    {"lib/softgate.h", "sim/b.h", NULL},
    {"lib/softgate.h", "cli/b.h", "lib must not depend on cli"},
    {"lib/new/a.c", "core/b.h", "lib/new has no place"},
    {"plots/a.c", "sim/b.h", NULL},
    {"plots/recipes/a.c", "cli/b.h", "plots must not depend on cli"},
    {"cli/a.c", "plots/b.h", NULL},
};

START_TEST(arrows_that_point_back_are_seen)
{
    char root[] = "/tmp/softgate-layering-XXXXXX";
    ck_assert_ptr_nonnull(mkdtemp(root));
    sg_text command = {0}, output = {0};
    sg_text_printf(&command, "mkdir -p \"$(dirname '%s/%s')\" && echo '#include \"%s\"' > '%s/%s'",
                   root, arrows[_i].file, arrows[_i].include, root, arrows[_i].file);
    ck_assert_int_eq(system(command.data), 0);
    int code = run_script(root, &output);
    if (arrows[_i].complaint == NULL)
        ck_assert_msg(code == 0, "%s", output.data);
    else
        ck_assert_msg(code == 1 && strstr(output.data, arrows[_i].complaint) != NULL, "%s",
                      output.data);
    sg_text_clear(&command);
    sg_text_printf(&command, "rm -r '%s'", root);
    ck_assert_int_eq(system(command.data), 0);
    sg_text_free(&command);
    sg_text_free(&output);
}
END_TEST

Suite *layering_suite(void);
Suite *layering_suite(void)
{
    Suite *suite = suite_create("layering");
    TCase *tests = tcase_create("layering");
    tcase_set_timeout(tests, 20);
    tcase_add_test(tests, this_tree_keeps_the_order);
    tcase_add_loop_test(tests, arrows_that_point_back_are_seen, 0,
                        (int)(sizeof arrows / sizeof *arrows));
    suite_add_tcase(suite, tests);
    return suite;
}
