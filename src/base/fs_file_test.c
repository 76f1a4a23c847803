#include "base/test.h"

#include "base/fs.h"
#include "base/fs_file.h"

#include <errno.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

static char folder[64], path[96];

static int make_folder(void **state)
{
    (void)state;
    snprintf(folder, sizeof folder, "/tmp/fs_file_test_XXXXXX");
    if (!mkdtemp(folder))
        return -1;
    snprintf(path, sizeof path, "%s/file", folder);
    return 0;
}

static int remove_folder(void **state)
{
    (void)state;
    Error err;
    return fs_remove_tree(folder, &err) ? 0 : -1;
}

static void positions_are_read(void **state)
{
    (void)state;
    Error err;
    FsFile file;
    char got[5] = "";
    assert_ok(fs_write(path, "0123456789", 10, &err));
    assert_ok(fs_file_open(&file, path, &err));
    assert_int_equal(file.size, 10);
    assert_ok(fs_file_read(&file, 6, got, 4, &err));
    assert_string_equal(got, "6789");
    assert_ok(fs_file_read(&file, 10, got, 0, &err));
    assert_fails(fs_file_read(&file, 7, got, 4, &err), ERR_FORMAT, "is cut: 1 more bytes");
    fs_file_close(&file);
    fs_file_close(&file);
}

/* What kills the reader of a map: the file loses its end between opening and reading. */
static void a_file_cut_while_open_is_an_error(void **state)
{
    (void)state;
    Error err;
    FsFile file;
    char got[10];
    assert_ok(fs_write(path, "0123456789", 10, &err));
    assert_ok(fs_file_open(&file, path, &err));
    assert_int_equal(truncate(path, 3), 0);
    assert_ok(fs_file_read(&file, 0, got, 3, &err));
    assert_fails(fs_file_read(&file, 0, got, 10, &err), ERR_FORMAT, "is cut");
    fs_file_close(&file);
}

static void what_is_no_file_is_refused(void **state)
{
    (void)state;
    Error err;
    FsFile file;
    char pipe_path[110];
    snprintf(pipe_path, sizeof pipe_path, "%s-pipe", path);
    assert_int_equal(mkfifo(pipe_path, 0600), 0);
    assert_fails(fs_file_open(&file, pipe_path, &err), ERR_INPUT, "not a regular file");
    assert_fails(fs_file_open(&file, folder, &err), ERR_INPUT, "not a regular file");
    assert_fails(fs_file_open(&file, "/nonexistent/x", &err), ERR_NOT_FOUND, "/nonexistent/x");
}

static void failing_calls_are_errors(void **state)
{
    (void)state;
    Error err;
    FsFile file;
    char got[10];
    assert_ok(fs_write(path, "0123456789", 10, &err));
    for (int n = 0, done = 0; !done; n++) {
        fs_fail_after(n, EIO);
        done = fs_file_open(&file, path, &err);
        if (done) {
            done = fs_file_read(&file, 0, got, 10, &err);
            fs_file_close(&file);
        }
        fs_fail_after(-1, 0);
        assert_true(done || err.code == ERR_IO);
        assert_true(n < 5);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(positions_are_read),
        cmocka_unit_test(a_file_cut_while_open_is_an_error),
        cmocka_unit_test(what_is_no_file_is_refused),
        cmocka_unit_test(failing_calls_are_errors),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
