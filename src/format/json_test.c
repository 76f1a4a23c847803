#include "format/json.h"
#include "format/suggest.h"

#include "base/fs.h"
#include "base/mem.h"
#include "base/test.h"

#include <stdio.h>
#include <unistd.h>

static bool parse(json_t **out, const char *text, Error *err)
{
    return json_parse(out, text, strlen(text), "t.json", err);
}

static void messages_name_line_and_column(void **state)
{
    (void)state;
    Error err;
    json_t *value = NULL;
    assert_fails(parse(&value, "{\n  \"a\": 1,\n  \"b\": x}", &err), ERR_FORMAT, "t.json:3:");
    assert_fails(parse(&value, "{\"a\":1,\"a\":2}", &err), ERR_FORMAT, "duplicate");
    assert_fails(parse(&value, "", &err), ERR_FORMAT, "t.json");
    assert_fails(parse(&value, "[1] 2", &err), ERR_FORMAT, "end of file expected");
    assert_fails(parse(&value, "[1e999]", &err), ERR_FORMAT, "overflow");
    assert_fails(parse(&value, "[9223372036854775808]", &err), ERR_FORMAT, "too big");
    assert_fails(parse(&value, "[\"\\ud800\"]", &err), ERR_FORMAT, "t.json:1:");
    assert_fails(parse(&value, "[\"\x1b[31m\"]", &err), ERR_FORMAT, "control character");
    assert_null(strchr(err.text, 0x1b));
    assert_null(value);
    assert_ok(parse(&value, "\xef\xbb\xbf[\"\\u0000\"]", &err));
    assert_int_equal(json_string_length(json_array_get(value, 0)), 1);
    json_release(&value);
}

static void limits_hold(void **state)
{
    (void)state;
    Error err;
    json_t *value = NULL;
    char deep[2 * JSON_DEPTH_MAX + 3];
    memset(deep, '[', JSON_DEPTH_MAX + 1);
    memset(deep + JSON_DEPTH_MAX + 1, ']', JSON_DEPTH_MAX + 1);
    assert_fails(json_parse(&value, deep, sizeof deep - 1, "d", &err), ERR_LIMIT,
                 "d:1:129: nested");
    assert_ok(json_parse(&value, deep + 1, sizeof deep - 3, "d", &err));
    auto_buf Buf out;
    buf_init(&out, 10000);
    assert_ok(json_dump(value, &out, &err));
    json_release(&value);

    size_t size = JSON_VALUES_MAX + 10;
    auto_free char *many = mem_alloc(size, 1);
    memset(many, ',', size);
    many[0] = '[';
    assert_fails(json_parse(&value, many, size, "m", &err), ERR_LIMIT, "more than 4194304 values");
    assert_fails(json_parse(&value, many, JSON_BYTES_MAX + 1, "m", &err), ERR_LIMIT, "at most");
}

static void values_print_as_they_read(void **state)
{
    (void)state;
    static const char *const texts[] = {
        "{\"a\":[1,2.5,0.1,-0.0,1e+300,2.5e-05],\"b\":{\"c\":null,\"d\":true},\"e\":[]}",
        "\"tab\\tquote\\\"back\\\\nul\\u0000 \\u001f\xc3\xa9\xf0\x9f\x98\x80\"",
        "9223372036854775807", "0.30000000000000004", "1.0", "{}", "false"};
    Error err;
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        auto_json json_t *value = NULL;
        assert_ok(parse(&value, texts[i], &err));
        auto_buf Buf out;
        buf_init(&out, 1000);
        assert_ok(json_dump(value, &out, &err));
        assert_string_equal(out.data, texts[i]);
    }
    auto_json json_t *loop = json_array(), *inner = json_array();
    json_array_append(loop, inner);
    json_array_append(inner, loop);
    auto_buf Buf out;
    buf_init(&out, 10000);
    buf_add_text(&out, "kept");
    assert_fails(json_dump(loop, &out, &err), ERR_LIMIT, "JSON");
    assert_string_equal(out.data, "kept");
    json_array_clear(inner);
}

static void members_are_checked(void **state)
{
    (void)state;
    Error err;
    auto_json json_t *o = NULL;
    assert_ok(parse(&o, "{\"n\":-3,\"big\":5000000000,\"r\":2.5,\"t\":\"x\",\"z\":null,"
                        "\"yes\":true,"
                        "\"nul\":\"a\\u0000b\",\"l\":[]}", &err));
    uint32_t n = 9;
    assert_fails(json_need_u32(o, "n", 1, 64, &n, "c.json", &err), ERR_FORMAT,
                 "c.json: key 'n' must be a whole number from 1 to 64, is -3");
    assert_fails(json_need_u32(o, "big", 0, UINT32_MAX, &n, "c", &err), ERR_FORMAT, "5000000000");
    assert_fails(json_need_u32(o, "r", 0, 10, &n, "c", &err), ERR_FORMAT, "is 2.5");
    assert_fails(json_need_u32(o, "no", 0, 10, &n, "c", &err), ERR_FORMAT, "is absent");
    assert_fails(json_need_u32(o, "l", 0, 10, &n, "c", &err), ERR_FORMAT, "is a list");
    assert_fails(json_need_u32(json_object_get(o, "l"), "n", 0, 1, &n, "c", &err), ERR_FORMAT,
                 "must be an object");
    assert_int_equal(n, 9);
    assert_ok(json_get_u32(o, "z", 1, 2, 7, &n, "c", &err));
    assert_int_equal(n, 7);
    double r = 0;
    assert_ok(json_get_f64(o, "n", -10, 10, 1, &r, "c", &err));
    assert_near(r, -3, 0);
    assert_fails(json_get_f64(o, "t", 0, 1, 0, &r, "c", &err), ERR_FORMAT, "a number from 0 to 1");
    assert_fails(json_get_f64(o, "r", 0, 1, 0, &r, "c", &err), ERR_FORMAT, "is 2.5");
    bool yes = false;
    assert_ok(json_get_bool(o, "yes", false, &yes, "c", &err));
    assert_true(yes);
    assert_fails(json_get_bool(o, "n", false, &yes, "c", &err), ERR_FORMAT, "true or false");
    const char *t = NULL;
    assert_ok(json_get_text(o, "t", NULL, &t, "c", &err));
    assert_string_equal(t, "x");
    assert_fails(json_get_text(o, "nul", NULL, &t, "c", &err), ERR_FORMAT, "without NUL");
    static const char *const keys[] = {"n", "big", "r", "t", "zero", "yes", "nul", "l", NULL};
    assert_fails(json_only_keys(o, keys, "c", &err), ERR_FORMAT, "unknown key \"z\"");
}

static void names_are_suggested(void **state)
{
    (void)state;
    static const char *const names[] = {"rate", "batch", "steps", "lr_rate", NULL};
    assert_string_equal(suggest_nearest("rtae", names, 5), "rate");
    assert_string_equal(suggest_nearest("stesp", names, 5), "steps");
    assert_string_equal(suggest_nearest("lerning_rate", names, 3), "rate");
    assert_null(suggest_nearest("quantise", names, 5));
    assert_null(suggest_nearest("xy", names, 5));
}

static void files_and_faults(void **state)
{
    (void)state;
    Error err;
    char path[] = "/tmp/bastide-json-XXXXXX";
    close(mkstemp(path));
    auto_json json_t *value = NULL, *back = NULL;
    assert_ok(parse(&value, "{\"a\":[1,2,3],\"b\":{\"c\":[[1],{}]},\"d\":0.1}", &err));
    assert_ok(json_write(value, path, &err));
    auto_buf Buf text;
    buf_init(&text, 1000);
    assert_ok(fs_read(path, &text, &err));
    assert_string_equal(text.data, "{\n  \"a\": [1,2,3],\n  \"b\": {\n    \"c\": [\n      [1],\n"
                                   "      {}\n    ]\n  },\n  \"d\": 0.1\n}\n");
    assert_ok(json_read(&back, path, 1000, &err));
    assert_true(json_equal(value, back));
    json_release(&back);
    assert_fails(json_read(&back, path, 10, &err), ERR_LIMIT, "larger than 10");
    assert_fails(json_read(&back, "/nonexistent", 10, &err), ERR_NOT_FOUND, "/nonexistent");
    for (int n = 0, done = 0; !done; n++) { /* each allocation in turn */
        uint64_t before = mem_count();
        mem_fail_after(n);
        bool ok = json_read(&back, path, 1000, &err) && json_write(back, path, &err);
        done = mem_count() - before <= (uint64_t)n;
        mem_fail_after(-1);
        json_release(&back);
        assert_int_equal(ok, done);
    }
    buf_reset(&text);
    assert_ok(fs_read(path, &text, &err));
    assert_int_equal(text.data[text.size - 1], '\n');
    remove(path);
}

/* The public JSONTestSuite: texts that must be read (y_) or refused (n_). We refuse three of the
 * former on purpose: duplicate keys (two) and a NUL in a key. */
static bool suite_file(void *folder, const char *name, Error *err)
{
    char path[1024];
    FsMap map;
    if (!fs_join(path, sizeof path, folder, name, err) || !fs_map(path, &map, err))
        return false;
    auto_json json_t *value = NULL;
    Error parse_error = {0};
    bool read = json_parse(&value, (const char *)map.data, map.size, name, &parse_error);
    fs_unmap(&map);
    bool ours = strstr(name, "duplicated_key") || strstr(name, "escaped_null_in_key");
    bool want = name[0] == 'y' && !ours;
    if (name[0] != 'i' && read != want)
        fail_test("%s: %s, %s", name, read ? "read" : "refused", parse_error.text);
    return true;
}

static void json_test_suite(void **state)
{
    (void)state;
    Error err;
    const char *shared = getenv("BASTIDE_SHARED");
    char archive[1024], command[1200], folder[] = "/tmp/bastide-jsuite-XXXXXX";
    snprintf(archive, sizeof archive, "%s/material/hostile/jsontestsuite_parsing.tar.xz",
             shared ? shared : "");
    if (!shared || !fs_exists(archive)) {
        print_message("SKIPPED: BASTIDE_SHARED has no jsontestsuite_parsing.tar.xz\n");
        skip();
    }
    assert_non_null(mkdtemp(folder));
    snprintf(command, sizeof command, "tar -xJf '%s' -C %s", archive, folder);
    assert_int_equal(system(command), 0);
    assert_ok(fs_list(folder, suite_file, folder, &err));
    assert_ok(fs_remove_tree(folder, &err));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(messages_name_line_and_column),
        cmocka_unit_test(limits_hold),
        cmocka_unit_test(values_print_as_they_read),
        cmocka_unit_test(members_are_checked),
        cmocka_unit_test(names_are_suggested),
        cmocka_unit_test(files_and_faults),
        cmocka_unit_test(json_test_suite),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
