/* SPDX-License-Identifier: GPL-3.0-or-later */
#include <check.h>
#include <json-c/json.h>
#include <math.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/rng.h"
#include "core/utf8.h"
#include "files.h"

static const sg_format readable[] = {SG_FORMAT_CSV, SG_FORMAT_NPZ};

START_TEST(nasty_values_survive)
{
    sg_table *table = nasty_table(), *back = NULL;
    sg_error error;
    ck_assert_int_eq(sg_table_write(table, readable[_i], test_path, &error), SG_OK);
    ck_assert_uint_eq(count_files(), 1);
    sg_status status = sg_table_read(&back, test_path, &error);
    ck_assert_msg(status == SG_OK, "%s", error.message);
    assert_equal_tables(table, back);
    sg_table_free(back);
    sg_table_free(table);
}
END_TEST

START_TEST(a_table_without_rows_survives)
{
    sg_table *table = sg_table_alloc(), *back = NULL;
    sg_table_add_column(table, "ratio", SG_COLUMN_REAL, NULL);
    sg_table_add_column(table, "weight", SG_COLUMN_REAL, NULL);
    ck_assert_int_eq(sg_table_write(table, readable[_i], test_path, NULL), SG_OK);
    ck_assert_int_eq(sg_table_read(&back, test_path, NULL), SG_OK);
    assert_equal_tables(table, back);
    sg_table_free(back);
    sg_table_free(table);
}
END_TEST

START_TEST(a_lonely_empty_cell_survives)
{
    sg_table *table = sg_table_alloc(), *back = NULL;
    sg_table_add_column(table, "text", SG_COLUMN_TEXT, NULL);
    sg_table_add_rows(table, 3, NULL);
    sg_table_set_text(table, 0, 1, "x", NULL);
    ck_assert_int_eq(sg_table_write(table, readable[_i], test_path, NULL), SG_OK);
    ck_assert_int_eq(sg_table_read(&back, test_path, NULL), SG_OK);
    assert_equal_tables(table, back);
    sg_table_free(back);
    sg_table_free(table);
}
END_TEST

START_TEST(equal_tables_give_equal_files)
{
    sg_table *table = nasty_table();
    ck_assert_int_eq(sg_table_write(table, SG_FORMAT_NPZ, test_path, NULL), SG_OK);
    sg_text first = get_file();
    sleep(2); /* the resolution of a zip file's times */
    ck_assert_int_eq(sg_table_write(table, SG_FORMAT_NPZ, test_path, NULL), SG_OK);
    sg_text second = get_file();
    ck_assert_uint_eq(first.length, second.length);
    ck_assert_int_eq(memcmp(first.data, second.data, first.length), 0);
    sg_text_free(&first);
    sg_text_free(&second);
    sg_table_free(table);
}
END_TEST

START_TEST(standard_input_is_read)
{
    put_file("a\n5\n", 4);
    int saved = dup(STDIN_FILENO);
    ck_assert_ptr_nonnull(freopen(test_path, "r", stdin));
    sg_table *table = NULL;
    ck_assert_int_eq(sg_table_read(&table, "-", NULL), SG_OK);
    ck_assert_int_eq(sg_table_get_integer(table, 0, 0), 5);
    sg_table_free(table);
    dup2(saved, STDIN_FILENO);
    close(saved);
}
END_TEST

START_TEST(unreadable_files_say_why)
{
    sg_table *table = NULL;
    sg_error error;
    ck_assert_int_eq(sg_table_read(&table, test_path, &error), SG_EIO);
    ck_assert_ptr_nonnull(strstr(error.message, "No such file or directory"));
    ck_assert_int_eq(sg_table_read(&table, test_folder, &error), SG_EIO);
    ck_assert_ptr_nonnull(strstr(error.message, "Is a directory"));
}
END_TEST

static const sg_format formats[] = {SG_FORMAT_CSV, SG_FORMAT_JSON, SG_FORMAT_NPZ, SG_FORMAT_TABLE};

START_TEST(a_full_disk_is_an_error)
{
    sg_table *table = nasty_table();
    sg_error error;
    ck_assert_int_eq(sg_table_write(table, formats[_i], "/dev/full", &error), SG_EIO);
    ck_assert_ptr_nonnull(strstr(error.message, "/dev/full: No space left on device"));
    if (formats[_i] != SG_FORMAT_NPZ) {
        FILE *stream = fopen("/dev/full", "w");
        ck_assert_int_eq(sg_table_write_stream(table, formats[_i], stream, &error), SG_EIO);
        ck_assert_ptr_nonnull(strstr(error.message, "No space left on device"));
        fclose(stream);
    }
    struct stat device;
    ck_assert(stat("/dev/full", &device) == 0 && S_ISCHR(device.st_mode));
    sg_table_free(table);
}
END_TEST

START_TEST(a_failed_write_leaves_the_old_file)
{
    sg_table *table = sg_table_alloc();
    sg_table_add_column(table, "x", SG_COLUMN_REAL, NULL);
    sg_table_add_rows(table, 100000, NULL);
    put_file("old", 3);
    signal(SIGXFSZ, SIG_IGN);
    struct rlimit old, limit;
    getrlimit(RLIMIT_FSIZE, &old);
    limit = old;
    limit.rlim_cur = 100000;
    ck_assert_int_eq(setrlimit(RLIMIT_FSIZE, &limit), 0);
    sg_error error;
    sg_status status = sg_table_write(table, formats[_i], test_path, &error);
    setrlimit(RLIMIT_FSIZE, &old);
    ck_assert_int_eq(status, SG_EIO);
    ck_assert_ptr_nonnull(strstr(error.message, "File too large"));
    ck_assert_uint_eq(count_files(), 1);
    sg_text content = get_file();
    ck_assert_str_eq(content.data, "old");
    sg_text_free(&content);
    sg_table_free(table);
}
END_TEST

START_TEST(places_that_cannot_be_written_say_why)
{
    sg_table *table = small_table();
    sg_error error;
    char name[200];
    ck_assert_int_eq(sg_table_write(table, SG_FORMAT_CSV, test_folder, &error), SG_EIO);
    ck_assert_ptr_nonnull(strstr(error.message, "Is a directory"));
    snprintf(name, sizeof name, "%s/missing/x.csv", test_folder);
    ck_assert_int_eq(sg_table_write(table, SG_FORMAT_CSV, name, &error), SG_EIO);
    ck_assert_ptr_nonnull(strstr(error.message, "missing/x.csv: No such file or directory"));
    ck_assert_int_eq(sg_table_write(table, SG_FORMAT_CSV, "", &error), SG_EIO);
    ck_assert_int_eq(sg_table_write(table, SG_FORMAT_CSV, "-", &error), SG_EARGUMENT);
    if (geteuid() != 0) { /* root may write everywhere */
        put_file("old", 3);
        chmod(test_path, 0400);
        ck_assert_int_eq(sg_table_write(table, SG_FORMAT_CSV, test_path, &error), SG_EIO);
        ck_assert_ptr_nonnull(strstr(error.message, "Permission denied"));
        unlink(test_path);
        chmod(test_folder, 0500);
        ck_assert_int_eq(sg_table_write(table, SG_FORMAT_CSV, test_path, &error), SG_EIO);
        ck_assert_ptr_nonnull(strstr(error.message, "Permission denied"));
    }
    chmod(test_folder, 0700);
    ck_assert_uint_eq(count_files(), 0);
    sg_table_free(table);
}
END_TEST

START_TEST(links_and_modes_stay)
{
    sg_table *table = small_table();
    char link[200];
    put_file("old", 3);
    chmod(test_path, 0640);
    snprintf(link, sizeof link, "%s/link", test_folder);
    ck_assert_int_eq(symlink("table", link), 0);
    ck_assert_int_eq(sg_table_write(table, SG_FORMAT_CSV, link, NULL), SG_OK);
    struct stat entry;
    ck_assert(lstat(link, &entry) == 0 && S_ISLNK(entry.st_mode));
    ck_assert(stat(test_path, &entry) == 0 && (entry.st_mode & 0777) == 0640);
    sg_text content = get_file();
    ck_assert_int_eq(strncmp(content.data, "# seed: 1\n", 10), 0);
    sg_text_free(&content);
    unlink(link);
    sg_table_free(table);
}
END_TEST

/* json-c in its strict mode is the witness: it refuses NaN and trailing commas. */
static struct json_object *parse_json(const char *text)
{
    struct json_tokener *tokener = json_tokener_new();
    json_tokener_set_flags(tokener, JSON_TOKENER_STRICT | JSON_TOKENER_VALIDATE_UTF8);
    struct json_object *object = json_tokener_parse_ex(tokener, text, (int)strlen(text) + 1);
    ck_assert_msg(object != NULL, "%s in %s",
                  json_tokener_error_desc(json_tokener_get_error(tokener)), text);
    json_tokener_free(tokener);
    return object;
}

START_TEST(json_is_strict_and_complete)
{
    sg_table *table = nasty_table();
    char *text = written(table, SG_FORMAT_JSON);
    struct json_object *object = parse_json(text), *part;
    ck_assert(json_object_object_get_ex(object, "metadata", &part));
    ck_assert_str_eq(json_object_get_string(json_object_object_get(part, "beta \xce\xb2")),
                     "\"quoted\", \\ \xe2\x82\xac");
    ck_assert(json_object_object_get_ex(object, "columns", &part));
    ck_assert_uint_eq(json_object_array_length(part), 3);
    ck_assert_str_eq(json_object_get_string(json_object_array_get_idx(part, 1)), " text\n");
    ck_assert(json_object_object_get_ex(object, "rows", &part));
    ck_assert_uint_eq(json_object_array_length(part), COUNT(nasty_texts));
    for (size_t row = 0; row < COUNT(nasty_texts); row++) {
        struct json_object *cells = json_object_array_get_idx(part, row);
        struct json_object *real = json_object_object_get(cells, "a \"real\", #1");
        double value = nasty_reals[row % COUNT(nasty_reals)];
        if (!isfinite(value)) {
            ck_assert_ptr_null(real);
        } else {
            double back = json_object_get_double(real);
            ck_assert_int_eq(json_object_get_type(real), json_type_double);
            ck_assert_int_eq(memcmp(&back, &value, sizeof back), 0);
        }
        ck_assert_str_eq(json_object_get_string(json_object_object_get(cells, " text\n")),
                         nasty_texts[row]);
        ck_assert_int_eq(json_object_get_int64(json_object_object_get(cells, "\xcf\x84")),
                         row % 2 == 0 ? INT64_MIN : INT64_MAX);
    }
    ck_assert(json_object_object_get_ex(object, "nonfinite", &part));
    ck_assert_uint_eq(json_object_array_length(part), 6);
    const char *kinds[] = {"nan", "inf", "-inf"};
    for (size_t i = 0; i < 6; i++) {
        struct json_object *place = json_object_array_get_idx(part, i);
        size_t row = i % 3 + COUNT(nasty_reals) * (i / 3);
        ck_assert_int_eq(json_object_get_int(json_object_array_get_idx(place, 0)), (int)row);
        ck_assert_str_eq(json_object_get_string(json_object_array_get_idx(place, 1)),
                         "a \"real\", #1");
        ck_assert_str_eq(json_object_get_string(json_object_array_get_idx(place, 2)), kinds[i % 3]);
    }
    json_object_put(object);
    free(text);
    sg_table_free(table);
}
END_TEST

START_TEST(json_repairs_broken_utf8)
{
    sg_table *table = sg_table_alloc();
    sg_table_add_column(table, "t", SG_COLUMN_TEXT, NULL);
    sg_table_add_rows(table, 1, NULL);
    sg_table_set_text(table, 0, 0, "a\xff\xc3(\xed\xa0\x80\xe2\x82", NULL);
    char *text = written(table, SG_FORMAT_JSON);
    ck_assert_ptr_nonnull(strstr(text, "\"a\\ufffd\\ufffd(\\ufffd\\ufffd\\ufffd\\ufffd\\ufffd\""));
    json_object_put(parse_json(text));
    free(text);
    sg_table_free(table);
}
END_TEST

START_TEST(utf8_agrees_with_the_standard)
{
    uint32_t code;
    char bytes[5] = {0};
    ck_assert(sg_utf8_decode("\xe2\x82\xac", &code) == 3 && code == 0x20ac);
    ck_assert(sg_utf8_decode("\xf4\x8f\xbf\xbf", &code) == 4 && code == 0x10ffff);
    const char *malformed[] = {"\x80", "\xc0\xaf", "\xe0\x80\xaf", "\xf4\x90\x80\x80",
                               "\xf8", "\xc3"};
    for (size_t i = 0; i < COUNT(malformed); i++)
        ck_assert(sg_utf8_decode(malformed[i], &code) == 1 && code == 0xfffd);
    for (uint32_t value = 1; value < 0x110000; value += 37) {
        memset(bytes, 0, sizeof bytes);
        size_t length = sg_utf8_encode(value, bytes);
        bool surrogate = value >= 0xd800 && value < 0xe000;
        ck_assert_uint_eq(sg_utf8_decode(bytes, &code), length);
        ck_assert_uint_eq(code, surrogate ? 0xfffd : value);
    }
    ck_assert_uint_eq(sg_utf8_length("caf\xc3\xa9"), 4);
}
END_TEST

START_TEST(terminal_table_is_aligned_and_harmless)
{
    sg_table *table = sg_table_alloc();
    sg_table_add_column(table, "name", SG_COLUMN_TEXT, NULL);
    sg_table_add_column(table, "ratio", SG_COLUMN_REAL, NULL);
    sg_table_add_column(table, "n", SG_COLUMN_INTEGER, NULL);
    sg_table_add_column(table, "note", SG_COLUMN_TEXT, NULL);
    sg_table_add_rows(table, 2, NULL);
    sg_table_set_text(table, 0, 0, "caf\xc3\xa9 au lait", NULL);
    sg_table_set_text(table, 0, 1, "\x1b[31mred", NULL);
    sg_table_set_real(table, 1, 0, 1 / 3.);
    sg_table_set_integer(table, 2, 1, -1000);
    sg_table_set_text(table, 3, 1, "x", NULL);
    char *text = written(table, SG_FORMAT_TABLE);
    ck_assert_str_eq(text, "name             ratio      n  note\n"
                           "caf\xc3\xa9 au lait  0.333333      0\n"
                           "?[31mred           nan  -1000  x\n");
    free(text);
    sg_table_free(table);
}
END_TEST

/* Flips bytes of a good file and cuts it: the reader must say yes or no, never fall over. Run it
 * with the sanitizers. Seed fixed, so a failure comes back. */
START_TEST(damaged_files_never_harm)
{
    static const char jsonl[] =
        "{\"sequence\": 0, \"logp\": -1.5, \"text\": \"a \\u20ac\"}\n"
        "{\"sequence\": 1, \"logp\": NaN, \"text\": [1, {\"b\": null}]}\n"
        "{\"sequence\": 2, \"logp\": 1e400, \"mask\": true}\n"
        "{\"sequence\": 3, \"logp\": [-1, null, 2], \"mask\": [1, 0, true]}\n";
    sg_table *good = nasty_table();
    if (_i < (int)COUNT(readable))
        ck_assert_int_eq(sg_table_write(good, readable[_i], test_path, NULL), SG_OK);
    else
        put_file(jsonl, strlen(jsonl));
    sg_table_free(good);
    sg_text content = get_file();
    char *copy = malloc(content.length);
    size_t accepted = 0, refused = 0;
    for (uint32_t i = 0; i < 2000; i++) {
        uint32_t words[4];
        size_t length = content.length;
        memcpy(copy, content.data, length);
        sg_rng_words((sg_address){.seed = 3, .stream = SG_STREAM_SYNTHETIC, .token = i}, words);
        for (uint32_t flip = 0; flip <= words[0] % 4; flip++) {
            uint32_t more[4];
            sg_rng_words((sg_address){.seed = 4, .token = i, .sample = flip}, more);
            if (more[2] % 2 == 0)
                copy[more[0] % length] = (char)more[1];
            else
                copy[more[0] % length] = ",\"\n\r#(){}'P\0"[more[1] % 13];
        }
        if (words[1] % 3 == 0)
            length = words[2] % length;
        put_file(copy, length);
        sg_table *table = NULL;
        sg_error error = {0};
        sg_status status = sg_table_read(&table, test_path, &error);
        if (status == SG_OK) {
            accepted++;
            free(written(table, SG_FORMAT_JSON)); /* touches every cell */
            sg_table_free(table);
        } else {
            refused++;
            ck_assert_int_eq(status, SG_EDATA);
            ck_assert_ptr_null(table);
            ck_assert_uint_gt(strlen(error.message), 20);
        }
    }
    ck_assert_msg(accepted > 50 && refused > 50, "%zu and %zu of both kinds", accepted, refused);
    free(copy);
    sg_text_free(&content);
}
END_TEST

START_TEST(format_names_are_known)
{
    sg_format format;
    ck_assert(sg_format_from_name("csv", &format) && format == SG_FORMAT_CSV);
    ck_assert(sg_format_from_name("json", &format) && format == SG_FORMAT_JSON);
    ck_assert(sg_format_from_name("npz", &format) && format == SG_FORMAT_NPZ);
    ck_assert(sg_format_from_name("table", &format) && format == SG_FORMAT_TABLE);
    ck_assert(!sg_format_from_name("xml", &format));
}
END_TEST

Suite *io_suite(void);
Suite *io_suite(void)
{
    Suite *suite = suite_create("io");
    TCase *tests = add_file_case(suite, "round trips");
    tcase_add_loop_test(tests, nasty_values_survive, 0, COUNT(readable));
    tcase_add_loop_test(tests, a_table_without_rows_survives, 0, COUNT(readable));
    tcase_add_loop_test(tests, a_lonely_empty_cell_survives, 0, COUNT(readable));
    tcase_add_test(tests, equal_tables_give_equal_files);
    tcase_add_test(tests, format_names_are_known);
    tests = add_file_case(suite, "files");
    tcase_add_test(tests, standard_input_is_read);
    tcase_add_test(tests, unreadable_files_say_why);
    tcase_add_loop_test(tests, a_full_disk_is_an_error, 0, COUNT(formats));
    tcase_add_loop_test(tests, a_failed_write_leaves_the_old_file, 0, COUNT(formats));
    tcase_add_test(tests, places_that_cannot_be_written_say_why);
    tcase_add_test(tests, links_and_modes_stay);
    tests = add_file_case(suite, "json and terminal");
    tcase_add_test(tests, json_is_strict_and_complete);
    tcase_add_test(tests, json_repairs_broken_utf8);
    tcase_add_test(tests, utf8_agrees_with_the_standard);
    tcase_add_test(tests, terminal_table_is_aligned_and_harmless);
    tests = add_file_case(suite, "damage");
    tcase_add_loop_test(tests, damaged_files_never_harm, 0, COUNT(readable) + 1);
    return suite;
}
