#include "serve/keyring.h"

#include "base/fs.h"
#include "base/mem.h"
#include "base/test.h"

static char folder[] = "/tmp/bastide-keys-XXXXXX";

static int make_folder(void **state)
{
    (void)state;
    Error err;
    return mkdtemp(folder) && workspace_init(folder, &err) ? 0 : -1;
}

static int drop_folder(void **state)
{
    (void)state;
    Error err;
    return fs_remove_tree(folder, &err) ? 0 : -1;
}

static bool find(Keyring *ring, const char *key, char id[KEY_ID_ROOM])
{
    return keyring_find(ring, key, strlen(key), id);
}

static bool used(void *seen, const WorkspaceKey *key, Error *err)
{
    (void)err;
    *(int64_t *)seen = key->last_used;
    return true;
}

static void keys_come_and_go(void **state)
{
    (void)state;
    Error err;
    Workspace *ws, *other;
    Keyring *ring;
    char first[KEY_TEXT_ROOM], second[KEY_TEXT_ROOM], id[KEY_ID_ROOM], found[KEY_ID_ROOM];
    assert_ok(workspace_open(&ws, folder, &err));
    assert_ok(workspace_open(&other, folder, &err));
    assert_ok(workspace_key_add(ws, "a", first, id, &err));
    assert_ok(keyring_open(&ring, ws, &err));
    assert_true(find(ring, first, found));
    assert_string_equal(found, id);
    assert_false(find(ring, "", found));
    assert_false(find(ring, "bst_", found));
    for (size_t i = 0; i < strlen(first); i++) { /* one letter off is off */
        char wrong[KEY_TEXT_ROOM];
        memcpy(wrong, first, sizeof wrong);
        wrong[i] ^= 1;
        assert_false(find(ring, wrong, found));
    }
    assert_false(keyring_find(ring, first, strlen(first) - 1, found));

    assert_ok(workspace_key_add(other, "b", second, id, &err));
    assert_false(find(ring, second, found));
    assert_ok(keyring_refresh(ring, true, &err));
    assert_true(find(ring, second, found));
    assert_ok(workspace_key_revoke(other, id, &err));
    assert_ok(keyring_refresh(ring, false, &err));
    assert_false(find(ring, second, found));
    assert_true(find(ring, first, found));

    int64_t when = 0;
    assert_ok(workspace_key_add(other, "c", second, id, &err)); /* the last in order */
    assert_ok(keyring_refresh(ring, false, &err));
    assert_true(find(ring, second, found));
    assert_ok(keyring_refresh(ring, true, &err));
    assert_ok(workspace_keys(ws, used, &when, &err));
    assert_true(when > 0);
    keyring_close(ring);
    workspace_close(other);
    workspace_close(ws);
}

static void every_allocation_may_fail(void **state)
{
    (void)state;
    Error err;
    Workspace *ws;
    assert_ok(workspace_open(&ws, folder, &err));
    bool done = false;
    for (int n = 0; !done && n < 500; n++) {
        Keyring *ring = NULL;
        mem_fail_after(n);
        done = keyring_open(&ring, ws, &err);
        mem_fail_after(-1);
        assert_true(done || err.code == ERR_MEMORY);
        keyring_close(ring);
    }
    assert_true(done);
    workspace_close(ws);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(keys_come_and_go),
        cmocka_unit_test(every_allocation_may_fail),
    };
    return cmocka_run_group_tests(tests, make_folder, drop_folder);
}
