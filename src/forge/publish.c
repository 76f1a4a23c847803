/* publish.c: see publish.h. */
#include "forge/publish.h"

#include "base/fs.h"
#include "store/workspace.h"
#include "trust/manifest.h"

#include <stdio.h>
#include <string.h>

static json_t *statement_of(const Publication *p)
{
    const ModelConfig *c = &p->model->config;
    return json_pack("{s:s, s:s, s:s, s:s, s:s?, s:I, s:{s:s, s:i, s:i, s:i, s:i, s:i}}",
                     "dataset", p->dataset, "dataset_sha256", p->dataset_sha256, "made_by",
                     "bastide " BASTIDE_VERSION, "recipe", p->recipe, "parent", p->parent, "seed",
                     (json_int_t)p->seed, "shape", "family", p->model->family->name, "layers",
                     (int)c->layers, "width", (int)c->width, "heads", (int)c->heads, "vocab",
                     (int)c->vocab, "context", (int)c->context);
}

static bool sign(const Publication *p, Error *err)
{
    char keys[1024];
    SignKey key;
    auto_json json_t *statement = statement_of(p);
    if (!statement)
        return fail(err, ERR_MEMORY, "no memory for the statement about '%s'", p->name);
    if (!fs_join(keys, sizeof keys, p->workspace, "keys", err) || !signkey_open(keys, &key, err))
        return false;
    bool ok = manifest_sign(p->folder, p->name, statement, &key, err);
    signkey_wipe(&key);
    return ok;
}

static bool enter(const Publication *p, Error *err)
{
    Workspace *ws;
    char path[1100], hex[SHA256_HEX];
    uint8_t digest[SHA256_BYTES];
    if (!fs_join(path, sizeof path, p->folder, "manifest.json", err) ||
        !sha256_file(path, digest, NULL, err) || !workspace_open(&ws, p->workspace, err))
        return false;
    sha256_hex(digest, hex);
    Error absent;
    (void)!workspace_model_remove(ws, p->name, &absent); /* made again: the new one counts */
    WorkspaceModel model = {.name = p->name, .path = p->folder, .digest = hex,
                            .parent = p->parent};
    bool ok = workspace_model_add(ws, &model, err);
    workspace_close(ws);
    return ok;
}

bool publish_model(const Publication *p, Error *err)
{
    return sign(p, err) && enter(p, err);
}

/* Length of the path without its last part and the slashes around it. */
static size_t parent_length(const char *path, size_t length)
{
    while (length && path[length - 1] == '/')
        length--;
    while (length && path[length - 1] != '/')
        length--;
    while (length > 1 && path[length - 1] == '/')
        length--;
    return length;
}

bool publish_workspace_of(const char *model_folder, char out[1024])
{
    char database[1100];
    size_t models = parent_length(model_folder, strlen(model_folder));
    size_t workspace = parent_length(model_folder, models);
    if (models < 6 || strncmp(model_folder + models - 6, "models", 6) != 0 || workspace >= 1024 ||
        (models > 6 && model_folder[models - 7] != '/'))
        return false;
    snprintf(out, 1024, "%.*s", workspace ? (int)workspace : 1, workspace ? model_folder : ".");
    snprintf(database, sizeof database, "%s/bastide.db", out);
    return fs_exists(database);
}
