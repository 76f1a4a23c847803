/* database.h: SQLite behind the project's errors. One connection, prepared statements, values
 * always bound (no SQL is ever built from a value). Private to store/.
 *
 * Allocation goes through base/mem.h, so that tests can fail the n-th one inside SQLite too.
 * Threads: a Database belongs to one thread at a time.
 */
#pragma once
#include "base/error.h"

#include <sqlite3.h>
#include <stdint.h>

typedef struct {
    sqlite3 *handle;
    char path[1024];
} Database;

/* One row per version of the schema, oldest first. Applied ones are never edited. */
typedef struct {
    const char *const *sql;
    int count;
} Migrations;

/* Opens path (which must exist when not `create`), sets its modes and applies what is missing. */
bool database_open(Database *db, const char *path, bool create, const Migrations *migrations,
                   Error *err) MUST_CHECK;
void database_close(Database *db); /* a zeroed Database is a no-op */

/* types: one letter per value: t const char * (NULL is SQL NULL), i int64_t, b const uint8_t * of
 * KEY_HASH_BYTES. */
bool database_prepare(Database *db, sqlite3_stmt **out, Error *err, const char *sql,
                      const char *types, ...) MUST_CHECK;
/* *row: there is a row to read. False: failed. */
bool database_step(Database *db, sqlite3_stmt *statement, bool *row, Error *err) MUST_CHECK;
/* Prepares, runs and finishes a statement without result; *changed may be NULL. */
bool database_run(Database *db, int *changed, Error *err, const char *sql, const char *types,
                  ...) MUST_CHECK;

void database_finish(sqlite3_stmt **statement);
#define auto_statement __attribute__((cleanup(database_finish)))
