/* workspace.c: see workspace.h. */
#include "store/workspace.h"

#include "base/clock.h"
#include "base/fs.h"
#include "base/mem.h"
#include "store/database.h"

#include <sodium.h>
#include <stdio.h>
#include <string.h>

struct Workspace {
    Database db;
    FsLock lock;
    char folder[1024];
};

static const char *const migration_sql[] = {
    "CREATE TABLE migrations(version INTEGER PRIMARY KEY, applied INTEGER NOT NULL) STRICT;"
    "CREATE TABLE models(name TEXT NOT NULL UNIQUE, path TEXT NOT NULL, digest TEXT,"
    "  created INTEGER NOT NULL, parent TEXT REFERENCES models(name)) STRICT;"
    "CREATE TABLE datasets(name TEXT NOT NULL UNIQUE, path TEXT NOT NULL, digest TEXT,"
    "  records INTEGER NOT NULL, created INTEGER NOT NULL) STRICT;"
    "CREATE TABLE runs(name TEXT NOT NULL UNIQUE, path TEXT NOT NULL, kind TEXT,"
    "  model TEXT, dataset TEXT, state TEXT NOT NULL, created INTEGER NOT NULL,"
    "  ended INTEGER NOT NULL) STRICT;"
    "CREATE TABLE api_keys(id TEXT NOT NULL UNIQUE, name TEXT NOT NULL, hash BLOB NOT NULL UNIQUE,"
    "  created INTEGER NOT NULL, revoked INTEGER NOT NULL, last_used INTEGER NOT NULL) STRICT;",
};

static const Migrations migrations = {migration_sql, sizeof migration_sql / sizeof *migration_sql};

static const char *const folders[] = {"keys", "models", "datasets", "runs"};

/* ---- the folder ---- */

bool workspace_init(const char *folder, Error *err)
{
    char path[1024];
    if (!fs_join(path, sizeof path, folder, "bastide.db", err))
        return false;
    /* An empty database file is what an interrupted init leaves behind: it may be taken up. */
    if (fs_size(path) > 0)
        return fail(err, ERR_CONFLICT, "'%s' is a workspace already", folder);
    char part[1024];
    for (size_t i = 0; i < sizeof folders / sizeof *folders; i++)
        if (!fs_join(part, sizeof part, folder, folders[i], err) || !fs_make_dirs(part, err))
            return false;
    /* Made here, since SQLite would make it readable for others. */
    Database db;
    if (!fs_write(path, "", 0, err) || !database_open(&db, path, true, &migrations, err))
        return false;
    database_close(&db);
    return true;
}

bool workspace_open(Workspace **out, const char *folder, Error *err)
{
    char path[1024];
    if (!fs_join(path, sizeof path, folder, "bastide.db", err))
        return false;
    if (!fs_exists(path))
        return fail(err, ERR_NOT_FOUND, "'%s' is no workspace: make one with 'bastide init'",
                    folder);
    if (sodium_init() < 0)
        return fail(err, ERR_INTERNAL, "libsodium does not start");
    Workspace *ws = mem_alloc(1, sizeof *ws);
    if (!ws)
        return fail(err, ERR_MEMORY, "no memory to open workspace '%s'", folder);
    ws->lock.fd = -1;
    snprintf(ws->folder, sizeof ws->folder, "%s", folder);
    if (!database_open(&ws->db, path, false, &migrations, err)) {
        mem_free(ws);
        return false;
    }
    *out = ws;
    return true;
}

void workspace_close(Workspace *ws)
{
    if (!ws)
        return;
    database_close(&ws->db);
    fs_unlock(&ws->lock);
    mem_free(ws);
}

const char *workspace_folder(const Workspace *ws)
{
    return ws->folder;
}

bool workspace_lock(Workspace *ws, Error *err)
{
    char path[1056];
    return fs_join(path, sizeof path, ws->folder, "up.lock", err) &&
           (fs_lock(path, &ws->lock, err) ||
            fail_within(err, "workspace '%s' is being served", ws->folder));
}

bool workspace_version(Workspace *ws, int64_t *out, Error *err)
{
    auto_statement sqlite3_stmt *statement = NULL;
    bool row = false;
    if (!database_prepare(&ws->db, &statement, err, "PRAGMA data_version", "") ||
        !database_step(&ws->db, statement, &row, err))
        return false;
    *out = row ? sqlite3_column_int64(statement, 0) : 0;
    return true;
}

/* ---- names ---- */

/* Names appear in paths, URLs and logs: letters, digits and . _ - : / +, not starting with '.'
 * or '/'; no "..". */
static bool check_name(const char *what, const char *name, Error *err)
{
    size_t size = name ? strlen(name) : 0;
    if (size == 0 || size > WORKSPACE_NAME_MAX)
        return fail(err, ERR_INPUT, "the name of a %s has 1 to %d bytes, not %zu", what,
                    WORKSPACE_NAME_MAX, size);
    static const char allowed[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
                                  "._-:/+";
    if (name[strspn(name, allowed)] || *name == '.' || *name == '/' || strstr(name, ".."))
        return fail(err, ERR_INPUT,
                    "%s name '%s' may hold letters, digits and . _ - : / + and start with a "
                    "letter or digit",
                    what, name);
    return true;
}

/* A name that exists already deserves a better sentence than the database's. */
static bool conflict(Error *err, const char *what, const char *name)
{
    if (err->code == ERR_CONFLICT && strstr(err->text, "exists already"))
        return fail(err, ERR_CONFLICT, "%s '%s' exists already, or names a parent that does not",
                    what, name);
    return false;
}

static bool changed_one(int changed, const char *what, const char *name, Error *err)
{
    return changed == 1 || fail(err, ERR_NOT_FOUND, "there is no %s '%s'", what, name);
}

static int64_t time_or_now(int64_t when)
{
    return when ? when : clock_unix();
}

/* ---- API keys ---- */

void workspace_key_hash(const char *key, size_t size, uint8_t hash[KEY_HASH_BYTES])
{
    crypto_hash_sha256(hash, (const uint8_t *)key, size);
}

bool workspace_key_add(Workspace *ws, const char *name, char key[KEY_TEXT_ROOM],
                       char id[KEY_ID_ROOM], Error *err)
{
    size_t length = name ? strlen(name) : 0;
    if (length == 0 || length > WORKSPACE_NAME_MAX)
        return fail(err, ERR_INPUT, "the name of a key has 1 to %d bytes, not %zu",
                    WORKSPACE_NAME_MAX, length);
    uint8_t secret[32], hash[KEY_HASH_BYTES], tag[6];
    char text[KEY_TEXT_ROOM] = "bst_", made_id[KEY_ID_ROOM] = "key_";
    randombytes_buf(secret, sizeof secret);
    randombytes_buf(tag, sizeof tag);
    sodium_bin2base64(text + 4, sizeof text - 4, secret, sizeof secret,
                      sodium_base64_VARIANT_URLSAFE_NO_PADDING);
    sodium_bin2hex(made_id + 4, sizeof made_id - 4, tag, sizeof tag);
    workspace_key_hash(text, strlen(text), hash);
    bool ok = database_run(&ws->db, NULL, err,
                           "INSERT INTO api_keys(id, name, hash, created, revoked, last_used)"
                           " VALUES(?, ?, ?, ?, 0, 0)",
                           "ttbi", made_id, name, hash, clock_unix());
    if (ok) {
        memcpy(key, text, sizeof text);
        memcpy(id, made_id, sizeof made_id);
    }
    sodium_memzero(secret, sizeof secret);
    sodium_memzero(text, sizeof text);
    return ok;
}

bool workspace_key_revoke(Workspace *ws, const char *id, Error *err)
{
    int changed;
    return database_run(&ws->db, &changed, err,
                        "UPDATE api_keys SET revoked = ? WHERE id = ? AND revoked = 0", "it",
                        clock_unix(), id) &&
           changed_one(changed, "valid key", id, err);
}

bool workspace_key_used(Workspace *ws, const char *id, int64_t when, Error *err)
{
    int changed;
    return database_run(&ws->db, &changed, err,
                        "UPDATE api_keys SET last_used = max(last_used, ?) WHERE id = ?", "it",
                        when, id) &&
           changed_one(changed, "key", id, err);
}

bool workspace_keys(Workspace *ws, bool (*each)(void *, const WorkspaceKey *, Error *), void *user,
                    Error *err)
{
    auto_statement sqlite3_stmt *rows = NULL;
    if (!database_prepare(&ws->db, &rows, err,
                          "SELECT id, name, hash, created, revoked, last_used FROM api_keys"
                          " ORDER BY rowid",
                          ""))
        return false;
    for (bool row;;) {
        if (!database_step(&ws->db, rows, &row, err))
            return false;
        if (!row)
            return true;
        WorkspaceKey key = {
            .id = (const char *)sqlite3_column_text(rows, 0),
            .name = (const char *)sqlite3_column_text(rows, 1),
            .hash = sqlite3_column_blob(rows, 2),
            .created = sqlite3_column_int64(rows, 3),
            .revoked = sqlite3_column_int64(rows, 4),
            .last_used = sqlite3_column_int64(rows, 5),
        };
        if (!key.id || !key.name || !key.hash)
            return fail(err, ERR_MEMORY, "no memory to read the keys");
        if (sqlite3_column_bytes(rows, 2) != KEY_HASH_BYTES)
            return fail(err, ERR_FORMAT, "database '%s': key '%s' has a hash of %d bytes",
                        ws->db.path, key.id, sqlite3_column_bytes(rows, 2));
        if (!each(user, &key, err))
            return false;
    }
}

/* ---- models ---- */

bool workspace_model_add(Workspace *ws, const WorkspaceModel *model, Error *err)
{
    return check_name("model", model->name, err) &&
           (database_run(&ws->db, NULL, err,
                         "INSERT INTO models(name, path, digest, parent, created)"
                         " VALUES(?, ?, ?, ?, ?)",
                         "tttti", model->name, model->path, model->digest, model->parent,
                         time_or_now(model->created)) ||
            conflict(err, "model", model->name));
}

bool workspace_model_remove(Workspace *ws, const char *name, Error *err)
{
    int changed;
    if (!database_run(&ws->db, &changed, err, "DELETE FROM models WHERE name = ?", "t", name))
        return err->code == ERR_CONFLICT && strstr(err->text, "record")
                   ? fail(err, ERR_CONFLICT, "model '%s' is the parent of another: remove that "
                          "first", name)
                   : false;
    return changed_one(changed, "model", name, err);
}

static const char *text_at(sqlite3_stmt *rows, int column)
{
    return (const char *)sqlite3_column_text(rows, column);
}

static bool visit_model(sqlite3_stmt *rows, void *each, void *user, Error *err)
{
    WorkspaceModel model = {.name = text_at(rows, 0), .path = text_at(rows, 1),
                            .digest = text_at(rows, 2), .parent = text_at(rows, 3),
                            .created = sqlite3_column_int64(rows, 4)};
    if (!model.name || !model.path)
        return fail(err, ERR_MEMORY, "no memory to read the models");
    return (*(bool (**)(void *, const WorkspaceModel *, Error *))each)(user, &model, err);
}

/* Walks rows; `each` points to the visitor's function pointer, whose type `visit` knows. */
static bool walk(Workspace *ws, const char *what, const char *name, const char *sql,
                 bool (*visit)(sqlite3_stmt *, void *, void *, Error *), void *each, void *user,
                 Error *err)
{
    auto_statement sqlite3_stmt *rows = NULL;
    if (!database_prepare(&ws->db, &rows, err, sql, "t", name))
        return false;
    bool row = true;
    int64_t seen = 0;
    while (row) {
        if (!database_step(&ws->db, rows, &row, err) || (row && !visit(rows, each, user, err)))
            return false;
        seen += row;
    }
    if (name && !seen)
        return fail(err, ERR_NOT_FOUND, "there is no %s '%s'", what, name);
    return true;
}

bool workspace_models(Workspace *ws, const char *name,
                      bool (*each)(void *, const WorkspaceModel *, Error *), void *user, Error *err)
{
    return walk(ws, "model", name,
                "SELECT name, path, digest, parent, created FROM models"
                " WHERE ?1 IS NULL OR name = ?1 ORDER BY rowid",
                visit_model, &each, user, err);
}

/* ---- datasets ---- */

bool workspace_dataset_add(Workspace *ws, const WorkspaceDataset *dataset, Error *err)
{
    return check_name("dataset", dataset->name, err) &&
           (database_run(&ws->db, NULL, err,
                         "INSERT INTO datasets(name, path, digest, records, created)"
                         " VALUES(?, ?, ?, ?, ?)",
                         "tttii", dataset->name, dataset->path, dataset->digest, dataset->records,
                         time_or_now(dataset->created)) ||
            conflict(err, "dataset", dataset->name));
}

bool workspace_dataset_remove(Workspace *ws, const char *name, Error *err)
{
    int changed;
    return database_run(&ws->db, &changed, err, "DELETE FROM datasets WHERE name = ?", "t", name) &&
           changed_one(changed, "dataset", name, err);
}

static bool visit_dataset(sqlite3_stmt *rows, void *each, void *user, Error *err)
{
    WorkspaceDataset dataset = {.name = text_at(rows, 0), .path = text_at(rows, 1),
                                .digest = text_at(rows, 2),
                                .records = sqlite3_column_int64(rows, 3),
                                .created = sqlite3_column_int64(rows, 4)};
    if (!dataset.name || !dataset.path)
        return fail(err, ERR_MEMORY, "no memory to read the datasets");
    return (*(bool (**)(void *, const WorkspaceDataset *, Error *))each)(user, &dataset, err);
}

bool workspace_datasets(Workspace *ws, const char *name,
                        bool (*each)(void *, const WorkspaceDataset *, Error *), void *user,
                        Error *err)
{
    return walk(ws, "dataset", name,
                "SELECT name, path, digest, records, created FROM datasets"
                " WHERE ?1 IS NULL OR name = ?1 ORDER BY rowid",
                visit_dataset, &each, user, err);
}

/* ---- runs ---- */

bool workspace_run_add(Workspace *ws, const WorkspaceRun *run, Error *err)
{
    return check_name("run", run->name, err) &&
           (database_run(&ws->db, NULL, err,
                         "INSERT INTO runs(name, path, kind, model, dataset, state, created, ended)"
                         " VALUES(?, ?, ?, ?, ?, ?, ?, ?)",
                         "ttttttii", run->name, run->path, run->kind, run->model, run->dataset,
                         run->state ? run->state : "running", time_or_now(run->created),
                         run->ended) ||
            conflict(err, "run", run->name));
}

bool workspace_run_end(Workspace *ws, const char *name, const char *state, int64_t ended,
                       Error *err)
{
    int changed;
    return database_run(&ws->db, &changed, err,
                        "UPDATE runs SET state = ?, ended = ? WHERE name = ?", "tit", state,
                        time_or_now(ended), name) &&
           changed_one(changed, "run", name, err);
}

static bool visit_run(sqlite3_stmt *rows, void *each, void *user, Error *err)
{
    WorkspaceRun run = {.name = text_at(rows, 0), .path = text_at(rows, 1),
                        .kind = text_at(rows, 2), .model = text_at(rows, 3),
                        .dataset = text_at(rows, 4), .state = text_at(rows, 5),
                        .created = sqlite3_column_int64(rows, 6),
                        .ended = sqlite3_column_int64(rows, 7)};
    if (!run.name || !run.path || !run.state)
        return fail(err, ERR_MEMORY, "no memory to read the runs");
    return (*(bool (**)(void *, const WorkspaceRun *, Error *))each)(user, &run, err);
}

bool workspace_runs(Workspace *ws, const char *name,
                    bool (*each)(void *, const WorkspaceRun *, Error *), void *user, Error *err)
{
    return walk(ws, "run", name,
                "SELECT name, path, kind, model, dataset, state, created, ended FROM runs"
                " WHERE ?1 IS NULL OR name = ?1 ORDER BY rowid",
                visit_run, &each, user, err);
}
