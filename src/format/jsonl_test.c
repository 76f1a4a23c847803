#include "format/jsonl.h"

#include "base/mem.h"
#include "base/test.h"

#include <errno.h>
#include <stdio.h>
#include <unistd.h>

static void init(JsonlReader *reader, const char *text)
{
    jsonl_init(reader, text, strlen(text), "d.jsonl", 100);
}

static void lines_are_numbered_as_in_an_editor(void **state)
{
    (void)state;
    Error err;
    JsonlReader r;
    json_t *value = NULL;
    init(&r, "\xef\xbb\xbf{\"a\":1}\r\n\n  \t\r\n[2]\n{\"b\":}\n{\"c\":3}");
    assert_ok(jsonl_next(&r, &value, &err));
    assert_int_equal(r.line, 1);
    assert_int_equal(r.offset, 3);
    json_release(&value);
    assert_ok(jsonl_next(&r, &value, &err));
    assert_int_equal(r.line, 4);
    assert_true(json_is_array(value));
    json_release(&value);
    assert_fails(jsonl_next(&r, &value, &err), ERR_FORMAT, "d.jsonl:5:6: ");
    assert_false(r.cut);
    assert_ok(jsonl_next(&r, &value, &err)); /* a bad line does not end the reading */
    assert_int_equal(r.line, 6);
    assert_true(r.cut);
    json_release(&value);
    assert_ok(jsonl_next(&r, &value, &err));
    assert_null(value);
    assert_ok(jsonl_next(&r, &value, &err));
    assert_null(value);
}

static void bad_bytes_and_long_lines(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "\x80", "\xc0\x80", "\xc1\xbf", "\xc3", "\xe0\x9f\xbf", "\xed\xa0\x80", "\xe2\x82",
        "\xf0\x8f\xbf\xbf", "\xf4\x90\x80\x80", "\xf5\x80\x80\x80", "\xff", "\xf0\x9f\x98"};
    Error err;
    JsonlReader r;
    const char *text;
    size_t size;
    char line[128];
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        snprintf(line, sizeof line, "\"\xc3\xa9 twelve....%s\"", bad[i]);
        init(&r, line);
        assert_fails(jsonl_next_text(&r, &text, &size, &err), ERR_FORMAT,
                     "d.jsonl:1:14: not UTF-8");
    }
    init(&r, "\"\xc2\x80\xdf\xbf\xe0\xa0\x80\xed\x9f\xbf"
             "\xee\x80\x80\xf0\x90\x80\x80\xf4\x8f\xbf\xbf\"");
    assert_ok(jsonl_next_text(&r, &text, &size, &err));
    assert_int_equal(size, 23);
    memset(line, ' ', 101);
    memcpy(line + 100, "1\n2", 4);
    init(&r, line);
    assert_fails(jsonl_next_text(&r, &text, &size, &err), ERR_LIMIT, "line of 101 bytes");
    assert_ok(jsonl_next_text(&r, &text, &size, &err));
    assert_int_equal(r.line, 2);
    init(&r, "");
    assert_ok(jsonl_next_text(&r, &text, &size, &err));
    assert_null(text);
}

static void logs_append_and_heal(void **state)
{
    (void)state;
    Error err;
    char path[] = "/tmp/bastide-jsonl-XXXXXX";
    close(mkstemp(path));
    assert_ok(fs_write(path, "{\"step\":1}\n{\"st", 15, &err)); /* cut by a crash */
    FsLog log;
    auto_json json_t *event = json_pack("{s:i,s:f}", "step", 2, "loss", 0.1);
    assert_ok(jsonl_log_open(&log, path, &err));
    assert_ok(jsonl_log_append(&log, event, true, &err));
    fs_log_close(&log);
    auto_buf Buf text;
    buf_init(&text, 1000);
    assert_ok(fs_read(path, &text, &err));
    assert_string_equal(text.data, "{\"step\":1}\n{\"st\n{\"step\":2,\"loss\":0.1}\n");

    JsonlReader r;
    json_t *value = NULL;
    assert_ok(jsonl_open(&r, path, 1000, &err));
    assert_ok(jsonl_next(&r, &value, &err));
    json_release(&value);
    assert_fails(jsonl_next(&r, &value, &err), ERR_FORMAT, path);
    assert_ok(jsonl_next(&r, &value, &err));
    json_release(&value);
    jsonl_close(&r);
    for (int n = 0, done = 0; !done; n++) {
        fs_fail_after(n, ENOSPC);
        bool opened = jsonl_log_open(&log, path, &err);
        done = opened && jsonl_log_append(&log, event, true, &err);
        fs_fail_after(-1, 0);
        if (opened)
            fs_log_close(&log);
    }
    for (int n = 0, done = 0; !done; n++) {
        uint64_t before = mem_count();
        mem_fail_after(n);
        bool ok = jsonl_open(&r, path, 1000, &err) && jsonl_next(&r, &value, &err);
        done = mem_count() - before <= (uint64_t)n;
        mem_fail_after(-1);
        assert_int_equal(ok, done);
        json_release(&value);
        jsonl_close(&r);
    }
    remove(path);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lines_are_numbered_as_in_an_editor),
        cmocka_unit_test(bad_bytes_and_long_lines),
        cmocka_unit_test(logs_append_and_heal),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
