/* database.c: see database.h. */
#include "store/database.h"

#include "base/clock.h"
#include "base/mem.h"

#include <malloc.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

enum { BUSY_MS = 5000, HASH_BYTES = 32 };

/* ---- SQLite's allocator, on base/mem.h ---- */

static void *sqlite_malloc(int size)
{
    return mem_alloc((size_t)size, 1);
}

static void *sqlite_realloc(void *block, int size)
{
    return mem_resize(block, (size_t)size, 1);
}

static int sqlite_size(void *block)
{
    return block ? (int)malloc_usable_size(block) : 0;
}

static int sqlite_roundup(int size)
{
    return (size + 7) & ~7;
}

static int sqlite_memory_init(void *unused)
{
    (void)unused;
    return SQLITE_OK;
}

static void sqlite_memory_end(void *unused)
{
    (void)unused;
}

static void configure(void)
{
    static const sqlite3_mem_methods methods = {
        .xMalloc = sqlite_malloc,
        .xFree = mem_free,
        .xRealloc = sqlite_realloc,
        .xSize = sqlite_size,
        .xRoundup = sqlite_roundup,
        .xInit = sqlite_memory_init,
        .xShutdown = sqlite_memory_end,
    };
    /* Refused only when SQLite is in use already; it then keeps the allocator it has. */
    (void)sqlite3_config(SQLITE_CONFIG_MALLOC, &methods);
}

/* ---- errors ---- */

typedef struct {
    int code; /* primary SQLite result */
    ErrCode error;
    const char *advice;
} ResultRow;

static const ResultRow result_rows[] = {
    {SQLITE_NOTADB, ERR_FORMAT, "it is damaged or no database; restore it from a backup"},
    {SQLITE_CORRUPT, ERR_FORMAT, "it is damaged; restore it from a backup"},
    {SQLITE_BUSY, ERR_CONFLICT, "another process is writing to it; try again"},
    {SQLITE_LOCKED, ERR_CONFLICT, "another process is writing to it; try again"},
    {SQLITE_NOMEM, ERR_MEMORY, "no memory"},
    {SQLITE_FULL, ERR_IO, "the disk is full"},
    {SQLITE_CANTOPEN, ERR_IO, "it cannot be opened"},
    {SQLITE_READONLY, ERR_DENIED, "it is read-only for this user"},
    {SQLITE_PERM, ERR_DENIED, "this user may not open it"},
    {SQLITE_AUTH, ERR_DENIED, "this user may not open it"},
    {SQLITE_CONSTRAINT, ERR_CONFLICT, "the record exists already or names one that does not"},
    {SQLITE_IOERR, ERR_IO, "reading or writing it failed"},
};

static bool fail_result(const Database *db, int result, Error *err)
{
    int primary = result & 0xff;
    for (size_t i = 0; i < sizeof result_rows / sizeof *result_rows; i++)
        if (result_rows[i].code == primary)
            return fail(err, result_rows[i].error, "database '%s': %s", db->path,
                        result_rows[i].advice);
    return fail(err, ERR_INTERNAL, "database '%s': %s", db->path,
                db->handle ? sqlite3_errmsg(db->handle) : sqlite3_errstr(result));
}

/* ---- statements ---- */

static int bind_values(sqlite3_stmt *statement, const char *types, va_list values)
{
    int result = SQLITE_OK;
    for (int i = 1; *types && result == SQLITE_OK; types++, i++) {
        if (*types == 't') {
            const char *text = va_arg(values, const char *);
            result = text ? sqlite3_bind_text(statement, i, text, -1, SQLITE_TRANSIENT)
                          : sqlite3_bind_null(statement, i);
        } else if (*types == 'b') {
            result = sqlite3_bind_blob(statement, i, va_arg(values, const uint8_t *), HASH_BYTES,
                                       SQLITE_TRANSIENT);
        } else {
            result = sqlite3_bind_int64(statement, i, va_arg(values, int64_t));
        }
    }
    return result;
}

static bool prepare_values(Database *db, sqlite3_stmt **out, Error *err, const char *sql,
                           const char *types, va_list values)
{
    sqlite3_stmt *statement = NULL;
    int result = sqlite3_prepare_v2(db->handle, sql, -1, &statement, NULL);
    if (result == SQLITE_OK)
        result = bind_values(statement, types, values);
    if (result != SQLITE_OK) {
        fail_result(db, result, err);
        sqlite3_finalize(statement);
        return false;
    }
    *out = statement;
    return true;
}

bool database_prepare(Database *db, sqlite3_stmt **out, Error *err, const char *sql,
                      const char *types, ...)
{
    va_list values;
    va_start(values, types);
    bool ok = prepare_values(db, out, err, sql, types, values);
    va_end(values);
    return ok;
}

bool database_step(Database *db, sqlite3_stmt *statement, bool *row, Error *err)
{
    int result = sqlite3_step(statement);
    if (result != SQLITE_ROW && result != SQLITE_DONE)
        return fail_result(db, result, err);
    *row = result == SQLITE_ROW;
    return true;
}

bool database_run(Database *db, int *changed, Error *err, const char *sql, const char *types, ...)
{
    auto_statement sqlite3_stmt *statement = NULL;
    va_list values;
    va_start(values, types);
    bool ok = prepare_values(db, &statement, err, sql, types, values);
    va_end(values);
    bool row = true;
    while (ok && row)
        ok = database_step(db, statement, &row, err);
    if (ok && changed)
        *changed = sqlite3_changes(db->handle);
    return ok;
}

void database_finish(sqlite3_stmt **statement)
{
    sqlite3_finalize(*statement);
    *statement = NULL;
}

/* ---- opening ---- */

static bool read_version(Database *db, int64_t *out, Error *err)
{
    auto_statement sqlite3_stmt *statement = NULL;
    bool row = false;
    if (!database_prepare(db, &statement, err, "PRAGMA user_version", "") ||
        !database_step(db, statement, &row, err))
        return false;
    *out = row ? sqlite3_column_int64(statement, 0) : 0;
    return true;
}

static bool run_script(Database *db, const char *sql, Error *err)
{
    int result = sqlite3_exec(db->handle, sql, NULL, NULL, NULL);
    return result == SQLITE_OK || fail_result(db, result, err);
}

static bool apply(Database *db, const Migrations *migrations, Error *err)
{
    int64_t version;
    if (!read_version(db, &version, err))
        return false;
    for (; version < migrations->count; version++) {
        char set[64]; /* a pragma takes no bound value */
        snprintf(set, sizeof set, "PRAGMA user_version = %d", (int)version + 1);
        if (!run_script(db, migrations->sql[version], err) || !run_script(db, set, err) ||
            !database_run(db, NULL, err, "INSERT INTO migrations(version, applied) VALUES(?, ?)",
                          "ii", (int64_t)version + 1, clock_unix()))
            return false;
    }
    return true;
}

/* Two processes may arrive together: the version is read again inside the write transaction. */
static bool migrate(Database *db, const Migrations *migrations, Error *err)
{
    int64_t version;
    if (!read_version(db, &version, err))
        return false;
    if (version > migrations->count)
        return fail(err, ERR_FORMAT,
                    "database '%s' has version %d, this program knows up to %d: use the newer "
                    "program that wrote it",
                    db->path, (int)version, migrations->count);
    if (version == migrations->count)
        return true;
    if (!run_script(db, "BEGIN IMMEDIATE", err))
        return false;
    if (apply(db, migrations, err) && run_script(db, "COMMIT", err))
        return true;
    Error ignored; /* the first failure is the one to report */
    (void)run_script(db, "ROLLBACK", &ignored);
    return false;
}

bool database_open(Database *db, const char *path, bool create, const Migrations *migrations,
                   Error *err)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, configure);
    Database made = {0};
    if (snprintf(made.path, sizeof made.path, "%s", path) >= (int)sizeof made.path)
        return fail(err, ERR_LIMIT, "path of %zu bytes is too long", strlen(path));
    int flags = SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX | (create ? SQLITE_OPEN_CREATE : 0);
    int result = sqlite3_open_v2(path, &made.handle, flags, NULL);
    bool ok = result == SQLITE_OK || fail_result(&made, result, err);
    if (ok) {
        sqlite3_busy_timeout(made.handle, BUSY_MS);
        sqlite3_db_config(made.handle, SQLITE_DBCONFIG_DEFENSIVE, 1, NULL);
        ok = run_script(&made,
                        "PRAGMA trusted_schema = OFF; PRAGMA foreign_keys = ON;"
                        "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL",
                        err) &&
             migrate(&made, migrations, err);
    }
    if (!ok) {
        database_close(&made);
        return false;
    }
    *db = made;
    return true;
}

void database_close(Database *db)
{
    if (db->handle)
        sqlite3_close(db->handle);
    db->handle = NULL;
}
