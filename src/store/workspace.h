/* workspace.h: the folder in which an organisation keeps everything, and its database.
 *
 *     bastide.db   names and facts: models, datasets, runs, API keys (SQLite, WAL)
 *     keys/ models/ datasets/ runs/   the things themselves
 *     up.lock      held by the one `bastide up` of this workspace
 *
 * Many processes may have a workspace open; SQLite orders their writes (a writer waits up to five
 * seconds, then ERR_CONFLICT). Every change is durable when its function returns.
 * Errors: ERR_NOT_FOUND (no workspace, no such record), ERR_CONFLICT (exists, busy), ERR_FORMAT
 * (damaged, or written by a newer version), ERR_MEMORY, ERR_IO, ERR_DENIED.
 * Threads: a Workspace belongs to one thread at a time.
 *
 * API keys are 256 random bits, shown once and stored only as their SHA-256 (no slow hash is
 * needed for a secret that cannot be guessed).
 */
#pragma once
#include "base/error.h"

#include <stdint.h>

typedef struct Workspace Workspace;

enum {
    WORKSPACE_NAME_MAX = 128, /* bytes of a name of a model, dataset, run or key */
    KEY_TEXT_ROOM = 48,       /* "bst_" + 43 characters of base64url + NUL */
    KEY_ID_ROOM = 17,         /* "key_" + 12 hexadecimal digits + NUL */
    KEY_HASH_BYTES = 32,
};

/* Makes the folder (it may exist, but not be a workspace: ERR_CONFLICT) and its database. */
bool workspace_init(const char *folder, Error *err) MUST_CHECK;

/* Opens, and brings the database to this version. */
bool workspace_open(Workspace **out, const char *folder, Error *err) MUST_CHECK;
void workspace_close(Workspace *ws); /* NULL is a no-op; releases the lock too */
const char *workspace_folder(const Workspace *ws);

/* Takes the workspace for exclusive serving until workspace_close or the process ends. Held by
 * another: ERR_CONFLICT naming its process. */
bool workspace_lock(Workspace *ws, Error *err) MUST_CHECK;

/* A number that changes when another process (not this Workspace) has written. */
bool workspace_version(Workspace *ws, int64_t *out, Error *err) MUST_CHECK;

/* ---- API keys ---- */

typedef struct {
    const char *id, *name;
    const uint8_t *hash;                 /* KEY_HASH_BYTES */
    int64_t created, revoked, last_used; /* unix seconds; revoked, last_used 0: never */
} WorkspaceKey;

/* Makes a key. `key` is the only copy there will ever be. */
bool workspace_key_add(Workspace *ws, const char *name, char key[KEY_TEXT_ROOM],
                       char id[KEY_ID_ROOM], Error *err) MUST_CHECK;
bool workspace_key_revoke(Workspace *ws, const char *id, Error *err) MUST_CHECK;
bool workspace_key_used(Workspace *ws, const char *id, int64_t when, Error *err) MUST_CHECK;

/* The hash under which a presented key is stored; any bytes. */
void workspace_key_hash(const char *key, size_t size, uint8_t hash[KEY_HASH_BYTES]);

/* ---- models, datasets, runs ----
 * A record given to add needs its name and path; other texts may be NULL, `created` 0 is now.
 * Texts handed to a visitor live until it returns. A visitor that returns false ends the walk,
 * which then fails with the visitor's error. Records come in the order they were added. */

typedef struct {
    const char *name, *path, *digest; /* digest: hexadecimal SHA-256 of what is at path */
    const char *parent;               /* name of the model it was made from */
    int64_t created;
} WorkspaceModel;

typedef struct {
    const char *name, *path, *digest;
    int64_t records, created;
} WorkspaceDataset;

typedef struct {
    const char *name, *path, *kind;    /* kind: "train", "eval", ... */
    const char *model, *dataset;       /* what went in */
    const char *state;                 /* "running", "done", "failed", "cancelled" */
    int64_t created, ended;            /* ended 0: not yet */
} WorkspaceRun;

bool workspace_model_add(Workspace *ws, const WorkspaceModel *model, Error *err) MUST_CHECK;
bool workspace_model_remove(Workspace *ws, const char *name, Error *err) MUST_CHECK; /* record */
bool workspace_dataset_add(Workspace *ws, const WorkspaceDataset *dataset, Error *err) MUST_CHECK;
bool workspace_dataset_remove(Workspace *ws, const char *name, Error *err) MUST_CHECK;
bool workspace_run_add(Workspace *ws, const WorkspaceRun *run, Error *err) MUST_CHECK;
bool workspace_run_end(Workspace *ws, const char *name, const char *state, int64_t ended,
                       Error *err) MUST_CHECK;

/* name NULL: all; otherwise that one, ERR_NOT_FOUND when absent. */
bool workspace_keys(Workspace *ws, bool (*each)(void *, const WorkspaceKey *, Error *), void *user,
                    Error *err) MUST_CHECK;
bool workspace_models(Workspace *ws, const char *name,
                      bool (*each)(void *, const WorkspaceModel *, Error *), void *user,
                      Error *err) MUST_CHECK;
bool workspace_datasets(Workspace *ws, const char *name,
                        bool (*each)(void *, const WorkspaceDataset *, Error *), void *user,
                        Error *err) MUST_CHECK;
bool workspace_runs(Workspace *ws, const char *name,
                    bool (*each)(void *, const WorkspaceRun *, Error *), void *user,
                    Error *err) MUST_CHECK;
