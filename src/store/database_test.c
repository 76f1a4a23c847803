#include "store/database.h"

#include "base/fs.h"
#include "base/test.h"

#include <stdio.h>
#include <unistd.h>

static const char *const first[] = {
    "CREATE TABLE migrations(version INTEGER PRIMARY KEY, applied INTEGER NOT NULL);"
    "CREATE TABLE t(a TEXT UNIQUE, b INTEGER)"};
static const char *const both[] = {
    "CREATE TABLE migrations(version INTEGER PRIMARY KEY, applied INTEGER NOT NULL);"
    "CREATE TABLE t(a TEXT UNIQUE, b INTEGER)",
    "ALTER TABLE t ADD COLUMN c BLOB"};
static const char *const broken[] = {
    "CREATE TABLE migrations(version INTEGER PRIMARY KEY, applied INTEGER NOT NULL);"
    "CREATE TABLE t(a TEXT UNIQUE, b INTEGER)",
    "ALTER TABLE t ADD COLUMN c BLOB; ALTER TABLE nothing ADD COLUMN d"};

static void migrations_apply_whole_or_not(void **state)
{
    (void)state;
    Error err;
    char folder[] = "/tmp/bastide-db-XXXXXX", path[64];
    assert_non_null(mkdtemp(folder));
    snprintf(path, sizeof path, "%s/x.db", folder);
    Database db = {0};
    assert_fails(database_open(&db, path, false, &(Migrations){first, 1}, &err), ERR_IO, "opened");
    assert_ok(database_open(&db, path, true, &(Migrations){first, 1}, &err));
    assert_ok(database_run(&db, NULL, &err, "INSERT INTO t VALUES(?, ?)", "ti", "x'; DROP TABLE t",
                           (int64_t)1 << 40));
    assert_fails(database_run(&db, NULL, &err, "INSERT INTO t VALUES(?, ?)", "ti",
                              "x'; DROP TABLE t", (int64_t)2),
                 ERR_CONFLICT, "exists already");
    database_close(&db);
    assert_fails(database_open(&db, path, false, &(Migrations){broken, 2}, &err), ERR_INTERNAL,
                 "nothing");
    /* the half that had worked was taken back: the next attempt can add it again */
    assert_ok(database_open(&db, path, false, &(Migrations){both, 2}, &err));
    int changed = 0;
    uint8_t blob[32] = {1};
    assert_ok(database_run(&db, &changed, &err, "UPDATE t SET c = ?", "b", blob));
    assert_int_equal(changed, 1);
    database_close(&db);
    assert_fails(database_open(&db, path, false, &(Migrations){first, 1}, &err), ERR_FORMAT,
                 "version 2");
    assert_ok(fs_remove_tree(folder, &err));
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(migrations_apply_whole_or_not)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
