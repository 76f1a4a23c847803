/* The simulated crash itself: what survives is what was made durable, and nothing else. */
#include "base/test.h"
#include "base/test_crash.h"

#include <stdio.h>

static char folder[64], path[128], other[128], deep[160];

static int make_folder(void **state)
{
    (void)state;
    if (!crash_folder(folder))
        return -1;
    snprintf(path, sizeof path, "%s/file", folder);
    snprintf(other, sizeof other, "%s/other", folder);
    snprintf(deep, sizeof deep, "%s/a/b/c", folder);
    return 0;
}

static int drop_folder(void **state)
{
    (void)state;
    Error err;
    return fs_remove_tree(folder, &err) ? 0 : -1;
}

/* True: crashed; false: ended. Nothing else may have happened. */
static bool did_crash(int status)
{
    if (status != 0 && status != CRASH_STATUS)
        fail_test("the child exited with %d", status);
    return status == CRASH_STATUS;
}

static void must(bool done)
{
    if (!done)
        _exit(99);
}

/* What file holds, or "absent". */
static const char *content(const char *file)
{
    static char text[256];
    Error err;
    auto_buf Buf buf;
    buf_init(&buf, sizeof text - 1);
    if (!fs_read(file, &buf, &err)) {
        assert_int_equal(err.code, ERR_NOT_FOUND);
        return "absent";
    }
    memcpy(text, buf.data, buf.size + 1);
    return text;
}

static void replace(void *context)
{
    Error err;
    must(fs_write(context, "new", 3, &err));
}

/* The nine calls of a replacement: in each kind of crash the old content or the new one. */
static void replacement_is_old_or_new(void **state)
{
    (void)state;
    Error err;
    for (int how = FS_CRASH_KILL; how <= FS_CRASH_ALL; how++) {
        bool crashed = true;
        int old = 0, n = 0;
        for (; crashed; n++) {
            assert_ok(fs_write(path, "old", 3, &err));
            crashed = did_crash(crash_during(replace, path, n, (FsCrash)how, false));
            bool is_old = strcmp(content(path), "old") == 0;
            if (!is_old)
                assert_string_equal(content(path), "new");
            old += is_old;
        }
        assert_in_range(n, 6, 20);
        assert_true(old > 3);
        assert_true(old < n);
    }
}

static void rename_folder(void *context)
{
    (void)context;
    Error err;
    must(fs_make_dirs(deep, &err));
    must(fs_rename_dir(deep, other, &err));
}

static void durable_changes_survive(void **state)
{
    (void)state;
    Error err;
    assert_ok(fs_write(path, "old", 3, &err));
    assert_true(did_crash(crash_during(replace, path, 1000, FS_CRASH_ALL, true)));
    assert_string_equal(content(path), "new");
    assert_true(did_crash(crash_during(rename_folder, NULL, 1000, FS_CRASH_ALL, true)));
    assert_true(fs_is_dir(other));
    assert_false(fs_is_dir(deep));
    assert_ok(fs_remove_tree(other, &err));
}

static void append(void *context)
{
    Error err;
    FsLog log;
    must(fs_log_open(&log, context, &err));
    must(fs_log_append(&log, "synced\n", 7, true, &err));
    must(fs_log_append(&log, "lost\n", 5, false, &err));
    fs_log_close(&log);
}

static void appended_lines_need_a_sync(void **state)
{
    (void)state;
    Error err;
    assert_ok(fs_remove(path, &err));
    assert_true(did_crash(crash_during(append, path, 1000, FS_CRASH_KILL, true)));
    assert_string_equal(content(path), "synced\nlost\n");
    assert_true(did_crash(crash_during(append, path, 1000, FS_CRASH_CONTENTS, true)));
    assert_string_equal(content(path), "synced\nlost\nsynced\n");
    assert_ok(fs_remove(path, &err));
    assert_true(did_crash(crash_during(append, path, 1000, FS_CRASH_ALL, true)));
    assert_string_equal(content(path), "synced\n");
}

static void remove_and_make(void *context)
{
    Error err;
    must(fs_remove(path, &err));
    must(fs_write(path, "between", 7, &err)); /* its commit makes the removal durable too */
    must(fs_remove(path, &err));
    must(fs_remove_tree(context, &err));
}

static void removals_need_a_sync(void **state)
{
    (void)state;
    Error err;
    assert_ok(fs_write(path, "old", 3, &err));
    char inner[192], outer[128];
    snprintf(inner, sizeof inner, "%s/inner", deep);
    snprintf(outer, sizeof outer, "%s/a", folder);
    assert_ok(fs_make_dirs(deep, &err));
    assert_ok(fs_write(inner, "deep down", 9, &err));
    assert_true(did_crash(crash_during(remove_and_make, outer, 1000, FS_CRASH_ALL, true)));
    assert_string_equal(content(path), "between");
    assert_string_equal(content(inner), "deep down");
    assert_true(did_crash(crash_during(remove_and_make, outer, 1000, FS_CRASH_CONTENTS, true)));
    assert_string_equal(content(path), "absent");
    assert_false(fs_is_dir(deep));
}

static void make_deep(void *context)
{
    Error err;
    must(fs_make_dirs(context, &err));
}

/* Folders come and stay from the outermost in. */
static void folders_are_made_durable(void **state)
{
    (void)state;
    Error err;
    char outer[128];
    snprintf(outer, sizeof outer, "%s/a", folder);
    bool crashed = true;
    for (int n = 0; crashed; n++) {
        assert_ok(fs_remove_tree(outer, &err));
        crashed = did_crash(crash_during(make_deep, deep, n, FS_CRASH_ALL, true)) && n < 30;
    }
    assert_true(fs_is_dir(deep));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(replacement_is_old_or_new), cmocka_unit_test(durable_changes_survive),
        cmocka_unit_test(appended_lines_need_a_sync), cmocka_unit_test(removals_need_a_sync),
        cmocka_unit_test(folders_are_made_durable),
    };
    return cmocka_run_group_tests(tests, make_folder, drop_folder);
}
