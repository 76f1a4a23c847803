#include "base/fs.h"
#include "base/test.h"

#include <errno.h>
#include <stdio.h>
#include <unistd.h>

static char folder[64];

static int make_folder(void **state)
{
    (void)state;
    snprintf(folder, sizeof folder, "/tmp/bastide-fs-XXXXXX");
    return mkdtemp(folder) ? 0 : -1;
}

static int drop_folder(void **state)
{
    (void)state;
    Error err;
    return fs_remove_tree(folder, &err) ? 0 : -1;
}

static void in_folder(char *out, const char *name)
{
    Error err;
    assert_ok(fs_join(out, 1024, folder, name, &err));
}

static void write_then_read(void **state)
{
    (void)state;
    Error err;
    char path[1024];
    in_folder(path, "a");
    assert_ok(fs_write(path, "hello", 5, &err));
    assert_ok(fs_write(path, "hello world", 11, &err));
    auto_buf Buf buf;
    buf_init(&buf, 11);
    assert_ok(fs_read(path, &buf, &err));
    assert_string_equal(buf.data, "hello world");
    auto_buf Buf small;
    buf_init(&small, 10);
    assert_fails(fs_read(path, &small, &err), ERR_LIMIT, "larger than 10");
    in_folder(path, "absent");
    assert_fails(fs_read(path, &small, &err), ERR_NOT_FOUND, "absent");
}

/* Fails every system call of a replacement in turn: the old content stays until the new one is
 * whole, and no temporary is left behind. */
static void replacement_survives_every_fault(void **state)
{
    (void)state;
    Error err;
    char path[1024];
    in_folder(path, "atomic");
    assert_ok(fs_write(path, "old", 3, &err));
    bool done = false;
    for (int n = 0; !done && n < 100; n++) {
        fs_fail_after(n, ENOSPC);
        done = fs_write(path, "new!", 4, &err);
        fs_fail_after(-1, 0);
        auto_buf Buf buf;
        buf_init(&buf, 100);
        Error read_error;
        assert_true(fs_read(path, &buf, &read_error));
        if (strcmp(buf.data, "old") != 0)
            assert_string_equal(buf.data, "new!");
        char temporary[1100];
        snprintf(temporary, sizeof temporary, "%s.tmp-%ld", path, (long)getpid());
        assert_false(fs_exists(temporary));
        if (!done)
            assert_non_null(strstr(err.text, "No space left"));
        if (!done && strcmp(buf.data, "new!") == 0)
            assert_ok(fs_write(path, "old", 3, &err)); /* only the folder sync had failed */
    }
    assert_true(done);
}

static void lock_names_its_holder(void **state)
{
    (void)state;
    Error err;
    char path[1024], holder[64];
    in_folder(path, "lock");
    FsLock lock, second;
    assert_ok(fs_lock(path, &lock, &err));
    snprintf(holder, sizeof holder, "process %ld", (long)getpid());
    assert_fails(fs_lock(path, &second, &err), ERR_CONFLICT, holder);
    fs_unlock(&lock);
    assert_ok(fs_lock(path, &second, &err));
    fs_unlock(&second);
}

static void maps_empty_and_full(void **state)
{
    (void)state;
    Error err;
    char path[1024];
    in_folder(path, "map");
    FsMap map;
    assert_ok(fs_write(path, "", 0, &err));
    assert_ok(fs_map(path, &map, &err));
    assert_int_equal(map.size, 0);
    fs_unmap(&map);
    assert_ok(fs_write(path, "abc", 3, &err));
    assert_ok(fs_map(path, &map, &err));
    assert_memory_equal(map.data, "abc", 3);
    fs_unmap(&map);
    assert_fails(fs_map(folder, &map, &err), ERR_INPUT, "not a regular file");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(write_then_read),
        cmocka_unit_test(replacement_survives_every_fault),
        cmocka_unit_test(lock_names_its_holder),
        cmocka_unit_test(maps_empty_and_full),
    };
    return cmocka_run_group_tests(tests, make_folder, drop_folder);
}
