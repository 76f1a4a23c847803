#include "store/workspace.h"

#include "base/fs.h"
#include "base/mem.h"
#include "base/test.h"

#include <sqlite3.h>
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

static char folder[64];

static int make_folder(void **state)
{
    (void)state;
    snprintf(folder, sizeof folder, "/tmp/bastide-ws-XXXXXX");
    return mkdtemp(folder) ? 0 : -1;
}

static int drop_folder(void **state)
{
    (void)state;
    Error err;
    return fs_remove_tree(folder, &err) ? 0 : -1;
}

static Workspace *open_new(const char *name, char path[1024])
{
    Error err;
    Workspace *ws;
    assert_ok(fs_join(path, 1024, folder, name, &err));
    assert_ok(workspace_init(path, &err));
    assert_ok(workspace_open(&ws, path, &err));
    return ws;
}

/* ---- an operating system that fails: a VFS whose n-th read, write, sync or open fails ---- */

static int64_t io_countdown = -1;
static sqlite3_vfs shim, *real_vfs;

typedef struct {
    sqlite3_file base;
} ShimHead;

/* The real file stands behind its head. */
static sqlite3_file *real_file(sqlite3_file *file)
{
    return (sqlite3_file *)((char *)file + sizeof(ShimHead));
}

static bool io_fault(void)
{
    return io_countdown >= 0 && io_countdown-- == 0;
}

static int shim_read(sqlite3_file *file, void *bytes, int size, sqlite3_int64 at)
{
    return io_fault() ? SQLITE_IOERR_READ
                      : real_file(file)->pMethods->xRead(real_file(file), bytes, size, at);
}

static int shim_write(sqlite3_file *file, const void *bytes, int size, sqlite3_int64 at)
{
    return io_fault() ? SQLITE_FULL
                      : real_file(file)->pMethods->xWrite(real_file(file), bytes, size, at);
}

static int shim_sync(sqlite3_file *file, int flags)
{
    return io_fault() ? SQLITE_IOERR_FSYNC
                      : real_file(file)->pMethods->xSync(real_file(file), flags);
}

static int shim_close(sqlite3_file *f) { return real_file(f)->pMethods->xClose(real_file(f)); }
static int shim_truncate(sqlite3_file *f, sqlite3_int64 size)
{
    return real_file(f)->pMethods->xTruncate(real_file(f), size);
}
static int shim_size(sqlite3_file *f, sqlite3_int64 *size)
{
    return real_file(f)->pMethods->xFileSize(real_file(f), size);
}
static int shim_lock(sqlite3_file *f, int l) { return real_file(f)->pMethods->xLock(real_file(f), l); }
static int shim_unlock(sqlite3_file *f, int l)
{
    return real_file(f)->pMethods->xUnlock(real_file(f), l);
}
static int shim_reserved(sqlite3_file *f, int *out)
{
    return real_file(f)->pMethods->xCheckReservedLock(real_file(f), out);
}
static int shim_control(sqlite3_file *f, int op, void *arg)
{
    return real_file(f)->pMethods->xFileControl(real_file(f), op, arg);
}
static int shim_sector(sqlite3_file *f) { return real_file(f)->pMethods->xSectorSize(real_file(f)); }
static int shim_traits(sqlite3_file *f)
{
    return real_file(f)->pMethods->xDeviceCharacteristics(real_file(f));
}
static int shim_map(sqlite3_file *f, int page, int size, int extend, void volatile **out)
{
    return real_file(f)->pMethods->xShmMap(real_file(f), page, size, extend, out);
}
static int shim_shm_lock(sqlite3_file *f, int offset, int n, int flags)
{
    return real_file(f)->pMethods->xShmLock(real_file(f), offset, n, flags);
}
static void shim_barrier(sqlite3_file *f) { real_file(f)->pMethods->xShmBarrier(real_file(f)); }
static int shim_unmap(sqlite3_file *f, int drop)
{
    return real_file(f)->pMethods->xShmUnmap(real_file(f), drop);
}

static int shim_open(sqlite3_vfs *vfs, const char *name, sqlite3_file *file, int flags, int *out)
{
    (void)vfs;
    static const sqlite3_io_methods methods = {
        2, shim_close, shim_read, shim_write, shim_truncate, shim_sync, shim_size, shim_lock,
        shim_unlock, shim_reserved, shim_control, shim_sector, shim_traits, shim_map,
        shim_shm_lock, shim_barrier, shim_unmap, NULL, NULL};
    file->pMethods = NULL;
    if (io_fault())
        return SQLITE_CANTOPEN;
    int result = real_vfs->xOpen(real_vfs, name, real_file(file), flags, out);
    if (result == SQLITE_OK)
        file->pMethods = &methods;
    return result;
}

static void shim_install(bool on)
{
    if (!real_vfs) {
        real_vfs = sqlite3_vfs_find(NULL);
        shim = *real_vfs;
        shim.zName = "shim";
        shim.pNext = NULL;
        shim.szOsFile = real_vfs->szOsFile + (int)sizeof(ShimHead);
        shim.xOpen = shim_open;
    }
    if (on)
        sqlite3_vfs_register(&shim, 1);
    else
        sqlite3_vfs_register(real_vfs, 1);
}

/* ---- tests ---- */

static bool count_keys(void *count, const WorkspaceKey *key, Error *err)
{
    (void)err;
    assert_non_null(key->id);
    ++*(int *)count;
    return true;
}

typedef struct {
    char id[KEY_ID_ROOM];
    uint8_t hash[KEY_HASH_BYTES];
    int64_t revoked, last_used;
} Seen;

static bool last_key(void *seen, const WorkspaceKey *key, Error *err)
{
    (void)err;
    Seen *s = seen;
    snprintf(s->id, sizeof s->id, "%s", key->id);
    memcpy(s->hash, key->hash, sizeof s->hash);
    s->revoked = key->revoked;
    s->last_used = key->last_used;
    return true;
}

static void keys_are_stored_hashed_only(void **state)
{
    (void)state;
    Error err;
    char path[1024], key[KEY_TEXT_ROOM], id[KEY_ID_ROOM];
    Workspace *ws = open_new("keys", path);
    assert_ok(workspace_key_add(ws, "first", key, id, &err));
    assert_int_equal(strlen(key), 47);
    assert_int_equal(strncmp(key, "bst_", 4), 0);
    Seen seen;
    assert_ok(workspace_keys(ws, last_key, &seen, &err));
    uint8_t hash[KEY_HASH_BYTES];
    workspace_key_hash(key, strlen(key), hash);
    assert_memory_equal(hash, seen.hash, sizeof hash);
    assert_string_equal(seen.id, id);
    assert_int_equal(seen.revoked, 0);
    assert_ok(workspace_key_used(ws, id, 1234, &err));
    assert_ok(workspace_key_used(ws, id, 1000, &err)); /* never backwards */
    assert_ok(workspace_key_revoke(ws, id, &err));
    assert_ok(workspace_keys(ws, last_key, &seen, &err));
    assert_true(seen.revoked > 0);
    assert_int_equal(seen.last_used, 1234);
    assert_fails(workspace_key_revoke(ws, id, &err), ERR_NOT_FOUND, id);
    assert_fails(workspace_key_add(ws, "", key, id, &err), ERR_INPUT, "1 to 128");
    workspace_close(ws);
    /* The key itself is in no file of the workspace. */
    const char *const files[] = {"bastide.db", "bastide.db-wal"};
    for (int i = 0; i < 2; i++) {
        char file[1100];
        snprintf(file, sizeof file, "%s/%s", path, files[i]);
        auto_buf Buf buf;
        buf_init(&buf, 1 << 20);
        if (!fs_exists(file))
            continue;
        assert_ok(fs_read(file, &buf, &err));
        assert_null(memmem(buf.data, buf.size, key + 4, 43));
    }
}

static bool take_model(void *out, const WorkspaceModel *model, Error *err)
{
    (void)err;
    snprintf(out, 300, "%s %s %s %s", model->name, model->path, model->digest ? model->digest : "-",
             model->parent ? model->parent : "-");
    return true;
}

static bool take_run(void *out, const WorkspaceRun *run, Error *err)
{
    (void)err;
    snprintf(out, 300, "%s %s %s %d", run->name, run->state, run->model, (int)run->ended);
    return true;
}

static bool take_dataset(void *out, const WorkspaceDataset *dataset, Error *err)
{
    (void)err;
    snprintf(out, 300, "%s %d", dataset->name, (int)dataset->records);
    return true;
}

static void records_come_back(void **state)
{
    (void)state;
    Error err;
    char path[1024], text[300] = "";
    Workspace *ws = open_new("records", path);
    assert_ok(workspace_model_add(ws, &(WorkspaceModel){"base", "/m/base", "ab", NULL, 5}, &err));
    assert_ok(workspace_model_add(ws, &(WorkspaceModel){"tuned", "/m/tuned", NULL, "base"}, &err));
    assert_fails(workspace_model_add(ws, &(WorkspaceModel){"base", "x"}, &err), ERR_CONFLICT,
                 "'base' exists already");
    assert_fails(workspace_model_add(ws, &(WorkspaceModel){"../x", "x"}, &err), ERR_INPUT, "../x");
    assert_fails(workspace_model_add(ws, &(WorkspaceModel){"lost", "x", NULL, "none"}, &err),
                 ERR_CONFLICT, "parent");
    assert_ok(workspace_models(ws, "tuned", take_model, text, &err));
    assert_string_equal(text, "tuned /m/tuned - base");
    assert_fails(workspace_models(ws, "none", take_model, text, &err), ERR_NOT_FOUND, "'none'");
    assert_fails(workspace_model_remove(ws, "base", &err), ERR_CONFLICT, "parent");
    assert_ok(workspace_model_remove(ws, "tuned", &err));
    assert_ok(workspace_model_remove(ws, "base", &err));
    assert_ok(workspace_models(ws, NULL, take_model, text, &err));

    assert_ok(workspace_dataset_add(ws, &(WorkspaceDataset){"faq", "/d", "cd", 12}, &err));
    assert_ok(workspace_datasets(ws, "faq", take_dataset, text, &err));
    assert_string_equal(text, "faq 12");
    assert_ok(workspace_dataset_remove(ws, "faq", &err));

    assert_ok(workspace_run_add(ws, &(WorkspaceRun){"r1", "/r", "train", "base"}, &err));
    assert_ok(workspace_run_end(ws, "r1", "done", 77, &err));
    assert_ok(workspace_runs(ws, NULL, take_run, text, &err));
    assert_string_equal(text, "r1 done base 77");
    assert_fails(workspace_run_end(ws, "r2", "done", 0, &err), ERR_NOT_FOUND, "'r2'");
    workspace_close(ws);
}

static void wrong_folders_get_a_sentence(void **state)
{
    (void)state;
    Error err;
    char path[1024], file[1100];
    Workspace *ws = open_new("twice", path);
    workspace_close(ws);
    assert_fails(workspace_init(path, &err), ERR_CONFLICT, "workspace already");
    assert_fails(workspace_open(&ws, "/tmp/none-such", &err), ERR_NOT_FOUND, "bastide init");

    snprintf(file, sizeof file, "%s/bastide.db", path);
    assert_ok(fs_write(file, "this is no database, it is a letter to the reader", 49, &err));
    assert_fails(workspace_open(&ws, path, &err), ERR_FORMAT, "restore it from a backup");

    ws = open_new("newer", path);
    workspace_close(ws);
    sqlite3 *raw;
    snprintf(file, sizeof file, "%s/bastide.db", path);
    assert_int_equal(sqlite3_open(file, &raw), SQLITE_OK);
    assert_int_equal(sqlite3_exec(raw, "PRAGMA user_version = 99", NULL, NULL, NULL), SQLITE_OK);
    sqlite3_close(raw);
    assert_fails(workspace_open(&ws, path, &err), ERR_FORMAT, "version 99");
}

/* Every page in turn is overwritten: reading ends in a sentence or in the records, never worse. */
static void damage_is_survived(void **state)
{
    (void)state;
    Error err;
    char path[1024], file[1100], key[KEY_TEXT_ROOM], id[KEY_ID_ROOM];
    Workspace *ws = open_new("damage", path);
    for (int i = 0; i < 20; i++)
        assert_ok(workspace_key_add(ws, "k", key, id, &err));
    workspace_close(ws);
    snprintf(file, sizeof file, "%s/bastide.db", path);
    auto_buf Buf good;
    buf_init(&good, 1 << 22);
    assert_ok(fs_read(file, &good, &err));
    int refused = 0;
    for (size_t at = 0; at < good.size; at += 512) {
        auto_buf Buf bad;
        buf_init(&bad, 1 << 22);
        buf_add(&bad, good.data, good.size);
        assert_ok(buf_ok(&bad, "copy", &err));
        memset(bad.data + at, 0xa5, 512);
        assert_ok(fs_write(file, bad.data, bad.size, &err));
        int keys = 0;
        ws = NULL;
        bool ok = workspace_open(&ws, path, &err) && workspace_keys(ws, count_keys, &keys, &err);
        if (!ok)
            assert_true(err.text[0] && ++refused);
        workspace_close(ws);
    }
    assert_true(refused > 0);
}

static void one_process_serves(void **state)
{
    (void)state;
    Error err;
    char path[1024];
    Workspace *ws = open_new("lock", path);
    int ready[2], done[2];
    assert_int_equal(pipe(ready), 0);
    assert_int_equal(pipe(done), 0);
    pid_t child = fork();
    if (child == 0) {
        Workspace *own;
        char key[KEY_TEXT_ROOM], id[KEY_ID_ROOM], byte = 'n';
        if (workspace_open(&own, path, &err) && workspace_lock(own, &err) &&
            workspace_key_add(own, "child", key, id, &err))
            byte = 'y';
        (void)!write(ready[1], &byte, 1);
        (void)!read(done[0], &byte, 1);
        _exit(0);
    }
    int64_t before, after;
    char byte = 0, words[32];
    assert_ok(workspace_version(ws, &before, &err));
    assert_int_equal(read(ready[0], &byte, 1), 1);
    assert_int_equal(byte, 'y');
    assert_ok(workspace_version(ws, &after, &err));
    assert_true(before != after);
    int keys = 0;
    assert_ok(workspace_keys(ws, count_keys, &keys, &err));
    assert_int_equal(keys, 1);
    snprintf(words, sizeof words, "%d", (int)child);
    assert_fails(workspace_lock(ws, &err), ERR_CONFLICT, words);
    assert_int_equal(write(done[1], "x", 1), 1);
    assert_int_equal(waitpid(child, NULL, 0), child);
    assert_ok(workspace_lock(ws, &err)); /* the lock ended with its process */
    workspace_close(ws);
}

/* One life of a workspace; stops at the first failure. */
static bool life(const char *path, int *keys, Error *err)
{
    char key[KEY_TEXT_ROOM], id[KEY_ID_ROOM];
    Workspace *ws = NULL;
    bool ok = workspace_open(&ws, path, err) && workspace_key_add(ws, "k", key, id, err) &&
              workspace_key_used(ws, id, 9, err) &&
              workspace_model_add(ws, &(WorkspaceModel){id, "/m"}, err) &&
              workspace_keys(ws, count_keys, keys, err);
    workspace_close(ws);
    return ok;
}

static void every_allocation_may_fail(void **state)
{
    (void)state;
    Error err;
    char path[1024];
    workspace_close(open_new("memory", path));
    bool done = false;
    int failures = 0;
    for (int n = 0; !done && n < 5000; n += 1 + n / 50) {
        int keys = 0;
        err = (Error){0};
        mem_fail_after(n);
        done = life(path, &keys, &err);
        mem_fail_after(-1);
        failures += !done;
        if (!done && (err.code != ERR_MEMORY || !err.text[0]))
            fail_test("allocation %d: code %d \"%s\"", n, (int)err.code, err.text);
    }
    assert_true(done && failures > 20);
}

static void every_disk_access_may_fail(void **state)
{
    (void)state;
    Error err;
    char path[1024];
    workspace_close(open_new("disk", path));
    shim_install(true);
    bool done = false;
    int failures = 0;
    for (int n = 0; !done && n < 1000; n++) {
        int keys = 0;
        err = (Error){0};
        io_countdown = n;
        done = life(path, &keys, &err);
        bool hit = io_countdown < 0;
        io_countdown = -1;
        failures += !done;
        if (!done && (!err.code || !strstr(err.text, "bastide.db")))
            fail_test("access %d: code %d \"%s\"", n, (int)err.code, err.text);
        done = done && !hit; /* a failing read of a hint may pass unnoticed */
        keys = 0;
        assert_ok(life(path, &keys, &err)); /* the next life is whole again */
    }
    shim_install(false);
    assert_true(done && failures > 5);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(keys_are_stored_hashed_only),
        cmocka_unit_test(records_come_back),
        cmocka_unit_test(wrong_folders_get_a_sentence),
        cmocka_unit_test(damage_is_survived),
        cmocka_unit_test(one_process_serves),
        cmocka_unit_test(every_allocation_may_fail),
        cmocka_unit_test(every_disk_access_may_fail),
    };
    return cmocka_run_group_tests(tests, make_folder, drop_folder);
}
