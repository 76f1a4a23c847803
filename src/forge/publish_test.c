/* Which workspace a model folder belongs to; signing is tested with a whole job, train_job_test.c. */
#include "forge/publish.h"

#include "base/fs.h"
#include "base/test.h"

#include <stdio.h>

static void test_a_workspace_is_found(void **state)
{
    (void)state;
    Error err;
    char folder[] = "/tmp/bastide-publish-XXXXXX", path[256], found[1024];
    assert_non_null(mkdtemp(folder));
    snprintf(path, sizeof path, "%s/models/a", folder);
    assert_false(publish_workspace_of(path, found));
    assert_false(publish_workspace_of("a", found));
    assert_false(publish_workspace_of("/", found));
    assert_false(publish_workspace_of("models/a", found));
    snprintf(path, sizeof path, "%s/bastide.db", folder);
    assert_ok(fs_write(path, "", 0, &err));
    snprintf(path, sizeof path, "%s/models/a", folder);
    assert_true(publish_workspace_of(path, found));
    assert_string_equal(found, folder);
    snprintf(path, sizeof path, "%s/xmodels/a", folder);
    assert_false(publish_workspace_of(path, found));
    assert_ok(fs_remove_tree(folder, &err));
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_a_workspace_is_found)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
