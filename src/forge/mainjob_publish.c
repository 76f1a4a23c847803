/* mainjob_publish.c: a finished model is signed and entered into the workspace. */
#include "forge/mainjob_state.h"

#include "base/clock.h"
#include "store/workspace.h"
#include "trust/manifest.h"

#include <stdio.h>

static json_t *statement_of(const State *s)
{
    const ModelConfig *c = &s->model->config;
    return json_pack("{s:s, s:s, s:s, s:s, s:n, s:I, s:{s:s, s:i, s:i, s:i, s:i, s:i}}",
                     "dataset", s->job->dataset->name, "dataset_sha256", s->data_digest, "made_by",
                     "bastide " BASTIDE_VERSION, "recipe", s->job->size->name, "parent", "seed",
                     (json_int_t)s->job->seed, "shape", "family", s->model->family->name, "layers",
                     (int)c->layers, "width", (int)c->width, "heads", (int)c->heads, "vocab",
                     (int)c->vocab, "context", (int)c->context);
}

static bool sign(const State *s, Error *err)
{
    char keys[1024];
    SignKey key;
    auto_json json_t *statement = statement_of(s);
    if (!statement)
        return fail(err, ERR_MEMORY, "no memory for the statement about '%s'", s->job->name);
    if (!fs_join(keys, sizeof keys, s->job->workspace, "keys", err) ||
        !signkey_open(keys, &key, err))
        return false;
    bool ok = manifest_sign(s->model_folder, s->job->name, statement, &key, err);
    signkey_wipe(&key);
    return ok;
}

static bool enter(const State *s, Error *err)
{
    Workspace *ws;
    char path[1100], hex[SHA256_HEX];
    uint8_t digest[SHA256_BYTES];
    if (!fs_join(path, sizeof path, s->model_folder, "manifest.json", err) ||
        !sha256_file(path, digest, NULL, err) || !workspace_open(&ws, s->job->workspace, err))
        return false;
    sha256_hex(digest, hex);
    Error absent;
    (void)!workspace_model_remove(ws, s->job->name, &absent); /* made again: the new one counts */
    WorkspaceModel model = {.name = s->job->name, .path = s->model_folder, .digest = hex};
    bool ok = workspace_model_add(ws, &model, err);
    workspace_close(ws);
    return ok;
}

bool mainjob_publish(State *s, Error *err)
{
    return sign(s, err) && enter(s, err);
}
